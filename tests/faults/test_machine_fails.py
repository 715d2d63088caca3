"""Our own side fails: a full disk, storage that cannot be written, a database that is locked. It is said, and passes by itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as live
from django.db import OperationalError
from django.db import connection as db

from jobs.engine import collect, crash, places
from jobs.engine.advance import advance, advance_job
from jobs.engine.lease import claim
from jobs.engine.pump import due
from jobs.models import Batch, Connection, Job
from jobs.words import JobState, RoundState
from tests.engine.world import batch_of, batch_of_pk, creates, ended, finish, hurry, kinds, look, plan_here
from tests.faults.invariants import check_end
from tests.faults.test_machine import BETWEEN

BY_DAY = ["after upload", "after mark", "after answer", "after journal", "after download", "after parquet", "after merge", "before round"]
LOCKED_AT = [name for name in BETWEEN if name != "after cut"] if os.environ.get("BATCHUI_NIGHT") else BY_DAY


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Puts a folder, with what is in it, on a small disk of its own."""
    mounted: list[Path] = []

    def put(folder: Path) -> Path:
        aside = tmp_path / "aside"
        shutil.copytree(folder, aside)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        return folder

    try:
        yield put
    finally:
        for folder in mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until nothing more fits."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler


FULL = "the disk is full; it goes on by itself once there is room"


@pytest.mark.django_db
@pytest.mark.parametrize("step", ["download", "outcomes"])
def test_disk_full_is_said_and_passes(make: Any, sandbox: Any, mount: Any, step: str) -> None:
    job = make(n_rows=20)
    batch = ended(batch_of(job), sandbox)
    folder = mount(places.batch_folder(job, batch.pk))
    if step == "outcomes":
        lease = claim(Batch, batch.pk)
        assert lease is not None
        collect.fetch(batch, lease)
        lease.release()
    filler = fill(folder)
    batch = look(batch)
    assert (batch.state, batch.wait_reason) == ("fetched" if step == "outcomes" else "ended", FULL)
    assert [path.name for path in folder.rglob("*.part")] == []
    filler.unlink()
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 20}, 1)
    check_end(job, sandbox)


@pytest.mark.django_db
def test_read_only_storage_is_said_and_passes(make: Any, sandbox: Any, mount: Any) -> None:
    job = make()
    batch = ended(batch_of(job), sandbox)
    folder = mount(places.batch_folder(job, batch.pk))
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    batch = look(batch)
    assert batch.state == "ended"
    assert batch.wait_reason == "the storage cannot be written to at the moment; it goes on by itself once it can"
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 1)
    check_end(job, sandbox)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "the disk is full; it goes on by itself once there is room"),
        (OSError(30, "Read-only file system"), "the storage cannot be written to at the moment; it goes on by itself once it can"),
        (OSError("[Errno 28] Error writing bytes to file"), "the disk is full; it goes on by itself once there is room"),
        (ValueError("odd"), "batchui met an error of its own; it is tried again, and the log of the server says more"),
    ],
    ids=["full", "read-only", "arrow", "bug"],
)
def test_trouble_is_on_the_batch_and_on_the_job(make: Any, sandbox: Any, monkeypatch: Any, error: Exception, words: str) -> None:
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
    assert job.needs.startswith("It does not move at the moment: the file ")
    assert "outcomes.parquet is gone from the data folder" in job.needs
    Batch.objects.filter(job=job).update(state="ready", outcomes={}, wait_reason="")
    job = finish(job, sandbox)
    assert (kinds(job), job.needs) == ({"succeeded": 6}, "")


@pytest.mark.django_db(transaction=True)
def test_locked_database_costs_one_look(make: Any, sandbox: Any) -> None:
    """Another program holds SQLite's write lock for a while: the look that comes then fails, and the next one goes on."""
    if db.vendor != "sqlite":
        pytest.skip("SQLite's lock")
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
    assert (batch_of_pk(batch).lease_until, Job.objects.get(pk=job.pk).lease_until) == (None, None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", LOCKED_AT)
def test_locked_in_the_middle(make: Any, sandbox: Any, monkeypatch: Any, name: str) -> None:
    """The lock is held, for longer than the busy timeout, from this point on until the step is over: whatever it wrote or did not write."""
    if db.vendor != "sqlite":
        pytest.skip("SQLite's lock")
    sandbox.control("arm", orders="errors=1,once", times=1)
    if name == "after refusal":
        sandbox.control("arm", verb="batches.create", fault="status", status=429)
    job = make(max_attempts=2, per_batch=3)
    other = sqlite3.connect(live.DATABASES["default"]["NAME"], isolation_level=None)
    held: list[str] = []

    def hook(at: str) -> None:
        if at == name and not held:
            held.append(at)
            other.execute("BEGIN IMMEDIATE")

    monkeypatch.setattr(crash, "hook", hook)
    with db.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout=50")
    try:
        for _ in range(25):
            _look_around(job, sandbox, lambda: other.in_transaction and other.execute("ROLLBACK"))
            job.refresh_from_db()
            if JobState(job.state).terminal:
                break
    finally:
        other.close()
        with db.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout=20000")
    assert held
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 3)
    check_end(job, sandbox)


def _look_around(job: Job, sandbox: Any, unlock: Callable[[], object]) -> None:
    """All that is due, once. The lock goes when the step is over in which it came, and the lease that could not be given back runs out."""
    hurry(job)
    for kind, each in list(due(job=job)):
        if kind == "job" and job.rounds.filter(state=RoundState.PLANNING).exists():
            plan_here(job)
            continue
        with contextlib.suppress(OperationalError):
            advance(kind, str(each.pk))
        if unlock():
            for model in (Job, Batch, Connection):
                model.objects.update(lease_until=None)
    sandbox.control("advance", seconds=60)
