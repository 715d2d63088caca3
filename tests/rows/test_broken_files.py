# ruff: noqa: E501
"""Every broken file is refused with what, where and what was expected, and leaves nothing behind."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from jobs.errors import BadTable
from jobs.rows.ingest import IngestLimits, Reading, ingest


def parquet(n: int = 1000) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [str(i) for i in range(n)]}), sink)
    return sink.getvalue()


def parquet_bomb() -> bytes:
    sink = io.BytesIO()
    text = pa.array(["x" * 900_000]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 200_000, pa.int32()), text.dictionary)
    pq.write_table(pa.table({"a": column}), sink, compression="zstd")
    return sink.getvalue()


def xlsx(**entries: bytes) -> bytes:
    book = openpyxl.Workbook()
    book.active.append(["a", "b"])
    book.active.append(["1", "2"])
    sink = io.BytesIO()
    book.save(sink)
    with zipfile.ZipFile(sink, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return sink.getvalue()


def zipped() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("../../etc/passwd", "x")
    return sink.getvalue()


def many_rows(bad: bytes, n: int = 20_000) -> bytes:
    return b"a,b\n" + b"1,2\n" * n + bad + b"1,2\n" * n


# name → (content, file name, line, a part of the message)
BROKEN: dict[str, tuple[Callable[[], bytes], str, int | None, str]] = {
    "empty": (lambda: b"", "x.csv", None, "The file is empty."),
    "blank": (lambda: b" \n\n ", "x.csv", 1, "The file is empty."),
    "header only": (lambda: b"a,b\n", "x.csv", None, "The table has a header but no rows."),
    "short row": (lambda: many_rows(b"1\n"), "x.csv", 20_002, "Line 20002 has 1 value, the header has 2."),
    "long row": (lambda: many_rows(b'"x\ny",2\n1,2,3\n'), "x.csv", 20_004, "Line 20004 has 3 values, the header has 2."),
    "long row after quoted lines": (lambda: b'a,b\r\n"x\r\ny\r\n",2\r\n1,2,3\r\n', "x.csv", 5, "Line 5 has 3 values"),
    "unclosed quote": (lambda: b'a,b\n1,2\n3,"x\n4,5\n', "x.csv", 3, "A quote in the record at line 3 is never closed."),
    "unclosed quote in a long file": (lambda: many_rows(b'1,"x\n', 300_000), "x.csv", 300_002, "longer than 1,000,000 characters"),
    "text after a quote": (lambda: b'a,b\n1,2\n"x"y,2\n', "x.csv", 3, "In the record at line 3 a value goes on after its closing quote."),
    "NUL": (lambda: many_rows(b"1,\0\n"), "x.csv", 20_002, "Line 20002 has a NUL character."),
    "bad UTF-8 in the middle": (
        lambda: "a,b\n1,äöü漢字漢字漢字漢字漢字漢字\n".encode() * 3 + b"1,\xff\n",
        "x.csv",
        7,
        "Line 7 has bytes that are not UTF-8: 0xFF.",
    ),
    "huge cell": (lambda: b"a,b\n1,2\n3," + b"x" * 50_000_000 + b"\n", "x.csv", None, "longer than"),
    "huge cell in quotes": (lambda: b'a,b\n1,2\n3,"' + b"xxxxxxxxx\n" * 5_000_000 + b'"\n', "x.csv", 3, "longer than 1,000,000 characters"),
    "a million columns": (lambda: b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n", "x.csv", 1, "1,000,000 columns"),
    "binary as csv": (lambda: bytes(range(256)) * 100, "x.csv", None, "The file is binary, not a table."),
    "PNG as csv": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "x.csv", None, "The file is a PNG image, not a table."),
    "PDF as csv": (lambda: b"%PDF-1.7\n1 0 obj\n", "x.csv", None, "The file is a PDF document, not a table."),
    "truncated gz": (lambda: gzip.compress(os.urandom(50_000).hex().encode())[:-5000], "x.csv.gz", None, "The gzip file cannot be opened to its end"),
    "damaged gz": (lambda: gzip.compress(b"a,b\n1,2\n" * 9)[:-8] + bytes(8), "x.csv.gz", None, "The gzip file cannot be opened to its end"),
    "truncated zst": (
        lambda: zstandard.compress(os.urandom(50_000).hex().encode())[:-5000], "x.csv.zst", None, "The Zstandard file cannot be opened to its end",
    ),
    "gzip in gzip": (lambda: gzip.compress(gzip.compress(b"a\n1\n")), "x.csv.gz", None, "The file is a gz file inside another"),
    "gzip bomb": (lambda: gzip.compress(b"a,b\n" + b"1,2\n" * 40_000_000, 6), "x.csv.gz", None, "The file opens to far more than its size"),
    "zip": (zipped, "x.csv", None, "The file is a zip archive, not a table."),
    "xlsx that is no zip": (lambda: b"PK\x03\x04" + b"x" * 100, "x.xlsx", None, "The Excel or zip file is damaged or cut off."),
    "truncated xlsx": (lambda: xlsx()[:-300], "x.xlsx", None, "The Excel or zip file is damaged or cut off."),
    "xlsx bomb": (lambda: xlsx(**{"xl/media/x": bytes(150_000_000)}), "x.xlsx", None, "far more than its size"),
    "xlsx without a sheet's part": (
        lambda: xlsx().replace(b"xl/worksheets/sheet1.xml", b"xl/worksheets/sheetX.xml"), "x.xlsx", None, "The workbook has no visible sheet with cells.",
    ),
    "password": (
        lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le") + bytes(600),
        "x.xlsx",
        None,
        "The Excel file is protected by a password.",
    ),
    "old xls": (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "x.xls", None, "The file is an old Office file"),
    "truncated parquet": (lambda: parquet()[:-100], "x.parquet", None, "The Parquet file is damaged or cut off."),
    "damaged parquet": (lambda: parquet()[:200] + b"\xff" * 300 + parquet()[500:], "x.parquet", None, "The Parquet file is damaged or cut off."),
    "parquet bomb": (parquet_bomb, "x.parquet", None, ""),
    "deep JSON": (lambda: b'[{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}]", "x.json", 1, "nested deeper than 64 levels"),
    "JSON of 70 levels": (lambda: b'{"a":1}\n{"a":' + b"[" * 70 + b"]" * 70 + b"}\n", "x.jsonl", 2, "nested deeper than 64 levels"),
    "JSON with a bad line": (lambda: b'[\n{"a": 1},\n{"a": },\n{"a": 3}\n]', "x.json", 3, "Line 3 is not valid JSON"),
    "JSON cut off": (lambda: b'[\n{"a": 1},\n{"a": 2', "x.json", 3, "Line 3 is not valid JSON"),
    "JSON with a tail": (lambda: b'[{"a": 1}]\n[2]', "x.json", 2, "where the end of the file should be"),
    "JSON of numbers": (lambda: b"[1, 2]", "x.json", 1, "Line 1 has a number where a row should be."),
    "JSON without rows": (lambda: b"[]", "x.json", None, "The file has no rows."),
    "JSON object that is no table": (lambda: b'{"a": {"b": 1}}', "x.json", None, ""),
    "JSON with NaN": (lambda: b'{"a": 1}\n{"a": NaN}\n', "x.jsonl", 2, "The object at line 2 is not valid JSON."),
    "JSONL with a bad line": (lambda: b'{"a": 1}\n' * 9000 + b'{"a": 1,}\n', "x.jsonl", 9001, "Line 9001 is not valid JSON"),
    "JSONL with a line that is no object": (lambda: b'{"a": 1}\n[1]\n', "x.jsonl", 2, "Line 2 has an array where a row should be."),
    "JSONL with two objects in a line": (lambda: b'{"a": 1}\n{"a": 1} {"a": 2}\n', "x.jsonl", 2, "Line 2 goes on after its object."),
    "a key twice": (lambda: b'{"a": 1}\n{"a": 1, "a": 2}\n', "x.jsonl", 2, "The object at line 2 has the key 'a' twice."),
    "a lone surrogate": (lambda: b'{"a": "x"}\n{"a": "\\ud83d"}\n', "x.jsonl", 2, "a lone surrogate"),
    "a bad escape": (lambda: b'{"a": "x"}\n{"a": "\\x"}\n', "x.jsonl", 2, "Line 2 is not valid JSON"),
    "a huge JSON value": (lambda: json.dumps([{"a": "x" * 1_000_001}]).encode(), "x.json", 1, "longer than 1,000,000 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    make, filename, line, message = BROKEN[name]
    source, folder = tmp_path / "source", tmp_path / "out"
    source.write_bytes(make())
    folder.mkdir()
    if name == "JSON object that is no table":
        reading: Reading | None = Reading("json", encoding="utf-8")
    else:
        reading = None
    with pytest.raises(BadTable) as refused:
        ingest(source, folder / "table.parquet", filename=filename, reading=reading, limits=IngestLimits(seconds=20))
    error = refused.value
    if message:
        assert message in error.message
    if line is not None:
        assert error.where.line == line
    assert list(folder.iterdir()) == []
    assert "it took too long" not in error.message.lower()
    assert "broke" not in error.message
