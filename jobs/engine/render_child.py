"""The child process that fills templates and writes request files: bounded in memory and time, with no key and no network."""

from __future__ import annotations

import filecmp
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from jobs.providers.base import RequestSpec
from jobs.providers.registry import encoder_for
from jobs.rows.cut import Cut, CutLimits, cut, index_of
from jobs.rows.render import selected_rows
from jobs.rows.weigh import Weigher

Make = Callable[[int, CutLimits, str, Path], Cut]  # (offset, limits, token, folder)


def answer(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One dict per request file, as `rows.cut.Cut` with its batch's id and token, and whether it was there already; stops after `seconds`
    at the end of a file. With `again`, one file with that `token` in that `folder`."""
    began = time.monotonic()
    encoder = encoder_for(request["kind"], RequestSpec(**request["spec"]))
    limits = CutLimits(**request["limits"])
    weigher = Weigher(**request["weigher"])
    rows = Path(request["rows"]) if request["rows"] else None
    folder = Path(request["folder"])

    def make(offset: int, limits: CutLimits, token: str, folder: Path) -> Cut:
        texts = request["columns"], request["system"], request["user"]
        return cut(Path(request["table"]), *texts, rows, offset, encoder, limits, token, folder, weigher)

    if again := request.get("again"):
        yield asdict(make(request["start"], limits, again["token"], folder / again["folder"]))
        return
    offset, left = request["start"], _placed(request["left"], rows)
    while True:
        batch_id, token = uuid.uuid4().hex, uuid.uuid4().hex[:16]
        if (taken := _take(make, offset, limits, left, folder)) is not None:
            batch_id, token, done = taken
        else:
            done = make(offset, limits, token, folder / batch_id)
        yield {"batch": batch_id, "token": token, "taken": taken is not None, **asdict(done)}
        offset = done.next_offset
        if done.done or time.monotonic() - began > request["seconds"]:
            return


def _placed(left: list[dict[str, Any]], rows: Path | None) -> list[dict[str, Any]]:
    """Where in the selection the request files begin and end that are there already."""
    if not left or rows is None:
        return left
    chosen = selected_rows(rows)
    return [{**each, **{end: int(np.searchsorted(chosen, each[end])) for end in ("first", "last")}} for each in left]


def _take(make: Make, offset: int, limits: CutLimits, left: list[dict[str, Any]], folder: Path) -> tuple[str, str, Cut] | None:
    """A request file that is there already and is, byte for byte, what is to be cut next: batch, token and the cut; None without one."""
    next_one = min((each["first"] for each in left if each["first"] >= offset), default=None)
    for each in left:
        if each["first"] != next_one:
            continue
        again, there = folder / f"again-{uuid.uuid4().hex}", folder / each["batch"] / "requests.jsonl"
        whole = replace(limits, requests=each["last"] - offset + 1, bytes=max(limits.bytes, each["bytes"]), tokens=None)
        done = make(offset, whole, each["token"], again)
        is_same = done.n_requests > 0 and filecmp.cmp(again / there.name, there, shallow=False)
        if is_same:
            os.replace(index_of(again / there.name), index_of(there))
        shutil.rmtree(again, ignore_errors=True)
        if is_same:
            return each["batch"], each["token"], done
    return None
