"""From a connection in the ledger to a provider that can be called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

from django.conf import settings

from batchui.seal import seal, unseal
from jobs.models import Connection
from jobs.providers.base import Endpoint, Limits, Provider
from jobs.providers.registry import limits_of, provider_for

KEY_CHANGED = "key_changed_at"  # in Connection.learned: when another key than before was entered


def limits_for(connection: Connection) -> Limits:
    """The provider's limits with what the admin set on the connection."""
    known = {f.name for f in fields(Limits)}
    return replace(limits_of(connection.kind), **{k: v for k, v in connection.limits.items() if k in known and v is not None})


def aad(connection: Connection) -> str:
    """What a sealed key is bound to: moving the ciphertext, or pointing the connection at another host, makes it useless."""
    return f"{connection.workspace_id}:{connection.pk}:{connection.base_url or connection.kind}"  # a kind has a host of its own


def seal_key(connection: Connection, key: str) -> None:
    """Put the key on the connection (not saved): sealed, with the hint that may be shown."""
    import hashlib

    connection.sealed_key = seal(key, aad(connection)) if key else ""
    connection.key_hint = f"{key[:3]}…{key[-4:]}" if len(key) >= 12 else ("…" if key else "")
    connection.key_fingerprint = hashlib.sha256(key.encode()).hexdigest()[:16] if key else ""


def endpoint_of(connection: Connection) -> Endpoint:
    return Endpoint(
        kind=connection.kind,
        base_url=connection.base_url,
        api_key=unseal(connection.sealed_key, aad(connection)) if connection.sealed_key else "",
        limits=limits_for(connection),
        allow_private=settings.ALLOW_PRIVATE_HOSTS or connection.is_sandbox,
    )


@contextmanager
def calling(connection: Connection) -> Iterator[Provider]:
    provider = provider_for(endpoint_of(connection))
    try:
        yield provider
    finally:
        provider.close()
