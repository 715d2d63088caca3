"""The filters and tests that a prompt template may use: few, plain, and metered, so that no row can make a bomb of them."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import SecurityError

from jobs.rows.values import JsonDict, JsonList, text_of, to_json

WORK_PER_ROW = 30_000_000  # characters that the filters of one row may go through; a cell is at most 1 MB
MAX_LOOP = 10_000  # items that a loop may go over


class _Meter(threading.local):
    left = WORK_PER_ROW


_meter = _Meter()


def start_meter() -> None:
    """Give the row that is rendered next its own share of work."""
    _meter.left = WORK_PER_ROW


def charge(n: int) -> None:
    """Count work. Raises SecurityError when a row asks for too much."""
    _meter.left -= n
    if _meter.left < 0:
        raise SecurityError("The template does too much work on this row.")


def _text(value: Any) -> str:
    text = text_of(value)
    charge(len(text))
    return text


def _number(value: Any) -> Decimal | None:
    """The number in a value, None where there is none. Text may stand with spaces around it."""
    if isinstance(value, bool):
        return Decimal(int(value))
    try:
        number = Decimal(_text(value).strip().replace("_", "-"))
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 400 else None


def _int(value: Any, default: int = 0) -> int:
    number = _number(value)
    return default if number is None else int(number)


def _float(value: Any, default: float = 0.0) -> float:
    number = _number(value)
    return default if number is None or not math.isfinite(float(number)) else float(number)


_ROUNDINGS = {"common": ROUND_HALF_UP, "ceil": ROUND_CEILING, "floor": ROUND_FLOOR}


def _round(value: Any, precision: int = 0, method: str = "common") -> float | int:
    number = _number(value)
    if number is None:
        raise ValueError(f"round needs a number, but the value is “{text_of(value)[:40]}”")
    if method not in _ROUNDINGS or not isinstance(precision, int) or not -15 <= precision <= 15:
        raise ValueError("round takes a precision from -15 to 15 and common, ceil or floor")
    if number.adjusted() > 25:
        return float(number)
    rounded = number.quantize(Decimal(1).scaleb(-precision), rounding=_ROUNDINGS[method])
    return int(rounded) if precision <= 0 else float(rounded)


def _default(value: Any, default: Any = "", boolean: bool = False) -> Any:
    absent = value is None or isinstance(value, Undefined) or value == ""
    return default if absent or (boolean and not value) else value


def _truncate(value: Any, length: int = 255, killwords: bool = False, end: str = "...", leeway: int = 0) -> str:
    """Cut a text to at most `length` characters, `end` included, at a word unless `killwords`."""
    text = _text(value)
    if not isinstance(length, int) or length < len(end) or len(text) <= length + leeway:
        return text
    cut = text[: length - len(end)]
    return (cut if killwords else (cut.rsplit(" ", 1)[0] or cut)) + end


def _replace(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, before, after = _text(value), text_of(old), text_of(new)
    if not before:
        raise ValueError("replace needs something to look for")
    n = text.count(before) if count is None else min(text.count(before), max(int(count), 0))
    charge(max(0, n * (len(after) - len(before))))
    return text.replace(before, after, n)


def _join(value: Any, separator: Any = "") -> str:
    between = text_of(separator)
    if isinstance(value, (str, int, float)) or value is None or isinstance(value, Undefined):
        return _text(value)
    parts = [text_of(item) for item in value]
    charge(sum(map(len, parts)) + len(between) * len(parts))
    return between.join(parts)


def _length(value: Any) -> int:
    if value is None or isinstance(value, Undefined):
        return 0
    return len(value) if isinstance(value, (str, list, tuple, dict)) else len(text_of(value))


def _items_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    return list(_text(value)[:1]) if isinstance(value, str) else []


def _first(value: Any) -> Any:
    if isinstance(value, str):
        return value[:1]
    found = _items_of(value)
    return found[0] if found else None


def _last(value: Any) -> Any:
    if isinstance(value, str):
        return value[-1:]
    found = _items_of(value)
    return found[-1] if found else None


def _tojson(value: Any) -> str:
    text = value.text if isinstance(value, (JsonDict, JsonList)) else to_json(None if isinstance(value, Undefined) else value)
    charge(len(text))
    return text


def _items(value: Any) -> list[tuple[Any, Any]]:
    if value is None or isinstance(value, Undefined):
        return []
    if not isinstance(value, dict):
        raise ValueError("items needs a JSON object")
    charge(len(value))
    return list(value.items())


def loop_items(value: Any) -> Any:
    """What a `for` goes over: a list or an object, or nothing where the value is absent. A text is refused."""
    if value is None or isinstance(value, Undefined) or value == "":
        return []
    if not isinstance(value, (list, tuple, dict)):
        raise ValueError("for needs a list, but the value is text or a number")
    if len(value) > MAX_LOOP:
        raise SecurityError(f"A loop may go over {MAX_LOOP:,} items at most; this row has {len(value):,}.")
    return value


def concatenate(parts: list[Any]) -> str:
    """`a ~ b ~ c`."""
    return _join(parts)


def slice_of(value: Any, start: Any, stop: Any, step: Any) -> Any:
    """`text[:500]`; nothing of an absent value."""
    if value is None or isinstance(value, Undefined):
        return ""
    if not isinstance(value, (str, list, tuple)):
        value = text_of(value)
    charge(len(value))
    return value[start:stop:step]


def compared(value: Any) -> Any:
    """A side of a comparison, or of `in`, as it is; going through it is counted, at an eighth of what a filter's work counts."""
    if value.__class__ is str:
        charge(len(value) >> 3)
    elif isinstance(value, (list, tuple, dict)):
        charge(_weight(value) >> 3)
    return value


def _weight(value: Any) -> int:
    if isinstance(value, (JsonDict, JsonList)):
        return len(value.text)
    if isinstance(value, (list, tuple, dict)):
        return sum(map(_weight, value.values() if isinstance(value, dict) else value), len(value))
    return len(value) if isinstance(value, str) else 1


_WORD = re.compile(r"\w+")
_TITLE = re.compile(r"([-\s({\[<]+)")

LOOP_ITEMS, CONCATENATE, SLICE, COMPARED = (
    "_loop_items",
    "_concatenate",
    "_slice",
    "_compared",
)  # names that no template can write: checked against FILTERS

FILTERS: dict[str, Callable[..., Any]] = {
    "upper": lambda value: _text(value).upper(),
    "lower": lambda value: _text(value).lower(),
    "capitalize": lambda value: _text(value).capitalize(),
    "title": lambda value: "".join(part[:1].upper() + part[1:].lower() for part in _TITLE.split(_text(value)) if part),
    "trim": lambda value, chars=None: _text(value).strip(chars),
    "string": _text,
    "default": _default,
    "d": _default,
    "truncate": _truncate,
    "replace": _replace,
    "join": _join,
    "length": _length,
    "count": _length,
    "wordcount": lambda value: sum(1 for _ in _WORD.finditer(_text(value))),
    "first": _first,
    "last": _last,
    "items": _items,
    "round": _round,
    "int": _int,
    "float": _float,
    "abs": lambda value: abs(value) if isinstance(value, (int, float)) else abs(_float(value)),
    "tojson": _tojson,
}

TESTS: dict[str, Callable[..., bool]] = {
    "defined": lambda value: value is not None and not isinstance(value, Undefined),
    "undefined": lambda value: value is None or isinstance(value, Undefined),
    "none": lambda value: value is None or isinstance(value, Undefined),
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, (int, float, Decimal)) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, float),
    "boolean": lambda value: isinstance(value, bool),
    "true": lambda value: value is True,
    "false": lambda value: value is False,
    "mapping": lambda value: isinstance(value, dict),
    "sequence": lambda value: isinstance(value, (list, tuple)),
    "odd": lambda value: _int(value) % 2 == 1,
    "even": lambda value: _int(value) % 2 == 0,
    "divisibleby": lambda value, n: _int(value) % int(n) == 0,
    "in": lambda value, container: compared(value) in compared(container),
    "eq": lambda value, other: compared(value) == compared(other),
    "ne": lambda value, other: compared(value) != compared(other),
}
