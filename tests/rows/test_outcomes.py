"""Outcome files: sorted, exact to the pico-dollar, merged so that the newest counts."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.rows import merge, outcomes
from jobs.rows.outcomes import SCHEMA, OutcomeWriter, Sums, clean, count_standings, merge_standings, pico_of, recount, sum_outcomes


def write(path: Path, number: int, rows: dict[int, tuple[str, str | None]], **columns: object) -> Path:
    with OutcomeWriter(path, round=number, batch=f"b{number}") as writer:
        order = list(rows)
        random.Random(number).shuffle(order)
        for at in range(0, len(order), 7):
            part = order[at : at + 7]
            writer.add({"_row": part, "kind": [rows[row][0] for row in part], "cause": [rows[row][1] for row in part], **columns})
    return path


def standing(path: Path) -> list[tuple[object, ...]]:
    table = pq.read_table(path)
    return list(zip(*(table.column(name).to_pylist() for name in ("_row", "round", "kind", "cause", "attempts")), strict=True))


def test_writer_sorts_and_keeps_the_schema(tmp_path: Path) -> None:
    path = write(tmp_path / "outcomes.parquet", 3, dict.fromkeys(range(50), ("succeeded", None)))
    assert pq.read_schema(path).equals(SCHEMA)
    assert standing(path) == [(row, 3, "succeeded", None, 1) for row in range(50)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["outcomes.parquet"]


def test_writer_spills_and_still_sorts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "SPILL_BYTES", 2_000)
    path = write(tmp_path / "outcomes.parquet", 1, dict.fromkeys(range(300), ("succeeded", None)), answer="x" * 50)
    assert [line[0] for line in standing(path)] == list(range(300))
    assert [entry.name for entry in tmp_path.iterdir()] == ["outcomes.parquet"]


def test_writer_refuses_a_row_that_comes_twice_and_leaves_nothing(tmp_path: Path) -> None:
    writer = OutcomeWriter(tmp_path / "o.parquet", round=1, kind="failed")
    writer.add({"_row": [4, 5]})
    writer.add({"_row": [4]})
    with pytest.raises(ValueError, match="row 4 has two outcomes"):
        writer.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_writer_without_rows_writes_an_empty_file(tmp_path: Path) -> None:
    with OutcomeWriter(tmp_path / "o.parquet", round=1):
        pass
    assert pq.read_table(tmp_path / "o.parquet") == SCHEMA.empty_table()


def test_money_is_exact(tmp_path: Path) -> None:
    picos = [0, 1, 999_999_999_999, 10**12, 123_456_789_012_345, 2**62, -1]
    with OutcomeWriter(tmp_path / "o.parquet", round=1, kind="succeeded") as writer:
        writer.add({"_row": range(len(picos)), "cost": picos, "realtime": picos})
    column = pq.read_table(tmp_path / "o.parquet").column("cost")
    assert column.to_pylist() == [*(Decimal(pico).scaleb(-12) for pico in picos[:-1]), None]
    assert pico_of(column) == [*picos[:-1], None]
    assert pico_of(column.slice(3, 2)) == picos[3:5]


def test_money_below_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="below zero"):
        outcomes.money_array([-2])


def test_text_is_cleaned(tmp_path: Path) -> None:
    assert [clean(text) for text in ("plain", "a\0b", "ä\ud800", None, "😀")] == ["plain", "a\ufffdb", "ä\ufffd", None, "😀"]
    with OutcomeWriter(tmp_path / "o.parquet", round=1, kind="failed") as writer:
        writer.add({"_row": [0], "answer": ["\0\udfff"], "message": ["m" * 3000]})
    table = pq.read_table(tmp_path / "o.parquet")
    assert table.column("answer").to_pylist() == ["\ufffd\ufffd"]
    assert table.column("message").to_pylist() == ["m" * 2000]


def test_merge_takes_the_newest_and_counts_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "ROW_GROUP", 8)  # many small portions
    first = [write(tmp_path / f"a{i}", 1, dict.fromkeys(range(i * 20, i * 20 + 20), ("failed", "timeout"))) for i in range(3)]
    base, second = tmp_path / "standings-1.parquet", write(tmp_path / "b", 2, dict.fromkeys(range(5, 60, 10), ("succeeded", None)))
    assert merge_standings(None, [(1, path) for path in first], base) == 60
    third = write(tmp_path / "c", 3, {15: ("expired", "expired"), 16: ("succeeded", None), 77: ("missing", "missing")})
    assert merge_standings(base, [(3, third), (2, second)], tmp_path / "standings-2.parquet") == 61
    expected = {row: (row, 1, "failed", "timeout", 1) for row in range(60)}
    expected |= {row: (row, 2, "succeeded", None, 2) for row in range(5, 60, 10)}
    expected |= {15: (15, 3, "expired", "expired", 3), 16: (16, 3, "succeeded", None, 2), 77: (77, 3, "missing", "missing", 1)}
    assert standing(tmp_path / "standings-2.parquet") == [expected[row] for row in sorted(expected)]
    everything = [(3, third), (2, second), *((1, path) for path in first)]
    counted = Counter((line[2], line[3]) for line in expected.values())
    assert count_standings([tmp_path / "standings-2.parquet"]) == recount(everything) == counted


def test_merge_of_interleaved_random_files_equals_a_dict(tmp_path: Path) -> None:
    chance, expected, files = random.Random(5), {}, []
    for number in range(1, 7):
        rows = {row: (chance.choice(["failed", "succeeded"]), None) for row in chance.sample(range(400), 120)}
        files.append((number, write(tmp_path / f"r{number}", number, rows)))
        for row, (kind, cause) in rows.items():
            expected[row] = (row, number, kind, cause, expected.get(row, (0,) * 5)[4] + 1)
    merge_standings(None, files, tmp_path / "s")
    assert standing(tmp_path / "s") == [expected[row] for row in sorted(expected)]


def test_sums_are_exact_and_by_round_tier_kind_and_billed(tmp_path: Path) -> None:
    with OutcomeWriter(tmp_path / "o.parquet", round=2, kind="succeeded", billed="paid") as writer:
        writer.add(
            {
                "_row": range(1000),
                "input_tokens": [3] * 1000,
                "output_tokens": list(range(1000)),
                "cost": [1] * 1000,
                "realtime": [2] * 1000,
            }
        )
        writer.add({"_row": [1000], "tier": [1], "cost": [-1], "realtime": [-1], "reasoning_tokens": [7]})
    assert sum_outcomes([tmp_path / "o.parquet"] * 2) == {
        (2, 0, "succeeded", "paid"): Sums(
            n=2000, input_tokens=6000, output_tokens=999_000, cost=Decimal("0.000000002000"), realtime=Decimal("0.000000004000")
        ),
        (2, 1, "succeeded", "paid"): Sums(n=2, reasoning_tokens=14, n_unpriced=2, n_blank=2),
    }
