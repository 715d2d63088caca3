"""Folders of batches that the ledger does not know: what a killed planner left, or what was cut, sent and paid after the backup from
which the ledger was restored. Whole request files are offered to the planner, which takes those that it would cut again byte for byte,
with the answers beside them. What holds answers is never removed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import orjson

from jobs.engine import places
from jobs.engine.direct_files import ANSWERS, SENT
from jobs.engine.lease import Lease
from jobs.engine.log import note
from jobs.models import Batch, Event, Job, Round
from jobs.rows.cut import rows_in
from jobs.words import Lane

KEPT = "batch:unknown-kept"
_OURS = re.compile(r"[0-9a-f]{32}")


def _unknown(job: Job) -> list[Path]:
    folder = places.job_folder(job) / "batches"
    if not folder.exists():
        return []
    found = sorted(folder.iterdir())  # before the ledger is asked: what is made in between is known to it
    known = {pk.hex for pk in Batch.objects.filter(job=job).values_list("pk", flat=True)}
    return [each for each in found if each.name not in known]


def _is_whole(folder: Path) -> bool:
    return _OURS.fullmatch(folder.name) is not None and (folder / "requests.jsonl").exists()


def has_answers(folder: Path) -> bool:
    """Whether a batch's folder holds what was answered, or may have been charged."""
    return any(path.name == SENT or path.suffix == ".jsonl" for path in folder.glob("results*/*") if path.stat().st_size)


def takable(round_: Round) -> list[dict[str, Any]]:
    """Whole request files of unknown batches that may be the round's, oldest first: `batch`, `token`, rows `first` to `last`, `bytes`."""
    found = []
    for folder in filter(_is_whole, _unknown(round_.job)):
        if _lanes(folder) not in (None, round_.lane != Lane.BATCH):
            continue
        request = folder / "requests.jsonl"
        try:
            rows, at = rows_in(request), request.stat()
            with request.open("rb") as lines:
                token = orjson.loads(lines.readline())["custom_id"].rpartition("-")[0]
        except (OSError, ValueError, KeyError):
            continue
        if len(rows):
            first, last = int(rows[0]), int(rows[-1])
            found.append((at.st_mtime, {"batch": folder.name, "token": token, "first": first, "last": last, "bytes": at.st_size}))
    known = set(Batch.objects.filter(token__in=[each["token"] for _, each in found]).values_list("token", flat=True))
    return [each for _, each in sorted(found, key=lambda pair: pair[0]) if each["token"] not in known]


def _lanes(folder: Path) -> bool | None:
    """Whether the answers in it came of ordinary calls; None where it has none."""
    if not has_answers(folder):
        return None
    return any((folder / "results" / name).exists() for name in (SENT, ANSWERS))


def was_collected(batch: Batch) -> bool:
    """Whether an open batch of the batch lane had been collected to its end before the ledger went back: all its results are here, and the
    provider may have deleted its own since."""
    folder = places.batch_folder(batch.job, batch.pk)
    return (folder / "outcomes.parquet").exists() and has_answers(folder)


def remove_unknown(job: Job, lease: Lease, *, whole: bool = False) -> None:
    """Remove folders without answers that are not whole; with `whole` those as well. What cannot be removed now is at the end."""
    for each in _unknown(job):
        if (whole or not _is_whole(each)) and not has_answers(each) and lease.holds():  # else another planner may have made it
            shutil.rmtree(each, ignore_errors=True)


def say_kept(job: Job) -> None:
    """Tell, once for each, which folders with answers no round of the job has taken."""
    told = {data.get("folder") for data in Event.objects.filter(job=job, kind=KEPT).values_list("data", flat=True)}
    for each in _unknown(job):
        if has_answers(each) and each.name not in told:
            text = (
                f"The folder batches/{each.name} holds answers, which may be paid for, of a batch that the ledger does not know, as after "
                "a restore from a backup. It is kept; a round over the same rows with the same prompt and settings takes them"
            )
            note(job, KEPT, text, folder=each.name)
