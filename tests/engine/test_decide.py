"""A person decides what the look-up cannot, and sees what else is at the provider."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from jobs.engine import decide, orphans, sweep, sweep_clock, twins
from jobs.errors import BadInput
from jobs.models import AuditEntry, Connection, Heartbeat
from tests.engine.test_reconcile import foreign, lose
from tests.engine.world import batch_of, creates, finish, kinds, look, texts

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def long_window(settings: Any) -> None:
    settings.SANDBOX_ABSENCE_SECONDS = 600.0


def test_adopt_takes_the_named_batch(make: Any, sandbox: Any, people: Any) -> None:
    job = make()
    batch = lose(job, sandbox)
    there = sandbox.control("")["batches"][0]["id"]
    batch = decide.adopt(batch, people.owner, f" {there} ")
    assert (batch.state, batch.provider_batch_id) == ("submitted", there)
    entry = AuditEntry.objects.get(action="batch adopted")
    assert (entry.user, entry.detail) == (people.owner, {"provider_batch_id": there})
    assert f"Batch 1: adopted as {there} by owner" in texts(job, "batch:submitted")
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 1)


def test_adopt_refuses_what_cannot_be_it(make: Any, sandbox: Any, people: Any) -> None:
    job = make(per_batch=3)
    first = look(batch_of(job, 1))
    second = lose(job, sandbox, 2)
    for wanted, words in (
        ("", "Enter the provider's id of the batch."),
        (first.provider_batch_id, f"{first.provider_batch_id} is another batch of batchui already."),
        ("batch_none", "The provider could not be asked about batch_none: "),
    ):
        with pytest.raises(BadInput) as refused:
            decide.adopt(second, people.owner, wanted)
        assert refused.value.message.startswith(words)
    with pytest.raises(BadInput) as refused:
        decide.adopt(first, people.owner, "batch_x")
    assert refused.value.message == "The batch is being worked on right now, or it has moved on."
    assert look(second).state == "submitted"  # nothing stayed held


def test_anthropic_results_of_other_rows_are_refused(make: Any, sandbox: Any, people: Any) -> None:
    job = make(kind="anthropic")
    sandbox.control("arm", verb="batches.create", fault="drop_before")
    batch = look(batch_of(job))
    other, short = foreign(sandbox, 6), foreign(sandbox, 2)
    sandbox.control("advance", seconds=60)
    with pytest.raises(BadInput, match="are of other rows"):
        decide.adopt(batch, people.owner, other)
    with pytest.raises(BadInput, match="has 2 requests, this batch has 6 rows"):
        decide.adopt(batch, people.owner, short)


def test_resubmit_states_the_risk_and_is_recorded(make: Any, sandbox: Any, people: Any) -> None:
    job = make()
    sandbox.control("arm", verb="batches.create", fault="drop_before")
    batch = look(batch_of(job))
    risk = decide.risk_of(batch)
    assert risk is not None
    # 6 answers of at most 100 tokens at 0.25 dollars a million, and the prompts.
    assert Decimal("0.00015") < risk < Decimal("0.0003")
    assert decide.risk_in_words(batch).startswith("If the provider took the batch after all, its 6 rows run twice and up to $0.00")
    batch = decide.resubmit(batch, people.owner)
    assert (batch.state, len(batch.past_tokens)) == ("ready", 1)
    entry = AuditEntry.objects.get(action="batch sent again")
    assert (entry.user, Decimal(entry.detail["risk_usd"])) == (people.owner, risk)
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 1)


def test_resubmit_that_was_wrong_is_found_by_the_sweep(make: Any, sandbox: Any, people: Any) -> None:
    job = make(model="gpt-6-luna+slow=30s")
    batch = lose(job, sandbox)
    lost = sandbox.control("")["batches"][0]["id"]
    decide.resubmit(batch, people.owner)
    look(batch_of(job))
    sweep.sweep()
    assert texts(job, sweep.LATE) == [
        f"Batch 1: a create that had proved absent turned up late as {lost} (in_progress, no answers yet)"
    ] or texts(job, sweep.LATE) == [f"Batch 1: a create that had proved absent turned up late as {lost} (validating, no answers yet)"]
    assert twins.ids_of(batch.connection) == {lost}
    sandbox.control("advance", seconds=60)
    assert {b["id"]: b["status"] for b in sandbox.control("")["batches"]}[lost] == "cancelled"
    sweep.sweep()
    assert len(texts(job, sweep.LATE)) == 1
    assert len(texts(job, twins.ENDED)) == 1
    assert kinds(finish(job, sandbox)) == {"succeeded": 6}


def test_sweep_is_due_once_an_hour_for_one_pump() -> None:
    assert (sweep_clock.is_due(), sweep_clock.is_due()) == (True, False)
    row = Heartbeat.objects.get(name="sweep")
    Heartbeat.objects.update(at=row.at - sweep_clock.EVERY)
    assert (sweep_clock.is_due(), sweep_clock.is_due()) == (True, False)


def test_orphans_are_listed_cancelled_and_set_aside(make: Any, sandbox: Any, people: Any) -> None:
    slow = "claude-haiku-4-5+slow=60s"
    job = make(kind="anthropic", model=slow)
    look(batch_of(job))
    connection = Connection.objects.get(pk=job.connection_id)
    assert orphans.orphans_of(connection).at is None
    one, two = foreign(sandbox, 3, model=slow), foreign(sandbox, 4, model=slow)
    seen = orphans.look(connection)
    assert [(each.id, each.n_requests, each.could_be) for each in seen.found] == [(two, 4, ()), (one, 3, ())]
    assert seen.complete
    connection.refresh_from_db()
    assert orphans.orphans_of(connection) == seen
    left = orphans.ignore(connection, people.owner, two)
    assert [each.id for each in left.found] == [one]
    after = orphans.cancel(connection, people.owner, one)
    assert [each.id for each in after.found] == [one]
    assert {b["id"]: b["status"] for b in sandbox.control("")["batches"]}[one] in ("canceling", "cancelling", "ended")
    with pytest.raises(BadInput, match="belongs to a job"):
        orphans.cancel(connection, people.owner, batch_of(job).provider_batch_id)
    assert set(AuditEntry.objects.values_list("action", flat=True)) >= {"orphan cancelled", "orphan set aside"}


def test_orphan_that_could_be_a_lost_batch_says_which(make: Any, sandbox: Any) -> None:
    job = make()
    batch = lose(job, sandbox)
    (found,) = orphans.look(batch.connection).found
    assert (found.made_by_us, found.could_be) == (True, (str(batch.pk),))
