"""Should this be batch? The lane that is taken is in time if any is, no dearer one is taken, and the dollars are the sheet's."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.costs.advice import MONTH, Load, Traffic, Ways, advise, seconds_of_calls
from jobs.costs.prices import PriceSheet, Tier, Usage, price_row
from jobs.words import Lane

D = Decimal


def tier(above: int, input_: str, output: str) -> Tier:
    return Tier(above, D(input_), D(input_), D(input_), D(input_), D(output))


def sheet(model: str = "m", *, batch: bool = True, flex: bool = True) -> PriceSheet:
    """Real time $2 and $8, above 200,000 tokens twice that; batch and flex half of it."""
    lanes = {"direct": (tier(0, "2", "8"), tier(200_000, "4", "16"))}
    half = (tier(0, "1", "4"), tier(200_000, "2", "8"))
    lanes |= ({"batch": half} if batch else {}) | ({"flex": half} if flex else {})
    return PriceSheet("test", "2026-11-21", "openai", model, True, (), lanes, {"batch": "No batch price is listed."})


def load(inputs: list[int], outputs: list[int], counts: list[int] | None = None, prices: PriceSheet | None = None) -> Load:
    made = [np.array(each, dtype=np.int64) for each in (inputs, outputs)]
    return Load(prices or sheet(), *made, np.array(counts, dtype=np.int64) if counts else None)


HOUR = 3600.0
requests = st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 20_000), st.integers(1, 10**6)), min_size=1, max_size=6)
ways = st.builds(
    Ways,
    st.integers(1, 64),
    st.none() | st.integers(1, 10_000),
    st.none() | st.integers(1_000, 10**7),
    st.booleans(),
    st.booleans(),
    st.none() | st.floats(60, 7200),
    st.none() | st.floats(7200, 86_400),
)


@settings(max_examples=150, deadline=None)
@given(requests, ways, st.none() | st.floats(0, 100 * HOUR), st.booleans(), st.booleans(), st.booleans())
def test_takes_the_cheapest_lane_in_time_and_never_a_late_one_where_another_is_in_time(
    rows: Any, ways: Ways, deadline: float | None, spread: bool, batch: bool, flex: bool
) -> None:
    inputs, outputs, counts = (list(each) for each in zip(*rows, strict=True))
    found = advise(Traffic([load(inputs, outputs, counts, sheet(batch=batch, flex=flex))], spread), ways, deadline)
    in_time = [each for each in found.lanes if each.able and each.meets]
    assert found.best is not None
    assert found.best.able
    if in_time:
        assert found.best.meets
        known = [each.usd for each in in_time if each.usd is not None]
        assert found.best.usd == min(known) if known else found.best.usd is None
    else:
        assert found.best.slow == min(each.slow for each in found.lanes if each.able)
    assert [each.usd is None for each in found.lanes if each.lane == Lane.BATCH] == [not (batch and ways.batch)]


@settings(max_examples=150, deadline=None)
@given(requests)
def test_dollars_and_the_saving_are_those_of_the_sheet_request_by_request(rows: Any) -> None:
    inputs, outputs, counts = (list(each) for each in zip(*rows, strict=True))
    found = advise(Traffic([load(inputs, outputs, counts)]), Ways())

    def recount(lane: str) -> Decimal:
        total = D(0)
        for i, o, n in rows:
            price = price_row(sheet(), lane, Usage(input_tokens=i, output_tokens=o))
            assert price is not None
            total += price * n
        return total

    assert {each.lane.value: each.usd for each in found.lanes} == {lane: recount(lane) for lane in ("direct", "batch", "flex")}
    assert found.saving == recount("direct") - recount("batch") == recount("direct") / 2


def test_each_request_is_in_its_own_tier() -> None:
    found = advise(Traffic([load([100_000, 300_000], [0, 0])]), Ways())
    assert found.of(Lane.DIRECT).usd == D("0.2") + D("1.2")  # the average of 200,000 would cost 0.8
    assert found.of(Lane.BATCH).usd == D("0.7")


def test_deadline_decides() -> None:
    traffic = Traffic([load([1_000], [450], [10_000])])  # ten seconds a call, eight at one time: 12,500 s
    assert seconds_of_calls(traffic, Ways()) == 12_500
    taken = [advise(traffic, Ways(), hours and hours * HOUR).best.lane for hours in (None, 24, 14, 4)]  # type: ignore[union-attr]
    assert taken == [Lane.BATCH, Lane.BATCH, Lane.FLEX, Lane.DIRECT]
    late = advise(traffic, Ways(), HOUR)
    assert (late.best.lane, late.best.meets) == (Lane.DIRECT, False)  # type: ignore[union-attr]
    here = advise(traffic, Ways(batch_median=600.0, batch_slow=3_000.0), HOUR)
    assert (here.best.lane, here.best.slow) == (Lane.BATCH, 3_000.0)  # type: ignore[union-attr]


def test_limits_of_the_connection_bound_real_time() -> None:
    traffic = Traffic([load([950], [50], [6_000])])
    assert seconds_of_calls(traffic, Ways(concurrency=8)) == 6_000 / 4
    assert seconds_of_calls(traffic, Ways(concurrency=8, requests_per_minute=60)) == 6_000
    assert seconds_of_calls(traffic, Ways(concurrency=8, requests_per_minute=60, tokens_per_minute=30_000)) == 12_000


def test_traffic_over_a_month_waits_only_where_more_comes_than_the_connection_takes() -> None:
    def seconds(n: int) -> float:
        return seconds_of_calls(Traffic([load([10], [50], [n])], spread=True), Ways(requests_per_minute=1))

    assert [seconds(1_000), seconds(43_200), seconds(43_260)] == [2.0, 2.0, 2.0 + 60 * 60]
    found = advise(Traffic([load([10], [50], [1_000])], spread=True), Ways(), 30 * HOUR)
    assert (found.best.lane, found.best.collect) == (Lane.BATCH, 6 * HOUR)  # type: ignore[union-attr]
    assert advise(Traffic([load([10], [50], [1_000])], spread=True), Ways(), 24 * HOUR).of(Lane.BATCH).meets is False
    assert MONTH == 2_592_000


def test_a_burst_queues() -> None:
    def wait(arrivals: list[int]) -> float:
        n = len(arrivals)
        return seconds_of_calls(Traffic([load([10] * n, [50] * n)], arrivals=np.array(arrivals)), Ways(requests_per_minute=6)) - 2.0

    assert wait([0, 10, 20, 30]) == 0
    assert wait([0, 0, 0, 100]) == 20
    assert wait([0, 0, 5, 12]) == 18


def test_unknown_price_is_unknown_and_comes_after_known_ones() -> None:
    mixed = [load([10], [10], [5]), load([10], [10], [5], sheet("house", batch=False))]
    found = advise(Traffic(mixed), Ways())
    assert (found.of(Lane.BATCH).usd, found.of(Lane.BATCH).why, found.saving) == (None, "No batch price is listed.", None)
    assert found.best is found.of(Lane.FLEX)
    free = PriceSheet("test", "2026-11-21", "openai-compatible", "own", False)
    found = advise(Traffic([load([10], [10], [5], free)]), Ways(flex=False), HOUR)
    assert (found.best.lane, found.best.usd) == (Lane.DIRECT, None)  # type: ignore[union-attr]
