"""The largest paint of a large job's pages in Chromium, over a folder that `manage.py bench --folder DIR` filled.

manage.py bench --rows 1000000 --folder DIR --once
.venv/bin/python -m tools.largest_paint DIR/data [--times 5]

Each look is a new page of a browser that has seen the site's CSS and JS once; what is not painted after the load event counts too, for
it waits two seconds for a later, larger paint. Beside it: when the first byte came.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

from tools.demo_site import ROOT, free_port, wait_for
from tools.screens import CHROMIUM, FLAGS, SESSION

WANTED_MS = 1000
PAGES = """
import json, django
django.setup()
from django.contrib.auth.models import User
from django.urls import reverse
from jobs.models import Job
from tools.demo_site import session_of
job = Job.objects.order_by("-n_rows").first()
rows = reverse("job-rows", args=[job.pk])
pages = {name: reverse(name) for name in ("home", "job-list", "costs")}
pages |= {name: reverse(name, args=[job.pk]) for name in ("job-detail", "job-failures", "job-receipt", "job-rows", "job-charts")}
pages |= {"rows, last page": f"{rows}?page={-(-job.n_rows // 50)}", "rows that failed": f"{rows}?kind=failed"}
pages |= {"one row": reverse("job-row", args=[job.pk, job.n_rows // 2])}
print(json.dumps({"pages": pages, "rows": job.n_rows, "session": session_of(User.objects.first())}))
"""
OBSERVE = """
window.largest = 0;
new PerformanceObserver((l) => { for (const e of l.getEntries()) window.largest = e.startTime; })
  .observe({type: "largest-contentful-paint", buffered: true});
"""


@contextmanager
def serving(data: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """The web server on that data; its address, and what PAGES told."""
    port = free_port()
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tools.site_settings", "BATCHUI_DATA": str(data)}
    told = subprocess.run([sys.executable, "-c", PAGES], cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE)
    web = ["--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--blocking-threads", "4"]
    command = [sys.executable, "-m", "granian", *web, "--no-ws", "--no-access-log", "--log-level", "error", "batchui.wsgi:application"]
    server = subprocess.Popen(command, cwd=ROOT, env=env)
    try:
        wait_for(f"http://127.0.0.1:{port}/sign-in/")
        yield f"http://127.0.0.1:{port}", json.loads(told.stdout.splitlines()[-1])
    finally:
        server.terminate()
        server.wait()


def look(page: Page, url: str) -> tuple[float, float]:
    """Milliseconds to the first byte, and to the largest paint."""
    page.goto(url, wait_until="load")
    page.wait_for_timeout(2000)
    first = page.evaluate("performance.getEntriesByType('navigation')[0].responseStart")
    return float(first), float(page.evaluate("window.largest"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with serving(options.data.resolve()) as (base, told), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_cookies([{"name": SESSION, "value": str(told["session"]), "url": base}])
        context.add_init_script(OBSERVE)
        look(context.new_page(), f"{base}/datasets/")
        print(f"| page, {told['rows']:,} rows | first byte ms | largest paint ms, first look | median of {options.times} | |")
        print("|---|--:|--:|--:|---|")
        pages: dict[str, str] = told["pages"]  # type: ignore[assignment]
        for name, path in pages.items():
            looks = [look(context.new_page(), base + path) for _ in range(options.times)]
            middle = median(largest for _, largest in looks)
            fine = "✓" if middle < WANTED_MS else "✗"
            print(f"| {name} | {median(byte for byte, _ in looks):.0f} | {looks[0][1]:.0f} | {middle:.0f} | {fine} |", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
