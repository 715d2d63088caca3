"""What pages ask of the rows: DuckDB over the Parquet files, locked to their folders, with our own SQL and parameters only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import numpy as np

from jobs.rows.choose import write_rows
from jobs.rows.outcomes import SCHEMA
from jobs.words import PENDING

MEMORY = "200MB"
THREADS = 2
N_BINS = 20
N_LABELS = 50
Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class RowFiles:
    """The files of a job. `newer` are the outcome files of rounds that `base` (the last standings) does not hold yet, (round, path).

    The rows of the files of one round are disjoint. `keys` are the columns of the table that are shown and searched.
    `busy` are the rows files of open rounds, (round, path): such a row is pending until that round has its outcome.
    """

    table: Path
    n_rows: int
    keys: tuple[str, ...]
    base: Path | None = None
    newer: tuple[tuple[int, Path], ...] = ()
    busy: tuple[tuple[int, Path], ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows: all that is given must hold; of several values in one field any. `answer` is (field, value) as text."""

    kinds: tuple[str, ...] = ()  # words.OutcomeKind or `pending`
    causes: tuple[str, ...] = ()
    answer: tuple[tuple[str, str], ...] = ()
    text: str = ""  # in the inputs, the answer or the message, whatever the case
    rounds: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()

    @property
    def empty(self) -> bool:
        return self == Filter()

    @property
    def of_outcome(self) -> bool:
        """Whether only rows with an outcome can match."""
        return bool(self.causes or self.answer or self.rounds)


@dataclass(frozen=True, slots=True)
class Line:
    """One row: its number, its cells as text by key (None: absent), and its standing (a column of SCHEMA → value), None while pending."""

    row: int
    values: dict[str, str | None]
    outcome: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Page:
    lines: list[Line]
    total: int  # rows that match the filter
    offset: int  # of the first line, among them


@dataclass(frozen=True, slots=True)
class CauseCount:
    kind: str
    cause: str | None
    n: int
    cost: Decimal  # of the standing lines; unknown prices are left out
    n_unpriced: int


@dataclass(frozen=True, slots=True)
class Distribution:
    """Labels with their counts, biggest first (the rest in `n_other`), or bins (from, to, count) of numbers or lengths."""

    labels: list[tuple[str, int]]
    bins: list[tuple[float, float, int]]
    n: int  # rows with a value
    n_other: int = 0


def connect(folders: Iterable[Path]) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that can read files in these folders and nothing else: no network, no extensions, no Python variables."""
    # Opening one takes longer than most questions, so it is kept for the next; never across a fork.
    return _opened(os.getpid(), tuple(sorted({str(folder.resolve()) for folder in folders}))).cursor()


@lru_cache(maxsize=4)
def _opened(process: int, folders: tuple[str, ...]) -> duckdb.DuckDBPyConnection:
    config: dict[str, Any] = {
        "memory_limit": MEMORY,
        "threads": THREADS,
        "python_enable_replacements": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    connection = duckdb.connect(":memory:", config=config)
    allowed = ", ".join("'" + folder.replace("'", "''") + "'" for folder in folders)
    connection.execute(f"SET allowed_directories = [{allowed}]")
    connection.execute("SET temp_directory = ''")
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


class Query:
    """Questions about the rows of one job. A context manager; for one thread at a time."""

    def __init__(self, files: RowFiles) -> None:
        self.files = files
        paths = [files.table, *([files.base] if files.base else []), *(path for _, path in (*files.newer, *files.busy))]
        self._db = connect(path.parent for path in paths)
        self._layers, self._hiding = _layers(files)
        self._standing, self._params = _standing_sql(self._layers, self._hiding)

    def __enter__(self) -> Query:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def rows(self, filter: Filter) -> Rows:
        """The numbers of all rows that match, sorted. 8 bytes a row; remembered, as the files never change."""
        return _remembered(self.files, filter)

    def page(self, filter: Filter = Filter(), *, limit: int = 50, offset: int = 0, after: int | None = None) -> Page:
        """A page of rows sorted by `_row`: at an offset among the matches, or the first ones after row `after`."""
        if filter.empty:
            total = self.files.n_rows
            offset = offset if after is None else after + 1
            wanted: Sequence[int] = range(offset, min(offset + limit, total))
        else:
            rows = self.rows(filter)
            total = len(rows)
            offset = offset if after is None else int(np.searchsorted(rows, after, side="right"))
            wanted = rows[offset : offset + limit].tolist()
        return Page(self.lines(list(wanted)), total, offset)

    def lines(self, rows: list[int]) -> list[Line]:
        """These rows, in this order, with inputs and standing. Rows that the table has not are left out."""
        if not rows:
            return []
        cells = self._cells(rows)
        outcomes = self._outcomes_of(rows)
        return [Line(row, cells[row], outcomes.get(row)) for row in rows if row in cells]

    def _cells(self, rows: list[int]) -> dict[int, dict[str, str | None]]:
        keys = self.files.keys
        chosen = "".join(f", CAST({_name(key)} AS VARCHAR)" for key in keys)
        sql = f"SELECT _row{chosen} FROM read_parquet(?) WHERE _row IN ({_ints(rows)})"  # noqa: S608 - names and ints are ours
        found = self._db.execute(sql, [str(self.files.table)]).fetchall()
        return {line[0]: dict(zip(keys, line[1:], strict=True)) for line in found}

    def _outcomes_of(self, rows: list[int]) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        hidden: set[int] = set()
        for layer, hiding in zip(self._layers, self._hiding, strict=True):
            if hiding:
                sql = f"SELECT _row FROM read_parquet(?) WHERE _row IN ({_ints(rows)})"  # noqa: S608
                hidden |= {row for (row,) in self._db.execute(sql, [hiding]).fetchall()}
            wanted = [row for row in rows if row not in found and row not in hidden]
            if wanted:
                sql = f"SELECT * FROM read_parquet(?) WHERE _row IN ({_ints(wanted)})"  # noqa: S608
                found |= {line["_row"]: line for line in _dicts(self._db.execute(sql, [layer]))}
        return found

    def one(self, row: int, history: Sequence[Path]) -> tuple[dict[str, str | None], list[dict[str, Any]]]:
        """A row's cells by key, and its outcomes in the given outcome files (those of all rounds), oldest first. Raises KeyError."""
        cells = self._cells([row])
        if row not in cells:
            raise KeyError(row)
        if not history:
            return cells[row], []
        with connect_to(history) as db:
            sql = f"SELECT * FROM read_parquet(?) WHERE _row IN ({_ints([row])}) ORDER BY round"  # noqa: S608
            return cells[row], _dicts(db.execute(sql, [[str(path) for path in history]]))

    def selection(self, filter: Filter, target: Path) -> int:
        """Write the matching row numbers as a selection (`rows.parquet`) for another round; how many."""
        rows = self.rows(filter)
        return write_rows(rows, target)

    def causes(self) -> list[CauseCount]:
        """Standings by kind and cause, biggest first, with what these lines cost. Pending rows are not in it."""
        if not self._standing:
            return []
        sql = f"""SELECT kind, cause, count(*), coalesce(sum(cost), 0), count(*) - count(cost)
                  FROM ({self._standing}) GROUP BY ALL ORDER BY 3 DESC, 1, 2"""  # noqa: S608
        return [CauseCount(*line) for line in self._db.execute(sql, self._params).fetchall()]

    def messages(self, top: int = 5) -> dict[tuple[str, str | None], list[tuple[str, int]]]:
        """The provider's words by (kind, cause): the most frequent ones with their counts, whatever they are."""
        found: dict[tuple[str, str | None], list[tuple[str, int]]] = {}
        if not self._standing:
            return found
        sql = f"""SELECT kind, cause, message, count(*) AS n
                  FROM ({self._standing}) WHERE kind != 'succeeded' AND message != '' GROUP BY kind, cause, message
                  QUALIFY row_number() OVER (PARTITION BY kind, cause ORDER BY n DESC, message) <= ?
                  ORDER BY n DESC, message"""  # noqa: S608
        for kind, cause, message, n in self._db.execute(sql, [*self._params, top]).fetchall():
            found.setdefault((kind, cause), []).append((message, n))
        return found

    def distribution(self, field: str | None = None, type: str = "text") -> Distribution:
        """How the answers of succeeded rows spread: a schema field with its type (of `schema.fields`), or None for the whole answer.

        Labels and true/false are counted, numbers binned, of texts and lists the length is binned.
        """
        if not self._standing:
            return Distribution([], [], 0)
        value, params = ("answer", []) if field is None else (_FIELD, [_pointer(field)])
        if field is not None and type in ("label", "boolean"):
            return self._labels(value, params)
        if type in ("number", "integer") and field is not None:
            value = f"TRY_CAST({value} AS DOUBLE)"
        elif type == "list" and field is not None:
            value = "CASE WHEN json_valid(answer) THEN json_array_length(answer, ?) END"
        else:
            value = f"length({value})"
        return self._bins(value, params)

    def _succeeded(self, value: str) -> str:
        return f"(SELECT {value} AS v FROM ({self._standing}) WHERE kind = 'succeeded')"  # noqa: S608

    def _labels(self, value: str, params: list[Any]) -> Distribution:
        sql = f"SELECT v, count(*) FROM {self._succeeded(value)} WHERE v IS NOT NULL GROUP BY v ORDER BY 2 DESC, 1"  # noqa: S608
        counts = self._db.execute(sql, [*params, *self._params]).fetchall()
        n = sum(count for _, count in counts)
        labels = counts[:N_LABELS]
        return Distribution(labels, [], n, n - sum(count for _, count in labels))

    def _bins(self, value: str, params: list[Any]) -> Distribution:
        inner = self._succeeded(value)
        sql = f"SELECT min(v), max(v), count(v) FROM {inner} WHERE isfinite(v::DOUBLE)"  # noqa: S608
        low, high, n = self._db.execute(sql, [*params, *self._params]).fetchall()[0]
        if not n:
            return Distribution([], [], 0)
        width = (high - low) / N_BINS or 1
        sql = f"""SELECT least(floor((v - ?) / ?), ?)::INT AS bin, count(*) FROM {inner}
                  WHERE isfinite(v::DOUBLE) GROUP BY bin ORDER BY bin"""  # noqa: S608
        found = dict(self._db.execute(sql, [low, width, N_BINS - 1, *params, *self._params]).fetchall())
        n_bins = N_BINS if high > low else 1
        return Distribution([], [(low + i * width, low + (i + 1) * width, found.get(i, 0)) for i in range(n_bins)], n)

    def _find(self, filter: Filter) -> Rows:
        """Row numbers by masks over all rows (a byte a row): no join, so memory stays small whatever matches."""
        matching = np.ones(self.files.n_rows, dtype=bool)
        conditions, params = _outcome_conditions(filter)
        if conditions or PENDING in filter.kinds:
            # With `pending` among the kinds, a row without an outcome matches too, if nothing of an outcome is asked for.
            settled = self._outcome_mask(conditions, params) if conditions else np.zeros_like(matching)
            if PENDING in filter.kinds and not filter.of_outcome:
                settled |= ~self._outcome_mask([], [])
            matching &= settled
        if filter.rows:
            matching &= np.isin(np.arange(self.files.n_rows), filter.rows)
        if filter.text:
            matching &= self._text_mask(filter.text.lower())
        return np.flatnonzero(matching).astype(np.int64)

    def _outcome_mask(self, conditions: list[str], params: list[Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows have a standing that fulfils the conditions. Newer layers hide the rows of older ones."""
        mask = np.zeros(self.files.n_rows, dtype=bool)
        hidden = np.zeros_like(mask)
        for i, layer in enumerate(self._layers):
            if self._hiding[i]:
                hidden[self._numbers("SELECT _row FROM read_parquet(?)", [self._hiding[i]])] = True
            rows = self._numbers(f"SELECT _row FROM read_parquet(?) WHERE {' AND '.join(conditions) or 'true'}", [layer, *params])  # noqa: S608
            mask[rows[~hidden[rows]]] = True
            if i + 1 < len(self._layers):
                hidden[self._numbers("SELECT _row FROM read_parquet(?)", [layer])] = True
        return mask

    def _text_mask(self, needle: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        either = " OR ".join((_contains("answer"), _contains("message")))
        mask = self._outcome_mask([f"({either})"], [needle, needle])
        cells = " OR ".join(_contains(_name(key)) for key in self.files.keys)
        if cells:
            sql = f"SELECT _row FROM read_parquet(?) WHERE {cells}"  # noqa: S608
            mask[self._numbers(sql, [str(self.files.table), *[needle] * len(self.files.keys)])] = True
        return mask

    def _numbers(self, sql: str, params: list[Any]) -> Rows:
        return np.asarray(self._db.execute(sql, params).fetchnumpy()["_row"], dtype=np.int64)


def _dicts(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, line, strict=True)) for line in cursor.fetchall()]


def _ints(rows: Sequence[int]) -> str:
    return ", ".join(str(int(row)) for row in rows)


_FIELD = "CASE WHEN json_valid(answer) THEN json_extract_string(answer, ?) END"


def _outcome_conditions(filter: Filter) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    params: list[Any] = []
    kinds = tuple(kind for kind in filter.kinds if kind != PENDING)
    for column, values in (("kind", kinds), ("cause", filter.causes), ("round", filter.rounds)):
        if values:
            conditions.append(f"{column} IN ({', '.join('?' * len(values))})")
            params += values
    for field, value in filter.answer:
        conditions.append(f"({_FIELD}) = ?")
        params += [_pointer(field), value]
    if filter.kinds and not kinds and conditions:
        conditions.append("false")  # pending rows have no outcome that could have a cause
    return conditions, params


def _contains(column: str) -> str:
    return f"contains(lower(CAST({column} AS VARCHAR)), ?)"


def _pointer(field: str) -> str:
    """A JSON pointer to a field, whatever its name."""
    return "/" + field.replace("~", "~0").replace("/", "~1")


def _name(key: str) -> str:
    """A column key of ours (`c12`); anything else never reaches SQL."""
    if not (key[:1] == "c" and key[1:].isascii() and key[1:].isdigit()):
        raise ValueError(f"not a column key: {key!r}")
    return key


def _layers(files: RowFiles) -> tuple[list[list[str]], list[list[str]]]:
    """The files of each round, latest first, the base last; and of each such layer the rows files of later rounds that are open."""
    by_round: dict[int, list[str]] = {}
    for number, path in files.newer:
        by_round.setdefault(number, []).append(str(path))
    numbers = sorted(by_round, reverse=True)
    layers = [by_round[number] for number in numbers]
    if files.base is not None:
        numbers, layers = [*numbers, 0], [*layers, [str(files.base)]]
    return layers, [[str(path) for later, path in files.busy if later > number] for number in numbers]


def _standing_sql(layers: list[list[str]], hiding: list[list[str]]) -> tuple[str, list[Any]]:
    """SQL of the standing view with its parameters: each layer without the rows of newer ones and of open rounds."""
    columns = ", ".join(SCHEMA.names)
    parts: list[str] = []
    params: list[Any] = []
    for i, layer in enumerate(layers):
        sql = f"SELECT {columns} FROM read_parquet(?)"  # noqa: S608
        params.append(layer)
        over = [[path for newer in layers[:i] for path in newer], hiding[i]]
        conditions = ["_row NOT IN (SELECT _row FROM read_parquet(?))" for paths in over if paths]
        sql += f" WHERE {' AND '.join(conditions)}" if conditions else ""
        params += [paths for paths in over if paths]
        parts.append(sql)
    return " UNION ALL ".join(parts), params


@lru_cache(maxsize=8)
def _remembered(files: RowFiles, filter: Filter) -> Rows:
    with Query(files) as query:
        rows = query._find(filter)
    rows.flags.writeable = False
    return rows


def connect_to(paths: Iterable[Path]) -> duckdb.DuckDBPyConnection:
    """As `connect`, for the folders of these files."""
    return connect(path.parent for path in paths)
