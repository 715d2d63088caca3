"""Parquet: types and values stay as they are; only the names of the columns become ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.errors import BadTable, Where
from jobs.rows.cells import is_binary
from jobs.rows.reading import BATCH_BYTES, BATCH_ROWS, IngestLimits

_LOOK = 32  # rows that tell how large a row is, whatever the metadata says
_HINT = "Write the file again; if it was copied, copy it again."


class ParquetTable:
    """Reads one Parquet file; see `TableReader`. Nothing that its metadata claims is trusted but the schema."""

    def __init__(self, path: Path, limits: IngestLimits) -> None:
        self.notes: list[str] = []
        self._limits = limits
        try:
            self._file = _open(path, _int96_unit(path))
            schema = self._file.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise _broken(error) from error
        self.names = list(schema.names)
        if len(self.names) > limits.columns:
            raise BadTable(
                f"The file has {len(self.names):,} columns, more than the {limits.columns:,} that a table may have.",
                Where(None, f"{len(self.names):,} columns", f"at most {limits.columns:,}"),
            )
        if not self.names:
            raise BadTable("The file has no columns.", Where(None, "no columns", "at least one"))
        self.arrow_types = [_plain(field.type) for field in schema]
        self._tell_texts([position for position, kind in enumerate(self.arrow_types) if is_binary(kind)])

    def _tell_texts(self, unclear: list[int]) -> None:
        """Many writers leave unsaid that their bytes are text. They are, where every value of the column is."""
        others: list[int] = []
        try:
            for batch in self._portions() if unclear else ():
                odd = [position for position in unclear if not _is_text(batch.column(position))]
                others += odd
                unclear = [position for position in unclear if position not in odd]
                if not unclear:
                    break
        except (pa.ArrowException, OSError) as error:
            raise _broken(error) from error
        for position in unclear:
            self.arrow_types[position] = pa.string()
        self.notes += [
            f"column {self.names[position]!r} holds bytes that are no text; prompts, CSV and JSON lines get them in base64"
            for position in sorted(others)
        ]

    def types(self) -> list[str]:
        return ["text" if kind == pa.string() else str(kind) for kind in self.arrow_types]

    def batches(self) -> Iterator[list[pa.Array]]:
        opened = 0
        try:
            for batch in self._portions():
                opened += batch.nbytes
                if opened > self._limits.inflated_bytes:
                    raise BadTable(
                        f"The file opens to more than {self._limits.inflated_bytes:,} bytes.",
                        Where(None, f"over {opened:,} bytes", f"at most {self._limits.inflated_bytes:,}"),
                    )
                yield [_cast(array, kind) for array, kind in zip(batch.columns, self.arrow_types, strict=True)]
        except pa.ArrowMemoryError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise _broken(error) from error

    def _portions(self) -> Iterator[pa.RecordBatch]:
        """The row groups in portions of about the same size, however large their rows are."""
        for group in range(self._file.num_row_groups):
            n_rows, seen = self._file.metadata.row_group(group).num_rows, 0
            if n_rows > 0:
                head = next(self._file.iter_batches(batch_size=_LOOK, row_groups=[group], use_threads=False), None)
                seen = head.nbytes // max(head.num_rows, 1) if head is not None else 0
            claimed = self._file.metadata.row_group(group).total_byte_size // max(n_rows, 1)
            size = min(BATCH_ROWS, max(1, BATCH_BYTES // max(seen, claimed, 1)))
            yield from self._file.iter_batches(batch_size=size, row_groups=[group], use_threads=False)


def _open(path: Path, int96_unit: str) -> pq.ParquetFile:
    # Without the buffer a row group's columns are held whole, and a writer may have put a gigabyte in one.
    return pq.ParquetFile(
        path, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True, coerce_int96_timestamp_unit=int96_unit
    )


def _int96_unit(path: Path) -> str:
    """Old timestamps of 96 bits hold both nanoseconds and the year 9999: the unit in which no value of them is lost."""
    with _open(path, "us") as file:
        old = [i for i in range(len(file.schema)) if file.schema.column(i).physical_type == "INT96"]
        if not old:
            return "ns"
        most = (1 << 63) // 1000 - 1
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], use_threads=False):
                for column in batch.columns:
                    if pa.types.is_timestamp(column.type) and pc.any(pc.greater(pc.abs(column.cast(pa.int64())), most)).as_py():
                        return "us"
    return "ns"


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    return array.cast(pa.binary()).cast(kind) if is_binary(array.type) else array.cast(kind)


def _is_text(array: pa.Array) -> bool:
    """Whether bytes are UTF-8, and text by the look of it."""
    try:
        return not pc.any(pc.match_substring(_cast(array, pa.string()), "\0")).as_py()
    except pa.ArrowInvalid:
        return False


def _plain(kind: pa.DataType) -> pa.DataType:
    """Dictionaries and the large and view kinds of text are ways of storing, not types."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind


def _broken(error: Exception) -> BadTable:
    return BadTable("The Parquet file is damaged or cut off.", Where(None, str(error).split("\n")[0][:200], "a whole Parquet file"), _HINT)
