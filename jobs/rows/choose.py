"""Which rows a new round takes: by their standing, out of outcome files, without holding more than a bit per row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.rows.files import written_beside
from jobs.rows.render import selected_rows

Rows = np.ndarray[tuple[int], np.dtype[np.int64]]
Marks = np.ndarray[tuple[int], np.dtype[np.bool_]]
ROWS_SCHEMA = pa.schema([pa.field("_row", pa.int64(), nullable=False)])


@dataclass(frozen=True, slots=True)
class Wanted:
    """Standings to take: all conditions that are given must hold. `max_attempts` takes rows that were tried fewer times."""

    kinds: Collection[str] = ()
    causes: Collection[str] = ()
    rows: Collection[int] = ()
    max_attempts: int | None = None
    rounds: Collection[int] = ()  # of the standing outcome

    def mask(self, table: pa.Table) -> pa.Array:
        mask = pa.array(np.ones(table.num_rows, dtype=bool))
        if self.kinds:
            mask = pc.and_(mask, pc.is_in(table.column("kind"), pa.array(list(self.kinds), pa.string())))
        if self.causes:
            mask = pc.and_(mask, pc.is_in(table.column("cause"), pa.array(list(self.causes), pa.string())))
        if self.rows:
            mask = pc.and_(mask, pc.is_in(table.column("_row"), pa.array(sorted(self.rows), pa.int64())))
        if self.max_attempts is not None:
            mask = pc.and_(mask, pc.less(table.column("attempts"), self.max_attempts))
        if self.rounds:
            mask = pc.and_(mask, pc.is_in(table.column("round"), pa.array(sorted(self.rounds), pa.int32())))
        return mask


@dataclass(frozen=True, slots=True)
class Chosen:
    """Sorted row numbers, and how many of them stood at each kind."""

    rows: Rows
    kinds: dict[str, int]


def choose(files: Sequence[tuple[int, Path]], wanted: Wanted, busy: Sequence[Path] = ()) -> Chosen:
    """The rows whose standing is wanted. `files` are (round, outcome or standings file), a later round overtakes; rows of the
    `busy` files (rows files of open rounds) are never chosen."""
    seen = np.zeros(0, dtype=bool)
    found: list[Rows] = []
    kinds: Counter[str] = Counter()
    for path in busy:
        seen = _mark(seen, selected_rows(path))
    for _, path in sorted(files, key=lambda item: item[0], reverse=True):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=80_000, columns=["_row", "kind", "cause", "attempts", "round"]):
                table = pa.Table.from_batches([batch])
                rows = table.column("_row").to_numpy()
                seen = _grow(seen, rows)
                mask = np.asarray(wanted.mask(table).to_numpy(zero_copy_only=False), dtype=bool) & ~seen[rows]
                taken = table.filter(pa.array(mask))
                found.append(taken.column("_row").to_numpy())
                kinds.update(taken.column("kind").to_pylist())
        with pq.ParquetFile(path) as file:  # marked after the file is read: its own rows do not hide each other
            for batch in file.iter_batches(batch_size=80_000, columns=["_row"]):
                seen = _mark(seen, batch.column(0).to_numpy())
    rows = np.sort(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
    return Chosen(rows, dict(kinds))


def _grow(seen: Marks, rows: Rows) -> Marks:
    need = int(rows.max()) + 1 if len(rows) else 0
    return seen if need <= len(seen) else np.append(seen, np.zeros(max(need - len(seen), len(seen)), dtype=bool))


def _mark(seen: Marks, rows: Rows) -> Marks:
    seen = _grow(seen, rows)
    seen[rows] = True
    return seen


def write_rows(rows: Sequence[int] | np.ndarray[Any, np.dtype[np.int64]], target: Path) -> int:
    """Write a rows file: sorted row numbers, each once. How many there are."""
    unique = np.unique(np.asarray(rows, dtype=np.int64))
    with written_beside(target) as part:
        pq.write_table(pa.table({"_row": pa.array(unique)}, schema=ROWS_SCHEMA), part, compression="zstd")
    return len(unique)
