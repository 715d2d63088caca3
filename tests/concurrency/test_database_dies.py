"""The ledger's connection dies at every point where it hurts, and PostgreSQL itself under a working cluster: the work goes on by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import Error, connection
from django.utils import timezone

from jobs.engine import crash
from jobs.engine.advance import advance
from jobs.engine.drive import drive
from jobs.engine.pump import due
from jobs.models import Batch, Connection, Job
from jobs.sandbox import Sandbox
from jobs.words import JobState, RoundState
from tests.concurrency.hosts import Host, until
from tests.engine import world
from tests.faults.books import left_over
from tests.faults.invariants import check_end
from tests.faults.test_kill import DIRECT, POINTS
from tests.servers import Postgres

NIGHT = bool(os.environ.get("BATCHUI_NIGHT"))
BY_DAY = ["before mark", "after mark", "after answer", "after journal", "before outcomes", "after outcomes", "after merge", "before round"]
NAMES = sorted({*[name for name, _ in POINTS], *DIRECT} - {"after cut"}) if NIGHT else [*BY_DAY, "direct before fetched"]
N_RESTARTS = 12 if NIGHT else 1


def cut_connections() -> None:
    """The server ends every connection to the ledger, as when it is restarted."""
    ledger = connection.settings_dict
    with psycopg.connect(host=ledger["HOST"], port=ledger["PORT"], user=ledger["USER"], dbname=ledger["NAME"], autocommit=True) as other:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        other.execute(others)


@pytest.mark.postgres
@pytest.mark.serial
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", NAMES)
def test_the_connection_dies_at(people: Any, sandbox: Any, data_folder: Path, settings: Any, monkeypatch: Any, name: str) -> None:
    """And the lease that the worker holds does not have to run out for the next look."""
    settings.SANDBOX_ABSENCE_SECONDS = 0.0
    sandbox.control("arm", orders="errors=1,once", times=1)
    if name == "after refusal":
        sandbox.control("arm", verb="batches.create", fault="status", status=429)
    job = world.make(people, sandbox, planned=False, per_batch=3, max_attempts=2)
    job.rounds.update(lane="direct" if name in DIRECT or name == "in direct call" else "batch")
    died: list[str] = []

    def hook(at: str) -> None:
        if at == name and not died:
            died.append(at)
            cut_connections()

    monkeypatch.setattr(crash, "hook", hook)
    world.plan_here(job)
    for _ in range(25):
        look_around(job, sandbox)
        assert not Job.objects.filter(lease_until__isnull=False).exists()
        assert not Batch.objects.filter(lease_until__isnull=False).exists()
        job.refresh_from_db()
        if JobState(job.state).terminal:
            break
    assert died
    assert (job.state, job.n_succeeded) == (JobState.COMPLETED, 6)
    check_end(job, sandbox)
    made = [call["batch"] for call in sandbox.control("calls", verb="batches.create")]
    known = Batch.objects.filter(job=job).exclude(provider_batch_id__startswith="direct-")
    assert sorted(made) == sorted(known.values_list("provider_batch_id", flat=True))


@pytest.mark.postgres
@pytest.mark.serial
@pytest.mark.django_db(transaction=True)
def test_a_job_in_the_foreground_goes_on(people: Any, sandbox: Any, data_folder: Path, monkeypatch: Any) -> None:
    """`run_job` drives without a queue that would leave the dead connection."""
    job = world.make(people, sandbox)
    at = []

    def hook(name: str) -> None:
        if name in ("after mark", "after answer", "after download", "after merge") and name not in at:
            at.append(name)
            cut_connections()

    monkeypatch.setattr(crash, "hook", hook)
    job = drive(job, poll_seconds=0.05, seconds=60, tick=lambda job: world.hurry(job))
    assert (at, job.state) == (["after mark", "after answer", "after download", "after merge"], JobState.COMPLETED)
    check_end(job, sandbox)
    assert world.creates(sandbox) == 1


def look_around(job: Job, sandbox: Any) -> None:
    """`world.tick` with a worker's manners: a task that raises costs one look, and a dead connection is left before the next one."""
    world.hurry(job)
    Connection.objects.update(next_look_at=timezone.now())
    for kind, each in list(due(job=job)):
        if kind == "job" and job.rounds.filter(state=RoundState.PLANNING).exists():
            world.plan_here(job)
            continue
        with suppress(Error):
            advance(kind, str(each.pk))
        connection.close_if_unusable_or_obsolete()
    sandbox.control("advance", seconds=60)


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """A PostgreSQL that may die."""
    server = Postgres()
    yield server
    server.stop()


@pytest.mark.postgres
@pytest.mark.serial
def test_postgres_dies_under_a_working_cluster(own_server: Postgres, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    outside = {name: value for name, value in os.environ.items() if name not in ("DJANGO_ALLOW_ASYNC_UNSAFE", "TEST_DATABASE")}
    env = {**outside, "DJANGO_SETTINGS_MODULE": "batchui.settings", "DATABASE_URL": own_server.url(), "BATCHUI_DATA": str(data)}
    env |= {"BATCHUI_WORKERS": "2", "BATCHUI_LEASE_SECONDS": "6", "BATCHUI_SANDBOX_ABSENCE_SECONDS": "8"}
    run = runner(env)
    run("manage.py", "migrate", "-v0")
    n_batches = 6 * N_RESTARTS
    host = Host("a", "", env, tmp_path)
    with Sandbox(tmp_path / "sandbox", seconds=0.5) as sandbox:
        try:
            host.start()
            address = sandbox.openai_url.removesuffix("/v1")
            job = run("-m", "tests.ops.ledger_job", "launch", address, "gpt-6-luna", str(5 * n_batches), "5")
            for n in range(N_RESTARTS):
                until(lambda n=n: len(sandbox.control("calls", verb="batches.create")) > 6 * n + 1, 90, "batches are created")
                own_server.crash()
            until(lambda: ended(own_server, job), 120, "the job settles")
            told = json.loads(run("-m", "tests.ops.ledger_job", "show", job))
        finally:
            host.kill()
        made = sandbox.control("calls", verb="batches.create")
        ran = Counter(row["custom_id"] for row in sandbox.control("executed") if row["paid"])
    assert (told["state"], told["succeeded"], told["rows"]) == ("completed", 5 * n_batches, 5 * n_batches), host.log.read_text()[-3000:]
    assert len({call["batch"] for call in made}) == len(made) == n_batches
    assert (len(ran), set(ran.values())) == (5 * n_batches, {1})
    assert left_over(data) == []


def runner(env: dict[str, str]) -> Callable[..., str]:
    """Runs Python with some words, and gives what it printed last."""

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=settings.BASE_DIR, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""

    return run


def ended(server: Postgres, job: str) -> bool:
    with psycopg.connect(server.url(), connect_timeout=5) as ledger:
        found = ledger.execute("SELECT finished_at FROM jobs_job WHERE id = %s", [job]).fetchone()
    return bool(found and found[0])
