"""A connection with a wrong key: the test says so in words, and the corrected key works. By hand, in Chromium."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from jobs.models import Connection

pytestmark = pytest.mark.browser


@pytest.fixture
def signed_in(page: Any, live_server: Any, client: Any, people: Any) -> Any:
    """The owner's browser; what its scripts and the policy complained of is in `page.complaints`."""
    client.force_login(people.owner, backend="django.contrib.auth.backends.ModelBackend")
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda m: page.complaints.append(m.text) if m.type == "error" and "script-src" in m.text else None)
    return page


def test_a_wrong_key_is_named_and_corrected(signed_in: Any, live_server: Any, sandbox: Any) -> None:
    page = signed_in
    page.goto(f"{live_server.url}/connections/")
    page.get_by_role("link", name="Add a connection").click()
    page.get_by_label("OpenAI-compatible").check()
    page.get_by_label("Name").fill("Basement")
    page.get_by_label("API key").fill("sk-wrong-000000000000")
    page.get_by_role("button", name="Save and test").click()
    page.get_by_text("Such a server has no address of its own.").wait_for()  # a 422: the form again, without the key
    assert page.get_by_label("API key").input_value() == ""
    page.get_by_label("Base URL").fill(sandbox.openai_url)
    page.get_by_label("API key").fill("sk-wrong-000000000000")
    page.get_by_role("button", name="Save and test").click()
    page.get_by_role("heading", level=1, name="Basement").wait_for()
    card = page.locator("#connection-test")
    assert "Does not work" in card.inner_text()
    assert "did not accept the API key" in card.inner_text()
    assert page.title().startswith("Does not work")
    page.get_by_label("API key").fill("sk-right-0000000003f2a")
    page.get_by_role("button", name="Save only").click()
    page.get_by_text("Basement is saved.").wait_for()
    card.get_by_role("button", name="Test now").click()
    card.get_by_text("It works:").wait_for()
    page.goto(f"{live_server.url}/connections/")
    row = page.get_by_role("row", name="Basement")
    assert "Works" in row.inner_text()
    row.get_by_role("button", name="Test").click()  # the row is swapped in place
    row.get_by_text("It works:").wait_for()
    made = Connection.objects.get()
    assert (made.key_hint, made.test_ok, page.complaints) == ("sk-…3f2a", True, [])
