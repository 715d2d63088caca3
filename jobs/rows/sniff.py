"""What kind of file is this? Told by its bytes and its look, never by its name alone; a person can correct every guess."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import zipfile
from collections import Counter
from functools import partial
from itertools import islice
from pathlib import Path

from charset_normalizer import from_bytes

from jobs.errors import BadTable, Where
from jobs.rows.readers.source import Source
from jobs.rows.readers.spreadsheet import first_sheet, open_book, title_rows
from jobs.rows.reading import DELIMITERS, IngestLimits, Reading

_SAMPLE = 262_144
_TITLES = 10  # more lines than that above a header are no titles
_ENCODING_SAMPLE = 64_000_000  # how far we look for bytes that are not UTF-8
_EXPECTED = "CSV, TSV, JSON, JSON lines, Parquet or Excel (.xlsx)"
_HINT = "Upload a table as CSV, TSV, JSON, JSON lines, Parquet or Excel (.xlsx), plain or packed with gz or zst."
_FOREIGN = {
    b"%PDF-": "a PDF document",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x7fELF": "a program",
    b"MZ\x90": "a program",
    b"SQLite format 3\0": "an SQLite database",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x1f\x8b": "a gz file inside another",
    b"\x28\xb5\x2f\xfd": "a zst file inside another",
}
_CODE_PAGES = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1257", "iso8859_2", "koi8_r", "cp437", "cp850"]
_SIGNS = frozenset("€–—‘’‚“”„…«»‹›°§©®™·×²³½¼•´¨\xa0")
_CENTRAL = ("áčďéěíňóřšťúůýž", "ąćęłńóśźż", "áéíóöőúüű", "ăâîşţ", "čšžćđ", "áäčďéíĺľňóôŕšťúýž", "äöüß")
_LATIN: dict[str, list[set[str]]] = {
    page: [{*letters, *letters.upper(), *("İ" if "ı" in letters else "")} for letters in languages]
    for page, languages in {
        "cp1252": (
            "äöüß",
            "éèêëàâçîïôùûüœæÿ",
            "áéíóúüñ¡¿ºª",
            "áâãàçéêíóôõúüºª",
            "àèéìíîòóùú",
            "åäöæøéüà",
            "áðéíóúýþæö",
            "éëïöüèóá",
            "çàèéíïòóúü",
        ),
        "cp1254": ("çğıöşüâîû",),
        "cp1250": _CENTRAL,
        "iso8859-2": _CENTRAL,
        "cp1257": ("āčēģīķļņšūž", "ąčęėįšųūž", "äõöüšž"),
    }.items()
}
_LATIN_ALIASES = {"iso8859_2": "iso8859-2"}
_SEP = re.compile(f"sep=([{''.join(DELIMITERS)}])(\r\n?|\n)")  # Excel's own first line
_NUMBER = re.compile(r"\s*[-+]?[\d.,' ]*\d[\d.,' ]*%?\s*|\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*")
_DATE = re.compile(r"\s*\d{4}-\d{1,2}-\d{1,2}.*|\s*\d{1,2}[-/.]\d{1,2}[-/.]\d{4}.*")


def look(path: Path, filename: str, folder: Path, limits: IngestLimits) -> Reading:
    """Guess the reading of a file. Runs in the bounded child; `folder` is for what must be unpacked. Raises BadTable."""
    with path.open("rb") as file:
        magic = file.read(8)
    if not magic:
        raise BadTable("The file is empty.", Where(None, "0 bytes", _EXPECTED), _HINT)
    compression = "gz" if magic.startswith(b"\x1f\x8b") else "zst" if magic.startswith(b"\x28\xb5\x2f\xfd") else ""
    source = Source(path, compression, limits)
    chunks = source.chunks()
    head = next(chunks, b"")
    if not head:
        raise BadTable("The file is empty once it is unpacked.", Where(None, "0 bytes", _EXPECTED), _HINT)
    if head.startswith(b"PAR1"):
        return Reading("parquet", compression)
    if head.startswith(b"PK\x03\x04"):
        return _look_at_zip(source, folder)
    _refuse_foreign(head)
    encoding = _encoding(head, chunks)
    if compression:  # open it far enough to know a bomb before its rows are read
        for _ in islice(chunks, 120):
            pass
    text = _sample_text(head, encoding)
    if not text.strip():
        raise BadTable("The file is empty.", Where(1, "blank characters only", _EXPECTED), _HINT)
    kind = _text_kind(text, filename)
    if kind != "csv":
        return Reading(kind, compression, encoding)
    skip = _title_lines(text, filename)
    delimiter, quote, rows = _dialect("".join(text.splitlines(keepends=True)[skip:]) if skip else text, filename)
    return Reading("csv", compression, encoding, delimiter, quote, _has_header(rows), skip=skip)


def _title_lines(text: str, filename: str) -> int:
    """How many lines stand above the header: titles of one value each, then a blank line, then rows of one width from the header on.
    0 where the first line is the header. Such a file could not be read otherwise: its rows have more values than its first line."""
    lines = text.splitlines(keepends=True)
    blank = next((at for at, line in enumerate(lines[: _TITLES + 1]) if not line.strip()), 0)
    if not blank or _SEP.match(text):
        return 0
    at = next((at for at, line in enumerate(lines[blank:], blank) if line.strip()), len(lines))
    delimiter, _, rows = _dialect("".join(lines[at:]), filename) if at < len(lines) else ("", "", [])
    of_one_width = len(rows) > 1 and len(rows[0]) > 1 and {*map(len, rows)} == {len(rows[0])}
    return at if of_one_width and not any(delimiter in line or '"' in line for line in lines[:blank]) else 0


def _look_at_zip(source: Source, folder: Path) -> Reading:
    path = source.unpacked(folder)
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError) as error:
        raise BadTable(
            "The Excel or zip file is damaged or cut off.", Where(None, str(error)[:200], "a whole file"), "Upload it again."
        ) from error
    if {"content.xml", "META-INF/manifest.xml"} <= names:
        raise BadTable("The file is an OpenDocument file (.ods, .odt).", Where(None, "OpenDocument", _EXPECTED), "Save it as .xlsx or CSV.")
    if "xl/workbook.xml" not in names:
        raise BadTable(
            "The file is a zip archive, not a table.", Where(None, "a zip archive", _EXPECTED), "Unpack it and upload the table in it."
        )
    book = open_book(path, source.limits)
    sheet = first_sheet(book)
    if sheet is None:
        raise BadTable("The workbook has no visible sheet with cells.", Where(None, "no sheet", "a sheet with rows"))
    return Reading("xlsx", source.compression, sheet=sheet, skip=title_rows(book, sheet))


def _refuse_foreign(head: bytes) -> None:
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        if "EncryptedPackage".encode("utf-16-le") in head:
            raise BadTable(
                "The Excel file is protected by a password.",
                Where(None, "an encrypted workbook", "an open .xlsx file"),
                "Save it without the password and upload it again.",
            )
        raise BadTable(
            "The file is an old Office file (.xls, .doc).", Where(None, "an old Office file", _EXPECTED), "Save it as .xlsx or CSV."
        )
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise BadTable(f"The file is {name}, not a table.", Where(None, name, _EXPECTED), _HINT)
    if _utf16(head):
        return
    sample = head[:65_536]
    odd = sum(sample.count(byte) for byte in range(32) if byte not in (9, 10, 11, 12, 13, 27))
    if odd > max(8, len(sample) // 200):
        raise BadTable("The file is binary, not a table.", Where(None, f"{odd:,} control characters at its start", _EXPECTED), _HINT)


def _utf16(head: bytes) -> str:
    """UTF-16 by its mark, or by the zero that every other byte of Latin text has."""
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    sample = head[:4096]
    half = len(sample) // 2
    if half and sample[1::2].count(0) > half * 0.6 and sample[::2].count(0) == 0:
        return "utf-16-le"
    if half and sample[::2].count(0) > half * 0.6 and sample[1::2].count(0) == 0:
        return "utf-16-be"
    return ""


def _encoding(head: bytes, more: object) -> str:
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if wide := _utf16(head):
        return wide
    decoder, seen, chunk = codecs.getincrementaldecoder("utf-8")("strict"), 0, head
    while chunk and seen < _ENCODING_SAMPLE:
        following = next(more, b"")  # type: ignore[call-overload]
        try:
            decoder.decode(chunk, final=not following)
        except UnicodeDecodeError:
            return _code_page(chunk)
        seen += len(chunk)
        chunk = following
    return "utf-8"


def _code_page(chunk: bytes) -> str:
    """The likeliest code page of bytes that are not UTF-8, unless nearly all are: then it is damaged UTF-8, and the reader says where."""
    high = sum(1 for byte in chunk if byte >= 0x80)
    bad = chunk.decode("utf-8", errors="replace").count("\ufffd")
    if bad * 10 < high:
        return "utf-8"
    lines = [line for line in chunk.splitlines() if any(byte >= 0x80 for byte in line)]
    sample = b"\n".join(lines)[:65_536]
    if japanese := next(filter(partial(_has_kana, sample), ("cp932", "euc-jp")), None):
        return japanese
    best = from_bytes(sample, cp_isolation=_CODE_PAGES, enable_fallback=False).best()
    guess = _LATIN_ALIASES.get(best.encoding, best.encoding.replace("_", "-")) if best is not None else "cp1252"
    if guess in _LATIN or sample.decode("cp1252", errors="replace") == sample.decode(guess, errors="replace"):
        guess = max(_LATIN, key=lambda page: _plausible(sample, page))  # the first of equals: Windows-1252, by far the commonest
    # Five bytes have no character in Windows-1252; all have one in Latin-1.
    return "latin-1" if guess == "cp1252" and any(byte in chunk for byte in b"\x81\x8d\x8f\x90\x9d") else guess


def _plausible(sample: bytes, page: str) -> float:
    """How much of what is not ASCII are letters of one of the languages that are written in a code page."""
    foreign = Counter(character for character in sample.decode(page, errors="replace") if character > "\x7f" and character not in _SIGNS)
    n = sum(foreign.values())
    return max(sum(foreign[letter] for letter in letters) / n for letters in _LATIN[page]) if n else 1.0


def _has_kana(sample: bytes, encoding: str) -> bool:
    """Whether bytes are Japanese: a good part of what is not ASCII is hiragana, which no other text looks like by chance."""
    try:
        text = codecs.getincrementaldecoder(encoding)("strict").decode(sample)
    except UnicodeDecodeError:
        return False
    foreign = [character for character in text if character > "\x7f"]
    n_kana = sum("\u3041" <= character <= "\u3096" for character in foreign)
    return n_kana >= 5 and n_kana * 10 >= len(foreign)


def _sample_text(head: bytes, encoding: str) -> str:
    """The start of the text, cut at a line's end where there is one."""
    text = head[:_SAMPLE].decode(encoding, errors="replace").removeprefix("\ufeff")
    if len(head) > _SAMPLE:
        cut = max(text.rfind("\n"), text.rfind("\r"))
        text = text[: cut + 1] if cut > 0 else text
    return text


def _text_kind(text: str, filename: str) -> str:
    start = text.lstrip()
    name = filename.lower().removesuffix(".gz").removesuffix(".zst")
    named = "jsonl" if name.endswith((".jsonl", ".ndjson")) else "json" if name.endswith(".json") else ""
    if start[0] == "[" and (named or re.match(r"\[\s*[{\]]", start)):
        return "jsonl" if named == "jsonl" else "json"
    if start[0] == "{" and (named or re.match(r"\{\s*[\"}]", start)):
        return named if named == "jsonl" else _object_kind(start)
    return named or "csv"


def _object_kind(start: str) -> str:
    """JSON lines, or one object with an array in it."""
    first, _, rest = start.partition("\n")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        goes_on = first.rstrip()[-1] in "[{,:"
        return "jsonl" if rest.lstrip(" \t\r").startswith("{") and not goes_on else "json"
    if rest.strip():
        return "jsonl"
    arrays = (
        [one for one in value.values() if isinstance(one, list) and one and isinstance(one[0], dict)] if isinstance(value, dict) else []
    )
    return "json" if len(arrays) == 1 else "jsonl"


def _dialect(text: str, filename: str) -> tuple[str, str, list[list[str]]]:
    """The delimiter and quote under which the first rows agree best on a number of columns, and those rows."""
    csv.field_size_limit(max(len(text), 1))
    if named := _SEP.match(text):
        return named[1], '"', _rows(text[named.end() :], named[1], '"')
    best: tuple[float, str, str, list[list[str]]] | None = None
    for quote in ('"', "'"):
        if quote == "'" and not re.search(r"(^|[,;\t|])'[^'\r\n]*'([,;\t|]|\r|$)", text, re.MULTILINE):
            continue
        if quote == "'" and '"' in text:
            continue
        for delimiter in DELIMITERS:
            rows = _rows(text, delimiter, quote)
            score = _agreement(rows)
            if delimiter == "\t" and filename.lower().removesuffix(".gz").removesuffix(".zst").endswith((".tsv", ".tab")):
                score += 0.3
            if best is None or score > best[0]:
                best = (score, delimiter, quote, rows)
    assert best is not None
    return best[1], best[2], best[3]


def _rows(text: str, delimiter: str, quote: str) -> list[list[str]]:
    try:
        return [row for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote), 500) if row]
    except csv.Error:
        return []


def _agreement(rows: list[list[str]]) -> float:
    """0 where the delimiter does not part anything, else the share of rows of the commonest width, and a little for the width."""
    widths = Counter(map(len, rows))
    if not widths:
        return -1.0
    width, n = max(widths.items(), key=lambda item: (item[1], item[0]))
    if len(rows[0]) == 1:
        return 0.0
    width = len(rows[0]) if widths[len(rows[0])] * 2 >= n else width
    return (widths[width] / len(rows) + min(width, 50) / 1000) if width > 1 else 0.0


def _has_header(rows: list[list[str]]) -> bool:
    """False only where the first row looks like the rows below it: a number or date over numbers or dates, and no word over them."""
    if not rows:
        return True
    body = rows[1:201]
    against, years = 0, []
    for position, name in enumerate(rows[0]):
        values = [row[position] for row in body if len(row) > position and row[position].strip()]
        if not values or not all(_NUMBER.fullmatch(value) for value in values):
            continue
        if not _NUMBER.fullmatch(name) or (_DATE.fullmatch(name) and not any(map(_DATE.fullmatch, values))):
            return True
        against += 1
        if re.fullmatch(r"(19|20)\d\d", name.strip()):
            years.append(name)
    return not against or (len(set(years)) == against > 1)
