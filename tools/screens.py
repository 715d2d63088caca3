"""Pictures of every page for a person to look through: light, dark and narrow, into screens/.

    make screens                                   the app on demo data, all pages
    .venv/bin/python -m tools.screens job-rows     those whose name has this in it
    .venv/bin/python -m tools.screens --base http://127.0.0.1:8000 --sign-in LINK / /jobs/ …    paths of an app that runs

`--sign-in` is the link that `make run` prints; `--cookie name=value` (a session) does as well. Errors of the page's script, violations
of the policy and pages that scroll sideways are printed, and make the exit status 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tools.demo_site import DemoSite

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]
# What a page fetches by itself stands on it.
LOADED = """() => !document.querySelector('[hx-trigger="load"], [hx-trigger^="load delay"], .htmx-request')"""
WIDTHS = (1440, 1024, 390)
THEMES = ("light", "dark")
SESSION = "batchui"
# plotly sets a handful of style attributes that the policy stops; the chart does not need them.
EXPECTED = re.compile(r"style-src|inline style|status of (403|404|500|422)", re.I)


def shoot(browser: Browser, options: argparse.Namespace, pages: dict[str, str], cookies: dict[str, str]) -> list[str]:
    """Take every picture; returns what went wrong, in words."""
    wrong: list[str] = []
    for theme in options.themes:
        context = browser.new_context(color_scheme=theme, reduced_motion="reduce")
        page = context.new_page()
        listen(page, wrong)
        if options.sign_in:
            page.goto(options.sign_in)
        for name, path in pages.items():
            be(context, options, name, cookies)
            for width in options.widths:
                picture(page, options, name, path, width, theme, wrong)
            print(f"{theme} {name}", flush=True)
        context.close()
    return wrong


def be(context: BrowserContext, options: argparse.Namespace, name: str, cookies: dict[str, str]) -> None:
    """Sign in as who sees the page: the newcomer an empty workspace, nobody the sign-in."""
    if not cookies:
        for cookie in options.cookie:
            key, value = cookie.split("=", 1)
            context.add_cookies([{"name": key, "value": value, "url": options.base}])
        return
    context.clear_cookies()
    if name not in ("signin", "workspace-join"):
        who = "alone" if name.endswith(" empty") else "owner"
        context.add_cookies([{"name": SESSION, "value": cookies[who], "url": options.base}])


def listen(page: Page, wrong: list[str]) -> None:
    """Collect the errors of a page's script and what the policy stopped."""
    page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
    page.on("console", lambda m: wrong.append(f"{page.url}: {m.text}") if m.type == "error" and not EXPECTED.search(m.text) else None)


def picture(page: Page, options: argparse.Namespace, name: str, path: str, width: int, theme: str, wrong: list[str]) -> None:
    """One page in one width and theme; a page that scrolls sideways is named, for it should not."""
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(options.base.rstrip("/") + path, wait_until="load")
    page.wait_for_function(LOADED, timeout=30_000)
    for figure in page.locator("[data-chart]").all():
        if figure.is_visible():
            figure.scroll_into_view_if_needed()
            figure.locator(".main-svg").first.wait_for(state="attached", timeout=30_000)
    page.evaluate("scrollTo(0, 0)")
    if page.evaluate("document.documentElement.scrollWidth > innerWidth + 1"):
        wrong.append(f"scrolls sideways at {width}: {name}")
    file = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "home"
    page.screenshot(path=options.out / f"{file}-{theme}-{width}.png", full_page=options.full)


def options_of(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", help="words of pages' names; with --base, paths")
    parser.add_argument("--base", default="")
    parser.add_argument("--sign-in", default="")
    parser.add_argument("--cookie", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("screens"))
    parser.add_argument("--first", dest="full", action="store_false", help="the first screen alone, not the whole page")
    parser.add_argument("--widths", type=lambda s: [int(w) for w in s.split(",")], default=WIDTHS)
    parser.add_argument("--themes", type=lambda s: s.split(","), default=THEMES)
    return parser.parse_args(words)


@contextmanager
def site(options: argparse.Namespace) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """(pages by name, sessions): of the app that runs at --base, or of one on demo data that is started here."""
    if options.base:
        yield {path: path for path in options.paths}, {}
        return
    with DemoSite() as demo:
        options.base = demo.url
        every = {**demo.pages, **demo.empty}
        yield {name: path for name, path in every.items() if not options.paths or any(word in name for word in options.paths)}, demo.cookies


def main() -> int:
    options = options_of()
    options.out.mkdir(parents=True, exist_ok=True)
    with site(options) as (pages, cookies), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        wrong = shoot(browser, options, pages, cookies)
        browser.close()
    print("\n".join(dict.fromkeys(wrong)), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
