"""The main job from end to end in Chromium, on `manage.py up` as a person starts it: web server, workers and sandbox, all real."""

from __future__ import annotations

import contextlib
import csv
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings
from playwright.sync_api import Page, expect

from jobs.engine.samples import TABLE
from tests.ops.test_whole import Whole

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SETTLES_MS = 90_000


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """`up` on a new folder; `whole.link` is the sign-in link that it prints."""
    whole = Whole(tmp_path_factory.mktemp("up"), b"")
    whole.env |= {"DJANGO_SETTINGS_MODULE": "tools.site_settings"}
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=settings.BASE_DIR, env=whole.env, check=True)
    whole.link = whole.start()  # type: ignore[attr-defined]
    yield whole
    family = whole.family()
    whole.end(signal.SIGTERM)
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


@pytest.fixture(scope="module")
def person(up: Whole, browser: Any) -> Iterator[Page]:
    """A browser that opened the sign-in link; what it complained of must stay empty."""
    context = browser.new_context(accept_downloads=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(up.link)  # type: ignore[attr-defined]
    yield page
    context.close()
    assert complaints == []


def download(page: Page, target: Path) -> list[dict[str, str]]:
    page.get_by_role("button", name="Download", exact=True).click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV").click()
    waiting.value.save_as(target)
    return list(csv.DictReader(target.open(newline="", encoding="utf-8-sig")))


def test_from_the_first_sign_in_to_the_table_with_all_answers(person: Page, tmp_path: Path) -> None:
    page = person
    expect(page.get_by_role("heading", level=1)).to_have_text("Welcome to batchui")
    page.get_by_role("button", name="Load sample data").click()
    page.get_by_text("Ticket T-01").first.wait_for()
    page.get_by_role("link", name="Review", exact=True).last.click()
    page.get_by_role("button", name=re.compile(r"^Launch 60 rows, (about|under|up to) \$0\.0")).click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}/$"))
    page.evaluate("window.same = true")
    expect(page).to_have_title(re.compile(r"^\d+ rows? did not succeed · "), timeout=SETTLES_MS)
    assert page.evaluate("window.same") is True  # it came live, by itself
    state = page.locator(".state").first.inner_text()
    n_failed = int(re.search(r"(\d+) did not", state)[1])  # type: ignore[index]

    page.get_by_role("link", name="See the causes").click()
    expect(page.locator("h3").first).to_have_text("Does not fit the schema")
    expect(page.get_by_text("The sandbox lets a few rows of this model fail on purpose.")).to_be_visible()
    page.get_by_role("button", name=re.compile(rf"^Retry all {n_failed} failed rows?, (about|under|up to) \$0\.0")).click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}/$"))
    expect(page).to_have_title(re.compile(r"^Completed · "), timeout=SETTLES_MS)
    expect(page.locator(".state").first).to_have_text(re.compile("^All 60 rows succeeded"))

    lines = download(page, tmp_path / "out.csv")
    given = list(csv.DictReader(TABLE.open(newline="", encoding="utf-8")))
    harmless = [{name: "'" + text if text.startswith(("=", "+", "-", "@")) else text for name, text in row.items()} for row in given]
    assert [{name: line[name] for name in given[0]} for line in lines] == harmless  # a spreadsheet must not run a cell
    assert {line["_outcome"] for line in lines} == {"succeeded"}
    assert {line["answer.urgency"] for line in lines} <= {"now", "today", "can wait"}
    assert sum(line["_attempts"] != "1" for line in lines) >= n_failed


def test_by_keyboard_alone(person: Page, tmp_path: Path) -> None:
    """A second job over the sample, from wherever the person is to the download, without the mouse and without an address."""
    page = person
    page.keyboard.press("Escape")  # the dialog of the last download
    focus_on(page, "Prompts")
    page.keyboard.press("Enter")
    page.wait_for_url("**/prompts/")
    focus_on(page, "Sort support tickets")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/prompts/[0-9a-f-]{36}/"))
    focus_on(page, "Jobs")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}/$"))
    focus_on(page, "Launch again")
    page.keyboard.press("Enter")
    page.wait_for_url("**/review/")
    focus_on(page, re.compile("^Launch 60 rows"))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}/$"))
    expect(page).to_have_title(re.compile(r"^Completed · "), timeout=SETTLES_MS)
    focus_on(page, re.compile("^Results"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/rows/")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("#row-drawer[open] h2")).to_have_text("Row 1")
    page.keyboard.press("Escape")
    expect(page.locator("#row-drawer")).to_have_count(0)
    focus_on(page, "Download")
    page.keyboard.press("Enter")
    focus_on(page, "CSV")
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    waiting.value.save_as(tmp_path / "out.csv")
    assert len(list(csv.DictReader((tmp_path / "out.csv").open(newline="", encoding="utf-8-sig")))) == 60


def focus_on(page: Page, name: str | re.Pattern[str]) -> None:
    """Tab until what has the focus is called so."""
    for _ in range(120):
        page.keyboard.press("Tab")
        text = page.evaluate("(document.activeElement.getAttribute('aria-label') || document.activeElement.innerText || '').trim()")
        if text == name if isinstance(name, str) else name.search(text):
            return
    raise AssertionError(f"Tab never came to {name}")


def test_costs_lead_to_the_receipts(person: Page, up: Whole) -> None:
    page = person
    page.goto(f"http://127.0.0.1:{up.port}/costs/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Costs")
    chart = page.locator('[data-chart="costs-by-day"]')
    chart.scroll_into_view_if_needed()
    chart.locator(".main-svg").first.wait_for(state="attached")
    page.get_by_role("link", name=re.compile("^Sort support tickets × ")).first.click()
    page.wait_for_url("**/receipt/")
    amounts = page.locator("table").first.inner_text()
    assert "Round 1" in amounts
    assert page.locator("table").first.get_by_text("Saved against real time").is_visible()
