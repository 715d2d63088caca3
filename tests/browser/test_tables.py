"""Tables for work: columns and their widths, ticks by keyboard, texts of every script, print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.urls import reverse
from playwright.sync_api import expect

from jobs.models import Job
from tests.jobs import make_job

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def browse(page: Any, live_server: Any, client: Any, people: Any) -> Iterator[Callable[..., Any]]:
    """The owner, signed in; `browse(name, …)` opens a page of ours."""
    client.force_login(people.owner, backend="django.contrib.auth.backends.ModelBackend")
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def go(view: str, *args: Any) -> Any:
        page.goto(live_server.url + reverse(view, args=args))
        return page

    yield go
    assert complaints == []


@pytest.fixture
def job(people: Any, sandbox: Any, data_folder: Path) -> Job:
    return make_job(people.home, people.owner, sandbox, n_rows=6)


def tab_to(page: Any, name: str) -> None:
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("(document.activeElement.getAttribute('aria-label') || document.activeElement.innerText || '').trim()") == name:
            return
    raise AssertionError(f"Tab never came to {name}")


def test_columns_and_their_widths_are_chosen_by_keyboard_and_remembered(browse: Any, job: Job) -> None:
    page = browse("job-rows", job.pk)
    width = "document.querySelector('th[data-col=\"answer.summary\"]').offsetWidth"
    shown = "document.querySelector('th[data-col=\"message\"]').offsetWidth > 0"
    before = page.evaluate(width)
    tab_to(page, "Columns")
    page.keyboard.press("Enter")
    tab_to(page, "Width of summary in pixels")
    page.keyboard.type("411")
    page.keyboard.press("Tab")
    assert page.evaluate(width) == 411 != before
    tab_to(page, "Width of Message in pixels")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    assert page.evaluate(shown) is False
    page.reload()
    assert (page.evaluate(width), page.evaluate(shown)) == (411, False)
    assert page.get_by_label("Width of summary in pixels", exact=True).input_value() == "411"


def test_jobs_are_ticked_and_compared_by_keyboard(browse: Any, people: Any, sandbox: Any, job: Job) -> None:
    version, prompt = job.dataset_version, job.prompt_version
    other = make_job(people.home, people.owner, sandbox, version=version, prompt=prompt, connection=job.connection, name="Once more")
    page = browse("job-list")
    expect(page.locator("[data-bulk]")).to_be_hidden()
    for key in "jxjx":
        page.keyboard.press(key)
    expect(page.locator("[data-bulk]")).to_contain_text("2 selected")
    tab_to(page, "Compare …")
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare/?*")
    expect(page.locator("h1")).to_have_text("Compare jobs")
    expect(page.locator(".compare-table").first).to_contain_text("Once more")
    assert {str(job.pk), str(other.pk)} == set(page.url.split("?")[1].replace("jobs=", "").split("&"))


def test_texts_stand_as_their_script_wants(browse: Any, job: Job) -> None:
    """Row 4 is Arabic, row 5 Chinese: each cell has the direction of its own text, and nothing is lost on the way."""
    page = browse("job-row", job.pk, 3)
    arabic = page.get_by_text("مرحبا، لدي سؤال عن الفاتورة", exact=True).first
    assert arabic.evaluate("e => getComputedStyle(e).direction") == "rtl"
    page = browse("job-row", job.pk, 4)
    chinese = page.get_by_text("請問如何取消訂閱？ 謝謝", exact=True).first
    assert chinese.evaluate("e => getComputedStyle(e).direction") == "ltr"


def test_receipt_prints_without_the_frame(browse: Any, job: Job) -> None:
    page = browse("job-receipt", job.pk)
    page.emulate_media(media="print")
    expect(page.locator(".receipt-table")).to_be_visible()
    expect(page.get_by_text(f"job {job.pk}")).to_be_visible()
    for part in (".side", ".tabs", ".crumbs", ".actions", ".skip"):
        assert page.locator(part).first.is_hidden(), part
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.pdf()[:5] == b"%PDF-"


def test_nothing_moves_where_motion_is_unwanted(browse: Any, job: Job) -> None:
    page = browse("job-list")
    page.emulate_media(reduced_motion="reduce")
    moving = """() => [...document.querySelectorAll("*")].filter((e) => {
        const s = getComputedStyle(e);
        return s.animationName !== "none" || (s.transitionDuration !== "0s" && s.transitionProperty !== "none");
    }).length"""
    assert page.evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(moving) > 0  # the same page moves for who likes it
