"""XLSX: one sheet, its values as text. Whole numbers without `.0`, dates in ISO form, formulas by the value that was saved with them."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import openpyxl
import pyarrow as pa
from openpyxl.utils.exceptions import InvalidFileException

from jobs.errors import BadTable, Where
from jobs.rows.reading import BATCH_BYTES, BATCH_ROWS, IngestLimits, Reading

_INFLATED = 2_000_000_000  # a sheet of Excel's full 1,048,576 rows stays far below
_BROKEN = (zipfile.BadZipFile, InvalidFileException, ParseError, KeyError, ValueError, TypeError, AttributeError, EOFError, IndexError)


def open_book(path: Path, limits: IngestLimits) -> Any:
    """The workbook, once its parts have a size that may be opened. Raises BadTable."""
    try:
        with zipfile.ZipFile(path) as archive:
            opened = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise _broken(error) from error
    most = min(limits.inflated_bytes, _INFLATED, max(100_000_000, path.stat().st_size * limits.inflated_ratio))
    if opened > most:
        raise BadTable(
            f"The file opens to {opened:,} bytes, far more than its size.", Where(None, f"{opened:,} bytes", f"at most {most:,}")
        )
    try:
        return openpyxl.load_workbook(path.open("rb"), read_only=True, data_only=True, keep_links=False)
    except _BROKEN as error:
        raise _broken(error) from error


def sheet_names(book: Any) -> list[str]:
    """The sheets with cells that are not hidden, in order."""
    return [sheet.title for sheet in book.worksheets if sheet.sheet_state == "visible"]


class Spreadsheet:
    """Reads one sheet; see `TableReader`."""

    def __init__(self, path: Path, reading: Reading, limits: IngestLimits) -> None:
        self._limits, self._reading = limits, reading
        self._book = open_book(path, limits)
        sheets = sheet_names(self._book)
        if reading.sheet not in sheets:
            raise BadTable(f"The workbook has no sheet {reading.sheet!r}.", Where(None, ", ".join(sheets) or "no sheet", reading.sheet))
        others = [name for name in sheets if name != reading.sheet]
        self.notes = [f"only sheet {reading.sheet!r} is read, not {', '.join(map(repr, others))}"] if others else []
        self._n_blank = 0
        self._rows = self._texts()
        line, first = next(self._rows, (1, []))
        if not first:
            raise BadTable(f"Sheet {reading.sheet!r} is empty.", Where(1, "nothing", "a header and rows"), "Choose a sheet with rows.")
        self.names = first if reading.header else [f"column_{n}" for n in range(1, len(first) + 1)]
        self._pending = [] if reading.header else [(line, first)]
        self.arrow_types = [pa.string()] * len(first)

    def types(self) -> list[str]:
        return ["text"] * len(self.names)

    def batches(self) -> Iterator[list[pa.Array]]:
        width, size = len(self.names), 0
        rows: list[list[str]] = []
        for line, row in self._all():
            if len(row) > width:
                raise BadTable(
                    f"Row {line} has a value in column {len(row)}, beyond the {width} of the first row.",
                    Where(line, f"{len(row)} values", f"at most {width}"),
                    "Give every column a header.",
                )
            rows.append(row + [""] * (width - len(row)))
            size += sum(map(len, row))
            if len(rows) == BATCH_ROWS or size > BATCH_BYTES:
                yield [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
                rows, size = [], 0
        if rows:
            yield [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        if self._n_blank:
            self.notes.append(f"{self._n_blank:,} blank row{'s' if self._n_blank > 1 else ''} skipped")

    def _all(self) -> Iterator[tuple[int, list[str]]]:
        yield from self._pending
        yield from self._rows

    def _texts(self) -> Iterator[tuple[int, list[str]]]:
        """Row number and values of each row that has any, without empty cells at its end."""
        sheet = self._book[self._reading.sheet]
        sheet.reset_dimensions()  # what the file claims of its size is not trusted
        n_blank = 0
        try:
            for line, cells in enumerate(sheet.iter_rows(), 1):
                values = [_text(cell) for cell in cells]
                while values and not values[-1]:
                    values.pop()
                if len(values) > self._limits.columns:
                    raise BadTable(
                        f"Row {line} has {len(values):,} columns, more than the {self._limits.columns:,} that a table may have.",
                        Where(line, f"{len(values):,} columns", f"at most {self._limits.columns:,}"),
                    )
                if values:
                    self._n_blank, n_blank = self._n_blank + n_blank, 0
                    yield line, values
                else:
                    n_blank += 1  # counted only if something follows
        except _BROKEN as error:
            raise _broken(error) from error


def _text(cell: Any) -> str:
    value = cell.value
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, dt.datetime):
        timed = value.time() != dt.time() or any(mark in str(cell.number_format).lower() for mark in ("h", "ss"))
        return value.isoformat(" ") if timed else value.date().isoformat()
    return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)


def _broken(error: Exception) -> BadTable:
    return BadTable(
        "The Excel file cannot be opened: it is damaged or not an .xlsx file.",
        Where(None, f"{type(error).__name__}: {error}"[:200], "a whole .xlsx file"),
        "Open it in a spreadsheet program and save it again as .xlsx or CSV.",
    )
