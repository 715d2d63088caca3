"""Sorted Parquet files read side by side in the order of `_row`, in bounded memory, and a writer with bounded row groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.rows.memory import give_back
from jobs.rows.portions import bytes_each, rows_at_once

ROW_GROUP = 10_000
ROW_GROUP_BYTES = 16_000_000
# Few different values in a row group: stored once each. (Arrow stores plainly after all where a dictionary grows too large.)
_REPEATED = ["round", "kind", "cause", "message", "finish", "model", "tier", "billed", "cost", "realtime", "attempts", "batch", "raw_file"]
_REPEATED += ["input_tokens", "cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens", "reasoning_tokens"]
_ASCENDING = ["_row", "raw_offset", "raw_length"]  # or nearly so: stored as differences
_AT_ONCE_BYTES = 4_000_000


class TableWriter:
    """Streams tables into one Parquet file: zstd, row groups of at most 10,000 rows and about 16 MB."""

    def __init__(self, path: Path, schema: pa.Schema, row_group_bytes: int = ROW_GROUP_BYTES) -> None:
        dictionary = [name for name in _REPEATED if name in schema.names]
        differences = {name: "DELTA_BINARY_PACKED" for name in _ASCENDING if name in schema.names}
        self._writer = pq.ParquetWriter(
            path, schema, compression="zstd", compression_level=1, use_dictionary=dictionary, column_encoding=differences
        )
        self._row_group_bytes = row_group_bytes
        self._waiting: list[pa.Table] = []
        self._n = self._n_bytes = 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Add rows at the end."""
        if not table.num_rows:
            return
        size = max(1, min(ROW_GROUP, self._row_group_bytes * table.num_rows // max(table.nbytes, 1)))
        at = 0
        while at < table.num_rows:
            part = table.slice(at, min(size, ROW_GROUP - self._n))
            at += part.num_rows
            self._waiting.append(part)
            self._n += part.num_rows
            self._n_bytes += part.nbytes
            if self._n >= ROW_GROUP or self._n_bytes >= self._row_group_bytes:
                self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=ROW_GROUP)
        large = self._n_bytes >= ROW_GROUP_BYTES
        self._waiting, self._n, self._n_bytes = [], 0, 0
        if large:  # rows are long: what Arrow keeps for later would soon be many times what it uses
            give_back()


class _Source:
    """One sorted file, opened when its first row is reached and closed after its last."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self._schema = path, schema
        with pq.ParquetFile(path) as file:
            meta = file.metadata
            self.n_rows = meta.num_rows
            self.first = int(next(file.iter_batches(batch_size=1, columns=["_row"])).column(0)[0].as_py()) if meta.num_rows else 0
        # At most a row group's worth of rows, fewer where answers are long.
        self._size = rows_at_once(_AT_ONCE_BYTES, bytes_each(meta), 4, ROW_GROUP)
        self._batches: Iterator[pa.RecordBatch] | None = None
        self.waiting: pa.Table | None = None
        self.rows: np.ndarray[tuple[int], np.dtype[np.int64]] = np.zeros(0, dtype=np.int64)
        self.ended = not self.n_rows

    def fill(self) -> None:
        """Have rows waiting, or be ended."""
        if self.ended or len(self.rows):
            return
        if self._batches is None:
            self._batches = _batches(self.path, self._size)
        batch = next(self._batches, None)
        if batch is None:
            self.ended, self.waiting = True, None
            return
        self.waiting = pa.Table.from_batches([batch]).select(self._schema.names).cast(self._schema)
        self.rows = self.waiting.column("_row").to_numpy()

    def take_to(self, horizon: int) -> pa.Table:
        """The waiting rows up to and with `horizon`."""
        assert self.waiting is not None
        n = int(np.searchsorted(self.rows, horizon, side="right"))
        taken, self.waiting, self.rows = self.waiting.slice(0, n), self.waiting.slice(n), self.rows[n:]
        return taken


def _batches(path: Path, size: int) -> Iterator[pa.RecordBatch]:
    """Not a method: its frame would hold the source that holds it, and a merge that is left in the middle would stay in memory."""
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=size, use_threads=False)


class SortedMerge:
    """Iterates over the rows of sorted files as tables, in the order of `_row`; lines of one row in the order of the files.

    A row's lines are never divided between two tables. `_row` is unique within each file.
    """

    def __init__(self, files: Sequence[Path], schema: pa.Schema) -> None:
        self._sources = [_Source(path, schema) for path in files]

    def __iter__(self) -> Iterator[pa.Table]:
        while True:
            open_sources = self._fill()
            if not open_sources:
                return
            horizon = min(int(source.rows[-1]) for source in open_sources)
            # A file that starts below the horizon takes part, else its rows would come too late.
            late = [source for source in self._unopened() if source.first <= horizon]
            if late:
                for source in late:
                    source.fill()
                continue
            parts = [source.take_to(horizon) for source in open_sources if source.rows[0] <= horizon]
            yield _sorted(parts)

    def _unopened(self) -> list[_Source]:
        return [source for source in self._sources if not source.ended and source.waiting is None]

    def _fill(self) -> list[_Source]:
        for source in self._sources:
            if source.waiting is not None:
                source.fill()
        found = [source for source in self._sources if len(source.rows)]
        if not found and (waiting := self._unopened()):
            min(waiting, key=lambda source: source.first).fill()
            return self._fill()
        return found


def _sorted(parts: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables(parts)
    if len(parts) == 1:
        return table
    rows = table.column("_row").to_numpy()
    return table.take(pa.array(np.argsort(rows, kind="stable")))
