"""Hosts judge leases by the wall clock. One whose clock goes wrong leaves the work to others, says so, and goes on once it is right."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from jobs import tasks
from jobs.engine import clocks, pump
from jobs.engine.advance import advance
from jobs.engine.drive import drive
from jobs.models import Batch, Heartbeat
from jobs.words import BatchState, JobState
from tests.jobs import make_job

pytestmark = [pytest.mark.postgres, pytest.mark.serial, pytest.mark.django_db(transaction=True)]
right = timezone.now


class Clock:
    """This process's wall clock, moved by some seconds."""

    def __init__(self, monkeypatch: Any) -> None:
        self.monkeypatch = monkeypatch

    def move(self, seconds: float) -> None:
        def moved() -> datetime:
            return right() + timedelta(seconds=seconds)

        self.monkeypatch.setattr(timezone, "now", moved)


@pytest.fixture
def clock(monkeypatch: Any) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("seconds", [120.0, -120.0, 3600.0])
def test_a_host_with_a_wrong_clock_takes_nothing_over(
    people: Any, sandbox: Any, data_folder: Any, clock: Clock, client: Client, seconds: float
) -> None:
    """Another host has just leased the batch. By the wrong clock its lease ran out long ago, or lives for ever."""
    job = make_job(people.home, people.owner, sandbox, settle=False)
    advance("job", str(job.pk))
    batch = Batch.objects.get(job=job)
    held = {"lease_token": batch.lease_token + 1, "lease_until": right() + timedelta(seconds=40)}
    Batch.objects.filter(pk=batch.pk).update(**held)
    clock.move(seconds)
    assert abs(clocks.off() - seconds) < 1
    assert pump.run_once() == 0
    for kind, pk in (("batch", batch.pk), ("job", job.pk), ("connection", job.connection_id)):
        advance(kind, str(pk))
    tasks.beat()
    clock.move(0)
    batch.refresh_from_db()
    assert (batch.state, batch.lease_token, batch.lease_until) == (BatchState.READY, held["lease_token"], held["lease_until"])
    assert sandbox.control("calls", verb="batches.create") == []
    assert not Heartbeat.objects.filter(name__in=["worker", "pump"]).exists()
    said = client.get("/healthz").json()["clocks"]
    assert (said["ok"], abs(said["seconds_off"] - seconds) < 1) == (False, True)
    assert batch.next_look_at is not None
    assert abs((right() - batch.next_look_at).total_seconds()) < 20, "due for the others at once, by the ledger's clock"


def test_it_goes_on_once_the_clock_is_right(people: Any, sandbox: Any, data_folder: Any, clock: Clock) -> None:
    job = make_job(people.home, people.owner, sandbox, settle=False)
    advance("job", str(job.pk))
    batch = Batch.objects.get(job=job)
    clock.move(-310)
    advance("batch", str(batch.pk))
    batch.refresh_from_db()
    assert (batch.state, batch.n_submits) == (BatchState.READY, 0)
    assert batch.wait_reason == (
        "The clock of a worker's host is 5 min behind the database's clock. That host does nothing until its clock is set right."
    )
    clock.move(0)
    assert drive(job, poll_seconds=0.05, seconds=60).state == JobState.COMPLETED


def test_a_little_off_is_no_fault(clock: Clock) -> None:
    for seconds in (-5.0, 0.0, 5.0):
        clock.move(seconds)
        assert clocks.off() == 0.0
