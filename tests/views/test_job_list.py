"""The list of jobs: order, filters, pages, and the refresh that moves nothing."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from jobs.engine import budget
from jobs.models import Job
from jobs.queries.job_list import line_of
from tests.views.launching import login, make_connection, make_job, make_table

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
ESTIMATE = {"lanes": {"batch": {"low": "41.2", "high": "46.8", "ceiling": None, "reason": ""}}}


def names(client: Any, query: str = "") -> list[str]:
    return [line.job.name for line in client.get(f"/jobs/{query}").context["page"].lines]


@pytest.fixture
def four(people: Any, data_folder: Any) -> dict[str, Job]:
    connection, now = make_connection(people.home), timezone.now()
    table = make_table(people.home, people.owner)
    return {
        "new": make_job(people, connection, "new", "running", n_succeeded=30, estimate=ESTIMATE, dataset_version=table),
        "held": make_job(people, connection, "held", "running", launched_at=now - timedelta(hours=2), needs="The cap is reached."),
        "bad": make_job(
            people, connection, "bad", "completed_with_failures", launched_at=now - timedelta(hours=5), finished_at=now,
            n_succeeded=70, n_failed=20, n_cancelled=10, paid_usd=Decimal("12.5"), model="claude-haiku-5-5", created_by=people.analyst,
        ),
        "done": make_job(people, connection, "done", "completed", launched_at=now - timedelta(hours=1), finished_at=now, n_succeeded=100),
    }  # fmt: skip


def test_list_puts_those_that_need_a_person_first_then_the_newest(client: Any, people: Any, four: Any) -> None:
    login(client, people.viewer)
    assert names(client) == ["held", "bad", "new", "done"]
    assert "<title>2 need you · Jobs · batchui</title>" in client.get("/jobs/").content.decode()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?state=needs", ["held", "bad"]),
        ("?state=live", ["held", "new"]),
        ("?state=completed", ["done"]),
        ("?model=claude-haiku-5-5", ["bad"]),
        ("?q=DON", ["done"]),
        ("?sort=name", ["bad", "done", "held", "new"]),
        ("?sort=-failed", ["bad", "new", "done", "held"]),
        ("?sort=started", ["bad", "held", "done", "new"]),
        ("?dataset=nonsense&owner=x&page=99&sort=evil", ["held", "bad", "new", "done"]),
        ("?q=nothing", []),
    ],
)
def test_list_filters_and_sorts_by_the_url(client: Any, people: Any, four: Any, query: str, expected: list[str]) -> None:
    login(client, people.viewer)
    assert names(client, query) == expected


def test_list_filters_by_owner_and_dataset(client: Any, people: Any, four: Any) -> None:
    login(client, people.viewer)
    assert names(client, f"?owner={people.analyst.pk}") == ["bad"]
    assert names(client, f"?dataset={four['new'].dataset_version.dataset_id}") == ["new"]


def test_list_shows_failed_rows_cost_and_estimate(client: Any, people: Any, four: Any) -> None:
    login(client, people.viewer)
    text = client.get("/jobs/").content.decode()
    assert f'<a href="/jobs/{four["bad"].pk}/failures/">20<span class="sr">' in text  # cancelled rows did not fail
    assert "12.50</span>" in text
    assert "</abbr> 41–47</span>" in text


def test_list_answers_the_table_alone_to_htmx_and_says_when_nothing_matches(client: Any, people: Any, four: Any) -> None:
    login(client, people.viewer)
    part = client.get("/jobs/?q=nothing", headers=HTMX).content.decode()
    assert part.startswith('<div class="stack-s" id="jobs">')
    assert "No jobs match" in part
    assert "Text: “nothing”" in part


def test_refresh_sends_cells_of_living_rows_only_where_something_changed(client: Any, people: Any, four: Any) -> None:
    login(client, people.viewer)
    page = client.get("/jobs/")
    ids, mark = ",".join(str(line.job.pk) for line in page.context["live"]), page.context["mark"]
    assert {line.job.name for line in page.context["live"]} == {"held", "new"}
    url = f"/jobs/?live={ids}&mark={mark}"
    assert client.get(url, headers=HTMX).status_code == 204
    Job.objects.filter(name="new").update(state="completed", n_succeeded=100, version=9)
    part = client.get(url, headers=HTMX).content.decode()
    new = four["new"].pk
    assert f'<div id="status-{new}" hx-swap-oob="true">' in part
    assert "100 of 100" in part
    assert "<tr" not in part
    assert f"live={four['held'].pk}&quot;" in part or f'live={four["held"].pk}"' in part  # the finished one is not asked for again


def test_refresh_ends_when_nothing_lives(client: Any, people: Any, four: Any) -> None:
    login(client, people.viewer)
    Job.objects.update(state="completed")
    part = client.get(f"/jobs/?live={four['new'].pk}&mark=x", headers=HTMX).content.decode()
    assert "data-live=" not in part
    assert "hx-get" not in part


def test_another_workspace_sees_and_refreshes_none_of_it(client: Any, people: Any, four: Any) -> None:
    login(client, people.outsider)
    assert names(client) == []
    part = client.get(f"/jobs/?live={four['new'].pk}", headers=HTMX).content.decode()
    assert str(four["new"].pk) not in part


def test_list_needs_few_queries_whatever_its_length(client: Any, people: Any, four: Any, django_assert_max_num_queries: Any) -> None:
    login(client, people.owner)
    client.get("/jobs/")
    for n in range(30):
        make_job(people, four["new"].connection, f"more {n}", "running", dataset_version=four["new"].dataset_version)
    with django_assert_max_num_queries(10):
        assert len(names(client)) == 25
    with django_assert_max_num_queries(8):  # with the three that a later “nothing new” will rest on
        client.get(f"/jobs/?live={four['new'].pk}&mark=x", headers=HTMX)


def test_list_asks_strangers_to_sign_in(client: Any, db: None) -> None:
    assert client.get("/jobs/")["Location"] == "/sign-in/?next=%2Fjobs%2F"


def test_what_a_cap_holds_is_said_shortly_and_in_the_badge(four: Any) -> None:
    job = four["new"]
    job.state = "running"
    amounts = "($0 paid, up to $0 under way, this batch up to $0.0499)"
    why = f"held: the job's cap of $0.0100 would be crossed {amounts}"
    job.needs = f"{budget.NEEDS}. Raise it, have an admin approve the job, or cancel. ({why})"
    line = line_of(job)
    assert line.needs == "Held: the job's cap of $0.0100 would be crossed. Raise it, have the job approved, or cancel."
    assert (line.look.label, line.look.tone) == ("Needs you", "warn")
    job.needs = "The provider does not accept the key of this connection now. An admin can put that right. (401)"
    assert line_of(job).needs == job.needs
    job.needs = ""
    assert (line_of(job).needs, line_of(job).look.label) == ("", "Running")


def test_models_are_offered_without_the_faults_that_were_asked_for(client: Any, people: Any, four: Any) -> None:
    for name, model in (("flaky", "gpt-6-luna+flaky"), ("broken", "gpt-6-luna+errors=3,missing=1"), ("other", "gpt-6-luna-mini")):
        make_job(people, four["new"].connection, name, "completed", model=model)
    login(client, people.viewer)
    page = client.get("/jobs/")
    assert page.context["choices"].models == [(name, name) for name in ("claude-haiku-5-5", "gpt-6-luna", "gpt-6-luna-mini")]
    assert set(names(client, "?model=gpt-6-luna")) == {"new", "held", "done", "flaky", "broken"}
    assert names(client, "?model=gpt-6-luna%2Bflaky") == ["flaky"]
