"""The report of `manage.py bench`."""

from __future__ import annotations

from jobs.management.commands.bench import NAMES, _line


def test_part_that_is_over_before_the_clock_moves_has_no_ratio() -> None:
    name = next(iter(NAMES))
    quick = {"rows": 2000, "seconds": 0.5, "cpu": 0.0, "peak_mb": 9.0}
    slow = {"rows": 2000, "seconds": 1.0, "cpu": 1.0, "peak_mb": 9.0}
    assert _line(name, {name: slow, "bare": quick}, "bare", None) == f"| {NAMES[name]} | 2,000 | 4,000 | 0.50 |  |  | 9 |"
    assert _line(name, {name: quick, "bare": slow}, "bare", None) == f"| {NAMES[name]} | 4,000 | 2,000 | 2.00 |  |  | 9 |"
