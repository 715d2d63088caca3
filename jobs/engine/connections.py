"""Connections: made, changed and tested, with the key sealed and the host checked."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from batchui import local
from jobs.engine import asked, audit_log, learned
from jobs.engine.pump import nudge
from jobs.engine.remote import KEY_CHANGED, calling, seal_key
from jobs.errors import BadInput, ProviderError
from jobs.models import Batch, Connection, Workspace
from jobs.providers.base import Limits
from jobs.providers.http import check_base_url
from jobs.words import CLOSED, JobState, ProviderKind, RoundState

CHOSEN = ("name", "kind", "base_url", "is_sandbox", "limits", "delete_remote_files")
OF_THE_KEY = ("sealed_key", "key_hint", "key_fingerprint", "problem")
_KEY = re.compile(r"[\x21-\x7e]{1,500}\Z")


@sensitive_variables("key")
def save_connection(
    workspace: Workspace,
    user: User | None,
    *,
    name: str,
    kind: str,
    base_url: str = "",
    key: str = "",
    limits: dict[str, Any] | None = None,
    delete_remote_files: bool | None = None,
    connection: Connection | None = None,
    by_operator: bool = False,
) -> tuple[Connection, bool]:
    """The connection, and whether it is new. Raises BadInput; nothing is half done.

    Another host needs the key again: a key must not follow where its owner did not send it.
    """
    kind, base_url, name = ProviderKind(kind), base_url.strip().rstrip("/"), name.strip()
    if not name:
        raise BadInput("A connection needs a name.")
    if kind == ProviderKind.OPENAI_COMPATIBLE and not base_url:
        raise BadInput("An OpenAI-compatible connection needs its base URL.", "It usually ends in /v1.")
    if key and not _KEY.match(key):
        raise BadInput("The key has characters that no API key has.", "Copy it again, without spaces or line breaks.")
    as_read = connection or Connection.objects.filter(workspace=workspace, name=name, archived_at__isnull=True).first()
    if base_url and not (as_read and as_read.is_sandbox and base_url == as_read.base_url):
        check_base_url(base_url, settings.ALLOW_PRIVATE_HOSTS or by_operator)
    try:
        with transaction.atomic():
            held, made = _held(workspace, user, as_read)
            moved = not made and (held.base_url, held.kind) != (base_url, kind)
            if (made or moved) and not key:
                raise BadInput("Enter the API key." if made else "The address changed, so the key must be entered again.")
            if moved:
                _check_unused(held)
            held.name, held.kind, held.base_url = name, kind, base_url
            own = local.sandbox_url()
            # What opens loopback must not follow to another address.
            held.is_sandbox = (held.is_sandbox and not moved) or bool(own and base_url in (own, f"{own}/v1"))
            if limits is not None:
                held.limits = _checked_limits(limits)
            if delete_remote_files is not None:
                held.delete_remote_files = delete_remote_files
            if Connection.objects.filter(workspace=workspace, name=name).exclude(pk=held.pk).exists():
                raise BadInput(*_taken(name))
            _write(held, key, made)
            audit_log.write(workspace, user, "connection added" if made else "connection changed", name, key_changed=bool(key) and not made)
    except IntegrityError as error:  # another one was given this name in the same moment
        raise BadInput(*_taken(name)) from error
    return held, made


def _held(workspace: Workspace, user: User | None, as_read: Connection | None) -> tuple[Connection, bool]:
    """The connection as it is now, locked until the transaction ends (others may have saved or removed it since it was read), and whether
    it is a new one. Raises BadInput where it was removed."""
    if as_read is None:
        return Connection(workspace=workspace, created_by=user), True
    held = Connection.objects.select_for_update(no_key=True).get(pk=as_read.pk)
    if held.archived_at is not None:
        raise BadInput("This connection was removed meanwhile.", "Add it again.")
    return held, False


def _taken(name: str) -> tuple[str, str]:
    return f"There is a connection “{name}” already.", "Choose another name."


def _check_unused(held: Connection) -> None:
    """Raises BadInput where it is at work: request lines and prices are those of the kind that a job was launched on."""
    if held.batches.exclude(state__in=CLOSED).exists():
        raise BadInput("Batches of this connection are still at the provider, so its address and kind cannot change now.")
    if _is_used(held):
        raise BadInput("Jobs of this connection are still open, so its address and kind cannot change now.")


@sensitive_variables("key")
def _write(held: Connection, key: str, made: bool) -> None:
    """Write what was chosen, and the key if there is another. What the engine writes there meanwhile stays: whose turn a create is, what is
    wrong, what was learned."""
    if key:
        before, now = held.key_fingerprint, timezone.now()
        seal_key(held, key)
        held.problem = ""
        news: dict[str, Any] = {asked.KEY: None}
        if before not in ("", held.key_fingerprint):  # perhaps of another project: what is not found with it may be there
            news[KEY_CHANGED] = now.isoformat()
        if not made:
            learned.learn(held, lambda _: news)
            # What waits for a key that works goes on now; before the name is written, which locks out whoever names the connection
            asleep = held.batches.exclude(state__in=CLOSED).filter(next_look_at__gt=now).order_by("pk")
            pks = list(asleep.select_for_update(no_key=True).values_list("pk", flat=True))
            Batch.objects.filter(pk__in=pks).update(next_look_at=now)
            transaction.on_commit(lambda: nudge("connection", held.pk))
    held.save(update_fields=None if made else [*CHOSEN, *(OF_THE_KEY if key else ())])


def _checked_limits(limits: dict[str, Any]) -> dict[str, int]:
    known = {f.name for f in fields(Limits)}
    found: dict[str, int] = {}
    for name, value in limits.items():
        if name not in known:
            raise BadInput(f"“{name}” is not a limit.")
        if value in (None, ""):
            continue
        if not isinstance(value, int) or value < 1:
            raise BadInput(f"The limit {name.replace('_', ' ')} must be a whole number above 0.")
        found[name] = value
    return found


def test_connection(connection: Connection) -> tuple[bool, str]:
    """One cheap call: whether it works, and a sentence that says so or what is wrong. The models that it may use are kept."""
    try:
        with calling(connection) as provider:
            words, ok = provider.test(), True
            seen = [model.id for model in provider.models()]
    except (ProviderError, BadInput) as error:
        words, ok, seen = f"{error}{_lacks_version(connection, error)}", False, connection.models_seen
    Connection.objects.filter(pk=connection.pk).update(
        tested_at=timezone.now(), test_result=words[:500], test_ok=ok, models_seen=seen[:2000], problem="" if ok else words[:500]
    )
    connection.refresh_from_db()
    return ok, words


def _lacks_version(connection: Connection, error: ProviderError | BadInput) -> str:
    """The usual reason why a server does not know an address: the clients of OpenAI's API add paths behind `/v1`."""
    is_unknown = isinstance(error, ProviderError) and error.status == 404
    if not is_unknown or connection.kind == ProviderKind.ANTHROPIC or not connection.base_url or "/v1" in connection.base_url:
        return ""
    return " Is /v1 missing at the end of the base URL?"


def remove_connection(connection: Connection, user: User | None) -> None:
    """Put a connection away: its key is destroyed, its jobs keep their record. Raises BadInput while anything of it is open."""
    with transaction.atomic():
        held = Connection.objects.select_for_update(no_key=True).get(pk=connection.pk)
        if held.archived_at is not None:
            raise BadInput("This connection was removed already.")
        if held.batches.exclude(state__in=CLOSED).exists() or _is_used(held):
            raise BadInput("Jobs of this connection are still open, so it cannot be removed now.", "Wait for them to end, or cancel them.")
        name, now = held.name, timezone.now()
        held.name = f"{name[:80]} (removed {now:%Y-%m-%d}, {held.pk.hex[:8]})"  # its name is free again
        held.sealed_key, held.key_hint, held.key_fingerprint, held.archived_at = "", "", "", now
        held.save()
        audit_log.write(held.workspace, user, "connection removed", name)


def _is_used(connection: Connection) -> bool:
    """Whether a launched job, or a round of one (a retry on this connection, a try), is not at its end yet."""
    ended = [state.value for state in JobState if state.terminal or state == JobState.DRAFT]
    rounds = connection.rounds.filter(~Q(state=RoundState.SETTLED) | ~Q(job__state__in=ended))  # of a live job, its rows may go again
    return connection.jobs.exclude(state__in=ended).exists() or rounds.exists()
