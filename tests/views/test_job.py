"""The page of a job: who may see it, what it says, how it lives, cancel."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from jobs.models import Batch, Event, Job
from jobs.queries.job import Facts, sentence, stamp_of, title
from jobs.queries.job_money import about, cost_per_row, price_words
from tests.jobs import make_job

HTMX = {"HX-Request": "true"}
READ = ["job-detail", "job-batches", "job-timeline", "job-failures", "job-rows", "job-charts"]


def test_every_page_is_for_members_alone(job: Job, people: Any, sign_in: Any) -> None:
    addresses = [reverse(name, args=[job.pk]) for name in READ]
    addresses += [
        reverse("job-row", args=[job.pk, 3]),
        reverse("job-row-prompt", args=[job.pk, 3]),
        reverse("job-download", args=[job.pk, "csv"]),
    ]
    acts = [reverse("job-retry", args=[job.pk]), reverse("job-cancel", args=[job.pk])]
    owner, viewer, outsider = (sign_in(person) for person in (people.owner, people.viewer, people.outsider))
    assert {a: (owner.get(a).status_code, viewer.get(a).status_code, outsider.get(a).status_code) for a in addresses} == dict.fromkeys(
        addresses, (200, 200, 404)
    )
    assert {a: (viewer.post(a).status_code, outsider.post(a).status_code) for a in acts} == dict.fromkeys(acts, (403, 404))
    assert owner.get(reverse("job-retry", args=[job.pk])).status_code == 200
    assert owner.get(reverse("job-detail", args=[uuid.uuid4()])).status_code == 404
    assert job.rounds.count() == 1


def test_page_says_failure_first_and_links_each_count_to_its_rows(job: Job, as_owner: Any) -> None:
    page = as_owner.get(reverse("job-detail", args=[job.pk])).content.decode()
    assert "<title>8 rows did not succeed · Sort tickets · batchui</title>" in page
    rows = reverse("job-rows", args=[job.pk])
    counts = dict(re.findall(rf'<a href="{rows}\?([^"]*)"><span class="swatch[^>]*></span><b>(\d+)</b>', page))
    assert counts == {"kind=succeeded": "16", "kind=invalid": "4", "kind=failed": "3", "kind=missing": "1"}
    assert "16 of 24 rows succeeded, in " in page
    assert "<b>100 %</b>" in page
    assert "data-live=" not in page
    assert "Retry 8 rows, about $0.0001" in page or "Retry 8 rows, under $0.0001" in page


def test_viewer_sees_no_buttons_that_cost(job: Job, people: Any, sign_in: Any) -> None:
    page = sign_in(people.viewer).get(reverse("job-detail", args=[job.pk])).content.decode()
    assert "Retry" not in page
    assert reverse("job-cancel", args=[job.pk]) not in page


def test_live_region_answers_204_until_something_changes(people: Any, sandbox: Any, data_folder: Any, as_owner: Any) -> None:
    job = make_job(people.home, people.owner, sandbox, settle=False)
    url = reverse("job-detail", args=[job.pk])
    page = as_owner.get(url).content.decode()
    assert '<section class="stack" id="job-live" data-said="Queued" data-live="3"' in page
    seen = re.search(r"\?seen=([\w.]+)", page)[1]  # type: ignore[index]
    assert as_owner.get(url, {"seen": seen}, headers=HTMX).status_code == 204
    Job.objects.filter(pk=job.pk).update(version=99, state="running")
    answer = as_owner.get(url, {"seen": seen}, headers=HTMX)
    assert answer.status_code == 200
    assert answer.content.decode().startswith("<title>0 % · Sort tickets · batchui</title><section")
    assert "<html" not in answer.content.decode()


def test_live_region_slows_down_and_ends(job: Job, people: Any, sandbox: Any, as_owner: Any) -> None:
    url = reverse("job-detail", args=[job.pk])
    Job.objects.filter(pk=job.pk).update(state="running")
    Event.objects.filter(job=job).update(created_at=timezone.now() - timedelta(minutes=2))
    assert 'data-live="15"' in as_owner.get(url).content.decode()
    before = stamp_of(Job.objects.get(pk=job.pk))
    Job.objects.filter(pk=job.pk).update(state="completed_with_failures")
    assert stamp_of(Job.objects.get(pk=job.pk)) != before
    assert "data-live=" not in as_owner.get(url, {"seen": before}, headers=HTMX).content.decode()


def test_stamp_tells_counts_at_the_provider(job: Job) -> None:
    Batch.objects.filter(job=job).update(state="submitted")
    job.state = "running"
    before = stamp_of(job)
    Batch.objects.filter(job=job).update(provider_counts={"total": 24, "succeeded": 7})
    assert stamp_of(job) != before


@pytest.mark.parametrize("path", ["job-detail", "job-failures", "job-rows", "job-batches", "job-timeline", "job-retry"])
def test_page_takes_few_queries(path: str, job: Job, as_owner: Any, django_assert_max_num_queries: Any) -> None:
    as_owner.get(reverse(path, args=[job.pk]))  # a session's first page writes the session
    with django_assert_max_num_queries(12):
        as_owner.get(reverse(path, args=[job.pk]))


@pytest.mark.parametrize("path", ["job-detail", "job-failures"])
def test_page_of_a_running_job_takes_few_queries(path: str, job: Job, as_owner: Any, django_assert_max_num_queries: Any) -> None:
    Job.objects.filter(pk=job.pk).update(state="running")
    Batch.objects.filter(job=job).update(state="unknown")
    as_owner.get(reverse(path, args=[job.pk]))  # a session's first page writes the session
    with django_assert_max_num_queries(12):
        as_owner.get(reverse(path, args=[job.pk]))


def test_row_page_takes_few_queries(job: Job, as_owner: Any, django_assert_max_num_queries: Any) -> None:
    as_owner.get(reverse("job-row", args=[job.pk, 3]))  # a session's first page writes the session
    with django_assert_max_num_queries(12):
        as_owner.get(reverse("job-row", args=[job.pk, 3]))


NOTHING = Facts({}, 0, "", None, 0)


@pytest.mark.parametrize(
    ("state", "fields", "facts", "words"),
    [
        ("queued", {}, NOTHING, "Waiting for a worker to pick it up."),
        ("preparing", {}, NOTHING, "Preparing: the prompt is filled in for each row and cut into batches."),
        ("running", {}, Facts({"ready": 2}, 2, "waiting for headroom", None, 0), "Waiting: waiting for headroom."),
        (
            "running",
            {},
            Facts({"unknown": 1, "submitted": 3}, 4, "", None, 0),
            "The provider gave no clear answer to a batch. It is looked for there; nothing is sent twice.",
        ),
        ("running", {}, Facts({"settled": 1, "submitted": 3}, 4, "", None, 0), "Running: 1 of 4 batches are back."),
        (
            "running",
            {"n_settled_rounds": 1, "n_succeeded": 63},
            Facts({"settled": 1, "submitted": 2}, 3, "", None, 0),
            "Running: 37 rows are being retried.",
        ),
        (
            "running",
            {"n_settled_rounds": 1, "n_succeeded": 7},
            Facts({"settled": 1, "submitted": 2}, 3, "", None, 0, first_pass=True),
            "Running: 1 of 3 batches are back.",
        ),
        ("running", {"needs": "the key was refused"}, NOTHING, "Needs you: the key was refused"),
        ("failed", {}, NOTHING, "None of the 100 rows succeeded. Nothing is running any more."),
    ],
)
def test_sentence_says_how_it_is_going(state: str, fields: dict[str, Any], facts: Facts, words: str) -> None:
    assert sentence(Job(state=state, n_rows=100, **fields), facts) == words


def test_title_never_says_done_before_it_is() -> None:
    assert title(Job(name="J", state="running", n_rows=1000, n_succeeded=1000)) == "99 % · J"
    assert title(Job(name="J", state="completed", n_rows=1000, n_succeeded=1000)) == "Completed · J"
    assert title(Job(name="J", state="cancelled", n_rows=2, n_succeeded=1, n_cancelled=1)) == "1 row did not succeed · J"


def test_price_of_a_retry_comes_from_the_rows_that_succeeded() -> None:
    job = Job(n_rows=10, n_succeeded=8, n_invalid=2, paid_usd=Decimal("10.00"), wasted_usd=Decimal("2.00"), sheet={"known": True})
    assert cost_per_row(job) == Decimal(1)
    assert about(4, cost_per_row(job)) == ", about $4.00"
    assert price_words(Decimal("0.00001")) == "under $0.0001"
    assert cost_per_row(Job(n_rows=10, n_succeeded=8, n_unpriced=1)) is None
    assert about(4, None) == ""


def test_cancel_stops_what_is_not_sent(people: Any, sandbox: Any, data_folder: Any, sign_in: Any) -> None:
    job = make_job(people.home, people.owner, sandbox, settle=False)
    answer = sign_in(people.analyst).post(reverse("job-cancel", args=[job.pk]))
    assert (answer.status_code, answer["Location"]) == (302, reverse("job-detail", args=[job.pk]))
    job.refresh_from_db()
    assert job.state == "cancelling"
    assert sign_in(people.analyst).get(reverse("job-cancel", args=[job.pk]))["Location"] == reverse("job-detail", args=[job.pk])


def test_unclear_batch_is_explained(job: Job, as_owner: Any) -> None:
    Job.objects.filter(pk=job.pk).update(state="running")
    Batch.objects.filter(job=job).update(state="unknown", submitting_at=timezone.now())
    page = as_owner.get(reverse("job-detail", args=[job.pk])).content.decode()
    assert "The provider gave no clear answer to a batch" in page
    assert "Batch 1, round 1: 24 rows" in page


def test_batches_name_their_round_where_there_is_more_than_one(job: Job, as_owner: Any) -> None:
    first = job.batches.get()
    url, decide = reverse("job-timeline", args=[job.pk]), reverse("job-detail", args=[job.pk])
    assert [e.text for e in as_owner.get(url).context["events"] if "Batch 1 of round" in e.text] == []
    assert (first.label, "of round</span>" in as_owner.get(decide).content.decode()) == ("batch 1", False)
    again, other = job.rounds.get(), job.batches.get()
    again.pk, again.number, again._state.adding = uuid.uuid4(), 2, True
    again.save()
    other.pk, other.round, other.provider_batch_id, other.token, other._state.adding = uuid.uuid4(), again, "another", "b2", True
    other.save()
    job.events.create(kind="batch:ready", text="Batch 1: 2 rows ready", batch=other)
    assert (first.label, other.label) == ("batch 1 of round 1", "batch 1 of round 2")
    told = [e.text for e in as_owner.get(url).context["events"] if e.text.startswith("Batch")]
    assert told[0] == "Batch 1 of round 2: 2 rows ready"
    assert all(text.startswith("Batch 1 of round 1: ") for text in told[1:])
    page = as_owner.get(decide).content.decode()
    assert [f'{n} <span class="muted">of round</span> {r}' in page for n, r in ((1, 1), (1, 2))] == [True, True]


def test_draft_goes_to_its_launch(job: Job, as_owner: Any) -> None:
    Job.objects.filter(pk=job.pk).update(state="draft")
    assert as_owner.get(reverse("job-detail", args=[job.pk]))["Location"] == reverse("launch", args=[job.pk])


def test_a_job_that_paid_for_nothing_cost_nothing_whatever_its_price(as_owner: Any, people: Any, sandbox: Any, data_folder: Any) -> None:
    """Unknown is –, zero is $0: on the job's page and in the list."""
    job = make_job(people.home, people.owner, sandbox, model="no-such-model", n_rows=2)
    page = as_owner.get(reverse("job-detail", args=[job.pk])).content.decode()
    assert '<span class="label">Cost</span><span class="value">$0</span>' in page
    listed = as_owner.get(reverse("job-list")).content.decode()
    assert re.search(rf'id="cost-{job.pk}">0</span>', listed)
