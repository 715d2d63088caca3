"""The books after a crash: the provider's own log, the export, the ledger and the files must tell the same."""

from __future__ import annotations

import csv
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any


def recount(place: Any, n_rows: int, n_batches: int) -> None:
    """Raise where a row was lost or paid twice, a batch made twice, a count is wrong, or anything is left lying about."""
    data: Path = place.folder / "data"
    calls = place.sandbox.control("calls", verb="batches.create")
    assert len(calls) == n_batches, calls
    ran = Counter(row["body"] for row in place.sandbox.control("executed") if row["paid"])
    assert len(ran) == n_rows
    assert set(ran.values()) == {1}
    with (place.folder / "out.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["_row"] for row in rows] == [str(i) for i in range(n_rows)]
    assert {row["_outcome"] for row in rows} == {"succeeded"}
    db = sqlite3.connect(data / "batchui.sqlite3")
    assert db.execute("SELECT n_rows, n_succeeded, state FROM jobs_job").fetchall() == [(n_rows, n_rows, "completed")]
    db.close()
    _nothing_left(data)
    known = len(list((data / "rows").glob("*/jobs/*/batches/*")))
    assert known == n_batches


def recount_direct(place: Any, n_rows: int, most_lost: int) -> None:
    """As `recount` for ordinary calls: no request ran twice, and a row without an answer says that its answer was lost."""
    ran = Counter(row["body"] for row in place.sandbox.control("executed") if row["paid"])
    assert set(ran.values()) == {1}
    with (place.folder / "out.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["_row"] for row in rows] == [str(i) for i in range(n_rows)]
    lost = [row for row in rows if row["_outcome"] != "succeeded"]
    assert {(row["_outcome"], row["_cause"]) for row in lost} <= {("missing", "no_answer")}
    assert len(lost) <= most_lost
    assert len(ran) >= n_rows - len(lost)
    _nothing_left(place.folder / "data")


def _nothing_left(data: Path) -> None:
    """No lease is held, no half a file stands about."""
    db = sqlite3.connect(data / "batchui.sqlite3")
    assert db.execute("SELECT COUNT(*) FROM jobs_batch WHERE lease_until IS NOT NULL").fetchone() == (0,)
    assert db.execute("SELECT COUNT(*) FROM jobs_job WHERE lease_until IS NOT NULL").fetchone() == (0,)
    assert db.execute("SELECT COUNT(*) FROM jobs_connection WHERE lease_until IS NOT NULL AND kind = 'openai'").fetchone() == (0,)
    db.close()
    assert left_over(data / "rows") == []


def left_over(folder: Path) -> list[str]:
    """Names of halves of files and of drafts, which nobody needs once the work is done."""
    return [path.name for path in folder.rglob("*") if path.name.endswith(".part") or path.stem.startswith(("outcomes-", "rows-"))]
