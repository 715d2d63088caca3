"""What is left of a provider's limits a minute, as the headers of its answers say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_TOKENS = (
    "x-ratelimit-{}-tokens",
    "anthropic-ratelimit-tokens-{}",
    "anthropic-ratelimit-input-tokens-{}",
    "anthropic-ratelimit-output-tokens-{}",
)
_REQUESTS = ("x-ratelimit-{}-requests", "anthropic-ratelimit-requests-{}")


@dataclass(frozen=True, slots=True)
class Room:
    """Requests and tokens that are left (None: not said), and in how many seconds the limit is whole again."""

    requests: int | None = None
    requests_reset: float | None = None
    tokens: int | None = None
    tokens_reset: float | None = None


def room_of(headers: Mapping[str, str], now: datetime | None = None) -> Room | None:
    """What the headers of an answer say, in OpenAI's or Anthropic's manner; None where they say nothing. The tightest counts."""
    requests, tokens = _left(headers, _REQUESTS, now), _left(headers, _TOKENS, now)
    return None if requests is None and tokens is None else Room(*(requests or (None, None)), *(tokens or (None, None)))


def _left(headers: Mapping[str, str], names: tuple[str, ...], now: datetime | None) -> tuple[int, float | None] | None:
    found = []
    for name in names:
        left = headers.get(name.format("remaining"), "").strip()
        if left.isascii() and left.isdigit() and len(left) < 16:
            found.append((int(left), _seconds(headers.get(name.format("reset"), ""), now)))
    return min(found, key=lambda pair: pair[0], default=None)


def _seconds(text: str, now: datetime | None) -> float | None:
    """ "6m0s", "120ms", a number of seconds, or a moment of RFC 3339, as seconds from now; None where it is none of them."""
    text = text.strip()
    spans = _SPAN.findall(text)
    if spans and "".join(number + unit for number, unit in spans) == text:
        return sum(float(number) * _SECONDS[unit] for number, unit in spans)
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - (now or datetime.now(UTC))).total_seconds())
