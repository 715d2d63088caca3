"""Should this be batch? What some traffic would cost and take on each lane, and which lane to take. Pure; exact to the last digit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from jobs.costs.prices import LANES, Ints, PriceSheet, dollars, price_rows
from jobs.words import Lane

MONTH = 30 * 86_400.0
PROMISED = 86_400.0  # seconds in which providers finish a batch or let it expire
USUAL = 3_600.0  # "most batches end within one hour", as documented
FIRST_TOKEN = 1.0  # seconds; with SPEED an assumption, said on the page
SPEED = 50.0  # output tokens a second of one call
FLEX_SLOWER = 4.0  # no provider says how much slower flex is; an assumption, said on the page


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of one model: token counts per request, and how many such requests there are (None: one each)."""

    sheet: PriceSheet
    inputs: Ints
    outputs: Ints
    counts: Ints | None = None

    @property
    def n(self) -> int:
        return len(self.inputs) if self.counts is None else int(self.counts.sum())

    def tokens(self, of: Ints) -> int:
        return int(of.sum() if self.counts is None else (of * self.counts).sum())

    def usd(self, lane: str) -> Decimal | None:
        """Dollars on a lane, each request in its own tier; None where the price is unknown."""
        if not self.sheet.tiers(lane):
            return None
        costs = price_rows(self.sheet, lane, {"input_tokens": self.inputs, "output_tokens": self.outputs})[1].tolist()
        counts = [1] * len(costs) if self.counts is None else self.counts.tolist()
        return dollars(sum(cost * count for cost, count in zip(costs, counts, strict=True)))


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is to be sent: at the moments `arrivals` (seconds, sorted) where they are known; else `spread` over a month, or all at once."""

    loads: Sequence[Load]
    spread: bool = False
    arrivals: Ints | None = None

    @property
    def n(self) -> int:
        return sum(load.n for load in self.loads)

    @property
    def input_tokens(self) -> int:
        return sum(load.tokens(load.inputs) for load in self.loads)

    @property
    def output_tokens(self) -> int:
        return sum(load.tokens(load.outputs) for load in self.loads)


@dataclass(frozen=True, slots=True)
class Ways:
    """What the connection can do: calls at one time, per-minute limits (None: none known), and how long its batches took here, if known."""

    concurrency: int = 8
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    batch: bool = True
    flex: bool = True
    batch_median: float | None = None
    batch_slow: float | None = None


@dataclass(frozen=True, slots=True)
class LaneAdvice:
    """One lane. `usd` None: unknown, `why` says why. `usual` and `slow` are seconds until an answer is there; `meets` is by `slow`.

    `able` is False where the connection has no such lane; then nothing else is known of it.
    """

    lane: Lane
    able: bool
    usd: Decimal | None
    why: str
    usual: float = 0.0
    slow: float = 0.0
    meets: bool = False
    collect: float = 0.0  # batch of spread traffic: how long requests may be collected before they are sent


@dataclass(frozen=True, slots=True)
class Advice:
    """All lanes, the one to take (None where none is able), and whether it is the one of least cost that is in time."""

    lanes: tuple[LaneAdvice, ...]
    best: LaneAdvice | None
    deadline: float | None

    def of(self, lane: str) -> LaneAdvice:
        return next(each for each in self.lanes if each.lane == lane)

    @property
    def saving(self) -> Decimal | None:
        """Dollars that batch saves against real time; None where a price is unknown."""
        return self.saving_of(Lane.BATCH)

    def saving_of(self, lane: str) -> Decimal | None:
        ours, direct = self.of(lane).usd, self.of(Lane.DIRECT).usd
        return None if ours is None or direct is None else direct - ours


def advise(traffic: Traffic, ways: Ways, deadline: float | None = None) -> Advice:
    """Price and time every lane. `deadline` is in seconds: after the start, or for spread traffic after each request; None: there is none.

    Of the lanes that are in time the cheapest is best, the quicker one of equals, and flex the last of them, as its time is a guess and it
    may be refused; an unknown price comes after every known one. Where none is in time, the quickest is best.
    """
    lanes = tuple(_lane(lane, traffic, ways, deadline) for lane in LANES)
    able = [each for each in lanes if each.able]
    late = [each for each in able if not each.meets]
    in_time = [each for each in able if each.meets]
    best: LaneAdvice | None
    if in_time:
        best = min(in_time, key=lambda each: (each.usd is None, each.usd or Decimal(0), each.lane is Lane.FLEX, each.slow))
    else:
        best = min(late, key=lambda each: each.slow, default=None)
    return Advice(lanes, best, deadline)


def _lane(lane: Lane, traffic: Traffic, ways: Ways, deadline: float | None) -> LaneAdvice:
    able = {Lane.BATCH: ways.batch, Lane.FLEX: ways.flex, Lane.DIRECT: True}[lane]
    amounts = [load.usd(lane) for load in traffic.loads]
    why = " ".join(dict.fromkeys(reason for load in traffic.loads if (reason := load.sheet.why_unknown(lane))))
    usd = None if not able or any(amount is None for amount in amounts) else sum((a for a in amounts if a is not None), Decimal(0))
    if not able:
        return LaneAdvice(lane, False, None, why or f"This connection has no {lane.label.lower()} lane.")
    if lane is Lane.BATCH:
        usual, slow = ways.batch_median or USUAL, ways.batch_slow or PROMISED
        meets = deadline is None or (slow < deadline if _is_spread(traffic) else slow <= deadline)
        collect = min(PROMISED, PROMISED if deadline is None else deadline - slow) if _is_spread(traffic) and meets else 0.0
        return LaneAdvice(lane, True, usd, why, usual, slow, meets, collect)
    usual = seconds_of_calls(traffic, ways)
    slow = usual * FLEX_SLOWER if lane is Lane.FLEX else usual
    return LaneAdvice(lane, True, usd, why, usual, slow, deadline is None or slow <= deadline)


def _is_spread(traffic: Traffic) -> bool:
    return traffic.spread or traffic.arrivals is not None


def seconds_of_calls(traffic: Traffic, ways: Ways) -> float:
    """How long ordinary calls take: until all are answered, or for spread traffic until the one that waits longest is."""
    n = traffic.n
    if n == 0:
        return 0.0
    each = FIRST_TOKEN + traffic.output_tokens / n / SPEED
    rate = per_second(traffic, ways)
    if traffic.arrivals is not None:
        return each + _longest_wait(traffic.arrivals, rate)
    if traffic.spread:
        return each + max(0.0, n / rate - MONTH)
    return max(each, n / rate)


def per_second(traffic: Traffic, ways: Ways) -> float:
    """Requests that the connection answers in a second, by the tightest of its limits."""
    n = max(traffic.n, 1)
    each = FIRST_TOKEN + traffic.output_tokens / n / SPEED
    rates = [ways.concurrency / each]
    if ways.requests_per_minute:
        rates.append(ways.requests_per_minute / 60)
    if ways.tokens_per_minute:
        rates.append(ways.tokens_per_minute / 60 / max(1.0, (traffic.input_tokens + traffic.output_tokens) / n))
    return min(rates)


def _longest_wait(arrivals: Ints, rate: float) -> float:
    """Of a queue that takes `rate` requests a second in the order of their coming: the longest time in it, in seconds."""
    since = (arrivals - arrivals[0]).astype(np.float64)
    free = np.arange(len(since)) / rate  # when the i-th would be done if none had to be waited for
    return float(np.max(free - since - np.minimum.accumulate(free - since)))
