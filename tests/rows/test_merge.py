"""A merge that is left in the middle, as an export does after its last row, keeps nothing in memory."""

from __future__ import annotations

import gc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.rows.memory import giving_back
from jobs.rows.merge import SortedMerge

SCHEMA = pa.schema([pa.field("_row", pa.int64()), pa.field("text", pa.string())])


def test_a_merge_left_in_the_middle_is_freed_at_once(tmp_path: Path) -> None:
    table = pa.table({"_row": list(range(50_000)), "text": ["x" * 50] * 50_000}, schema=SCHEMA)
    pq.write_table(table, tmp_path / "one.parquet", row_group_size=10_000)
    del table
    gc.collect()
    before = pa.total_allocated_bytes()
    gc.disable()  # a cycle would be found some time, or a gigabyte of downloads later
    try:
        tables = iter(SortedMerge([tmp_path / "one.parquet"], SCHEMA))
        assert next(tables).num_rows == 10_000
        assert pa.total_allocated_bytes() > before
        del tables
        assert pa.total_allocated_bytes() == before
    finally:
        gc.enable()


def test_parts_come_through_unchanged() -> None:
    assert list(giving_back([b"a", b"b"])) == [b"a", b"b"]
