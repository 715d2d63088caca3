"""The direct lane's files when the disk fills up in the middle of a line, and a worker that slept while another one took over."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jobs.engine import crash, direct
from jobs.engine.advance import advance_batch
from jobs.engine.direct_files import Log
from jobs.engine.lease import Lease
from jobs.models import Batch
from tests.engine import world
from tests.faults.invariants import check, check_end


@pytest.fixture
def half(monkeypatch: Any) -> Any:
    """The next write stops in its middle, as on a disk that is full; those after it are whole."""
    real, cuts = os.write, [True]

    def write(handle: int, data: bytes) -> int:
        return real(handle, data[: len(data) // 2]) if cuts and cuts.pop() else real(handle, data)

    def arm() -> None:
        monkeypatch.setattr(os, "write", write)

    return arm


def test_half_a_line_names_no_row(tmp_path: Path, half: Any) -> None:
    """12 of 1234 was not sent: it would be set down as charged and lost."""
    files = Log(tmp_path)
    files.open()
    half()
    with pytest.raises(OSError, match="No space left"):
        files.send(1234)
    assert files.sent() == set()
    files.send(77)
    assert files.sent() == {77}
    files.close()


def test_half_of_a_taking_back_takes_nothing_back(tmp_path: Path, half: Any) -> None:
    """-1 of -123 would have row 1, which is on its way, sent once more."""
    files = Log(tmp_path)
    files.open()
    files.send(1)
    files.send(123)
    half()
    with pytest.raises(OSError, match="No space left"):
        files.back(123)
    files.close()
    again = Log(tmp_path)
    again.open()
    assert again.sent() == {1, 123}
    again.send(5)
    again.back(123)
    assert again.sent() == {1, 5}
    again.close()


def test_half_an_answer_does_not_spoil_the_next(tmp_path: Path, half: Any) -> None:
    files = Log(tmp_path)
    files.open()
    half()
    with pytest.raises(OSError, match="No space left"):
        files.answer(b'{"custom_id":"abc-1"}')
    files.answer(b'{"custom_id":"abc-2"}')
    files.answer(b'{"custom_id":"abc-1"}\n')
    files.close()
    assert files.answered() == {1, 2}


def direct_job(make: Any, n_rows: int = 4) -> Any:
    job = make(planned=False, n_rows=n_rows)
    job.rounds.update(lane="direct")
    world.plan_here(job)
    return job


@pytest.mark.django_db
def test_an_answer_is_held_until_the_disk_has_room(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    """It is paid for."""
    real, n_full = Log.answer, 3

    def answer(files: Log, line: bytes) -> None:
        nonlocal n_full
        n_full -= 1
        if n_full >= 0:
            raise OSError(28, "No space left on device")
        real(files, line)

    monkeypatch.setattr(Log, "answer", answer)
    monkeypatch.setattr(direct, "KEEP_EVERY", 0.01)
    job = world.finish(direct_job(make), sandbox)
    assert world.kinds(job) == {"succeeded": 4}
    check_end(job, sandbox)


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_slept_in_a_pause_does_not_send_again(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    """Row refused with 429, a pause, a machine that sleeps through its lease: another worker has sent the row meanwhile."""
    job = direct_job(make, n_rows=1)
    batch = world.batch_of(job)
    sandbox.control("arm", verb="chat", fault="status", status=429)
    slept = []

    def sleep(going: Any, seconds: float) -> None:
        if threading.current_thread() is not threading.main_thread() and not slept:
            slept.append(True)
            going.lease.ends = 0.0
            Batch.objects.update(lease_until=None)
            other = threading.Thread(target=advance_batch, args=(str(batch.pk),))
            other.start()
            other.join()

    monkeypatch.setattr(direct, "_pause", sleep)
    advance_batch(str(batch.pk))
    assert slept
    job = world.finish(job, sandbox)
    assert Counter(row["custom_id"] for row in sandbox.control("executed") if row["paid"]).most_common(1)[0][1] == 1
    assert world.kinds(job) == {"succeeded": 1}


@pytest.mark.django_db(transaction=True)
def test_the_answer_of_a_worker_that_was_thought_dead_counts(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    """Its row is set down as lost only at the very end, when the other worker has sent all the rest."""
    job = direct_job(make, n_rows=3)
    batch = world.batch_of(job)
    took_over, may_go_on, first = threading.Event(), threading.Event(), []

    def hook(name: str) -> None:
        if name == "direct after answer" and not first:
            first.append(threading.current_thread())
            took_over.set()
            may_go_on.wait(20)
        elif name == "direct after line" and threading.current_thread() not in first:
            may_go_on.set()
            first[0].join(0.2)

    monkeypatch.setattr(crash, "hook", hook)
    monkeypatch.setattr("jobs.engine.direct.limits_for", one_at_a_time)
    slow = threading.Thread(target=advance_batch, args=(str(batch.pk),))
    slow.start()
    assert took_over.wait(20)
    run_out(monkeypatch, batch)
    advance_batch(str(batch.pk))
    slow.join()
    monkeypatch.setattr(crash, "hook", None)
    job = world.finish(job, sandbox)
    assert world.kinds(job) == {"succeeded": 3}
    check(job, sandbox)


def run_out(monkeypatch: Any, batch: Batch) -> None:
    """The lease that is held now ends, for its holder too."""
    real, token = Lease.holds, Batch.objects.get(pk=batch.pk).lease_token
    monkeypatch.setattr(Lease, "holds", lambda lease, margin=0.0: lease.token != token and real(lease, margin))
    Batch.objects.update(lease_until=None)


def one_at_a_time(connection: Any) -> Any:
    from dataclasses import replace

    from jobs.engine.remote import limits_for

    return replace(limits_for(connection), concurrency=1)
