"""Files that are gone from our disk at each step: what can be had again is, and nothing waits for ever without words and an act."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.engine import crash, give_up, places
from jobs.engine.audit import audit_job
from jobs.engine.cancel import cancel
from jobs.engine.collect import result_files
from jobs.models import Batch, Job, PromptVersion
from jobs.rows.cut import index_of
from tests.engine.world import batch_of, batch_of_pk, creates, ended, finish, kinds, look, plan_here, texts

pytestmark = pytest.mark.django_db


class Stop(Exception):
    """The worker ends here."""


def fetched(batch: Batch, sandbox: Any, monkeypatch: Any) -> Batch:
    """Its results are here, and the worker stopped before it could collect them."""

    def hook(name: str) -> None:
        if name == "after parquet":
            raise Stop

    monkeypatch.setattr(crash, "hook", hook)
    batch = look(ended(batch, sandbox))
    monkeypatch.setattr(crash, "hook", None)
    assert batch.state == "fetched"
    return batch


def lose_request(batch: Batch) -> None:
    path = places.request_file(batch)
    path.unlink()
    index_of(path).unlink()


def lose_table(job: Job) -> None:
    assert job.dataset_version is not None
    places.table_of(job.dataset_version).unlink()


@pytest.mark.parametrize("lane", ["batch", "direct"])
def test_a_request_file_that_is_gone_before_it_was_sent_is_made_again(make: Any, sandbox: Any, lane: str) -> None:
    job = make(n_rows=7, per_batch=3, planned=False)
    job.rounds.update(lane=lane)
    plan_here(job)
    for batch in job.batches.all():
        lose_request(batch)
    job = finish(job, sandbox)
    assert (job.state, kinds(job), audit_job(job)) == ("completed", {"succeeded": 7}, [])


def test_a_request_file_that_is_half_there_is_made_again(make: Any, sandbox: Any) -> None:
    job = make()
    path = places.request_file(batch_of(job))
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert look(batch_of(job)).state == "submitted"
    assert path.read_bytes() == whole


@pytest.mark.parametrize("lane", ["batch", "direct"])
def test_what_cannot_be_made_again_says_so_and_can_be_cancelled(make: Any, sandbox: Any, people: Any, lane: str) -> None:
    job = make(planned=False)
    job.rounds.update(lane=lane)
    plan_here(job)
    lose_request(batch_of(job))
    PromptVersion.objects.filter(pk=job.prompt_version_id).update(user="another {{ text }}")
    batch = look(batch_of(job))
    words = "its request file is gone from the disk, and cannot be made again as it was: cancel the job, then retry the rows"
    assert (batch.state, batch.wait_reason) == ("ready", words)
    cancel(job, people.owner)
    job = finish(job, sandbox)
    assert (job.state, kinds(job), job.paid_usd, creates(sandbox)) == ("cancelled", {"cancelled": 6}, 0, 0)


def test_rows_are_known_without_the_request_file(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    """Nor the table: where rows failed in the template, the others are those that were sent."""
    job = make(planned=False)
    PromptVersion.objects.filter(pk=job.prompt_version_id).update(user="{{ 1 // (text|length - 10) }}{{ text }}")
    plan_here(job)
    batch = fetched(Batch.objects.get(job=job, n_bytes__gt=0), sandbox, monkeypatch)
    lose_request(batch)
    lose_table(job)
    job = finish(job, sandbox)
    assert (job.state, kinds(job)) == ("completed_with_failures", {"succeeded": 2, "failed": 4})


def test_results_that_are_gone_are_fetched_again(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    job = make(max_attempts=3)
    batch = fetched(batch_of(job), sandbox, monkeypatch)
    shutil.rmtree(places.results_folder(batch))
    job = finish(job, sandbox)
    assert (job.state, kinds(job), creates(sandbox), audit_job(job)) == ("completed", {"succeeded": 6}, 1, [])


def test_results_that_are_gone_here_and_there_are_not_paid_again_by_themselves(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    job = make(max_attempts=3)
    batch = fetched(batch_of(job), sandbox, monkeypatch)
    shutil.rmtree(places.results_folder(batch))
    sandbox.control("arm", verb="files.content", fault="status", status=404, times=0)
    job = finish(job, sandbox)
    assert (job.state, kinds(job), creates(sandbox), job.rounds.count()) == ("failed", {"missing": 6}, 1, 1)
    assert batch_of_pk(batch).usage["unknown_rows"] == 6


def test_answers_of_real_time_that_are_gone_are_not_called_unpaid(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    job = make(planned=False, max_attempts=3)
    job.rounds.update(lane="direct")
    plan_here(job)

    def hook(name: str) -> None:
        if name == "after parquet":
            raise Stop

    monkeypatch.setattr(crash, "hook", hook)
    batch = look(batch_of(job))
    monkeypatch.setattr(crash, "hook", None)
    assert batch.state == "fetched"
    for path in result_files(batch):
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    job = finish(job, sandbox)
    assert (job.state, kinds(job), job.rounds.count()) == ("completed_with_failures", {"succeeded": 2, "missing": 4}, 1)
    assert batch_of_pk(batch).usage["unknown_rows"] == 4


@pytest.mark.parametrize("lane", ["batch", "direct"])
def test_a_batch_that_cannot_be_collected_is_given_up(make: Any, sandbox: Any, people: Any, monkeypatch: Any, lane: str) -> None:
    job = make(planned=False, max_attempts=3)
    job.rounds.update(lane=lane)
    plan_here(job)

    def hook(name: str) -> None:
        if name == "after parquet":
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(crash, "hook", hook)
    batch = ended(batch_of(job), sandbox) if lane == "batch" else batch_of(job)
    for _ in range(give_up.MANY_ERRORS):
        batch = look(batch)
    assert (batch.state, give_up.reason_of(batch), give_up.stuck_of(job)) == ("fetched", "", [])
    Batch.objects.filter(pk=batch.pk).update(ended_at=timezone.now() - timedelta(hours=3))
    batch = batch_of_pk(batch)
    reason = "Its answers are here and cannot be collected: the storage failed; it is tried again (Input/output error)."
    assert (give_up.reason_of(batch), give_up.stuck_of(job)) == (reason, [(batch, reason)])
    batch = give_up.give_up(batch, people.owner)
    assert (batch.state, batch.outcomes, batch.usage["unknown_rows"]) == ("settled", {"missing": 6}, 6)
    monkeypatch.setattr(crash, "hook", None)
    job = finish(job, sandbox)
    assert (job.state, job.rounds.count(), texts(job, give_up.GIVEN_UP)) == (
        "failed",
        1,
        [f"Batch 1: given up by owner. {reason} What the provider may have charged for it is not known"],
    )
