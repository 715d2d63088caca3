"""The grammar of orders, and which row each falls on."""

from __future__ import annotations

import hashlib

import pytest

from jobs.sandbox import orders
from jobs.sandbox.models import plain


def test_plain_name_and_orders_part() -> None:
    model = "gpt-6-luna+errors=5%,missing=2,slow=10s"
    assert (plain(model), orders.text_of(model), orders.text_of("gpt-6-luna")) == ("gpt-6-luna", "errors=5%,missing=2,slow=10s", "")


def test_counts_take_the_first_rows_one_after_the_other() -> None:
    wanted = orders.parse("errors=2,missing=1,broken=#6")
    assert [wanted.draw(i, b"\xff" * 8) for i in range(7)] == ["errors", "errors", "missing", None, None, "broken", None]


def test_shares_are_drawn_by_hash_and_do_not_overlap() -> None:
    wanted = orders.parse("errors=5%,missing=10%")
    drawn = [wanted.draw(0, hashlib.sha256(str(i).encode()).digest()) for i in range(20_000)]
    assert drawn.count("errors") == pytest.approx(1000, rel=0.15)
    assert drawn.count("missing") == pytest.approx(2000, rel=0.15)


def test_bare_order_falls_on_every_row() -> None:
    assert orders.parse("refusal").draw(99, b"\xff" * 8) == "refusal"


@pytest.mark.parametrize("text", ["nonsense", "errors=abc", "errors=#x"])
def test_unknown_order_is_refused(text: str) -> None:
    with pytest.raises(orders.BadOrder):
        orders.parse(text)


@pytest.mark.parametrize(("text", "expected"), [("10s", 10.0), ("2m", 120.0), ("1h", 3600.0), ("0.5", 0.5)])
def test_seconds(text: str, expected: float) -> None:
    assert orders.seconds(text) == expected
