"""A batch that does not come back, given up on its page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from jobs.models import Batch
from tests.engine.world import batch_of, batch_of_pk, finish, kinds, look, plan_here
from tests.engine.world import make as make_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def stuck(people: Any, sandbox: Any, data_folder: Any) -> Batch:
    """Asked to stop three hours ago, and still running."""
    batch = look(batch_of(make_world(people, sandbox, model="gpt-6-luna+never")))
    Batch.objects.filter(pk=batch.pk).update(cancel_sent_at=timezone.now() - timedelta(hours=3))
    return batch_of_pk(batch)


def address(batch: Batch) -> str:
    return reverse("job-give-up", args=[batch.job_id, batch.pk])


def test_the_job_page_leads_admins_there(sign_in: Any, people: Any, stuck: Batch) -> None:
    page = reverse("job-detail", args=[stuck.job_id])
    html = sign_in(people.owner).get(page).content.decode()
    assert "Batch 1, round 1, 6 rows: The provider was asked to cancel it, and has not ended it." in html
    assert address(stuck) in html
    html = sign_in(people.analyst).get(page).content.decode()
    assert address(stuck) not in html
    assert "An admin of the workspace can give it up, which frees its rows." in html


def test_it_is_given_up_by_typing_it(as_owner: Any, sandbox: Any, stuck: Batch) -> None:
    html = as_owner.get(address(stuck)).content.decode()
    assert "The provider may have answered some of its 6 rows, or may still answer them, and bill up to $0.0" in html
    refused = as_owner.post(address(stuck), {"confirm": "yes"})
    assert (refused.status_code, "Nothing was changed." in refused.content.decode()) == (422, True)
    assert batch_of_pk(stuck).state == "submitted"
    assert as_owner.post(address(stuck), {"confirm": " Give up "})["Location"] == reverse("job-detail", args=[stuck.job_id])
    job = finish(stuck.job, sandbox)
    assert (job.state, kinds(job)) == ("failed", {"missing": 6})
    again = as_owner.get(address(stuck), follow=True).content.decode()
    assert "Batch 1 is not one to give up" in again


def test_batch_that_is_well_cannot_be_given_up(as_owner: Any, people: Any, sandbox: Any, data_folder: Any) -> None:
    batch = look(batch_of(make_world(people, sandbox, model="gpt-6-luna+never")))
    assert as_owner.post(address(batch), {"confirm": "give up"}).status_code == 302
    assert batch_of_pk(batch).state == "submitted"


def test_answers_that_cannot_be_collected(as_owner: Any, people: Any, sandbox: Any, data_folder: Any) -> None:
    """Trouble of ours, of a job in real time as well."""
    job = make_world(people, sandbox, planned=False)
    job.rounds.update(lane="direct")
    plan_here(job)
    words, long_ago = "the storage failed; it is tried again (Input/output error)", timezone.now() - timedelta(hours=3)
    there = {"state": "fetched", "provider_batch_id": "direct-1", "n_errors": 5, "ended_at": long_ago}
    Batch.objects.filter(job=job).update(problem=words, wait_reason=words, next_look_at=timezone.now() + timedelta(minutes=1), **there)
    batch = batch_of(job)
    html = as_owner.get(reverse("job-detail", args=[job.pk])).content.decode()
    assert f"Batch 1, round 1, 6 rows: Its answers are here and cannot be collected: {words}." in html
    html = as_owner.get(address(batch)).content.decode()
    assert "The files stay where they are, but nobody reads them any more. Its rows end as “No answer came back”." in html
    assert "What was answered of its 6 rows was billed, up to $0.0" in html
    as_owner.post(address(batch), {"confirm": "give up"})
    job = finish(job, sandbox)
    assert (job.state, kinds(job)) == ("failed", {"missing": 6})
