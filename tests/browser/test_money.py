"""Money in a browser: rows are tried and never paid again, a cap blocks and an admin approves, the rest is finished in real time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from jobs.engine import drafts
from jobs.engine.drive import step
from jobs.engine.estimates import estimate_for, sample_of
from jobs.models import Batch, Connection, Job
from jobs.sandbox import Sandbox
from jobs.words import RoundState
from tests.jobs import make_connection, make_dataset, make_job, make_prompt, settled
from tests.money.tools import executed_rows

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
ROWS = 12
Open = Callable[..., Any]


@pytest.fixture
def open_as(page: Any, live_server: Any, client: Any, data_folder: Path) -> Iterator[Open]:
    """`open_as(user, path)` opens a page of ours as that person. What the browser complained of must stay empty."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def go(user: Any, path: str) -> Any:
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        name = settings.SESSION_COOKIE_NAME
        page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
        page.goto(live_server.url + path)
        return page

    yield go
    assert complaints == []


def make_draft(people: Any, sandbox: Any) -> Job:
    connection = make_connection(people.home, people.owner, sandbox)
    table = make_dataset(people.home, people.owner, ROWS)
    draft = drafts.start(people.home, people.analyst, table, make_prompt(people.home, people.owner))
    return drafts.choose_model(draft, connection, "gpt-6-luna", {})


def run_try(draft: Job) -> None:
    """Work on the try as a worker would, to its end."""
    for _ in range(200):
        Batch.objects.filter(job=draft).update(next_look_at=timezone.now())
        Job.objects.filter(pk=draft.pk).update(next_look_at=timezone.now())
        step(draft)
        if not draft.rounds.exclude(state=RoundState.SETTLED).exists():
            return
    raise AssertionError("the try does not end")


def test_tried_rows_are_not_paid_again(open_as: Open, people: Any, sandbox: Any) -> None:
    draft = make_draft(people, sandbox)
    page = open_as(people.analyst, reverse("launch-try", args=[draft.pk]) + "?n=5&how=first")
    page.get_by_role("button", name=re.compile(r"^Try 5 rows now, (about|under|up to) \$0\.0")).click()
    page.get_by_text("Trying 5 rows in real time").wait_for()
    run_try(draft)
    page.get_by_text(re.compile(r"^Tried 5 rows on gpt-6-luna for \$0\.0")).wait_for()
    row = page.locator(".try").first
    assert re.search(r"\d+ tokens in · \d+ out · <?\$0\.\d+ · \d+\.\d s", row.locator("header").inner_text())
    assert row.locator("dt").all_inner_texts() == ["intent", "urgent", "summary", "score"]
    page.get_by_role("link", name="Review", exact=True).last.click()
    button = page.get_by_role("button", name=re.compile(rf"^Launch {ROWS - 5} rows, (about|under|up to) \$0\.0"))
    button.wait_for()
    assert page.get_by_text("5 rows are answered already").is_visible()
    assert page.get_by_text("the 5 rows of the pilot").is_visible()
    button.click()
    page.wait_for_url(f"**/jobs/{draft.pk}/")
    assert settled(draft).state == "completed"
    assert sum(executed_rows(sandbox).values()) == ROWS
    page = open_as(people.analyst, reverse("job-receipt", args=[draft.pk]))
    assert page.get_by_text("Pilot").first.is_visible()
    rounds = [(each.reason, each.n_rows) for each in draft.rounds.order_by("number")]
    assert rounds == [("pilot", 5), ("first", ROWS - 5)]


def test_a_changed_prompt_is_tried_beside_the_one_before(open_as: Open, people: Any, sandbox: Any) -> None:
    draft = make_draft(people, sandbox)
    page = open_as(people.analyst, reverse("launch-try", args=[draft.pk]) + "?n=3&how=first")
    page.get_by_role("button", name=re.compile("^Try 3 rows now")).click()
    page.get_by_text("Trying 3 rows").wait_for()
    run_try(draft)
    page.get_by_text(re.compile("^Tried 3 rows")).wait_for()
    page.get_by_role("link", name="Change the prompt").click()
    page.get_by_label("User prompt").fill("Sort this ticket, and be short: {{ text }}")
    page.get_by_role("button", name="Save version 2, back to the job").click()
    page.wait_for_url(f"**/launch/{draft.pk}/try/**")
    page.goto(page.url.partition("?")[0] + "?n=3&how=first")
    page.get_by_text("The answers are of other settings (Intents v1").wait_for()
    page.get_by_role("button", name=re.compile("^Try 3 rows again")).click()
    page.get_by_text("Trying 3 rows").wait_for()
    run_try(draft)
    told = page.locator(".try-compared")
    told.wait_for()
    n = int(re.match(r"(\d) of 3 answers differ from the try before; these rows cost", told.inner_text()).group(1))  # type: ignore[union-attr]
    assert page.locator(".try-changed").count() == n
    assert page.locator(".try:has(.try-changed) del").count() >= n
    assert page.get_by_text("Before, with Intents v1").count() == 3
    draft.refresh_from_db()
    assert draft.wasted_usd > 0
    page.get_by_role("link", name="Review", exact=True).last.click()
    page.get_by_role("button", name=re.compile(f"^Launch {ROWS - 3} rows")).wait_for()


def test_a_cap_blocks_the_launch_and_an_admin_approves(open_as: Open, people: Any, sandbox: Any) -> None:
    draft = make_draft(people, sandbox)
    path = reverse("launch-review", args=[draft.pk])
    page = open_as(people.analyst, path)
    page.get_by_label("Cap in dollars").fill("0.0001")
    page.get_by_label("Cap in dollars").press("Tab")
    page.get_by_text("above its cap of $0.0001").wait_for()
    assert page.locator("#launch-go").is_disabled()
    assert page.get_by_label("I approve going over the cap").count() == 0
    page = open_as(people.owner, path)
    page.locator("#launch-go").click()
    page.get_by_text("Not launched").wait_for()
    page.get_by_label("I approve going over the cap").check()
    page.locator("#launch-go").click()
    page.wait_for_url(f"**/jobs/{draft.pk}/")
    job = settled(draft)
    assert (job.state, job.n_succeeded, job.approved_by) == ("completed", ROWS, people.owner)


def test_a_held_job_goes_on_when_an_admin_approves(open_as: Open, people: Any, sandbox: Any) -> None:
    job = make_job(people.home, people.analyst, sandbox, n_rows=ROWS, settle=False)
    step(job)
    Job.objects.filter(pk=job.pk).update(cap_usd="0.0001")
    Batch.objects.filter(job=job).update(next_look_at=timezone.now())
    step(job)
    page = open_as(people.owner, reverse("job-detail", args=[job.pk]))
    page.get_by_text("A cap holds this job").wait_for()
    page.get_by_role("button", name="Approve going over the cap").click()
    page.get_by_role("dialog").get_by_role("button", name="Approve").click()
    page.get_by_text("Approved: this job may go over its cap").wait_for()
    assert page.get_by_text("A cap holds this job").count() == 0
    assert settled(job).state == "completed"


def test_the_rest_is_finished_in_real_time(open_as: Open, people: Any, tmp_path: Path) -> None:
    with Sandbox(tmp_path / "slow", seconds=3600) as slow:
        connection = make_connection(people.home, people.owner, slow)
        Connection.objects.filter(pk=connection.pk).update(limits={"requests_per_batch": 6})
        job = make_job(people.home, people.analyst, slow, n_rows=ROWS, connection=Connection.objects.get(), settle=False)
        estimate, _ = estimate_for(sample_of(job.dataset_version, job.prompt_version), job.prompt_version, connection, job.model, 200)
        Job.objects.filter(pk=job.pk).update(estimate=estimate.to_json())
        until(job, lambda: Batch.objects.filter(job=job, state="submitted").count() == 2)
        first = job.batches.get(number=1)
        slow.control("end", batch=first.provider_batch_id, status="completed")
        page = open_as(people.analyst, reverse("job-detail", args=[job.pk]))
        page.get_by_role("button", name="Finish in real time").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("2 batches are cancelled first")
        dialog.get_by_role("button", name=re.compile(r"^Finish 12 rows, about \$0\.0\d+ more")).click()
        page.get_by_text("The rest will be finished in real time").wait_for()
        until(job, lambda: not Batch.objects.filter(job=job, state="submitted", cancel_sent_at__isnull=True).exists())
        slow.control("settle")
        done = settled(job)
        assert (done.state, done.n_succeeded) == ("completed", ROWS)
        expect(page).to_have_title("Completed · Sort tickets · batchui", timeout=20_000)
        assert page.locator("section[aria-labelledby=rounds-title] td:nth-child(2)").all_inner_texts() == [
            "First pass\nby analyst",
            "Rescue\nby analyst",
        ]
        assert set(executed_rows(slow).values()) == {1}
        assert done.rounds.get(number=2).n_rows == ROWS - 6


def until(job: Job, done: Callable[[], bool]) -> None:
    """Work on a job until something is so."""
    for _ in range(60):
        if done():
            return
        Batch.objects.filter(job=job).update(next_look_at=timezone.now())
        Connection.objects.update(next_look_at=timezone.now())
        step(job)
    raise AssertionError("it never came to that")
