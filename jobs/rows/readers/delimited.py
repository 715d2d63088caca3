"""CSV and its kin, by Python's own `csv` parser: its reading of quotes is the one that people test against, and it counts lines.

Every value stays as it stands: no type is guessed, nothing is trimmed, and an empty value is empty text whether quoted or not.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import pyarrow as pa

from jobs.errors import BadTable, Where
from jobs.rows.readers.source import CHUNK, Source, n_lines
from jobs.rows.reading import BATCH_BYTES, BATCH_ROWS, DELIMITERS, IngestLimits, Reading, titles_note

_STEPS = (16, 128)  # rows that are read before it is asked again how much text a batch holds: long ones, short ones
_STAND_IN = "\ufdd0"  # a noncharacter: no text has it, and a file that does is refused where it matters
_LONE_CR = re.compile(r"\r(?!\n|\Z)")
_LONE_LF = re.compile(r"(?<!\r)\n")
_UNCLOSED_HINT = 'Look for a quote (") that is not closed, or write a quote inside a value twice ("").'


class Delimited:
    """Reads one delimited file; see `TableReader`."""

    def __init__(self, source: Source, reading: Reading) -> None:
        self._limits: IngestLimits = source.limits
        self._reading = reading
        self.notes: list[str] = []
        self._ends = {"CRLF": 0, "LF": 0}  # line ends of the text, less those inside of values
        self._lone = _LONE_CR
        self._stands_in = self._has_stand_in = False
        self._n_blank = 0
        self._n_fed = 0  # characters that the parser got
        self._line = 1  # where the next record starts
        csv.field_size_limit(source.limits.cell_bytes)
        self._records = csv.reader(chain.from_iterable(self._lines(source)), strict=True, **_dialect(reading))
        first = self._first()
        if reading.header:
            self._inside([first])
        if self._stands_in:
            self._restore(one := [first])
            first = one[0]
        self.names = first if reading.header else [f"column_{n}" for n in range(1, len(first) + 1)]
        self._pending = [] if reading.header else [first]
        self.arrow_types = [pa.string()] * len(first)
        self._first_line = self._line
        if reading.header:
            self._line = self._records.line_num + 1

    def types(self) -> list[str]:
        return ["text"] * len(self.names)

    def batches(self) -> Iterator[list[pa.Array]]:
        n_waiting = 0  # blank lines of a one-column table: rows, but only if something follows
        while True:
            rows, self._pending = self._pending, []
            failure, at_end = self._fill(rows)
            self._refuse_ragged(rows)
            if failure is not None:
                self._line += sum(map(_height, rows))
                raise self._broken(failure) from failure
            if self._records.line_num + 1 - self._line != len(rows):
                self._inside(rows)
            self._line = self._records.line_num + 1
            if self._stands_in:
                self._restore(rows)
            rows, n_waiting = self._without_blank(rows, n_waiting)
            if rows:
                yield [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
            if at_end:
                break
        self._n_blank += n_waiting
        self._note()

    def _fill(self, rows: list[list[str]]) -> tuple[csv.Error | None, bool]:
        """Read up to a batch, and whether the file ends there; on an error the rows before it stay, as `extend` takes them one by one."""
        most, step = self._n_fed + BATCH_BYTES, _STEPS[0]
        try:
            while len(rows) < BATCH_ROWS and self._n_fed < most:
                before, wanted = self._n_fed, len(rows) + step
                rows.extend(islice(self._records, step))
                if len(rows) < wanted:
                    return None, True
                step = _STEPS[self._n_fed - before < 2 * CHUNK]
        except csv.Error as error:
            return error, False
        return None, False

    def _lines(self, source: Source) -> Iterator[io.StringIO]:
        """Feed the parser. The start of the file says what ends a line: where that is LF or CRLF, a lone CR is part of a value, and the
        other way round. As the parser would break at both, the lone ones wait behind a stand-in."""
        newline = "cr" if _ends_by_cr(source.head(self._reading.encoding), self._reading.quote) else "lf"
        self._lone = _LONE_LF if newline == "cr" else _LONE_CR
        for _, text in source.texts(self._reading.encoding, newline):
            n_cr, n_lf = text.count("\r"), text.count("\n")
            n_both = text.count("\r\n") if n_cr else 0
            if newline == "lf":
                self._ends["CRLF"] += n_both
                self._ends["LF"] += n_lf - n_both
            if (n_lf if newline == "cr" else n_cr) > n_both:
                self._stands_in = True
            self._has_stand_in = self._has_stand_in or _STAND_IN in text
            if self._stands_in:
                if self._has_stand_in:  # here or in an earlier part of the file: it could not be told from what it stands for
                    raise BadTable("The file has a character that Unicode keeps out of texts: U+FDD0.", Where(None, "U+FDD0", "characters"))
                text = self._lone.sub(_STAND_IN, text)
            self._n_fed += len(text)
            yield io.StringIO(text, newline="")

    def _first(self) -> list[str]:
        titles: list[list[str]] = []
        try:
            for record in self._records:
                if self._line == 1 and record == ["sep=", ""]:  # in the first line, Excel's word for what parts the values
                    self.notes.append("line 1 only names the delimiter (sep=) and is not read")
                elif self._line <= self._reading.skip:
                    titles += [record] if record else []
                elif record:
                    break
                else:
                    self._n_blank += 1
                self._line += 1
            else:
                raise BadTable("The file is empty.", Where(1, "nothing", "a header and rows"), "Upload a file with at least one row.")
        except csv.Error as error:
            raise self._broken(error) from error
        if titles:
            self.notes.append(titles_note(titles))
        if len(record) > self._limits.columns:
            raise BadTable(
                f"Line {self._line} has {len(record):,} columns, more than the {self._limits.columns:,} that a table may have.",
                Where(self._line, f"{len(record):,} columns", f"at most {self._limits.columns:,}"),
                "Is the delimiter right?",
            )
        return record

    def _restore(self, rows: list[list[str]]) -> None:
        lone = "\n" if self._lone is _LONE_LF else "\r"
        rows[:] = [[value.replace(_STAND_IN, lone) for value in row] for row in rows]

    def _inside(self, rows: list[list[str]]) -> None:
        """Take line ends that are part of a value off those of the lines."""
        for row in rows:
            for value in row:
                if "\n" in value:
                    n_both = value.count("\r\n")
                    self._ends["CRLF"] -= n_both
                    self._ends["LF"] -= value.count("\n") - n_both

    def _without_blank(self, rows: list[list[str]], n_waiting: int) -> tuple[list[list[str]], int]:
        """The rows without blank lines, and how many blank lines wait at the end.

        In a table of one column a blank line is a row whose value is empty, but blank lines at the end of the file are no rows.
        """
        if all(rows):
            return ([[""]] * n_waiting + rows if n_waiting else rows), 0
        if len(self.names) > 1:
            kept = [row for row in rows if row]
            self._n_blank += len(rows) - len(kept)
            return kept, 0
        last = max((n for n, row in enumerate(rows) if row), default=-1)
        if last < 0:
            return [], n_waiting + len(rows)
        return [[""]] * n_waiting + [row or [""] for row in rows[: last + 1]], len(rows) - last - 1

    def _refuse_ragged(self, rows: list[list[str]]) -> None:
        width, line = len(self.names), self._line
        if not set(map(len, rows)) - {width, 0}:
            return
        for row in rows:
            if row and len(row) != width:
                found = f"{len(row):,} value{'s' if len(row) != 1 else ''}"
                delimiter = DELIMITERS.get(self._reading.delimiter, self._reading.delimiter)
                like = "the header has" if self._reading.header else f"line {self._first_line} has"
                raise BadTable(
                    f"Line {line} has {found}, {like} {width:,}.",
                    Where(line, found, f"{width:,}, parted by {delimiter}"),
                    f"Values with a {delimiter} or a line break in them must stand in quotes."
                    + (" Titles above the header have to go, or an empty line has to part them from it." if width == 1 else ""),
                )
            line += _height(row)

    def _broken(self, error: csv.Error) -> BadTable:
        line, text = self._line, str(error)
        if "field larger" in text:
            limit = f"{self._limits.cell_bytes:,}"
            return BadTable(
                f"The record at line {line} has a value longer than {limit} characters.",
                Where(line, f"over {limit} characters", f"at most {limit}"),
                _UNCLOSED_HINT,
            )
        if "unexpected end" in text:
            return BadTable(
                f"A quote in the record at line {line} is never closed.",
                Where(line, "the end of the file", "a closing quote"),
                _UNCLOSED_HINT,
            )
        if "expected after" in text:
            delimiter = DELIMITERS.get(self._reading.delimiter, self._reading.delimiter)
            return BadTable(
                f"In the record at line {line} a value goes on after its closing quote.",
                Where(line, "text after a closing quote", f"{delimiter} or the end of the line"),
                _UNCLOSED_HINT,
            )
        return BadTable(f"The record at line {line} cannot be read.", Where(line, text, "a record of the table"))

    def _note(self) -> None:
        if self._n_blank:
            self.notes.append(f"{self._n_blank:,} blank line{'s' if self._n_blank > 1 else ''} skipped")
        if all(n > 0 for n in self._ends.values()):
            self.notes.append(f"line ends are mixed ({', '.join(sorted(self._ends))})")


def _ends_by_cr(head: str, quote: str) -> bool:
    """Whether lines end in a lone CR: outside of quotes the start of the text has CR and no LF."""
    if quote:
        head = re.sub(f"{quote}[^{quote}]*({quote}|$)", "", head)
    return "\r" in head and "\n" not in head


def _height(row: list[str]) -> int:
    """How many lines of the file a record takes."""
    return 1 + sum(n_lines(value) for value in row if "\n" in value or "\r" in value)


def _dialect(reading: Reading) -> dict[str, Any]:
    if not reading.quote:
        return {"delimiter": reading.delimiter, "quoting": csv.QUOTE_NONE, "quotechar": None}
    return {"delimiter": reading.delimiter, "quotechar": reading.quote, "doublequote": True}
