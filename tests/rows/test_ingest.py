# ruff: noqa: E501, DTZ001 - values as a spreadsheet has them
"""What goes in comes out: every value of every format, exactly."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.errors import BadTable
from jobs.rows.ingest import Column, Ingested, IngestLimits, Reading, ingest, preview
from jobs.rows.ingest_child import open_reader
from jobs.rows.reading import ENCODINGS
from jobs.rows.sniff import look
from jobs.rows.table_writer import write_table
from tests.rows.tables import read

HARD = [
    ["007", "1e5", "NULL"],
    ["2026-01-02", "12345678901234567890", "null"],
    [" lead", "trail ", "\t"],
    ["", "", ""],
    ['say "hi"', "two\nlines", "win\r\ndows"],
    ["a,b;c|d\te", "ümläut 漢字 🎉", "NaN"],
    ["-0", "1.0", "\\N"],
    ["lone\rcr", "'", "#N/A"],
]


def as_csv(rows: list[list[str]], **dialect: str) -> str:
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if dialect.get("lineterminator") == "\r" else csv.QUOTE_MINIMAL  # else it leaves LF bare
    csv.writer(text, quoting=quoting, **dialect).writerows(rows)  # type: ignore[arg-type]
    return text.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_values_stay_as_they_are(tmp_path: Path, delimiter: str, end: str) -> None:
    content = as_csv([["id", "text", "more"], *HARD], delimiter=delimiter, lineterminator=end).encode()
    done, rows = read(tmp_path, content)
    assert rows == HARD
    assert done.reading == Reading("csv", "", "utf-8", delimiter, '"', True)
    assert [column.name for column in done.columns] == ["id", "text", "more"]
    assert (done.n_rows, done.n_bytes, done.sha256) == (len(HARD), len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("encoding", "text", "expected"),
    [
        ("utf-8", "Straße 漢字", "utf-8"),
        ("utf-8-sig", "Straße 漢字", "utf-8-sig"),
        ("utf-16", "Straße 漢字", "utf-16-le"),
        ("utf-16-le", "Strasse, ja", "utf-16-le"),
        ("utf-16-be", "Strasse, ja", "utf-16-be"),
        ("cp1252", "Die Straße ist für Fußgänger gesperrt – „schön“ für 5 €", "cp1252"),
        ("latin-1", "Ça va très bien, merci à vous, où êtes-vous né", "cp1252"),
        ("cp1251", "Быстрая коричневая лиса прыгает через ленивую собаку", "cp1251"),
        ("cp932", "製品が壊れました。返金してください", "cp932"),
        ("euc-jp", "製品が壊れました。返金してください", "euc-jp"),
        ("koi8-r", "Быстрая коричневая лиса прыгает через ленивую собаку", "koi8-r"),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy, řekl šéf", "cp1250"),
    ],
)
def test_encodings_are_told_and_decoded(tmp_path: Path, encoding: str, text: str, expected: str) -> None:
    body = [[str(n), text] for n in range(20)]
    done, rows = read(tmp_path, as_csv([["id", "text"], *body]).encode(encoding))
    assert (done.reading.encoding, rows) == (expected, body)


@pytest.mark.parametrize("compression", ["gz", "zst"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_packed_files_are_opened(tmp_path: Path, compression: str, kind: str) -> None:
    if kind == "parquet":
        pq.write_table(pa.table({"a": ["x", None]}), tmp_path / "p")
        content, expected = (tmp_path / "p").read_bytes(), [["x"], [None]]
    else:
        content, expected = {"csv": b"a,b\n1,\n", "jsonl": b'{"a":"1","b":""}\n'}[kind], [["1", ""]]
    half = len(content) // 2
    pack = gzip.compress if compression == "gz" else zstandard.compress
    done, rows = read(tmp_path, pack(content[:half]) + pack(content[half:]), f"x.{kind}.{compression}")  # two members make one file
    assert (done.reading.kind, done.reading.compression, rows) == (kind, compression, expected)


def test_headers_may_be_empty_or_doubled_or_anything(tmp_path: Path) -> None:
    done, rows = read(tmp_path, 'Ticket Text,,Ticket Text,row,Größe (cm),_row,"a\nb"\n1,2,3,4,5,6,7\n'.encode())
    assert rows == [["1", "2", "3", "4", "5", "6", "7"]]
    assert [(column.key, column.name, column.variable) for column in done.columns] == [
        ("c0", "Ticket Text", "ticket_text"),
        ("c1", "", "column_2"),
        ("c2", "Ticket Text", "ticket_text_2"),
        ("c3", "row", "row_"),
        ("c4", "Größe (cm)", "grosse_cm"),
        ("c5", "_row", "row__2"),
        ("c6", "a\nb", "a_b"),
    ]


def test_a_wrong_guess_of_the_header_can_be_corrected(tmp_path: Path) -> None:
    source = tmp_path / "s"
    source.write_bytes(b"x,y\nz,w\n")
    reading = Reading("csv", "", "utf-8", ",", '"', False)
    shown = preview(source, reading)
    assert (shown.rows, [column.name for column in shown.columns]) == ([["x", "y"], ["z", "w"]], ["column_1", "column_2"])
    assert read(tmp_path, b"x,y\nz,w\n", reading=reading)[1] == [["x", "y"], ["z", "w"]]


def test_blank_lines_are_rows_only_in_a_table_of_one_column(tmp_path: Path) -> None:
    done, rows = read(tmp_path, b"a,b\n1,2\n\n3,4\n\n\n")
    assert (rows, done.notes) == ([["1", "2"], ["3", "4"]], ["3 blank lines skipped"])
    done, rows = read(tmp_path, b'a\n1\n\n""\n2\n\n')
    assert (rows, done.notes) == ([["1"], [""], [""], ["2"]], ["1 blank line skipped"])


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name not in ("utf-8-sig", "utf-16-be")])
def test_every_encoding_on_offer_reads_what_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    letters = [
        chr(n) for n in range(0x80, 0xFF00) if chr(n).encode(encoding, "ignore").decode(encoding, "ignore") == chr(n) and n != 0xFEFF
    ]
    body = [[str(n), "".join(letters[n::20])[:400]] for n in range(20)]
    (tmp_path / "s").write_bytes(as_csv([["id", "text"], *body]).encode(encoding))
    monkeypatch.setattr("jobs.rows.readers.source.CHUNK", 71)
    write_table(open_reader(tmp_path / "s", Reading("csv", "", encoding, ","), IngestLimits()), tmp_path / "t", IngestLimits())
    assert [list(row.values())[1:] for row in pq.read_table(tmp_path / "t").to_pylist()] == body


def test_mixed_line_ends_are_read_and_said(tmp_path: Path) -> None:
    done, rows = read(tmp_path, b"a,b\r\n1,2\n3,4\r\n")
    assert (rows, done.notes) == ([["1", "2"], ["3", "4"]], ["line ends are mixed (CRLF, LF)"])


_CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.text("\",;|\t\r\n 'ab0", max_size=8)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(_CELL, min_size=width, max_size=width), min_size=2, max_size=20)),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16-le"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_any_dialect_of_csv_survives(tmp_path: Path, rows: list[list[str]], delimiter: str, end: str, encoding: str, quoting: int) -> None:
    text = io.StringIO(newline="")
    if end == "\r" or any(row[-1].endswith("\r") for row in rows):
        quoting = csv.QUOTE_ALL  # else Python's writer leaves bare what then looks like a line end
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)  # type: ignore[arg-type]
    source, part = tmp_path / "s", tmp_path / "t"
    source.write_bytes((b"\xff\xfe" if encoding == "utf-16-le" else b"") + text.getvalue().encode(encoding))
    reader = open_reader(source, Reading("csv", "", encoding, delimiter), IngestLimits())
    write_table(reader, part, IngestLimits())
    table = pq.read_table(part).drop_columns("_row")
    assert [reader.names, *([*row.values()] for row in table.to_pylist())] == rows


def test_chunk_and_batch_borders_lose_nothing(tmp_path: Path) -> None:
    body = [[str(n), "ä\r\n" * (n % 7), "x" * (n % 300)] for n in range(9_000)]
    assert read(tmp_path, as_csv([["id", "t", "x"], *body]).encode())[1] == body
    lines = "".join(json.dumps({"id": a, "t": b, "x": c}, ensure_ascii=False) + "\n" for a, b, c in body)
    assert read(tmp_path, lines.encode(), "x.jsonl")[1] == body
    array = "[" + ",".join(lines.splitlines()) + "]"
    done, rows = read(tmp_path, array.encode(), "x.json")
    assert (done.reading.kind, rows) == ("json", body)


def test_json_values_keep_their_own_text(tmp_path: Path) -> None:
    line = '{"i": 12345678901234567890, "f": 1.0, "e": 1e5, "z": -0, "b": true, "s": "007", "o": {"k": [1.50, "ü\\u00fc" ]}, "l": [ ], "u": "\\u00e9\\ud83c\\udf89"}\n'
    done, rows = read(tmp_path, (line + '{"s": null, "new": "n"}\n').encode(), "x.jsonl")
    assert rows == [
        ["12345678901234567890", "1.0", "1e5", "-0", "true", "007", '{"k": [1.50, "ü\\u00fc" ]}', "[ ]", "é🎉", None],
        [None, None, None, None, None, None, None, None, None, "n"],
    ]
    assert [(column.name, column.type) for column in done.columns] == [
        ("i", "json"), ("f", "json"), ("e", "json"), ("z", "json"), ("b", "json"), ("s", "text"), ("o", "json"), ("l", "json"), ("u", "text"), ("new", "text"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1.50, "b": "x"}, {"b": "", "a": {"n": [1]}}]',
        '\n[\n  {\n    "a": 1.50, "b": "x"\n  },\n  {"b": "", "a": {"n": [1]}}\n]\n',
        '{"meta": {"n": [1]}, "rows": [{"a": 1.50, "b": "x"}, {"b": "", "a": {"n": [1]}}], "next": null}',
    ],
)
def test_json_arrays_plain_and_wrapped(tmp_path: Path, text: str) -> None:
    done, rows = read(tmp_path, text.encode(), "x.json")
    assert (done.reading.kind, rows) == ("json", [["1.50", "x"], ['{"n": [1]}', ""]])


def test_a_column_of_text_and_numbers_is_text_and_says_so(tmp_path: Path) -> None:
    done, rows = read(tmp_path, b'{"a": "1"}\n\n{"a": 1}\n', "x.jsonl")
    assert (rows, done.columns, done.notes) == (
        [["1"], ["1"]],
        [Column("c0", "a", "a", "text")],
        ["column 'a' mixes text and other JSON values; all are kept as text"],
    )


def test_parquet_keeps_types_and_nulls(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([2**62, None], pa.int64()),
            "_row": pa.array(["b", ""], pa.large_string()),
            "d": pa.array([dt.date(2026, 1, 2), None]),
            "k": pa.array(["x", "x"]).dictionary_encode(),
            "l": pa.array([[1, 2], None]),
        }
    )
    pq.write_table(table, tmp_path / "p")
    done, rows = read(tmp_path, (tmp_path / "p").read_bytes(), "x.parquet")
    assert rows == [[2**62, "b", dt.date(2026, 1, 2), "x", [1, 2]], [None, "", None, "x", None]]
    assert [column.type for column in done.columns] == ["int64", "text", "date32[day]", "text", "list<element: int64>"]


def test_xlsx_shows_values_as_a_person_sees_them(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Data"
    sheet.append(["id", "when", "at", "f", "yes", "", "text"])
    sheet.append([7, dt.date(2026, 1, 2), dt.datetime(2026, 1, 2, 3, 4, 5), 2.0, True, None, "007"])
    sheet.append([])
    sheet.append([12345678901, None, None, 0.1, False, "z"])
    book.create_sheet("Other").append(["x"])
    book.save(tmp_path / "b")
    done, rows = read(tmp_path, (tmp_path / "b").read_bytes(), "x.xlsx")
    assert rows == [
        ["7", "2026-01-02", "2026-01-02 03:04:05", "2", "TRUE", "", "007"],
        ["12345678901", "", "", "0.1", "FALSE", "z", ""],
    ]
    assert done.notes == ["only sheet 'Data' is read, not 'Other'", "1 blank row skipped"]
    assert done.reading.words == "Excel, sheet Data, header in line 1"


def test_what_is_said_survives_the_ledger(tmp_path: Path) -> None:
    done, _ = read(tmp_path, b"a;b\n1;2\n")
    assert Ingested.from_dict(json.loads(json.dumps(done.to_dict()))) == done
    assert done.reading.words == "CSV, UTF-8, semicolon, header in line 1"


def test_memory_stays_flat_on_a_big_file(tmp_path: Path) -> None:
    source = tmp_path / "s.csv"
    line = b'12345,the quick brown fox jumps over the lazy dog,"a, b"\n'
    with source.open("wb") as file:
        file.write(b"id,text,more\n")
        for _ in range(100):
            file.write(line * 5_000)
    limits = IngestLimits(memory_bytes=150_000_000)
    assert ingest(source, tmp_path / "t", filename="s.csv", limits=limits).n_rows == 500_000


def test_a_failed_second_upload_keeps_the_first(tmp_path: Path) -> None:
    _, rows = read(tmp_path, b"a,b\n1,2\n")
    with pytest.raises(BadTable):
        read(tmp_path, b"a,b\n1\n")
    assert pq.read_table(tmp_path / "out" / "table.parquet").column("c1").to_pylist() == [rows[0][1]]


@pytest.mark.parametrize("order", [0, 1])
def test_the_stand_in_for_lone_returns_is_never_taken_for_one(tmp_path: Path, order: int) -> None:
    odd, plain, lone = "a,\ufdd0\n", "b,x\n" * 400_000, "c,y\rz\n"
    parts = [odd, plain, lone] if order else [lone, plain, odd]
    with pytest.raises(BadTable, match=r"U\+FDD0"):
        read(tmp_path, ("k,v\n" + "".join(parts)).encode())
    _, rows = read(tmp_path, ("k,v\n" + odd).encode())
    assert rows == [["a", "\ufdd0"]]


@pytest.mark.parametrize(
    ("row", "end", "value"),
    [("ab\rcd,1\n", "\n", ["ab\rcd", "1"]), ("ab\ncd,1\r", "\r", ["ab\ncd", "1"]), ('"a\r\nb",1\r\n', "\r\n", ["a\r\nb", "1"])],
)
def test_no_border_between_pieces_of_a_file_parts_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str, end: str, value: list[str]
) -> None:
    content = ("a,k" + end + ("p,p" + end) * 20_000 + row * 60).encode()
    (tmp_path / "s").write_bytes(content)
    for size in range(70_001, 70_001 + len(row) + 2):
        monkeypatch.setattr("jobs.rows.readers.source.CHUNK", size)
        n = write_table(open_reader(tmp_path / "s", Reading("csv", "", "utf-8", ","), IngestLimits()), tmp_path / "t", IngestLimits())
        table = pq.read_table(tmp_path / "t")
        assert (n, [table.column(key).to_pylist()[-60:] for key in ("c0", "c1")]) == (20_060, [[value[0]] * 60, [value[1]] * 60])


@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
def test_the_line_in_which_a_spreadsheet_names_its_delimiter_is_no_row(tmp_path: Path, delimiter: str) -> None:
    done, rows = read(tmp_path, f"sep={delimiter}\r\na{delimiter}b\r\n1{delimiter}2\r\n".encode())
    assert ([column.name for column in done.columns], rows, done.reading.delimiter) == (["a", "b"], [["1", "2"]], delimiter)
    assert done.notes == ["line 1 only names the delimiter (sep=) and is not read"]
    with pytest.raises(BadTable) as refused:
        read(tmp_path, f"sep={delimiter}\na{delimiter}b\n1\n".encode())
    assert refused.value.where.line == 3


@pytest.mark.parametrize("reading", [Reading("csv", "", "utf-8", ","), Reading("jsonl", "", "utf-8"), Reading("json", "", "utf-8")])
def test_a_byte_order_mark_is_no_part_of_a_name_whoever_said_utf8(tmp_path: Path, reading: Reading) -> None:
    content = {"csv": '"a",b\n1,2\n', "jsonl": '{"a": "1", "b": "2"}\n', "json": '[{"a": "1", "b": "2"}]'}[reading.kind]
    done, rows = read(tmp_path, ("\ufeff" + content).encode(), reading=reading)
    assert ([column.name for column in done.columns], rows) == (["a", "b"], [["1", "2"]])


def test_what_is_held_at_once_is_counted_in_bytes_not_in_rows(tmp_path: Path) -> None:
    """Rows may be documents of a megabyte: thousands of them at once would take more memory than there is."""
    document, n = "x" * 900_000, 40
    (tmp_path / "s.csv").write_text("text\n" + f"{document}\n" * n)
    (tmp_path / "s.jsonl").write_text(f'{{"text": "{document}"}}\n' * n)
    (tmp_path / "s.json").write_text("[" + ",".join([f'{{"text": "{document}"}}'] * n) + "]")
    pq.write_table(pa.table({"text": [document] * n}), tmp_path / "s.parquet", write_batch_size=1)
    for kind in ("csv", "jsonl", "json", "parquet"):
        reading = Reading(kind, "", "utf-8", ",")
        sizes = [sum(array.nbytes for array in arrays) for arrays in open_reader(tmp_path / f"s.{kind}", reading, IngestLimits()).batches()]
        assert (sum(sizes) >= n * 900_000, max(sizes) < 34 * 900_100) == (True, True)


def written(table: pa.Table, **more: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **more)
    return sink.getvalue()


def test_parquet_bytes_that_are_text_are_text_and_others_stay_bytes(tmp_path: Path) -> None:
    columns = {
        "t": pa.array([b"abc", "é".encode(), None]),
        "f": pa.array([b"abc", b"def", None], pa.binary(3)),
        "b": pa.array([b"abc", b"\xff", None]),
        "z": pa.array([b"a\0c", b"", None]),
    }
    done, rows = read(tmp_path, written(pa.table(columns)), "x.parquet")
    assert rows == [["abc", "abc", b"abc", b"a\0c"], ["é", "def", b"\xff", b""], [None] * 4]
    assert [column.type for column in done.columns] == ["text", "text", "binary", "binary"]
    assert [note[:10] for note in done.notes] == ["column 'b'", "column 'z'"]


def test_parquet_timestamps_of_96_bits_keep_the_year_9999_and_their_nanoseconds(tmp_path: Path) -> None:
    for unit, value in (("us", 253402214400000000), ("ns", 1700000000123456789)):
        content = written(pa.table({"t": pa.array([value, None], pa.timestamp(unit))}), use_deprecated_int96_timestamps=True)
        (tmp_path / "s").write_bytes(content)
        write_table(open_reader(tmp_path / "s", Reading("parquet"), IngestLimits()), tmp_path / "t", IngestLimits())
        stored = pq.read_table(tmp_path / "t").column("c0")
        assert (str(stored.type), stored.cast(pa.int64()).to_pylist()) == (f"timestamp[{unit}]", [value, None])


@pytest.mark.parametrize(
    ("text", "line", "notes"),
    [
        ('{"rows": [\n{"a": "1"},\n{"a": "2"}\n]}', 2, []),
        ('{"rows": [\n{"a": "1"}\n,{"a": "2"}]}', 2, []),
        ('{"errors": [], "ids": [1, [2], "x"], "n": {"k": [3]},\n"data": [{"a": "1"}, {"a": "2"}]}', 2, ["errors", "ids", "n"]),
        ('{\n"data": [\n{"a": "1"}, {"a": "2"}],\n"next": null}', 3, ["next"]),
    ],
)
@pytest.mark.parametrize("name", ["x.json", "x.txt"])
def test_rows_may_stand_in_an_object_with_other_things(tmp_path: Path, text: str, line: int, notes: list[str], name: str) -> None:
    done, rows = read(tmp_path, text.encode(), name)
    assert (done.reading.kind, rows) == ("json", [["1"], ["2"]])
    assert done.notes == [f"only the rows are read, not {', '.join(map(repr, notes))} beside them"] * bool(notes)
    with pytest.raises(BadTable) as refused:
        read(tmp_path, text.replace('"1"', "01").encode(), name)
    assert refused.value.where.line == line


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"a": 1}\n{"a": 2}', "jsonl"),
        ('{"a": 1,}\n{"a": 2}', "jsonl"),
        ('{"a": [{"b": 1}]}\n{"a": []}', "jsonl"),
        ('{"a": 1}', "jsonl"),
        ('{\n"a": 1\n}', "json"),
        ('{"a": [{"b": 1}]}', "json"),
        ('{"a": [{"b": 1},\n{"b": 2}]}', "json"),
    ],
)
def test_an_object_at_the_start_is_a_row_or_holds_the_rows(tmp_path: Path, text: str, kind: str) -> None:
    (tmp_path / "s").write_text(text)
    assert look(tmp_path / "s", "data.json", tmp_path, IngestLimits()).kind == kind


def test_other_broken_objects_are_named(tmp_path: Path) -> None:
    for text, message in (
        ('{"data": [],\n"n": 1}', "The file has no rows."),
        ('{"a": 1,\n"b": 2}', "The file is one object, not a table."),
    ):
        with pytest.raises(BadTable) as refused:
            read(tmp_path, text.encode(), "x.json")
        assert refused.value.message == message
    with pytest.raises(BadTable) as refused:
        read(tmp_path, b'[{"a": "1"},\n{"a": "' + b"x" * 40_000_000 + b'"}]', "x.json")
    assert (refused.value.message, refused.value.where.line) == ("The object at line 2 is longer than 32,000,000 characters.", 2)


def test_line_ends_inside_of_values_are_not_those_of_the_lines(tmp_path: Path) -> None:
    mixed = ["line ends are mixed (CRLF, LF)"]
    for text, notes in (
        ('a,b\r\n1,"x\ny"\r\n2,"\n"\r\n', []),
        ('"a\n",b\r\n1,2\r\n', []),
        ('a,b\n1,"x\r\ny"\n', []),
        ('a,b\r\n1,"x\ny"\n2,3\r\n', mixed),
        ("a,b\n1,2\r\n", mixed),
    ):
        assert read(tmp_path, text.encode())[0].notes == notes
    without_header = Reading("csv", "", "utf-8", ",", '"', False)
    assert read(tmp_path, b'"a\nb",1\r\nc,2\r\n', reading=without_header)[0].notes == []


def test_absent_keys_are_said(tmp_path: Path) -> None:
    done, rows = read(tmp_path, b'{"a": "1", "b": null}\n{"a": "2", "c": "3"}\n{"a": "4", "b": "5"}\n', "x.jsonl")
    assert (rows, done.notes) == (
        [["1", None, None], ["2", None, "3"], ["4", "5", None]],
        ["not all objects have 'b', 'c': a key that is absent comes back as null in JSON Lines"],
    )
    wide = "\n".join(f'{{"k{n}": "1"}}' for n in range(8)).encode()
    assert read(tmp_path, wide, "x.jsonl")[0].notes == [
        "not all objects have 'k0', 'k1', 'k2', 'k3', 'k4' and 3 more: a key that is absent comes back as null in JSON Lines"
    ]
    assert read(tmp_path, b'[{"a": "1"}, {"a": null}]', "x.json")[0].notes == []


def test_titles_above_the_header_of_a_csv_are_not_read_and_said(tmp_path: Path) -> None:
    done, rows = read(tmp_path, b"Report Q3\nof today\n\na;b\n1;2\n3;4\n")
    assert (done.reading.words, rows) == ("CSV, UTF-8, semicolon, header in line 4", [["1", "2"], ["3", "4"]])
    assert done.notes == ["What stands above the header is not read: “Report Q3”, “of today”"]
    with pytest.raises(BadTable, match=r"Line 6 has 1 value, the header has 2\."):
        read(tmp_path, b"Report Q3\nof today\n\na;b\n1;2\n3\n", reading=done.reading)
