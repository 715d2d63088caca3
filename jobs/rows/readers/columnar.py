"""Parquet: types and values stay as they are; only the names of the columns become ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import BadTable, Where
from jobs.rows.reading import IngestLimits

BATCH = 8192
_HINT = "Write the file again; if it was copied, copy it again."


class ParquetTable:
    """Reads one Parquet file; see `TableReader`. Nothing that its metadata claims is trusted but the schema."""

    def __init__(self, path: Path, limits: IngestLimits) -> None:
        self.notes: list[str] = []
        self._limits = limits
        try:
            self._file = pq.ParquetFile(path)
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

    def types(self) -> list[str]:
        return ["text" if kind == pa.string() else str(kind) for kind in self.arrow_types]

    def batches(self) -> Iterator[list[pa.Array]]:
        opened = 0
        try:
            for batch in self._file.iter_batches(batch_size=BATCH):
                opened += batch.nbytes
                if opened > self._limits.inflated_bytes:
                    raise BadTable(
                        f"The file opens to more than {self._limits.inflated_bytes:,} bytes.",
                        Where(None, f"over {opened:,} bytes", f"at most {self._limits.inflated_bytes:,}"),
                    )
                yield [
                    array.cast(kind) if array.type != kind else array for array, kind in zip(batch.columns, self.arrow_types, strict=True)
                ]
        except pa.ArrowMemoryError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise _broken(error) from error


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
