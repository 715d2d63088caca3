"""The visual language: contrast by computation, and the style guide in a real browser, in both themes."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
TONES = ("neutral", "active", "good", "warn", "bad", "off")
GROUNDS = ("bg", "surface", "surface-2")
PAIRS = [
    *[("text", ground, 13.0) for ground in GROUNDS],
    *[("muted", ground, 5.8) for ground in GROUNDS],
    *[("accent", ground, 4.5) for ground in GROUNDS],
    *[(f"{tone}-ink", f"{tone}-soft", 6.0) for tone in TONES],
    *[(f"{tone}-solid", "track", 3.3) for tone in TONES],
    ("accent-ink", "accent", 4.5),
    ("danger-ink", "danger", 4.5),
    ("control-line", "surface", 3.0),
    ("accent-strong", "accent-soft", 4.5),
]


def colours() -> dict[str, tuple[str, str]]:
    text = (ROOT / "static/css/tokens.css").read_text()
    return {m[1]: (m[2], m[3]) for m in re.finditer(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", text)}


def luminance(colour: str) -> float:
    """Relative luminance after WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_tokens_keep_the_contrasts_of_the_style(theme: int) -> None:
    known = colours()
    low = {(ink, ground): round(contrast(known[ink][theme], known[ground][theme]), 2) for ink, ground, least in PAIRS
           if contrast(known[ink][theme], known[ground][theme]) < least}  # fmt: skip
    assert low == {}


def test_hex_colours_stand_in_the_tokens_alone() -> None:
    sources = [
        p for folder in ("static/css", "static/js", "templates") for p in (ROOT / folder).rglob("*") if p.suffix in (".css", ".js", ".html")
    ]
    hexes = {p.name: found for p in sources if p.name not in ("tokens.css", "charts.js")
             and (found := re.findall(r"(?<![&\w/=\"'])#(?:[0-9a-f]{3}|[0-9a-f]{6})\b(?![-\w])", p.read_text()))}  # fmt: skip
    assert hexes == {}


def test_our_css_and_js_are_under_60_kb_together() -> None:
    own = b"".join(p.read_bytes() for p in sorted((ROOT / "static").rglob("*")) if p.suffix in (".css", ".js"))
    assert len(gzip.compress(own)) < 60_000


def test_templates_hold_no_inline_style_or_script() -> None:
    inline = re.compile(r"\sstyle=|<style|\son[a-z]+=|<script(?![^>]*\b(?:src|type=\"application/json\")\b)|\|safe\b|autoescape off")
    found = {
        str(p): m[0]
        for p in (ROOT / "templates").rglob("*.html")
        if (m := inline.search(re.sub(r"{% comment %}.*?{% endcomment %}", "", p.read_text(), flags=re.S)))
    }
    assert found == {}


@pytest.fixture
def staff(people: Any) -> Any:
    people.owner.is_staff = True
    people.owner.save()
    return people.owner


@pytest.fixture
def guide(page: Any, live_server: Any, client: Any, staff: Any) -> Any:
    """The style guide, open, with what the browser complained of in `page.complaints`."""
    client.force_login(staff, backend="django.contrib.auth.backends.ModelBackend")
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda m: page.complaints.append(m.text) if m.type == "error" and "script-src" in m.text else None)
    page.goto(live_server.url + "/styleguide/")
    return page


def test_guide_is_for_staff(client: Any, people: Any) -> None:
    assert client.get("/styleguide/").status_code == 302
    client.force_login(people.viewer, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/styleguide/").status_code == 403


def test_theme_is_kept_in_a_cookie_and_printed_by_the_server(client: Any, staff: Any) -> None:
    client.force_login(staff, backend="django.contrib.auth.backends.ModelBackend")
    response = client.post("/theme/", {"theme": "dark"}, headers={"referer": "http://testserver/styleguide/?a=1"})
    assert (response.status_code, response["Location"]) == (302, "/styleguide/?a=1")
    assert '<html lang="en" data-theme="dark">' in client.get("/styleguide/").content.decode()
    assert client.post("/theme/", {"theme": ""}, headers={"referer": "http://evil.example/x"})["Location"] == "/"
    assert '<html lang="en">' in client.get("/styleguide/").content.decode()


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 720])
def test_narrow_pages_do_not_scroll_sideways(guide: Any, width: int) -> None:
    guide.set_viewport_size({"width": width, "height": 700})
    assert guide.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.browser
def test_keys_move_tick_and_select_ranges(guide: Any) -> None:
    form = guide.locator("form[data-select]")
    boxes = form.locator("tbody .tick input")
    boxes.nth(0).check()
    boxes.nth(2).click(modifiers=["Shift"])
    assert [boxes.nth(i).is_checked() for i in range(3)] == [True, True, True]
    assert form.locator("[data-n]").inner_text() == "3"
    form.locator("[data-all]").click()
    assert (form.locator("[data-n]").inner_text(), form.locator("[data-all-field]").input_value()) == ("1,367", "1")
    form.locator("[data-none]").click()
    assert form.locator("[data-bulk]").is_hidden()
    guide.locator("h1").click()
    guide.keyboard.press("j")
    guide.keyboard.press("j")
    assert guide.evaluate("document.activeElement.textContent") == "Support tickets, intents"


@pytest.mark.browser
def test_live_region_swaps_without_taking_focus_and_pauses(guide: Any) -> None:
    pause = guide.locator("[data-pause]")
    pause.focus()
    with guide.expect_response(lambda r: r.request.headers.get("hx-request") == "true", timeout=15_000):
        pass
    guide.wait_for_selector("[data-live-said]:has-text('just now'), [data-live-said]:has-text('2 s ago')")
    assert guide.evaluate("document.activeElement.hasAttribute('data-pause')") is True
    guide.keyboard.press("p")
    assert (pause.inner_text(), guide.locator("#status").inner_text()) == ("Go on", "Live updates paused")


@pytest.mark.browser
def test_slash_and_question_mark(guide: Any) -> None:
    guide.keyboard.press("/")
    assert guide.evaluate("document.activeElement.matches('[data-search]')") is True
    guide.keyboard.press("?")  # typed into the search field, not a shortcut
    assert guide.locator("#shortcuts").is_visible() is False
    guide.locator("h1").click()
    guide.keyboard.press("?")
    assert guide.locator("#shortcuts").is_visible() is True
    guide.keyboard.press("Escape")
    assert guide.locator("#shortcuts").is_visible() is False
