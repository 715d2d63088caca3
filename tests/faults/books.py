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
    assert db.execute("SELECT COUNT(*) FROM jobs_batch WHERE lease_until IS NOT NULL").fetchone() == (0,)
    assert db.execute("SELECT COUNT(*) FROM jobs_job WHERE lease_until IS NOT NULL").fetchone() == (0,)
    assert db.execute("SELECT COUNT(*) FROM jobs_connection WHERE lease_until IS NOT NULL AND kind = 'openai'").fetchone() == (0,)
    db.close()
    left = [path for path in (data / "rows").rglob("*") if path.name.endswith(".part") or path.name.startswith("outcomes-")]
    assert left == []
    known = len(list((data / "rows").glob("*/jobs/*/batches/*")))
    assert known == n_batches
