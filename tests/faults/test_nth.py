"""T5: each operation of a small job fails once; the job settles all the same, with its books in order and nothing left over.

At night every single one fails, before and after it was carried out; by day one at each of some places in the code (all with
BATCHUI_PLACES=1000), and a few pairs.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.db import Error
from django.utils import timezone

from jobs.engine import places, plan, render_child
from jobs.engine.advance import advance
from jobs.engine.pump import due
from jobs.models import Batch, Connection, Job
from jobs.words import JobState
from tests.engine import world
from tests.faults.books import left_over
from tests.faults.invariants import check_end
from tests.faults.nth import Operations

pytestmark = pytest.mark.django_db(transaction=True)
NIGHT = bool(os.environ.get("BATCHUI_NIGHT"))
N_PLACES = int(os.environ.get("BATCHUI_PLACES") or 8)
N_PAIRS = 200 if NIGHT else 2
N_ROWS = 4
HOWS = {"commit": ("before", "after"), "call": ("before", "after"), "write": ("before", "half")}
SCENARIOS: dict[str, dict[str, Any]] = {
    "openai": {"kind": "openai", "orders": "errors=1,once"},
    "anthropic": {"kind": "anthropic", "orders": "errors=1,once"},
    "direct": {"kind": "openai", "lane": "direct"},
}


class Story:
    """One small job after another over the same ledger and provider, each with operations of its own that fail."""

    def __init__(self, people: Any, sandbox: Any, folder: Path, kind: str, orders: str = "", lane: str = "batch") -> None:
        self.people, self.sandbox, self.folder, self.kind, self.orders, self.lane = people, sandbox, folder, kind, orders, lane

    def wrong(self, failing: dict[int, str]) -> str:
        """What is wrong after a run in which these operations fail; "" when nothing is."""
        try:
            self.run(failing)
        except AssertionError as error:
            told = f"{failing}: {error}"
            print(told, flush=True)
            return told
        return ""

    def run(self, failing: dict[int, str]) -> Operations:
        """A job from its launch to its end; the operations that it took."""
        self.sandbox.control("reset")
        if self.orders:
            self.sandbox.control("arm", orders=self.orders, times=1)
        connection = world.connect(self.people, self.sandbox, self.kind, limits={"requests_per_batch": 2, "concurrency": 1})
        job = world.make(self.people, self.sandbox, n_rows=N_ROWS, connection=connection, planned=False, max_attempts=3)
        job.rounds.update(lane=self.lane)
        operations = Operations(self.folder, failing)
        with operations.watching():
            for _ in range(40):
                self._tick(job, operations)
                job.refresh_from_db()
                if JobState(job.state).terminal:
                    break
        self._check_end(job, operations)
        return operations

    def _tick(self, job: Job, operations: Operations) -> None:
        world.hurry(job)
        for kind, each in list(due(job=job)):
            with operations.counted(), suppress(Error):  # as the queue does with a task that raises
                advance(kind, str(each.pk))
        if operations.failed:  # what could not be given back runs out
            for model in (Job, Batch, Connection):
                model.objects.update(lease_until=None)  # type: ignore[attr-defined]
        self.sandbox.control("advance", seconds=60)

    def _check_end(self, job: Job, operations: Operations) -> None:
        told = [(each.state, each.wait_reason, each.problem) for each in job.batches.all()]
        assert JobState(job.state).terminal, (job.state, job.needs, told)
        check_end(job, self.sandbox)
        made = self.sandbox.control("calls", verb="batches.create")
        sent = [each.provider_batch_id for each in Batch.objects.filter(job=job) if not each.provider_batch_id.startswith("direct-")]
        assert sorted(call["batch"] for call in made) == sorted(sent)
        for model in (Job, Batch, Connection):
            assert not model.objects.filter(lease_until__isnull=False).exists()  # type: ignore[attr-defined]
        assert left_over(places.job_folder(job)) == []
        lost = N_ROWS - job.n_succeeded
        assert lost <= (len(operations.failed) if self.lane == "direct" else 0), world.kinds(job)


def in_this_process(module: str, request: dict[str, Any], **_limits: Any) -> Any:
    return render_child.answer(request)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_each_operation_may_fail(people: Any, sandbox: Any, data_folder: Path, monkeypatch: Any, scenario: str) -> None:
    monkeypatch.setattr(plan, "stream_child", in_this_process)
    story = Story(people, sandbox, data_folder, **SCENARIOS[scenario])
    sites = story.run({}).sites
    assert len(sites) > 60
    luck = Random(timezone.now().toordinal() if NIGHT else 1)
    singles = [(n, how) for n in (range(len(sites)) if NIGHT else spread(sites)) for how in ways(sites[n][0], n)]
    pairs = [luck.sample(range(len(sites)), 2) for _ in range(N_PAIRS)]
    plans = [{n: how} for n, how in singles] + [{min(pair): "before", max(pair): "after"} for pair in pairs]
    found = [story.wrong(failing) for failing in plans]
    assert len(found) >= N_PAIRS + 8
    assert [wrong for wrong in found if wrong] == []


def ways(kind: str, number: int) -> tuple[str, ...]:
    """How an operation of this kind fails; by day one of them."""
    hows = HOWS.get(kind, ("before",))
    return hows if NIGHT else (hows[number % len(hows)],)


def spread(sites: list[tuple[str, ...]]) -> list[int]:
    """Numbers of operations at N_PLACES different places, from the first to the last."""
    firsts = [number for number, site in enumerate(sites) if site not in sites[:number]]
    return firsts[:: max(1, len(firsts) // N_PLACES)]
