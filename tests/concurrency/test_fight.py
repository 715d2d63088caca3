"""Four processes fight over one job, all of it always due, and one of them is killed: each batch is made once, each row counts once.

`tests/concurrency/race.py` is one of them. On SQLite and on PostgreSQL; many rounds at night.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from jobs.engine import places
from jobs.models import Batch, Connection, Job
from jobs.words import JobState
from tests.concurrency.hosts import until
from tests.faults.books import left_over
from tests.faults.invariants import check_end
from tests.jobs import make_connection, make_job

pytestmark = [pytest.mark.serial, pytest.mark.django_db(transaction=True)]
ROUNDS = 20 if os.environ.get("BATCHUI_NIGHT") else 1
N_ROWS, PER_BATCH, N_WORKERS = 24, 4, 4
QUICK = {"BATCHUI_LEASE_SECONDS": "4", "BATCHUI_SANDBOX_ABSENCE_SECONDS": "2", "BATCHUI_NUDGE": "0", "BATCHUI_LOG_LEVEL": "CRITICAL"}


def start(job: Job, log: Path) -> list[subprocess.Popen[str]]:
    """The workers, waiting at the start line."""
    ledger = connection.settings_dict
    name = str(ledger["NAME"])
    url = f"sqlite:///{name}" if connection.vendor == "sqlite" else f"postgres://{ledger['USER']}@{ledger['HOST']}:{ledger['PORT']}/{name}"
    env = {**os.environ, **QUICK, "DJANGO_SETTINGS_MODULE": "batchui.settings", "DATABASE_URL": url, "BATCHUI_DATA": str(settings.DATA)}
    command = [sys.executable, "-m", "tests.concurrency.race", str(job.pk)]
    with log.open("a") as errors:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
        running = [subprocess.Popen(command, cwd=settings.BASE_DIR, env=env, **pipes) for _ in range(N_WORKERS)]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n", log.read_text()
    return running


def fight(people: Any, sandbox: Any, log: Path) -> None:
    provider = Connection.objects.filter(workspace=people.home).first() or make_connection(people.home, people.owner, sandbox)
    Connection.objects.filter(pk=provider.pk).update(limits={"requests_per_batch": PER_BATCH, "creates_per_minute": 100_000})
    provider.refresh_from_db()
    sandbox.control("reset")
    job = make_job(
        people.home,
        people.owner,
        sandbox,
        model="gpt-6-luna+errors=1,once",
        n_rows=N_ROWS,
        connection=provider,
        max_attempts=3,
        settle=False,
    )
    running = start(job, log)
    for each in running:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    until(lambda: Batch.objects.filter(job=job).exclude(state="ready").count() > 1, 60, "batches are sent")
    running[0].kill()
    running[0].communicate()
    for each in running[1:]:
        each.communicate(timeout=90)
    assert [each.returncode for each in running[1:]] == [0] * (N_WORKERS - 1), log.read_text()[-3000:]
    job.refresh_from_db()
    assert (job.state, job.n_succeeded) == (JobState.COMPLETED, N_ROWS), log.read_text()[-3000:]
    check_end(job, sandbox)
    batches = list(Batch.objects.filter(job=job))
    made = [call["batch"] for call in sandbox.control("calls", verb="batches.create")]
    assert sorted(made) == sorted(batch.provider_batch_id for batch in batches)
    assert set(Counter(row["custom_id"] for row in sandbox.control("executed") if row["paid"]).values()) == {1}
    assert not Job.objects.filter(pk=job.pk, lease_until__isnull=False).exists()
    assert left_over(places.job_folder(job)) == []


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_fight_over_sqlite(people: Any, sandbox: Any, data_folder: Path, tmp_path: Path, round_: int) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("on PostgreSQL the other test does the same")
    fight(people, sandbox, tmp_path / "log")


@pytest.mark.postgres
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_fight_over_postgres(people: Any, sandbox: Any, data_folder: Path, tmp_path: Path, round_: int) -> None:
    fight(people, sandbox, tmp_path / "log")
