"""Answers to creates, on disk before the ledger learns of them: a database that dies in between loses no paid batch."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import orjson
from django.conf import settings

from jobs.models import Batch
from jobs.rows.files import fsync_folder


def _path() -> Path:
    return Path(settings.DATA) / "journal" / "submit.ndjson"


def write(batch: Batch, provider_batch_id: str, request_id: str = "") -> None:
    """Append one answer, fsynced. Raises OSError, with the journal still readable."""
    path = _path()
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = {"batch": batch.pk.hex, "submit_token": batch.submit_token, "provider_batch_id": provider_batch_id, "request_id": request_id}
    # Begun by a newline as well: an entry that a full disk cut must not swallow the next one.
    line = b"\n" + orjson.dumps(entry) + b"\n"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if os.write(fd, line) != len(line):
            raise OSError(f"{path}: only a part was written")
        os.fsync(fd)
    finally:
        os.close(fd)
    if is_new:
        fsync_folder(path.parent)


_known: dict[str, dict[str, str]] = {}  # batch → submit token → provider's id, of all that was read so far
_read_to: tuple[str, int, int] = ("", 0, 0)  # of which file (path, inode), up to which byte
_reading = threading.Lock()


def of_batch(batch: Batch) -> dict[str, str]:
    """Every create of a batch that was answered, submit token → provider's id, in their order. What is new in the file since the last
    call of this process is read."""
    global _read_to
    path = _path()
    with _reading:
        if not path.exists():
            return {}
        at = path.stat()
        if _read_to[:2] != (str(path), at.st_ino) or at.st_size < _read_to[2]:
            _known.clear()
            _read_to = (str(path), at.st_ino, 0)
        if at.st_size > _read_to[2]:
            with path.open("rb") as lines:
                lines.seek(_read_to[2])
                for line in lines:
                    _remember(line)
                    if line.endswith(b"\n"):  # else it is still being written, or was cut by a crash: read again with what follows
                        _read_to = (*_read_to[:2], _read_to[2] + len(line))
        return dict(_known.get(batch.pk.hex, {}))


def _remember(line: bytes) -> None:
    try:
        entry = orjson.loads(line)
        _known.setdefault(entry["batch"], {})[entry["submit_token"]] = entry["provider_batch_id"]
    except (orjson.JSONDecodeError, KeyError, TypeError):  # blank, or cut by a crash: its batch is looked for at the provider
        return


def read(batch: Batch) -> str | None:
    """The provider's id for the batch's latest submit, if an answer was journaled."""
    return of_batch(batch).get(batch.submit_token) if batch.submit_token else None
