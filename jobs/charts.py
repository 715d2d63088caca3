"""Figures for plotly as plain data, each with the table and the caption that stand beside it.

No plotly is imported: a figure is a dict after plotly's schema (the tests validate it with plotly itself). Colours of text and grid are
left out; the page's script sets them from the theme, so that light and dark share one figure.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

FEW_DAYS = 7
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_SYMBOLS = ("circle", "square", "diamond", "cross")  # series differ in shape too, never by colour alone
_CLEAR = "rgba(0,0,0,0)"
_FORMULA = re.compile("[\\s\"']*[=+@＝＋－＠-]|[\\t\\r\\n]")  # as in jobs/rows/export.py

Number = int | Decimal | None
Cell = str | int | Decimal | None


@dataclass(frozen=True, slots=True)
class Series:
    """One named row of values; None is a gap, not a zero. `colour` is a place in `COLOURS`; None takes the series' own place."""

    name: str
    values: Sequence[Number]
    colour: int | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure (plotly JSON), its caption, and its data as a table: header and rows."""

    figure: dict[str, Any]
    caption: str
    table: tuple[tuple[str, ...], tuple[tuple[Cell, ...], ...]]

    def csv(self) -> str:
        """The table as CSV (RFC 4180); what is unknown is empty. Text that a spreadsheet would run as a formula is led by an apostrophe."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\r\n")
        header, rows = self.table
        writer.writerow([_safe(cell) for cell in header])
        writer.writerows([_safe(cell) for cell in row] for row in rows)
        return out.getvalue()


def bars_by_day(days: Sequence[date], series: Sequence[Series], *, caption: str, unit: str = "dollars") -> Chart:
    """Stacked bars by day, as for paid and saved. Days without a value in between stay empty places on the axis."""
    labels = [day.isoformat() for day in days]
    traces = _bars(labels, series, unit)
    # Left to itself, plotly puts hours under a few days.
    ticks: dict[str, Any] = {"tickmode": "array", "tickvals": labels, "tickformat": "%-d %b"} if len(days) <= FEW_DAYS else {}
    layout = _layout(unit=unit, x={"type": "date", **ticks}, extra={"barmode": "stack"}, legend=len(series) > 1)
    return Chart(_figure(traces, layout), caption, _table("Day", labels, series))


def bars_by_category(
    label: str, names: Sequence[str], series: Sequence[Series], *, caption: str, unit: str, stacked: bool = False
) -> Chart:
    """Horizontal bars, in the given order from the top. `label` names what the categories are."""
    traces = _bars(names, series, unit, sideways=True)
    layout = _layout(unit=unit, sideways=True, extra={"barmode": "stack" if stacked else "group"}, legend=len(series) > 1)
    layout["yaxis"] |= {"type": "category", "autorange": "reversed", "automargin": True, "showgrid": False, "dtick": 1}
    layout["xaxis"]["showgrid"] = True
    layout["height"] = _tall(len(names), legend=len(series) > 1)
    if len(series) == 1:  # each bar bears its own number
        number = {"dollars": "$%{x:,.4~f}", "percent": "%{x:.1~f} %"}.get(unit, "%{x:,}")
        traces[0] |= {"texttemplate": number, "textposition": "outside", "textangle": 0, "cliponaxis": False, "constraintext": "none"}
        layout["margin"] |= {"r": 56}
    return Chart(_figure(traces, layout), caption, _table(label, list(names), series))


def histogram(values: Sequence[int | Decimal], *, caption: str, unit: str, bins: int = 20) -> Chart:
    """How values are spread: bars of equal width from the smallest to the largest, counted here, so that the table shows the same bars."""
    edges, counts = _bins(values, bins)
    labels = [f"{plain(low)}–{plain(high)}" for low, high in pairwise(edges)]
    centres = [float((low + high) / 2) for low, high in pairwise(edges)]
    widths = [float(high - low) for low, high in pairwise(edges)]
    trace = {
        "type": "bar",
        "name": "Rows",
        "x": centres,
        "y": counts,
        "width": widths,
        "customdata": labels,
        "hovertemplate": "%{customdata}: %{y:,}<extra></extra>",
        "marker": {"color": COLOURS[0]},
    }
    layout = _layout(unit="rows", x={"title": {"text": unit}}, extra={"bargap": 0.05}, legend=False)
    return Chart(_figure([trace] if counts else [], layout), caption, ((unit, "Rows"), tuple(zip(labels, counts, strict=True))))


def scatter(
    label: str,
    names: Sequence[str],
    x: Series,
    y: Series,
    *,
    caption: str,
    unit: str,
    diagonal: bool = True,
    groups: Sequence[str] | None = None,
) -> Chart:
    """Points such as estimate against actual, with the line on which both agree. `groups`, one per point, gives colour and shape.

    Points with an unknown coordinate are in the table only. Above four groups, the rest is one group, "Others".
    """
    kinds = list(groups) if groups is not None else [""] * len(names)
    kept = sorted(dict.fromkeys(kinds), key=lambda kind: -kinds.count(kind))
    own = kept[:4] if len(kept) <= 4 else [*kept[:3], "Others"]
    traces: list[dict[str, Any]] = []
    for i, kind in enumerate(own):
        chosen = [
            n
            for n, other in enumerate(kinds)
            if (other if other in own else "Others") == kind and x.values[n] is not None and y.values[n] is not None
        ]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": _text(kind or label),
                "x": [_float(x.values[n]) for n in chosen],
                "y": [_float(y.values[n]) for n in chosen],
                "text": [_text(names[n]) for n in chosen],
                "hovertemplate": "%{text}<br>%{x:,} → %{y:,}<extra></extra>",
                "marker": {"color": COLOURS[i], "symbol": _SYMBOLS[i], "size": 9},
                "cliponaxis": False,
            }
        )
    layout = _layout(unit=f"{y.name} ({unit})", x={"title": {"text": f"{x.name} ({unit})"}}, legend=len(own) > 1)
    known = [value for series in (x, y) for value in series.values if value is not None]
    if diagonal and known:
        top = float(max(known))
        layout["shapes"] = [
            {"type": "line", "x0": 0, "y0": 0, "x1": top, "y1": top, "line": {"dash": "dot", "width": 1, "color": "#888888"}}
        ]
    table = _table(label, list(names), [x, y])
    if groups is not None:
        table = ((*table[0], "Group"), tuple((*row, kind) for row, kind in zip(table[1], kinds, strict=True)))
    return Chart(_figure(traces, layout), caption, table)


def against_range(
    label: str,
    names: Sequence[str],
    moments: Sequence[datetime],
    *,
    low: Sequence[Decimal],
    high: Sequence[Decimal],
    actual: Sequence[Decimal],
    caption: str,
) -> Chart:
    """What was foreseen as a range against what came, over time, in percent of the middle of each range (none may be zero).

    Points within their range, above and below it differ in colour and shape; the table has the dollars.
    """
    middles = [(first + last) / 2 for first, last in zip(low, high, strict=True)]
    percents = [float(value * 100 / middle) for value, middle in zip(actual, middles, strict=True)]
    spans = [float((last - middle) * 100 / middle) for last, middle in zip(high, middles, strict=True)]
    days = [moment.strftime("%Y-%m-%d %H:%M:%S") for moment in moments]
    verdicts = ["within" if a <= x <= b else "above" if x > b else "below" for a, x, b in zip(low, actual, high, strict=True)]
    bar = {"type": "data", "array": spans, "thickness": 5, "width": 0, "color": "rgba(128,128,128,0.45)"}
    band = {"type": "scatter", "mode": "markers", "name": "Estimate", "x": days, "y": [100.0] * len(days), "error_y": bar}
    traces: list[dict[str, Any]] = [{**band, "marker": {"color": "#888888", "symbol": "line-ew-open", "size": 9}, "hoverinfo": "skip"}]
    for i, (verdict, name) in enumerate((("within", "Within the range"), ("above", "Cost more"), ("below", "Cost less"))):
        chosen = [n for n, each in enumerate(verdicts) if each == verdict]
        if chosen:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": name,
                    "x": [days[n] for n in chosen],
                    "y": [percents[n] for n in chosen],
                    "text": [_text(names[n]) for n in chosen],
                    "hovertemplate": "%{text}<br>%{y:.0f} % of the middle<extra></extra>",
                    "marker": {"color": COLOURS[i], "symbol": _SYMBOLS[i], "size": 9},
                }
            )
    layout = _layout(unit="percent of the estimate", x={"type": "date", "tickformat": "%-d %b"}, legend=True)
    header = (label, "Finished", "Estimate, low", "Estimate, high", "Paid", "Verdict")
    rows = zip(names, (day[:16] for day in days), low, high, actual, verdicts, strict=True)
    return Chart(_figure(traces, layout), caption, (header, tuple(rows)))


def plain(value: int | Decimal) -> str:
    """A number as digits, without an exponent and without trailing zeros."""
    text = format(Decimal(value), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _tall(n: int, legend: bool) -> int:
    """Pixels for so many lines of bars, with the axis below and the legend above."""
    return 26 * max(n, 2) + 56 + (30 if legend else 0)


def _bars(labels: Sequence[str], series: Sequence[Series], unit: str, sideways: bool = False) -> list[dict[str, Any]]:
    if len(series) > len(COLOURS):
        raise ValueError(f"at most {len(COLOURS)} series, not {len(series)}")
    along, across = ("y", "x") if sideways else ("x", "y")
    money = "$" if unit == "dollars" else ""
    names = [_text(label) for label in labels]
    return [
        {
            "type": "bar",
            "name": _text(one.name),
            along: names,
            across: [_float(value) for value in one.values],
            "orientation": "h" if sideways else "v",
            "hovertemplate": f"%{{{along}}}: {money}%{{{across}:,}}<extra>%{{fullData.name}}</extra>",
            "marker": {"color": COLOURS[i if one.colour is None else one.colour]},
        }
        for i, one in enumerate(series)
    ]


def _layout(
    *, unit: str, x: dict[str, Any] | None = None, sideways: bool = False, extra: dict[str, Any] | None = None, legend: bool
) -> dict[str, Any]:
    """What all figures share. The axis of the values starts at zero and bears the unit."""
    values: dict[str, Any] = {"rangemode": "tozero", "title": {"text": unit}, "automargin": True}
    if unit == "dollars":
        values["tickprefix"] = "$"
    other: dict[str, Any] = {"automargin": True} | (x or {})
    return {
        "xaxis": values if sideways else other,
        "yaxis": other if sideways else values,
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
        "showlegend": legend,
        "legend": {"orientation": "h", "y": 1.1},
        "font": {"size": 13},
        **(extra or {}),
    }


def _figure(traces: list[dict[str, Any]], layout: dict[str, Any]) -> dict[str, Any]:
    return {"data": traces, "layout": layout}


def _table(label: str, names: Sequence[str], series: Sequence[Series]) -> tuple[tuple[str, ...], tuple[tuple[Cell, ...], ...]]:
    for one in series:
        if len(one.values) != len(names):
            raise ValueError(f"{one.name} has {len(one.values)} values for {len(names)} places")
    header = (label, *(one.name for one in series))
    return header, tuple((name, *(one.values[i] for one in series)) for i, name in enumerate(names))


def _bins(values: Sequence[int | Decimal], bins: int) -> tuple[list[Decimal], list[int]]:
    """Edges (one more than counts) and counts. The last bar holds the largest value too."""
    if not values:
        return [], []
    exact = [Decimal(value) for value in values]
    low, high = min(exact), max(exact)
    if low == high:
        return [low, low + 1], [len(exact)]
    width = (high - low) / bins
    if all(value == value.to_integral_value() for value in exact):
        span = int(high - low) + 1  # whole numbers get whole edges; in int, as Decimal's // does not round down
        step = -(-span // bins)
        width, bins = Decimal(step), -(-span // step)
    counts = [0] * bins
    for value in exact:
        counts[min(bins - 1, int((value - low) // width))] += 1
    return [low + width * i for i in range(bins + 1)], counts


def _float(value: Number) -> float | None:
    """For the screen only: a pixel has no cents. The table keeps the exact number."""
    return None if value is None else float(value)


def _text(text: str) -> str:
    """Plotly reads a few HTML tags in labels; names that people gave are text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _safe(cell: Cell) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, str):
        return plain(cell)
    return f"'{cell}" if _FORMULA.match(cell) else cell
