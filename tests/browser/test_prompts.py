"""The prompt editor in Chromium: a typo is found at its line, the preview follows, versions are saved and compared."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from jobs.engine.prompts import Content, create
from jobs.models import PromptVersion
from tests.browser.test_datasets import signed_in  # noqa: F401 - a fixture
from tests.jobs import make_dataset

pytestmark = [pytest.mark.browser]
PATIENT = 20_000  # a preview starts a process of its own, which a busy machine makes wait


@pytest.fixture
def editor(signed_in: Page, live_server: Any, people: Any) -> Page:  # noqa: F811
    make_dataset(people.home, people.owner, 6)
    signed_in.goto(f"{live_server.url}/prompts/new/")
    return signed_in


def test_what_is_wrong_is_never_beneath_the_save_bar(editor: Page) -> None:
    editor.set_viewport_size({"width": 1280, "height": 640})
    editor.get_by_label("Name", exact=True).fill("Long")
    editor.locator("#id_user").fill("\n".join(["Sort this ticket."] * 30) + "\n{{ txet }}")
    problem = editor.locator("#problems-user li")
    expect(problem).to_contain_text("There is no column “txet”.", timeout=PATIENT)
    expect(editor.locator("#preview")).to_contain_text("line 31: There is no column “txet”.")
    problem.evaluate("e => e.scrollIntoView({block: 'end'})")
    covered = (
        "e => { const b = e.getBoundingClientRect(); return !e.contains(document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2)) }"
    )
    assert problem.locator("span").last.evaluate(covered) is False


def test_a_typo_is_named_with_its_line_and_mended_then_versions_are_compared(editor: Page) -> None:
    page, user = editor, editor.locator("#id_user")
    page.get_by_label("Name", exact=True).fill("Intents")
    user.press_sequentially("Sort this ticket.\n{{ txet }}")
    problem = page.locator("#problems-user li")
    expect(problem).to_contain_text("Line 2: There is no column “txet”.", timeout=PATIENT)
    expect(user).to_be_focused()  # the answer has not taken the cursor away
    assert user.evaluate("e => e.selectionStart") == len("Sort this ticket.\n{{ txet }}")

    page.get_by_role("button", name="Line 2").click()
    assert user.evaluate("e => e.value.slice(e.selectionStart, e.selectionEnd)") == "txet"
    page.get_by_role("button", name="Use “text” instead").click()
    expect(user).to_have_value("Sort this ticket.\n{{ text }}")
    shown = page.get_by_role("region", name="User prompt of this row")
    expect(shown).to_contain_text("I was charged twice for billing in May", timeout=PATIENT)
    expect(problem).to_have_count(0, timeout=PATIENT)
    expect(page.locator("#preview footer")).to_contain_text(re.compile(r"About \d+ tokens"), timeout=PATIENT)

    page.get_by_role("button", name="Next row").click()
    expect(shown).to_contain_text("The app crashes", timeout=PATIENT)
    user.press("Control+End")
    user.press_sequentially(" Ticket ")
    page.get_by_role("button", name="ticket", exact=True).click()
    expect(user).to_have_value("Sort this ticket.\n{{ text }} Ticket {{ ticket }}")
    expect(shown).to_contain_text("Ticket 00001", timeout=PATIENT)  # still the second row

    page.get_by_label("Note on this version").fill("First try")
    page.get_by_role("button", name="Save prompt").click()
    page.wait_for_url(re.compile(r"\?version=1"))
    expect(page.locator("#messages")).to_contain_text("Saved as version 1.")

    page.get_by_role("link", name="Edit", exact=True).click()
    page.locator("#id_user").press("Control+End")
    page.locator("#id_user").press_sequentially("\nBe brief.")
    page.get_by_role("button", name="Save version 2").click()
    page.wait_for_url(re.compile(r"\?version=2"))
    page.get_by_role("link", name="Compare the last two").click()
    expect(page.locator(".diff .add")).to_contain_text("Be brief.")
    expect(page.locator(".diff .del")).to_have_count(0)


def test_answer_fields_are_built_and_read_back_from_their_json(editor: Page) -> None:
    page, schema = editor, editor.locator("#id_schema")
    page.locator("summary", has_text="Answer fields").click()
    page.get_by_role("button", name="Add a field").click()
    field = page.locator(".builder-field")
    field.get_by_label("Name").fill("intent")
    labels = field.get_by_label("Add a label")
    labels.press_sequentially("refund,delivery")
    labels.press("Enter")
    expect(field.locator(".tag")).to_have_text([re.compile("refund"), re.compile("delivery")])
    labels.press_sequentially('"other, or none"')  # a label with a comma in it
    labels.press("Enter")
    expect(field.locator(".tag").last).to_have_attribute("data-label", "other, or none")
    labels.press("Backspace")
    page.get_by_role("button", name="Add a field").click()
    field.nth(1).get_by_label("Name").fill("urgent")
    field.nth(1).get_by_label("Kind").select_option("yes/no")
    built = {
        "type": "object",
        "properties": {"intent": {"type": "string", "enum": ["refund", "delivery"]}, "urgent": {"type": "boolean"}},
        "required": ["intent", "urgent"],
        "additionalProperties": False,
    }
    assert json.loads(schema.input_value()) == built

    page.locator("summary", has_text="As JSON Schema").click()
    built["properties"]["urgent"] = {"type": "number"}
    schema.fill(json.dumps(built))
    expect(field.nth(1).get_by_label("Kind")).to_have_value("number")
    page.get_by_label("Name", exact=True).first.fill("Intents")
    page.locator("#id_user").fill("{{ text }}")
    page.get_by_role("button", name="Save prompt").click()
    page.wait_for_url(re.compile(r"\?version=1"))
    assert PromptVersion.objects.get().schema == built


def test_unsaved_work_is_not_lost_unasked(editor: Page) -> None:
    page = editor
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.locator("#id_user").press_sequentially("Half a thought")
    expect(page.get_by_text("Not saved yet")).to_be_visible()
    page.get_by_role("link", name="Cancel").click()
    expect(page.locator("#id_user")).to_have_value("Half a thought")
    assert asked == ["beforeunload"]


def test_a_search_keeps_what_is_typed_while_its_answer_is_on_the_way(signed_in: Page, live_server: Any, people: Any) -> None:  # noqa: F811
    for name in ("abacus", "abc"):
        create(people.home, people.owner, name, Content(user="Hello"))
    page, held = signed_in, list[Any]()
    page.goto(f"{live_server.url}/prompts/")
    page.route("**/prompts/?*", lambda route: held.append(route) if not held else route.continue_())
    field = page.get_by_label("Search prompts")
    with page.expect_request("**/prompts/?*"):
        field.press_sequentially("ab")
    field.press_sequentially("c")
    held[0].continue_()
    expect(page.get_by_role("link", name="abacus")).to_have_count(0)  # what was typed last is what is shown
    expect(page.get_by_role("link", name="abc")).to_be_visible()
    assert field.input_value() == "abc"
    assert field.evaluate("e => e === document.activeElement && e.selectionStart === 3")


def test_a_preview_that_is_cut_off_is_no_error(editor: Page, live_server: Any) -> None:
    said: list[str] = []
    editor.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    editor.on("dialog", lambda dialog: dialog.accept())
    editor.route("**/prompts/new/", lambda route: None if route.request.method == "POST" else route.continue_())  # never answered
    with editor.expect_request(lambda request: request.method == "POST"):
        editor.locator("#id_user").fill("Sort {{ text }}")
    with editor.expect_request(lambda request: request.method == "POST"):  # the first one is cut off by it
        editor.locator("#id_user").fill("Sort {{ text }} now")
    editor.wait_for_function("document.querySelectorAll('.htmx-request').length > 0")
    editor.goto(f"{live_server.url}/prompts/")
    expect(editor.get_by_role("heading", level=1)).to_contain_text("Prompts")
    assert said == []
