"""The costs page in Chromium: filters without a reload, the address that keeps them, charts drawn, the way to a receipt."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser.test_connections import signed_in  # noqa: F401 - a fixture
from tests.views.test_costs import spend

pytestmark = pytest.mark.browser


@pytest.fixture
def costs(signed_in: Any, live_server: Any, people: Any) -> Any:  # noqa: F811
    spend(people, "Sort tickets", "luna", "10.25", "20.50", wasted="1.25")
    spend(people, "Summarise", "sol", "30", "60", days=3)
    spend(people, "Long ago", "sol", "500", "1000", days=45)
    signed_in.goto(f"{live_server.url}/costs/")
    return signed_in


def test_filters_swap_the_page_and_the_address(costs: Any) -> None:
    paid = costs.locator(".tile .value").first
    assert paid.inner_text() == "$40.25"
    costs.get_by_label("Period").select_option("all")
    costs.locator(".tile .value", has_text="$540.25").first.wait_for()
    costs.get_by_label("Model", exact=True).select_option("luna")
    costs.locator(".filter-chip", has_text="Model: luna").wait_for()
    assert paid.inner_text() == "$10.25"
    assert parse_qs(urlsplit(costs.url).query) == {"period": ["all"], "model": ["luna"]}
    costs.reload()
    assert (paid.inner_text(), costs.get_by_label("Period").input_value()) == ("$10.25", "all")
    costs.get_by_role("link", name="Remove filter Model: luna").click()
    costs.locator(".tile .value", has_text="$540.25").first.wait_for()
    costs.go_back()
    costs.locator(".tile .value", has_text="$10.25").first.wait_for()
    assert (costs.get_by_role("link", name="Sort tickets").get_attribute("href") or "").endswith("/receipt/")
    assert costs.complaints == []


def test_breakdown_changes_and_charts_are_drawn(costs: Any) -> None:
    costs.get_by_role("link", name="Person", exact=True).click()
    costs.get_by_role("heading", level=2, name="By person").wait_for()
    assert parse_qs(urlsplit(costs.url).query) == {"by": ["person"]}
    chart = costs.locator('[data-chart="costs-by-day"]')
    chart.scroll_into_view_if_needed()
    chart.locator(".main-svg").first.wait_for(state="attached")
    assert costs.locator("[data-failed]").count() == 0
