"""Receipts add up and equal a recount row by row."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.costs.lookup import price_sheet
from jobs.costs.prices import PriceSheet, Usage, kinds_of, price_row
from jobs.costs.receipt import RoundUsage, Sums, money, receipt, shown, sums_of
from jobs.words import TOKEN_KINDS, Lane, RoundReason

TODAY = date(2026, 11, 21)
SHEETS = [
    price_sheet("openai", "gpt-6-luna", overrides=None, today=TODAY),
    price_sheet("anthropic", "claude-haiku-5-5", overrides=None, today=TODAY),
    price_sheet("openai", "gpt-4o-mini", overrides=None, today=TODAY),
    price_sheet("openai", "gpt-5.3-codex", overrides=None, today=TODAY),  # no batch, no flex
    price_sheet("openai", "gpt-6.2-sol", overrides=None, today=TODAY),  # unknown
]


@dataclass(frozen=True)
class Row:
    usage: Usage
    billed: str
    useful: bool


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    whole = draw(st.sampled_from([0, 7, 1_000, 100_000, 100_001, 272_000, 272_001, 900_000]))
    cached = draw(st.integers(0, whole))
    write = draw(st.integers(0, whole - cached))
    hour = draw(st.integers(0, whole - cached - write))
    return Usage(whole, cached, write, hour, draw(st.integers(0, 128_000)))


rows = st.builds(Row, usages(), st.sampled_from(["paid", "unpaid", "unknown"]), st.booleans())
rounds = st.lists(
    st.tuples(st.sampled_from(SHEETS), st.sampled_from(list(Lane)), st.sampled_from(list(RoundReason)), st.lists(rows, max_size=12)),
    max_size=4,
)


def round_usage(number: int, sheet: PriceSheet, lane: Lane, reason: RoundReason, found: list[Row]) -> RoundUsage:
    columns = {name: np.array([getattr(row.usage, name) for row in found], dtype=np.int64) for name in Usage.__dataclass_fields__}
    billed, useful = np.array([row.billed for row in found]), np.array([row.useful for row in found], dtype=bool)
    return RoundUsage(number, reason, lane, sheet, sums_of(sheet, lane, columns, billed, useful))


@settings(max_examples=100, deadline=None)
@given(rounds)
def test_a_receipt_equals_a_recount_row_by_row(given_rounds: list[tuple[PriceSheet, Lane, RoundReason, list[Row]]]) -> None:
    made = receipt(
        [round_usage(i, *one) for i, one in enumerate(given_rounds, start=1)], n_rows=100, standings={"succeeded": 3, "failed": 97}
    )
    tokens: Counter[str] = Counter(dict.fromkeys(TOKEN_KINDS, 0))
    paid = realtime = saved = wasted = uncertain = Decimal(0)
    for sheet, lane, _, found in given_rounds:
        for row in found:
            tokens.update(kinds_of(row.usage))
            cost, real = price_row(sheet, lane, row.usage), price_row(sheet, "direct", row.usage)
            if row.billed == "paid":
                paid += cost or 0
                realtime += real or 0
                saved += real - cost if cost is not None and real is not None else 0
                wasted += 0 if row.useful else cost or 0
            elif row.billed == "unknown":
                uncertain += cost or 0
    assert made.tokens == tokens
    for total, expected in (
        (made.paid, paid),
        (made.realtime, realtime),
        (made.saved, saved),
        (made.wasted, wasted),
        (made.uncertain, uncertain),
    ):
        assert (total.amount or 0) == expected
    assert sum((line.amount or 0 for line in made.lines if line.billed == "paid"), Decimal(0)) == paid
    assert sum((total.paid.amount or 0 for total in made.rounds), Decimal(0)) == paid
    assert sum((total.wasted.amount or 0 for total in made.rounds), Decimal(0)) == wasted
    for line in made.lines:
        if line.amount and line.price is not None:
            assert line.amount == line.price * line.tokens / 1_000_000
    assert json.loads(json.dumps(made.to_json()))["tokens"] == tokens


def one_round(sheet: PriceSheet, lane: Lane, *sums: Sums, number: int = 1) -> RoundUsage:
    return RoundUsage(number, RoundReason.FIRST, lane, sheet, sums)


def test_a_receipt_by_hand() -> None:
    luna = SHEETS[0]
    first = one_round(
        luna,
        Lane.BATCH,
        Sums(0, "paid", True, 9, {"input": 1_000_000, "cached": 1_000_000, "output": 200_000}),
        Sums(0, "paid", False, 1, {"input": 100_000, "output": 100_000}),
        Sums(0, "unknown", False, 1, {"input": 1000}),
    )
    again = RoundUsage(2, RoundReason.RETRY, Lane.DIRECT, luna, (Sums(1, "paid", True, 1, {"input": 300_000}),))
    made = receipt([again, first], n_rows=10, standings={"succeeded": 10})
    # batch: 1 M × 0.05 + 1 M × 0.005 + 0.2 M × 0.25; wasted 0.1 M × 0.05 + 0.1 M × 0.25; direct above 272,000: 0.3 M × 0.2
    assert made.wasted.amount == Decimal("0.03")
    assert made.paid.amount == Decimal("0.105") + Decimal("0.03") + Decimal("0.06")
    assert made.realtime.amount == Decimal("0.21") + Decimal("0.06") + Decimal("0.06")
    assert made.saved.amount == Decimal("0.135")
    assert made.uncertain.amount == Decimal("0.00005")
    assert made.per_succeeded == Decimal("0.0195")
    assert made.cache_saved == Decimal("0.045")
    assert made.hit_rate == Decimal("0.4167")
    assert [(total.number, total.paid.amount) for total in made.rounds] == [(1, Decimal("0.135")), (2, Decimal("0.06"))]
    assert set(made.to_json()) >= {"rows", "standings", "tokens", "paid", "realtime", "saved", "wasted", "estimate", "prices", "rounds"}
    assert Decimal(made.to_json()["paid"]) == made.paid.amount
    assert "For some rows nobody knows whether the provider charged them; they are shown apart and not in the total." in made.notes


def test_an_unknown_price_is_null_never_zero() -> None:
    made = receipt([one_round(SHEETS[4], Lane.BATCH, Sums(0, "paid", True, 1, {"input": 5}))], n_rows=1, standings={"succeeded": 1})
    assert [made.to_json()[key] for key in ("paid", "realtime", "saved", "per_succeeded")] == [None, None, None, None]
    assert made.tokens["input"] == 5
    assert "Some tokens have no known price, so more was paid than is shown." in made.notes


def test_a_partly_known_price_says_at_least() -> None:
    paid = Sums(0, "paid", True, 1, {"input": 1_000_000})
    made = receipt([one_round(SHEETS[0], Lane.BATCH, paid), one_round(SHEETS[3], Lane.BATCH, paid, number=2)], n_rows=1, standings={})
    assert (made.paid.amount, made.paid.at_least, made.per_succeeded) == (Decimal("0.05"), True, None)
    assert made.saved.amount == Decimal("0.05")


def test_nothing_run_is_zero() -> None:
    made = receipt([], n_rows=3, standings={"pending": 3})
    assert (made.paid.amount, made.paid.at_least, made.hit_rate, made.per_succeeded) == (Decimal(0), False, None, None)


def test_sums_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="not the sums"):
        receipt([one_round(SHEETS[0], Lane.BATCH, Sums(0, "maybe", True, 1, {"input": 1}))], n_rows=1, standings={})
    with pytest.raises(ValueError, match="one number"):
        receipt([one_round(SHEETS[0], Lane.BATCH), one_round(SHEETS[0], Lane.BATCH)], n_rows=1, standings={})


@given(st.lists(st.decimals(min_value=-1000, max_value=1000, places=9), max_size=30), st.sampled_from([2, 4]))
def test_shown_parts_add_up_to_the_shown_total(parts: list[Decimal], places: int) -> None:
    rounded = shown(parts, places)
    assert sum(rounded, Decimal(0)) == money(sum(parts, Decimal(0)), places)
    assert all(abs(a - b) <= Decimal(1).scaleb(-places) for a, b in zip(rounded, parts, strict=True))
