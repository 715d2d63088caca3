"""Two standings, answer by answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.rows.compare import compare, differing
from jobs.rows.outcomes import OutcomeWriter


def write(path: Path, answers: dict[int, str | None]) -> Path:
    rows = sorted(answers)
    kinds = ["succeeded" if answers[row] is not None else "failed" for row in rows]
    with OutcomeWriter(path, round=1) as out:
        out.add({"_row": rows, "kind": kinds, "answer": [answers[row] for row in rows]})
    return path


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    def answer(label: str, urgent: bool) -> str:
        return json.dumps({"label": label, "urgent": urgent})

    first = {0: answer("bug", True), 1: answer("bug", False), 2: answer("billing", False), 3: None, 4: answer("other", True)}
    second = {0: answer("bug", True), 1: answer("billing", False), 2: answer("billing", True), 3: answer("bug", True), 4: None}
    return write(tmp_path / "a" / "standings-1.parquet", first), write(tmp_path / "b" / "standings-1.parquet", second)


def test_compare_counts_agreement_and_confusion_per_field(two: tuple[Path, Path]) -> None:
    found = compare(*two, [("label", "label"), ("urgent", "boolean")])
    assert (found.both, found.only_first, found.only_second) == (3, 1, 1)
    label, urgent = found.fields
    assert (label.same, label.n) == (2, 3)
    assert label.confusion == {("bug", "bug"): 1, ("bug", "billing"): 1, ("billing", "billing"): 1}
    assert label.labels == ["billing", "bug"]
    assert (urgent.same, urgent.n) == (2, 3)
    assert urgent.confusion == {("true", "true"): 1, ("false", "false"): 1, ("false", "true"): 1}


def test_differing_pages_rows_and_takes_one_cell_of_the_confusion(two: tuple[Path, Path]) -> None:
    assert differing(*two, "label") == (1, [(1, "bug", "billing")])
    assert differing(*two, "urgent", pair=("false", "true")) == (1, [(2, "false", "true")])
    assert differing(*two, "urgent", offset=1) == (1, [])


def test_compare_without_fields_takes_whole_answers(two: tuple[Path, Path]) -> None:
    (whole,) = compare(*two).fields
    assert (whole.field, whole.same, whole.n, whole.confusion) == (None, 1, 3, {})
    assert [row for row, _, _ in differing(*two, None)[1]] == [1, 2]


def test_rare_labels_share_one_column(tmp_path: Path) -> None:
    first = write(tmp_path / "a" / "s.parquet", {i: json.dumps({"l": f"x{i % 30}"}) for i in range(60)})
    second = write(tmp_path / "b" / "s.parquet", {i: json.dumps({"l": f"x{i % 30}"}) for i in range(60)})
    (field,) = compare(first, second, [("l", "label")]).fields
    assert (len(field.labels), field.labels[-1], sum(field.confusion.values()), field.same) == (13, "…", 60, 60)
