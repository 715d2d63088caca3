"""What the tests of all pages share: one server on demo data, and one walk through every page of it."""

from __future__ import annotations

import gzip
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from tools.demo_site import DemoSite
from tools.screens import CHROMIUM, EXPECTED, FLAGS, SESSION

VIOLATIONS = (
    "document.addEventListener('securitypolicyviolation', e => (window.stopped ??= []).push(e.effectiveDirective + ' ' + e.blockedURI))"
)
AXE = "rules => axe.run(document, {resultTypes: ['violations'], ...rules}).then(found => found.violations)"
WALKERS = 2
WIDTHS = (320, 640, 1280)  # 640 is 1280 at 200 %


@dataclass
class Visit:
    """What one page was like. `serious` is what axe found, by theme and rule; `complaints` what browser and policy said."""

    status: int
    html_bytes: int  # gzipped
    serious: dict[str, list[str]]
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    has_chart: bool = False
    has_plotly: bool = False
    h1: list[str] = field(default_factory=list)
    too_wide: list[int] = field(default_factory=list)


@pytest.fixture(scope="session")
def demo_site() -> Iterator[DemoSite]:
    """The app on demo data, in processes of its own."""
    with DemoSite() as site:
        yield site


@pytest.fixture(scope="session")
def walk(demo_site: DemoSite) -> dict[str, Visit]:
    """Every page of the demo once, as its admin; the empty ones as the admin of an empty workspace; some as a viewer and as nobody."""
    viewer = ("home", "job-list", "job-detail failures", "job-failures failures", "connection-edit", "workspace-detail")
    stops = [("owner", name, path) for name, path in demo_site.pages.items() if name not in ("signin", "workspace-join")]
    stops += [("alone", name, path) for name, path in demo_site.empty.items()]
    stops += [("viewer", f"{name} viewer", demo_site.pages[name]) for name in viewer]
    stops += [("viewer", "403", demo_site.pages["dataset-upload"])]
    stops += [("", name, demo_site.pages[name]) for name in ("signin", "workspace-join")]
    # Server and browser wait for each other, so one walker leaves half of two cores idle. Who comes first takes the next page.
    ahead, found = deque(stops), dict[str, Visit]()
    with ThreadPoolExecutor(WALKERS) as walkers:
        for each in [walkers.submit(stroll, demo_site, ahead, found) for _ in range(WALKERS)]:
            each.result()
    return {name: found[name] for _, name, _ in stops}


def stroll(site: DemoSite, ahead: deque[tuple[str, str, str]], found: dict[str, Visit]) -> None:
    """Visit what is ahead until nothing is, with a browser of one's own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        people: dict[str, Any] = {}
        while ahead:
            with suppress(IndexError):  # the other one was quicker
                person, name, path = ahead.popleft()
                if person not in people:
                    people[person] = browser.new_context(reduced_motion="reduce", viewport={"width": 1280, "height": 900})
                    people[person].add_init_script(VIOLATIONS)
                    if person:
                        people[person].add_cookies([{"name": SESSION, "value": site.cookies[person], "url": site.url}])
                page = people[person].new_page()
                found[name] = visit(page, site.url, path)
                page.close()
        browser.close()


def visit(page: Any, base: str, path: str) -> Visit:
    """Open a page and look at it in every way that this folder's tests ask about."""
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" and not EXPECTED.search(m.text) else None)
    response = page.goto(base + path, wait_until="load")
    made = Visit(response.status, len(gzip.compress(response.body())), {}, complaints)
    expect(page.locator('[hx-trigger="load"], .htmx-request')).to_have_count(0, timeout=30_000)
    for chart in [each for each in page.locator("[data-chart]").all() if each.is_visible()][:1]:
        chart.scroll_into_view_if_needed()
        chart.locator(".main-svg").first.wait_for(state="attached", timeout=30_000)
    page.evaluate(_axe_source())
    # What is not colour is the same in both themes.
    for theme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast", "link-in-text-block"]})):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        for each in page.evaluate(AXE, rules):
            if each["impact"] in ("serious", "critical"):
                made.serious[f"{theme} {each['id']}"] = [node["html"][:200] for node in each["nodes"][:3]]
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        if page.evaluate("document.documentElement.scrollWidth") > width:
            made.too_wide.append(width)
    made.complaints += [each for each in page.evaluate("window.stopped ?? []") if not each.startswith("style-src")]
    made.elsewhere = [url for url in requests if urlsplit(url).scheme.startswith("http") and not url.startswith(base)]
    made.has_chart = page.locator("[data-chart]").count() > 0
    made.has_plotly = any("plotly" in url and url.endswith(".js") for url in requests)
    made.h1 = page.locator("h1").all_inner_texts()
    return made


@cache
def _axe_source() -> str:
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
