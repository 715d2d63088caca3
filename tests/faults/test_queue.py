"""T7: a hostile queue, which drops, doubles, delays and reorders what it is given. The jobs settle all the same, each batch made once."""

from __future__ import annotations

import os
import threading
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections

from jobs import tasks
from jobs.engine import plan, pump
from jobs.models import Batch, Event, Job, Round
from jobs.words import JobState
from tests.engine import world
from tests.faults.invariants import check_end
from tests.faults.test_nth import in_this_process

pytestmark = pytest.mark.django_db(transaction=True)
GROUPS = 50 if os.environ.get("BATCHUI_NIGHT") else 1
JOBS = [
    {"kind": "openai", "per_batch": 2},
    {"kind": "anthropic", "per_batch": 3},
    {"kind": "openai", "per_batch": 3, "model": "gpt-6-luna+errors=2,once"},
    {"kind": "openai", "per_batch": 2, "lane": "direct"},
]


class Queue:
    """Takes tasks as django-q does, and hands them out as it likes."""

    def __init__(self, luck: Random) -> None:
        self.luck = luck
        self.round = 0
        self.waiting: list[tuple[int, str]] = []  # the round in which it is handed out, and what is to be looked at
        self.n_dropped = self.n_doubled = 0

    def put(self, task: str, what: str) -> None:
        assert task == pump.TASK
        if self.luck.random() < 0.2:
            self.n_dropped += 1
            return
        is_doubled = self.luck.random() < 0.3
        self.n_doubled += is_doubled
        for _ in range(1 + is_doubled):
            # At once, some rounds later, or days later, when the job has ended long ago.
            self.waiting.append((self.round + self.luck.choices((0, 1, 4, 10_000), weights=(60, 20, 12, 8))[0], what))

    def take(self, everything: bool = False) -> list[str]:
        """What comes now, in any order."""
        now = [what for due, what in self.waiting if everything or due <= self.round]
        self.waiting = [] if everything else [each for each in self.waiting if each[0] > self.round]
        self.round += 1
        self.luck.shuffle(now)
        return now


def deliver(found: list[str], luck: Random) -> None:
    """Each task to a worker; the two of a doubled one now and then to two workers at the same moment."""
    for what in found:
        if found.count(what) > 1 and luck.random() < 0.3:
            line = threading.Barrier(2)
            workers = [threading.Thread(target=_at_once, args=(what, line)) for _ in range(2)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        else:
            tasks.advance(what)


def _at_once(what: str, line: threading.Barrier) -> None:
    try:
        line.wait(20)
        tasks.advance(what)
    finally:
        connections.close_all()


def ledger() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (Job, Round, Batch, Event)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(GROUPS))
def test_a_hostile_queue(people: Any, sandbox: Any, data_folder: Any, monkeypatch: Any, settings: Any, seed: int) -> None:
    settings.NUDGE = True
    luck = Random(seed)
    queue = Queue(luck)
    monkeypatch.setattr(plan, "stream_child", in_this_process)
    monkeypatch.setattr(pump, "async_task", queue.put)
    monkeypatch.setattr(pump, "get_broker", lambda: SimpleNamespace(queue_size=lambda: len(queue.waiting) % 10))
    monkeypatch.setattr(pump.sweep_clock, "is_due", lambda: False)
    jobs = []
    for wanted in JOBS:
        how = {**wanted}
        lane = how.pop("lane", "batch")
        job = world.make(people, sandbox, planned=False, max_attempts=3, **how)  # type: ignore[arg-type]
        job.rounds.update(lane=lane)
        jobs.append(job)
    for _ in range(150):
        for job in jobs:
            if not JobState(job.state).terminal:
                world.hurry(job)
        for _ in range(luck.choice((0, 1, 1, 2))):
            pump.run_once()
        deliver(queue.take(), luck)
        sandbox.control("advance", seconds=60)
        for job in jobs:
            job.refresh_from_db()
        if all(JobState(job.state).terminal for job in jobs):
            break
    assert [(job.state, job.n_succeeded) for job in jobs] == [(JobState.COMPLETED, 6)] * len(JOBS)
    assert queue.n_dropped > 3
    assert queue.n_doubled > 3
    before = ledger()
    deliver(queue.take(everything=True), luck)
    assert ledger() == before
    made = [call["batch"] for call in sandbox.control("calls", verb="batches.create")]
    known = Batch.objects.exclude(provider_batch_id__startswith="direct-")
    assert sorted(made) == sorted(known.values_list("provider_batch_id", flat=True))
    for job in jobs:
        job_sandbox = Only(sandbox, job)
        check_end(job, job_sandbox)


class Only:
    """The provider's log of one job alone."""

    def __init__(self, sandbox: Any, job: Job) -> None:
        self.sandbox = sandbox
        self.ids = set(Batch.objects.filter(job=job).values_list("provider_batch_id", flat=True))

    def control(self, action: str, **payload: Any) -> Any:
        found = self.sandbox.control(action, **payload)
        if action == "":
            return {**found, "batches": [each for each in found["batches"] if each["id"] in self.ids]}
        return found
