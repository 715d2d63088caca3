"""Pages and exports of one small job, compared with the same worked out in plain Python."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rows import digest
from jobs.rows.export import Export, _object, csv_chunks, jsonl_chunks, write_export
from jobs.rows.outcomes import OutcomeWriter, merge_standings
from jobs.rows.query import CauseCount, Filter, Query, RowFiles, connect
from jobs.rows.render import selected_rows
from jobs.rows.values import JsonFloat, text_of

N = 40
TEXTS = [
    None if i == 5 else ["plain", "=cmd()", "-5", "+3.2", "@x", 'a,b\n"q"', "lone\rcr", " ＝1+1", "007", "", "-a"][i % 11] for i in range(N)
]
COLUMNS = [
    {"key": "c0", "name": "Text", "variable": "text", "type": "text"},
    {"key": "c1", "name": "_row", "variable": "row_1", "type": "json"},
    {"key": "c2", "name": "Text", "variable": "text_2", "type": "text"},
]


def answer(row: int) -> str:
    return json.dumps({"label": "ab"[row % 2], "score": row, "id/x~y": f"k{row}"})


FIELDS = (("label", "label"), ("score", "integer"), ("id/x~y", "text"))


@pytest.fixture(params=[None, (), FIELDS], ids=["no digest", "no fields", "digest"])
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RowFiles:
    """Round 1 in the base: even rows failed, odd succeeded, 30 and later pending. Round 2, newer: rows 0, 4, 8 succeeded, 12 expired."""
    if request.param is not None:
        monkeypatch.setattr(digest, "LEAST_ROWS", 1)
    table = tmp_path / "datasets" / "table.parquet"
    table.parent.mkdir()
    cells = {"c0": TEXTS, "c1": [f'{{"n": {i}.50}}' for i in range(N)], "c2": ["same"] * N}
    pq.write_table(pa.table({"_row": pa.array(range(N), pa.int64()), **cells}), table, row_group_size=16)
    first, second, base = tmp_path / "o1.parquet", tmp_path / "o2.parquet", tmp_path / "standings-1.parquet"
    with OutcomeWriter(first, round=1) as writer:
        even, odd = list(range(0, 30, 2)), list(range(1, 30, 2))
        writer.add({"_row": even, "kind": "failed", "cause": "timeout", "message": "It Took too long", "cost": [2_500_000] * 15})
        writer.add(
            {
                "_row": odd,
                "kind": "succeeded",
                "answer": [answer(i) for i in odd],
                "cost": [10**12 + i for i in odd],
                "input_tokens": [9] * 15,
            }
        )
    with OutcomeWriter(second, round=2) as writer:
        writer.add({"_row": [8, 0, 4], "kind": "succeeded", "answer": [answer(i) for i in (8, 0, 4)], "cost": [-1] * 3})
        writer.add({"_row": [12], "kind": "expired", "cause": "expired"})
    merge_standings(None, [(1, first)], base)
    return RowFiles(table, N, ("c0", "c1", "c2"), base, ((2, second),), fields=request.param or ())


SETTLED = [0, 4, 8]
FAILED = [row for row in range(0, 30, 2) if row not in (0, 4, 8, 12)]
ODD = list(range(1, 30, 2))


@pytest.mark.parametrize(
    ("filter", "rows"),
    [
        (Filter(), list(range(N))),
        (Filter(kinds=("failed",)), FAILED),
        (Filter(kinds=("succeeded",)), sorted(ODD + SETTLED)),
        (Filter(kinds=("pending",)), list(range(30, N))),
        (Filter(kinds=("pending", "expired")), [12, *range(30, N)]),
        (Filter(kinds=("pending",), causes=("timeout",)), []),
        (Filter(causes=("timeout", "expired")), sorted([*FAILED, 12])),
        (Filter(rounds=(2,)), [0, 4, 8, 12]),
        (Filter(answer=(("label", "a"),)), SETTLED),
        (Filter(answer=(("score", "7"), ("label", "b"))), [7]),
        (Filter(answer=(("id/x~y", "k4"),)), [4]),
        (Filter(answer=(("label", "' OR 1=1 --"),)), []),
        (Filter(text="TOOK"), FAILED),
        (Filter(text="lone"), [row for row in range(N) if TEXTS[row] == "lone\rcr"]),
        (Filter(text="k21"), [21]),
        (Filter(text="%"), []),
        (Filter(rows=(3, 35, 99)), [3, 35]),
        (Filter(rows=(3, 4, 35), kinds=("succeeded",)), [3, 4]),
    ],
)
def test_filter_finds_exactly_its_rows(files: RowFiles, filter: Filter, rows: list[int]) -> None:
    with Query(files) as query:
        page = query.page(filter, limit=100)
        assert ([line.row for line in page.lines], page.total, page.offset) == (rows, len(rows), 0)
        assert [line.row for line in query.page(filter, limit=3, offset=2).lines] == rows[2:5]
        if len(rows) > 3:
            after = query.page(filter, limit=2, after=rows[2])
            assert ([line.row for line in after.lines], after.offset) == (rows[3:5], 3)


def test_line_has_cells_and_the_newest_outcome(files: RowFiles) -> None:
    with Query(files) as query:
        failed, settled, pending = query.lines([2, 4, 33])
    assert failed.values == {"c0": "-5", "c1": '{"n": 2.50}', "c2": "same"}
    assert failed.outcome is not None
    assert [failed.outcome[name] for name in ("kind", "cause", "round", "cost")] == ["failed", "timeout", 1, Decimal("0.0000025")]
    assert settled.outcome is not None
    assert [settled.outcome[name] for name in ("kind", "answer", "round", "cost")] == ["succeeded", answer(4), 2, None]
    assert pending.outcome is None


def test_one_row_with_its_history(files: RowFiles, tmp_path: Path) -> None:
    with Query(files) as query:
        cells, history = query.one(4, [tmp_path / "o2.parquet", tmp_path / "o1.parquet"])
        assert cells["c1"] == '{"n": 4.50}'
        assert [(outcome["round"], outcome["kind"]) for outcome in history] == [(1, "failed"), (2, "succeeded")]
        with pytest.raises(KeyError):
            query.one(N, [])


def test_selection_for_a_retry(files: RowFiles, tmp_path: Path) -> None:
    with Query(files) as query:
        assert query.selection(Filter(causes=("timeout",)), tmp_path / "rows.parquet") == len(FAILED)
    assert selected_rows(tmp_path / "rows.parquet").tolist() == FAILED


def test_causes_with_what_they_cost(files: RowFiles) -> None:
    with Query(files) as query:
        assert query.causes() == [
            CauseCount("succeeded", None, 18, Decimal(15) + Decimal(sum(ODD)).scaleb(-12), 3, 0),
            CauseCount("failed", "timeout", 11, Decimal("0.0000275"), 0, 0),
            CauseCount("expired", "expired", 1, Decimal(0), 0, 0),
        ]


def test_distributions(files: RowFiles) -> None:
    with Query(files) as query:
        assert query.distribution("label", "label").labels == [("b", 15), ("a", 3)]
        scores = query.distribution("score", "integer")
        assert (scores.n, scores.bins[0][0], scores.bins[-1][1], sum(count for *_, count in scores.bins)) == (18, 0.0, 29.0, 18)
        assert query.distribution("nothing", "text").n == 0
        assert query.distribution().n == 18


def test_job_without_outcomes_is_all_pending(files: RowFiles) -> None:
    with Query(RowFiles(files.table, N, files.keys)) as query:
        assert (query.page(Filter(kinds=("pending",))).total, query.page(Filter(kinds=("failed",))).total) == (N, 0)
        assert (query.causes(), query.distribution("label", "label").n) == ([], 0)


ATTACKS = [
    "SELECT * FROM read_text('/etc/hostname')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM '/etc/passwd'",
    "COPY (SELECT 1) TO '/tmp/x.csv'",
    "ATTACH '/tmp/x.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET memory_limit = '10GB'",
    "SET allowed_directories = ['/']",
    "SELECT * FROM secret",
    "SELECT * FROM read_parquet('http://127.0.0.1/x')",
    "SELECT * FROM read_text('{folder}/../../../../../../etc/hostname')",
    "SELECT * FROM read_blob('{folder}/link')",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_query_engine_is_locked(attack: str, tmp_path: Path) -> None:
    secret = pa.table({"key": ["sk-secret"]})
    (tmp_path / "link").symlink_to("/etc/hostname")
    with connect([tmp_path]) as db, pytest.raises(duckdb.Error):
        db.execute(attack.replace("{folder}", str(tmp_path))).fetchall()
    assert secret.num_rows == 1


def parsed(export: Export) -> list[list[str]]:
    return list(csv.reader(io.StringIO(b"".join(csv_chunks(export)).decode(), newline="")))


def expected_own(row: int) -> list[str]:
    score = [answer(row), "0"]
    if row in SETTLED:
        return [str(row), "succeeded", "", "", score[0], "2", "0", "0", "", "ab"[row % 2], str(row)]
    if row == 12:
        return ["12", "expired", "expired", "", "", "2", "0", "0", "0", "", ""]
    if row >= 30:
        return [str(row), "pending", "", "", "", "0", "", "", "", "", ""]
    if row % 2:
        return [str(row), "succeeded", "", "", score[0], "1", "9", "0", f"1.{row:012d}".rstrip("0"), "b", str(row)]
    return [str(row), "failed", "timeout", "It Took too long", "", "1", "0", "0", "0.0000025", "", ""]


OWN = [
    "_row_2",
    "_outcome",
    "_cause",
    "_message",
    "_answer",
    "_attempts",
    "_input_tokens",
    "_output_tokens",
    "_cost",
    "answer.label",
    "answer.score",
]


def test_csv_has_every_row_once_with_inputs_as_they_were(files: RowFiles) -> None:
    header, *lines = parsed(Export(files, COLUMNS, ("label", "score"), defuse=False))
    assert header == ["Text", "_row", "Text", *OWN]
    assert lines == [[TEXTS[i] or "", f'{{"n": {i}.50}}', "same", *expected_own(i)] for i in range(N)]


def test_csv_defuses_formulas_but_not_numbers(files: RowFiles) -> None:
    lines = parsed(Export(files, COLUMNS))[1:]
    harmless = {"=cmd()": "'=cmd()", "@x": "'@x", " ＝1+1": "' ＝1+1", "-a": "'-a"}
    assert [line[0] for line in lines] == [harmless.get(text or "", text or "") for text in TEXTS]
    assert [line[4] for line in lines] == [expected_own(i)[1] for i in range(N)]


def test_csv_of_a_filter(files: RowFiles) -> None:
    with Query(files) as query:
        rows = query.rows(Filter(kinds=("failed",)))
    assert [line[3] for line in parsed(Export(files, COLUMNS, rows=rows))[1:]] == [str(row) for row in FAILED]


def test_jsonl_keeps_types_and_json(files: RowFiles) -> None:
    raw = b"".join(jsonl_chunks(Export(files, COLUMNS, ("label", "score"))))
    lines = [json.loads(line) for line in raw.splitlines()]
    assert len(lines) == N
    assert b'"_row":{"n": 7.50}' in raw
    assert list(lines[7].items()) == [
        ("Text", TEXTS[7]),
        ("_row", {"n": 7.5}),
        ("Text_2", "same"),
        ("_row_2", 7),
        ("_outcome", "succeeded"),
        ("_cause", None),
        ("_message", ""),
        ("_answer", answer(7)),
        ("_attempts", 1),
        ("_input_tokens", 9),
        ("_output_tokens", 0),
        ("_cost", "1.000000000007"),
        ("answer.label", "b"),
        ("answer.score", 7),
    ]
    assert (lines[5]["Text"], lines[31]["_outcome"], lines[31]["_cost"]) == (None, "pending", None)


def test_parquet_keeps_types(files: RowFiles, tmp_path: Path) -> None:
    write_export(Export(files, COLUMNS, ("label", "score")), "parquet", tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["Text", "_row", "Text_2", *OWN]
    assert table.column("Text").to_pylist() == TEXTS
    assert table.column("_row_2").to_pylist() == list(range(N))
    assert table.column("_cost")[1].as_py() == Decimal("1.000000000001")
    assert table.column("answer.score").to_pylist() == [expected_own(i)[10] or None for i in range(N)]


def test_export_of_no_rows_has_its_header(files: RowFiles, tmp_path: Path) -> None:
    with Query(files) as query:
        nothing = query.rows(Filter(kinds=("missing",)))
    assert len(parsed(Export(files, COLUMNS, rows=nothing))) == 1
    write_export(Export(files, COLUMNS, rows=nothing), "parquet", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


def small(tmp_path: Path, cells: list[pa.Array], names: list[str], types: list[str], answers: list[str] = [], **more: Any) -> Export:  # noqa: B006
    """The export of a table with these columns; answers, where given, succeeded."""
    keys = [f"c{i}" for i in range(len(cells))]
    table = tmp_path / "table.parquet"
    pq.write_table(pa.table([pa.array(range(len(cells[0])), pa.int64()), *cells], names=["_row", *keys]), table)
    newer: tuple[tuple[int, Path], ...] = ()
    if answers:
        with OutcomeWriter(tmp_path / "o1.parquet", round=1) as writer:
            writer.add({"_row": list(range(len(answers))), "kind": "succeeded", "answer": answers})
        newer = ((1, tmp_path / "o1.parquet"),)
    columns = [{"key": key, "name": name, "variable": key, "type": kind} for key, name, kind in zip(keys, names, types, strict=True)]
    return Export(RowFiles(table, len(cells[0]), tuple(keys), None, newer), columns, **more)


def test_names_are_never_lost_to_each_other(tmp_path: Path) -> None:
    names = ["_row", "_row", "a", "a", "a_2", "answer.x", "_cost_2", "_cost"]
    export = small(tmp_path, [pa.array([str(i)]) for i in range(8)], names, ["text"] * 8, fields=["x"])
    assert export.source_names == ["_row", "_row_2", "a", "a_3", "a_2", "answer.x", "_cost_2", "_cost"]
    assert [name for name in export.own_names if name[-2:-1] == "_"] == ["_row_3", "_cost_3", "answer.x_2"]
    line = json.loads(b"".join(jsonl_chunks(export)))
    assert [line[name] for name in export.source_names] == [str(i) for i in range(8)]
    assert len(line) == 8 + len(export.own_names)


def test_a_lone_return_in_a_header_stands_in_quotes(tmp_path: Path) -> None:
    export = small(tmp_path, [pa.array(["1"]), pa.array(["2"])], ["a\rb", "c"], ["text"] * 2)
    lines = list(csv.reader(io.StringIO(b"".join(csv_chunks(export)).decode(), newline="")))
    assert [line[:2] for line in lines] == [["a\rb", "c"], ["1", "2"]]


JSON_CELLS = [
    "1e400",
    '{"c": 1e999}',
    "1" * 400,
    '{\n "k": 12345678901234567890123,\r\n "f": 1.50}',
    '{"k": "\\ud800"}',
    "-0",
    "true",
    "[ ]",
]


def test_jsonl_has_json_cells_character_by_character(tmp_path: Path) -> None:
    lines = b"".join(jsonl_chunks(small(tmp_path, [pa.array(JSON_CELLS)], ["j"], ["json"]))).decode().splitlines()
    assert [line[: line.index(',"_row"')] for line in lines] == [
        '{"j":' + cell.replace("\n", " ").replace("\r", " ") for cell in JSON_CELLS
    ]


def test_jsonl_tells_what_is_no_number_from_what_is_absent(tmp_path: Path) -> None:
    floats = [float("nan"), float("inf"), float("-inf"), None, 0.5]
    nested = pa.array([[value] for value in floats], pa.list_(pa.float64()))
    lines = b"".join(jsonl_chunks(small(tmp_path, [pa.array(floats), nested], ["f", "l"], ["double", "list"]))).splitlines()
    expected = ["NaN", "Infinity", "-Infinity", None, 0.5]
    assert [(line["f"], line["l"]) for line in map(json.loads, lines)] == [(value, [value]) for value in expected]


def test_fields_of_answers_keep_their_numbers_and_deep_ones_do_no_harm(tmp_path: Path) -> None:
    deep = '{"x": ' + "[" * 900 + "]" * 900 + "}"
    answers = ['{"x": [1.50, {"big": 1e400}]}', '{"x": 12345678901234567890123}', '{"x": 1.0}', deep]
    export = small(tmp_path, [pa.array(["a"] * 4)], ["t"], ["text"], answers, fields=["x"])
    lines = b"".join(jsonl_chunks(export)).decode().splitlines()
    assert [line[line.index('"answer.x":') + 11 : -1] for line in lines] == [
        '[1.50, {"big": 1e400}]',
        "12345678901234567890123",
        "1.0",
        "null",
    ]
    cells = list(csv.DictReader(io.StringIO(b"".join(csv_chunks(export)).decode())))
    assert [(cell["answer.x"], cell["_answer"]) for cell in cells] == [
        ('[1.50, {"big": 1e400}]', answers[0]), ("12345678901234567890123", answers[1]), ("1.0", answers[2]), ("", deep),
    ]  # fmt: skip


def test_long_answers_and_many_columns_make_small_chunks(tmp_path: Path) -> None:
    """An answer that is an embedding has tens of kilobytes: two thousand at once took 700 MB."""
    cells = [pa.array([f"row {i}" for i in range(300)])]
    answers = [json.dumps({"text": f"{i}" + "x" * 100_000}) for i in range(300)]
    export = small(tmp_path, cells, ["c"], ["text"], answers)
    chunks = list(csv_chunks(export))
    assert max(map(len, chunks)) < 12_000_000
    assert [line[0] for line in csv.reader(io.StringIO(b"".join(chunks).decode()))] == ["c", *(f"row {i}" for i in range(300))]


def test_half_a_character_in_an_answer_is_a_question_mark_in_its_field(tmp_path: Path) -> None:
    answers = ['{"x": "a\\ud800"}', '{"x": ["\\udc00b"]}']
    export = small(tmp_path, [pa.array(["t"] * 2)], ["t"], ["text"], answers, fields=["x"])
    assert [json.loads(line)["answer.x"] for line in b"".join(jsonl_chunks(export)).splitlines()] == ["a?", ["?b"]]
    assert [line["answer.x"] for line in csv.DictReader(io.StringIO(b"".join(csv_chunks(export)).decode()))] == ["a?", '["?b"]']
    write_export(export, "parquet", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").column("answer.x").to_pylist() == ["a?", '["?b"]']


def test_defused_cells_can_be_told_apart(tmp_path: Path) -> None:
    texts = ["=a", "'=a", "''=a", "\ta", "'\ta", "-5", "'-5", "+49 171", "-1.5e3", "- a", "@", "a=b", "5%", " =a", "'a", "-5-3", "−5"]
    chunks = csv_chunks(small(tmp_path, [pa.array(texts)], ["t"], ["text"]))
    defused = [line["t"] for line in csv.DictReader(io.StringIO(b"".join(chunks).decode(), newline=""))]
    harmless = {"-5", "+49 171", "-1.5e3", "a=b", "5%", "'a", "−5"}
    assert defused == [text if text in harmless else "'" + text for text in texts]


_NUMBERS = ["1.50", "-0.0", "1e5", "1E-7", "123456789012345678901234567890", "0.1000000000000000055", "1e999", "-0", "12"]
_NUMBERS += [f" {number} " for number in _NUMBERS]
_OTHERS = ['"1.5"', "null", "true", '"\\ud800"', "[1.50]", '{"x": 2.0}']


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "ä", "\\u0061", 'q\\"']),
            st.sampled_from(_NUMBERS + _OTHERS),
        ),
        max_size=4,
    )
)
def test_fields_of_answers_are_as_the_careful_reader_says(parts: list[tuple[str, str]]) -> None:
    answer = "{" + ", ".join(f'"{name}":{value}' for name, value in parts) + "}"
    carefully = json.loads(answer, parse_float=JsonFloat)
    assert {name: to_text(value) for name, value in _object(answer).items()} == {name: to_text(value) for name, value in carefully.items()}


def to_text(value: Any) -> tuple[bool, str]:
    return value is None, text_of(value)


@pytest.mark.parametrize("answer", ["[1.5]", "1.5", "null", "{", '{"a": NaN}x', "\ufeff{}"])
def test_what_is_no_object_has_no_fields(answer: str) -> None:
    assert _object(answer) == {}


def test_a_table_of_two_thousand_columns_is_searched_and_exported(tmp_path: Path) -> None:
    n, wide = 30, 2_000
    export = small(
        tmp_path, [pa.array([f"r{row}c{i}." for row in range(n)]) for i in range(wide)], [f"h{i}" for i in range(wide)], ["text"] * wide
    )
    with Query(export.files) as query:
        assert query.rows(Filter(text="R17C1999.")).tolist() == [17]
    write_export(export, "csv", tmp_path / "out.csv")
    lines = list(csv.reader((tmp_path / "out.csv").open(newline="")))
    assert [line[:wide] for line in lines] == [[f"h{i}" for i in range(wide)], *([f"r{row}c{i}." for i in range(wide)] for row in range(n))]
