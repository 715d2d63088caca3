"""How many rows to hold at once, so that memory stays flat however long the rows are."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow.parquet as pq


def bytes_each(meta: pq.FileMetaData, names: Iterable[str] | None = None) -> float:
    """Bytes of a row, uncompressed, in the row group where rows are longest; of the columns `names` alone, None for all."""
    taken = None if names is None else set(names)
    wanted = [i for i in range(meta.num_columns) if taken is None or meta.schema.column(i).path.split(".")[0] in taken]
    found = 0.0
    for number in range(meta.num_row_groups):
        group = meta.row_group(number)
        found = max(found, sum(group.column(i).total_uncompressed_size for i in wanted) / max(group.num_rows, 1))
    return found


def rows_at_once(budget: int, each: float, least: int, most: int) -> int:
    """Rows of `each` bytes that fit in `budget` bytes, within bounds."""
    return int(min(most, max(least, budget // max(each, 1.0))))
