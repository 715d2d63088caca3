"""The start page and its sample data."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from jobs.models import Batch, Connection, Dataset, Job, Prompt, Round
from tests.views.launching import MODEL, login, make_connection, make_job

pytestmark = pytest.mark.django_db


def test_home_first_use_offers_sample_data_to_those_who_may_launch(client: Any, people: Any) -> None:
    login(client, people.owner)
    text = client.get("/").content.decode()
    assert "Load sample data" in text
    assert "Three clicks from here" in text
    login(client, people.viewer)
    assert "Load sample data" not in client.get("/").content.decode()
    assert client.post("/sample/").status_code == 403
    client.logout()
    assert client.get("/")["Location"] == "/sign-in/?next=%2F"


def test_sample_makes_table_prompt_and_draft_once(client: Any, people: Any, data_folder: Any) -> None:
    make_connection(people.home)
    login(client, people.analyst)
    first, second = client.post("/sample/"), client.post("/sample/")
    draft = Job.objects.get()
    assert first["Location"] == second["Location"] == f"/launch/{draft.pk}/try/"
    assert (draft.state, draft.n_rows, draft.model, draft.workspace) == ("draft", 60, f"{MODEL}+flaky", people.home)
    assert draft.name == "Sort support tickets × Support tickets (sample)"
    assert [d.name for d in Dataset.objects.all()] == ["Support tickets (sample)"]
    assert [(p.name, p.versions.count()) for p in Prompt.objects.all()] == [("Sort support tickets", 1)]


def test_sample_without_a_connection_asks_for_a_model(client: Any, people: Any, data_folder: Any) -> None:
    login(client, people.analyst)
    response = client.post("/sample/")
    assert response["Location"] == f"/launch/{Job.objects.get().pk}/model/"


def busy_workspace(people: Any, data_folder: Any) -> dict[str, Job]:
    connection = make_connection(people.home)
    now = timezone.now()
    return {
        "held": make_job(people, connection, "Held", "running", needs="The key was not accepted."),
        "runs": make_job(people, connection, "Runs", "running", n_succeeded=40),
        "bad": make_job(people, connection, "Half", "completed_with_failures", n_succeeded=90, n_failed=10, finished_at=now),
        "old": make_job(people, connection, "Old failure", "failed", n_failed=100, finished_at=now - timedelta(days=40)),
        "good": make_job(
            people,
            connection,
            "Good",
            "completed",
            n_succeeded=100,
            finished_at=now,
            paid_usd=Decimal("1.25"),
            realtime_usd=Decimal("2.50"),
        ),
    }


def test_home_shows_what_needs_me_what_runs_and_what_was_saved(client: Any, people: Any, data_folder: Any) -> None:
    made = busy_workspace(people, data_folder)
    good = made["good"]
    round_ = Round.objects.create(job=good, number=1, connection=good.connection, prompt_version=good.prompt_version, state="settled")
    for day, paid in ((timezone.now(), "0.75"), (timezone.now() - timedelta(days=45), "0.50")):
        n = Batch.objects.count()
        Batch.objects.create(
            job=good, round=round_, connection=good.connection, number=n, model=MODEL, token=f"t{n}", state="settled",
            n_requests=1, n_bytes=1, settled_at=day, paid_usd=Decimal(paid),
        )  # fmt: skip
    login(client, people.viewer)
    response = client.get("/")
    home, text = response.context["home"], response.content.decode()
    assert {line.job.name for line in home.needs} == {"Held", "Half"}
    assert {line.job.name for line in home.live} == {"Held", "Runs"}
    assert {line.job.name for line in home.recent} == {"Half", "Old failure", "Good"}
    assert (home.money.saved, home.money.month, home.money.share) == (Decimal("1.25"), Decimal("0.75"), 50)
    assert "<title>2 need you · Home · batchui</title>" in text
    assert "2 jobs need you; 2 run now." in text
    assert "50 % of the $2.50 that real time costs" in text
    assert "New job" not in text


def test_home_refresh_is_one_request_and_says_nothing_when_nothing_changed(
    client: Any, people: Any, data_folder: Any, django_assert_max_num_queries: Any
) -> None:
    made = busy_workspace(people, data_folder)
    login(client, people.owner)
    client.get("/")  # the first request of a session writes when it was seen
    with django_assert_max_num_queries(12):
        home = client.get("/").context["home"]
    htmx = {"HX-Request": "true"}
    assert client.get(f"/?mark={home.mark}", headers=htmx).status_code == 204
    Job.objects.filter(pk=made["runs"].pk).update(n_succeeded=50, version=5)
    part = client.get(f"/?mark={home.mark}", headers=htmx).content.decode()
    assert part.lstrip().startswith('<div class="stack" id="home-live" data-live="3"')
    assert "50 of 100" in part


def test_home_names_a_broken_connection(client: Any, people: Any, data_folder: Any) -> None:
    connection = make_connection(people.home)
    make_job(people, connection, "Good", "completed")
    Connection.objects.update(problem="OpenAI answered 401.")
    login(client, people.viewer)
    assert "OpenAI answered 401." in client.get("/").content.decode()


def test_home_of_another_workspace_shows_nothing_of_mine(client: Any, people: Any, data_folder: Any) -> None:
    busy_workspace(people, data_folder)
    login(client, people.outsider)
    response = client.get("/")
    assert response.context["first"] is not None
    assert "Held" not in response.content.decode()
