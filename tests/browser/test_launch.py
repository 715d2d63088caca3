"""The way to a first job in Chromium: sample data, review, launch; back and forward; the keyboard alone; a double click."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings

from jobs.engine import drafts
from jobs.models import Job
from tests.views.launching import BACKEND, MODEL, make_connection, make_draft

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def analyst(page: Any, live_server: Any, client: Any, people: Any, data_folder: Any) -> Any:
    """A page signed in as the analyst; what the browser complained of is in `page.complaints`."""
    client.force_login(people.analyst, backend=BACKEND)
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.home = live_server.url
    return page


def test_first_use_to_a_launched_job_in_three_clicks(analyst: Any, people: Any) -> None:
    make_connection(people.home)
    analyst.goto(analyst.home + "/")
    analyst.get_by_role("button", name="Load sample data").click()
    analyst.get_by_text("Ticket T-01").first.wait_for()
    analyst.get_by_role("link", name="Review", exact=True).last.click()
    analyst.get_by_role("button", name=re.compile(r"^Launch 60 rows, (about|under|up to) \$0\.0")).click()
    analyst.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}/$"))
    assert analyst.get_by_role("heading", level=1).inner_text() == "Sort support tickets × Support tickets (sample)"
    assert [(job.state, job.n_rows, job.model) for job in Job.objects.all()] == [("queued", 60, f"{MODEL}+flaky")]
    analyst.go_back()  # the review of a launched draft is its job
    analyst.wait_for_url(re.compile(r"/(jobs|launch)/[0-9a-f-]{36}/"))
    analyst.reload()
    assert "/jobs/" in analyst.url
    assert Job.objects.get().rounds.count() == 1
    assert analyst.complaints == []


def test_back_and_forward_keep_the_draft(analyst: Any, people: Any) -> None:
    draft = make_draft(people)
    analyst.goto(f"{analyst.home}/launch/{draft.pk}/model/")
    analyst.locator("#models table").wait_for()
    analyst.get_by_label("Most output tokens per row").fill("77")
    analyst.get_by_role("button", name="Skip to review").click()
    analyst.wait_for_url("**/review/")
    analyst.get_by_label("Real time").check()
    analyst.locator("#lane-direct:checked").wait_for()
    analyst.go_back()
    analyst.wait_for_url("**/model/")
    assert analyst.get_by_label("Most output tokens per row").input_value() == "77"
    analyst.go_forward()
    analyst.wait_for_url("**/review/")
    assert analyst.get_by_label("Real time").is_checked()
    assert "at most 77 tokens out" in analyst.locator(".review-what").inner_text()
    draft.refresh_from_db()
    assert (draft.lane, draft.draft["changes"]) == ("direct", {"max_output_tokens": 77})


def test_a_refused_launch_is_left_and_come_back_to(analyst: Any, people: Any) -> None:
    draft = make_draft(people)
    analyst.goto(f"{analyst.home}/launch/{draft.pk}/review/")
    drafts.choose_params(draft, {"max_output_tokens": 55})  # in another window
    analyst.get_by_role("button", name=re.compile("^Launch 40 rows")).click()
    analyst.get_by_text("This draft, or a price of its model, was changed meanwhile.").wait_for()
    assert analyst.url.endswith(f"/launch/{draft.pk}/review/")
    analyst.goto(f"{analyst.home}/jobs/")
    analyst.go_back()
    analyst.locator(".review-what").get_by_text("at most 55 tokens out").wait_for()
    analyst.reload()
    analyst.get_by_role("button", name=re.compile("^Launch 40 rows")).click()
    analyst.wait_for_url(f"**/jobs/{draft.pk}/")


def test_a_double_click_launches_once(analyst: Any, people: Any) -> None:
    draft = make_draft(people)
    analyst.goto(f"{analyst.home}/launch/{draft.pk}/review/")
    analyst.get_by_role("button", name=re.compile("^Launch 40 rows")).dblclick(no_wait_after=True)
    analyst.wait_for_url(f"**/jobs/{draft.pk}/")
    job = Job.objects.get()
    assert (job.state, job.rounds.count(), job.events.filter(kind="launched").count()) == ("queued", 1, 1)


SETTLED = "() => { window.settled = new Promise(done => document.addEventListener('htmx:afterSettle', () => done(true), {once: true})) }"


def test_terms_typed_quickly_over_a_slow_network_are_what_is_launched(analyst: Any, people: Any) -> None:
    draft = make_draft(people)
    held: list[Any] = []
    analyst.goto(f"{analyst.home}/launch/{draft.pk}/review/")
    analyst.route("**/review/", lambda route: held.append(route) if route.request.method == "POST" else route.continue_())
    keys, name, attempts, cap = (analyst.keyboard, *map(analyst.get_by_label, ("Name of the job", "Attempts per row", "Cap in dollars")))
    name.fill("Typed")
    with analyst.expect_request("**/review/"):
        keys.press("Tab")
    keys.type("7")  # the field's text was selected by Tab
    keys.press("Tab")
    keys.type("0.")
    analyst.evaluate(SETTLED)
    held.pop(0).continue_()  # the answer to the name comes while the cap is half typed
    analyst.evaluate("() => window.settled")
    keys.type("5")
    assert (name.input_value(), attempts.input_value(), cap.input_value()) == ("Typed", "7", "0.5")
    assert cap.evaluate("e => e === document.activeElement")
    analyst.locator("#launch-go").click()  # what the fields said is still on its way, and overtaken
    analyst.wait_for_url(f"**/jobs/{draft.pk}/")
    job = Job.objects.get()
    assert (job.name, job.max_attempts, job.cap_usd, job.state) == ("Typed", 7, Decimal("0.5"), "queued")
    assert analyst.complaints == []


def test_a_model_that_is_ticked_while_the_table_is_counted_stays_ticked(analyst: Any, people: Any) -> None:
    draft = make_draft(people)
    held: list[Any] = []
    analyst.goto(f"{analyst.home}/launch/{draft.pk}/model/")
    analyst.locator("#models table").wait_for()
    analyst.route("**/model/", lambda route: held.append(route))
    with analyst.expect_request("**/model/"):
        analyst.get_by_label("Most output tokens per row").fill("77")
        analyst.get_by_label("Most output tokens per row").press("Tab")
    other = analyst.locator("input[name=pick]:not(:checked)").first
    wanted = other.get_attribute("value")
    other.check()
    analyst.evaluate(SETTLED)
    held[0].continue_()
    analyst.evaluate("() => window.settled")
    assert analyst.locator("input[name=pick]:checked").get_attribute("value") == wanted
    assert analyst.get_by_label("Most output tokens per row").input_value() == "77"


def test_what_the_figures_ask_for_follows_the_terms(analyst: Any, people: Any) -> None:
    own = make_connection(people.home, "Own", "http://127.0.0.1:8/v1", kind="openai-compatible", is_sandbox=False, seen=["llama-x"])
    draft = make_draft(people)
    drafts.choose_model(draft, own, "llama-x", {})
    drafts.choose_terms(draft, name="Mine", lane="direct", max_attempts=3, cap_usd=None)
    analyst.goto(f"{analyst.home}/launch/{draft.pk}/review/")
    go, cap = analyst.locator("#launch-go"), analyst.get_by_label("Cap in dollars")
    tick = analyst.get_by_label("The price is not known; launch anyway")
    go.click()
    assert tick.evaluate("e => e === document.activeElement && !e.validity.valid")  # the browser asks for it
    cap.fill("5")
    cap.press("Tab")
    analyst.get_by_text("so its cap of $5.00 cannot be kept").wait_for()
    assert (go.is_disabled(), tick.is_visible()) == (True, False)
    cap.fill("")
    cap.press("Tab")
    tick.check()
    go.click()
    analyst.wait_for_url(f"**/jobs/{draft.pk}/")
    assert (Job.objects.get().state, Job.objects.get().cap_usd) == ("queued", None)


def test_the_footer_says_the_model_that_is_written_by_name(analyst: Any, people: Any) -> None:
    draft = make_draft(people)
    analyst.goto(f"{analyst.home}/launch/{draft.pk}/model/")
    analyst.locator("#models table").wait_for()
    says = analyst.locator("#says")
    ticked = says.inner_text()
    analyst.get_by_text("A model that is not listed").click()
    analyst.get_by_label("Model name").press_sequentially("llama-x")
    assert says.inner_text() == "llama-x on Sandbox, instead of the one that is ticked"
    analyst.get_by_label("Model name").fill("")
    assert says.inner_text() == ticked


def test_the_way_by_keyboard_alone(analyst: Any, people: Any) -> None:
    """From the list to a launched job with Tab, Space, arrows and Enter."""
    make_draft(people)
    Job.objects.all().delete()
    analyst.goto(analyst.home + "/jobs/")
    analyst.keyboard.press("n")
    analyst.wait_for_url("**/launch/")
    tab_to(analyst, "input[name=dataset_version]")
    analyst.keyboard.press("Space")
    analyst.keyboard.press("Enter")
    analyst.wait_for_url("**/prompt/")
    tab_to(analyst, "input[name=prompt_version]")
    analyst.keyboard.press("Space")
    analyst.keyboard.press("Enter")
    analyst.wait_for_url("**/model/")
    analyst.locator("#models table").wait_for()
    tab_to(analyst, "input[name=pick]")
    assert analyst.locator("input[name=pick]:checked").count() == 1
    analyst.keyboard.press("Enter")
    analyst.wait_for_url("**/try/")
    analyst.locator(".tries").wait_for()
    tab_to(analyst, ".launch-foot .btn-primary")
    analyst.keyboard.press("Enter")
    analyst.wait_for_url("**/review/")
    tab_to(analyst, "#launch-go")
    analyst.keyboard.press("Enter")
    analyst.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}/$"))
    assert Job.objects.get().state == "queued"


def tab_to(page: Any, selector: str) -> None:
    """Press Tab until the focus is on a match, as a person without a mouse would."""
    for _ in range(90):
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never reaches {selector}")
