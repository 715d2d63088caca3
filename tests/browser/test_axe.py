"""Every page, in both themes: axe finds nothing serious, there is one h1, and nothing scrolls sideways at 320 px and at 200 %."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.security.test_matrix import OPEN, RULES
from tools.demo_site import DemoSite

pytestmark = [pytest.mark.browser, pytest.mark.slow]
FILES = {"dataset-file", "job-download", "job-receipt-json", "job-receipt-csv", "costs-csv", "report-quality-csv"}
NOT_PAGES = {"healthz", "signin-link", "signout", "theme"}


def test_every_address_is_walked(demo_site: DemoSite) -> None:
    seen = {name.split()[0] for name in demo_site.pages}
    addresses = {name for name, (get, _) in RULES.items() if get is not None} | OPEN
    assert addresses - FILES - NOT_PAGES - seen == set()


def test_axe_finds_nothing_serious_in_both_themes(walk: dict[str, Any]) -> None:
    found = {name: visit.serious for name, visit in walk.items() if visit.serious}
    assert found == {}, json.dumps(found, indent=1)


def test_every_page_has_one_heading_of_the_first_level(walk: dict[str, Any]) -> None:
    assert {name: visit.h1 for name, visit in walk.items() if len(visit.h1) != 1 or not visit.h1[0].strip()} == {}


def test_no_page_scrolls_sideways_at_320_px_nor_at_200_percent(walk: dict[str, Any]) -> None:
    assert {name: visit.too_wide for name, visit in walk.items() if visit.too_wide} == {}
