"""Our own side fails: a full disk, storage that cannot be written, a database that is locked. It is said, and passes by itself."""

from __future__ import annotations

import resource
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings as live
from django.db import connection as db

from jobs.engine.advance import advance_job
from jobs.models import Batch, Job
from tests.engine.world import batch_of, batch_of_pk, creates, ended, finish, hurry, kinds, look
from tests.faults.invariants import check_end


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    """Writes beyond `n_bytes` of a file fail as on a full disk (EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.django_db
@pytest.mark.parametrize("step", ["download", "outcomes"])
def test_disk_full_is_said_and_passes(make: Any, sandbox: Any, monkeypatch: Any, step: str) -> None:
    from jobs.engine import crash

    job = make(n_rows=40)
    batch = ended(batch_of(job), sandbox)
    point = {"download": "before download", "outcomes": "after download"}[step]
    limits: list[Any] = []

    def hook(name: str) -> None:
        if name == point:
            limit = files_of_at_most(2_000)
            limit.__enter__()
            limits.append(limit)

    hurry(job)
    monkeypatch.setattr(crash, "hook", hook)
    # The ledger of this test lives in files as well: what the failing step writes there comes after the limit is lifted.
    real = Batch.objects.all().db
    assert real == "default"
    from jobs.engine import collect

    target = collect.fetch if step == "download" else collect.collect
    lease = _lease(batch)
    if step == "outcomes":
        collect.fetch(batch, lease)
    try:
        with pytest.raises(OSError, match=r"Errno 27|large"):
            target(batch, lease)
    finally:
        for limit in limits:
            limit.__exit__(None, None, None)
        lease.release()
    monkeypatch.setattr(crash, "hook", None)
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 40}, 1)
    check_end(job, sandbox)


def _lease(batch: Batch) -> Any:
    from jobs.engine.lease import claim

    lease = claim(Batch, batch.pk)
    assert lease is not None
    return lease


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "the disk is full; it goes on by itself once there is room"),
        (OSError(30, "Read-only file system"), "the storage cannot be written to at the moment; it goes on by itself once it can"),
        (OSError("[Errno 28] Error writing bytes to file"), "the disk is full; it goes on by itself once there is room"),
        (ValueError("odd"), "something went wrong here and is tried again: ValueError: odd"),
    ],
    ids=["full", "read-only", "arrow", "bug"],
)
def test_trouble_is_on_the_batch_and_on_the_job(make: Any, sandbox: Any, monkeypatch: Any, error: Exception, words: str) -> None:
    from jobs.engine import crash

    def hook(name: str) -> None:
        raise error

    job = make()
    monkeypatch.setattr(crash, "hook", hook)
    batch = look(batch_of(job))
    assert (batch.state, batch.wait_reason, batch.n_errors, batch.lease_until) == ("ready", words, 1, None)
    monkeypatch.setattr(crash, "hook", None)
    Batch.objects.filter(job=job).update(state="settled", outcomes={"succeeded": 6})  # so that the round is to be merged, without a file
    advance_job(str(job.pk))
    job.refresh_from_db()
    assert job.needs.startswith("Something went wrong here and is tried again: the storage failed and is tried again")
    Batch.objects.filter(job=job).update(state="ready", outcomes={}, wait_reason="")
    job = finish(job, sandbox)
    assert (kinds(job), job.needs) == ({"succeeded": 6}, "")


@pytest.mark.django_db
def test_read_only_storage_is_said_and_passes(make: Any, sandbox: Any) -> None:
    """The folder of results is a file: nothing can be written there, not even by root."""
    from jobs.engine import places

    job = make()
    batch = ended(batch_of(job), sandbox)
    folder = places.results_folder(batch)
    folder.touch()
    batch = look(batch)
    assert (batch.state, batch.n_errors) == ("ended", 1)
    assert batch.wait_reason.startswith("the storage failed and is tried again: ")
    folder.unlink()
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 1)
    check_end(job, sandbox)


@pytest.mark.django_db(transaction=True)
def test_locked_database_costs_one_look(make: Any, sandbox: Any) -> None:
    """Another program holds SQLite's write lock for a while: the look that comes then fails, and the next one goes on."""
    if db.vendor != "sqlite":
        pytest.skip("SQLite's lock")
    from django.db import OperationalError

    job = make()
    batch = batch_of(job)
    with db.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout=100")
    other = sqlite3.connect(live.DATABASES["default"]["NAME"], isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="locked"):
        look(batch)
    other.execute("ROLLBACK")
    other.close()
    with db.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout=20000")
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 1)
    assert threading.active_count() < 50
    assert (batch_of_pk(batch).lease_until, Job.objects.get(pk=job.pk).lease_until) == (None, None)
