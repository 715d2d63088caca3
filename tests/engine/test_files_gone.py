"""Files that are gone from our disk at each step: what can be had again is, and nothing waits for ever without words and an act."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from jobs.engine import crash, give_up, ingest, places
from jobs.engine.advance import advance_job
from jobs.engine.audit import audit_job
from jobs.engine.cancel import cancel
from jobs.engine.collect import result_files
from jobs.engine.exports import row_files
from jobs.engine.retry import retry
from jobs.errors import BadInput
from jobs.models import Batch, DatasetUpload, DatasetVersion, Job, PromptVersion
from jobs.rows.choose import Wanted
from jobs.rows.cut import index_of
from tests.engine.world import batch_of, batch_of_pk, creates, ended, finish, hurry, kinds, look, plan_here, settled, texts

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
    assert batch.problem
    job = finish(job, sandbox)
    assert (job.state, kinds(job), creates(sandbox), audit_job(job)) == ("completed", {"succeeded": 6}, 1, [])
    assert batch_of(job).problem == ""


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


def test_a_table_that_is_gone_is_named_and_put_back(make: Any, sandbox: Any) -> None:
    job = make(planned=False)
    path = places.table_of(job.dataset_version)
    path.rename(path.with_suffix(".away"))
    hurry(job)
    advance_job(str(job.pk))
    job.refresh_from_db()
    name = f"rows/{job.workspace_id.hex}/datasets/{job.dataset_version_id.hex}/table.parquet"
    assert job.needs == (
        f"It does not move at the moment: the file {name} is gone from the data folder; it goes on by itself once that is put back, "
        "from a backup for instance"
    )
    path.with_suffix(".away").rename(path)
    assert finish(job, sandbox).state == "completed"


def test_outcomes_that_are_gone_are_named(make: Any, sandbox: Any) -> None:
    job = make()
    path = places.outcomes_file(settled(batch_of(job), sandbox))
    path.rename(path.with_suffix(".away"))
    hurry(job)
    advance_job(str(job.pk))
    job.refresh_from_db()
    assert f"/batches/{batch_of(job).pk.hex}/outcomes.parquet is gone from the data folder" in job.needs
    path.with_suffix(".away").rename(path)
    assert (finish(job, sandbox).state, audit_job(job)) == ("completed", [])


def test_standings_that_are_gone_are_merged_again(make: Any, sandbox: Any) -> None:
    """As when the ledger was put back to an older copy beside a newer data folder: standings of two rounds ago are removed."""
    job = make(model="gpt-6-luna+invalid=2", per_batch=4)
    job = finish(job, sandbox)
    retry(job, None, Wanted(rows=[1]), token="one")
    job = finish(job, sandbox)
    for number in (1, 2):
        places.standings_file(job, number).unlink()
    read = row_files(job)
    assert (read.base, len(read.newer)) == (None, 3)
    retry(job, None, Wanted(), token="two")
    job = finish(job, sandbox)
    assert (kinds(job), job.n_settled_rounds, audit_job(job)) == ({"succeeded": 4, "failed": 2}, 3, [])


@pytest.mark.parametrize("trouble", [OSError(5, "Input/output error"), KeyboardInterrupt()], ids=["disk", "stop"])
def test_a_table_stays_whatever_fails_once_the_ledger_has_it(people: Any, data_folder: Any, monkeypatch: Any, trouble: Any) -> None:
    """Reading an upload cleans up after trouble; not what a version stands on."""
    whole = Path.unlink

    def broken(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name == "uploads" and not path.suffix:
            raise trouble
        whole(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", broken)
    with suppress(KeyboardInterrupt):
        ingest.receive(people.home, people.owner, filename="a.csv", chunks=[b"a,b\n1,2\n"])
    monkeypatch.undo()
    version = DatasetVersion.objects.get()
    assert DatasetUpload.objects.get().state == DatasetUpload.DONE
    assert places.table_of(version).exists()
    (places.table_of(version).parent / "source").unlink()
    with pytest.raises(BadInput, match="gone from the disk"):
        ingest.read_again(version, {}, people.owner)
