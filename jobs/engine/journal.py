"""Answers to creates, on disk before the ledger learns of them: a database that dies in between loses no paid batch."""

from __future__ import annotations

import os
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


def read(batch: Batch) -> str | None:
    """The provider's id for the batch's latest submit, if an answer was journaled."""
    path, token = _path(), batch.submit_token.encode()
    if not token or not path.exists():
        return None
    found = None
    with path.open("rb") as lines:
        for line in lines:
            if token not in line:
                continue
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:  # cut by a crash: its batch is looked for at the provider
                continue
            if entry["submit_token"] == batch.submit_token:
                found = entry["provider_batch_id"]
    return found
