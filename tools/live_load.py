"""What 200 open pages cost the server: so many pollers ask the live parts as browsers do, and the server's processor time is read.

.venv/bin/python -m tools.live_load [--pages 200] [--seconds 20] [--every 30]
"""

from __future__ import annotations

import argparse
import re
import threading
import time
import urllib.request

import psutil

from tools.demo_site import DemoSite
from tools.screens import SESSION

LIVE = re.compile(rb'data-live="(\d+)"[^>]*hx-get="([^"]+)"')


def polls(site: DemoSite, names: list[str]) -> list[tuple[str, int]]:
    """(URL, seconds between questions) of each page's live part, as the page itself says."""
    found = []
    for name in names:
        answer = urllib.request.urlopen(_asks(site, site.url + site.pages[name]))  # noqa: S310 - ours
        found += [(site.url + path.decode().replace("&amp;", "&"), int(every)) for every, path in LIVE.findall(answer.read())]
    return found


def _asks(site: DemoSite, url: str) -> urllib.request.Request:
    return urllib.request.Request(url, headers={"Cookie": f"{SESSION}={site.cookies['owner']}", "HX-Request": "true"})  # noqa: S310


def run(site: DemoSite, pages: int, seconds: float, pace: int) -> None:
    asked = [(url, pace or every) for url, every in polls_of_pages(site, pages)]
    answers: list[int] = []
    ends = time.monotonic() + seconds

    def poll(url: str, every: int, first: float) -> None:
        time.sleep(first)
        while time.monotonic() < ends:
            with urllib.request.urlopen(_asks(site, url)) as answer:  # noqa: S310
                answer.read()
                answers.append(answer.status)
            time.sleep(min(every, max(0.0, ends - time.monotonic())))

    server = psutil.Process(site.server_pid)
    family = [server, *server.children(recursive=True)]
    before, since = sum(sum(p.cpu_times()[:2]) for p in family), time.monotonic()
    threads = [threading.Thread(target=poll, args=(url, every, min(every, seconds) * i / pages)) for i, (url, every) in enumerate(asked)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent, took = sum(sum(p.cpu_times()[:2]) for p in family) - before, time.monotonic() - since
    kinds = {status: answers.count(status) for status in sorted(set(answers))}
    print(f"{pages} pages, {took:.0f} s: {len(answers)} answers {kinds}, {spent:.2f} s of processor = {spent / took:.1%} of a core")


def polls_of_pages(site: DemoSite, pages: int) -> list[tuple[str, int]]:
    """So many polls, over a running job's page, one that waits, its failures, the list and home, in turn."""
    kinds = polls(site, ["job-detail running", "job-detail waiting", "job-failures running", "job-list", "home"])
    print("\n".join(f"{url.removeprefix(site.url)} every {every} s" for url, every in kinds))
    return [kinds[i % len(kinds)] for i in range(pages)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--every", type=int, default=0, help="seconds between questions; 0: as the pages say while things move")
    options = parser.parse_args()
    with DemoSite() as site:
        run(site, options.pages, options.seconds, options.every)


if __name__ == "__main__":
    main()
