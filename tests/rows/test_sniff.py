from __future__ import annotations

from pathlib import Path

import pytest

from jobs.rows.ingest import sniff


@pytest.mark.parametrize(
    ("content", "filename", "words"),
    [
        ("a,b\n1,2\n", "x.csv", "CSV, UTF-8, comma, header in line 1"),
        ("a,b;c\n1,2;3\n1;2\n", "x.csv", "CSV, UTF-8, semicolon, header in line 1"),
        ("a\tb\n1\t2\n", "x.txt", "TSV, UTF-8, tab, header in line 1"),
        ("1,2\n3,4\n", "x.csv", "CSV, UTF-8, comma, no header"),
        ("name,2019,2020\nx,1,2\n", "x.csv", "CSV, UTF-8, comma, header in line 1"),
        ("text\nhello, world\nbye\n", "x.csv", "CSV, UTF-8, comma, header in line 1"),
        ("'a';'b'\n'1;2';'3'\n", "x.csv", "CSV, UTF-8, semicolon, single quotes, header in line 1"),
        ('[{"a":1}]', "x.csv", "JSON, UTF-8"),
        ('{"a":1}\n{"a":2}\n', "x.csv", "JSON lines, UTF-8"),
        ("[id],[name]\n1,2\n", "x.csv", "CSV, UTF-8, comma, header in line 1"),
    ],
)
def test_sniff_says_how_a_file_is_read(tmp_path: Path, content: str, filename: str, words: str) -> None:
    source = tmp_path / "source"
    source.write_text(content)
    assert sniff(source, filename).words == words
