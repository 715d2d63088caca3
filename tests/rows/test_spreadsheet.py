# ruff: noqa: DTZ001 - dates as a spreadsheet has them
"""Workbooks as programs other than Excel write them, too: no value is lost on the way or made up."""

from __future__ import annotations

import datetime as dt
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from jobs.errors import BadTable
from jobs.rows.ingest import Reading
from tests.rows.tables import read


def book(rows: list[list[Any]], change: Callable[[Any, Any], None] = lambda book, sheet: None) -> bytes:
    made = openpyxl.Workbook()
    for row in rows:
        made.active.append(row)
    change(made, made.active)
    sink = io.BytesIO()
    made.save(sink)
    return sink.getvalue()


def sheet_of(xml: str) -> bytes:
    """A workbook whose sheet has these rows, as XML."""
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book([["x"]]))) as old, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "xl/worksheets/sheet1.xml":
                content = re.sub("<sheetData>.*</sheetData>", f"<sheetData>{xml}</sheetData>", content.decode(), flags=re.DOTALL).encode()
            new.writestr(name, content)
    return sink.getvalue()


def text(place: str, value: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{value}</t></is></c>'


HEADER = f'<row r="1">{text("A1", "a")}{text("B1", "b")}</row>'


def test_numbers_formulas_errors_and_texts(tmp_path: Path) -> None:
    rows = [
        ('<c r="A2"><f>1+1</f><v>2</v></c><c r="B2" t="str"><f>"x"</f><v>x_x000D_y</v></c>', ["2", "x\ry"]),
        ('<c r="A3" t="e"><v>#N/A</v></c><c r="B3" t="b"><v>1</v></c>', ["#N/A", "TRUE"]),
        ('<c r="A4"><v>1.23456789012345E+15</v></c><c r="B4"><v>1234567890123456789</v></c>', ["1234567890123450", "1234567890123456789"]),
        ('<c r="A5"><v>0.30000000000000004</v></c><c r="B5"><v>1E-3</v></c>', ["0.30000000000000004", "0.001"]),
        (text("A6", "_x005F_x000D_ x005F_ _xD800_") + text("B6", " lead"), ["_x000D_ x005F_ _xD800_", " lead"]),
        ('<c r="B7"><v>9</v></c><c r="A7"><v>8</v></c>', ["8", "9"]),
        ('<c r="A8"><is/></c><c r="B8" t="inlineStr"><is><r><t>rich</t></r><r><t> text</t></r></is></c>', ["", "rich text"]),
    ]
    xml = HEADER + "".join(f'<row r="{n}">{cells}</row>' for n, (cells, _) in enumerate(rows, 2))
    assert read(tmp_path, sheet_of(xml), "x.xlsx")[1] == [values for _, values in rows]


def test_formulas_without_a_saved_value_are_said(tmp_path: Path) -> None:
    done, rows = read(tmp_path, book([["a", "b"], ["=1+1", "x"], ["=2", "y"]]), "x.xlsx")
    assert (rows, done.notes) == (
        [["", "x"], ["", "y"]],
        [
            "2 formulas have no saved value and are read as empty (2 in column 'a'): "
            "save the file in a spreadsheet program to have the values"
        ],
    )
    done, rows = read(
        tmp_path, sheet_of(HEADER + '<row r="2"><c r="A2" t="str"><f>""</f><v></v></c><c r="B2"><v>1</v></c></row>'), "x.xlsx"
    )
    assert (rows, done.notes) == ([["", "1"]], [])


def test_dates_times_and_what_only_looks_like_one(tmp_path: Path) -> None:
    values: list[tuple[Any, str, str]] = [
        (dt.datetime(2026, 1, 2, 3, 4, 5, 678000), "yyyy-mm-dd hh:mm:ss", "2026-01-02 03:04:05.678000"),
        (dt.datetime(2026, 1, 2), "yyyy-mm-dd", "2026-01-02"),
        (dt.time(1, 2, 3), "hh:mm:ss", "01:02:03"),
        (dt.timedelta(days=1, hours=2, minutes=3), "[h]:mm:ss", "26:03:00"),
        (99_999_999, "yyyy-mm-dd", "99999999"),
        (0.5, "0%", "0.5"),
        (-5, "#,##0.00", "-5"),
        (46000.5, '"days" 0', "46000.5"),
    ]

    def change(made: Any, sheet: Any) -> None:
        for n, (value, form, _) in enumerate(values, 2):
            sheet.cell(n, 1, value).number_format = form

    assert read(tmp_path, book([["a"]], change), "x.xlsx")[1] == [[shown] for *_, shown in values]

    def old_mac(made: Any, sheet: Any) -> None:
        made.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
        sheet["A2"] = dt.datetime(2026, 1, 2)
        sheet["A2"].number_format = "yyyy-mm-dd"

    assert read(tmp_path, book([["a"]], old_mac), "x.xlsx")[1] == [["2026-01-02"]]


@pytest.mark.parametrize(
    ("xml", "line", "message"),
    [
        ('<row r="3"><c r="A3"><v>3</v></c></row><row r="2"><c r="A2"><v>2</v></c></row>', 2, "The file has row 2 after row 3."),
        ('<row r="2"><c r="A2"><v>3</v></c></row><row r="2"><c r="A2"><v>2</v></c></row>', 2, "The file has row 2 after row 2."),
        ('<row r="2000000000"><c r="A2000000000"><v>3</v></c></row>', 2_000_000_000, "The file has row 2,000,000,000 after row 1."),
        ('<row r="2"><c r="A2"><v>3</v></c><c r="A2"><v>4</v></c></row>', 2, "Row 2 has two values in column 1."),
        ('<row r="2"><c r="ZZZ2"><v>3</v></c></row>', 2, "Row 2 has 18,278 columns, more than the 2,000 that a table may have."),
        ('<row r="2"><c r="C2"><v>3</v></c></row>', 2, "Row 2 has a value in column 3, but the header ends with column 2."),
    ],
)
def test_what_a_sheet_cannot_have_is_refused_with_its_row(tmp_path: Path, xml: str, line: int, message: str) -> None:
    with pytest.raises(BadTable) as refused:
        read(tmp_path, sheet_of(HEADER + xml), "x.xlsx")
    assert (refused.value.message, refused.value.where.line) == (message, line)


def test_titles_above_the_header_are_not_read_and_said(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["Report – confidential"], ["of 2026-10-01"], [], ["id", None, "share"], [1, None, 0.125], [2, "x"]]
    done, found = read(tmp_path, book(rows), "x.xlsx")
    assert done.reading.words == "Excel, sheet Sheet, header in line 4"
    assert [column.name for column in done.columns] == ["id", "", "share"]
    assert found == [["1", "", "0.125"], ["2", "x", ""]]
    assert done.notes == ["What stands above the header is not read: “Report – confidential”, “of 2026-10-01”"]
    assert Reading.from_dict(done.reading.to_dict()) == done.reading


def test_one_column_under_its_header_is_not_taken_for_titles(tmp_path: Path) -> None:
    done, found = read(tmp_path, book([["text"], ["hello"], ["bye"]]), "x.xlsx")
    assert (done.reading.words, found, done.notes) == ("Excel, sheet Sheet, header in line 1", [["hello"], ["bye"]], [])
    with pytest.raises(BadTable, match="Row 3 has a value in column 2, but the header ends with column 1"):
        read(tmp_path, book([["text"], ["hello"], ["bye", "stray"]]), "x.xlsx")


def test_rows_far_apart_and_without_numbers(tmp_path: Path) -> None:
    done, rows = read(tmp_path, sheet_of(HEADER + '<row r="1048576"><c r="A1048576"><v>1</v></c></row>'), "x.xlsx")
    assert (rows, done.notes) == ([["1", ""]], ["1,048,574 blank rows skipped"])
    unnumbered = '<row><c t="str"><v>a</v></c><c t="str"><v>b</v></c></row><row><c/><c><v>1</v></c></row>'
    assert read(tmp_path, sheet_of(unnumbered), "x.xlsx")[1] == [["", "1"]]


def test_the_first_sheet_with_values_is_taken_and_hidden_rows_count(tmp_path: Path) -> None:
    def change(made: Any, sheet: Any) -> None:
        hidden = made.create_sheet("Hidden")
        hidden.append(["no"])
        hidden.sheet_state = "veryHidden"
        data = made.create_sheet("Data")
        for row in (["a", "b"], [1, 2], [3, 4]):
            data.append(row)
        data.row_dimensions[2].hidden = data.column_dimensions["B"].hidden = True
        data.merge_cells("A3:B3")

    done, rows = read(tmp_path, book([], change), "x.xlsx")
    assert (done.reading.sheet, rows) == ("Data", [["1", "2"], ["3", ""]])
    assert done.notes == ["only sheet 'Data' is read, not 'Sheet'"]
    with pytest.raises(BadTable, match="Sheet 'Sheet' is empty"):
        read(tmp_path, book([], change), "x.xlsx", reading=Reading("xlsx", sheet="Sheet"))


def test_other_offices_files_are_named(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in ("content.xml", "META-INF/manifest.xml"):
            archive.writestr(name, "<x/>")
    with pytest.raises(BadTable, match="an OpenDocument file"):
        read(tmp_path, sink.getvalue(), "x.ods")
