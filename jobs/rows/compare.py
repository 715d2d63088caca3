"""Two jobs over the same table, answer by answer: where they agree, where they differ, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from jobs.rows.duck import connect

MOST_LABELS = 12
_VALUE = "CASE WHEN json_valid({side}.answer) THEN json_extract_string({side}.answer, ?) END"


@dataclass(frozen=True, slots=True)
class Agreement:
    """One field (None: the whole answer): in how many of `n` rows that both answered the values are the same.

    `confusion` maps (first's label, second's label) to rows, for labels and yes/no; "…" stands for rarer labels.
    """

    field: str | None
    type: str
    same: int
    n: int
    confusion: dict[tuple[str, str], int]

    @property
    def labels(self) -> list[str]:
        """The labels of both sides, the most frequent first."""
        counts: dict[str, int] = {}
        for (first, second), n in self.confusion.items():
            counts[first] = counts.get(first, 0) + n
            counts[second] = counts.get(second, 0) + n
        return sorted(counts, key=lambda label: (label == "…", -counts[label], label))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows that both succeeded on, only the first, only the second; and the agreement per field."""

    both: int
    only_first: int
    only_second: int
    fields: list[Agreement]


def compare(first: Path, second: Path, fields: Sequence[tuple[str, str]] = ()) -> Comparison:
    """Compare two standings files. `fields` are (name, type) that both schemas have; without any the whole answers are compared."""
    with connect({first.parent, second.parent}) as db:
        _views(db, first, second)
        both, one, two = db.execute(
            """SELECT count(*) FILTER (a._row IS NOT NULL AND b._row IS NOT NULL),
                      count(*) FILTER (b._row IS NULL), count(*) FILTER (a._row IS NULL)
               FROM a FULL JOIN b ON a._row = b._row"""
        ).fetchall()[0]
        wanted: list[tuple[str | None, str]] = list(fields) or [(None, "text")]
        return Comparison(both, one, two, [_agreement(db, name, type_) for name, type_ in wanted])


def differing(
    first: Path, second: Path, field: str | None, *, limit: int = 50, offset: int = 0, pair: tuple[str, str] | None = None
) -> tuple[int, list[tuple[int, str | None, str | None]]]:
    """How many rows differ in a field, and a page of them: (row, first's value, second's value). `pair` takes one cell of the confusion."""
    with connect({first.parent, second.parent}) as db:
        _views(db, first, second)
        values, params = _pair_sql(field)
        condition, more = ("coalesce(x, '–') = ? AND coalesce(y, '–') = ?", list(pair)) if pair else ("x IS DISTINCT FROM y", [])
        inner = f"SELECT a._row AS row, {values} FROM a JOIN b ON a._row = b._row"  # noqa: S608 - columns of our own
        total = db.execute(f"SELECT count(*) FROM ({inner}) WHERE {condition}", [*params, *more]).fetchall()[0][0]  # noqa: S608
        sql = f"SELECT row, x, y FROM ({inner}) WHERE {condition} ORDER BY row LIMIT {int(limit)} OFFSET {int(offset)}"  # noqa: S608
        return total, [(int(row), x, y) for row, x, y in db.execute(sql, [*params, *more]).fetchall()]


def _views(db: duckdb.DuckDBPyConnection, first: Path, second: Path) -> None:
    for name, path in (("a", first), ("b", second)):
        quoted = str(path.resolve()).replace("'", "''")
        # Temporary, so that it is this cursor's own: the engine behind it is shared by requests.
        db.execute(f"CREATE TEMP VIEW {name} AS SELECT _row, answer FROM read_parquet('{quoted}') WHERE kind = 'succeeded'")  # noqa: S608 - our own path


def _pair_sql(field: str | None) -> tuple[str, list[Any]]:
    if field is None:
        return "a.answer AS x, b.answer AS y", []
    pointer = "/" + field.replace("~", "~0").replace("/", "~1")
    return f"{_VALUE.format(side='a')} AS x, {_VALUE.format(side='b')} AS y", [pointer, pointer]


def _agreement(db: duckdb.DuckDBPyConnection, field: str | None, type_: str) -> Agreement:
    values, params = _pair_sql(field)
    inner = f"SELECT {values} FROM a JOIN b ON a._row = b._row"  # noqa: S608 - columns of our own
    same, n = db.execute(f"SELECT count(*) FILTER (x IS NOT DISTINCT FROM y), count(*) FROM ({inner})", params).fetchall()[0]  # noqa: S608
    confusion: dict[tuple[str, str], int] = {}
    if type_ in ("label", "boolean"):
        pairs = db.execute(f"SELECT coalesce(x, '–'), coalesce(y, '–'), count(*) FROM ({inner}) GROUP BY ALL", params).fetchall()  # noqa: S608
        confusion = _bounded(pairs)
    return Agreement(field, type_, same, n, confusion)


def _bounded(pairs: list[tuple[str, str, int]]) -> dict[tuple[str, str], int]:
    """At most a dozen labels; the rarer ones share the label "…"."""
    counts: dict[str, int] = {}
    for first, second, n in pairs:
        counts[first] = counts.get(first, 0) + n
        counts[second] = counts.get(second, 0) + n
    kept = set(sorted(counts, key=lambda label: (-counts[label], label))[:MOST_LABELS])
    found: dict[tuple[str, str], int] = {}
    for first, second, n in pairs:
        key = (first if first in kept else "…", second if second in kept else "…")
        found[key] = found.get(key, 0) + n
    return found
