"""Outcome files: one row of the table, one line here; written sorted, counted exactly, and merged into standings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.rows.files import written_beside
from jobs.rows.memory import give_back
from jobs.rows.merge import ROW_GROUP, SortedMerge, TableWriter

MONEY = pa.decimal128(24, 12)
TOKENS = ("input_tokens", "cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens", "reasoning_tokens")
SCHEMA = pa.schema(
    [
        pa.field("_row", pa.int64(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("cause", pa.string()),
        pa.field("message", pa.string(), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("finish", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("request_id", pa.string(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in TOKENS),
        pa.field("tier", pa.int8(), nullable=False),
        pa.field("billed", pa.string(), nullable=False),
        pa.field("cost", MONEY),
        pa.field("realtime", MONEY),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("batch", pa.string(), nullable=False),
        pa.field("raw_file", pa.int8(), nullable=False),
        pa.field("raw_offset", pa.int64(), nullable=False),
        pa.field("raw_length", pa.int64(), nullable=False),
    ]
)
UNKNOWN_PRICE = -1  # in the pico-dollar columns that a writer takes
MESSAGE_LENGTH = 2_000
SPILL_BYTES = 24_000_000
_DEFAULTS: dict[str, Any] = {
    "cause": None, "message": "", "answer": None, "finish": "", "model": "", "request_id": "", "tier": 0, "billed": "unpaid",
    "cost": 0, "realtime": 0, "attempts": 1, "batch": "", "raw_file": -1, "raw_offset": -1, "raw_length": -1, **dict.fromkeys(TOKENS, 0),
}  # fmt: skip
_TEXTS = frozenset(field.name for field in SCHEMA if pa.types.is_string(field.type))
_BAD = re.compile("[\x00\ud800-\udfff]")


def clean(text: str | None) -> str | None:
    """Text that Arrow and every reader of it can hold: NUL and halves of surrogate pairs become U+FFFD."""
    return None if text is None else (text if text.isascii() and "\0" not in text else _BAD.sub("\ufffd", text))


def money_array(pico: Sequence[int] | np.ndarray[Any, Any]) -> pa.Array:
    """Whole 10⁻¹² dollars (-1: unknown) as decimal128(24, 12), exactly: the number is the decimal's own unscaled integer."""
    low = np.asarray(pico, dtype=np.int64)
    if len(low) and int(low.min()) < UNKNOWN_PRICE:
        raise ValueError("a price below zero")
    pairs = np.zeros((len(low), 2), dtype=np.int64)
    known = low != UNKNOWN_PRICE
    pairs[:, 0] = np.where(known, low, 0)
    bitmap = pa.py_buffer(np.packbits(known, bitorder="little").tobytes())
    return pa.Array.from_buffers(MONEY, len(low), [bitmap, pa.py_buffer(pairs.tobytes())])


def pico_of(column: pa.ChunkedArray) -> list[int | None]:
    """The whole 10⁻¹² dollars of a money column; None where unknown."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], MONEY)
    if not len(array):
        return []
    pairs = np.frombuffer(array.buffers()[1], dtype=np.int64).reshape(-1, 2)[array.offset : array.offset + len(array)]
    if bool(np.any(pairs[:, 1] != pairs[:, 0] >> 63)):  # beyond 64 bits
        return [None if amount is None else int(amount.scaleb(12)) for amount in array.to_pylist()]
    found: list[int | None] = pairs[:, 0].tolist()
    if array.null_count:
        for i in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist():
            found[i] = None
    return found


def outcome_table(columns: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> pa.Table:
    """A table in SCHEMA out of columnar lists. `_row`, `round` and `kind` are needed, the rest has its default.

    A value that is not a list stands for all rows. `cost` and `realtime` are whole 10⁻¹² dollars, -1 where unknown.
    """
    n = len(columns["_row"])
    given = {**_DEFAULTS, **(defaults or {}), **columns}
    if unknown := set(given) - set(SCHEMA.names):
        raise ValueError(f"not columns of an outcome: {sorted(unknown)}")
    return pa.table([_array(name, given[name], n) for name in SCHEMA.names], schema=SCHEMA)


def _array(name: str, values: Any, n: int) -> pa.Array:
    kind = SCHEMA.field(name).type
    if isinstance(values, (str, int)) or values is None:
        return pa.repeat(pa.scalar(clean(values) if isinstance(values, str) else values, kind), n)
    if len(values) != n:
        raise ValueError(f"{name} has {len(values)} values for {n} rows")
    if name in ("cost", "realtime"):
        return money_array(values)
    if name == "message":
        values = [text[:MESSAGE_LENGTH] if text else "" for text in values]
    return _texts(values) if name in _TEXTS else pa.array(values, kind)


def _texts(values: Sequence[str | None]) -> pa.Array:
    """Texts, cleaned one by one only where there is something to clean."""
    try:
        found = pa.array(values, pa.string())
    except UnicodeEncodeError:
        return pa.array(list(map(clean, values)), pa.string())
    return pa.array(list(map(clean, values)), pa.string()) if pc.any(pc.match_substring(found, "\0")).as_py() else found


class OutcomeWriter:
    """Writes one outcome file out of chunks in any order, sorted by `_row`, whole or not at all.

    Use as a context manager: the file exists when the block ended well. What does not fit in memory is kept in sorted runs
    beside the target. A row that comes twice is a ValueError: whoever decodes decides which line counts.
    """

    def __init__(self, path: Path, **defaults: Any) -> None:
        """`defaults` are values of columns that are the same for all rows, for instance `round=2, batch="…"`."""
        self.path = path
        self.n = 0
        self._defaults = defaults
        self._tables: list[pa.Table] = []
        self._n_bytes = 0
        self._runs: list[Path] = []

    def __enter__(self) -> OutcomeWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for run in self._runs:
                run.unlink(missing_ok=True)

    def add(self, columns: Mapping[str, Any]) -> None:
        """Add a chunk, as for `outcome_table`."""
        table = outcome_table(columns, self._defaults)
        self.n += table.num_rows
        self._tables.append(table)
        self._n_bytes += table.nbytes
        if self._n_bytes > SPILL_BYTES:
            self._spill()

    def _sorted(self) -> pa.Table:
        table = pa.concat_tables(self._tables) if self._tables else SCHEMA.empty_table()
        self._tables, self._n_bytes = [], 0
        return table.take(pc.sort_indices(table.column("_row")))

    def _spill(self) -> None:
        run = self.path.with_name(f"{self.path.name}.run{len(self._runs)}.part")
        run.parent.mkdir(parents=True, exist_ok=True)
        self._runs.append(run)
        with TableWriter(run, SCHEMA, row_group_bytes=1_000_000) as out:
            out.write(self._sorted())
        give_back()  # rows are long: what is kept for later would be added to what the merge needs

    def _finish(self) -> None:
        if self._runs and self._tables:
            self._spill()
        with written_beside(self.path) as part, TableWriter(part, SCHEMA) as out:
            last = -1
            for table in SortedMerge(self._runs, SCHEMA) if self._runs else [self._sorted()]:
                last = _check_ascending(table, last)
                out.write(table)


def _check_ascending(table: pa.Table, last: int) -> int:
    rows = table.column("_row").to_numpy()
    if not len(rows):
        return last
    doubled = rows[1:][rows[1:] == rows[:-1]]
    if len(doubled) or rows[0] <= last:
        raise ValueError(f"row {int(doubled[0]) if len(doubled) else int(rows[0])} has two outcomes in one file")
    return int(rows[-1])


def merge_standings(base: Path | None, newer: Iterable[tuple[int, Path]], target: Path) -> int:
    """Write the standing of every row: `base` overtaken by the outcome files of the rounds in `newer`. The number of rows.

    A later round wins; within a round the later file of the list. `attempts` is that of the base plus the outcomes that each row
    has in `newer`; so a file must not be in both. Memory is bounded: files are read side by side in the order of `_row`.
    """
    n = 0
    with written_beside(target) as part, TableWriter(part, SCHEMA) as out:
        for table in standings(base, newer):
            n += table.num_rows
            out.write(table)
    return n


def standings(base: Path | None, newer: Iterable[tuple[int, Path]]) -> Iterator[pa.Table]:
    """The standings that `merge_standings` would write, as tables in the order of `_row`."""
    files = [] if base is None else [base]
    files += [path for _, path in sorted(newer, key=lambda item: item[0])]
    return map(_newest, SortedMerge(files, SCHEMA))


def _newest(table: pa.Table) -> pa.Table:
    """Of each row the last line, with the attempts of its lines added up. Lines of a row stand together, oldest first."""
    rows = table.column("_row").to_numpy()
    if not len(rows):
        return table
    ends = np.append(np.flatnonzero(rows[1:] != rows[:-1]), len(rows) - 1)
    sums = np.cumsum(table.column("attempts").to_numpy().astype(np.int64))[ends]
    attempts = np.diff(sums, prepend=0).astype(np.int32)
    kept = table if len(ends) == len(rows) else table.take(pa.array(ends))
    return kept.set_column(SCHEMA.get_field_index("attempts"), SCHEMA.field("attempts"), pa.array(attempts))


def _portions(files: Iterable[Path], columns: list[str]) -> Iterable[pa.Table]:
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=8 * ROW_GROUP, columns=columns):
                yield pa.Table.from_batches([batch])


def count_standings(files: Iterable[Path]) -> Counter[tuple[str, str | None]]:
    """Lines by (kind, cause) over all files, each line counted: for one standings file, the standings."""
    counts: Counter[tuple[str, str | None]] = Counter()
    for table in _portions(files, ["kind", "cause"]):
        for line in table.group_by(["kind", "cause"]).aggregate([([], "count_all")]).to_pylist():
            counts[line["kind"], line["cause"]] += line["count_all"]
    return counts


def recount(files: Sequence[tuple[int, Path]]) -> Counter[tuple[str, str | None]]:
    """Standings by (kind, cause), counted from the outcome files of all rounds: of each row the latest. A byte a row of memory."""
    counts: Counter[tuple[str, str | None]] = Counter()
    seen = np.zeros(0, dtype=bool)
    for _, path in sorted(files, key=lambda item: item[0])[::-1]:  # within a round the later file wins, as in the merge
        for table in _portions([path], ["_row", "kind", "cause"]):
            rows = table.column("_row").to_numpy()
            if len(rows) and rows.max() >= len(seen):
                seen = np.append(seen, np.zeros(max(int(rows.max()) + 1 - len(seen), len(seen)), dtype=bool))
            fresh = table.filter(pa.array(~seen[rows]))
            seen[rows] = True
            for line in fresh.group_by(["kind", "cause"]).aggregate([([], "count_all")]).to_pylist():
                counts[line["kind"], line["cause"]] += line["count_all"]
    return counts


@dataclass(slots=True)
class Sums:
    """What lines add up to; dollars exactly. `n_unpriced` lines have no known price and are in no sum of dollars."""

    n: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal = field(default=Decimal(0))
    realtime: Decimal = field(default=Decimal(0))
    n_unpriced: int = 0
    n_blank: int = 0  # lines without any count of tokens

    def __iadd__(self, other: Sums) -> Sums:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self


def sum_outcomes(
    files: Iterable[Path], *, only: Collection[int] | None = None, without: Collection[int] = ()
) -> dict[tuple[int, int, str, str], Sums]:
    """Tokens and dollars by (round, tier, kind, billed) over all lines of all files: what a receipt is made of.

    `only` and `without` are rows to take alone, or to leave out. Files that were summed before, and are the same, are not read again.
    """
    if only is not None or without:
        return _sum_lines(files, only, without)
    found: dict[tuple[int, int, str, str], Sums] = {}
    for path in files:
        stat = path.stat()
        for key, sums in _sums_of(path, stat.st_size, stat.st_mtime_ns).items():
            found.setdefault(key, Sums()).__iadd__(sums)
    return found


@lru_cache(maxsize=4096)
def _sums_of(path: Path, n_bytes: int, changed_ns: int) -> dict[tuple[int, int, str, str], Sums]:
    """The sums of one file as it is: its size and time of change are part of the question."""
    return _sum_lines([path], None, ())


def _sum_lines(files: Iterable[Path], only: Collection[int] | None, without: Collection[int]) -> dict[tuple[int, int, str, str], Sums]:
    found: dict[tuple[int, int, str, str], Sums] = {}
    keys = ["round", "tier", "kind", "billed"]
    summed = [*TOKENS, "cost", "realtime"]
    for table in _portions(files, [*keys, *summed, *(["_row"] if only is not None or without else [])]):
        if only is not None:
            table = table.filter(pc.is_in(table.column("_row"), pa.array(sorted(only), pa.int64())))
        if without:
            table = table.filter(pc.invert(pc.is_in(table.column("_row"), pa.array(sorted(without), pa.int64()))))
        told = pc.add(table.column("input_tokens"), table.column("output_tokens"))
        table = table.append_column("blank", pc.cast(pc.equal(told, 0), pa.int8()))
        wanted: list[Any] = [([], "count_all"), ("cost", "count", pc.CountOptions(mode="only_null"))]
        wanted += [(name, "sum") for name in [*summed, "blank"]]
        for line in table.group_by(keys).aggregate(wanted).to_pylist():
            sums = Sums(
                n=line["count_all"],
                n_unpriced=line["cost_count"],
                n_blank=line["blank_sum"],
                cost=line["cost_sum"] or Decimal(0),
                realtime=line["realtime_sum"] or Decimal(0),
                **{name: line[f"{name}_sum"] for name in TOKENS},
            )
            found.setdefault((line["round"], line["tier"], line["kind"], line["billed"]), Sums()).__iadd__(sums)
    return found
