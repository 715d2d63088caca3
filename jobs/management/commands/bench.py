"""How fast and how large: each phase of one job in a process of its own, as ratios to bare loops in the same run."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

# What is measured → its bare loop, and the least ratio that DESIGN asks for.
PHASES: list[tuple[str, str, float | None]] = [
    ("read", "bare_read", None),
    ("prepare", "bare_prepare", 0.8),
    ("collect_all", "bare_collect", 0.7),
    ("export_csv", "bare_export", None),
]
ORDER = [
    "make", "read", "bare_read", "upload", "prepare", "bare_prepare", "answer", "collect_all", "bare_collect", "settle_all",
    "export_csv", "bare_export", "export_jsonl", "export_parquet", "pages", "polls",
]  # fmt: skip
AGAIN = {"read", "bare_read", "bare_prepare", "bare_collect", "export_csv", "bare_export"}  # run twice, the better counts
AGAIN_APART = {"prepare", "collect_all"}  # likewise, the first time in a copy: they change what they work on
PEAK_MB, PAGE_MS, SEARCH_MS, LIST_CALLS = 400, 150, 1000, 10
NAMES = {
    "read": "ingest", "upload": "ingest, copied and profiled", "prepare": "prepare", "collect_all": "collect", "settle_all": "settle",
    "export_csv": "export, CSV", "export_jsonl": "export, JSONL", "export_parquet": "export, Parquet", "pages": "pages",
}  # fmt: skip


class Command(BaseCommand):
    help = "Measure ingest, prepare, collect, export and the pages, as ratios to bare loops in the same run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--rows", type=int, default=100_000)
        parser.add_argument("--out", metavar="FILE.md", help="write the tables there as well")
        parser.add_argument("--folder", metavar="DIR", help="work here and keep it")
        parser.add_argument("--once", action="store_true", help="run each part once; else the short ones twice, and the better counts")
        parser.add_argument("--part", help="one part in this process; what the command starts for itself")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["part"]:
            self.stdout.write(json.dumps(_part(options["part"], Path(options["folder"]), options["rows"])))
            return
        folder = Path(options["folder"] or tempfile.mkdtemp(prefix="batchui-bench-")).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            found = {}
            for name in ORDER:
                found[name] = _run(name, folder, options["rows"], options["once"])
                self.stderr.write(f"{name}: {_short(found[name])}")
            text = "\n".join(_report(found, options["rows"]))
        finally:
            if not options["folder"]:
                shutil.rmtree(folder, ignore_errors=True)
        self.stdout.write(text)
        if options["out"]:
            Path(options["out"]).write_text(text + "\n", encoding="utf-8")


def _part(name: str, folder: Path, n_rows: int) -> dict[str, Any]:
    """Run one part here; its result and the peak memory of this process and of the largest of its children."""
    from tools import bench_pages, bench_parts

    settings.NUDGE = False
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    done: dict[str, Any] = getattr(bench_pages if name in ("pages", "polls") else bench_parts, name)(folder, n_rows)
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {**done, "peak_mb": max(peaks)}


def _run(name: str, folder: Path, n_rows: int, once: bool) -> dict[str, Any]:
    tries = []
    if name in AGAIN_APART and not once:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="batchui-bench-again-") as copy:
            shutil.copytree(folder, copy, dirs_exist_ok=True)
            tries.append(_one(name, Path(copy), n_rows))
    tries += [_one(name, folder, n_rows) for _ in range(2 if name in AGAIN and not once else 1)]
    return min(tries, key=lambda each: each.get("seconds", 0.0))


def _one(name: str, folder: Path, n_rows: int) -> dict[str, Any]:
    command = [sys.executable, "manage.py", "bench", "--part", name, "--folder", str(folder), "--rows", str(n_rows)]
    env = {**os.environ, "BATCHUI_DATA": str(folder / "data"), "BATCHUI_HOSTS": "testserver,127.0.0.1", "BATCHUI_LOG_LEVEL": "WARNING"}
    env["BATCHUI_TLS"] = "0"
    done = subprocess.run(command, cwd=settings.BASE_DIR, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _short(found: dict[str, Any]) -> str:
    rate = f"{found['rows'] / found['seconds']:,.0f} rows/s, " if found.get("seconds") and "rows" in found else ""
    return f"{rate}{found['peak_mb']:.0f} MB"


def _report(found: dict[str, Any], n_rows: int) -> list[str]:
    lines = [f"## {n_rows:,} rows, {timezone.now():%Y-%m-%d %H:%M} UTC", "", f"{_machine()}", ""]
    lines += ["| phase | rows/s | bare loop | ratio | ratio of processor time | wanted | peak MB |", "|---|--:|--:|--:|--:|--:|--:|"]
    bare = {name: (other, least) for name, other, least in PHASES}
    for name in ORDER:
        if name in NAMES and "rows" in found[name]:
            lines.append(_line(name, found, *bare.get(name, ("", None))))
    lines += [
        "",
        f"Peak memory of one process is wanted below {PEAK_MB} MB.",
        "",
        *_page_lines(found["pages"]),
        "",
        *_poll_lines(found["polls"]),
    ]
    return lines


def _line(name: str, found: dict[str, Any], other: str, least: float | None) -> str:
    mine, theirs = found[name], found[other] if other else {}
    rates = [f"{each['rows'] / each['seconds']:,.0f}" if each else "" for each in (mine, theirs)]
    ratios = [_ratio(mine, theirs, key) if theirs else 0.0 for key in ("seconds", "cpu")]
    mark = f"{least} {'✓' if max(ratios) >= least else '✗'}" if least else ""
    cells = [*rates, *(f"{ratio:.2f}" if ratio else "" for ratio in ratios), mark, f"{mine['peak_mb']:.0f}"]
    return f"| {NAMES[name]} | {' | '.join(cells)} |"


def _ratio(mine: dict[str, Any], theirs: dict[str, Any], key: str) -> float:
    """0 where a part was over before its clock moved: few rows tell nothing."""
    if not mine[key] or not theirs[key]:
        return 0.0
    return float(mine["rows"] / mine[key]) / float(theirs["rows"] / theirs[key])


def _page_lines(found: dict[str, Any]) -> list[str]:
    lines = ["| page, at the server | first ms | p50 ms | p95 ms | wanted | processor ms, first | p95 |", "|---|--:|--:|--:|--:|--:|--:|"]
    for name, times in found["pages"].items():
        limit = SEARCH_MS if name.startswith("search") else PAGE_MS
        mark = "✓" if times["p95"] < limit else "✗"
        cells = [f"{times[each]:.0f}" for each in ("first", "p50", "p95")]
        lines.append(f"| {name} | {' | '.join(cells)} | {limit} {mark} | {times['cpu_first']:.0f} | {times['cpu_p95']:.0f} |")
    return [*lines, "", f"Peak memory of the process that served them: {found['peak_mb']:.0f} MB."]


def _poll_lines(found: dict[str, Any]) -> list[str]:
    n = sum(found["calls"].values())
    calls = ", ".join(f"{number} × {verb}" for verb, number in found["calls"].items())
    mark = "✓" if n <= LIST_CALLS else "✗"
    return [f"One look at {found['in_flight']:,} batches in flight: {n} calls ({calls}); wanted: at most {LIST_CALLS} {mark}."]


def _machine() -> str:
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"{cpu or platform.processor()}, {os.cpu_count()} cores, Python {platform.python_version()}; load at the end {load}."
