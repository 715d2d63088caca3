from __future__ import annotations

import csv
import io
import json
from datetime import date
from decimal import Decimal

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.charts import COLOURS, Chart, Series, bars_by_category, bars_by_day, histogram, scatter

DAYS = [date(2026, 11, 19), date(2026, 11, 20)]
MONEY = [Series("Paid", [Decimal("1.25"), None]), Series("Saved", [Decimal("1.25"), Decimal(3)])]


def valid(chart: Chart) -> dict:
    """The figure after plotly has checked every key and value of it, and after JSON has carried it."""
    go.Figure(chart.figure)  # raises ValueError for what the schema does not know
    return json.loads(json.dumps(chart.figure))


def test_bars_by_day() -> None:
    chart = bars_by_day(DAYS, MONEY, caption="What was paid and saved")
    figure = valid(chart)
    assert [(trace["name"], trace["x"], trace["y"]) for trace in figure["data"]] == [
        ("Paid", ["2026-11-19", "2026-11-20"], [1.25, None]),
        ("Saved", ["2026-11-19", "2026-11-20"], [1.25, 3.0]),
    ]
    assert figure["layout"]["barmode"] == "stack"
    assert [trace["marker"]["color"] for trace in figure["data"]] == list(COLOURS[:2])
    assert chart.table == (("Day", "Paid", "Saved"), (("2026-11-19", Decimal("1.25"), Decimal("1.25")), ("2026-11-20", None, Decimal(3))))
    assert chart.csv() == "Day,Paid,Saved\r\n2026-11-19,1.25,1.25\r\n2026-11-20,,3\r\n"


def test_bars_by_category_escape_names_and_start_at_zero() -> None:
    chart = bars_by_category("Model", ["<b>x</b>", "=1+1"], [Series("Rows", [3, 4])], caption="Rows", unit="rows")
    figure = valid(chart)
    assert figure["data"][0]["y"] == ["&lt;b&gt;x&lt;/b&gt;", "=1+1"]
    assert figure["data"][0]["x"] == [3.0, 4.0]
    assert (figure["layout"]["xaxis"]["rangemode"], figure["layout"]["yaxis"]["autorange"]) == ("tozero", "reversed")
    assert figure["layout"]["showlegend"] is False
    assert list(csv.reader(io.StringIO(chart.csv())))[2] == ["'=1+1", "4"]


def test_more_than_four_series_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 4"):
        bars_by_day(DAYS, [Series(str(i), [1, 2]) for i in range(5)], caption="")
    with pytest.raises(ValueError, match="has 1 values for 2 places"):
        bars_by_day(DAYS, [Series("Paid", [1])], caption="")


def test_a_scatter_leaves_unknown_points_to_the_table() -> None:
    chart = scatter(
        "Job", ["a", "b", "c"], Series("Estimate", [1, None, 3]), Series("Actual", [2, 2, 2]), caption="c", unit="$", groups=["m", "m", "n"]
    )
    figure = valid(chart)
    assert [(trace["name"], trace["x"], trace["y"], trace["text"]) for trace in figure["data"]] == [
        ("m", [1.0], [2.0], ["a"]),
        ("n", [3.0], [2.0], ["c"]),
    ]
    assert figure["layout"]["shapes"][0]["x1"] == 3.0
    assert chart.table == (("Job", "Estimate", "Actual", "Group"), (("a", 1, 2, "m"), ("b", None, 2, "m"), ("c", 3, 2, "n")))


def test_a_scatter_of_many_groups_joins_the_smallest() -> None:
    names = list("abcdefg")
    chart = scatter(
        "Job", names, Series("x", [1] * 7), Series("y", [1] * 7), caption="", unit="", groups=["p", "p", "q", "r", "s", "t", "q"]
    )
    assert [(trace["name"], trace["text"]) for trace in valid(chart)["data"]] == [
        ("p", ["a", "b"]),
        ("q", ["c", "g"]),
        ("r", ["d"]),
        ("Others", ["e", "f"]),
    ]


def test_histogram_of_whole_numbers_has_whole_edges() -> None:
    chart = histogram([1, 1, 2, 5], caption="Tokens", unit="tokens", bins=5)
    valid(chart)
    assert chart.table == (("tokens", "Rows"), (("1–2", 2), ("2–3", 1), ("3–4", 0), ("4–5", 0), ("5–6", 1)))


@pytest.mark.parametrize("values", [[], [3], [0, 0]])
def test_small_histograms(values: list[int]) -> None:
    chart = histogram(values, caption="", unit="tokens")
    valid(chart)
    assert sum(row[1] for row in chart.table[1]) == len(values)


@given(st.lists(st.one_of(st.integers(0, 10**9), st.decimals(0, 1000, places=6)), max_size=50), st.integers(1, 30))
def test_a_histogram_counts_every_value_once(values: list[int | Decimal], bins: int) -> None:
    chart = histogram(values, caption="", unit="x", bins=bins)
    assert sum(row[1] for row in chart.table[1]) == len(values)
    assert len(chart.table[1]) <= bins
