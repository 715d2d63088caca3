"""What a page costs: bytes, requests, and a silent console. That our CSS and JS stay under 60 kB is in test_styleguide.py."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]
MOST_BYTES = 60_000
STATUS = {"404": 404, "500": 500, "csrf": 403, "403": 403}


def test_pages_answer(walk: dict[str, Any]) -> None:
    assert {name: visit.status for name, visit in walk.items() if visit.status != STATUS.get(name, 200)} == {}


def test_html_stays_within_its_budget(walk: dict[str, Any]) -> None:
    assert {name: visit.html_bytes for name, visit in walk.items() if visit.html_bytes > MOST_BYTES} == {}


def test_charts_are_loaded_only_where_one_is_shown(walk: dict[str, Any]) -> None:
    charts = {name for name, visit in walk.items() if visit.has_chart}
    assert {"costs", "job-receipt retried"} & charts
    assert {name for name, visit in walk.items() if visit.has_plotly} <= charts


def test_nothing_leaves_the_host(walk: dict[str, Any]) -> None:
    assert {name: visit.elsewhere for name, visit in walk.items() if visit.elsewhere} == {}


def test_browser_and_policy_have_no_complaint(walk: dict[str, Any]) -> None:
    assert {name: visit.complaints for name, visit in walk.items() if visit.complaints} == {}
