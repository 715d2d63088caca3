"""Digests tell of the answers what the answers themselves say, are believed only when whole, and may be missing."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rows import digest
from jobs.rows.outcomes import OutcomeWriter
from jobs.rows.query import Filter, Query, RowFiles

FIELDS = (("label", "label"), ("on", "boolean"), ("score", "number"), ("tags", "list"), ("a/b~c", "text"), ("more", "json"))
_VALUE = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(allow_nan=False), st.sampled_from(["", "a", "Äpfel", "1.50", "x" * 101]),
    st.lists(st.sampled_from(["a", 1]), max_size=3), st.dictionaries(st.sampled_from(["k", "l"]), st.integers(), max_size=2),
)  # fmt: skip
_ANSWER = st.one_of(
    st.none(),
    st.sampled_from(["", "not json", "[1]", '"label"', "null", '{"label": "a"', '{"label":"a","label":"b"}', '{"score": 1e5, "on": true}']),
    st.dictionaries(st.sampled_from([name for name, _ in FIELDS]), _VALUE).map(json.dumps),
)
_OUTCOME = st.tuples(st.sampled_from(["succeeded", "succeeded", "invalid"]), _ANSWER)


def _files(
    folder: Path, outcomes: list[tuple[str, str | None]], fields: digest.Fields = FIELDS, cells: list[str] | None = None
) -> RowFiles:
    n = len(outcomes)
    table, base = folder / "table.parquet", folder / "standings-1.parquet"
    pq.write_table(pa.table({"_row": pa.array(range(n), pa.int64()), "c0": cells or [f"Cell {i}" for i in range(n)]}), table)
    with OutcomeWriter(base, round=1, message="It Said") as writer:
        writer.add({"_row": list(range(n)), "kind": [kind for kind, _ in outcomes], "answer": [answer for _, answer in outcomes]})
    return RowFiles(table, n, ("c0",), base, fields=fields)


def _told(files: RowFiles, values: list[str]) -> list[Any]:
    """All that pages ask of answers."""
    filters = [Filter(answer=((name, value),)) for name, _ in FIELDS for value in values]
    filters += [
        Filter(text="äpfel"),
        Filter(text="SAID"),
        Filter(text="cell 1"),
        Filter(text="a\x1fit"),
        Filter(kinds=("invalid",), text="a"),
    ]
    with Query(files) as query:
        found: list[Any] = [query._find(each).tolist() for each in filters]
        return [*found, *(query._distribution(name, kind) for name, kind in FIELDS), query._distribution(None, "text")]


@settings(max_examples=60, deadline=None)
@given(outcomes=st.lists(_OUTCOME, min_size=1, max_size=8))
def test_a_digest_says_what_the_answers_say(outcomes: list[tuple[str, str | None]]) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        files = _files(Path(name), outcomes)
        values = ["a", "b", "true", "1", "1.5", "Äpfel", "x" * 101, "", '["a",1]', "100000.0", "1e5"]
        slowly = _told(files, values)
        assert list(Path(name).glob("*.digest-*")) == []
        patch.setattr(digest, "LEAST_ROWS", 1)
        assert _told(files, values) == slowly
        assert len(list(Path(name).glob("*.digest-*.parquet"))) == 2


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "LEAST_ROWS", 1)


@pytest.mark.usefixtures("large")
def test_a_changed_file_is_not_told_of_by_its_old_digest(tmp_path: Path) -> None:
    files = _files(tmp_path, [("succeeded", '{"label": "a"}'), ("succeeded", '{"label": "b"}')])
    assert files.base is not None
    old = digest.outcome_digest(files.base, FIELDS)
    os.utime(files.base, ns=(1, 1))
    new = digest.outcome_digest(files.base, FIELDS)
    other = digest.outcome_digest(files.base, FIELDS[:1])
    assert len({old, new, other}) == 3
    digest.forget(files.base)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["standings-1.parquet", "table.parquet"]


@pytest.mark.usefixtures("large")
def test_what_a_killed_maker_left_is_never_read_and_goes(tmp_path: Path) -> None:
    files = _files(tmp_path, [("succeeded", '{"label": "a"}')])
    assert files.base is not None
    made = digest.outcome_digest(files.base, FIELDS)
    assert made is not None
    half, fresh = (made.with_name(f"{made.name}.{number}.part") for number in (1, 2))
    half.write_bytes(made.read_bytes()[:100])
    fresh.write_bytes(b"")
    os.utime(half, (1, 1))
    made.unlink()
    with Query(files) as query:
        assert query.page(Filter(answer=(("label", "a"),))).total == 1
    assert (made.exists(), half.exists(), fresh.exists()) == (True, False, True)


@pytest.mark.usefixtures("large")
def test_pages_do_without_where_none_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _files(tmp_path, [("succeeded", '{"label": "a"}'), ("succeeded", '{"label": "b"}')])
    monkeypatch.setattr(digest, "MOST_BYTES", 0)
    with Query(files) as query:
        assert query.page(Filter(answer=(("label", "b"),), text="CELL 1")).total == 1
        assert query.distribution("label", "label").labels == [("a", 1), ("b", 1)]
    assert list(tmp_path.glob("*.digest-*")) == []


@pytest.mark.usefixtures("large")
def test_a_full_disk_is_no_error_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _files(tmp_path, [("succeeded", '{"label": "a"}')])

    def full(part: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(digest, "publish", full)
    with Query(files) as query:
        assert query.page(Filter(answer=(("label", "a"),))).total == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["standings-1.parquet", "table.parquet"]


@pytest.mark.usefixtures("large")
def test_a_table_of_hundreds_of_columns_has_a_digest_for_each_hundred(tmp_path: Path) -> None:
    """In one digest 600 columns of 6,000 rows did not fit in the memory, and every search read all cells."""
    n, keys = 6_000, [f"c{i}" for i in range(600)]
    cells = {key: [f"{i} word {row}" for row in range(n)] for i, key in enumerate(keys)}
    pq.write_table(pa.table({"_row": pa.array(range(n), pa.int64()), **cells}), tmp_path / "table.parquet", row_group_size=3_000)
    with Query(RowFiles(tmp_path / "table.parquet", n, tuple(keys))) as query:
        assert query._find(Filter(text="599 WORD 5999")).tolist() == [5999]
        assert query._find(Filter(text="0 word 17")).tolist() == [row for row in range(n) if str(row).startswith("17")]
        (line,) = query.lines([4_321])
    assert line.values == {key: f"{i} word 4321" for i, key in enumerate(keys)}
    assert len(list(tmp_path.glob("table.digest-*.parquet"))) == 6


@pytest.mark.usefixtures("large")
def test_what_the_memory_does_not_do_for_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _files(tmp_path, [("succeeded", '{"label": "a"}')])
    tried: list[Path] = []

    def small(file: Path, target: Path, sql: str, params: list[Any]) -> None:
        tried.append(file)
        raise duckdb.OutOfMemoryException("failed to allocate")

    monkeypatch.setattr(digest, "_write", small)
    for _ in range(3):
        with Query(files) as query:
            assert query._find(Filter(answer=(("label", "a"),), text="cell 0")).tolist() == [0]
    assert sorted(path.name for path in tried) == ["standings-1.parquet", "table.parquet"]
