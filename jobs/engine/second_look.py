"""Rows that the answer does not mention would be sent, and paid, once more. So it is fetched once more first (RELIABILITY D11)."""

from __future__ import annotations

import shutil
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from django.utils import timezone

from batchui.seal import SealBroken
from jobs import formats
from jobs.engine import places, shelf, trouble
from jobs.engine.lease import Lease
from jobs.engine.log import note
from jobs.engine.remote import calling
from jobs.engine.windows import back_off
from jobs.errors import ProviderError
from jobs.models import Batch
from jobs.rows.files import write_whole
from jobs.words import Cause, Lane

TRIES = 5
PATIENCE = timedelta(days=4)  # with a provider that cannot be asked; a person is told after two of them
BYTES = "result_bytes"  # in the batch's counts: of the result files as they were fetched
LOST = "Its answer was on our disk and is gone from there. The row may have been charged."
DONE = "fetched-twice"  # a file in the results folder: two fetches gave the same bytes, or a second one cannot be had


def settles(batch: Batch, lease: Lease, n_missing: int) -> bool:
    """Whether the answer that was gathered may be believed. If not, the batch is looked at again soon, with a newer answer or none."""
    folder = places.results_folder(batch)
    if batch.round.lane != Lane.BATCH or (folder / DONE).exists() or (folder / "gone").exists():
        return True
    again = folder.with_name("results-again")
    shutil.rmtree(again, ignore_errors=True)
    try:
        with calling(batch.connection) as provider:
            provider.download(provider.get(batch.provider_batch_id), again)
    except ProviderError as error:
        return _cannot(batch, lease, error, n_missing)
    except SealBroken as error:
        return _cannot(batch, lease, ProviderError(trouble.words_of(error), cause=Cause.AUTH, definite=True), n_missing)
    shelf.fetched(batch)
    for each in (folder, again):  # a batch that was cancelled before it ran has no files at all
        each.mkdir(parents=True, exist_ok=True)
    lease.write()
    if digest(again) == digest(folder):
        shutil.rmtree(again)
        (folder / DONE).touch()
        return True
    note(
        batch.job,
        "batch:other-answer",
        f"Batch {batch.number}: fetched once more because {_told(n_missing)}, the answer is another one",
        batch,
    )
    if batch.n_errors + 1 >= TRIES:  # it answers anew each time: the newest one counts
        (again / DONE).touch()
    if folder.exists():  # not where a crash came between these two
        folder.rename(folder.with_name(f"results-{lease.token}"))
    again.rename(folder)
    _wait(batch, lease, "the provider gave two different answers; looking at the newer one", 0.0)
    return False


def _cannot(batch: Batch, lease: Lease, error: ProviderError, n_missing: int) -> bool:
    if batch.n_errors + 1 >= TRIES and not _may_pass(batch, error):
        if sum(path.stat().st_size for path in places.results_folder(batch).glob("*.jsonl")) < batch.provider_counts.get(BYTES, 0):
            write_whole(places.results_folder(batch) / "gone", LOST.encode())
            _wait(batch, lease, "its results are gone from the disk, and the provider has them no more", 0.0)
            return False
        write_whole(places.results_folder(batch) / DONE, b"")
        return True
    shelf.warn(batch, error.message)
    words = f"{_told(n_missing)}; fetching it once more before that is believed: {error.message}"
    _wait(batch, lease, words, error.retry_after)
    return False


def _may_pass(batch: Batch, error: ProviderError) -> bool:
    """Whether to wait on for a second answer: the provider is busy or away, or the key is refused, and not for days already. Rows of a
    cancelled job do not go again by themselves, so nothing is waited for there."""
    if batch.cancel_requested_at or batch.job.cancel_requested_at:
        return False
    is_passing = not error.definite or error.cause in (Cause.AUTH, Cause.RATE_LIMITED)
    ended_at = batch.ended_at or timezone.now()
    return is_passing and timezone.now() < ended_at + PATIENCE and not shelf.is_over(batch)


def _wait(batch: Batch, lease: Lease, words: str, seconds: float | None) -> None:
    tries = batch.n_errors + 1
    lease.write(n_errors=tries, wait_reason=words[:500], next_look_at=back_off(tries if seconds != 0.0 else 0, seconds, cap=120))


def _told(n_missing: int) -> str:
    return f"the answer lacks {formats.count(n_missing, 'row')}" if n_missing else "lines of the answer cannot be read"


def digest(folder: Path) -> list[tuple[str, str]]:
    """Name and hash of each result file."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        hashed = sha256()
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                hashed.update(chunk)
        found.append((path.name, hashed.hexdigest()))
    return found
