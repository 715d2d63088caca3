"""Rows of a job as a page of a table, one row with its whole story, and how the answers spread."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from jobs import formats
from jobs.charts import Chart, Series, bars_by_category
from jobs.models import Batch, Job
from jobs.queries.failures import cause_of
from jobs.queries.job import Frame, frame_of
from jobs.queries.job_money import about, cost_per_row
from jobs.rows.query import Distribution, Filter, Line, Query, RowFiles
from jobs.rows.schema import fields
from jobs.words import CLOSED, PENDING_LOOK, Look, OutcomeKind

PER_PAGE = 50
MOST_COLUMNS = 30
CELL = 700  # characters of a cell in the table; the whole text stands on the page of the row
MOST_CHARTS = 12


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's text; `kind` is "", "num" or "none" (absent)."""

    text: str
    kind: str = ""

    @property
    def long(self) -> bool:
        """Whether the text needs a wide column."""
        return len(self.text) > 24


@dataclass(frozen=True, slots=True)
class ResultLine:
    row: int
    look: Look
    cause: str
    kind: str
    answers: tuple[Cell, ...]
    unparsed: Cell | None  # the whole answer, where the prompt has fields and it cannot be read as them
    message: str
    cells: tuple[Cell, ...]
    input_tokens: int | None
    output_tokens: int | None
    cost: Decimal | None
    attempts: int
    retryable: bool


@dataclass(frozen=True, slots=True)
class ResultsPage:
    frame: Frame
    fields: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    n_hidden_columns: int
    lines: tuple[ResultLine, ...]
    total: int
    number: int
    n_retryable: int | None  # of the rows of this filter; None where it takes no unsuccessful kinds
    price_all: str
    places: int
    n_rounds: int
    answer_choices: tuple[tuple[str, tuple[str, ...], str], ...]  # field, labels, the one chosen


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row in one round."""

    round: int
    look: Look
    cause_label: str
    advice: str
    message: str
    answer: str
    finish: str
    model: str
    request_id: str
    tokens: tuple[tuple[str, int], ...]
    billed: str
    cost: Decimal | None
    realtime: Decimal | None
    batch: str
    raw: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class RowStory:
    """One row: inputs (header, text), outcomes oldest first, its standing (None while pending), parsed fields of the answer."""

    row: int
    inputs: tuple[tuple[str, str | None], ...]
    history: tuple[Outcome, ...]
    standing: Outcome | None
    look: Look
    fields: tuple[tuple[str, str], ...]
    retryable: bool


def results_page(job: Job, files: RowFiles, filter: Filter, number: int, after: int | None = None) -> ResultsPage:
    """A page of rows. The filter's matches are found once and remembered; only the page's rows are read."""
    assert job.dataset_version
    schema = tuple(fields(_schema(job)))
    columns = [str(column["name"]) for column in job.dataset_version.columns]
    keys = [str(column["key"]) for column in job.dataset_version.columns][:MOST_COLUMNS]
    with Query(files) as query:
        page = query.page(filter, limit=PER_PAGE, offset=(number - 1) * PER_PAGE, after=after)
        if not page.lines and page.total and after is None:  # past the end: the last page
            number = -(-page.total // PER_PAGE)
            page = query.page(filter, limit=PER_PAGE, offset=(number - 1) * PER_PAGE)
        n_retryable = len(query.rows(retryable(filter))) if not filter.empty else job.n_unsuccessful
    lines = tuple(_line(line, keys, schema) for line in page.lines)
    chosen = dict(filter.answer)
    return ResultsPage(
        frame=frame_of(job, "rows"),
        fields=schema,
        columns=tuple(columns[:MOST_COLUMNS]),
        n_hidden_columns=max(0, len(columns) - MOST_COLUMNS),
        lines=lines,
        total=page.total,
        number=page.offset // PER_PAGE + 1 if page.total else 1,
        n_retryable=n_retryable,
        price_all=about(n_retryable, cost_per_row(job)),
        places=_places([line.cost for line in lines if line.cost]),
        n_rounds=job.rounds.count(),
        answer_choices=tuple((name, labels, chosen.get(name, "")) for name, labels in _choices(_schema(job), schema)),
    )


def _places(costs: list[Decimal]) -> int:
    """Decimals of a column of costs of single rows, which are often far below a cent."""
    return 6 if costs and max(costs) < Decimal("0.01") else formats.usd_places(costs or [Decimal(0)])


def retryable(filter: Filter) -> Filter:
    """The same filter, of rows that did not succeed and are not pending."""
    unsuccessful = tuple(kind.value for kind in OutcomeKind if kind is not OutcomeKind.SUCCEEDED)
    kinds = tuple(kind for kind in filter.kinds if kind in unsuccessful) if filter.kinds else unsuccessful
    return Filter(kinds or ("none",), filter.causes, filter.answer, filter.text, filter.rounds, filter.rows)


def _schema(job: Job) -> Any:
    return job.prompt_version.schema if job.prompt_version else None


def _choices(schema: Any, known: Sequence[tuple[str, str]]) -> list[tuple[str, tuple[str, ...]]]:
    """Fields whose values can be chosen from a list."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for name, kind in known:
        if kind == "boolean":
            found.append((name, ("true", "false")))
        elif kind == "label":
            found.append((name, tuple(str(label) for label in schema["properties"][name]["enum"] if label is not None)))
    return found[:4]


def _line(line: Line, keys: Sequence[str], schema: Sequence[tuple[str, str]]) -> ResultLine:
    outcome = line.outcome
    cells = tuple(_cell(line.values[key]) for key in keys)
    if outcome is None:
        nothing = tuple(Cell("", "none") for _ in schema) or (Cell("", "none"),)
        return ResultLine(line.row, PENDING_LOOK, "", "pending", nothing, None, "", cells, None, None, None, 0, False)
    kind = OutcomeKind(outcome["kind"])
    return ResultLine(
        row=line.row,
        look=kind.look,
        cause=cause_of(outcome["cause"], kind).label if kind is not OutcomeKind.SUCCEEDED else "",
        kind=kind,
        answers=tuple(_answer_cells(outcome["answer"], schema)),
        unparsed=_unparsed(outcome["answer"]) if schema else None,
        message=outcome["message"][:CELL],
        cells=cells,
        input_tokens=outcome["input_tokens"],
        output_tokens=outcome["output_tokens"],
        cost=outcome["cost"],
        attempts=outcome["attempts"],
        retryable=kind is not OutcomeKind.SUCCEEDED,
    )


def _cell(text: str | None) -> Cell:
    if text is None:
        return Cell("", "none")
    return Cell(text if len(text) <= CELL else f"{text[:CELL]}…")


def _answer_cells(answer: str | None, schema: Sequence[tuple[str, str]]) -> list[Cell]:
    """The answer in one cell, or with a schema a cell a field; none of them is filled by an answer that cannot be read as fields."""
    if not schema:
        return [_cell(answer)]
    parsed = parsed_object(answer) or {}
    return [_value_cell(parsed.get(name), kind) for name, kind in schema]


def _unparsed(answer: str | None) -> Cell | None:
    """An answer that is no JSON object, such as one that was cut off or a refusal; None where there is nothing of the kind to show."""
    return _cell(answer) if answer and parsed_object(answer) is None else None


def _value_cell(value: Any, kind: str) -> Cell:
    if value is None:
        return Cell("", "none")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, (int, float)):
        return Cell(str(value), "num")
    return _cell(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def parsed_object(answer: str | None) -> dict[str, Any] | None:
    """The answer as a JSON object, or None."""
    try:
        found = json.loads(answer) if answer else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def neighbours(files: RowFiles, filter: Filter, row: int) -> tuple[int | None, int | None, int, int]:
    """The rows before and after one within a filter, its place (from 1; 0 where it is not in it), and how many there are."""
    if filter.empty:
        return (row - 1 if row else None), (row + 1 if row + 1 < files.n_rows else None), row + 1, files.n_rows
    with Query(files) as query:
        rows = query.rows(filter)
    at = int(np.searchsorted(rows, row))
    inside = at < len(rows) and rows[at] == row
    following = at + 1 if inside else at
    return (
        (int(rows[at - 1]) if at else None),
        (int(rows[following]) if following < len(rows) else None),
        at + 1 if inside else 0,
        len(rows),
    )


def batches_with(job: Job, row: int) -> list[Batch]:
    """The closed batches whose span of rows holds this one, oldest first."""
    batches = Batch.objects.filter(job=job, state__in=CLOSED, first_row__lte=row, last_row__gte=row)
    return list(batches.select_related("round", "job", "connection").order_by("round__number", "number"))


def row_story(job: Job, files: RowFiles, row: int, history: Sequence[Any]) -> RowStory:
    """Everything about one row. Raises KeyError where the table has it not."""
    assert job.dataset_version
    with Query(files) as query:
        cells, outcomes = query.one(row, history)
        line = query.lines([row])[0]
    headers = {str(column["key"]): str(column["name"]) for column in job.dataset_version.columns}
    told = tuple(_outcome(each) for each in outcomes)
    standing = _outcome(line.outcome) if line.outcome else None
    parsed = parsed_object(standing.answer) if standing else None
    return RowStory(
        row=row,
        inputs=tuple((headers[key], text) for key, text in cells.items()),
        history=told,
        standing=standing,
        look=standing.look if standing else PENDING_LOOK,
        fields=tuple(
            (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) for name, value in (parsed or {}).items()
        ),
        retryable=line.outcome is not None and line.outcome["kind"] != OutcomeKind.SUCCEEDED,
    )


TOKEN_WORDS = (
    ("input_tokens", "input"),
    ("cached_tokens", "of them cached"),
    ("cache_write_tokens", "of them written to the cache"),
    ("output_tokens", "output"),
    ("reasoning_tokens", "of them reasoning"),
)


def _outcome(line: Mapping[str, Any]) -> Outcome:
    kind = OutcomeKind(line["kind"])
    cause = cause_of(line["cause"], kind) if kind is not OutcomeKind.SUCCEEDED else None
    return Outcome(
        round=line["round"],
        look=kind.look,
        cause_label=cause.label if cause else "",
        advice=cause.advice.meaning if cause else "",
        message=line["message"],
        answer=line["answer"] or "",
        finish=line["finish"],
        model=line["model"],
        request_id=line["request_id"],
        tokens=tuple((words, line[name]) for name, words in TOKEN_WORDS if line[name] or name in ("input_tokens", "output_tokens")),
        billed={"paid": "paid", "unpaid": "not charged"}.get(line["billed"], "not known whether it was charged"),
        cost=line["cost"],
        realtime=line["realtime"],
        batch=line["batch"],
        raw=(line["raw_file"], line["raw_offset"], line["raw_length"]),
    )


def answer_charts(job: Job, files: RowFiles) -> list[tuple[str, Chart]]:
    """One chart a field of the schema (or the length of the whole answer), drawn from all rows that succeeded."""
    known = fields(_schema(job))[:MOST_CHARTS]
    with Query(files) as query:
        if not known:
            found = query.distribution()
            return [("answer", _chart("Length of the answer, characters", found, whole=True))] if found.n else []
        charts = []
        for i, (name, kind) in enumerate(known):
            spread = query.distribution(name, kind)
            if spread.n:
                charts.append((f"field-{i}", _chart(_caption(name, kind), spread, whole=kind != "number")))
    return charts


def _caption(name: str, kind: str) -> str:
    if kind in ("label", "boolean", "number", "integer"):
        return name
    return f"{name}: length, {'items' if kind == 'list' else 'characters'}"


def _chart(caption: str, spread: Distribution, whole: bool) -> Chart:
    told = f"{caption} · {formats.count(spread.n, 'row')}" + (f", {spread.n_other:,} of them with other values" if spread.n_other else "")
    if spread.labels:
        names = [str(label) for label, _ in spread.labels[:12]]
        rest = spread.n - sum(n for _, n in spread.labels[:12])
        values: list[int] = [n for _, n in spread.labels[:12]]
        if rest:
            names, values = [*names, "all others"], [*values, rest]
        return bars_by_category("Value", names, [Series("Rows", values)], caption=told, unit="rows")
    names = [_span(low, high, whole) for low, high, _ in spread.bins]
    return _upright(names, [n for _, _, n in spread.bins], told)


def _span(low: float, high: float, whole: bool) -> str:
    if whole and high - low <= 1:
        return f"{low:,.0f}"
    return f"{low:,.0f}–{high:,.0f}" if whole else f"{low:.4g}–{high:.4g}"


def _upright(names: list[str], values: list[int], caption: str) -> Chart:
    """Bars side by side, as a histogram has them; the bins were counted by the database."""
    figure = {
        "data": [{"type": "bar", "x": names, "y": values, "marker": {"color": "series-1"}, "hovertemplate": "%{x}: %{y:,}<extra></extra>"}],
        "layout": {"bargap": 0.04, "xaxis": {"type": "category", "nticks": 8}, "yaxis": {"title": {"text": "rows"}, "rangemode": "tozero"}},
    }
    return Chart(figure, caption, (("From – to", "Rows"), tuple(zip(names, values, strict=True))))
