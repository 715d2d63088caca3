"""The receipt of a job: what was paid for what, adding up exactly, and what the same tokens would have cost in real time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.costs.estimate import Estimate
from jobs.costs.prices import PriceSheet, dollars, kind_columns, pico, plain, price_rows
from jobs.words import TOKEN_KINDS, Lane, RoundReason

BILLED = ("paid", "unpaid", "unknown")
TIME = "time"  # the kind of a line that is no token's: milliseconds of a server that is priced by the hour
UNHEARD = "rows"  # another: rows of which nothing came back, not even their tokens, and that may have been charged


@dataclass(frozen=True, slots=True)
class Sums:
    """Tokens of the rows of a round that share a tier, whether they are billed, and whether they came to use.

    `useful`: the outcome succeeded and is the one that the row's standing holds, so no later round superseded it.
    `tokens` is by priced kind (words.TOKEN_KINDS, disjoint: prices.kinds_of), `rows` counts the outcomes.
    """

    tier: int
    billed: str
    useful: bool
    rows: int
    tokens: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RoundUsage:
    """A round's tokens, with the sheet frozen on it. `number` from 1. Where time is priced: how long its calls took, and what that cost.
    `unheard` are rows of UNHEARD (they are in `sums` too, without tokens), `unheard_usd` the most that they cost, None without a bound."""

    number: int
    reason: RoundReason
    lane: Lane
    sheet: PriceSheet
    sums: tuple[Sums, ...]
    milliseconds: int = 0
    time_usd: Decimal = Decimal(0)
    unheard: int = 0
    unheard_usd: Decimal | None = Decimal(0)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a kind of token in a round, tier and billing. `price` is per million; `price`, `amount` None where no price is known.
    Of the kind `time`, `tokens` are milliseconds and `price` is that of an hour; of `rows`, `tokens` are rows and `amount` is a bound.

    `amount` is what is or may have been charged ("unknown"), 0 for unpaid; `realtime` the same tokens in real time, None if not priced.
    """

    round: int
    reason: RoundReason
    lane: Lane
    kind: str
    tier: int
    above: int
    billed: str
    useful: bool
    tokens: int
    price: Decimal | None
    amount: Decimal | None
    realtime: Decimal | None


@dataclass(frozen=True, slots=True)
class Total:
    """Dollars over some lines. None: nothing of it has a known price. `at_least`: some of it has none, so there is more."""

    amount: Decimal | None
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class RoundTotal:
    number: int
    reason: RoundReason
    lane: Lane
    rows: int
    paid: Total
    wasted: Total
    uncertain: Total
    uncertain_rows: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """All of a job's money. `uncertain` is the most that may have been charged beyond `paid`, for `uncertain_rows`: nobody knows whether
    the provider billed them.

    `saved` is `realtime` − `paid`, over the same lines; `cache_saved` is part of `paid` already: what cached reads saved against
    input, less what cache writes cost above it; `hit_rate` is cached ÷ whole input of the paid tokens, None without any.
    """

    n_rows: int
    standings: Mapping[str, int]
    lines: tuple[Line, ...]
    rounds: tuple[RoundTotal, ...]
    tokens: Mapping[str, int]
    paid: Total
    realtime: Total
    saved: Total
    wasted: Total
    uncertain: Total
    uncertain_rows: int
    per_succeeded: Decimal | None
    cache_saved: Decimal
    hit_rate: Decimal | None
    estimate: Estimate | None
    prices: tuple[PriceSheet, ...]
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The receipt as data: dollars are exact strings, null where unknown; `notes` says why."""
        return {
            "rows": self.n_rows,
            "standings": dict(self.standings),
            "tokens": dict(self.tokens),
            "paid": _text(self.paid.amount),
            "realtime": _text(self.realtime.amount),
            "saved": _text(self.saved.amount),
            "wasted": _text(self.wasted.amount),
            "uncertain": _bound(self.uncertain),
            "uncertain_rows": self.uncertain_rows,
            "per_succeeded": _text(self.per_succeeded),
            "cache_saved": _text(self.cache_saved),
            "hit_rate": _text(self.hit_rate),
            "estimate": self.estimate.to_json() if self.estimate else None,
            "prices": [sheet.to_json() for sheet in self.prices],
            "rounds": [_round_json(total) for total in self.rounds],
            "lines": [_line_json(line) for line in self.lines],
            "notes": list(self.notes),
        }


def money(amount: Decimal, places: int = 2) -> Decimal:
    """Dollars rounded for people, half away from zero. The one place where money is rounded; sums are always taken before it."""
    return amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def shown(parts: Sequence[Decimal], places: int = 2) -> list[Decimal]:
    """Parts rounded so that they add up to their rounded total: what is left over goes to the largest remainders."""
    unit = Decimal(1).scaleb(-places)
    floors = [part // unit for part in parts]
    floors = [floor - 1 if floor * unit > part else floor for floor, part in zip(floors, parts, strict=True)]
    missing = int(money(sum(parts, Decimal(0)), places) / unit - sum(floors))
    order = sorted(range(len(parts)), key=lambda i: (floors[i] * unit - parts[i], i))
    for i in order[:missing]:
        floors[i] += 1
    return [floor * unit for floor in floors]


def sums_of(
    sheet: PriceSheet, lane: str, columns: Mapping[str, NDArray[Any]], billed: NDArray[Any], useful: NDArray[np.bool_]
) -> tuple[Sums, ...]:
    """The sums of a round's outcomes: `columns` as for prices.price_rows, `billed` and `useful` per row."""
    tier = price_rows(sheet, lane, columns)[0]
    kinds = kind_columns(columns)
    found = []
    for number in np.unique(tier):
        for word in BILLED:
            for use in (True, False):
                chosen = (tier == number) & (billed == word) & (useful == use)
                if chosen.any():
                    tokens = {kind: int(counts[chosen].sum()) for kind, counts in kinds.items()}
                    found.append(Sums(int(number), word, use, int(chosen.sum()), tokens))
    return tuple(found)


def receipt(rounds: Iterable[RoundUsage], *, n_rows: int, standings: Mapping[str, int], estimate: Estimate | None = None) -> Receipt:
    """The receipt of a job's rounds. `standings` maps each standing's word to its rows; per succeeded row needs "succeeded"."""
    given = tuple(sorted(rounds, key=lambda found: found.number))
    if len({found.number for found in given}) < len(given):
        raise ValueError("two rounds have one number")
    lines = tuple(line for found in given for line in _lines(found))
    paid_lines = [line for line in lines if line.billed == "paid"]
    paid = _total(line.amount for line in paid_lines)
    realtime = _total(line.realtime for line in paid_lines)
    uncertain_lines = [line for line in lines if line.billed == "unknown"]
    succeeded = standings.get("succeeded", 0)
    sheets: list[PriceSheet] = []
    for found in given:
        if found.sheet not in sheets:
            sheets.append(found.sheet)
    return Receipt(
        n_rows=n_rows,
        standings=standings,
        lines=lines,
        rounds=tuple(_round_total(found, lines) for found in given),
        tokens={kind: sum(line.tokens for line in lines if line.kind == kind) for kind in TOKEN_KINDS},
        paid=paid,
        realtime=realtime,
        saved=_total(None if line.amount is None or line.realtime is None else line.realtime - line.amount for line in paid_lines),
        wasted=_total(line.amount for line in paid_lines if not line.useful),
        uncertain=_total(line.amount for line in uncertain_lines),
        uncertain_rows=sum(_uncertain_rows(found) for found in given),
        per_succeeded=paid.amount / succeeded if succeeded and paid.amount is not None and not paid.at_least else None,
        cache_saved=_cache_saved(given),
        hit_rate=_hit_rate(paid_lines),
        estimate=estimate,
        prices=tuple(sheets),
        notes=_notes(given, paid, realtime, uncertain_lines),
    )


def _lines(found: RoundUsage) -> list[Line]:
    lines = []
    tiers, direct = found.sheet.tiers(found.lane), found.sheet.tiers(Lane.DIRECT)
    for sums in found.sums:
        if sums.billed not in BILLED or set(sums.tokens) - set(TOKEN_KINDS):
            raise ValueError(f"not the sums of a round: {sums}")
        for kind in TOKEN_KINDS:
            count = sums.tokens.get(kind, 0)
            if not count:
                continue
            price = tiers[sums.tier].price(kind) if tiers else None
            real = direct[sums.tier].price(kind) if direct else None
            lines.append(
                Line(
                    round=found.number,
                    reason=found.reason,
                    lane=found.lane,
                    kind=kind,
                    tier=sums.tier,
                    above=found.sheet.thresholds[sums.tier],
                    billed=sums.billed,
                    useful=sums.useful,
                    tokens=count,
                    price=price,
                    amount=Decimal(0) if sums.billed == "unpaid" else _amount(price, count),
                    realtime=Decimal(0) if sums.billed == "unpaid" else _amount(real, count),
                )
            )
    return lines + _time_line(found) + _unheard_line(found)


def _time_line(found: RoundUsage) -> list[Line]:
    """Time costs the same whatever came of the rows, and in real time too."""
    if found.sheet.per_hour is None or not found.milliseconds:
        return []
    return [
        Line(
            round=found.number,
            reason=found.reason,
            lane=found.lane,
            kind=TIME,
            tier=0,
            above=0,
            billed="paid",
            useful=True,
            tokens=found.milliseconds,
            price=found.sheet.per_hour,
            amount=found.time_usd,
            realtime=found.time_usd,
        )
    ]


def _unheard_line(found: RoundUsage) -> list[Line]:
    if not found.unheard:
        return []
    return [
        Line(
            round=found.number,
            reason=found.reason,
            lane=found.lane,
            kind=UNHEARD,
            tier=0,
            above=0,
            billed="unknown",
            useful=False,
            tokens=found.unheard,
            price=None,
            amount=found.unheard_usd,
            realtime=None,
        )
    ]


def _uncertain_rows(found: RoundUsage) -> int:
    return sum(sums.rows for sums in found.sums if sums.billed == "unknown")


def _amount(price: Decimal | None, tokens: int) -> Decimal | None:
    return None if price is None else dollars(pico(price) * tokens)


def _total(amounts: Iterable[Decimal | None]) -> Total:
    given = list(amounts)
    known = [amount for amount in given if amount is not None]
    if given and not known:
        return Total(None, True)
    return Total(sum(known, Decimal(0)), len(known) < len(given))


def _round_total(found: RoundUsage, lines: Sequence[Line]) -> RoundTotal:
    own = [line for line in lines if line.round == found.number]
    return RoundTotal(
        number=found.number,
        reason=found.reason,
        lane=found.lane,
        rows=sum(sums.rows for sums in found.sums),
        paid=_total(line.amount for line in own if line.billed == "paid"),
        wasted=_total(line.amount for line in own if line.billed == "paid" and not line.useful),
        uncertain=_total(line.amount for line in own if line.billed == "unknown"),
        uncertain_rows=_uncertain_rows(found),
    )


def _cache_saved(rounds: Sequence[RoundUsage]) -> Decimal:
    """What caches saved against plain input on the same lane, less what writing them cost above it; negative if they didn't pay."""
    saved = Decimal(0)
    for found in rounds:
        tiers = found.sheet.tiers(found.lane)
        for sums in found.sums if tiers else ():
            if sums.billed == "paid":
                tier = tiers[sums.tier]
                for kind in ("cached", "cache_write", "cache_write_1h"):
                    saved += dollars((pico(tier.input) - pico(tier.price(kind))) * sums.tokens.get(kind, 0))
    return saved


def _hit_rate(paid: Sequence[Line]) -> Decimal | None:
    whole = sum(line.tokens for line in paid if line.kind not in ("output", TIME))
    cached = sum(line.tokens for line in paid if line.kind == "cached")
    return (Decimal(cached) / whole).quantize(Decimal("0.0001")) if whole else None


def _notes(rounds: Sequence[RoundUsage], paid: Total, realtime: Total, uncertain: Sequence[Line]) -> tuple[str, ...]:
    notes: list[str] = []
    if paid.at_least:
        notes.append("Some tokens have no known price, so more was paid than is shown.")
    if realtime.at_least:
        notes.append("Some tokens have no known real-time price; they are left out of what was saved.")
    if uncertain:
        notes.append("For some rows nobody knows whether the provider charged them; they are shown apart and not in the total.")
    for found in rounds:
        reason = found.sheet.why_unknown(found.lane)
        notes += [*found.sheet.notes, *([reason] if reason else [])]
    return tuple(dict.fromkeys(notes))


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)


def _bound(total: Total) -> str | None:
    """The most that it can be; null where any of it has no bound."""
    return None if total.at_least else _text(total.amount)


def _round_json(total: RoundTotal) -> dict[str, Any]:
    return {
        "number": total.number,
        "reason": str(total.reason),
        "lane": str(total.lane),
        "rows": total.rows,
        "paid": _text(total.paid.amount),
        "wasted": _text(total.wasted.amount),
        "uncertain": _bound(total.uncertain),
        "uncertain_rows": total.uncertain_rows,
    }


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "round": line.round,
        "reason": str(line.reason),
        "lane": str(line.lane),
        "kind": line.kind,
        "tier": line.tier,
        "above": line.above,
        "billed": line.billed,
        "useful": line.useful,
        "tokens": line.tokens,
        "price": _text(line.price),
        "amount": _text(line.amount),
        "realtime": _text(line.realtime),
    }
