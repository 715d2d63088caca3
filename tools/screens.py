"""Pictures of pages for a person to look through: light, dark and narrow, into screens/.

    .venv/bin/python tools/screens.py --base http://127.0.0.1:8000 --sign-in LINK [--out screens] [--full] / /jobs/ …

`--sign-in` is the link that `make run` prints; `--cookie name=value` (a session) does as well. Errors of the page's script and
violations of the policy are printed, and make the exit status 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]
WIDTHS = (1440, 1024, 390)
THEMES = ("light", "dark")
# plotly sets a handful of style attributes that the policy stops; the chart does not need them.
EXPECTED = re.compile(r"style-src|inline style", re.I)


def shoot(browser: Browser, options: argparse.Namespace) -> list[str]:
    """Take every picture; returns what went wrong, in words."""
    wrong: list[str] = []
    for theme in options.themes:
        context = browser.new_context(color_scheme=theme, reduced_motion="reduce")
        for cookie in options.cookie:
            name, value = cookie.split("=", 1)
            context.add_cookies([{"name": name, "value": value, "url": options.base}])
        page = context.new_page()
        listen(page, wrong)
        if options.sign_in:
            page.goto(options.sign_in)
        for path in options.paths:
            for width in options.widths:
                picture(page, options, path, width, theme)
        context.close()
    return wrong


def listen(page: Page, wrong: list[str]) -> None:
    """Collect the errors of a page's script and what the policy stopped."""
    page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
    page.on("console", lambda m: wrong.append(f"{page.url}: {m.text}") if m.type == "error" and not EXPECTED.search(m.text) else None)


def picture(page: Page, options: argparse.Namespace, path: str, width: int, theme: str) -> None:
    """One page in one width and theme; a page that scrolls sideways is named, for it should not."""
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(options.base.rstrip("/") + path, wait_until="load")
    for figure in page.locator("[data-chart]").all():
        figure.scroll_into_view_if_needed()
        figure.locator(".main-svg").first.or_(page.locator("[data-chart][data-failed]").first).first.wait_for(
            state="attached", timeout=8000
        )
    page.evaluate("scrollTo(0, 0)")
    if page.evaluate("document.documentElement.scrollWidth > innerWidth + 1"):
        print(f"scrolls sideways at {width}: {path}", file=sys.stderr)
    name = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-") or "home"
    page.screenshot(path=options.out / f"{name}-{theme}-{width}.png", full_page=options.full)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--base", default="http://127.0.0.1:8000")
    parser.add_argument("--sign-in", default="")
    parser.add_argument("--cookie", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("screens"))
    parser.add_argument("--full", action="store_true", help="the whole page, not the first screen")
    parser.add_argument("--widths", type=lambda s: [int(w) for w in s.split(",")], default=WIDTHS)
    parser.add_argument("--themes", type=lambda s: s.split(","), default=THEMES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        wrong = shoot(browser, options)
        browser.close()
    print("\n".join(dict.fromkeys(wrong)), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
