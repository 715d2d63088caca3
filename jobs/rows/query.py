"""What pages ask of the rows: DuckDB over the Parquet files, locked to their folders, with our own SQL and parameters only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import numpy as np

from jobs.rows.choose import write_rows
from jobs.rows.digest import BETWEEN, COLUMNS, MOST_FIELDS, MOST_TEXT, WHOLE, Fields, outcome_digest, pointer, table_digests, worth
from jobs.rows.duck import connect, connect_to
from jobs.rows.outcomes import SCHEMA
from jobs.words import PENDING

N_BINS = 20
N_LABELS = 50
Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class RowFiles:
    """The files of a job. `newer` are the outcome files of rounds that `base` (the last standings) does not hold yet, (round, path).

    The rows of the files of one round are disjoint. `keys` are the columns of the table that are shown and searched.
    `busy` are the rows files of open rounds, (round, path): such a row is pending until that round has its outcome.
    `fields` are those of the output schema, as `schema.fields` says them: what is asked of them is quick.
    """

    table: Path
    n_rows: int
    keys: tuple[str, ...]
    base: Path | None = None
    newer: tuple[tuple[int, Path], ...] = ()
    busy: tuple[tuple[int, Path], ...] = ()
    fields: Fields = ()


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
    cost: Decimal  # of the standing lines, as far as they were surely charged; unknown prices are left out
    n_unpriced: int
    n_unknown: int  # lines of which nobody knows whether they were charged


@dataclass(frozen=True, slots=True)
class Distribution:
    """Labels with their counts, biggest first (the rest in `n_other`), or bins (from, to, count) of numbers or lengths."""

    labels: list[tuple[str, int]]
    bins: list[tuple[float, float, int]]
    n: int  # rows with a value
    n_other: int = 0


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
        found: dict[int, dict[str, str | None]] = {}
        for keys in self._keys_at_once():
            chosen = "".join(f", CAST({_name(key)} AS VARCHAR)" for key in keys)
            sql = f"SELECT _row{chosen} FROM read_parquet(?) WHERE _row IN ({_ints(rows)})"  # noqa: S608 - names and ints are ours
            for line in self._db.execute(sql, [str(self.files.table)]).fetchall():
                found.setdefault(line[0], {}).update(zip(keys, line[1:], strict=True))
        return found

    def _keys_at_once(self) -> list[tuple[str, ...]]:
        """The columns of the table in portions that the memory does for; one without columns where the table has none."""
        keys = self.files.keys
        return [keys[at : at + COLUMNS] for at in range(0, max(len(keys), 1), COLUMNS)]

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
        return list(_causes(self.files))

    def _causes(self) -> list[CauseCount]:
        if not self._standing:
            return []
        sql = f"""SELECT kind, cause, count(*), coalesce(sum(cost) FILTER (billed != 'unknown'), 0),
                         count(*) FILTER (billed != 'unknown' AND cost IS NULL), count(*) FILTER (billed = 'unknown')
                  FROM ({self._standing}) GROUP BY ALL ORDER BY 3 DESC, 1, 2"""  # noqa: S608
        return [CauseCount(*line) for line in self._db.execute(sql, self._params).fetchall()]

    def uncertain(self) -> dict[str, int]:
        """Standings of which nobody knows whether they were charged: how many of each batch (its hex id)."""
        if not self._standing:
            return {}
        sql = f"SELECT batch, count(*) FROM ({self._standing}) WHERE billed = 'unknown' GROUP BY batch"  # noqa: S608
        return dict(self._db.execute(sql, self._params).fetchall())

    def messages(self, top: int = 5) -> dict[tuple[str, str | None], list[tuple[str, int]]]:
        """The provider's words by (kind, cause): the most frequent ones with their counts, whatever they are."""
        found: dict[tuple[str, str | None], list[tuple[str, int]]] = {}
        for kind, cause, message, n in _messages(self.files, top):
            found.setdefault((kind, cause), []).append((message, n))
        return found

    def _messages(self, top: int) -> list[tuple[str, str | None, str, int]]:
        if not self._standing:
            return []
        sql = f"""SELECT kind, cause, message, count(*) AS n
                  FROM ({self._standing}) WHERE kind != 'succeeded' AND message != '' GROUP BY kind, cause, message
                  QUALIFY row_number() OVER (PARTITION BY kind, cause ORDER BY n DESC, message) <= ?
                  ORDER BY n DESC, message"""  # noqa: S608
        return self._db.execute(sql, [*self._params, top]).fetchall()

    def distribution(self, field: str | None = None, type: str = "text") -> Distribution:
        """How the answers of succeeded rows spread: a schema field with its type (of `schema.fields`), or None for the whole answer.

        Labels and true/false are counted, numbers binned, of texts and lists the length is binned.
        """
        return _distribution(self.files, field, type)

    def _distribution(self, field: str | None, type: str) -> Distribution:
        if not self._standing:
            return Distribution([], [], 0)
        counted = field is not None and type in WHOLE
        i = self._number_of(field, type)
        if (digests := self._digests) is not None and (field is None or i is not None):
            column = "size" if field is None else f"f{i}" if counted else f"n{i}"
            standing, params = _standing_sql(digests, self._hiding, f"kind, {column}")
            succeeded = _Succeeded(f"(SELECT {column} AS v FROM ({standing}) WHERE kind = 'succeeded')", params)  # noqa: S608
        else:
            value, params = _value_sql(field, type)
            succeeded = _Succeeded(f"(SELECT {value} AS v FROM ({self._standing}) WHERE kind = 'succeeded')", [*params, *self._params])  # noqa: S608
        return self._labels(succeeded) if counted else self._bins(succeeded)

    def _labels(self, succeeded: _Succeeded) -> Distribution:
        sql = f"SELECT v, count(*) FROM {succeeded.sql} WHERE v IS NOT NULL GROUP BY v ORDER BY 2 DESC, 1"  # noqa: S608
        counts = self._db.execute(sql, succeeded.params).fetchall()
        n = sum(count for _, count in counts)
        labels = counts[:N_LABELS]
        return Distribution(labels, [], n, n - sum(count for _, count in labels))

    def _bins(self, succeeded: _Succeeded) -> Distribution:
        sql = f"SELECT min(v), max(v), count(v) FROM {succeeded.sql} WHERE isfinite(v::DOUBLE)"  # noqa: S608
        low, high, n = self._db.execute(sql, succeeded.params).fetchall()[0]
        if not n:
            return Distribution([], [], 0)
        width = (high - low) / N_BINS or 1
        sql = f"""SELECT least(floor((v - ?) / ?), ?)::INT AS bin, count(*) FROM {succeeded.sql}
                  WHERE isfinite(v::DOUBLE) GROUP BY bin ORDER BY bin"""  # noqa: S608
        found = dict(self._db.execute(sql, [low, width, N_BINS - 1, *succeeded.params]).fetchall())
        n_bins = N_BINS if high > low else 1
        return Distribution([], [(low + i * width, low + (i + 1) * width, found.get(i, 0)) for i in range(n_bins)], n)

    @cached_property
    def _digests(self) -> list[list[str]] | None:
        """The digests of the layers; None where one cannot be had, or is not worth it."""
        if not worth(self.files.n_rows):
            return None
        found = [[outcome_digest(Path(path), self.files.fields) for path in layer] for layer in self._layers]
        return None if any(None in layer for layer in found) else [[str(path) for path in layer] for layer in found]

    def _number_of(self, field: str | None, type: str | None = None) -> int | None:
        """Which field of the digest it is; None where it has it not, or as another type."""
        known = self.files.fields[:MOST_FIELDS]
        return next((i for i, (name, kind) in enumerate(known) if name == field and type in (kind, None)), None)

    def _find(self, filter: Filter) -> Rows:
        """Row numbers by masks over all rows (a byte a row): no join, so memory stays small whatever matches."""
        matching = np.ones(self.files.n_rows, dtype=bool)
        columns = {field: self._value_column(field, value) for field, value in filter.answer}
        layers = self._digests if filter.answer and None not in columns.values() else None
        conditions, params = _outcome_conditions(filter, columns if layers is not None else {})
        if conditions or PENDING in filter.kinds:
            # With `pending` among the kinds, a row without an outcome matches too, if nothing of an outcome is asked for.
            settled = self._outcome_mask(conditions, params, layers) if conditions else np.zeros_like(matching)
            if PENDING in filter.kinds and not filter.of_outcome:
                settled |= ~self._outcome_mask([], [])
            matching &= settled
        if filter.rows:
            matching &= np.isin(np.arange(self.files.n_rows), filter.rows)
        if filter.text:
            matching &= _text_mask(self.files, filter.text.lower())
        return np.flatnonzero(matching).astype(np.int64)

    def _value_column(self, field: str, value: str) -> str | None:
        """The column of the digest that tells whether a field has this value; None where none does."""
        i = self._number_of(field)
        return f"f{i}" if i is not None and (len(value) <= MOST_TEXT or self.files.fields[i][1] in WHOLE) else None

    def _outcome_mask(
        self, conditions: list[str], params: list[Any], layers: list[list[str]] | None = None
    ) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows have a standing that fulfils the conditions. Newer layers hide the rows of older ones.

        `layers` are other files with the same rows that the conditions speak of.
        """
        mask = np.zeros(self.files.n_rows, dtype=bool)
        hidden = np.zeros_like(mask)
        for i, layer in enumerate(layers or self._layers):
            if self._hiding[i]:
                hidden[self._numbers("SELECT _row FROM read_parquet(?)", [self._hiding[i]])] = True
            rows = self._numbers(f"SELECT _row FROM read_parquet(?) WHERE {' AND '.join(conditions) or 'true'}", [layer, *params])  # noqa: S608
            mask[rows[~hidden[rows]]] = True
            if i + 1 < len(self._layers):
                hidden[self._numbers("SELECT _row FROM read_parquet(?)", [layer])] = True
        return mask

    def _text_mask(self, needle: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        quick = BETWEEN not in needle
        if quick and (layers := self._digests) is not None:
            mask = self._outcome_mask(["contains(text, ?)"], [needle], layers)
        else:
            either = " OR ".join((_contains("answer"), _contains("message")))
            mask = self._outcome_mask([f"({either})"], [needle, needle])
        keys = self.files.keys
        if (
            keys
            and quick
            and worth(self.files.n_rows)
            and (tables := table_digests(self.files.table, [_name(key) for key in keys])) is not None
        ):
            for table in tables:
                mask[self._numbers("SELECT _row FROM read_parquet(?) WHERE contains(text, ?)", [str(table), needle])] = True
        elif keys:
            for some in self._keys_at_once():
                sql = f"SELECT _row FROM read_parquet(?) WHERE {' OR '.join(_contains(_name(key)) for key in some)}"  # noqa: S608
                mask[self._numbers(sql, [str(self.files.table), *[needle] * len(some)])] = True
        return mask

    def _numbers(self, sql: str, params: list[Any]) -> Rows:
        return np.asarray(self._db.execute(sql, params).fetchnumpy()["_row"], dtype=np.int64)


def _dicts(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, line, strict=True)) for line in cursor.fetchall()]


def _ints(rows: Sequence[int]) -> str:
    return ", ".join(str(int(row)) for row in rows)


_FIELD = "CASE WHEN json_valid(answer) THEN json_extract_string(answer, ?) END"


@dataclass(frozen=True, slots=True)
class _Succeeded:
    """SQL of one column `v` over the rows that succeeded, with its parameters."""

    sql: str
    params: list[Any]


def _value_sql(field: str | None, type: str) -> tuple[str, list[Any]]:
    """SQL of what is counted of an answer: a label, a number or a length."""
    if field is None:
        return "length(answer)", []
    if type in WHOLE:
        value = _FIELD
    elif type in ("number", "integer"):
        value = f"TRY_CAST({_FIELD} AS DOUBLE)"
    elif type == "list":
        value = "CASE WHEN json_valid(answer) THEN json_array_length(answer, ?) END"
    else:
        value = f"length({_FIELD})"
    return value, [pointer(field)]


def _outcome_conditions(filter: Filter, columns: Mapping[str, str | None]) -> tuple[list[str], list[Any]]:
    """SQL conditions on an outcome; `columns` are those of the digest where it is asked, else the answer itself is."""
    conditions: list[str] = []
    params: list[Any] = []
    kinds = tuple(kind for kind in filter.kinds if kind != PENDING)
    for column, values in (("kind", kinds), ("cause", filter.causes), ("round", filter.rounds)):
        if values:
            conditions.append(f"{column} IN ({', '.join('?' * len(values))})")
            params += values
    for field, value in filter.answer:
        conditions.append(f"{columns[field]} = ?" if field in columns else f"({_FIELD}) = ?")
        params += [value] if field in columns else [pointer(field), value]
    if filter.kinds and not kinds and conditions:
        conditions.append("false")  # pending rows have no outcome that could have a cause
    return conditions, params


def _contains(column: str) -> str:
    return f"contains(lower(CAST({column} AS VARCHAR)), ?)"


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


def _standing_sql(layers: list[list[str]], hiding: list[list[str]], columns: str = ", ".join(SCHEMA.names)) -> tuple[str, list[Any]]:
    """SQL of the standing view with its parameters: each layer without the rows of newer ones and of open rounds."""
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


@lru_cache(maxsize=16)
def _causes(files: RowFiles) -> tuple[CauseCount, ...]:
    with Query(files) as query:
        return tuple(query._causes())


@lru_cache(maxsize=16)
def _messages(files: RowFiles, top: int) -> tuple[tuple[str, str | None, str, int], ...]:
    with Query(files) as query:
        return tuple(query._messages(top))


@lru_cache(maxsize=64)
def _distribution(files: RowFiles, field: str | None, type: str) -> Distribution:
    with Query(files) as query:
        return query._distribution(field, type)


@lru_cache(maxsize=4)
def _text_mask(files: RowFiles, needle: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """A page of a search asks twice: for its rows, and for those of them that may be retried."""
    with Query(files) as query:
        mask = query._text_mask(needle)
    mask.flags.writeable = False
    return mask
