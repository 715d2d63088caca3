"""Answers to creates, on disk before the ledger learns of them: a database that dies in between loses no paid batch."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
from django.conf import settings

from jobs.models import Batch


def _path() -> Path:
    return Path(settings.DATA) / "journal" / "submit.ndjson"


def write(batch: Batch, provider_batch_id: str, request_id: str = "") -> None:
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    line = orjson.dumps(
        {"batch": batch.pk.hex, "submit_token": batch.submit_token, "provider_batch_id": provider_batch_id, "request_id": request_id}
    )
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, line + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)


def read(batch: Batch) -> str | None:
    """The provider's id for the batch's latest submit, if an answer was journaled."""
    path = _path()
    if not path.exists():
        return None
    found = None
    token = batch.submit_token.encode()
    with path.open("rb") as lines:
        for line in lines:
            if token and token in line:
                try:
                    entry = orjson.loads(line)
                except orjson.JSONDecodeError:  # a line cut by a crash: its batch is looked for at the provider
                    continue
                if entry["submit_token"] == batch.submit_token:
                    found = entry["provider_batch_id"]
    return found
