"""Rows out of the table, filled into the templates, streamed: memory stays flat however long the table is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.rows.cells import plain_values
from jobs.rows.portions import bytes_each, rows_at_once
from jobs.rows.template import ROW, Template, TemplateError, compile_template, within_limit
from jobs.rows.values import text_of, walkable
from jobs.rows.variables import column_of

Columns = Sequence[Mapping[str, Any]]  # the ledger's list: {"key": "c0", "name": header, "variable": …, "type": …}
ROWS_AT_ONCE = 2_000
BYTES_AT_ONCE = 8_000_000  # of the needed columns and the prompt's own text, roughly: wide cells and long prompts make smaller portions


@dataclass(frozen=True, slots=True)
class Rendered:
    """A portion of rows in order: `rows[i]` has `system[i]` and `user[i]`, or `failed[i]` if it is in there."""

    rows: list[int]
    system: list[str]
    user: list[str]
    failed: dict[int, TemplateError]


def render_rows(
    table: Path, columns: Columns, system: str, user: str, rows: Path | None = None, start: int = 0
) -> Iterator[tuple[int, str, str] | tuple[int, TemplateError]]:
    """Each row with its system and user text, or with what went wrong. See `render_portions`."""
    for portion in render_portions(table, columns, system, user, rows, start):
        for i, row in enumerate(portion.rows):
            yield (row, portion.failed[i]) if i in portion.failed else (row, portion.system[i], portion.user[i])


def render_portions(
    table: Path, columns: Columns, system: str, user: str, rows: Path | None = None, start: int = 0, stop: int | None = None
) -> Iterator[Rendered]:
    """Stream the rows through both templates.

    `rows` is a Parquet with a sorted `_row` column, None for all rows of the table. `start` and `stop` count the rows of that
    selection (not `_row` numbers). Raises BadTemplate where a template cannot be compiled. Only needed columns are read.
    """
    both = compile_template(system), compile_template(user)
    needed = needed_columns(columns, both)
    for numbers, batch in read_rows(table, [column["key"] for column in needed], rows, start, stop, len(system) + len(user)):
        yield _render(numbers, batch, needed, both)


def needed_columns(columns: Columns, templates: Sequence[Template]) -> list[Mapping[str, Any]]:
    """The columns that the templates take."""
    if any(template.whole_row for template in templates):
        return list(columns)
    meant = [column_of(columns, name) for template in templates for name in template.variables]
    keys = {column["key"] for column in meant if column is not None}
    items = {name for template in templates for name in template.items}
    return [column for column in columns if column["key"] in keys or column["name"] in items]


def read_rows(
    table: Path, keys: Sequence[str], rows: Path | None = None, start: int = 0, stop: int | None = None, beside: float = 0
) -> Iterator[tuple[list[int], pa.RecordBatch]]:
    """Portions of the table: the row numbers, and a batch with the columns `keys`. `beside`: bytes that the caller adds to each row."""
    with pq.ParquetFile(table) as file:
        # A dictionary may hide size, but not more than the cell limit allows.
        size = rows_at_once(BYTES_AT_ONCE, bytes_each(file.metadata, keys) + beside, 16, ROWS_AT_ONCE)
        if rows is None:
            stop = file.metadata.num_rows if stop is None else min(stop, file.metadata.num_rows)
            yield from _read_range(file, keys, start, stop, size)
        else:
            yield from _read_chosen(file, keys, selected_rows(rows)[start:stop], size)


def selected_rows(rows: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The row numbers of a selection, sorted. 8 bytes a row."""
    with pq.ParquetFile(rows) as file:
        numbers = file.read(columns=["_row"]).column(0).to_numpy()
    return np.asarray(numbers, dtype=np.int64)


def _groups(file: pq.ParquetFile) -> list[tuple[int, int, int]]:
    """The row groups as (number, first row, row after the last)."""
    found, first = [], 0
    for number in range(file.metadata.num_row_groups):
        after = first + file.metadata.row_group(number).num_rows
        found.append((number, first, after))
        first = after
    return found


def _read_range(file: pq.ParquetFile, keys: Sequence[str], start: int, stop: int, size: int) -> Iterator[tuple[list[int], pa.RecordBatch]]:
    for number, first, after in _groups(file):
        if after <= start or first >= stop:
            continue
        at = first
        for batch in _batches(file, number, keys, size):
            low, high = max(start - at, 0), min(stop - at, batch.num_rows)
            if low < high:
                yield list(range(at + low, at + high)), batch.slice(low, high - low)
            at += batch.num_rows


def _read_chosen(
    file: pq.ParquetFile, keys: Sequence[str], chosen: np.ndarray[Any, np.dtype[np.int64]], size: int
) -> Iterator[tuple[list[int], pa.RecordBatch]]:
    for number, first, after in _groups(file):
        here = chosen[np.searchsorted(chosen, first) : np.searchsorted(chosen, after)]
        if not len(here):
            continue
        at = first
        for batch in _batches(file, number, keys, size):
            mine = here[np.searchsorted(here, at) : np.searchsorted(here, at + batch.num_rows)]
            if len(mine):
                yield mine.tolist(), batch.take(pa.array(mine - at))
            at += batch.num_rows
            if at > here[-1]:
                break


def _batches(file: pq.ParquetFile, number: int, keys: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
    # `_row` stands in where a template takes no column: without any column Arrow yields no rows.
    yield from file.iter_batches(batch_size=size, row_groups=[number], columns=list(keys) or ["_row"], use_threads=False)


def _render(numbers: list[int], batch: pa.RecordBatch, columns: Columns, both: tuple[Template, Template]) -> Rendered:
    cells = {column["key"]: plain_values(batch.column(column["key"])) for column in columns}
    failed: dict[int, TemplateError] = {}
    filled = [_fill(template, len(numbers), columns, cells, failed) for template in both]
    return Rendered(numbers, filled[0], filled[1], failed)


def _fill(template: Template, n: int, columns: Columns, cells: Mapping[str, list[Any]], failed: dict[int, TemplateError]) -> list[str]:
    if template.plain:
        texts = template.fill([_texts_of_gap(kind, name, columns, cells) for kind, name in template.names], n)
        _check_sizes(texts, failed)
        return texts
    walked = {column["key"]: _walked(column, cells[column["key"]]) for column in columns}
    filled = []
    for i in range(n):
        try:
            filled.append(template.render(context(columns, {key: values[i] for key, values in walked.items()}, template)))
        except TemplateError as error:
            failed.setdefault(i, error)
            filled.append("")
    return filled


def context(columns: Columns, values: Mapping[str, Any], template: Template) -> dict[str, Any]:
    """What a template sees of a row: its variables, and `row` by header (of doubled headers the first)."""
    found = {column["variable"]: values[column["key"]] for column in columns}
    for name in template.variables:
        if name not in found and (column := column_of(columns, name)) is not None:
            found[name] = values[column["key"]]
    if template.whole_row or template.items:
        found[ROW] = {column["name"]: values[column["key"]] for column in reversed(columns)}
    return found


def render_one(columns: Columns, values: Mapping[str, Any], system: str, user: str) -> tuple[str, str]:
    """Both texts of one row; `values` by column key, as the table has them (JSON as text). Raises TemplateError, BadTemplate."""
    both = compile_template(system), compile_template(user)
    needed = needed_columns(columns, both)
    walked = {column["key"]: _walked(column, [values.get(column["key"])])[0] for column in needed}
    first, second = (template.render(context(needed, walked, template)) for template in both)
    return first, second


def _walked(column: Mapping[str, Any], cells: list[Any]) -> list[Any]:
    return list(map(walkable, cells)) if column.get("type") == "json" else cells


def _texts_of_gap(kind: str, name: str, columns: Columns, cells: Mapping[str, list[Any]]) -> list[str]:
    named = (column for column in columns if column["name"] == name)
    column = column_of(columns, name) if kind == "variable" else next(named, None)
    if column is not None:
        values = cells[column["key"]]
        return values if set(map(type, values)) <= {str} else list(map(text_of, values))
    raise TemplateError(f"There is no column “{name}”.")


def _check_sizes(texts: list[str], failed: dict[int, TemplateError]) -> None:
    if max(map(len, texts), default=0) <= 200_000:
        return
    for i, text in enumerate(texts):
        if len(text) > 200_000:
            try:
                within_limit(text)
            except TemplateError as error:
                failed.setdefault(i, error)
                texts[i] = ""
