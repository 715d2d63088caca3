from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from jobs.costs.caching import Saving, cacheable, least_tokens, saving
from jobs.costs.lookup import price_sheet
from jobs.costs.prices import PriceSheet, Usage, price_row

D = Decimal


def sheet(kind: str, model: str) -> PriceSheet:
    return price_sheet(kind, model, overrides=None, today=date(2026, 11, 21))


@pytest.mark.parametrize(
    ("kind", "model", "tokens", "held"),
    [
        ("openai", "gpt-6-luna", 1_023, 0),
        ("openai", "gpt-6-luna", 1_024, 1_024),
        ("openai", "gpt-6-luna", 1_300, 1_280),
        ("anthropic", "claude-sonnet-4-5", 1_023, 0),
        ("anthropic", "claude-sonnet-4-5-20250929", 1_030, 1_030),
        ("anthropic", "claude-haiku-4-5", 4_000, 0),
        ("anthropic", "claude-haiku-4-5", 4_097, 4_097),
        ("openai-compatible", "qwen", 100_000, 0),
    ],
)
def test_a_start_below_the_models_least_length_is_not_held(kind: str, model: str, tokens: int, held: int) -> None:
    assert cacheable(kind, model, tokens) == held


def test_what_is_not_known_of_a_model_is_the_longest() -> None:
    assert (least_tokens("anthropic", "claude-next-9"), least_tokens("openai-compatible", "x")) == (4_096, None)


def test_the_saving_is_that_of_the_sheet_row_by_row() -> None:
    found = saving(sheet("openai", "gpt-6-luna"), "batch", "openai", 1_280, 1_000)
    without = price_row(sheet("openai", "gpt-6-luna"), "batch", Usage(1_500)) * 1_000
    hit = price_row(sheet("openai", "gpt-6-luna"), "batch", Usage(1_500, 1_280))
    first = price_row(sheet("openai", "gpt-6-luna"), "batch", Usage(1_500, 0, 1_280))
    assert found is not None
    assert found.most == without - (999 * hit + first)


def test_anthropics_writes_for_an_hour_have_to_be_earned() -> None:
    found = saving(sheet("anthropic", "claude-sonnet-5-5"), "direct", "anthropic", 5_000, 101)
    # input 2, read 0.1, write for an hour 4: a hit gains 1.9, a miss costs 2
    assert found == Saving(D("0.0095") * 100 - D("0.01"), D(2) / D("3.9"))


def test_nothing_is_promised_where_nothing_is_saved() -> None:
    assert saving(sheet("openai", "gpt-4o-mini"), "batch", "openai", 2_048, 1_000) is None  # cached input in batch costs what input does
    assert saving(sheet("openai", "gpt-6-luna"), "batch", "openai", 1_280, 1) is None
    assert saving(sheet("openai", "gpt-6-luna"), "batch", "openai", 0, 1_000) is None
    assert saving(sheet("openai", "gpt-6.2-sol"), "batch", "openai", 1_280, 1_000) is None
    assert saving(sheet("anthropic", "claude-sonnet-5-5"), "direct", "anthropic", 5_000, 2) is None  # one hit does not pay for the write
