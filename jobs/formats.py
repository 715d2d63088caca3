"""Numbers, money, times and sizes as people read them. Unknown is "–", never zero; percent is never rounded up to done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal

UNKNOWN = "–"

_COMPACT = ((Decimal(10) ** 12, "T"), (Decimal(10) ** 9, "B"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 3, "k"))
_TRACE = Decimal("0.0001")
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def integer(value: int | None) -> str:
    """1234567 → "1,234,567"."""
    return UNKNOWN if value is None else f"{value:,}".replace("-", "−")


def count(n: int, one: str, many: str = "") -> str:
    """A number with its noun: "1 row", "1,200 rows"; `many` where it is not the noun with an s."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def compact(value: int | None) -> str:
    """1234000 → "1.2 M"; exact below 10,000. For tiles only."""
    if value is None:
        return UNKNOWN
    if abs(value) < 10_000:
        return integer(value)
    for i, (unit, letter) in enumerate(_COMPACT):
        if abs(value) >= unit:
            scaled = _places(Decimal(value) / unit, 1 if abs(value) < 100 * unit else 0)
            if abs(scaled) >= 1000 and i:  # 999,999 is 1.0 M, not 1,000 k
                unit, letter = _COMPACT[i - 1]
                scaled = _places(Decimal(value) / unit, 1)
            return f"{scaled:,} {letter}".replace("-", "−")
    raise AssertionError("a number of 10,000 or more has a unit")


def usd_places(values: Sequence[Decimal | None]) -> int:
    """Decimals of a column of dollars: 2, but 4 when the largest is under $1 (and there is anything to see)."""
    known = [abs(value) for value in values if value is not None]
    largest = max(known, default=Decimal(0))
    return 4 if 0 < largest < 1 else 2


def usd(value: Decimal | None, places: int | None = None) -> str:
    """Dollars, "$41.47"; "$0.0042" when small; zero is "$0" in a column too. A trace that rounds to zero is "<$0.0001"."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "$0"
    digits = usd_places([value]) if places is None else places
    rounded = _places(value, digits)
    sign = "−" if value < 0 else ""
    if rounded == 0:
        return f"{'>−' if value < 0 else '<'}${_places(Decimal(1).scaleb(-digits), digits)}"
    return f"{sign}${abs(rounded):,}"


def usd_range(low: Decimal | None, high: Decimal | None) -> str:
    """A range of dollars, outwards: "$41–47" from $20 on, "$1.90–2.40" below, "$0.0021–0.0042" under $1, "under $0.0001" for a trace;
    "up to $0.0300" where the lower end is none that could be shown."""
    if low is None and high is None:
        return UNKNOWN
    if high is None:
        return f"{usd(low)} or more"
    if low is None:
        return f"at most {usd(high)}"
    if 0 <= low <= high < _TRACE and high:
        return f"under {usd(_TRACE)}"
    places = 0 if high >= 20 else usd_places([high])
    first, last = _places(low, places, ROUND_FLOOR), _places(high, places, ROUND_CEILING)
    if first == last:
        return usd(last, places) if last else "$0"
    return f"up to ${last:,}" if first == 0 else f"${first:,}–{last:,}"


def usd_most(amount: Decimal) -> str:
    """An upper bound: rounded up, with the digits that the upper end of a range has: "$68", "$2.40", "$0.0042"."""
    places = 0 if amount >= 20 else usd_places([amount])
    return usd(_places(amount, places, ROUND_CEILING), places) if amount else "$0"


def about(amount: str) -> str:
    """An estimate in a sentence: "about $41–47"; "under $0.0001" and "up to $0.03" say as much already."""
    return amount if amount.startswith(("under", "up to", "at most")) else f"about {amount}"


def percent(done: int, total: int | None) -> str:
    """Progress, rounded down: "100 %" only when all is done."""
    if not total:
        return UNKNOWN
    return f"{max(0, min(done, total)) * 100 // total} %"


def share(part: int, whole: int | None) -> str:
    """A part of a whole with one decimal: "3.4 %"; "<0.1 %" for a trace, and not "100 %" unless it is all."""
    if not whole:
        return UNKNOWN
    if part == 0:
        return "0 %"
    if part == whole:
        return "100 %"
    tenths = (Decimal(part) * 100 / whole).quantize(Decimal("0.1"), ROUND_HALF_UP)
    if tenths == 0:
        return "<0.1 %"
    return ">99.9 %" if tenths >= 100 > Decimal(part) * 100 / whole else f"{tenths} %"


def duration(seconds: float | None) -> str:
    """A span of time in its one or two largest units: "42 s", "3 min", "2 h 5 min", "3 d 4 h"."""
    if seconds is None or seconds < 0:
        return UNKNOWN
    whole = int(seconds)
    if whole < 60:
        return "<1 s" if 0 < seconds < 1 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return _two(whole // 3600, "h", whole % 3600 // 60, "min")
    return _two(whole // 86_400, "d", whole % 86_400 // 3600, "h")


def duration_range(low: float | None, high: float | None) -> str:
    """A range of spans: "3 min – 2 h 5 min"; one span where both look alike."""
    first, last = duration(low), duration(high)
    return first if first == last else f"{first} – {last}"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago a moment was: "just now", "12 s ago", "3 min ago"; a coming one is "in 3 min"."""
    if moment is None:
        return UNKNOWN
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 2:
        return "just now"
    return f"{duration(seconds)} ago" if seconds > 0 else f"in {duration(-seconds)}"


def bytes_(size: int | None) -> str:
    """A size in decimal units: "1.2 MB"."""
    if size is None:
        return UNKNOWN
    value, unit = Decimal(size), 0
    while unit < len(_SIZES) - 1 and (value >= 1000 or (unit and _places(value, 1) >= 1000)):
        value, unit = value / 1000, unit + 1
    return f"{size} B" if unit == 0 else f"{_places(value, 1)} {_SIZES[unit]}"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big} {big_unit} {small} {small_unit}" if small else f"{big} {big_unit}"


def _places(value: Decimal, places: int, rounding: str = ROUND_HALF_UP) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), rounding)
