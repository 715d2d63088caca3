"""Run the tests in parts, each with its own summary: python3 tools/run_tests.py [unit serial postgres browser | night night-postgres]

unit      everything that may run side by side, in two processes, on SQLite
serial    what starts and kills clusters of processes, one after the other
postgres  the engine's tests once more and the tests of concurrency, on a PostgreSQL that is started for them
browser   in Chromium, beside the two before it
night     what tries to break the engine, at night size: hours; only where it is named (`make soak`)
night-postgres   the same, where PostgreSQL is what matters
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ONE = ["-p", "no:xdist"]
# The engine's core once more on the other database: launch to settle, retry, cancel, tries of a draft.
CORE = [f"tests/engine/test_{name}.py" for name in ("lease", "plan", "submit", "settle", "cancel", "decide")] + [
    "tests/money/test_pilot.py",
    "tests/faults/test_machine.py",
]
PARTS = {
    "unit": ["-m", "not (browser or serial or postgres)", "-n", os.environ.get("TEST_PROCESSES", "2"), "--dist", "loadscope"],
    "serial": ["-m", "serial and not postgres and not browser", *ONE],
    "postgres": ["-m", "(postgres or not serial) and not browser", *ONE, "tests/concurrency", *CORE],
    "browser": ["-m", "browser", *ONE],
}
NIGHT = {
    "night": ["tests/protocol", "tests/faults", *ONE],
    "night-postgres": ["tests/concurrency", "tests/faults/test_machine.py", *ONE],
}
NO_TESTS = 5  # pytest's status when nothing was selected


def run_part(name: str, prefix: str = "") -> tuple[int, str, float]:
    """Run one part with its output as it comes, each line after `prefix`; its exit status, its last summary line, and its seconds."""
    print(f"\n{prefix}== {name} tests", flush=True)
    since = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-rs", "--durations=5", *(PARTS | NIGHT)[name]]
    env = {
        **os.environ,
        **({"TEST_DATABASE": "postgres"} if name.endswith("postgres") else {}),
        **({"BATCHUI_NIGHT": "1"} if name in NIGHT else {}),
    }
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert process.stdout is not None
    summary = "no summary"
    for line in process.stdout:
        print(f"{prefix}{line}", end="", flush=True)
        if re.search(r"\d+ (passed|failed|error|skipped|deselected)", line) and " in " in line:
            summary = line.strip(" =\n")
    return process.wait(), summary, time.monotonic() - since


def run_parts(names: list[str]) -> dict[str, tuple[int, str, float]]:
    """The unit part by itself, since it uses all cores; then the browser's beside the others, which mostly wait for their processes."""
    lanes = [[name for name in names if name in ("serial", "postgres")], [name for name in names if name == "browser"]]
    results = {name: run_part(name) for name in names if name == "unit"}
    if not all(lanes):
        return results | {name: run_part(name) for lane in lanes for name in lane}

    def run_lane(lane: list[str]) -> None:
        for name in lane:
            results[name] = run_part(name, f"{name:>8} | ")

    threads = [threading.Thread(target=run_lane, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def main() -> int:
    """0 when all parts passed and at least one test ran."""
    names = sys.argv[1:] or list(PARTS)
    if unknown := set(names) - set(PARTS | NIGHT):
        print(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS | NIGHT)}", file=sys.stderr)
        return 2
    since = time.monotonic()
    results = run_parts(names)
    print(f"\n== summary, {time.monotonic() - since:.0f} s in all")
    for name, (status, summary, seconds) in results.items():
        print(f"{name:>8}: {summary}{'' if status in (0, NO_TESTS) else '  FAILED'} ({seconds:.0f} s with the start)")
    bad = any(status not in (0, NO_TESTS) for status, _, _ in results.values()) or set(results) != set(names)
    none = all(status == NO_TESTS for status, _, _ in results.values())
    return 1 if bad or none else 0


if __name__ == "__main__":
    sys.exit(main())
