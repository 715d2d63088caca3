"""What open pages cost the server: so many pollers ask the live parts as `static/js/live.js` does, and the server's processor time is read.

.venv/bin/python -m tools.live_load [--pages 200] [--warm 60] [--seconds 60] [--moving]

Each page is one of its own to the server (nothing is shared between two that look at the same job). With `--moving`, every job
has news every three seconds; without, none has.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
import threading
import time
import urllib.request
from contextlib import closing
from dataclasses import dataclass, field

import psutil

from tools.demo_site import DemoSite
from tools.screens import SESSION

LIVE = re.compile(rb'data-live="(\d+)"[^>]*hx-get="([^"]+)"')
KINDS = ("job-detail running", "job-detail waiting", "job-failures running", "job-list", "home")
MOVES_EVERY = 3.0


@dataclass
class Counts:
    """Answers since the count began: (status, milliseconds until it came)."""

    answers: list[tuple[int, float]] = field(default_factory=list)
    stretch: float = 1.0
    over: bool = False


def asks(site: DemoSite, url: str) -> urllib.request.Request:
    return urllib.request.Request(url, headers={"Cookie": f"{SESSION}={site.cookies['owner']}", "HX-Request": "true"})  # noqa: S310 - ours


def live_part(site: DemoSite, body: bytes, number: int) -> tuple[str, float] | None:
    """Where the live part of a page asks next, as page `number`, and how often; None where it is over."""
    found = LIVE.search(body)
    return None if found is None else (f"{site.url}{found[2].decode().replace('&amp;', '&')}&page_number={number}", float(found[1]))


def poll(site: DemoSite, number: int, counts: Counts) -> None:
    """One open page: pace, back-off and patience as in live.js."""
    with urllib.request.urlopen(asks(site, site.url + site.pages[KINDS[number % len(KINDS)]])) as answer:  # noqa: S310
        part = live_part(site, answer.read(), number)
    quiet, stretch = 0, 1.0
    while part is not None and not counts.over:
        url, every = part
        time.sleep(min(max(every, 60), min(max(every, 30), every * 1.3**quiet) * stretch))
        began = time.monotonic()
        with urllib.request.urlopen(asks(site, url)) as answer:  # noqa: S310
            body = answer.read()
            counts.stretch = stretch = float(answer.headers.get("Live-Stretch", 1))
            counts.answers.append((answer.status, (time.monotonic() - began) * 1000))
            if answer.status == 200:
                part, quiet = live_part(site, body, number), 0
            else:
                quiet += 1


def move(site: DemoSite, counts: Counts) -> None:
    """News of every job, again and again."""
    with closing(sqlite3.connect(site.folder / "batchui.sqlite3", timeout=20, isolation_level=None)) as ledger:
        while not counts.over:
            ledger.execute("UPDATE jobs_job SET version = version + 1")
            time.sleep(MOVES_EVERY)


def run(site: DemoSite, options: argparse.Namespace) -> None:
    counts = Counts()
    threads = [threading.Thread(target=poll, args=(site, i, counts), daemon=True) for i in range(options.pages)]
    if options.moving:
        threads.append(threading.Thread(target=move, args=(site, counts), daemon=True))
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    time.sleep(options.warm)
    server = psutil.Process(site.server_pid)
    family = [server, *server.children(recursive=True)]
    counts.answers.clear()
    before, since = sum(sum(p.cpu_times()[:2]) for p in family), time.monotonic()
    time.sleep(options.seconds)
    spent, took = sum(sum(p.cpu_times()[:2]) for p in family) - before, time.monotonic() - since
    answers = list(counts.answers)
    counts.over = True
    kinds = {status: sum(s == status for s, _ in answers) for status in sorted({s for s, _ in answers})}
    waits = sorted(wait for _, wait in answers)
    print(
        f"{options.pages} pages{', all moving' if options.moving else ''}, {took:.0f} s: {len(answers)} answers {kinds}, "
        f"p95 {waits[int(len(waits) * 0.95)]:.0f} ms, "
        f"{spent:.2f} s of processor = {spent / took:.1%} of a core; stretch {counts.stretch:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--warm", type=float, default=60, help="seconds before the count begins: pages that are left alone ask more rarely")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--moving", action="store_true", help="every job has news every three seconds")
    options = parser.parse_args()
    with DemoSite() as site:
        run(site, options)


if __name__ == "__main__":
    main()
