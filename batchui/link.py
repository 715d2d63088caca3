"""Sign-in links: signed, short-lived, and good for one use.

The signature says for whom and until when; a file named after the link's hash says that it was not used yet. Removing a
file succeeds for exactly one of two requests, whichever process serves them.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from pathlib import Path

from django.conf import settings
from django.core import signing
from django.urls import reverse

_SALT = "batchui.sign-in-link"


def make(user_id: int) -> str:
    """The path of a link that signs this person in. The latest links count; those past their time are swept away."""
    folder = _folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    for old in folder.iterdir():
        if old.stat().st_mtime < time.time() - settings.SIGN_IN_LINK_SECONDS:
            old.unlink(missing_ok=True)
    token = signing.dumps([user_id, secrets.token_urlsafe(24)], salt=_SALT)
    (folder / _name(token)).touch(mode=0o600)
    return reverse("signin-link", args=[token])


def use(token: str) -> int | None:
    """The id of the person whose link it is, once; None for a link that is false, too old or used."""
    try:
        user_id, _nonce = signing.loads(token, salt=_SALT, max_age=settings.SIGN_IN_LINK_SECONDS)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    try:
        (_folder() / _name(token)).unlink()
    except FileNotFoundError:
        return None
    return int(user_id)


def _folder() -> Path:
    return Path(settings.DATA) / "sign-in"


def _name(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
