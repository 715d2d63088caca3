"""Secrets that a deployment makes for itself on its first start, as files that only the owner can read."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def read_or_make(path: Path, make: Callable[[], str] = lambda: secrets.token_urlsafe(64)) -> str:
    """The text of the key file; made with mode 600 when it is not there.

    Two processes may start at once: the file is linked into place whole, so one of them wins and both read the same key.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)
    except FileExistsError:
        pass
    finally:
        beside.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return _read(path)


def _read(path: Path) -> str:
    text = path.read_text().strip()
    if not text:
        # An empty key file is damage; a new key beside old sealed data would only hide it.
        raise RuntimeError(f"{path} is empty. Restore it from a backup, or remove it to make a new key.")
    return text


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
