"""Commands, ticks, deaths at named points, workers that oversleep their lease there while another one works, and faults of the provider in
any order, over HTTP; the invariants after each step."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import pytest
from django.conf import settings as live
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from jobs.engine import crash, lease
from jobs.engine.advance import advance
from jobs.engine.cancel import cancel
from jobs.engine.launch import new_token
from jobs.engine.lease import boot_clock
from jobs.engine.pump import due
from jobs.engine.retry import retry
from jobs.errors import BadInput
from jobs.models import Job
from jobs.rows.choose import Wanted
from jobs.words import JobState, RoundState
from tests.engine import world
from tests.faults.invariants import check, check_end
from tests.faults.test_kill import POINTS
from tests.faults.test_points import Dead, forget_leases

pytestmark = pytest.mark.django_db
NIGHT = bool(os.environ.get("BATCHUI_NIGHT"))
ON_POSTGRES = os.environ.get("TEST_DATABASE") == "postgres"
WANTED = int(os.environ.get("BATCHUI_EXAMPLES") or 0)  # so many random ones, for an hour in between
EXAMPLES, STEPS = (400, 40) if NIGHT else (WANTED or (5 if ON_POSTGRES else 15), 15)
NAMES = sorted({name for name, _ in POINTS})
# Where another worker can come in between; not inside of a transaction.
BETWEEN = sorted(set(NAMES) - {"before outcomes", "after outcomes"})
FAULTS: list[dict[str, Any]] = [
    {"verb": "batches.create", "fault": "drop_after"},
    {"verb": "batches.create", "fault": "drop_before"},
    {"verb": "batches.create", "fault": "status_after", "status": 500},
    {"verb": "batches.create", "fault": "html"},
    {"verb": "batches.create", "fault": "status", "status": 429},
    {"verb": "files.create", "fault": "drop_after"},
    {"verb": "batches.list", "fault": "status", "status": 503},
    {"verb": "batches.list", "fault": "page", "n": 1, "times": 2},
    {"verb": "batches.list", "fault": "alien", "n": 2, "times": 2},
    {"verb": "batches.get", "fault": "status", "status": 404},
    {"verb": "batches.get", "fault": "garbage"},
    {"verb": "files.content", "fault": "cut", "keep": 0.5, "how": "length"},
    {"verb": "batches.results", "fault": "cut", "keep": 0.5, "how": "close"},
    {"verb": "batches.cancel", "fault": "status", "status": 500},
    {"orders": "errors=1,once", "times": 1},
    {"orders": "missing=1", "times": 1},
    {"orders": "duplicate=1,stray=1", "times": 1},
    {"orders": "expire=50%", "times": 1},
]


def machine(people: Any, sandbox: Any) -> type[RuleBasedStateMachine]:
    """A machine over this test's ledger and sandbox."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            sandbox.control("reset")
            self.dies_at = self.sleeps_at = ""
            self.slept = 0.0
            crash.hook = self._point
            lease.boot_clock = lambda: boot_clock() + self.slept

        def _point(self, name: str) -> None:
            if name == self.dies_at:
                self.dies_at = ""
                raise Dead
            if name == self.sleeps_at:
                self.sleeps_at = ""
                self._oversleep(name)

        def _oversleep(self, name: str) -> None:
            """This worker's machine stands still past the end of its lease, another worker does what is due, and this one goes on."""
            forget_leases(self.job)
            self.slept += 1e6
            # Within a call the window protects: what is sent so late is waited for.
            live.SANDBOX_ABSENCE_SECONDS = 1000.0 if name == "in create" else 0.0
            for _ in range(2):
                world.tick(self.job, sandbox)
            live.SANDBOX_ABSENCE_SECONDS = 0.0

        @initialize(kind=st.sampled_from(["openai", "anthropic"]), attempts=st.integers(1, 3))
        def launch(self, kind: str, attempts: int) -> None:
            self.job = world.make(people, sandbox, kind=kind, n_rows=5, per_batch=2, max_attempts=attempts)

        @rule()
        def tick(self) -> None:
            self._safely(lambda: world.tick(self.job, sandbox))

        @rule(which=st.integers(0, 5))
        def wake_one_twice(self, which: int) -> None:
            world.hurry(self.job)
            found = list(due(job=self.job))
            if found:
                kind, each = found[which % len(found)]
                if kind != "job" or not self.job.rounds.filter(state=RoundState.PLANNING).exists():
                    self._safely(lambda: [advance(kind, str(each.pk)) for _ in range(2)])

        @rule(name=st.sampled_from(NAMES))
        def die_at(self, name: str) -> None:
            self.dies_at = name
            self._safely(lambda: world.tick(self.job, sandbox))

        @rule(name=st.sampled_from(BETWEEN))
        def sleep_at(self, name: str) -> None:
            self.sleeps_at = name
            self._safely(lambda: world.tick(self.job, sandbox))

        @rule(fault=st.sampled_from(FAULTS))
        def break_the_provider(self, fault: dict[str, Any]) -> None:
            sandbox.control("arm", **fault)

        @rule()
        def cancel(self) -> None:
            cancel(Job.objects.get(pk=self.job.pk), None)

        @rule()
        def retry(self) -> None:
            with suppress(BadInput):
                self._safely(lambda: retry(Job.objects.get(pk=self.job.pk), None, Wanted(), token=new_token()))

        def _safely(self, act: Any) -> None:
            try:
                act()
            except Dead:
                forget_leases(self.job)

        @invariant()
        def books(self) -> None:
            if hasattr(self, "job"):
                check(self.job, sandbox)

        def teardown(self) -> None:
            """When faults stop, the job ends, and everything at the provider is known."""
            crash.hook = None
            sandbox.control("disarm")
            if hasattr(self, "job"):
                job = world.finish(self.job, sandbox)
                assert JobState(job.state).terminal
                check_end(job, sandbox)

    return Machine


def test_any_order(people: Any, sandbox: Any, data_folder: Any) -> None:
    how = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=not (NIGHT or WANTED),
        report_multiple_bugs=False,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(machine(people, sandbox), settings=how)  # type: ignore[no-untyped-call]
    finally:
        crash.hook, lease.boot_clock = None, boot_clock
