"""What pages ask of all rows, as columns of its own: the fields of the answers, and the text that a search looks through.

A digest stands beside its outcome, standings or table file and is derived from it: it may be thrown away, is made again where it is
missing, and is never what counters or money are made of. Its name holds what it was made of and how, so that it cannot be taken for
another's; it has that name only once it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from jobs.rows.duck import THREADS, connect_once
from jobs.rows.files import publish
from jobs.rows.memory import give_back
from jobs.rows.portions import bytes_each, rows_at_once

VERSION = 1  # of what stands in a digest
LEAST_ROWS = 20_000  # below, the answers themselves are quick enough to read
MOST_FIELDS = 32
COLUMNS = 100  # of a table, in one digest or question: each takes memory of its own
MOST_TEXT = 100  # characters of a value that is kept to be filtered by; labels are kept whole
MOST_BYTES = 2_000_000_000  # of a file on disk: above, a search takes the slow way rather than twice the disk
BETWEEN = "\x1f"  # between the texts that a search looks through; a needle that has it takes the slow way
ROW_GROUP, GROUP_BYTES = 20_480, 12_000_000  # rows and, where they are long, about so many bytes: a group is held in memory
WHOLE = ("label", "boolean")  # types whose values are few and counted
_STALE = 3600.0  # seconds
Fields = tuple[tuple[str, str], ...]  # (name, type) as of `schema.fields`

_building = threading.Lock()
_too_large: set[str] = set()  # digests for which the memory did not do


def outcome_digest(file: Path, fields: Fields) -> Path | None:
    """The digest of an outcome or standings file, made if it is not there; None where it cannot be made.

    Columns: `_row, round, kind, cause`; `size`, the length of the answer; `text`, answer and message in small letters; of field i
    `f<i>`, its value as text (null above MOST_TEXT characters unless its type is label or boolean), and `n<i>`, its number or length.
    """
    return _made(file, "outcomes", fields[:MOST_FIELDS], lambda: _outcome_sql(fields[:MOST_FIELDS]))


def table_digests(table: Path, keys: Sequence[str]) -> list[Path] | None:
    """The digests of a table, one for each hundred of these columns, which is what the memory does for: `_row` and `text`, the cells in
    small letters. None where they cannot be made."""
    found = []
    for at in range(0, len(keys), COLUMNS):
        made = _table_digest(table, tuple(keys[at : at + COLUMNS]))
        if made is None:
            return None
        found.append(made)
    return found


def _table_digest(table: Path, keys: tuple[str, ...]) -> Path | None:
    return _made(table, "table", keys, lambda: _table_sql(keys))


def worth(n_rows: int) -> bool:
    """Whether a job or table is large enough for digests."""
    return n_rows >= LEAST_ROWS


def forget(file: Path) -> None:
    """Remove the digests of a file that goes."""
    for each in file.parent.glob(f"{file.stem}.digest-*"):
        each.unlink(missing_ok=True)


def pointer(field: str) -> str:
    """A JSON pointer to a field, whatever its name."""
    return "/" + field.replace("~", "~0").replace("/", "~1")


def _made(file: Path, what: str, how: Any, sql: Callable[[], tuple[str, list[Any]]]) -> Path | None:
    try:
        stat = file.stat()
        if stat.st_size > MOST_BYTES:
            return None
        made_of = json.dumps([VERSION, what, how, stat.st_size, stat.st_mtime_ns])
        target = file.with_name(f"{file.stem}.digest-{hashlib.blake2s(made_of.encode(), digest_size=8).hexdigest()}.parquet")
        if target.name in _too_large:
            return None
        if not target.exists():
            with _building:  # one at a time: it takes all the memory that the engine may have
                if not target.exists():
                    _write(file, target, *sql())
    except duckdb.OutOfMemoryException:
        _too_large.add(target.name)  # not tried again by this process at every search
        return None
    except (OSError, duckdb.Error):  # the disk is full or read-only, or the file is gone: pages do without
        return None
    return target


def _write(file: Path, target: Path, sql: str, params: list[Any]) -> None:
    _sweep(target)
    give_back()  # what other work has left is not to be added to what this takes
    part = target.with_name(f"{target.name}.{os.getpid()}.part")  # two processes may make the same: each its own, and either will do
    try:
        size = rows_at_once(GROUP_BYTES, bytes_each(pq.read_metadata(file)), 2_048, ROW_GROUP)
        with connect_once([file.parent], threads=THREADS if size == ROW_GROUP else 1) as db:  # each thread has a group of its own
            quoted = str(part.resolve()).replace("'", "''")
            db.execute(f"COPY ({sql}) TO '{quoted}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {size})", [*params, str(file)])
        publish(part, target)
    finally:
        part.unlink(missing_ok=True)
        give_back()


def _sweep(target: Path) -> None:
    """Remove what a killed maker left."""
    for left in target.parent.glob(f"{target.stem.partition('.')[0]}.digest-*.part"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE:
                left.unlink()


def _outcome_sql(fields: Fields) -> tuple[str, list[Any]]:
    columns = ["_row", "round", "kind", "cause", "length(answer) AS size"]
    params: list[Any] = []
    columns.append(f"lower(concat_ws('{BETWEEN}', answer, message)) AS text")
    for i, (_, kind) in enumerate(fields):
        value = f"v[{i + 1}]"
        columns.append(f"{value} AS f{i}" if kind in WHOLE else f"CASE WHEN length({value}) <= {MOST_TEXT} THEN {value} END AS f{i}")
        columns.append(f"{_number(i, kind)} AS n{i}")
    valid = "json_valid(answer)"
    inner = ["_row", "round", "kind", "cause", "answer", "message"]
    if fields:
        inner.append(f"CASE WHEN {valid} THEN json_extract_string(answer, ?) END AS v")
        params.append([pointer(name) for name, _ in fields])
    for i, (name, kind) in enumerate(fields):
        if kind == "list":
            inner.append(f"CASE WHEN {valid} THEN json_array_length(answer, ?) END AS l{i}")
            params.append(pointer(name))
    return f"SELECT {', '.join(columns)} FROM (SELECT {', '.join(inner)} FROM read_parquet(?))", params  # noqa: S608 - names are ours


def _number(i: int, kind: str) -> str:
    """What a histogram counts: the number, the items of a list, else the length."""
    if kind in ("number", "integer"):
        return f"TRY_CAST(v[{i + 1}] AS DOUBLE)"
    return f"CAST({f'l{i}' if kind == 'list' else f'length(v[{i + 1}])'} AS DOUBLE)"


def _table_sql(keys: Sequence[str]) -> tuple[str, list[Any]]:
    texts = ", ".join(f"CAST({key} AS VARCHAR)" for key in keys)
    return f"SELECT _row, lower(concat_ws('{BETWEEN}', {texts})) AS text FROM read_parquet(?)", []  # noqa: S608 - keys are ours
