"""What the bounded child of `ingest` does: look at a file, show its first rows, or turn it into a table."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jobs.errors import BadTable, Where
from jobs.rows.readers.columnar import ParquetTable
from jobs.rows.readers.delimited import Delimited
from jobs.rows.readers.jsons import JsonTable
from jobs.rows.readers.source import Source
from jobs.rows.readers.spreadsheet import Spreadsheet
from jobs.rows.reading import Ingested, IngestLimits, Reading, TableReader
from jobs.rows.sniff import look
from jobs.rows.table_writer import columns_of, write_table

_SHOWN = 2_000  # characters of a cell in a preview


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """`{"do": "sniff" | "preview" | "ingest", "source", "filename", "reading", "limits", …}` → the result as a dict; cwd is for scratch."""
    source, limits = Path(request["source"]), IngestLimits(**request["limits"])
    try:
        reading = Reading.from_dict(request["reading"]) if request["reading"] else look(source, request["filename"], Path.cwd(), limits)
        if request["do"] == "sniff":
            return reading.to_dict()
        if request["do"] == "preview":
            return _preview(source, reading, limits, request["n"])
        return _ingest(source, Path(request["part"]), reading, limits).to_dict()
    except RecursionError as error:
        raise BadTable("The file is nested too deep.", Where(None, "too many levels", f"at most {limits.nesting}")) from error
    except UnicodeEncodeError as error:
        raise BadTable("The file has half a character: a lone surrogate.", Where(None, "a lone surrogate", "whole characters")) from error


def open_reader(source: Path, reading: Reading, limits: IngestLimits, head: int | None = None) -> TableReader:
    """The reader for a reading. `head` says that only so many rows will be asked for. Raises BadTable."""
    packed = Source(source, reading.compression, limits)
    if reading.kind == "csv":
        return Delimited(packed, reading)
    if reading.kind in ("json", "jsonl"):
        return JsonTable(packed, reading, head)
    if reading.kind == "parquet":
        return ParquetTable(packed.unpacked(Path.cwd()), limits)
    return Spreadsheet(packed.unpacked(Path.cwd()), reading, limits)


def _ingest(source: Path, part: Path, reading: Reading, limits: IngestLimits) -> Ingested:
    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(_sha256, source)
        reader = open_reader(source, reading, limits)
        n_rows = write_table(reader, part, limits)
        return Ingested(n_rows, columns_of(reader), digest.result(), source.stat().st_size, reading, reader.notes)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _preview(source: Path, reading: Reading, limits: IngestLimits, n: int) -> dict[str, Any]:
    reader = open_reader(source, reading, limits, head=n)
    rows: list[list[str | None]] = []
    for arrays in reader.batches():
        shown = [[_show(value) for value in array.slice(0, n - len(rows)).to_pylist()] for array in arrays]
        rows += [list(row) for row in zip(*shown, strict=True)]
        if len(rows) >= n:
            break
    return {"reading": reading.to_dict(), "columns": [column.to_dict() for column in columns_of(reader)], "rows": rows}


def _show(value: Any) -> str | None:
    return None if value is None else str(value)[:_SHOWN]
