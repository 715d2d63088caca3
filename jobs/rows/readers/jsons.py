"""JSON and JSON lines. Strings become text; any other value keeps the characters that stood in the file (`1.0`, `1e5`, twenty digits)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in fact: the decoder's own, in C
from typing import Any, NoReturn

import pyarrow as pa

from jobs.errors import BadTable, Where
from jobs.rows.readers.source import LONGEST_LINE, Source
from jobs.rows.reading import BATCH_BYTES, BATCH_ROWS, IngestLimits, Reading

_SPACE = re.compile(r"[ \t\n\r]*")
_NAMED = 5  # keys that a note names


class _Number(str):
    """A number's own text."""

    __slots__ = ()


class _Pairs(list[tuple[str, Any]]):
    """An object's members in order, doubles included."""

    __slots__ = ()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_scan = json.JSONDecoder(object_pairs_hook=_Pairs, parse_float=_Number, parse_int=_Number, parse_constant=_refuse_constant).scan_once  # type: ignore[attr-defined]


class JsonTable:
    """Reads one file of objects; see `TableReader`. Columns are the union of the keys, in the order they were first seen."""

    def __init__(self, source: Source, reading: Reading, head: int | None = None) -> None:
        """`head`: look at that many rows only, for a preview."""
        self._source, self._reading, self._limits = source, reading, source.limits
        self.notes: list[str] = []
        self._columns: dict[str, int] = {}
        self._in_all: set[str] | None = None  # keys that each object has so far
        self._seen_text: set[str] = set()
        self._seen_other: set[str] = set()
        self._head = head
        self._beside: list[str] = []
        for _ in self._read(collect=False):
            pass
        if not self._columns:
            raise BadTable(
                "The file has no rows.", Where(None, "no objects", "at least one object"), "Upload a file with at least one row."
            )
        self.names = list(self._columns)
        self.arrow_types = [pa.string()] * len(self.names)
        self.notes += [
            f"column {name!r} mixes text and other JSON values; all are kept as text"
            for name in self.names
            if name in self._seen_text & self._seen_other
        ]
        if absent := [name for name in self.names if name not in (self._in_all or ())]:
            named = ", ".join(map(repr, absent[:_NAMED])) + (f" and {len(absent) - _NAMED:,} more" if len(absent) > _NAMED else "")
            self.notes.append(f"not all objects have {named}: a key that is absent comes back as null in JSON Lines")
        if self._beside:
            self.notes.append(f"only the rows are read, not {', '.join(map(repr, dict.fromkeys(self._beside)))} beside them")

    def types(self) -> list[str]:
        return ["json" if name in self._seen_other and name not in self._seen_text else "text" for name in self.names]

    def batches(self) -> Iterator[list[pa.Array]]:
        for columns in self._read(collect=True):
            yield [pa.array(column, pa.string()) for column in columns]

    def _read(self, collect: bool) -> Iterator[list[list[str | None]]]:
        """Walk the file: the first time to learn keys and types (and all that is wrong), the second time for the values."""
        records = (
            _lines(self._source, self._reading) if self._reading.kind == "jsonl" else _array(self._source, self._reading, self._beside)
        )
        n, size, columns = 0, 0, self._empty()
        keys: tuple[str, ...] | None = None
        for line, text, start, end, pairs in islice(records, self._head):
            names = tuple([name for name, _ in pairs])
            if names != keys:
                self._learn(names, line)
                keys = names
            if collect:
                self._take(pairs, text, start, columns, n)
                n, size = n + 1, size + end - start
                if n == BATCH_ROWS or size > BATCH_BYTES:
                    yield self._filled(columns, n)
                    n, size, columns = 0, 0, self._empty()
            else:
                self._look(pairs, line)
        if n:
            yield self._filled(columns, n)

    def _empty(self) -> list[list[str | None]]:
        return [[] for _ in self._columns]

    @staticmethod
    def _filled(columns: list[list[str | None]], n: int) -> list[list[str | None]]:
        for column in columns:
            column.extend([None] * (n - len(column)))
        return columns

    def _learn(self, names: tuple[str, ...], line: int) -> None:
        if len(set(names)) != len(names):
            double = next(name for n, name in enumerate(names) if name in names[:n])
            raise BadTable(f"The object at line {line} has the key {double!r} twice.", Where(line, f"{double!r} twice", "each key once"))
        self._in_all = set(names) if self._in_all is None else self._in_all.intersection(names)
        for name in names:
            try:
                name.encode()
            except UnicodeEncodeError as error:
                raise _surrogate(line) from error
            self._columns.setdefault(name, len(self._columns))
        if len(self._columns) > self._limits.columns:
            raise BadTable(
                f"By line {line} the objects have {len(self._columns):,} keys, more than a table may have columns.",
                Where(line, f"{len(self._columns):,} keys", f"at most {self._limits.columns:,}"),
            )

    def _look(self, pairs: _Pairs, line: int) -> None:
        for name, value in pairs:
            if type(value) is str:
                self._seen_text.add(name)
                try:
                    size = len(value.encode())
                except UnicodeEncodeError as error:
                    raise _surrogate(line) from error
                if size > self._limits.cell_bytes:
                    raise BadTable(
                        f"The value of {name!r} at line {line} is longer than {self._limits.cell_bytes:,} bytes.",
                        Where(line, f"{size:,} bytes", f"at most {self._limits.cell_bytes:,}"),
                    )
            elif value is not None:
                self._seen_other.add(name)
                if isinstance(value, list) and _too_deep(value, self._limits.nesting - 1):
                    raise _deep(line, self._limits)

    def _take(self, pairs: _Pairs, text: str, start: int, columns: list[list[str | None]], n: int) -> None:
        raw: dict[str, str] | None = None
        for name, value in pairs:
            column = columns[self._columns[name]]
            if len(column) < n:
                column.extend([None] * (n - len(column)))
            if value is None or type(value) is str:
                column.append(value)
            elif type(value) is _Number:
                column.append(str(value))
            elif value is True or value is False:
                column.append("true" if value else "false")
            else:
                raw = raw or _slices(text, start)
                column.append(raw[name])


def _slices(text: str, start: int) -> dict[str, str]:
    """The values of the object at `start` as they stand in the text."""
    found: dict[str, str] = {}
    at = start + 1
    while True:
        at = _skip(text, at)
        if text[at] == "}":
            return found
        if text[at] == ",":
            at = _skip(text, at + 1)
        name, at = scanstring(text, at + 1, True)
        begin = _skip(text, _skip(text, at) + 1)
        _, at = _scan(text, begin)
        found[name] = text[begin:at]


def _skip(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing at least


_Record = tuple[int, str, int, int, _Pairs]  # line, the text around, where the object starts and ends in it, its members


def _lines(source: Source, reading: Reading) -> Iterator[_Record]:
    for line, text in source.texts(reading.encoding, "lf"):
        for one in text.split("\n"):
            start = _skip(one, 0)
            if start < len(one):
                yield line, one, start, len(one), _one_line(one, start, line, source.limits)
            line += 1


def _one_line(text: str, start: int, line: int, limits: IngestLimits) -> _Pairs:
    try:
        value, end = _scan(text, start)
    except (StopIteration, ValueError, RecursionError) as error:
        raise _bad(error, text, start, line, limits) from error
    if type(value) is not _Pairs:
        raise _not_object(value, line)
    end = _skip(text, end)
    if end < len(text):
        raise BadTable(
            f"Line {line} goes on after its object.", Where(line, _quoted(text[end:]), "the end of the line"), "Write one object a line."
        )
    return value


class _Buffer:
    """A moving window over the text of the file."""

    def __init__(self, source: Source, encoding: str) -> None:
        self._texts = source.texts(encoding, "none")
        self._limits = source.limits
        self.text, self.at, self.ended = "", 0, False
        self._line, self._counted = 1, 0

    @property
    def line(self) -> int:
        if self.at >= self._counted:  # counted on from where we last were, else every record would count its buffer anew
            self._line += self.text.count("\n", self._counted, self.at)
        else:
            self._line -= self.text.count("\n", self.at, self._counted)
        self._counted = self.at
        return self._line

    def more(self) -> bool:
        """Get more text, at least as much again as waits; False at the end of the file."""
        _ = self.line  # while `text` is still there to count in
        parts, size = [self.text[self.at :]], 0
        wanted = len(parts[0])
        while size <= wanted and not self.ended:
            _, text = next(self._texts, (0, ""))
            self.ended = not text
            parts.append(text)
            size += len(text)
        self.text, self.at, self._counted = "".join(parts), 0, 0
        return size > 0

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            self.at = _skip(self.text, self.at)
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def value(self) -> tuple[Any, int]:
        """The value that starts here and where it starts in `text`; more text is fetched while it seems cut."""
        while True:
            try:
                value, end = _scan(self.text, self.at)
                if end < len(self.text) or self.ended:
                    start, self.at = self.at, end
                    return value, start
            except (StopIteration, ValueError, RecursionError) as error:
                if isinstance(error, RecursionError) or not _may_be_cut(error, self.text) or self.ended:
                    raise _bad(error, self.text, self.at, self.line, self._limits) from error
                if len(self.text) - self.at > LONGEST_LINE:
                    raise _too_long(self.line) from error
            self.more()


def _may_be_cut(error: Exception, text: str) -> bool:
    if isinstance(error, json.JSONDecodeError):
        return error.msg.startswith("Unterminated") or error.pos >= len(text) - 16
    return isinstance(error, StopIteration) and int(error.value) >= len(text) - 16


def _array(source: Source, reading: Reading, beside: list[str]) -> Iterator[_Record]:
    """The objects of an array at the top, or of the one array of objects in an object at the top; `beside` gets the other keys in it."""
    buffer = _Buffer(source, reading.encoding)
    first = buffer.peek()
    if first == "[":
        buffer.at += 1
        yield from _members(buffer)
    elif first == "{":
        yield from _wrapped(buffer, beside)
    else:
        raise _unexpected(buffer, "an array of objects: [{…}, {…}]")
    if buffer.peek():
        raise _unexpected(buffer, "the end of the file")


def _members(buffer: _Buffer) -> Iterator[_Record]:
    """The objects of an array whose bracket was read."""
    if buffer.peek() == "]":
        buffer.at += 1
        return
    while True:
        if not buffer.peek():
            raise _unexpected(buffer, "an object or ]")
        value, start = buffer.value()
        if type(value) is not _Pairs:
            buffer.at = start
            raise _not_object(value, buffer.line)
        end, buffer.at = buffer.at, start
        line, buffer.at = buffer.line, end
        yield line, buffer.text, start, end, value
        mark = buffer.peek()
        if mark not in (",", "]") or not mark:
            raise _unexpected(buffer, "a comma or ]")
        buffer.at += 1
        if mark == "]":
            return


def _wrapped(buffer: _Buffer, beside: list[str]) -> Iterator[_Record]:
    found = empty = False
    buffer.at += 1
    while buffer.peek() != "}":
        if buffer.peek() != '"':
            raise _unexpected(buffer, "a key in quotes")
        name, _ = buffer.value()
        if buffer.peek() != ":":
            raise _unexpected(buffer, "a colon")
        buffer.at += 1
        if buffer.peek() != "[":
            buffer.value()
            beside.append(name)
        elif _opens_rows(buffer):
            if found:
                raise BadTable(
                    f"The object has a second array, {name!r}, at line {buffer.line}.",
                    Where(buffer.line, "a second array", "one array of objects"),
                )
            found = True
            yield from _members(buffer)
        else:
            empty = empty or buffer.peek() == "]"
            _pass_over(buffer)
            beside.append(name)
        if buffer.peek() == ",":
            buffer.at += 1
        elif buffer.peek() != "}":
            raise _unexpected(buffer, "a comma or }")
    buffer.at += 1
    if not found and not empty:
        raise BadTable(
            "The file is one object, not a table.",
            Where(1, "an object without an array of objects", "an array of objects: [{…}, {…}]"),
            "Write rows as an array.",
        )


def _opens_rows(buffer: _Buffer) -> bool:
    """Whether the array that starts here holds objects; its bracket is read."""
    buffer.at += 1
    return buffer.peek() == "{"


def _pass_over(buffer: _Buffer) -> None:
    """Read an array of no interest whose bracket was read."""
    while buffer.peek() != "]":
        buffer.value()
        if buffer.peek() == ",":
            buffer.at += 1
        elif buffer.peek() != "]":
            raise _unexpected(buffer, "a comma or ]")
    buffer.at += 1


def _too_deep(value: list[Any], allowed: int) -> bool:
    if allowed <= 0:
        return True
    inner = [member[1] for member in value] if type(value) is _Pairs else value
    return any(_too_deep(one, allowed - 1) for one in inner if isinstance(one, list))


def _bad(error: Exception, text: str, start: int, line: int, limits: IngestLimits) -> BadTable:
    if isinstance(error, RecursionError):
        return _deep(line, limits)
    if isinstance(error, json.JSONDecodeError):
        at, expected = error.pos, error.msg
    elif isinstance(error, StopIteration):
        at, expected = int(error.value), "a JSON value"
    else:
        return BadTable(f"The object at line {line} is not valid JSON.", Where(line, str(error), "a JSON value"))
    exact = line + text.count("\n", start, at)
    found = _quoted(text[at:]) or "the end of the file"
    return BadTable(
        f"Line {exact} is not valid JSON: {expected}.", Where(exact, found, expected), "Correct the line, or export the file again."
    )


def _not_object(value: Any, line: int) -> BadTable:
    found = {str: "text", _Number: "a number", bool: "true or false", type(None): "null"}.get(type(value), "an array")
    return BadTable(f"Line {line} has {found} where a row should be.", Where(line, found, "an object: {…}"), "Write each row as an object.")


def _unexpected(buffer: _Buffer, expected: str) -> BadTable:
    line = buffer.line
    found = _quoted(buffer.text[buffer.at :]) or "the end of the file"
    return BadTable(f"Line {line} has {found} where {expected} should be.", Where(line, found, expected))


def _too_long(line: int) -> BadTable:
    return BadTable(
        f"The object at line {line} is longer than {LONGEST_LINE:,} characters.",
        Where(line, f"over {LONGEST_LINE:,} characters", "a shorter object"),
    )


def _deep(line: int, limits: IngestLimits) -> BadTable:
    return BadTable(
        f"The object at line {line} is nested deeper than {limits.nesting} levels.",
        Where(line, f"over {limits.nesting} levels", f"at most {limits.nesting}"),
    )


def _surrogate(line: int) -> BadTable:
    return BadTable(
        f"The object at line {line} has half a character: a lone surrogate such as \\ud83d.",
        Where(line, "a lone surrogate", "whole characters"),
    )


def _quoted(text: str) -> str:
    short = text[:20].split("\n")[0]
    return f"“{short}”" if short else ""
