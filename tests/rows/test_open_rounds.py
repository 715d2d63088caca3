"""Standings while rounds are open, against a model in plain Python: what a row is, is told the same by every question."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.rows.choose import write_rows
from jobs.rows.export import Export, jsonl_chunks
from jobs.rows.outcomes import OutcomeWriter, merge_standings
from jobs.rows.query import Filter, Query, RowFiles
from jobs.rows.render import selected_rows

N = 60
KINDS = [("succeeded", None), ("failed", "timeout"), ("failed", "provider_error"), ("missing", "missing"), ("expired", "expired")]


@dataclass
class Played:
    """The files of a job, and what each row is by the rules alone: (round, kind, cause, answer), None while pending."""

    files: RowFiles
    rows: dict[int, tuple[int, str, str | None, str | None] | None] = field(default_factory=dict)


def play(folder: Path, seed: int) -> Played:
    """Some merged rounds, then open ones with some of their batches closed; each after the first takes rows that stand unsuccessful."""
    chance = random.Random(seed)
    table = folder / "table.parquet"
    pq.write_table(pa.table({"_row": pa.array(range(N), pa.int64()), "c0": [f"text {i}" for i in range(N)]}), table, row_group_size=16)
    state: dict[int, tuple[int, str, str | None, str | None] | None] = dict.fromkeys(range(N))
    merged, n_rounds = chance.randint(0, 2), chance.randint(1, 4)
    base: Path | None = None
    newer: list[tuple[int, Path]] = []
    busy: list[tuple[int, Path]] = []
    for number in range(1, n_rounds + 1):
        free = [row for row in range(N) if number == 1 or ((known := state[row]) is not None and known[1] != "succeeded")]
        chosen = sorted(chance.sample(free, chance.randint(1, len(free)))) if number > 1 and free else free
        if not chosen:
            break
        state.update(dict.fromkeys(chosen))
        closed = chosen if number <= merged else chance.sample(chosen, chance.randint(0, len(chosen)))
        files = []
        for part in (closed[::2], closed[1::2]):
            if part:
                files.append((number, folder / f"o{number}-{len(files)}.parquet"))
                _write(files[-1][1], number, part, chance, state)
        if number <= merged:
            target = folder / f"standings-{number}.parquet"
            merge_standings(base, files, target)
            base = target
        else:
            newer += files
            if number > 1:
                busy.append((number, folder / f"rows-{number}.parquet"))
                write_rows(chosen, busy[-1][1])
    return Played(RowFiles(table, N, ("c0",), base, tuple(newer), tuple(busy)), state)


def _write(path: Path, number: int, rows: list[int], chance: random.Random, state: dict) -> None:  # type: ignore[type-arg]
    columns: dict[str, list] = {"_row": [], "kind": [], "cause": [], "answer": []}  # type: ignore[type-arg]
    for row in rows:
        kind, cause = chance.choice(KINDS)
        answer = json.dumps({"label": chance.choice("abc")}) if kind == "succeeded" else None
        state[row] = (number, kind, cause, answer)
        for name, value in zip(columns, (row, kind, cause, answer), strict=True):
            columns[name].append(value)
    with OutcomeWriter(path, round=number) as writer:
        writer.add(columns)


@pytest.mark.parametrize("seed", range(25))
def test_every_question_tells_the_same(seed: int, tmp_path: Path) -> None:
    played = play(tmp_path, seed)
    known = {row: line for row, line in played.rows.items() if line is not None}
    label = {row: json.loads(line[3])["label"] for row, line in known.items() if line[3]}
    expected = {
        Filter(kinds=("pending",)): [row for row in range(N) if row not in known],
        Filter(kinds=("succeeded", "pending")): [row for row in range(N) if row not in known or known[row][1] == "succeeded"],
        Filter(kinds=("failed",)): [row for row in range(N) if row in known and known[row][1] == "failed"],
        Filter(causes=("timeout", "missing")): [row for row in range(N) if row in known and known[row][2] in ("timeout", "missing")],
        Filter(rounds=(2,)): [row for row in range(N) if row in known and known[row][0] == 2],
        Filter(answer=(("label", "a"),)): [row for row in range(N) if label.get(row) == "a"],
        Filter(text='"label": "b"'): [row for row in range(N) if label.get(row) == "b"],
    }
    with Query(played.files) as query:
        for filter, rows in expected.items():
            assert query.rows(filter).tolist() == rows, filter
            assert query.page(filter, limit=N).total == len(rows)
        lines = query.lines(list(range(N)))
        told = {each.row: each.outcome and tuple(each.outcome[name] for name in ("round", "kind", "cause", "answer")) for each in lines}
        assert told == played.rows
        counts = Counter((line[1], line[2]) for line in known.values())
        assert {(each.kind, each.cause): each.n for each in query.causes()} == counts
        assert dict(query.distribution("label", "label").labels) == Counter(label.values())
        query.selection(Filter(kinds=("failed",)), tmp_path / "chosen.parquet")
    assert selected_rows(tmp_path / "chosen.parquet").tolist() == expected[Filter(kinds=("failed",))]
    exported = [
        json.loads(line) for chunk in jsonl_chunks(Export(played.files, [{"key": "c0", "name": "Text"}])) for line in chunk.splitlines()
    ]
    assert [(each["_row"], each["_outcome"], each["_cause"], each["_answer"]) for each in exported] == [
        (row, known[row][1], known[row][2], known[row][3]) if row in known else (row, "pending", None, None) for row in range(N)
    ]
