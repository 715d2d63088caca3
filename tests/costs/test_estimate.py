from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.costs.estimate import Estimate, estimate, estimate_from_counts, estimate_from_usage, limited_output, no_output, observed_output
from jobs.costs.lookup import price_sheet
from jobs.costs.prices import Usage, price_row
from jobs.costs.tokens import TokenModel
from jobs.words import PromptKind

TODAY = date(2026, 11, 21)
LUNA = price_sheet("openai", "gpt-6-luna", overrides=None, today=TODAY)
EXACT = {"margin": Decimal(0), "basis": "counted"}


def test_with_all_rows_counted_and_output_known_the_range_is_a_point() -> None:
    made = estimate_from_counts(LUNA, [100, 300_000], 2, no_output(), **EXACT)
    exact = price_row(LUNA, "batch", Usage(100)) + price_row(LUNA, "batch", Usage(300_000))
    assert (made.lanes["batch"].low, made.lanes["batch"].high, made.lanes["batch"].ceiling) == (exact, exact, exact)
    assert (made.input_low, made.input_high, made.output_low, made.output_high) == (300_100, 300_100, 0, 0)
    assert "All rows were counted." in made.basis
    assert made.saving("batch") == (exact, exact)  # batch is half


def test_without_a_basis_the_high_end_is_the_limit_for_every_row() -> None:
    made = estimate_from_counts(LUNA, [1000] * 10, 10, limited_output(400), **EXACT)
    assert made.output_high == 4000
    assert made.lanes["direct"].high == made.lanes["direct"].ceiling == 10 * price_row(LUNA, "direct", Usage(1000, 0, 0, 0, 400))
    assert made.lanes["direct"].low == 10 * price_row(LUNA, "direct", Usage(1000, 0, 0, 0, 5))
    assert made.basis[2] == "Output tokens are not known yet: from a short answer (5 tokens) to the limit of 400 tokens for every row."


def test_a_schema_raises_the_smallest_answer() -> None:
    schema = {"type": "object", "properties": {"label": {"type": "string"}, "reason": {"type": "string"}}}
    assert 5 < limited_output(400, schema).low < 40
    assert limited_output(3, schema).low == 3


def test_without_a_limit_the_high_end_is_unknown_and_says_why() -> None:
    made = estimate_from_counts(LUNA, [1000] * 10, 10, limited_output(None), **EXACT)
    assert (made.lanes["batch"].high, made.lanes["batch"].ceiling, made.output_high) == (None, None, None)
    assert made.lanes["batch"].reason == "The output has no limit, so the cost has none."
    assert made.lanes["batch"].low is not None
    assert made.saving("batch") is None


def test_an_unknown_price_is_none_with_its_reason() -> None:
    sheet = price_sheet("openai", "gpt-6.2-sol", overrides=None, today=TODAY)
    made = estimate_from_counts(sheet, [1000], 10, no_output(), **EXACT)
    assert (made.lanes["batch"].low, made.lanes["batch"].high) == (None, None)
    assert made.lanes["batch"].reason == "genai-prices 0.2.3 does not list gpt-6.2-sol. An admin can enter its price."


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        rows = random.lognormal(6, 0.6, 5000).astype(np.int64)
        sample = random.choice(rows, 40, replace=False)
        made = estimate_from_counts(LUNA, sample.tolist(), len(rows), no_output(), **EXACT)
        held += made.input_low <= int(rows.sum()) <= made.input_high
    assert held >= 180


def test_a_pilot_gives_the_range_of_its_own_rows() -> None:
    pilot = [Usage(1000, 200, 0, 0, 50 + i) for i in range(20)]
    made = estimate_from_usage(LUNA, pilot, 100_000, "20 rows of the pilot", 400)
    mean = sum(price_row(LUNA, "batch", usage) for usage in pilot) / 20 * 100_000
    lane = made.lanes["batch"]
    assert lane.low < mean < lane.high < lane.ceiling
    assert made.basis[0] == "Input and output tokens as in 20 rows of the pilot."
    assert lane.high / lane.low < Decimal("1.2")


def test_few_rows_of_a_pilot_give_a_sensible_range() -> None:
    """Three rows say little of the output, but the input costs what it costs, and no answer is longer than the limit."""
    pilot = [Usage(30, 0, 0, 0, n) for n in (5, 20, 40)]
    made = estimate_from_usage(LUNA, pilot, 200, "3 rows of the pilot", 200)
    lane, prompts = made.lanes["batch"], price_row(LUNA, "batch", Usage(30, 0, 0, 0, 0)) * 200
    mean = sum(price_row(LUNA, "batch", usage) for usage in pilot) / 3 * 200
    assert prompts < lane.low < mean < lane.high <= lane.ceiling
    assert 200 * 5 < made.output_low < 200 * 65 / 3 < made.output_high < 200 * 80  # type: ignore[operator]
    assert lane.high / lane.low < 8
    known = observed_output([20] * 500 + [24] * 500, "a finished job", 200)
    narrower = estimate_from_usage(LUNA, pilot, 200, "3 rows of the pilot", 200, known)
    assert (narrower.output_low, narrower.output_high) == (int(known.low * 200), ceil(known.high * 200))  # type: ignore[operator]
    assert lane.low < narrower.lanes["batch"].low <= narrower.lanes["batch"].high < lane.high


def test_a_range_never_ends_above_what_one_pass_cannot_exceed() -> None:
    for outputs in ([60, 64, 64], [64, 64, 64], [1, 64, 2]):
        lane = estimate_from_usage(LUNA, [Usage(9, 0, 0, 0, n) for n in outputs], 200, "3 rows", 64).lanes["batch"]
        assert lane.low <= lane.high <= lane.ceiling


def test_an_embedding_is_its_text_alone() -> None:
    sheet = price_sheet("openai", "text-embedding-3-small", overrides=None, today=TODAY)
    tokens = TokenModel("openai", "text-embedding-3-small")
    made = estimate(sheet, tokens, [("", "hello world")] * 4, 4, no_output(), kind=PromptKind.EMBED)
    assert (tokens.count("hello world"), made.input_low, made.input_high) == (2, 4, 12)
    assert tokens.count_request(PromptKind.GENERATE, "", "hello world") == 8


def test_texts_are_counted_as_the_model_would() -> None:
    tokens = TokenModel("anthropic", "claude-haiku-4-5")
    sheet = price_sheet("anthropic", "claude-haiku-4-5", overrides=None, today=TODAY)
    made = estimate(sheet, tokens, [("be kind", "hello world")] * 4, 4, observed_output([10] * 4, "the pilot"))
    one = tokens.count_chat("be kind", "hello world")
    assert made.input_low < 4 * one < made.input_high
    assert made.basis[0] == "Input tokens approximate: OpenAI's o200k count × 1.2, for Claude before Opus 4.7."
    assert made.lanes["flex"].low is None


def test_no_rows_cost_nothing() -> None:
    made = estimate_from_counts(LUNA, [], 0, limited_output(10), **EXACT)
    assert made.lanes["batch"].high == 0


def test_nothing_to_go_by_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        estimate_from_counts(LUNA, [], 5, no_output(), **EXACT)
    with pytest.raises(ValueError, match="observed"):
        observed_output([], "nothing")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 400_000), min_size=1, max_size=30),
    st.integers(0, 10_000),
    st.one_of(
        st.just(no_output()),
        st.builds(limited_output, st.one_of(st.none(), st.integers(1, 5000))),
        st.lists(st.integers(0, 9999), min_size=1, max_size=9).map(lambda seen: observed_output(seen, "the pilot", 500)),
    ),
    st.decimals(0, Decimal("0.3"), places=2),
)
def test_no_range_is_inverted_and_the_same_sample_gives_the_same_range(counts, more, output, margin) -> None:  # type: ignore[no-untyped-def]
    made = estimate_from_counts(LUNA, counts, len(counts) + more, output, margin=margin, basis="counted")
    again = estimate_from_counts(LUNA, counts, len(counts) + more, output, margin=margin, basis="counted")
    assert made == again
    assert Estimate.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert 0 <= made.input_low <= made.input_high
    assert made.output_high is None or made.output_low <= made.output_high
    for lane in made.lanes.values():
        assert lane.low is not None
        assert lane.high is None or 0 <= lane.low <= lane.high
        assert lane.ceiling is None or lane.ceiling >= (lane.high or 0)
