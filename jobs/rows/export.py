"""The table with its answers, streamed in the order of the source: every row exactly once, whatever became of it.

CSV is UTF-8 by RFC 4180 with `\\n` at the end of lines; absent and empty cells are both empty there. JSONL and Parquet keep them apart.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.rows.cells import plain_values
from jobs.rows.files import written_beside
from jobs.rows.outcomes import SCHEMA, pico_of, standings
from jobs.rows.portions import bytes_each
from jobs.rows.query import RowFiles
from jobs.rows.render import Columns, read_rows, selected_rows
from jobs.rows.values import JsonFloat, text_of, to_json
from jobs.words import PENDING

OURS = ("_row", "_outcome", "_cause", "_message", "_answer", "_attempts", "_input_tokens", "_output_tokens", "_cost")
# What a spreadsheet would run: after spaces and quotes one of = + - @ (also full-width), or a control character in front.
_FORMULA = "^[\\s\"']*[=+@＝＋－＠-]|^'*[\\t\\r\\n]"
CELL_BYTES = 60  # of a Python value beside its text: what tables of hundreds of columns take most of
_DEEPEST = 100  # levels of an answer whose fields get columns of their own
_NUMBER = r"^\s*[+-]?(\d[\d,. ]*|[.,]\d+)([eE][+-]?\d+)?\s*%?\s*$"


@dataclass(frozen=True, slots=True)
class Export:
    """What to export: the files of a job, the ledger's columns, the fields of the output schema, and which rows (None: all)."""

    files: RowFiles
    columns: Columns
    fields: Sequence[str] = ()
    rows: np.ndarray[Any, np.dtype[np.int64]] | None = None
    defuse: bool = True  # CSV only

    @property
    def own_names(self) -> list[str]:
        """The names of our columns; where the source has one of them, ours gets `_2`."""
        taken = {str(column["name"]) for column in self.columns} | set(self.source_names)
        return unique_names([*OURS, *(f"answer.{name}" for name in self.fields)], taken)

    @property
    def source_names(self) -> list[str]:
        """The headers, made unique where doubled: for the formats that need it (JSONL and Parquet). The first of a name keeps it."""
        names = [str(column["name"]) for column in self.columns]
        later = [position for position, name in enumerate(names) if name in names[:position]] if len(set(names)) < len(names) else []
        for position, name in zip(later, unique_names([names[position] for position in later], set(names)), strict=True):
            names[position] = name
        return names


def unique_names(names: Sequence[str], taken: set[str]) -> list[str]:
    """The names with `_2`, `_3` … behind those that are taken."""
    used, found = set(taken), []
    for name in names:
        unique, n = name, 2
        while unique in used:
            unique, n = f"{name}_{n}", n + 1
        used.add(unique)
        found.append(unique)
    return found


def csv_chunks(export: Export, delimiter: str = ",", bom: bool = False) -> Iterator[bytes]:
    """The export as CSV, in chunks of some thousand rows; the first has the header. Excel takes UTF-8 for what it is by its `bom`."""
    if bom:
        yield b"\xef\xbb\xbf"
    headers = [*(str(column["name"]) for column in export.columns), *export.own_names]
    headers = _defused(pa.array(headers)).to_pylist() if export.defuse else headers
    yield _csv_lines([[header] for header in headers], quote_all=any("\r" in header for header in headers), delimiter=delimiter)
    for cells, own in _portions(export):
        columns = [_cell_texts(cells.column(i)) for i in range(cells.num_columns)] + _own_texts(own, export.fields)
        if export.defuse:
            columns = [_defused(column) if pa.types.is_string(column.type) else column for column in columns]
        # Only \n is special to the csv module here; a lone \r has to stand in quotes too.
        alone = any(pc.any(pc.match_substring(column, "\r")).as_py() for column in columns if pa.types.is_string(column.type))
        yield _csv_lines([column.to_pylist() for column in columns], quote_all=alone, delimiter=delimiter)


def jsonl_chunks(export: Export) -> Iterator[bytes]:
    """The export as JSON Lines: JSON cells and answer fields as JSON, `_cost` as a decimal string, what is absent as null."""
    names = [*export.source_names, *export.own_names]
    for cells, own in _portions(export):
        columns = [_json_values(column, cells.column(i)) for i, column in enumerate(export.columns)] + _own_values(own, export.fields)
        yield b"".join(orjson.dumps(dict(zip(names, line, strict=True)), default=str) + b"\n" for line in zip(*columns, strict=True))


def write_parquet(export: Export, out: Path) -> None:
    """The export as Parquet: source columns with their types, `_cost` as decimal128(24, 12), answer fields as text."""
    names = [*export.source_names, *export.own_names]
    writer: pq.ParquetWriter | None = None
    try:
        for cells, own in _portions(export, at_least_one=True):
            arrays = [*cells.columns, *_own_arrays(own), *_field_texts(own, export.fields)]
            table = pa.table(arrays, names=names)
            writer = writer or pq.ParquetWriter(out, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def write_export(export: Export, kind: str, target: Path) -> None:
    """Write `csv`, `jsonl` or `parquet` to a file, whole or not at all."""
    with written_beside(target) as part:
        if kind == "parquet":
            write_parquet(export, part)
            return
        chunks = {"csv": csv_chunks, "jsonl": jsonl_chunks}[kind]
        with part.open("wb") as out:
            for chunk in chunks(export):
                out.write(chunk)


def _portions(export: Export, at_least_one: bool = False) -> Iterator[tuple[pa.RecordBatch, pa.Table]]:
    """The cells of some rows, and beside them their standings (nulls while pending, but `_row`)."""
    aligned = _Aligned(export.files)
    keys = [str(column["key"]) for column in export.columns]
    empty = True
    for numbers, cells in _read(export, keys):
        empty = False
        yield cells.select(keys), aligned.standing_of(np.asarray(numbers, dtype=np.int64))
    if empty and at_least_one:
        schema = pq.read_schema(export.files.table)
        nothing = pa.RecordBatch.from_pylist([], pa.schema([schema.field(key) for key in keys]))
        yield nothing, aligned.standing_of(np.zeros(0, dtype=np.int64))


def _read(export: Export, keys: list[str]) -> Iterator[tuple[list[int], pa.RecordBatch]]:
    at = 0
    for numbers, batch in read_rows(export.files.table, ["_row", *keys], beside=_answer_bytes(export) + len(keys) * CELL_BYTES):
        if export.rows is None:
            yield numbers, batch
            continue
        after = int(np.searchsorted(export.rows, numbers[-1], side="right"))
        wanted = export.rows[at:after]
        at = after
        if len(wanted):
            yield wanted.tolist(), batch.take(pa.array(wanted - numbers[0]))


def _answer_bytes(export: Export) -> float:
    """Bytes that the answers add to a row: they stand there once whole, and once in the fields of the schema."""
    files = [*([export.files.base] if export.files.base else []), *(path for _, path in export.files.newer)]
    return max((bytes_each(pq.read_metadata(path), ["answer"]) for path in files), default=0.0) * (2 if export.fields else 1)


def _settled(table: pa.Table, busy: Sequence[tuple[int, np.ndarray[Any, np.dtype[np.int64]]]]) -> pa.Table:
    """The lines but those of rows that a later round is trying again: they are pending."""
    rows, rounds = table.column("_row").to_numpy(), table.column("round").to_numpy()
    kept = np.ones(len(rows), dtype=bool)
    for number, chosen in busy:
        kept &= (rounds >= number) | ~np.isin(rows, chosen, assume_unique=True)
    return table if kept.all() else table.filter(pa.array(kept))


class _Aligned:
    """The standings, read along with the table in ascending `_row`."""

    def __init__(self, files: RowFiles) -> None:
        busy = [(number, selected_rows(path)) for number, path in files.busy]
        self._tables = (_settled(table, busy) for table in standings(files.base, files.newer))
        self._waiting = SCHEMA.empty_table()
        self._ended = False

    def standing_of(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Table:
        """One line for each of the rows; calls must ascend."""
        if len(rows):
            self._read_to(int(rows[-1]))
        known = self._waiting.column("_row").to_numpy()
        at = np.searchsorted(known, rows)
        inside = np.minimum(at, max(len(known) - 1, 0))
        found = (known[inside] == rows) if len(known) else np.zeros(len(rows), dtype=bool)
        taken = self._waiting.take(pa.array(inside, mask=~found))
        if len(rows):
            self._waiting = self._waiting.slice(int(np.searchsorted(known, rows[-1], side="right")))
        return taken.set_column(0, pa.field("_row", pa.int64()), pa.array(rows))

    def _read_to(self, row: int) -> None:
        parts = [self._waiting]
        last = self._waiting.column("_row")[-1].as_py() if self._waiting.num_rows else -1
        while not self._ended and last < row:
            table = next(self._tables, None)
            if table is None:
                self._ended = True
            elif table.num_rows:
                parts.append(table)
                last = table.column("_row")[-1].as_py()
        self._waiting = pa.concat_tables(parts).combine_chunks()


def _own_arrays(own: pa.Table) -> list[Any]:
    """Our columns in the order of OURS; pending rows have kind `pending` and no attempts."""
    filled = own.set_column(own.schema.get_field_index("kind"), "kind", pc.fill_null(own.column("kind"), PENDING))
    filled = filled.set_column(own.schema.get_field_index("attempts"), "attempts", pc.fill_null(own.column("attempts"), 0))
    return [filled.column("_row" if name == "_row" else "kind" if name == "_outcome" else name[1:]) for name in OURS]


def _own_texts(own: pa.Table, fields: Sequence[str]) -> list[Any]:
    return [*_own_arrays(own)[:-1], pa.array(money_texts(own.column("cost"))).cast(pa.large_string()), *_field_texts(own, fields)]


def _own_values(own: pa.Table, fields: Sequence[str]) -> list[list[Any]]:
    texts = own.column("answer").to_pylist()
    answers = [[_fragment(value) for value in values] for values in _field_values(texts, fields)]
    return [*(array.to_pylist() for array in _own_arrays(own)[:-1]), money_texts(own.column("cost")), *answers]


def money_texts(column: pa.ChunkedArray) -> list[str | None]:
    """Dollars of a decimal128(24, 12) column as plain decimals without trailing zeros, exactly; None where unknown."""
    amounts = pico_of(column)
    texts = {pico: None if pico is None else _plain(pico) for pico in set(amounts)}  # most rows cost one of few amounts
    return [texts[pico] for pico in amounts]


def _plain(pico: int) -> str:
    dollars, rest = divmod(pico, 10**12)
    return f"{dollars}.{rest:012d}".rstrip("0") if rest else str(dollars)


def _field_texts(own: pa.Table, fields: Sequence[str]) -> list[Any]:
    columns = _field_values(own.column("answer").to_pylist(), fields)
    return [pa.array([None if value is None else _whole(text_of(value)) for value in values], pa.string()) for values in columns]


def _field_values(answers: list[str | None], fields: Sequence[str]) -> list[list[Any]]:
    """The values of each field over the answers; None where an answer has no such field or is no object."""
    if not fields:
        return []
    parsed = [_object(answer) if answer else {} for answer in answers]
    return [[each.get(name) for each in parsed] for name in fields]


_DECODER = json.JSONDecoder(parse_float=JsonFloat)  # keeps `1.50` and 20-digit numbers as they stand
_raws_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _object(answer: str) -> dict[str, Any]:
    """The fields of an answer; numbers with a fraction as they stand. Empty for what is no object."""
    try:
        found = orjson.loads(answer)
        kinds = set(map(type, found.values())) if isinstance(found, dict) else {list}
        if list not in kinds and dict not in kinds:
            return _as_written(found, _raws_of(answer)) if float in kinds else found
    except (ValueError, msgspec.DecodeError):
        pass  # numbers beyond a float and halves of characters are JSON too
    try:
        found = _DECODER.decode(answer)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and not _deeper(found, _DEEPEST) else {}


def _as_written(found: dict[str, Any], raws: dict[str, msgspec.Raw]) -> dict[str, Any]:
    for name, value in found.items():
        if type(value) is float:
            found[name] = JsonFloat(bytes(raws[name]).decode())
    return found


def _deeper(value: Any, levels: int) -> bool:
    """Whether objects and lists stand more than so many levels deep."""
    inner = list(value.values()) if isinstance(value, dict) else value
    return levels <= 0 or any(_deeper(one, levels - 1) for one in inner if isinstance(one, (dict, list)))


def _fragment(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _whole(value)
    return orjson.Fragment(value.text if isinstance(value, JsonFloat) else _whole(to_json(value)))


def _whole(text: str) -> str:
    """Halves of surrogate pairs, which no file can hold, become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _cell_texts(column: pa.Array) -> pa.Array:
    """A column for CSV: text as it is, other types as text that is no formula (large_string marks what is not to be defused)."""
    if pa.types.is_string(column.type):
        return column
    texts = [None if value is None else text_of(value) for value in plain_values(column)]
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
    return pa.array(texts, pa.large_string() if number else pa.string())


def _json_values(column: Mapping[str, Any], cells: pa.Array) -> list[Any]:
    values = plain_values(cells)
    if column.get("type") == "json":
        return [_raw_json(value) for value in values]
    return list(map(_finite, values)) if _not_finite(cells) else values


def _raw_json(text: Any) -> Any:
    """JSON text is put in as it stands, but in one line; a text in a JSON column that is not JSON is a string."""
    if not isinstance(text, str) or not text or text[0] == '"':
        return text
    try:
        orjson.loads(text)
    except ValueError:
        if not _is_json(text):
            return text
    # Line ends can stand between values only: inside of a JSON string they are escaped.
    return orjson.Fragment(text.replace("\n", " ").replace("\r", " ") if "\n" in text or "\r" in text else text)


def _is_json(text: str) -> bool:
    """As `orjson.loads`, but numbers may be of any size and halves of characters may be escaped."""
    try:
        json.loads(text, parse_float=str, parse_int=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _not_finite(cells: pa.Array) -> bool:
    """Whether a column has a float that JSON has no number for."""
    kind = cells.type
    if pa.types.is_floating(kind):
        return bool(pc.any(pc.invert(pc.is_finite(cells))).as_py())
    if pa.types.is_struct(kind):
        return any(map(_not_finite, cells.flatten()))
    if pa.types.is_map(kind):
        return _not_finite(cells.keys) or _not_finite(cells.items)
    return bool(pa.types.is_nested(kind) and _not_finite(cells.flatten()))


def _finite(value: Any) -> Any:
    """NaN and the infinities as text: null would say that the value is absent."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(_finite, value))
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _defused(column: Any) -> Any:
    """A `'` before each text that a spreadsheet would run; numbers (-5, +3.2) are left alone."""
    mask = pc.match_substring_regex(column, _FORMULA)
    if not pc.any(mask).as_py():
        return column
    mask = pc.fill_null(pc.and_(mask, pc.invert(pc.match_substring_regex(column, _NUMBER))), False)
    return pc.if_else(mask, pc.binary_join_element_wise("'", column, ""), column)


def _csv_lines(columns: list[list[Any]], quote_all: bool = False, delimiter: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
    writer.writerows(zip(*columns, strict=True))
    return out.getvalue().encode()
