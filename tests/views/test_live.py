"""“Nothing new” is repeated only while all that it rested on stands; and live pages never take more than their share of a core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from jobs.engine.retry import Changes, Wanted, retry
from jobs.models import Batch, Job, Membership
from jobs.views import live
from jobs.views.live import BUDGET, STRETCH, Governor
from jobs.words import BatchState
from tests.jobs import make_job
from tests.security.test_matrix import BACKEND

HTMX = {"HX-Request": "true"}


@pytest.fixture
def running(people: Any, sandbox: Any, data_folder: Path) -> Job:
    """A job whose second round is under way."""
    job = make_job(people.home, people.owner, sandbox, model="gpt-6-luna+errors=3", n_rows=20)
    retry(job, people.owner, Wanted(causes=frozenset({"provider_error"})), Changes(), token="once")
    Batch.objects.filter(job=job).update(state=BatchState.SUBMITTED)  # the provider has one of its batches
    job.refresh_from_db()
    return job


@pytest.fixture
def asked(running: Job, people: Any) -> Any:
    """`asked()`: the status of the question that the job's page asks; it was answered 204 once already."""
    live._remembered.clear()
    client = Client()
    client.force_login(people.analyst, backend=BACKEND)
    page = client.get(reverse("job-detail", args=[running.pk])).content.decode()
    url = page.split('hx-get="', 1)[1].split('" hx-trigger="live"')[0]
    assert "?seen=" in url
    assert client.get(url, headers=HTMX).status_code == 204

    def ask(other: Client | None = None) -> int:
        return (other or client).get(url, headers=HTMX).status_code

    ask.client = client  # type: ignore[attr-defined]
    return ask


def test_nothing_new_is_repeated_by_three_statements(asked: Any) -> None:
    with CaptureQueriesContext(connection) as seen:
        assert asked() == 204
    assert len(seen) == 3
    assert not any("UPDATE" in query["sql"] or "INSERT" in query["sql"] for query in seen.captured_queries)


def test_any_change_that_the_page_shows_ends_it(asked: Any, running: Job) -> None:
    Job.objects.filter(pk=running.pk).update(version=F("version") + 1)
    assert asked() == 200


def test_word_of_the_provider_on_an_open_batch_ends_it(asked: Any, running: Job) -> None:
    assert Batch.objects.filter(job=running).update(wait_reason="the provider is busy") == 1
    assert asked() == 200


def test_who_signed_out_gets_nothing(asked: Any) -> None:
    cookie = asked.client.cookies["batchui"].value
    asked.client.logout()
    again = Client()
    again.cookies["batchui"] = cookie
    assert asked(again) == 302


def test_who_was_removed_gets_nothing(asked: Any, running: Job, people: Any) -> None:
    Membership.objects.filter(workspace=running.workspace, user=people.analyst).delete()
    assert asked() == 404


def test_who_was_deactivated_gets_nothing(asked: Any, people: Any) -> None:
    User.objects.filter(pk=people.analyst.pk).update(is_active=False)
    assert asked() == 302


def test_nobody_else_gets_what_was_answered_to_me(asked: Any, people: Any) -> None:
    assert asked(Client()) == 302
    stranger = Client()
    stranger.force_login(people.outsider, backend=BACKEND)
    assert asked(stranger) == 404


def test_a_minute_later_it_is_looked_at_in_full(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    later = live.time.monotonic() + 61
    monkeypatch.setattr(live.time, "monotonic", lambda: later)
    with CaptureQueriesContext(connection) as seen:
        assert asked() == 204
    assert len(seen) > 3


def test_pages_are_asked_for_patience_when_they_take_too_much_and_let_go_after() -> None:
    governor, now = Governor(), 0.0
    governor._since = now
    stretch, cost, rate = 1.0, 0.02, 200 / 3  # 200 pages, one question in 3 s each, 20 ms an answer: 133 % of a core
    for _ in range(200):
        now += 2.0
        stretch = governor.spent(2.0 * cost * rate / stretch, now)
    assert stretch == pytest.approx(cost * rate / BUDGET, rel=0.1)
    for _ in range(20):
        now += 2.0
        stretch = governor.spent(0.001, now)
    assert stretch == 1.0
    for _ in range(50):
        now += 2.0
        stretch = governor.spent(50.0, now)
    assert stretch == STRETCH


def test_answers_say_how_patient_to_be(asked: Any, running: Job) -> None:
    answer = asked.client.get(reverse("home") + "?mark=x", headers=HTMX)
    assert float(answer[live.HEADER]) >= 1.0
    assert live.HEADER not in asked.client.get(reverse("home"))
