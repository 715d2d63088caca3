"""A batch that never ends, or that the provider has forgotten, is given up by a person: nothing else could end the job."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.engine import give_up, sweep
from jobs.engine.cancel import cancel
from jobs.errors import BadInput
from jobs.models import AuditEntry, Batch, Connection, Job
from tests.engine.test_reconcile import lose
from tests.engine.world import batch_of, batch_of_pk, creates, ended, finish, hurry, kinds, look, texts

pytestmark = pytest.mark.django_db
LONG_AGO = timedelta(hours=3)


def stuck(job: Job, **fields: Any) -> Batch:
    batch = look(batch_of(job))
    assert batch.state == "submitted"
    Batch.objects.filter(pk=batch.pk).update(**fields)
    return batch_of_pk(batch)


def test_batch_that_does_not_stop_is_given_up_and_said(make: Any, sandbox: Any, people: Any) -> None:
    job = make(model="gpt-6-luna+never", max_attempts=3)
    batch = stuck(job)
    assert give_up.reason_of(batch) == ""
    with pytest.raises(BadInput, match="still within its time"):
        give_up.give_up(batch, people.owner)
    cancel(job, people.owner)
    Batch.objects.filter(pk=batch.pk).update(cancel_sent_at=timezone.now() - LONG_AGO)  # and the provider did nothing about it
    batch = batch_of_pk(batch)
    assert give_up.reason_of(batch) == "The provider was asked to cancel it, and has not ended it."
    there = batch.provider_batch_id
    batch = give_up.give_up(batch, people.owner)
    assert (batch.state, batch.outcomes, batch.provider_batch_id) == ("settled", {"missing": 6}, there)
    job = finish(job, sandbox)
    assert (job.state, kinds(job), job.paid_usd, creates(sandbox)) == ("cancelled", {"missing": 6}, 0, 1)
    why = "The provider was asked to cancel it, and has not ended it."
    assert texts(job, give_up.GIVEN_UP) == [f"Batch 1: given up by owner. {why} What the provider may have charged for it is not known"]
    assert AuditEntry.objects.get(action="batch given up").user == people.owner

    sandbox.control("end", status="completed", share=1.0)
    sweep.sweep()
    sweep.sweep()  # said once
    assert texts(job, give_up.ENDED) == [
        "Batch 1, given up before, has ended at the provider after all: 6 of its rows were answered and billed"
    ]


def test_nothing_goes_again_by_itself_after_it_was_given_up(make: Any, sandbox: Any, people: Any) -> None:
    """The rows may have been charged, so only a person sends them again, however many attempts are left."""
    job = make(model="gpt-6-luna+never", max_attempts=3)
    give_up.give_up(stuck(job, cancel_sent_at=timezone.now() - LONG_AGO), people.owner)
    job = finish(job, sandbox)
    assert (job.state, job.rounds.count(), creates(sandbox)) == ("failed", 1, 1)


def test_provider_that_still_obeys_is_asked_to_stop_first(make: Any, sandbox: Any, people: Any) -> None:
    job = make(model="gpt-6-luna+never")
    batch = stuck(job, expires_at=timezone.now() - LONG_AGO)
    assert give_up.reason_of(batch) == "The provider is past its own time limit."
    with pytest.raises(BadInput, match="Nothing was given up"):
        give_up.give_up(batch, people.owner)
    assert give_up.reason_of(batch_of_pk(batch)) == ""
    job = finish(job, sandbox)
    ran = sum(each["paid"] for each in sandbox.control("executed"))
    assert (job.n_succeeded, job.n_cancelled, job.n_missing, creates(sandbox)) == (ran, 6 - ran, 0, 1)


def test_batch_that_has_ended_meanwhile_is_collected_instead(make: Any, sandbox: Any, people: Any) -> None:
    job = make(model="gpt-6-luna+never")
    batch = stuck(job, cancel_sent_at=timezone.now() - LONG_AGO)
    sandbox.control("end", status="completed", share=1.0)
    with pytest.raises(BadInput, match="its answers are being collected"):
        give_up.give_up(batch, people.owner)
    job = finish(job, sandbox)
    assert (job.state, kinds(job)) == ("completed", {"succeeded": 6})


def test_provider_that_forgot_the_batch(make: Any, sandbox: Any, people: Any) -> None:
    """A server that lost its state answers 404 for ever; that is no verdict, so a person gives it."""
    job = make(model="gpt-6-luna+never")
    batch = stuck(job)
    sandbox.control("reset")
    for _ in range(give_up.MANY_ERRORS):
        batch = look(batch)
    assert (batch.state, give_up.reason_of(batch)) == ("submitted", "")
    Batch.objects.filter(pk=batch.pk).update(submitted_at=timezone.now() - LONG_AGO)
    batch = batch_of_pk(batch)
    assert give_up.reason_of(batch) == "The provider cannot be asked about it."
    assert give_up.give_up(batch, people.owner).state == "settled"


def test_lost_create_that_nobody_can_decide(make: Any, sandbox: Any, people: Any, settings: Any) -> None:
    settings.SANDBOX_ABSENCE_SECONDS = 60.0
    job = make()
    batch = lose(job, sandbox)
    sandbox.control("arm", verb="batches.list", fault="status", status=500, times=0)
    batch = look(batch)
    assert (batch.state, give_up.reason_of(batch)) == ("unknown", "")
    Batch.objects.filter(pk=batch.pk).update(submitting_at=timezone.now() - LONG_AGO)
    batch = give_up.give_up(batch_of_pk(batch), people.owner)
    assert (batch.state, len(batch.past_tokens)) == ("settled", 1)
    hurry(job)
    sandbox.control("disarm")
    sandbox.control("advance", seconds=60)
    sweep.sweep()
    (late,) = texts(job, "batch:late")
    assert "turned up late" in late
    assert creates(sandbox) == 1


def test_with_a_key_that_cannot_be_opened_the_job_can_still_be_ended(make: Any, sandbox: Any, people: Any) -> None:
    """The seal key is lost, and with it every way to ask the provider."""
    job = make()
    batch = stuck(job, expires_at=timezone.now() - LONG_AGO)
    Connection.objects.filter(pk=batch.connection_id).update(sealed_key="0:of another deployment")
    batch = give_up.give_up(look(batch), people.owner)
    assert (batch.state, batch.outcomes) == ("settled", {"missing": 6})
    assert finish(job, sandbox).state == "failed"


def test_results_that_cannot_be_fetched(make: Any, sandbox: Any, people: Any) -> None:
    """Over at the provider: nothing is there to stop, and the reason is what keeps from fetching."""
    job = make(max_attempts=3)
    batch = ended(batch_of(job), sandbox)
    sandbox.control("arm", verb="files.content", fault="status", status=404, times=0)
    for _ in range(give_up.MANY_ERRORS):
        batch = look(batch)
    assert (batch.state, give_up.reason_of(batch)) == ("ended", "")
    Batch.objects.filter(pk=batch.pk).update(ended_at=timezone.now() - LONG_AGO)
    batch = batch_of_pk(batch)
    assert give_up.reason_of(batch) == f"Its results cannot be fetched: {batch.problem}"
    assert give_up.give_up(batch, people.owner).outcomes == {"missing": 6}
    job = finish(job, sandbox)
    assert (job.state, job.rounds.count(), creates(sandbox)) == ("failed", 1, 1)
    assert sandbox.control("calls", verb="batches.cancel") == []
