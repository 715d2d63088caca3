"""The child process that fills templates and writes request files: bounded in memory and time, with no key and no network."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.providers.base import RequestSpec
from jobs.providers.registry import encoder_for
from jobs.rows.cut import CutLimits, cut


def answer(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One dict per request file, as `rows.cut.Cut` with its batch's id and token; stops after `seconds` at the end of a file."""
    began = time.monotonic()
    encoder = encoder_for(request["kind"], RequestSpec(**request["spec"]))
    limits = CutLimits(**request["limits"])
    rows = Path(request["rows"]) if request["rows"] else None
    offset = request["start"]
    while True:
        batch_id, token = uuid.uuid4(), uuid.uuid4().hex[:16]
        done = cut(
            Path(request["table"]),
            request["columns"],
            request["system"],
            request["user"],
            rows,
            offset,
            encoder,
            limits,
            token,
            Path(request["folder"]) / batch_id.hex,
        )
        yield {"batch": batch_id.hex, "token": token, **asdict(done)}
        offset = done.next_offset
        if done.done or time.monotonic() - began > request["seconds"]:
            return
