"""Many at once want the same thing: one of them does it, the others get what that one made."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, connections
from django.utils import timezone
from django_q.models import OrmQ

from jobs.engine.launch import Plan, launch
from jobs.engine.retry import retry
from jobs.errors import BadInput
from jobs.models import Batch, Job, Round
from jobs.rows.choose import Wanted
from jobs.words import BatchState, JobState, RoundReason
from tests.jobs import make_connection, make_dataset, make_job, make_prompt, settled

pytestmark = [pytest.mark.postgres, pytest.mark.serial, pytest.mark.django_db(transaction=True)]


def at_once(n: int, act: Callable[[int], Any]) -> list[Any]:
    """What `act` gives or raises (BadInput) in `n` threads that start together, each with a connection to the ledger of its own."""
    line, results = threading.Barrier(n), [None] * n

    def run(i: int) -> None:
        try:
            connection.ensure_connection()
            line.wait(30)
            results[i] = act(i)
        except BadInput as error:
            results[i] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def processes_at_once(n: int, *step: str) -> list[str]:
    """What `n` processes that do the step together print."""
    ledger = connection.settings_dict
    url = f"postgres://{ledger['USER']}@{ledger['HOST']}:{ledger['PORT']}/{ledger['NAME']}"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "batchui.settings", "DATABASE_URL": url, "BATCHUI_DATA": str(settings.DATA)}
    command = [sys.executable, "-m", "tests.concurrency.step", *step]
    running = [
        subprocess.Popen(command, cwd=settings.BASE_DIR, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(n)
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in running:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    said = [each.communicate(timeout=60)[0].strip() for each in running]
    assert [each.returncode for each in running] == [0] * n
    return said


def test_fifty_clicks_on_retry_make_one_round(people: Any, sandbox: Any, data_folder: Path) -> None:
    """Forty from one page (one token), ten from ten other pages: whoever comes second has nothing left to retry."""
    job = make_job(people.home, people.owner, sandbox, model="gpt-6-luna+errors=5,once", n_rows=24)
    assert (job.n_failed, job.n_succeeded) == (5, 19)
    results = at_once(50, lambda i: retry(Job.objects.get(pk=job.pk), people.owner, Wanted(), token="one" if i < 40 else f"other{i}"))
    made = Round.objects.get(job=job, reason=RoundReason.RETRY)
    assert made.n_rows == 5
    rounds = {result.pk for result in results if isinstance(result, Round)}
    assert rounds == {made.pk}
    job.refresh_from_db()
    assert (job.counts["pending"], job.n_failed, sum(job.counts.values())) == (5, 0, 24)
    job = settled(job)
    assert (job.state, job.n_succeeded) == (JobState.COMPLETED, 24)
    assert Counter(row["paid"] for row in sandbox.control("executed")) == {True: 24, False: 5}


def test_twenty_launches_of_one_form_make_one_job(people: Any, sandbox: Any, data_folder: Path) -> None:
    version, prompt = make_dataset(people.home, people.owner), make_prompt(people.home, people.owner)
    provider = make_connection(people.home, people.owner, sandbox)
    plan = Plan(people.home, version, prompt, provider, "gpt-6-luna", name="Once", max_attempts=1, token="form-1")
    results = at_once(20, lambda _: launch(plan, people.owner))
    job = Job.objects.get()
    assert {result.pk for result in results} == {job.pk}
    assert Round.objects.filter(job=job).count() == 1
    assert settled(job).n_succeeded == version.n_rows
    assert len(sandbox.control("calls", verb="batches.create")) == 1


def test_twenty_launches_of_one_draft_make_one_job(people: Any, sandbox: Any, data_folder: Path) -> None:
    version, prompt = make_dataset(people.home, people.owner), make_prompt(people.home, people.owner)
    provider = make_connection(people.home, people.owner, sandbox)
    draft = Job.objects.create(
        workspace=people.home, name="Draft", dataset_version=version, prompt_version=prompt, connection=provider, model="gpt-6-luna",
        launch_token="draft-1", created_by=people.owner,
    )  # fmt: skip
    plan = Plan(people.home, version, prompt, provider, "gpt-6-luna", name="Draft", max_attempts=1)
    results = at_once(20, lambda _: launch(plan, people.owner, draft=Job.objects.get(pk=draft.pk)))
    assert {result.pk for result in results} == {draft.pk}
    job = Job.objects.get()
    assert [(each.number, each.reason) for each in Round.objects.filter(job=job)] == [(1, RoundReason.FIRST)]
    assert settled(job).n_succeeded == version.n_rows


def many_due(people: Any, sandbox: Any, n_batches: int) -> Job:
    """A job whose batches are all ready and due, and itself not."""
    provider = make_connection(people.home, people.owner, sandbox)
    provider.limits = {"requests_per_batch": 2, "creates_per_minute": 1000}
    provider.save()
    job = make_job(people.home, people.owner, sandbox, n_rows=2 * n_batches, connection=provider, settle=False)
    from jobs.engine.advance import advance

    advance("job", str(job.pk))
    assert Batch.objects.filter(job=job, state=BatchState.READY).count() == n_batches
    Batch.objects.filter(job=job).update(next_look_at=timezone.now())
    Job.objects.filter(pk=job.pk).update(next_look_at=None, state=JobState.COMPLETED)
    return job


def test_pumps_at_once_wake_each_object_once(people: Any, sandbox: Any, data_folder: Path) -> None:
    job = many_due(people, sandbox, 40)
    OrmQ.objects.all().delete()
    began = timezone.now()
    said = processes_at_once(3, "pump")
    # The pumps sign what they queue with a key of their own, so it is counted here and not read.
    assert sum(int(words) for words in said) == 40
    assert OrmQ.objects.count() == 40 + 1  # and the hourly sweep, once
    assert Batch.objects.filter(job=job, next_look_at__gt=began).count() == 40


def test_eight_processes_at_one_batch_make_one_create(people: Any, sandbox: Any, data_folder: Path) -> None:
    job = many_due(people, sandbox, 1)
    batch = Batch.objects.get(job=job)
    sandbox.control("arm", verb="files.create", fault="drip", seconds=0.5, times=0)  # so that all eight are there before the first is done
    processes_at_once(8, "advance", "batch", str(batch.pk))
    batch.refresh_from_db()
    assert (batch.state, batch.n_submits) == (BatchState.SUBMITTED, 1)
    assert len(sandbox.control("calls", verb="batches.create")) == 1
