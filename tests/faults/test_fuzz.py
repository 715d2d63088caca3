"""T13: result files with bytes changed at random. Every row sent gets one outcome, lines left alone keep theirs, nothing raises."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.db import transaction

from jobs.engine import collect, places
from jobs.engine.lease import claim
from jobs.engine.second_look import DONE
from jobs.models import Batch
from jobs.words import BatchState
from tests.engine import world

pytestmark = pytest.mark.django_db
N_ROWS = 100
FILES = 500 if os.environ.get("BATCHUI_NIGHT") else 10  # each for both manners of provider
SIGNS = ["\n", "\r\n", "\x00", "\u2028", "\ufeff", '"', "\\", "{", "}", "[[[[", "1e999", "NaN", "null"]
JUNK = [*(sign.encode() for sign in SIGNS), b"\xff", b"\xed\xa0\x80"]


def change(line: bytes, luck: Random) -> bytes:
    """The line with one thing wrong with it, perhaps none of it left, perhaps twice."""
    at, to = sorted((luck.randrange(len(line)), luck.randrange(len(line))))
    what = luck.randrange(8)
    if what == 0:
        return line[:at]
    if what == 1:
        return line[:at] + line[to:]
    if what == 2:
        return line[:at] + luck.choice(JUNK) + line[at:]
    if what == 3:
        return line[:at] + luck.randbytes(1) + line[at + 1 :]
    if what == 4:
        return line + b"\n" + line
    if what == 5:
        return b""
    if what == 6:
        return line[:at] + line[at:to] * 2 + line[to:]
    junk = luck.choice(JUNK)
    return re.sub(rb'"[^"]*"', lambda _: junk, line, count=1)


def spoil(content: bytes, luck: Random) -> tuple[bytes, set[int]]:
    """Some lines changed, moved, or glued to the next; and the rows that those lines name before or after it."""
    lines = content.rstrip(b"\n").split(b"\n")
    touched: set[int] = set()
    for at in luck.sample(range(len(lines) - 1), luck.randint(1, 30)):
        if not lines[at]:
            continue
        touched |= rows_of(lines[at])
        if luck.random() < 0.15 and lines[at + 1]:
            touched |= rows_of(lines[at + 1])
            lines[at], lines[at + 1] = lines[at] + lines[at + 1], b""
        else:
            lines[at] = change(lines[at], luck)
        touched |= rows_of(lines[at])
    if luck.random() < 0.5:
        luck.shuffle(lines)
    return b"\n".join(lines), touched


def rows_of(line: bytes) -> set[int]:
    return {int(found) for found in re.findall(rb"-(\d{1,18})\"", line)}


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_result_files_with_changed_bytes(make: Any, sandbox: Any, tmp_path: Path, kind: str) -> None:
    job = make(kind=kind, n_rows=N_ROWS)
    batch = world.ended(world.batch_of(job), sandbox)
    lease = claim(Batch, batch.pk)
    assert lease is not None
    collect.fetch(batch, lease)
    lease.release()
    folder, whole = places.results_folder(batch), tmp_path / "whole"
    shutil.copytree(folder, whole)
    right = settle(batch)
    assert set(right) == set(range(N_ROWS))
    n_changed = 0
    for seed in range(FILES):
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        touched: set[int] = set()
        for path in collect.result_files(batch):
            content, rows = spoil(path.read_bytes(), Random(seed))
            path.write_bytes(content)
            touched |= rows
        (folder / DONE).touch()  # it was fetched twice, the answer stays what it is
        found = settle(batch)
        assert set(found) == set(range(N_ROWS)), seed
        wrong = {row: (found[row], right[row]) for row in right if row not in touched and found[row] != right[row]}
        assert wrong == {}, seed
        n_changed += sum(found[row] != right[row] for row in right)
    assert n_changed > FILES


def settle(batch: Batch) -> dict[int, tuple[str, str | None]]:
    """Row → kind and answer, as collected now; the ledger is put back to where it was."""
    with transaction.atomic():
        lease = claim(Batch, batch.pk)
        assert lease is not None
        batch = world.batch_of_pk(batch)
        collect.collect(batch, lease)
        assert batch.state == BatchState.SETTLED
        table = pq.read_table(places.outcomes_file(batch), columns=["_row", "kind", "answer"])
        transaction.set_rollback(True)
    assert table.num_rows == N_ROWS
    return {row["_row"]: (row["kind"], row["answer"]) for row in table.to_pylist()}
