"""The flex lane from the launch to the receipt: refusals are waited out and cost nothing, and what is paid is the price of flex."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from jobs.engine.direct import FLEX_TRIES
from jobs.engine.launch import Plan, launch
from jobs.engine.receipts import receipt_of
from jobs.models import Job
from jobs.words import JobState, Lane, RoundReason
from tests.jobs import make_connection, make_dataset, make_prompt, settled
from tests.money.tools import executed_rows

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = 24


def launched(people: Any, sandbox: Any, model: str, max_attempts: int = 1) -> Job:
    home, owner = people.home, people.owner
    plan = Plan(home, make_dataset(home, owner, ROWS), make_prompt(home, owner), make_connection(home, owner, sandbox), model)
    plan.lane, plan.max_attempts = Lane.FLEX, max_attempts
    return launch(plan, owner)


def test_refusals_for_want_of_room_are_backed_off_and_not_charged(people: Any, sandbox: Any) -> None:
    job = settled(launched(people, sandbox, "gpt-6-luna+resource=25%,once"))
    assert (job.state, job.n_succeeded, job.rounds.count()) == (JobState.COMPLETED, ROWS, 1)
    calls = Counter(row["status"] for row in sandbox.control("executed"))
    assert calls[429] > 0
    assert calls[200] == ROWS
    assert Counter(executed_rows(sandbox).values()) == {1: ROWS}


def test_flex_is_paid_at_the_price_of_a_batch(people: Any, sandbox: Any) -> None:
    job = settled(launched(people, sandbox, "gpt-6-luna"))
    found = receipt_of(job)
    (only,) = found.rounds
    assert (only.reason, only.lane, only.rows) == (RoundReason.FIRST, Lane.FLEX, ROWS)
    assert found.paid.amount == job.paid_usd
    prices = {line.kind: line.price for line in found.lines}
    assert (prices["input"], prices["output"]) == (Decimal("0.05"), Decimal("0.25"))
    assert found.paid.amount is not None
    assert found.realtime.amount == 2 * found.paid.amount
    assert {line["body"] for line in sandbox.control("executed")} == set(executed_rows(sandbox))


def test_what_stays_refused_is_a_row_that_cost_nothing_and_may_go_again(people: Any, sandbox: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("jobs.engine.direct._pause", lambda going, seconds: None)
    monkeypatch.setattr("jobs.engine.pace.Pace.busy", lambda pace, after: None)
    job = settled(launched(people, sandbox, "gpt-6-luna+resource=25%"))
    assert (job.state, job.n_succeeded + job.n_failed) == (JobState.COMPLETED_WITH_FAILURES, ROWS)
    assert 0 < job.n_failed < ROWS
    assert (receipt_of(job).uncertain.amount, job.wasted_usd) == (0, 0)
    assert sum(executed_rows(sandbox).values()) == job.n_succeeded
    failed = Counter(row["body"] for row in sandbox.control("executed") if row["status"] == 429)
    assert Counter(failed.values()) == {FLEX_TRIES: job.n_failed}
