"""A page that lives: a swap takes nothing from the person; Pause holds; a change of state is spoken once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db.models import F
from django.urls import reverse
from playwright.sync_api import expect

from jobs.engine.retry import Changes, Wanted, retry
from jobs.models import Job
from tests.jobs import make_job, settled

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
FAULTS = "gpt-6-luna+errors=3,badschema=2"
HEARD = """
const spot = document.getElementById("status");
const hear = () => { const said = spot.textContent.trim(); if (said) (window.heard ??= []).push(said); };
new MutationObserver(hear).observe(spot, {childList: true, characterData: true, subtree: true})
"""


@pytest.fixture
def live(page: Any, live_server: Any, client: Any, people: Any) -> Callable[..., Any]:
    """`live(name, …)` opens a page as the owner, with the browser's clock in our hand; `asked` counts the requests of its live part."""
    client.force_login(people.owner, backend="django.contrib.auth.backends.ModelBackend")
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    page.clock.install()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url) if request.headers.get("hx-request") else None)

    def go(view: str, *args: Any) -> Any:
        page.goto(live_server.url + reverse(view, args=args))
        page.clock.run_for(1100)
        return page

    return go


def change(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(version=F("version") + 1)


def swap(page: Any, job: Job, root: str = "#job-live") -> None:
    """Let the server have news, and time pass until they stand on the page."""
    page.evaluate(f"document.querySelector('{root}').setAttribute('data-old', '')")
    change(job)
    page.clock.run_for(20_000)
    expect(page.locator(f"{root}[data-old]")).to_have_count(0)


@pytest.fixture
def retrying(people: Any, sandbox: Any, data_folder: Path) -> Job:
    """A job with failures of two causes, one of which is being retried."""
    job = make_job(people.home, people.owner, sandbox, model=FAULTS, n_rows=60)
    Job.objects.filter(pk=job.pk).update(spec={**job.spec, "model": "gpt-6-luna"})
    retry(job, people.owner, Wanted(causes=frozenset({"schema_mismatch"})), Changes(), token="once")
    job.refresh_from_db()
    return job


def test_a_swap_keeps_focus_folds_and_scroll(live: Any, retrying: Job) -> None:
    page = live("job-failures", retrying.pk)
    fold = page.locator("details.fail-words").first
    fold.locator("summary").click()
    page.get_by_role("link", name="See the rows").focus()
    page.set_viewport_size({"width": 900, "height": 400})
    page.evaluate("scrollTo(0, 150)")
    at = page.evaluate("scrollY")
    assert at > 0
    swap(page, retrying)
    assert page.evaluate("document.activeElement.textContent") == "See the rows"
    assert fold.get_attribute("open") is not None
    assert page.evaluate("scrollY") == at


def test_a_swap_waits_while_text_is_selected(live: Any, retrying: Job) -> None:
    page = live("job-detail", retrying.pk)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.job-percent'))")
    chosen = page.evaluate("getSelection().toString()")
    page.asked.clear()
    change(retrying)
    page.clock.run_for(30_000)
    assert page.asked == []
    assert page.evaluate("getSelection().toString()") == chosen != ""
    page.evaluate("getSelection().removeAllRanges()")
    swap(page, retrying)


def test_rows_of_the_list_stay_where_they_are(live: Any, retrying: Job) -> None:
    page = live("job-list")
    row = f'tr[data-id="{retrying.pk}"]'
    page.evaluate(f"""document.querySelector('{row}').kept = true""")
    page.locator(f"{row} a.title").focus()
    before = page.locator(row).inner_text()
    settled(retrying)
    page.clock.run_for(20_000)
    expect(page.locator(row)).to_contain_text("Completed with failures")
    assert "Completed" not in before
    assert page.evaluate(f"""document.querySelector('{row}').kept""") is True
    assert page.evaluate("document.activeElement.textContent") == retrying.name


def test_pause_holds_until_go_on(live: Any, retrying: Job) -> None:
    page = live("job-detail", retrying.pk)
    page.get_by_role("button", name="Pause").click()
    page.asked.clear()
    change(retrying)
    page.clock.run_for(120_000)
    assert page.asked == []
    expect(page.locator("[data-live-said]")).to_have_text("Paused; updated 2 min ago")
    assert page.get_by_role("button", name="Go on").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Go on").click()
    swap(page, retrying)
    assert len(page.asked) >= 1


def test_a_change_of_state_is_spoken_once(live: Any, retrying: Job) -> None:
    page = live("job-detail", retrying.pk)
    page.evaluate(HEARD)
    swap(page, retrying)
    assert page.evaluate("window.heard ?? []") == []  # news without a change of state are not spoken
    settled(retrying)
    swap(page, retrying)
    page.clock.run_for(30_000)
    assert page.evaluate("window.heard") == ["Completed with failures"]
    page.asked.clear()
    page.clock.run_for(60_000)
    assert page.asked == []  # it is over, so nothing is asked any more


def test_questions_become_rarer_where_nothing_happens(live: Any, retrying: Job) -> None:
    page = live("job-detail", retrying.pk)
    gaps = []
    for _ in range(12):
        page.asked.clear()
        for second in range(1, 40):
            page.clock.run_for(1000)
            if page.asked:
                gaps.append(second)
                break
        expect(page.locator(".htmx-request")).to_have_count(0)
    assert gaps[0] <= 4
    assert gaps[-1] in (30, 31)
