from __future__ import annotations

from pathlib import Path

from jobs.rows.ingest import ingest
from jobs.rows.profile import ColumnProfile, profile


def test_profile_counts_what_stands_in_each_column(tmp_path: Path) -> None:
    source = tmp_path / "it's.jsonl"
    source.write_text('{"a": "x", "b": 1}\n{"a": "", "b": 22}\n{"a": "xü", "b": null}\n{"a": "x"}\n')
    done = ingest(source, tmp_path / "o'k" / "table.parquet", filename="x.jsonl")
    assert profile(tmp_path / "o'k" / "table.parquet", done.columns) == [
        ColumnProfile("c0", 0, 1, 3, True, 0, 2, 1.0, [("x", 2), ("", 1), ("xü", 1)], 4),
        ColumnProfile("c1", 2, 0, 2, True, 1, 2, 1.5, [("1", 1), ("22", 1)], 4),
    ]


def test_profile_of_many_distinct_values_says_that_it_estimates(tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text("id,same\n" + "".join(f"{n:06},s\n" for n in range(120_000)))
    done = ingest(source, tmp_path / "table.parquet", filename="x.csv")
    ids, same = profile(tmp_path / "table.parquet", done.columns)
    assert (ids.exact, ids.top_of, ids.nulls, ids.min_length, ids.max_length) == (False, 100_000, 0, 6, 6)
    assert abs(ids.distinct - 120_000) < 12_000
    assert same == ColumnProfile("c1", 0, 0, 1, True, 1, 1, 1.0, [("s", 120_000)], 120_000)
