"""A job in a real browser: it settles under one's eyes, failures are retried, results downloaded, rows read by key."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from django.urls import reverse
from playwright.sync_api import expect

from jobs.models import Job
from tests.jobs import make_job, settled

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
FAULTS = "gpt-6-luna+errors=3,missing=1,cutoff=2"


@pytest.fixture
def browse(page: Any, live_server: Any, client: Any, people: Any) -> Iterator[Any]:
    """The owner, signed in; `browse(name, …)` opens a page of ours. What the browser complained of must stay empty."""
    client.force_login(people.owner, backend="django.contrib.auth.backends.ModelBackend")
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def go(view: str, *args: Any, query: str = "") -> Any:
        page.goto(live_server.url + reverse(view, args=args) + query)
        return page

    yield go
    assert complaints == []


@pytest.fixture
def drive_beside() -> Iterator[Callable[[Job], threading.Thread]]:
    """Settles a job in a thread, as a worker would; the thread is over before the data is."""
    threads: list[threading.Thread] = []

    def start(job: Job) -> threading.Thread:
        def work() -> None:
            try:
                settled(job)
            finally:
                connections.close_all()

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join()


def test_job_settles_on_the_page_without_taking_the_focus(
    browse: Any, people: Any, sandbox: Any, data_folder: Path, drive_beside: Any
) -> None:
    job = make_job(people.home, people.owner, sandbox, settle=False)
    page = browse("job-detail", job.pk)
    assert page.title() == "0 % · Sort tickets · batchui"
    page.locator("[data-pause]").focus()
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.textContent.trim()")
    assert focused == "Cancel job"
    page.locator(".tabs a").first.focus()
    thread = drive_beside(job)
    expect(page).to_have_title("Completed · Sort tickets · batchui", timeout=30_000)
    thread.join()
    assert page.evaluate("document.activeElement.textContent") == "Overview"
    assert page.locator(".state").first.inner_text().startswith("All 24 rows succeeded, in ")
    assert page.locator("#status").inner_text() == "Completed"
    assert page.locator("[data-live], [data-pause]").count() == 0


def test_failures_are_retried_by_one_click_and_downloaded(
    browse: Any, people: Any, sandbox: Any, data_folder: Path, tmp_path: Path, drive_beside: Any
) -> None:
    job = make_job(people.home, people.owner, sandbox, model=FAULTS)
    Job.objects.filter(pk=job.pk).update(spec={**job.spec, "model": "gpt-6-luna"})  # the faults do not come again
    page = browse("job-failures", job.pk)
    assert page.locator("h3").all_inner_texts() == ["Provider error", "Cut off", "Not in the answer"]
    page.get_by_role("button", name="Retry all 6 failed rows").click()
    page.wait_for_url("**" + reverse("job-detail", args=[job.pk]))
    assert "Round 2 has started: 6 rows will be retried." in page.locator("#messages").inner_text()
    thread = drive_beside(job)
    expect(page).to_have_title("Completed · Sort tickets · batchui", timeout=30_000)
    thread.join()
    browse("job-failures", job.pk)
    assert page.get_by_text("All rows are settled, and all succeeded").is_visible()
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV").click()
    assert waiting.value.suggested_filename == f"sort-tickets-{job.pk.hex[:8]}.csv"
    target = tmp_path / "out.csv"
    waiting.value.save_as(target)
    lines = list(csv.DictReader(target.open(newline="", encoding="utf-8")))
    assert [line["ticket"] for line in lines] == [f"{i:05d}" for i in range(24)]
    assert {line["_outcome"] for line in lines} == {"succeeded"}
    assert [line["_attempts"] for line in lines] == ["2"] * 6 + ["1"] * 18


def test_retry_with_changes_prices_what_is_changed(browse: Any, people: Any, sandbox: Any, data_folder: Path) -> None:
    job = make_job(people.home, people.owner, sandbox, model=FAULTS)
    page = browse("job-failures", job.pk)
    page.get_by_role("link", name="Retry with changes …").click()
    page.get_by_label("Max output tokens").fill("900")
    page.get_by_label("Model").fill("gpt-6-luna")
    page.get_by_label("Model").press("Tab")
    page.wait_for_selector("#retry-price :text('max_output_tokens: 900')")
    assert page.evaluate("document.activeElement.name") == "connection"
    page.get_by_role("button", name="Retry 2 rows").click()
    page.wait_for_url("**" + reverse("job-detail", args=[job.pk]))
    made = job.rounds.get(number=2)
    assert (made.n_rows, made.changes) == (2, {"model": "gpt-6-luna", "max_output_tokens": "900"})
    assert page.locator(".chip").all_inner_texts() == ["model: gpt-6-luna", "max output tokens: 900"]


def test_drawer_walks_through_the_filter_by_key(browse: Any, people: Any, sandbox: Any, data_folder: Path) -> None:
    job = make_job(people.home, people.owner, sandbox, model=FAULTS)
    page = browse("job-rows", job.pk, query="?kind=failed")
    page.locator("h1").click()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    heading = page.locator("#row-drawer-title")
    heading.wait_for()
    assert heading.inner_text() == "Row 1"
    page.wait_for_selector("#row-drawer :text('Ticket 00000')")
    page.keyboard.press("]")  # of the list behind: it stays where it is
    page.keyboard.press("j")
    expect(heading).to_have_text("Row 2")
    page.wait_for_selector("#row-drawer :text('Ticket 00001')")  # the drawer is whole; a robot is quicker than its links are ready
    page.keyboard.press("K")
    expect(heading).to_have_text("Row 1")
    page.keyboard.press("Escape")
    expect(page.locator("#row-drawer")).to_have_count(0)
    assert page.url.endswith("?kind=failed")


def test_filters_and_charts_come_without_a_new_page(browse: Any, people: Any, sandbox: Any, data_folder: Path) -> None:
    job = make_job(people.home, people.owner, sandbox, model=FAULTS)
    page = browse("job-rows", job.pk)
    page.evaluate("window.same = true")
    page.get_by_role("combobox", name="Outcome").select_option("failed")
    expect(page.locator("#rows tbody tr")).to_have_count(3)
    assert page.evaluate("window.same") is True
    assert page.url.endswith("kind=failed&cause=&answer.intent=&answer.urgent=")
    page.locator(".charts-fold summary").click()
    page.wait_for_selector("#charts [data-chart]")
    assert page.locator("#charts figcaption").all_inner_texts()[0] == "intent · 18 rows"
