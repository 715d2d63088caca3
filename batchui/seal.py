"""Sealing of secrets (provider keys) at rest.

A sealed text is `<key id>:<Fernet token>`. The token holds the secret together with what it belongs to (`aad`, for example
workspace, connection and host), so a sealed key that is moved to another connection or host does not open.
Keys come from BATCHUI_SEAL_KEYS (comma separated, the newest first) or from `seal.key` in BATCHUI_DATA (one per line, newest first).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from batchui import logs
from batchui.keyfiles import read_or_make


class SealBroken(Exception):
    """The text cannot be opened: wrong key, damaged, or sealed for something else. Carries no secret."""


@sensitive_variables()
def seal(text: str, aad: str) -> str:
    """The sealed form of `text`, which opens only with the same `aad`."""
    key = _keys()[0]
    payload = json.dumps([aad, text]).encode()
    return f"{_key_id(key)}:{Fernet(key).encrypt(payload).decode()}"


@sensitive_variables()
def unseal(sealed: str, aad: str) -> str:
    """The text that was sealed for `aad`; SealBroken if it does not open. From then on logs redact the text."""
    key_id, _, token = sealed.partition(":")
    key = next((each for each in _keys() if _key_id(each) == key_id), None)
    if key is None:
        raise SealBroken(f"no seal key with the id {key_id[:16]!r} is loaded")
    try:
        sealed_for, text = json.loads(Fernet(key).decrypt(token.encode()))
    except (InvalidToken, ValueError) as error:
        raise SealBroken("the sealed text is damaged or was made with another key") from error
    if not hmac.compare_digest(str(sealed_for).encode(), aad.encode()):
        raise SealBroken("the secret was sealed for something else")
    logs.remember_secret(str(text))
    return str(text)


def is_current(sealed: str) -> bool:
    """Whether the newest key sealed it."""
    return sealed.partition(":")[0] == _key_id(_keys()[0])


def reseal(sealed: str, aad: str) -> str:
    """The same secret under the newest key."""
    return sealed if is_current(sealed) else seal(unseal(sealed, aad), aad)


def _key_id(key: str) -> str:
    return hashlib.sha256(b"batchui seal key" + key.encode()).hexdigest()[:8]


def _keys() -> list[str]:
    from_env: list[str] = settings.SEAL_KEYS
    return from_env or _file_keys(str(settings.DATA / "seal.key"))


@lru_cache(maxsize=4)
def _file_keys(path: str) -> list[str]:
    from pathlib import Path

    return read_or_make(Path(path), lambda: Fernet.generate_key().decode()).split()
