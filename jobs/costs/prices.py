"""What a model costs, as a frozen sheet, and what a row costs by that sheet. Exact: Decimal and integers, never float.

The seven counts of a row: `input_tokens` is the whole prompt; `cached_tokens`, `cache_write_tokens` (the ordinary, five-minute kind)
and `cache_write_1h_tokens` are disjoint parts of it; `output_tokens` is the whole answer, reasoning included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.words import TOKEN_KINDS, Lane

Ints = NDArray[np.int64]

PICO = 12  # one token at a price with six decimals per million is a whole number of 10⁻¹² dollars
LANES = (Lane.DIRECT, Lane.BATCH, Lane.FLEX)


class Counts(Protocol):
    """The token counts of one row (`providers.base.Answer` has them too)."""

    @property
    def input_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...
    @property
    def cache_write_1h_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one row; see the module's docstring."""

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Tier:
    """Prices, in dollars per million tokens, of rows whose whole input exceeds `above` tokens."""

    above: int
    input: Decimal
    cached: Decimal
    cache_write: Decimal
    cache_write_1h: Decimal
    output: Decimal

    def __post_init__(self) -> None:
        for kind in TOKEN_KINDS:
            pico(self.price(kind))

    def price(self, kind: str) -> Decimal:
        """Dollars per million tokens of a kind of words.TOKEN_KINDS."""
        value: Decimal = getattr(self, kind)
        return value

    def to_json(self) -> dict[str, Any]:
        return {"above": self.above} | {kind: plain(self.price(kind)) for kind in TOKEN_KINDS}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tier:
        return cls(int(data["above"]), **{kind: Decimal(data[kind]) for kind in TOKEN_KINDS})

    def at(self, above: int) -> Tier:
        """The same prices from another threshold on."""
        return Tier(above, self.input, self.cached, self.cache_write, self.cache_write_1h, self.output)


@dataclass(frozen=True, slots=True)
class PriceSheet:
    """The prices of one model on each lane, frozen on jobs and rounds. A lane that is absent has no known price; `reasons` says why.

    All lanes have the same thresholds, so that a row's tier is the same number on each. `per_hour` is what an hour of ordinary calls costs
    on a server of one's own, beside the prices per token (`time_cost`); None where time has no price.
    """

    source: str
    as_of: str
    provider: str
    model: str
    known: bool
    notes: tuple[str, ...] = ()
    lanes: Mapping[str, tuple[Tier, ...]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    per_hour: Decimal | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "lanes", _same_thresholds(self.lanes))
        if self.known != bool(self.lanes):
            raise ValueError("a sheet is known exactly if it prices a lane")

    def tiers(self, lane: str) -> tuple[Tier, ...]:
        """The tiers of a lane by rising `above`; empty if the lane's price is unknown."""
        return self.lanes.get(str(lane), ())

    @property
    def thresholds(self) -> tuple[int, ...]:
        """The `above` of each tier, the same on all lanes; (0,) where no lane is priced."""
        return tuple(tier.above for tier in next(iter(self.lanes.values()), ())) or (0,)

    def why_unknown(self, lane: str) -> str:
        """Why a lane has no price, in words; "" if it has one."""
        if self.tiers(lane):
            return ""
        return self.reasons.get(str(lane), "No price is known.")

    def to_json(self) -> dict[str, Any]:
        """As docs/architecture.md shows it; `reasons` says, per lane without a price, why."""
        return {
            "source": self.source,
            "as_of": self.as_of,
            "provider": self.provider,
            "model": self.model,
            "known": self.known,
            "notes": list(self.notes),
            "lanes": {lane: [tier.to_json() for tier in tiers] for lane, tiers in self.lanes.items()},
            "reasons": dict(self.reasons),
            **({} if self.per_hour is None else {"per_hour": plain(self.per_hour)}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PriceSheet:
        return cls(
            source=data["source"],
            as_of=data["as_of"],
            provider=data["provider"],
            model=data["model"],
            known=data["known"],
            notes=tuple(data.get("notes", ())),
            lanes={lane: tuple(Tier.from_json(tier) for tier in tiers) for lane, tiers in data["lanes"].items()},
            reasons=dict(data.get("reasons", {})),
            per_hour=Decimal(data["per_hour"]) if data.get("per_hour") is not None else None,
        )


def plain(value: Decimal) -> str:
    """A Decimal as digits, never with an exponent: 1E+1 → "10"."""
    return format(value, "f")


def pico(per_million: Decimal) -> int:
    """Dollars per million tokens → 10⁻¹² dollars per token. Raises ValueError for a price that is negative or finer than six decimals."""
    if not per_million.is_finite() or per_million < 0:
        raise ValueError(f"{per_million} is not a price")
    scaled = per_million.scaleb(6)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{per_million} has more than six decimals")
    return int(scaled)


def time_cost(per_hour: Decimal, milliseconds: int) -> Decimal:
    """Dollars for the time that calls took, to 10⁻¹²."""
    return (per_hour * milliseconds / 3_600_000).quantize(Decimal(1).scaleb(-PICO), ROUND_HALF_UP)


def dollars(pico_dollars: int) -> Decimal:
    """10⁻¹² dollars → dollars, exactly."""
    return Decimal(int(pico_dollars)).scaleb(-PICO)


def _same_thresholds(lanes: Mapping[str, Sequence[Tier]]) -> dict[str, tuple[Tier, ...]]:
    marks = sorted({0} | {tier.above for tiers in lanes.values() for tier in tiers})
    spread = {}
    for lane, tiers in lanes.items():
        ordered = sorted(tiers, key=lambda tier: tier.above)
        if not ordered or ordered[0].above != 0:
            raise ValueError(f"the first tier of {lane} must start at 0")
        spread[str(lane)] = tuple([tier for tier in ordered if tier.above <= mark][-1].at(mark) for mark in marks)
    return spread


def tier_of(sheet: PriceSheet, lane: str, input_tokens: int) -> int:
    """The number of the last tier whose `above` the row's whole input exceeds: the same on each lane, priced or not.

    A row on a lane without a price still has its tier, for what it would have cost in real time.
    """
    return max((i for i, above in enumerate(sheet.thresholds) if input_tokens > above), default=0)


def kinds_of(usage: Counts) -> dict[str, int]:
    """The counts of one row by priced kind (words.TOKEN_KINDS), disjoint.

    Where a server claims more cached than input tokens, fresh input is 0, never negative.
    """
    parts = usage.cached_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens
    return dict(zip(TOKEN_KINDS, (max(0, usage.input_tokens - sum(parts)), *parts, usage.output_tokens), strict=True))


def price_row(sheet: PriceSheet, lane: str, usage: Counts) -> Decimal | None:
    """Dollars for one row on a lane, exact; None if the lane's price is unknown."""
    tiers = sheet.tiers(lane)
    if not tiers:
        return None
    tier = tiers[tier_of(sheet, lane, usage.input_tokens)]
    return dollars(sum(pico(tier.price(kind)) * count for kind, count in kinds_of(usage).items()))


def kind_columns(columns: Mapping[str, NDArray[Any]]) -> dict[str, Ints]:
    """`kinds_of` for many rows: columns `input_tokens …` (absent ones are zeros) → int64 columns by priced kind, all of one length."""
    size = len(columns["input_tokens"])
    zeros = np.zeros(size, dtype=np.int64)

    def column(name: str) -> Ints:
        return np.asarray(columns[name], dtype=np.int64) if name in columns else zeros

    parts = [column(f"{kind}_tokens") for kind in ("cached", "cache_write", "cache_write_1h")]
    fresh = np.maximum(column("input_tokens") - parts[0] - parts[1] - parts[2], 0)
    return dict(zip(TOKEN_KINDS, (fresh, *parts, column("output_tokens")), strict=True))


def price_rows(sheet: PriceSheet, lane: str, columns: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.int8], Ints]:
    """Tiers (int8) and prices (int64, 10⁻¹² dollars; -1 where unknown) of many rows on a lane.

    `columns` maps `input_tokens`, `cached_tokens`, … to integer arrays of one length; absent ones are zeros, a negative count is an
    unknown one. Rows above nine million dollars overflow; no provider lets one row cost that.
    """
    whole = np.asarray(columns["input_tokens"], dtype=np.int64)
    number = np.zeros(len(whole), dtype=np.int8)
    for i, above in enumerate(sheet.thresholds[1:], start=1):
        number[whole > above] = i
    tiers = sheet.tiers(lane)
    if not tiers:
        return number, np.full(len(whole), -1, dtype=np.int64)
    cost = np.zeros(len(whole), dtype=np.int64)
    for kind, counts in kind_columns(columns).items():
        table = np.array([pico(tier.price(kind)) for tier in tiers], dtype=np.int64)
        cost += table[number] * counts
    for name in ("input_tokens", "cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens"):
        if name in columns:
            cost[np.asarray(columns[name]) < 0] = -1
    return number, cost
