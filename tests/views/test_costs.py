"""The costs page: sums of the ledger's counters, filters in the URL, unknown prices said and never $0."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from jobs.models import Batch, Connection, Job, Prompt, PromptVersion, Round
from jobs.queries.costs import Filters, bounds, costs_of
from jobs.words import BatchState, JobState

D = Decimal


def spend(
    people: Any, name: str, model: str, paid: str, realtime: str, *, days: int = 0, wasted: str = "0", unpriced: int = 0, who: Any = None
) -> Job:
    """A finished job with one settled batch, by its counters alone."""
    home = people.home
    connection, _ = Connection.objects.get_or_create(workspace=home, name="C", kind="openai")
    prompt, _ = Prompt.objects.get_or_create(workspace=home, name="P")
    version, _ = PromptVersion.objects.get_or_create(prompt=prompt, number=1, user="x")
    at = timezone.now() - timedelta(days=days)
    money = {"paid_usd": D(paid), "realtime_usd": D(realtime)}
    counters = {"n_rows": 10, "n_succeeded": 8, "n_failed": 2, "wasted_usd": D(wasted), "n_unpriced": unpriced, **money}
    made = {"workspace": home, "created_by": who or people.owner, "launched_at": at, "launch_token": name, "state": JobState.COMPLETED}
    job = Job.objects.create(name=name, model=model, connection=connection, prompt_version=version, **made, **counters)
    round_ = Round.objects.create(job=job, number=1, connection=connection, prompt_version=version)
    common = {
        "job": job,
        "round": round_,
        "connection": connection,
        "number": 1,
        "model": model,
        "token": name,
        "n_requests": 10,
        "n_bytes": 1,
    }
    Batch.objects.create(state=BatchState.SETTLED, settled_at=at, **common, **money)
    return job


@pytest.fixture
def jobs(people: Any) -> dict[str, Job]:
    return {
        "a": spend(people, "a", "luna", "10.25", "20.50", wasted="1.25"),
        "b": spend(people, "b", "luna", "0.75", "1.50", days=3, who=people.analyst),
        "c": spend(people, "c", "sol", "30", "60", days=3),
        "old": spend(people, "old", "sol", "500", "1000", days=45),
        "house": spend(people, "house", "own-model", "0", "0", unpriced=10),
    }


def test_totals_breakdown_and_days_agree(people: Any, jobs: Any) -> None:
    found = costs_of(people.home, Filters())
    total = found.total
    assert (total.n_jobs, total.n_unpriced, total.n_rows, total.n_failed) == (4, 1, 40, 8)
    assert (total.paid, total.realtime, total.saved, total.wasted) == (D("41"), D("82"), D("41"), D("1.25"))
    assert [(g.name, g.n_jobs, g.paid_known, g.saved_known) for g in found.groups] == [
        ("sol", 1, D("30"), D("30")),
        ("luna", 2, D("11"), D("11")),
        ("own-model", 1, None, None),
    ]
    assert found.days is not None
    assert [sum(row[i] or 0 for row in found.days.table[1]) for i in (1, 2)] == [D("41"), D("41")]
    assert [line.name for line in found.jobs][:2] == ["house", "a"]


def test_filters_of_the_address(as_owner: Any, people: Any, jobs: Any) -> None:
    def names(query: str) -> set[str]:
        return {line.name for line in as_owner.get(f"/costs/?{query}").context["costs"].jobs}

    assert names("") == {"a", "b", "c", "house"}
    assert names("period=all") == {"a", "b", "c", "old", "house"}
    assert names("model=luna") == {"a", "b"}
    assert names(f"person={people.analyst.pk}") == {"b"}
    assert names(f"model=luna&person={people.owner.pk}&period=7") == {"a"}
    assert names("state=failed") == set()
    prompt = Prompt.objects.get()
    assert names(f"prompt={prompt.pk}&connection={Connection.objects.get().pk}&model=sol&period=90") == {"c", "old"}
    assert [line.name for line in as_owner.get("/costs/?period=all&sort=-paid").context["costs"].jobs][:2] == ["old", "c"]


def test_bad_filters_are_422(as_owner: Any, people: Any, jobs: Any) -> None:
    for query in ("period=decade", "connection=7", "person=x", "sort=secret", "page=0", "by=cat", "state=odd"):
        response = as_owner.get(f"/costs/?{query}")
        assert response.status_code == 422, query
        assert "A filter of this address cannot be read" in response.content.decode()
        assert as_owner.get(f"/costs.csv?{query}").status_code == 422


def test_the_part_and_the_page_show_the_unknown_as_unknown(as_owner: Any, people: Any, jobs: Any) -> None:
    page = as_owner.get("/costs/").content.decode()
    part = as_owner.get("/costs/?model=own-model", headers={"HX-Request": "true"}).content.decode()
    assert ("<html" in page, "<html" in part, part.count('id="costs"')) == (True, False, 1)
    assert "1 job has rows of unknown price" in page
    assert "at least" in page
    assert "$0" not in part.replace("$0.00</td>", "")  # unknown is a dash


def test_csv_is_exact_and_defused(as_owner: Any, people: Any, jobs: Any) -> None:
    Job.objects.filter(name="b").update(name="=1+1")
    response = as_owner.get("/costs.csv?period=all")
    assert response["Content-Disposition"] == 'attachment; filename="costs-jobs.csv"'
    rows = list(csv.DictReader(io.StringIO(response.content.decode())))
    got = {row["job"]: (row["paid_usd"], row["realtime_usd"], row["saved_usd"], row["unpriced"]) for row in rows}
    assert got["a"] == ("10.25", "20.5", "10.25", "0")
    assert got["'=1+1"] == ("0.75", "1.5", "0.75", "0")
    assert got["house"] == ("", "", "", "1")
    assert sum(D(paid) for paid, *_ in got.values() if paid) == D("541")
    groups = list(csv.DictReader(io.StringIO(as_owner.get("/costs.csv?table=groups&by=person").content.decode())))
    assert [(row["person"], row["jobs"], row["paid_usd"]) for row in groups] == [("owner", "3", "40.25"), ("analyst", "1", "0.75")]
    days = list(csv.DictReader(io.StringIO(as_owner.get("/costs.csv?table=days&model=luna").content.decode())))
    assert [(row["Paid"], row["Saved"]) for row in days] == [("0.75", "0.75"), ("10.25", "10.25")]


def test_others_see_nothing_of_it(client: Any, people: Any, jobs: Any) -> None:
    client.force_login(people.outsider, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/costs/?period=all").context["costs"].total.n_jobs == 0
    assert "Nothing was spent yet" in client.get("/costs/?period=all").content.decode()
    assert client.get("/costs.csv?period=all").content.decode().count("\r\n") == 1


def test_first_use_offers_a_job_and_no_filters(client: Any, people: Any) -> None:
    for who, offered in ((people.analyst, True), (people.viewer, False)):
        client.force_login(who, backend="django.contrib.auth.backends.ModelBackend")
        page = client.get("/costs/").content.decode()
        shown = [words in page for words in ("Nothing was spent yet", 'id="costs-filters"', 'aria-label="Parts of costs"')]
        assert shown == [True, False, False]
        assert ('href="/launch/new/"' in page or 'href="/launch/"' in page) is offered
        report = client.get("/costs/quality/").content.decode()
        assert ("No job ran yet" in report, 'id="quality-filters"' in report) == (True, False)


def test_periods_begin_at_midnight_of_the_person() -> None:
    now = timezone.datetime.fromisoformat("2026-03-01T00:30:00+00:00")  # type: ignore[attr-defined]
    with timezone.override("America/New_York"):
        assert [None if b is None else b.isoformat() for b in bounds("month", now)] == ["2026-02-01T00:00:00-05:00", None]
        assert [b and b.isoformat() for b in bounds("last", now)] == ["2026-01-01T00:00:00-05:00", "2026-02-01T00:00:00-05:00"]
    assert bounds("all", now) == (None, None)


def test_query_count_does_not_grow(as_owner: Any, people: Any, jobs: Any, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(12):
        as_owner.get("/costs/?period=all&by=prompt")


def test_the_sandbox_counts_only_where_there_is_nothing_else(as_owner: Any, people: Any, jobs: Any) -> None:
    Connection.objects.update(is_sandbox=True)
    page = as_owner.get("/costs/?period=all").content.decode()
    assert (page.count("; sandbox, no real money"), "$541.00" in page, 'name="sandbox"' in page) == (4, True, False)
    month = as_owner.get("/workspace/settings/").content.decode()
    assert "Sandbox, no real money." in month
    assert "; sandbox, no real money" in as_owner.get("/").content.decode()

    real = Connection.objects.create(workspace=people.home, name="Real", kind="openai")
    Job.objects.filter(name="b").update(connection=real)
    Batch.objects.filter(job__name="b").update(connection=real)
    found = costs_of(people.home, Filters(period="all"))
    assert (found.total.n_jobs, found.total.paid, found.days.table[1][0][1]) == (1, D("0.75"), D("0.75"))  # type: ignore[union-attr]
    assert costs_of(people.home, Filters(period="all", sandbox=True)).total.paid == D("541.00")
    page = as_owner.get("/costs/?period=all").content.decode()
    assert ("sandbox, no real money" in page, 'name="sandbox"' in page) == (False, True)
    included = as_owner.get("/costs/?period=all&sandbox=1").content.decode()
    assert ("$541.00" in included, "sandbox=1&amp;by=prompt" in included or "sandbox=1&by=prompt" in included) == (True, True)
    home = as_owner.get("/").context["home"].money
    assert (home.paid, home.realtime, home.month <= D("0.75"), home.n_counted, home.n_jobs) == (D("0.75"), D("1.50"), True, 1, 5)
    rows = list(csv.DictReader(io.StringIO(as_owner.get("/costs.csv?period=all").content.decode())))
    assert [row["job"] for row in rows] == ["b"]


def test_nothing_but_the_sandbox_beside_a_real_connection_is_said(as_owner: Any, people: Any, jobs: Any) -> None:
    Connection.objects.update(is_sandbox=True)
    Connection.objects.create(workspace=people.home, name="Real", kind="openai")
    page = as_owner.get("/costs/?period=all").content.decode()
    assert "No jobs but on the sandbox" in page
    assert "5 jobs ran on the sandbox in this time." in page
    assert 'href="/costs/?period=all&amp;sandbox=1"' in page
    assert as_owner.get("/").context["home"].money.jobs_note == "by 0 jobs; the sandbox's are left out"


def test_a_job_of_the_sandbox_that_was_retried_for_real_counts(people: Any, jobs: Any) -> None:
    Connection.objects.update(is_sandbox=True)
    real = Connection.objects.create(workspace=people.home, name="Real", kind="openai")
    assert costs_of(people.home, Filters(period="all")).total.n_jobs == 0
    Batch.objects.filter(job__name="c").update(connection=real)
    assert costs_of(people.home, Filters(period="all")).total.paid == D(30)
