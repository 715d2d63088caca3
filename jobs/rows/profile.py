"""What stands in each column of a table: for a look before a prompt is written. DuckDB reads the file in a bounded child."""

# ruff: noqa: S608 - the SQL is made of our own keys (c0, c1 …) and a path that we quote
from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.rows.child import run_child
from jobs.rows.reading import Column

_SAMPLE = 100_000  # rows that the most frequent values are counted in when a column has very many different ones
_MANY = 50_000
_AT_ONCE = 20  # columns: a table of hundreds must not need the memory for all of them together
_SHOWN = 200  # characters of a frequent value


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column's numbers. Lengths are in characters, over values that are not null; `distinct` is an estimate (about 2 %) above 50,000.

    `top` is the five most frequent values (cut to 200 characters) and their counts; `top_of` says in how many rows they were counted.
    """

    key: str
    nulls: int
    empties: int
    distinct: int
    exact: bool
    min_length: int
    max_length: int
    mean_length: float
    top: list[tuple[str, int]]
    top_of: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ColumnProfile:
        return cls(**{**data, "top": [(value, n) for value, n in data["top"]]})


def profile(table: Path, columns: list[Column], *, seconds: float = 60) -> list[ColumnProfile]:
    """Profile the columns of `table.parquet`. Raises ChildDied when it takes too long or too much memory."""
    request = {"table": str(table.resolve()), "keys": [column.key for column in columns]}
    with tempfile.TemporaryDirectory(prefix="batchui-") as scratch:
        answer_ = run_child(
            "jobs.rows.profile", request, seconds=seconds, memory_bytes=2_000_000_000, file_bytes=20_000_000_000, cwd=Path(scratch)
        )
    return [ColumnProfile.from_dict(one) for one in answer_["columns"]]


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The child's work; keys are ours (c0, c1 …), so they may stand in SQL."""
    import duckdb

    table = Path(request["table"])
    con = duckdb.connect(config={"threads": "2", "memory_limit": "400MB", "autoinstall_known_extensions": "false"})
    con.execute(f"SET allowed_directories=['{_quoted(table.parent)}', '{_quoted(Path.cwd())}']")
    con.execute("SET parquet_metadata_cache=true")
    con.execute("SET enable_external_access=false")
    con.execute("SET lock_configuration=true")
    columns: list[dict[str, Any]] = []
    for at in range(0, len(request["keys"]), _AT_ONCE):
        columns += _some(con, table, request["keys"][at : at + _AT_ONCE])
    return {"columns": columns}


def _some(con: Any, table: Path, keys: list[str]) -> list[dict[str, Any]]:
    # A view of these columns alone: each query looks up every column of its view, which adds up when there are hundreds.
    texts = ", ".join(f"CAST({key} AS VARCHAR) AS {key}" for key in keys)
    con.execute(f"CREATE OR REPLACE VIEW t AS SELECT {texts} FROM read_parquet('{_quoted(table)}')")
    numbers = ", ".join(
        f"count({k}), count(*) FILTER ({k} = ''), approx_count_distinct({k}), min(length({k})), max(length({k})), avg(length({k}))"
        for k in keys
    )
    row = con.execute(f"SELECT count(*), {numbers} FROM t").fetchone()
    assert row is not None
    return [_one(con, key, row[0], row[1 + 6 * n : 7 + 6 * n]) for n, key in enumerate(keys)]


def _one(con: Any, key: str, n_rows: int, numbers: tuple[Any, ...]) -> dict[str, Any]:
    present, empties, distinct, shortest, longest, mean = numbers
    exact = distinct <= _MANY
    source = f"(SELECT {key} FROM t)" if exact else f"(SELECT {key} FROM t LIMIT {_SAMPLE})"
    # Grouped by hash, so that a million long texts need not be held to count them.
    groups = con.execute(
        f"WITH g AS (SELECT any_value(left({key}, {_SHOWN})) v, count(*) n FROM {source} WHERE {key} IS NOT NULL GROUP BY hash({key})) "
        "SELECT v, n, count(*) OVER () FROM g ORDER BY n DESC, v LIMIT 5"
    ).fetchall()
    if exact:
        distinct = groups[0][2] if groups else 0
    return {
        "key": key,
        "nulls": n_rows - present,
        "empties": empties,
        "distinct": distinct,
        "exact": exact,
        "min_length": shortest or 0,
        "max_length": longest or 0,
        "mean_length": mean or 0.0,
        "top": [(value, n) for value, n, _ in groups],
        "top_of": n_rows if exact else min(n_rows, _SAMPLE),
    }


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
