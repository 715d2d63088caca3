"""Run the tests: the quick ones in two processes, then those in the browser, then one summary of both."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = {
    "unit": ["-m", "not browser", "-n", os.environ.get("TEST_PROCESSES", "2"), "--dist", "loadscope"],
    "browser": ["-m", "browser", "-p", "no:xdist"],
}
NO_TESTS = 5  # pytest's status when nothing was selected


def run_part(name: str) -> tuple[int, str]:
    """Run one part with its output as it comes; its exit status and its last summary line."""
    print(f"== {name} tests", flush=True)
    command = [sys.executable, "-m", "pytest", "-rs", "--durations=5", *PARTS[name]]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    summary = "no summary"
    for line in process.stdout:
        print(line, end="", flush=True)
        if re.search(r"\d+ (passed|failed|error|skipped|deselected)", line) and " in " in line:
            summary = line.strip(" =\n")
    return process.wait(), summary


def main() -> int:
    """0 when all parts passed and at least one test ran."""
    names = sys.argv[1:] or list(PARTS)
    since = time.monotonic()
    results = {name: run_part(name) for name in names}
    print(f"\n== summary, {time.monotonic() - since:.0f} s in all")
    for name, (status, summary) in results.items():
        print(f"{name:>8}: {summary}{'' if status in (0, NO_TESTS) else '  FAILED'}")
    bad = any(status not in (0, NO_TESTS) for status, _ in results.values())
    none = all(status == NO_TESTS for status, _ in results.values())
    return 1 if bad or none else 0


if __name__ == "__main__":
    sys.exit(main())
