"""A server of one's own that is priced by the hour: jobs pay for the time of their calls; no estimate before that was measured."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse

from jobs.costs.lookup import price_sheet
from jobs.costs.prices import time_cost
from jobs.engine import drafts, offers
from jobs.engine.audit import audit_job
from jobs.engine.drive import step
from jobs.engine.launch import Plan, launch, new_token
from jobs.engine.pace import CLOCK
from jobs.engine.places import results_folder
from jobs.engine.prices import save_price
from jobs.engine.receipts import receipt_of
from jobs.errors import BadInput
from jobs.models import Batch, Job
from jobs.words import JobState, Lane
from tests.jobs import make_connection, make_dataset, make_prompt, settled
from tests.money.tools import try_rows

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = Decimal("7.2")


@pytest.fixture
def plan(people: Any, sandbox: Any) -> Plan:
    home, owner = people.home, people.owner
    save_price(home, owner, kind="openai", model="gpt-6-luna", prices={"per_hour": str(HOUR)})
    found = Plan(home, make_dataset(home, owner, 30), make_prompt(home, owner), make_connection(home, owner, sandbox), "gpt-6-luna")
    found.lane = Lane.DIRECT
    return found


def took(job: Job) -> int:
    """Milliseconds by the clocks of its batches, read here and not by what is tested."""
    lines = [line for batch in job.batches.all() for line in (results_folder(batch) / CLOCK).read_text().split()]
    return sum(map(int, lines))


def test_a_job_pays_for_the_time_of_its_calls(plan: Plan, people: Any, as_owner: Any) -> None:
    job = settled(launch(plan, people.owner))
    assert (job.state, job.n_unpriced) == (JobState.COMPLETED, 0)
    ms = took(job)
    assert ms > 0
    expected = (HOUR * ms / 3_600_000).quantize(Decimal("1e-12"))
    found = receipt_of(job)
    assert found.paid.amount == found.realtime.amount == expected
    assert job.paid_usd == pytest.approx(expected, abs=Decimal("1e-9"))
    (line,) = [line for line in found.lines if line.kind == "time"]
    assert (line.tokens, line.price, line.amount) == (ms, HOUR, expected)
    assert {line.amount for line in found.lines if line.kind != "time"} == {Decimal(0)}
    assert found.hit_rate is not None
    assert "Priced by the hour: $7.2 for each hour of calls, shared by the jobs that run at the same time." in found.notes
    assert list(audit_job(job)) == []
    page = as_owner.get(reverse("job-receipt", args=[job.pk])).content.decode()
    assert "Seconds of the server" in page
    assert "$7.20 an hour" in page


def test_runs_at_the_same_time_share_the_hour(plan: Plan, people: Any) -> None:
    job = launch(plan, people.owner)
    step(job)
    (batch,) = job.batches.all()
    folder = results_folder(batch)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CLOCK).write_text("3600000\n")  # an hour before a crash, with nobody beside it
    job = settled(job)
    assert receipt_of(job).paid.amount == time_cost(HOUR, took(job)) > HOUR


def test_the_estimate_is_unknown_until_a_try_has_measured_it(plan: Plan, people: Any) -> None:
    draft = drafts.start(people.home, people.owner, plan.dataset_version, plan.prompt_version)
    draft = drafts.choose_model(draft, plan.connection, plan.model, {})
    lane = offers.estimate_of(draft).lanes["direct"]
    assert (lane.low, lane.high) == (None, None)
    assert lane.reason == "It is priced by the hour, and how long it takes is not known before some rows were tried."
    Job.objects.filter(pk=draft.pk).update(lane=Lane.DIRECT)
    draft.refresh_from_db()
    try_rows(draft, plan, [0, 1, 2, 3, 4])
    found = offers.estimate_of(draft)
    lane = found.lanes["direct"]
    (batch,) = Batch.objects.filter(job=draft)
    speed = Decimal(batch.usage["output_tokens"]) * 1000 / batch.usage["ms"]
    middle = HOUR / 3600 * Decimal(batch.usage["output_tokens"]) / 5 * 30 / speed
    assert lane.low is not None
    assert lane.high is not None
    assert 0 < lane.low < middle < lane.high
    assert any(words.startswith("Priced by the hour. Measured in one run here: ") for words in found.basis)
    assert found.lanes["batch"].reason == "It is priced by the hour of ordinary calls; how long a server works on a batch is not known."


def test_a_cap_cannot_be_kept_by_what_has_no_bound(plan: Plan, people: Any) -> None:
    plan.cap_usd, plan.token = Decimal(1), new_token()
    with pytest.raises(BadInput, match="no estimate to hold against it"):
        launch(plan, people.owner)
    plan.cap_usd, plan.token = None, new_token()
    job = launch(plan, people.owner)
    Job.objects.filter(pk=job.pk).update(cap_usd=Decimal(1))
    for _ in range(3):
        step(job)
    (batch,) = job.batches.all()
    assert batch.wait_reason == "held: its price has no known bound, so the job's cap of $1.00 could not be kept"


def test_prices_by_the_hour_that_make_no_sense_are_refused() -> None:
    for bad in ({"per_hour": "-1"}, {"per_hour": "x"}, {"per_hour": "1", "batch_discount": "0.5"}, {"per_hour": "1", "output": "-2"}):
        with pytest.raises(BadInput):
            price_sheet("openai-compatible", "m", overrides={"m": bad}, today=date(2026, 11, 21))


def test_an_admin_enters_it_in_the_form(people: Any, as_owner: Any) -> None:
    form = {"kind": "openai-compatible", "model": "qwen", "per_hour": "1.2"}
    assert as_owner.post(reverse("price-save"), {**form, "per_hour": ""}).status_code == 422
    assert as_owner.post(reverse("price-save"), form).status_code == 302
    page = as_owner.get(reverse("price-list")).content.decode()
    assert "$1.20 an hour of calls" in page
    found = price_sheet("openai-compatible", "qwen", overrides={"qwen": {"per_hour": "1.2"}}, today=date(2026, 11, 21))
    assert (found.per_hour, set(found.lanes)) == (Decimal("1.2"), {"direct"})
