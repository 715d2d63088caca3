"""What is said about a table that was read: how it was read, its columns, its bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import pyarrow as pa

BATCH_ROWS = 8192  # what a reader gives at a time: so many rows,
BATCH_BYTES = 16_000_000  # or fewer, where they hold about so much
KINDS = ("csv", "json", "jsonl", "parquet", "xlsx")
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8 with BOM",
    "utf-16-le": "UTF-16 LE",
    "utf-16-be": "UTF-16 BE",
    "cp1252": "Windows-1252",
    "latin-1": "Latin-1",
    "cp1250": "Windows-1250",
    "cp1251": "Windows-1251",
    "cp1253": "Windows-1253",
    "cp1254": "Windows-1254",
    "cp1255": "Windows-1255",
    "cp1256": "Windows-1256",
    "cp1257": "Windows-1257",
    "cp1258": "Windows-1258",
    "cp874": "Windows-874",
    "iso8859-2": "Latin-2",
    "iso8859-15": "Latin-9",
    "koi8-r": "KOI8-R",
    "cp437": "DOS 437",
    "cp850": "DOS 850",
    "mac-roman": "Mac Roman",
    "cp932": "Shift-JIS",
    "euc-jp": "EUC-JP",
    "gb18030": "GB 18030",
    "big5": "Big5",
    "cp949": "Korean (949)",
}
_KIND_NAMES = {"csv": "CSV", "json": "JSON", "jsonl": "JSON lines", "parquet": "Parquet", "xlsx": "Excel"}


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is read: what was guessed, or what a person corrected. Fields that a kind does not have are empty."""

    kind: str  # one of KINDS
    compression: str = ""  # "", "gz" or "zst"
    encoding: str = ""  # a key of ENCODINGS
    delimiter: str = ""  # a key of DELIMITERS
    quote: str = '"'  # '"', "'" or "" for none
    header: bool = True
    sheet: str = ""
    skip: int = 0  # lines of the file (rows of the sheet) above the header: titles, which are not read

    def to_dict(self) -> dict[str, Any]:
        """Without `skip` where it is 0: readings that were kept before there was one stay equal."""
        found = asdict(self)
        return found if self.skip else {name: value for name, value in found.items() if name != "skip"}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Reading:
        return cls(**data)

    @property
    def words(self) -> str:
        """For a person: `CSV, UTF-8, comma, header in line 1`."""
        parts = ["TSV" if self.kind == "csv" and self.delimiter == "\t" else _KIND_NAMES[self.kind]]
        if self.compression:
            parts[0] += f" in {self.compression}"
        if self.encoding:
            parts.append(ENCODINGS.get(self.encoding, self.encoding))
        if self.kind == "csv":
            parts.append(DELIMITERS.get(self.delimiter, self.delimiter))
            if self.quote != '"':
                parts.append("single quotes" if self.quote else "no quotes")
        if self.kind == "xlsx":
            parts.append(f"sheet {self.sheet}")
        if self.kind in ("csv", "xlsx"):
            below = f", read from line {self.skip + 1}" if self.skip else ""
            parts.append(f"header in line {self.skip + 1}" if self.header else f"no header{below}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `key` names it in the Parquet file, `name` is the header as it was, `variable` its Jinja name, `type` text, json, …"""

    key: str
    name: str
    variable: str
    type: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, str]) -> Column:
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Ingested:
    """A table that was read whole. `sha256` and `n_bytes` are of the source file as it was uploaded."""

    n_rows: int
    columns: list[Column]
    sha256: str
    n_bytes: int
    reading: Reading
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Ingested:
        columns = [Column.from_dict(one) for one in data["columns"]]
        return cls(**{**data, "columns": columns, "reading": Reading.from_dict(data["reading"])})


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """How much a file may ask for. Honest files of gigabytes pass; bombs do not."""

    inflated_bytes: int = 20_000_000_000
    inflated_ratio: int = 200  # inflated against stored bytes, looked at above 100 MB; gzip of real tables stays under 50
    rows: int = 50_000_000
    columns: int = 2_000
    cell_bytes: int = 1_000_000
    nesting: int = 64
    seconds: float = 1_800
    memory_bytes: int = 1_000_000_000

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows under a reading; long cells are cut."""

    reading: Reading
    columns: list[Column]
    rows: list[list[str | None]]


def titles_note(titles: Sequence[Sequence[str]]) -> str:
    """What stands above the header and is not read, in words."""
    texts = [" ".join(filter(None, title)) for title in titles]
    shown = ", ".join(f"“{text[:60]}…”" if len(text) > 60 else f"“{text}”" for text in texts[:3])
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return f"What stands above the header is not read: {shown}{more}"


class TableReader(Protocol):
    """What each reader gives: header names and Arrow types at once; batches as they are read; types and notes after the last batch."""

    names: list[str]
    arrow_types: list[pa.DataType]
    notes: list[str]

    def batches(self) -> Iterator[list[pa.Array]]:
        """Yield the columns of some thousand rows at a time, in source order. Raises BadTable."""
        ...

    def types(self) -> list[str]:
        """The `type` of each Column."""
        ...
