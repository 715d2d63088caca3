"""Numbers, times and foreign text as a person reads them: filters over `jobs.formats`, and text that hides nothing."""

from __future__ import annotations

import datetime as dt
import json
import re
import unicodedata
from decimal import Decimal
from typing import Any

from django import template
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString

from jobs import formats

register = template.Library()
UNKNOWN = "–"

# Control characters but tab and line ends; soft hyphen, zero-width and bidi marks, isolates, byte order mark, tags.
ODD = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)


@register.filter
def integer(n: int | str | None) -> str:
    """1234567 → 1,234,567; None → –."""
    return UNKNOWN if n is None or isinstance(n, str) else formats.integer(n)


@register.filter
def compact(n: int | str | None) -> str:
    """1234567 → 1.2 M, for tiles only."""
    return UNKNOWN if n is None or isinstance(n, str) else formats.compact(n)


@register.filter
def usd(amount: Decimal | None, places: int | None = None) -> str:
    """Dollars. `places` is one for a whole column: 2, or 4 where its largest is under $1."""
    return UNKNOWN if amount is None or amount == "" else formats.usd(amount, places)


@register.filter
def percent(done: int | None, total: int | None) -> str:
    """`{{ settled|percent:total }}`, rounded down; 100 % only when all are done."""
    return UNKNOWN if done is None or not total else formats.percent(done, total)


@register.filter
def duration(seconds: float | dt.timedelta | None) -> str:
    """Seconds or a timedelta in words."""
    if seconds is None or seconds == "":
        return UNKNOWN
    return formats.duration(seconds.total_seconds() if isinstance(seconds, dt.timedelta) else seconds)


@register.filter(name="bytes")
def bytes_(n: int | str | None) -> str:
    return UNKNOWN if n is None or isinstance(n, str) else formats.bytes_(n)


@register.filter
def ago(at: dt.datetime | None) -> SafeString | str:
    """`<time datetime>` that the page keeps fresh; its exact time in the person's zone is the title and a fold-free copy for print."""
    if not at:
        return UNKNOWN
    exact = timezone.localtime(at).strftime("%a %-d %b %Y, %H:%M")
    return format_html('<time datetime="{}" title="{}" data-ago>{}</time>', at.isoformat(), exact, formats.ago(at, timezone.now()))


@register.filter
def clock(at: dt.datetime | None) -> SafeString | str:
    """A date and time in the person's zone: `21 Nov 2026, 14:10`."""
    if not at:
        return UNKNOWN
    return format_html('<time datetime="{}">{}</time>', at.isoformat(), timezone.localtime(at).strftime("%-d %b %Y, %H:%M"))


@register.filter
def cell(value: Any) -> Any:
    """A cell of a chart's table: whole numbers with separators, decimals without needless zeros, None as –."""
    if value is None:
        return UNKNOWN
    if isinstance(value, Decimal):
        return f"{value.normalize():,f}"
    return formats.integer(value) if isinstance(value, int) else value


@register.filter
def per_million(price: Decimal | None) -> str:
    """A price per million tokens: at least two places, and all that it has."""
    if price is None:
        return UNKNOWN
    places = max(2, -int(price.normalize().as_tuple().exponent))
    return f"{price:,.{places}f}"


@register.filter
def json_text(value: Any) -> str:
    """A value as JSON for a hidden element: htmx takes scripts out of what it swaps, even those that only hold data."""
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":"))


@register.filter
def json_pretty(value: Any) -> str:
    """JSON text, or a value, with an indent of two; text that is not JSON comes back as it is."""
    try:
        parsed = json.loads(value) if isinstance(value, (str, bytes)) else value
        return json.dumps(parsed, ensure_ascii=False, indent=2, default=str)
    except (ValueError, TypeError, RecursionError):
        return str(value)


@register.filter
def visible(text: Any) -> SafeString:
    """Foreign text, escaped, with control, zero-width and bidi characters shown as their code points (the bytes are not changed)."""
    source = "" if text is None else str(text)
    pieces: list[str] = []
    at = 0
    for found in ODD.finditer(source):
        code = ord(found[0])
        name = unicodedata.name(found[0], "control character")
        pieces.append(conditional_escape(source[at : found.start()]))
        pieces.append(format_html('<span class="odd-char" data-c="{}" title="{}">U+{}</span>', code, name.capitalize(), f"{code:04X}"))
        at = found.end()
    pieces.append(conditional_escape(source[at:]))
    return SafeString("".join(pieces))
