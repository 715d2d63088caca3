"""Small helpers: write bytes, ingest them, read the table back as Python values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jobs.rows.ingest import Ingested, ingest


def read(tmp_path: Path, content: bytes, filename: str = "x.csv", **more: Any) -> tuple[Ingested, list[list[Any]]]:
    """Ingest `content` and return what was said of it and the rows, after checking `_row`."""
    source, target = tmp_path / "source", tmp_path / "out" / "table.parquet"
    source.write_bytes(content)
    done = ingest(source, target, filename=filename, **more)
    return done, rows_of(target, done)


def rows_of(target: Path, done: Ingested) -> list[list[Any]]:
    table = pq.read_table(target)
    assert table.column_names == ["_row", *(column.key for column in done.columns)]
    assert table.column("_row").to_pylist() == list(range(done.n_rows))
    return [list(row) for row in zip(*(table.column(column.key).to_pylist() for column in done.columns), strict=True)]
