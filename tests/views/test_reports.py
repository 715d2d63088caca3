"""The quality report: estimates against reality, failures and price per succeeded row, filters in the URL, CSV."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any

import pytest

from jobs.models import Job
from tests.views.test_costs import spend

D = Decimal
URL = "/costs/quality/"


def estimated(job: Job, low: str | None, high: str | None) -> Job:
    lane = {"low": low, "high": high, "ceiling": high, "reason": ""}
    Job.objects.filter(pk=job.pk).update(estimate={"lanes": {"batch": lane, "direct": lane}, "n_rows": 10})
    return job


@pytest.fixture
def jobs(people: Any) -> None:
    estimated(spend(people, "held", "luna", "10", "20", wasted="1"), "8", "12")
    estimated(spend(people, "dearer", "luna", "5", "10", days=1), "2", "4")
    estimated(spend(people, "cheaper", "sol", "1", "2", days=2), "2", "4")
    estimated(spend(people, "open", "sol", "3", "6", days=2), "2", None)
    estimated(spend(people, "old", "sol", "500", "1000", days=45), "400", "600")
    spend(people, "house", "own-model", "0", "0", unpriced=10)


def test_accuracy_and_breakdown(as_owner: Any, jobs: None) -> None:
    report = as_owner.get(URL).context["report"]
    assert [(a.name, a.verdict, a.percent) for a in report.accuracy] == [
        ("held", "within", 100),
        ("dearer", "above", D(500) / 3),
        ("cheaper", "below", D(100) / 3),
    ]
    assert report.accuracy_words.startswith("Of 3 finished jobs with an estimate, 1 cost what the range said, 1 more, 1 less.")
    assert report.n_without == 2
    models, prompts = report.breakdowns
    assert [(g.name, g.n_jobs, g.n_done, g.n_failed, g.failed_share, g.per_thousand) for g in models.groups] == [
        ("luna", 2, 20, 4, "20.0 %", D(15) * 1000 / 16),
        ("sol", 2, 20, 4, "20.0 %", D(4) * 1000 / 16),
        ("own-model", 1, 10, 2, "20.0 %", None),
    ]
    assert [(g.name, g.n_jobs, g.n_unpriced) for g in prompts.groups] == [("P v1", 5, 1)]
    assert report.accuracy_chart.table[1][0][0] == "cheaper"
    assert models.failures.table[1] == (("luna", D(20)), ("sol", D(20)), ("own-model", D(20)))


def test_filters(as_owner: Any, people: Any, jobs: None) -> None:
    def names(query: str) -> list[str]:
        return [a.name for a in as_owner.get(f"{URL}?{query}").context["report"].accuracy]

    assert names("period=all&model=sol") == ["cheaper", "old"]
    assert names(f"person={people.analyst.pk}") == []
    for bad in ("period=decade", "connection=7", "page=0"):
        assert as_owner.get(f"{URL}?{bad}").status_code == 422, bad
    part = as_owner.get(f"{URL}?model=luna", headers={"HX-Request": "true"}).content.decode()
    assert (part.count('id="quality"'), "<html" in part, "own-model" in part) == (1, False, False)


def test_csv(as_owner: Any, jobs: None) -> None:
    def rows(query: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(as_owner.get(f"/costs/quality.csv?{query}").content.decode())))

    assert [(r["job"], r["estimate_low_usd"], r["estimate_high_usd"], r["paid_usd"]) for r in rows("")] == [
        ("held", "8", "12", "10"),
        ("dearer", "2", "4", "5"),
        ("cheaper", "2", "4", "1"),
    ]
    by_model = {r["model"]: (r["paid_usd"], r["wasted_usd"], r["usd_per_1000_succeeded"]) for r in rows("what=model")}
    assert by_model == {"luna": ("15", "1", "937.5"), "sol": ("4", "0", "250"), "own-model": ("", "", "")}
    assert [r["prompt"] for r in rows("what=prompt&period=all")] == ["P v1"]
    assert as_owner.get("/costs/quality.csv?what=secrets").status_code == 422


def test_others_see_nothing(client: Any, people: Any, jobs: None) -> None:
    client.force_login(people.outsider, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get(f"{URL}?period=all").context["report"].n_jobs == 0
    assert "No job ran yet" in client.get(f"{URL}?period=all").content.decode()


def test_few_queries(as_owner: Any, jobs: None, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(12):
        as_owner.get(f"{URL}?period=all")
