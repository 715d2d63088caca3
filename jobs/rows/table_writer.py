"""Writes `table.parquet`: `_row` and the columns c0, c1 …, in row groups small enough that scattered rows are quick to reach."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.errors import BadTable, Where
from jobs.rows.reading import Column, IngestLimits, TableReader
from jobs.rows.variables import variable_names

ROW_GROUP = 8192
_GROUP_BYTES = 32_000_000  # rows of large cells are cut into smaller groups, for the sake of memory


def columns_of(reader: TableReader) -> list[Column]:
    """The columns of a reader, named for the file, for a person and for a template."""
    named = zip(reader.names, variable_names(reader.names), reader.types(), strict=True)
    return [Column(f"c{n}", name, variable, kind) for n, (name, variable, kind) in enumerate(named)]


def write_table(reader: TableReader, part: Path, limits: IngestLimits) -> int:
    """Write all rows and return how many. Raises BadTable on what the reader or the limits refuse."""
    schema = pa.schema([("_row", pa.int64()), *((f"c{n}", kind) for n, kind in enumerate(reader.arrow_types))])
    n_rows = 0
    writing: Future[None] | None = None
    with (
        pq.ParquetWriter(part, schema, compression="zstd", compression_level=1, use_dictionary=False, write_statistics=["_row"]) as writer,
        ThreadPoolExecutor(1) as writer_thread,  # one batch is written while the next is parsed; it ends before the file is closed
    ):
        for arrays in reader.batches():
            n = len(arrays[0])
            _check(arrays, n_rows, limits)
            batch = pa.record_batch([pa.array(range(n_rows, n_rows + n), pa.int64()), *arrays], schema=schema)
            n_rows += n
            if n_rows > limits.rows:
                raise BadTable(
                    f"The table has more than {limits.rows:,} rows.", Where(None, f"over {limits.rows:,} rows", f"at most {limits.rows:,}")
                )
            if writing is not None:
                writing.result()
            writing = writer_thread.submit(_write, writer, batch)
        if writing is not None:
            writing.result()
    if not n_rows:
        raise BadTable(
            "The table has a header but no rows.", Where(None, "0 rows", "at least one row"), "Upload a file with at least one row."
        )
    return n_rows


def _write(writer: pq.ParquetWriter, batch: pa.RecordBatch) -> None:
    group = ROW_GROUP if batch.nbytes < _GROUP_BYTES else max(1, ROW_GROUP * _GROUP_BYTES // batch.nbytes)
    writer.write_batch(batch, row_group_size=group)


def _check(arrays: list[pa.Array], n_before: int, limits: IngestLimits) -> None:
    """Refuse a cell that is too long. A row is named by its number, from 1, as a person counts."""
    for position, array in enumerate(arrays):
        if not (pa.types.is_string(array.type) or pa.types.is_binary(array.type)) or array.nbytes <= limits.cell_bytes:
            continue
        sizes = pc.binary_length(array)
        most = pc.max(sizes).as_py() or 0
        if most > limits.cell_bytes:
            row = n_before + pc.index(sizes, most).as_py() + 1
            raise BadTable(
                f"Row {row:,} has a value of {most:,} bytes in column {position + 1}.",
                Where(None, f"{most:,} bytes", f"at most {limits.cell_bytes:,}"),
            )
