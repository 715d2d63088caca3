"""Price sheets against genai-prices itself, each trap of PROVIDERS §4.1, and the vectorised price against the exact one."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal

import numpy as np
import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from jobs.costs.lookup import models_known, price_sheet, price_source
from jobs.costs.prices import PriceSheet, Tier, Usage, dollars, kinds_of, pico, price_row, price_rows, tier_of
from jobs.errors import BadInput

TODAY = date(2026, 11, 21)
NOON = datetime.combine(TODAY, time(12), UTC)
CONTEXTS = {"direct": None, "batch": {"processing": "batch"}, "flex": {"service_tier": "flex"}}
USAGES = (
    Usage(1_234, 0, 0, 0, 567),
    Usage(99_999, 50_000, 0, 0, 1),
    Usage(100_001, 60_001, 10_000, 5_000, 10),
    Usage(200_001, 0, 200_001, 0, 3),
    Usage(272_000, 1, 2, 3, 4),
    Usage(272_001, 100_000, 100_000, 72_001, 128_000),
    Usage(1_000_000, 999_999, 0, 1, 0),
)


def sheet(model: str, provider: str = "openai", overrides: dict | None = None, today: date = TODAY) -> PriceSheet:
    return price_sheet(provider, model, overrides=overrides, today=today)


def theirs(provider: str, model: str, usage: Usage, lane: str) -> Decimal:
    counted = TheirUsage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens + usage.cache_write_1h_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_tokens=usage.output_tokens,
    )
    return calc_price(counted, model, provider_id=provider, genai_request_timestamp=NOON, price_context=CONTEXTS[lane]).total_price


FAMILIES = {
    "ft:gpt-4o": "ft:gpt-4o-2024-08-06:org::x",
    "ft:gpt-4o-mini": "ft:gpt-4o-mini-2024-07-18:org::x",
}  # ids that don't match themselves
ALL = [(p.id, FAMILIES.get(m.id, m.id)) for p in providers if p.id in ("openai", "anthropic") for m in p.models]
SEARCHING = {"gpt-4o-search-preview", "gpt-5-search-api", "o3-deep-research", "o4-mini-deep-research"}  # each search is billed too


@pytest.mark.parametrize(("provider", "model"), ALL)
def test_every_listed_model_costs_what_genai_prices_says(provider: str, model: str) -> None:
    found = sheet(model, provider)
    if not found.known:
        price = next(m for p in providers if p.id == provider for m in p.models if m.id == model).get_prices(NOON)
        assert price.input_mtok is None or price.output_mtok is None or model in SEARCHING
        return
    for lane in found.lanes:
        for usage in USAGES:
            if model.startswith("text-embedding-") and lane == "batch":
                expected = theirs(provider, model, usage, "direct") / 2
            else:
                expected = theirs(provider, model, usage, lane)
            assert price_row(found, lane, usage) == expected, (lane, usage)


def test_the_listed_models_are_nearly_all_known() -> None:
    unknown = {model for provider, model in ALL if not sheet(model, provider).known}
    assert unknown == SEARCHING | {
        "gpt-live-1",
        "gpt-live-transcribe",
        "gpt-realtime-translate",
        "gpt-realtime-whisper",
        "gpt-transcribe",
        "tts-1",
        "tts-1-hd",
        "whisper-1",
    }


def test_a_sheet_is_the_json_of_the_architecture_page() -> None:
    found = sheet("gpt-6-luna").to_json()
    assert found["lanes"]["direct"] == [
        {"above": 0, "input": "0.1", "cached": "0.01", "cache_write": "0.125", "cache_write_1h": "0.125", "output": "0.5"},
        {"above": 272000, "input": "0.2", "cached": "0.02", "cache_write": "0.25", "cache_write_1h": "0.25", "output": "0.75"},
    ]
    assert found["lanes"]["batch"][0]["input"] == "0.05"
    assert (found["source"], found["as_of"], found["provider"], found["known"]) == ("genai-prices 0.2.3", "2026-11-21", "openai", True)
    assert PriceSheet.from_json(json.loads(json.dumps(found))) == sheet("gpt-6-luna")


def test_genai_prices_is_imported_only_when_asked() -> None:
    code = (
        "import sys, jobs.costs.lookup, jobs.costs.tokens, jobs.costs.receipt\n"
        "print(any(name in sys.modules for name in ('genai_prices', 'bpe_openai')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# The traps of PROVIDERS §4.1


def test_trap_no_batch_variant_is_unknown_not_standard() -> None:
    found = sheet("gpt-5.3-codex")
    assert price_row(found, "direct", USAGES[0]) == theirs("openai", "gpt-5.3-codex", USAGES[0], "direct")
    assert theirs("openai", "gpt-5.3-codex", USAGES[0], "batch") == theirs("openai", "gpt-5.3-codex", USAGES[0], "direct")  # the trap
    assert price_row(found, "batch", USAGES[0]) is None
    assert found.why_unknown("batch") == f"{price_source()} lists no batch price for gpt-5.3-codex."


def test_trap_embeddings_get_the_documented_batch_discount_and_say_so() -> None:
    found = sheet("text-embedding-3-small")
    usage = Usage(input_tokens=1_000_000)
    assert price_row(found, "direct", usage) == Decimal("0.02")
    assert price_row(found, "batch", usage) == Decimal("0.01")
    assert any("documented batch discount of 50 %" in note for note in found.notes)


def test_trap_an_unknown_model_is_unknown_never_zero() -> None:
    found = sheet("gpt-6.2-sol")
    assert (found.known, dict(found.lanes)) == (False, {})
    assert [price_row(found, lane, USAGES[0]) for lane in CONTEXTS] == [None, None, None]
    assert found.why_unknown("direct") == "genai-prices 0.2.3 does not list gpt-6.2-sol. An admin can enter its price."
    tiers, cost = price_rows(found, "batch", {"input_tokens": np.array([1, 2])})
    assert (tiers.tolist(), cost.tolist()) == ([0, 0], [-1, -1])


@pytest.mark.parametrize(
    "model", ["gpt-4o-search-preview", "gpt-4o-mini-search-preview-2025-03-11", "gpt-5-search-api", "o4-mini-deep-research"]
)
def test_trap_models_that_search_by_themselves_are_unknown_not_priced_by_tokens_alone(model: str) -> None:
    found = sheet(model)
    assert (found.known, dict(found.lanes)) == (False, {})
    assert found.why_unknown("direct").startswith(f"{model} searches by itself, and each search is billed beside the tokens")


def test_trap_before_a_variant_starts_the_lane_is_unknown_not_standard() -> None:
    found = sheet("claude-haiku-4-5", "anthropic", today=date(2026, 9, 1))
    assert price_row(found, "direct", Usage(1_000_000)) == Decimal(1)
    assert price_row(found, "batch", Usage(1_000_000)) is None
    assert found.why_unknown("batch") == "The batch price of claude-haiku-4-5 is listed only from 2026-10-14 on."


def test_trap_conditional_prices_are_those_of_the_day() -> None:
    before = sheet("gpt-5.6-luna", today=date(2026, 7, 29)).tiers("direct")[0].input
    after = sheet("gpt-5.6-luna", today=date(2026, 7, 30)).tiers("direct")[0].input
    assert after == Decimal("0.2") != before


def test_trap_cached_input_in_batch_is_not_halved_where_no_rate_is_published() -> None:
    found = sheet("gpt-4o-mini")
    assert found.tiers("batch")[0].cached == found.tiers("direct")[0].cached == Decimal("0.075")
    assert "No batch price is listed for cached input; it is priced as in real time." in found.notes


def test_trap_long_context_is_per_request_never_on_sums() -> None:
    found = sheet("gpt-6-luna")
    rows = np.full(10, 100_000)
    tiers, cost = price_rows(found, "batch", {"input_tokens": rows})
    assert dollars(int(cost.sum())) == Decimal("0.05")
    assert price_row(found, "batch", Usage(1_000_000)) == Decimal("0.1")
    assert set(tiers.tolist()) == {0}
    assert [tier_of(found, "batch", n) for n in (272_000, 272_001)] == [0, 1]
    assert [tier_of(sheet("claude-haiku-5-5", "anthropic"), "batch", n) for n in (100_000, 100_001)] == [0, 1]


def test_trap_cache_multipliers_are_the_listed_ones() -> None:
    direct = sheet("claude-sonnet-5-5", "anthropic").tiers("direct")[0]
    assert (direct.cached, direct.cache_write, direct.cache_write_1h) == (Decimal("0.1"), Decimal("2.5"), Decimal("4"))


def test_a_lane_without_a_price_still_tells_the_tier_of_a_row() -> None:
    tiers, cost = price_rows(sheet("claude-haiku-5-5", "anthropic"), "flex", {"input_tokens": np.array([100_000, 100_001])})
    assert (tiers.tolist(), cost.tolist()) == ([0, 1], [-1, -1])


def test_trap_anthropic_has_no_flex() -> None:
    found = sheet("claude-haiku-4-5", "anthropic")
    assert found.why_unknown("flex") == "The provider has no flex tier."
    assert "flex" not in found.lanes


def test_a_dated_snapshot_is_priced_as_its_model_and_says_so() -> None:
    found = sheet("gpt-6-luna-2026-09-30")
    assert found.lanes == sheet("gpt-6-luna").lanes
    assert found.notes[0] == "Priced as gpt-6-luna."


def test_a_model_of_another_provider_is_unknown() -> None:
    assert not sheet("claude-haiku-4-5", "openai").known
    assert not sheet("gpt-6-luna", "anthropic").known
    assert not sheet("gpt-6-luna", "openai-compatible").known


def test_moderation_is_free_and_says_so() -> None:
    found = sheet("omni-moderation-latest")
    assert price_row(found, "batch", Usage(1000)) == 0
    assert "Moderation is free of charge." in found.notes


# Overrides


def test_an_override_wins_and_its_discount_applies() -> None:
    found = sheet("gpt-6-luna", overrides={"gpt-6-luna": {"input": "0.2", "output": "1", "batch_discount": "0.25"}})
    assert price_row(found, "direct", Usage(1_000_000, 0, 0, 0, 1_000_000)) == Decimal("1.2")
    assert price_row(found, "batch", Usage(1_000_000, 0, 0, 0, 1_000_000)) == Decimal("0.9")
    assert price_row(found, "flex", Usage(1)) is None
    assert found.why_unknown("flex") == "The price entered for gpt-6-luna says nothing of flex."


def test_self_hosted_is_zero_only_by_override() -> None:
    free = sheet("qwen", "openai-compatible", {"*": {"input": "0", "output": "0"}})
    assert [price_row(free, lane, USAGES[0]) for lane in CONTEXTS] == [0, 0, 0]
    assert [price_row(sheet("qwen", "openai-compatible", {}), lane, USAGES[0]) for lane in CONTEXTS] == [None, None, None]


def test_explicit_lanes_share_their_thresholds() -> None:
    override = {
        "lanes": {"direct": [{"input": 1, "output": 2}], "batch": [{"input": "0.5", "output": 1}, {"above": 10, "input": 3, "output": 4}]}
    }
    found = sheet("m", "openai-compatible", {"m": override})
    assert [tier.above for tier in found.tiers("direct")] == [tier.above for tier in found.tiers("batch")] == [0, 10]
    assert price_row(found, "direct", Usage(11)) == Decimal("0.000011")
    assert price_row(found, "batch", Usage(11)) == Decimal("0.000033")


@pytest.mark.parametrize(
    "override",
    [
        {"input": "1"},
        {"input": "x", "output": "1"},
        {"input": "-1", "output": "1"},
        {"input": "NaN", "output": "1"},
        {"input": "0.0000001", "output": "1"},
        {"input": "1", "output": "1", "batch_discount": "2"},
        {"input": "0.000001", "output": "1", "batch_discount": "0.5"},
        {"input": "1", "output": "1", "inptu": "1"},
        {"lanes": {"warp": []}},
        {"lanes": {"direct": [{"above": 5, "input": 1, "output": 1}]}},
        {"lanes": 3},
        "free",
    ],
)
def test_an_override_that_cannot_be_read_is_refused(override: object) -> None:
    with pytest.raises(BadInput):
        sheet("m", overrides={"m": override})


# Arithmetic

prices = st.decimals(min_value=0, max_value=1000, places=6)
counts = st.integers(min_value=0, max_value=2_000_000)


@st.composite
def sheets(draw: st.DrawFn) -> PriceSheet:
    marks = sorted({0, *draw(st.lists(st.integers(1, 1_000_000), max_size=2))})
    lanes = {
        lane: tuple(Tier(mark, *(draw(prices) for _ in range(5))) for mark in marks)
        for lane in draw(st.sets(st.sampled_from(["direct", "batch", "flex"]), min_size=1))
    }
    return PriceSheet("test", "2026-11-21", "openai", "m", True, (), lanes)


@given(sheets(), st.lists(st.builds(Usage, counts, counts, counts, counts, counts), min_size=1, max_size=20))
def test_many_rows_cost_what_each_row_costs(found: PriceSheet, rows: list[Usage]) -> None:
    columns = {name: np.array([getattr(row, name) for row in rows]) for name in Usage.__dataclass_fields__}
    for lane in ("direct", "batch", "flex"):
        tiers, cost = price_rows(found, lane, columns)
        assert (tiers.dtype, cost.dtype) == (np.int8, np.int64)
        assert [None if c < 0 else dollars(c) for c in cost.tolist()] == [price_row(found, lane, row) for row in rows]
        assert tiers.tolist() == [tier_of(found, lane, row.input_tokens) for row in rows]
    assert PriceSheet.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_price_is_a_whole_number_of_pico_dollars_or_refused() -> None:
    assert pico(Decimal("0.000001")) == 1
    for bad in ("0.0000001", "-1", "Infinity"):
        with pytest.raises(ValueError, match=r"decimals|not a price"):
            pico(Decimal(bad))


def test_more_cached_than_input_never_makes_a_negative_price() -> None:
    assert kinds_of(Usage(10, 30, 0, 0, 1)) == {"input": 0, "cached": 30, "cache_write": 0, "cache_write_1h": 0, "output": 1}


def test_a_row_with_an_unknown_count_has_an_unknown_price() -> None:
    cost = price_rows(sheet("gpt-6-luna"), "batch", {"input_tokens": np.array([5, -1]), "output_tokens": np.array([-1, 5])})[1]
    assert cost.tolist() == [-1, -1]


def test_models_known() -> None:
    found = {entry.id: entry for entry in models_known("openai")}
    assert (found["gpt-6-luna"].context_window, found["gpt-6-luna"].has_batch, found["gpt-6-luna"].has_flex) == (1_050_000, True, True)
    assert found["text-embedding-3-small"].has_batch
    assert not found["gpt-5.3-codex"].has_batch
    assert "whisper-1" not in found
    assert [entry for entry in models_known("openai") if not sheet(entry.id).known] == []
    assert models_known("openai-compatible") == ()
