"""Request files: every row once, in order, within the limits, the same bytes again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.rows.choose import write_rows
from jobs.rows.cut import Cut, CutLimits, cut, index_of, line_of, row_of, rows_in
from jobs.rows.render import render_one, render_portions, render_rows
from jobs.rows.template import TemplateError

COLUMNS = [
    {"key": "c0", "name": "Text", "variable": "text", "type": "text"},
    {"key": "c1", "name": "meta", "variable": "meta", "type": "json"},
]
N = 57
TEXTS = [f"Zeile {i} äöü\n“{{{{7*7}}}}”" if i % 9 else None for i in range(N)]
METAS = [f'{{"n":  {i}.50}}' for i in range(N)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"_row": pa.array(range(N), pa.int64()), "c0": TEXTS, "c1": METAS}), path, row_group_size=10)
    return path


def encode(custom_id: str, system: str, user: str) -> bytes:
    return orjson.dumps({"custom_id": custom_id, "system": system, "user": user}) + b"\n"


def cut_all(table: Path, folder: Path, user: str, limits: CutLimits, rows: Path | None = None) -> list[Cut]:
    cuts: list[Cut] = []
    while not cuts or not cuts[-1].done:
        start = cuts[-1].next_offset if cuts else 0
        cuts.append(cut(table, COLUMNS, "S", user, rows, start, encode, limits, "t-ok", folder / str(len(cuts))))
    return cuts


def lines_of(folder: Path, n: int) -> list[dict[str, str]]:
    return [orjson.loads(line) for i in range(n) for line in (folder / str(i) / "requests.jsonl").read_bytes().split(b"\n")[:-1]]


@pytest.mark.parametrize("user", ["{{ text }}|{{ meta }}", "{{ text }}|{{ meta }}{% if false %}{% endif %}"])
def test_cut_takes_every_row_once_in_order(table: Path, tmp_path: Path, user: str) -> None:
    cuts = cut_all(table, tmp_path, user, CutLimits(requests=20))
    assert [(c.n_requests, c.first_row, c.last_row, c.next_offset, c.done) for c in cuts] == [
        (20, 0, 19, 20, False),
        (20, 20, 39, 40, False),
        (17, 40, 56, 57, True),
    ]
    assert lines_of(tmp_path, 3) == [{"custom_id": f"t-ok-{i}", "system": "S", "user": f"{TEXTS[i] or ''}|{METAS[i]}"} for i in range(N)]
    files = [(tmp_path / str(i) / "requests.jsonl").read_bytes() for i in range(3)]
    assert [c.n_bytes for c in cuts] == list(map(len, files))
    assert [c.n_bytes_longest for c in cuts] == [max(map(len, file.splitlines(keepends=True))) for file in files]


def test_last_file_knows_that_it_is_the_last(table: Path, tmp_path: Path) -> None:
    assert [(c.n_requests, c.done) for c in cut_all(table, tmp_path, "{{ text }}", CutLimits(requests=N))] == [(N, True)]


def test_cut_stays_within_bytes_and_tokens(table: Path, tmp_path: Path) -> None:
    by_bytes = cut_all(table, tmp_path / "b", "{{ text }}", CutLimits(bytes=500))
    assert max(c.n_bytes for c in by_bytes) <= 500
    assert sum(c.n_requests for c in by_bytes) == N
    by_tokens = cut_all(table, tmp_path / "t", "{{ text }}", CutLimits(tokens=100, bytes_per_token=2.0, tokens_per_request=3))
    assert max(c.n_tokens_estimated for c in by_tokens) <= 100
    assert sum(c.n_requests for c in by_tokens) == N


def test_cut_gives_the_same_bytes_again(table: Path, tmp_path: Path) -> None:
    cut_all(table, tmp_path / "a", "{{ text }}", CutLimits(bytes=700))
    again = cut(table, COLUMNS, "S", "{{ text }}", None, 0, encode, CutLimits(bytes=700), "t-ok", tmp_path / "again")
    assert (tmp_path / "again/requests.jsonl").read_bytes() == (tmp_path / "a/0/requests.jsonl").read_bytes()
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["requests.index.npy", "requests.jsonl"]
    assert again.n_requests == len(rows_in(tmp_path / "again/requests.jsonl"))


def test_cut_of_a_selection(table: Path, tmp_path: Path) -> None:
    chosen = [0, 9, 10, 11, 33, 56]
    write_rows(chosen, tmp_path / "rows.parquet")
    cuts = cut_all(table, tmp_path, "{{ meta.n }}", CutLimits(requests=4), tmp_path / "rows.parquet")
    assert [(c.n_requests, c.first_row, c.last_row, c.next_offset) for c in cuts] == [(4, 0, 11, 4), (2, 33, 56, 6)]
    assert [(line["custom_id"], line["user"]) for line in lines_of(tmp_path, 2)] == [(f"t-ok-{i}", f"{i}.50") for i in chosen]


def test_rows_whose_template_fails_are_failures_not_crashes(table: Path, tmp_path: Path) -> None:
    cuts = cut_all(table, tmp_path, "{{ text|length + 1 }}{% if not text %}{{ meta|round }}{% endif %}", CutLimits(requests=30))
    failed = [row for c in cuts for row, _ in c.failures]
    assert failed == [i for i in range(N) if i % 9 == 0]
    assert cuts[0].failures[0] == (0, 'round needs a number, but the value is “{"n":  0.50}”')
    assert [(c.n_requests, c.next_offset) for c in cuts] == [(26, 30), (24, 57)]


def test_when_all_rows_fail_there_is_no_file(table: Path, tmp_path: Path) -> None:
    (only,) = cut_all(table, tmp_path, "{{ meta|round }}", CutLimits())
    assert (only.n_requests, only.next_offset, only.done, len(only.failures)) == (0, N, True, N)
    assert list((tmp_path / "0").iterdir()) == []


def test_a_row_too_large_for_any_file_is_a_failure(table: Path, tmp_path: Path) -> None:
    (only,) = cut_all(table, tmp_path, "{{ text }}", CutLimits(bytes=20))
    assert only.failures[0] == (0, "The request of this row has 46 bytes; a file may have 20.")
    assert (only.n_requests, len(only.failures)) == (0, N)


def test_index_and_scan_agree(table: Path, tmp_path: Path) -> None:
    write_rows([3, 4, 50], tmp_path / "rows.parquet")
    cut_all(table, tmp_path, 'x "custom_id":"t-9" {{ text }}', CutLimits(), tmp_path / "rows.parquet")
    file = tmp_path / "0/requests.jsonl"
    lines = file.read_bytes().split(b"\n")
    for _ in range(2):
        assert rows_in(file).tolist() == [3, 4, 50]
        assert [line_of(file, row) for row in (3, 4, 50)] == lines[:3]
        for absent in (0, 9, 51):
            with pytest.raises(KeyError):
                line_of(file, absent)
        index_of(file).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("custom_id", "row"),
    [("t-0", 0), ("a-b-12", 12), ("t-", None), ("12", None), ("-5", None), ("t-05", None), ("t-1x", None), ("t-١", None), ("", None)],
)
def test_row_of_custom_id(custom_id: str, row: int | None) -> None:
    assert row_of(custom_id) == row


def test_render_rows_starts_anywhere(table: Path) -> None:
    everything = list(render_rows(table, COLUMNS, "", "{{ meta.n }}"))
    assert everything == [(i, "", f"{i}.50") for i in range(N)]
    assert list(render_rows(table, COLUMNS, "", "{{ meta.n }}", start=23)) == everything[23:]


def test_render_rows_gives_the_error_of_a_row(table: Path) -> None:
    row, error = list(render_rows(table, COLUMNS, "", "{{ meta|round }}"))[7]
    assert row == 7
    assert isinstance(error, TemplateError)


def test_template_without_columns_still_has_every_row(table: Path) -> None:
    assert list(render_rows(table, COLUMNS, "s", "u")) == [(i, "s", "u") for i in range(N)]


def test_a_long_prompt_makes_small_portions(table: Path) -> None:
    """2,000 rows at once beside a prompt of 200 kB would be 400 MB."""
    for system, user in (("s" * 400_000, "{{ text }}"), ("s", "u" * 400_000 + "{{ text }}")):
        portions = list(render_portions(table, COLUMNS, system, user))
        assert sum(len(portion.rows) for portion in portions) == N
        assert max(len(portion.rows) * (len(system) + len(user)) for portion in portions) < 9_000_000


def test_the_first_row_of_a_file_may_have_more_tokens_than_a_file(table: Path, tmp_path: Path) -> None:
    cuts = cut_all(table, tmp_path, "{{ text }}", CutLimits(tokens=1, bytes_per_token=1.0))
    assert [(c.n_requests, c.first_row) for c in cuts] == [(1, i) for i in range(N)]


def test_render_one_is_what_the_row_gets() -> None:
    assert render_one(COLUMNS, {"c0": "a", "c1": '{"n": 1.50}'}, "{{ row['Text'] }}", "{{ meta.n }} {{ meta }}") == (
        "a",
        '1.50 {"n": 1.50}',
    )


def test_rows_in_is_int64(table: Path, tmp_path: Path) -> None:
    cut_all(table, tmp_path, "u", CutLimits())
    assert rows_in(tmp_path / "0/requests.jsonl").dtype == np.int64
