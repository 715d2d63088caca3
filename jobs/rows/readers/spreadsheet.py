"""XLSX: one sheet, its values as text. Whole numbers without `.0`, dates in ISO form, formulas by the value that was saved with them."""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import pyarrow as pa
from openpyxl.cell.read_only import ReadOnlyCell
from openpyxl.cell.text import Text
from openpyxl.reader.excel import ExcelReader
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet._reader import FORMULA_TAG, ROW_TAG, VALUE_TAG, WorkSheetParser
from openpyxl.xml.constants import SHARED_STRINGS, SHEET_MAIN_NS
from openpyxl.xml.functions import iterparse

from jobs.errors import BadTable, Where
from jobs.rows.reading import BATCH_BYTES, BATCH_ROWS, IngestLimits, Reading, titles_note

_INFLATED = 2_000_000_000  # a sheet of Excel's full 1,048,576 rows stays far below
_AGAIN = "Open it in a spreadsheet program and save it again as .xlsx or CSV."
_LAST_ROW = 1_048_576
_TITLES = 10  # more rows of one value each are no titles
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
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
        reader = _Reader(path.open("rb"), read_only=True, data_only=True, keep_links=False)
        reader.read()
        return reader.wb
    except _BROKEN as error:
        raise _broken(error) from error


def sheet_names(book: Any) -> list[str]:
    """The sheets with cells that are not hidden, in order."""
    return [sheet.title for sheet in book.worksheets if sheet.sheet_state == "visible"]


def first_sheet(book: Any) -> str | None:
    """The first sheet that is not hidden and has a value in it; else the first one."""
    names = sheet_names(book)
    return next((name for name in names if _has_values(book[name])), names[0] if names else None)


def _has_values(sheet: Any) -> bool:
    try:
        with sheet._get_source() as xml:
            return any(cell["value"] is not None for _, cells in _Rows(sheet, xml).rows() for cell in cells)
    except _BROKEN:
        return True  # its reader says what is wrong


def title_rows(book: Any, name: str) -> int:
    """How many rows of a sheet stand above its header: titles of one value each over a table that is wider than they are. 0 where the
    first row is the header. Without this such a sheet could not be read at all: its rows have more values than its first one."""
    sheet, found = book[name], []
    try:
        with sheet._get_source() as xml:
            for line, cells in islice(_Rows(sheet, xml).rows(), 50):
                if columns := [cell["column"] for cell in cells if cell["value"] is not None and _text(sheet, cell)]:
                    found.append((line, len(columns), max(columns)))
    except _BROKEN:
        return 0  # its reader says what is wrong
    at = next((at for at, (_, n, _) in enumerate(found) if n > 1), 0)
    if not 0 < at <= _TITLES or at + 1 == len(found):
        return 0
    line, _, width = found[at]
    fits = width > max(title for _, _, title in found[:at]) and all(row <= width for _, _, row in found[at:])
    return line - 1 if fits else 0


class _Reader(ExcelReader):
    """openpyxl's, but for its way with escapes in texts: those are undone in `_text`, once and everywhere."""

    def read_strings(self) -> None:
        if (part := self.package.find(SHARED_STRINGS)) is not None:
            with self.archive.open(part.PartName[1:]) as xml:
                self.shared_strings = list(_strings(xml))


def _strings(xml: Any) -> Iterator[str]:
    for _, node in iterparse(xml):
        if node.tag == f"{{{SHEET_MAIN_NS}}}si":
            yield Text.from_tree(node).content
            node.clear()


class _Rows(WorkSheetParser):
    """The rows of a sheet in the order of the file, and nothing else of it; openpyxl's own reader drops what is out of order."""

    def __init__(self, sheet: Any, xml: Any) -> None:
        book = sheet.parent
        super().__init__(
            xml,
            sheet._shared_strings,
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )
        self.unsaved: Counter[int] = Counter()  # formulas without the value that they had, by column

    def rows(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        for _, element in iterparse(self.source):
            if element.tag == ROW_TAG:
                yield self.parse_row(element)
                self.row_dimensions.clear()
                element.clear()

    def parse_cell(self, element: Any) -> dict[str, Any]:
        cell: dict[str, Any] = super().parse_cell(element)
        if cell["value"] is None:
            saved = element.get("t") == "str" and element.find(VALUE_TAG) is not None  # an empty text
            if element.find(FORMULA_TAG) is not None and not saved:
                self.unsaved[cell["column"]] += 1
        elif cell["data_type"] == "e" and element.get("t", "n") == "n":  # in the format of a date, but no date: the number stands
            cell["value"] = element.findtext(VALUE_TAG)
        return cell


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
        titles: list[list[str]] = []
        for line, first in self._rows:
            if line > reading.skip:
                break
            titles.append(first)
        else:
            line, first = 1, []
        if titles:
            self.notes.append(titles_note(titles))
            self._n_blank = 0  # those among the titles
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
                    f"Row {line} has a value in column {len(row)}, but the {'header' if self._reading.header else 'first row'} "
                    f"ends with column {width}.",
                    Where(line, f"{len(row)} values", f"at most {width}"),
                    "Give every column a header. Titles above the header have to go.",
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
        sheet, before = self._book[self._reading.sheet], 0
        try:
            with sheet._get_source() as xml:
                parser = _Rows(sheet, xml)
                for line, cells in parser.rows():
                    if not before < line <= _LAST_ROW:
                        raise BadTable(
                            f"The file has row {line:,} after row {before:,}.", Where(line, f"row {line:,}", "rows in their order"), _AGAIN
                        )
                    values = self._values(sheet, line, cells)
                    if values:
                        self._n_blank += line - before - 1  # counted only if something follows
                        before = line
                        yield line, values
        except _BROKEN as error:
            raise _broken(error) from error
        if parser.unsaved:
            n = parser.unsaved.total()
            names = {column: repr(self.names[column - 1]) if column <= len(self.names) else f"{column}" for column in parser.unsaved}
            where = ", ".join(f"{count:,} in column {names[column]}" for column, count in sorted(parser.unsaved.items()))
            self.notes.append(
                f"{n:,} formula{'s have' if n > 1 else ' has'} no saved value and {'are' if n > 1 else 'is'} read as empty ({where}): "
                "save the file in a spreadsheet program to have the values"
            )

    def _values(self, sheet: Any, line: int, cells: list[dict[str, Any]]) -> list[str]:
        found: dict[int, str] = {}
        for cell in cells:
            if cell["value"] is None or not (text := _text(sheet, cell)):
                continue
            if cell["column"] in found:
                raise BadTable(f"Row {line} has two values in column {cell['column']}.", Where(line, "two values", "one value"), _AGAIN)
            found[cell["column"]] = text
        width = max(found, default=0)
        if width > self._limits.columns:
            raise BadTable(
                f"Row {line} has {width:,} columns, more than the {self._limits.columns:,} that a table may have.",
                Where(line, f"{width:,} columns", f"at most {self._limits.columns:,}"),
            )
        return [found.get(column, "") for column in range(1, width + 1)]


def _text(sheet: Any, cell: dict[str, Any]) -> str:
    value = cell["value"]
    if isinstance(value, str):
        return _ESCAPED.sub(_unescaped, value) if "_x" in value and cell["data_type"] == "s" else value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, dt.datetime):
        form = str(ReadOnlyCell(sheet, **cell).number_format).lower()
        timed = value.time() != dt.time() or "h" in form or "ss" in form
        return value.isoformat(" ") if timed else value.date().isoformat()
    if isinstance(value, dt.timedelta):
        return _hours(value)
    return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)


def _unescaped(match: re.Match[str]) -> str:
    """`_x000D_` is how the format writes a character that XML cannot hold."""
    number = int(match[1], 16)
    return match[0] if number == 0 or 0xD800 <= number <= 0xDFFF or number >= 0xFFFE else chr(number)


def _hours(value: dt.timedelta) -> str:
    """A length of time as a spreadsheet shows it: `26:30:00`, with a fraction of a second where there is one."""
    seconds, fraction = divmod(abs(value), dt.timedelta(seconds=1))
    sign = "-" if value < dt.timedelta() else ""
    text = f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction.microseconds:06}" if fraction else text


def _broken(error: Exception) -> BadTable:
    return BadTable(
        "The Excel file cannot be opened: it is damaged or not an .xlsx file.",
        Where(None, f"{type(error).__name__}: {error}"[:200], "a whole .xlsx file"),
        _AGAIN,
    )
