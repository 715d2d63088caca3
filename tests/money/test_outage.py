"""The network is away for a while in the middle of real time: what did not leave is sent later, and few rows are lost to doubt."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from jobs.engine import drive
from jobs.engine.launch import Plan, launch
from jobs.models import Batch, Job
from jobs.words import JobState, Lane
from tests.jobs import make_connection, make_dataset, make_prompt
from tests.money.tools import executed_rows

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = 60


class Road:
    """Between us and the sandbox: a port of its own that can be closed, with all that is on it, and opened again."""

    def __init__(self, to: str) -> None:
        self.to = int(to.rsplit(":", 1)[1].split("/")[0])
        self.door: socket.socket | None = None
        self.port = 0
        self.open()

    @property
    def openai_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def open(self) -> None:
        self.door = socket.create_server(("127.0.0.1", self.port))
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self._serve, args=(self.door,), daemon=True).start()

    def close(self) -> None:
        assert self.door is not None
        self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()

    def _serve(self, door: socket.socket) -> None:
        with suppress(OSError):
            while True:
                here, _ = door.accept()
                there = socket.create_connection(("127.0.0.1", self.to))
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


@pytest.fixture
def road(sandbox: Any) -> Iterator[Road]:
    road = Road(sandbox.openai_url)
    road.close()
    yield road
    road.close()


def launched(people: Any, server: Any, lane: Lane = Lane.DIRECT) -> Job:
    home, owner = people.home, people.owner
    plan = Plan(home, make_dataset(home, owner, ROWS), make_prompt(home, owner), make_connection(home, owner, server), "gpt-6-luna")
    plan.lane, plan.max_attempts = lane, 1
    return launch(plan, owner)


def test_rows_that_did_not_leave_are_sent_when_the_server_is_back(people: Any, sandbox: Any, road: Road) -> None:
    """Nothing listens for a while: no row is given up."""
    job = launched(people, road)
    batch = waiting(job)
    assert batch.wait_reason.startswith("the provider cannot be reached, going on when it is back: The server refused the connection")
    road.open()
    job = drive.drive(job, poll_seconds=0.05, seconds=60)
    assert (job.state, job.n_succeeded) == (JobState.COMPLETED, ROWS)
    assert Counter(executed_rows(sandbox).values()) == {1: ROWS}


def test_a_create_that_never_left_is_no_unclear_one(people: Any, sandbox: Any, road: Road) -> None:
    """The batch lane: no connection, no create; nothing has to be looked for."""
    job = launched(people, road, lane=Lane.BATCH)
    batch = waiting(job)
    assert (batch.state, batch.wait_reason.startswith("trying again soon: ")) == ("ready", True)
    road.open()
    assert drive.drive(job, poll_seconds=0.05, seconds=60).n_succeeded == ROWS


def waiting(job: Job) -> Batch:
    """The job's batch, once it waits for something."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        drive.step(job)
        if batch := Batch.objects.filter(job=job).exclude(wait_reason="").first():
            return batch
    raise AssertionError("it does not wait")


def test_connections_that_break_one_after_the_other_stop_the_sending(people: Any, sandbox: Any) -> None:
    """A proxy that takes each request and drops it: each may have been charged, so not all rows are tried on it."""
    job = launched(people, sandbox)
    sandbox.control("arm", verb="chat", fault="drop_before", times=0)
    batch = waiting(job)
    sandbox.control("disarm")
    assert batch.wait_reason.startswith(
        "the provider cannot be reached, going on when it is back: The connection broke before the whole answer was there."
    )
    job = drive.drive(job, poll_seconds=0.05, seconds=60)
    assert (job.state, job.n_succeeded + job.n_missing) == (JobState.COMPLETED_WITH_FAILURES, ROWS)
    assert 0 < job.n_missing < ROWS / 2
    assert Counter(executed_rows(sandbox).values()) == {1: job.n_succeeded}
