"""Failures by cause."""

from __future__ import annotations

import html
import re
from decimal import Decimal as D
from typing import Any

from django.urls import reverse

from jobs import formats
from jobs.engine.launch import new_token
from jobs.engine.retry import retry
from jobs.engine.view import standing_of
from jobs.models import Job
from jobs.queries.failures import failures_page
from jobs.rows.choose import Wanted
from jobs.rows.query import Filter, Query
from jobs.views.job import files_of
from tests.jobs import make_job, settled


def test_groups_are_biggest_first_with_the_act_that_fits(job: Job) -> None:
    page = failures_page(job, files_of(job))
    assert [(g.kind, g.cause, g.n, g.needs_change) for g in page.groups] == [
        ("failed", "provider_error", 3, False),
        ("invalid", "cut_off", 2, True),
        ("invalid", "schema_mismatch", 2, False),
        ("missing", "missing", 1, False),
    ]
    assert [g.share for g in page.groups] == ["12.5 %", "8.3 %", "8.3 %", "4.2 %"]
    assert page.groups[0].messages == (("The server had an error while processing your request.", 3),)
    assert (page.n_failed, page.n_same, page.n_retrying) == (8, 6, 0)
    assert page.groups[0].wasted == 0
    assert page.groups[1].wasted > 0
    wasted = sum(g.wasted for g in page.groups)
    assert page.cost_words == (
        f"they cost {formats.usd(wasted, 4)} without an answer that can be used; whether 1 row was charged is not known (at most $0.0001)"
    )


def test_cost_of_rows_that_may_have_been_charged(people: Any, sandbox: Any, data_folder: Any, as_owner: Any) -> None:
    """Nothing came back, so nobody may say that nothing was paid."""
    job = make_job(people.home, people.owner, sandbox, model="gpt-6-luna+missing=3", n_rows=4)
    most = formats.usd(D(job.batches.get().usage["unknown_usd"]))
    said = f"whether 3 rows were charged is not known (at most {most})"
    assert failures_page(job, files_of(job)).cost_words == said
    assert [group.wasted_words for group in failures_page(job, files_of(job)).groups] == ["–"]
    assert f"3</b> of 4 rows did not succeed; {said}." in as_owner.get(reverse("job-failures", args=[job.pk])).content.decode()
    detail = as_owner.get(reverse("job-detail", args=[job.pk])).content.decode()
    assert f"Beyond that, {said}." in detail
    retry(job, people.owner, Wanted(causes=("missing",)), token=new_token())
    settled(job)
    assert "charged is not known" in as_owner.get(reverse("job-detail", args=[job.pk])).content.decode()


def test_cost_of_rows_without_a_price_is_not_nothing(people: Any, sandbox: Any, data_folder: Any) -> None:
    job = make_job(people.home, people.owner, sandbox, model="gpt-6.2-sol+errors=1,cutoff=2", n_rows=4)
    page = failures_page(job, files_of(job))
    assert (page.cost_words, [group.wasted_words for group in page.groups]) == ("what they cost is not known", ["–", "$0"])


def test_page_shows_meaning_words_and_priced_buttons(job: Job, as_owner: Any) -> None:
    page = html.unescape(as_owner.get(reverse("job-failures", args=[job.pk])).content.decode())
    assert "<title>8 rows did not succeed · Sort tickets · batchui</title>" in page
    assert re.findall(r"<h3>([^<]+)</h3>", page) == ["Provider error", "Cut off", "Does not fit the schema", "Not in the answer"]
    assert "Retry all 8 failed rows, " in page
    assert re.search(r"Retry 3 rows, (about|under) \$", page)
    assert f'href="{reverse("job-retry", args=[job.pk])}?kind=invalid&cause=cut_off">Retry with changes' in page
    tokens = re.findall(r'name="token" value="(\w+)"', page)
    assert len(tokens) == len(set(tokens)) == 5


def test_viewer_sees_causes_without_buttons(job: Job, people: Any, sign_in: Any) -> None:
    page = sign_in(people.viewer).get(reverse("job-failures", args=[job.pk])).content.decode()
    assert page.count("<h3>") == 4
    assert '<button class="btn btn-primary">' not in page.split('class="fails"')[1]


def test_rows_that_are_being_retried_are_not_failed(job: Job, people: Any, as_owner: Any) -> None:
    retry(job, people.owner, Wanted(causes=("provider_error",)), token=new_token())
    job.refresh_from_db()
    page = failures_page(job, files_of(job))
    assert [(g.cause, g.n) for g in page.groups] == [("cut_off", 2), ("schema_mismatch", 2), ("missing", 1)]
    assert page.n_retrying == 3
    with Query(files_of(job)) as query:
        assert query.rows(Filter(kinds=("pending",))).tolist() == [0, 1, 2]
        assert query.rows(Filter(kinds=("failed",))).tolist() == []
        assert [line.outcome is None for line in query.lines([1, 4])] == [True, False]
    text = as_owner.get(reverse("job-failures", args=[job.pk])).content.decode()
    assert "3 rows are being retried" in text
    assert len(standing_of(job).busy) == 1


def test_all_settled_has_a_design_of_its_own(people: Any, sandbox: Any, data_folder: Any, as_owner: Any) -> None:
    job = make_job(people.home, people.owner, sandbox)
    page = as_owner.get(reverse("job-failures", args=[job.pk])).content.decode()
    assert "All rows are settled, and all succeeded" in page
    assert "<title>No failures · Sort tickets · batchui</title>" in page


def test_failures_of_a_job_that_runs_begin_empty(people: Any, sandbox: Any, data_folder: Any, as_owner: Any) -> None:
    job = make_job(people.home, people.owner, sandbox, settle=False)
    page = as_owner.get(reverse("job-failures", args=[job.pk])).content.decode()
    assert "No failures so far" in page
    assert 'data-live="3"' in page


def test_retry_settles_what_was_failed(job: Job, people: Any) -> None:
    Job.objects.filter(pk=job.pk).update(spec={**job.spec, "model": "gpt-6-luna"})
    job.refresh_from_db()
    retry(job, people.owner, Wanted(), token=new_token())
    job = settled(job)
    assert (job.state, job.n_succeeded) == ("completed", 24)
    assert failures_page(job, files_of(job)).groups == ()
