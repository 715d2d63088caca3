"""The ledger is put back to an older copy while the provider has moved on: nothing is created a second time (RELIABILITY T11)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from django.utils import timezone

from jobs.engine import journal, orphans, places, restored
from jobs.models import Batch, Connection, Event, Job, Round
from tests.engine.world import batch_of, batch_of_pk, creates, finish, hurry, kinds, look

pytestmark = pytest.mark.django_db
MODELS = (Job, Round, Batch, Event)


def copy() -> str:
    return serializers.serialize("json", [row for model in MODELS for row in model._default_manager.all()])


def put_back(text: str) -> None:
    """The ledger as it was, an hour later."""
    for model in reversed(MODELS):
        model._default_manager.all().delete()
    for row in serializers.deserialize("json", text):
        row.save()
    Batch.objects.update(lease_until=None)
    Batch.objects.exclude(submitting_at=None).update(submitting_at=timezone.now() - timedelta(hours=1))
    Connection.objects.update(created_at=timezone.now() - timedelta(hours=1), learned={})


def forget_the_journal() -> None:
    path: Path = journal._path()
    path.unlink()


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_the_journal_is_younger_than_the_ledger(make: Any, sandbox: Any, kind: str) -> None:
    job = make(kind=kind, per_batch=3)
    before = copy()
    assert look(batch_of(job, 1)).state == look(batch_of(job, 2)).state == "submitted"
    there = [batch.provider_batch_id for batch in job.batches.all()]
    put_back(before)
    first = look(batch_of(job, 1))
    assert (first.state, first.wait_reason) == ("unknown", "it was sent before, says our journal")
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 2)
    assert [batch.provider_batch_id for batch in job.batches.all()] == there


def test_the_folder_went_back_too_and_the_provider_remembers(make: Any, sandbox: Any) -> None:
    job = make(per_batch=3)
    before = copy()
    look(batch_of(job, 1))
    look(batch_of(job, 2))
    put_back(before)
    forget_the_journal()
    second = look(batch_of(job, 2))  # whichever comes first
    assert (second.state, second.wait_reason) == ("unknown", "it was sent before, says the provider")
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 2)


def test_batches_that_the_ledger_never_heard_of_hold_the_connection(make: Any, sandbox: Any, people: Any) -> None:
    """They were cut after the backup: the same rows would be cut, and paid, again."""
    job = make(per_batch=3, planned=False)
    before = copy()
    from tests.engine.world import plan_here

    plan_here(job)
    gone = look(batch_of(job, 1)).provider_batch_id
    put_back(before)
    forget_the_journal()
    for folder in places.job_folder(job).glob("batches/*"):
        for file in folder.rglob("*.*"):
            file.unlink()
    plan_here(job)
    batch = look(look(batch_of(job, 1)))
    assert (batch.state, creates(sandbox)) == ("ready", 1)
    assert batch.wait_reason.startswith(f"the provider has 1 batch of this batchui that the ledger does not know (first: {gone})")
    connection = Connection.objects.get(pk=job.connection_id)
    assert connection.problem == batch.wait_reason
    assert [(each.id, each.made_by_us) for each in orphans.look(connection).found] == [(gone, True)]
    orphans.ignore(connection, people.owner, gone)  # a person has looked, and takes it upon herself
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 3)
    assert Connection.objects.get(pk=job.connection_id).problem == ""


def test_batches_of_another_deployment_hold_nothing(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    job = make(per_batch=3)
    monkeypatch.setattr(restored, "site", lambda: "0ther000")
    look(batch_of(job, 1))
    monkeypatch.undo()
    Batch.objects.filter(pk=batch_of(job, 1).pk).update(submit_token="forgotten", submitting_at=timezone.now() - timedelta(hours=1))
    forget_the_journal()
    hurry(job)
    assert look(batch_of(job, 2)).state == "submitted"


def test_the_list_is_walked_after_a_silence_only(make: Any, sandbox: Any) -> None:
    job = make(per_batch=2)
    sandbox.control("arm", verb="batches.list", fault="status", status=500, times=0)
    assert look(batch_of(job, 1)).state == "submitted"  # a connection that is minutes old has nothing to remember
    Batch.objects.filter(pk=batch_of(job, 1).pk).update(submitting_at=timezone.now() - timedelta(hours=1))
    Connection.objects.update(created_at=timezone.now() - timedelta(hours=1))
    waiting = look(batch_of(job, 2))
    assert (waiting.state, waiting.wait_reason.startswith("cannot ask the provider: ")) == ("ready", True)
    sandbox.control("disarm")
    assert look(waiting).state == "submitted"
    sandbox.control("arm", verb="batches.list", fault="status", status=500, times=0)
    assert look(batch_of(job, 3)).state == "submitted"


def test_journal_is_read_on_from_where_it_was_left(make: Any, sandbox: Any) -> None:
    job = make(per_batch=3)
    first = look(batch_of(job, 1))
    assert journal.of_batch(first) == {first.submit_token: first.provider_batch_id}
    with journal._path().open("ab") as file:
        file.write(b'{"batch": "cut')
    second = look(batch_of(job, 2))
    assert journal.of_batch(second) == {second.submit_token: second.provider_batch_id}
    assert journal.of_batch(first) == {first.submit_token: first.provider_batch_id}
    assert batch_of_pk(first).submit_token.startswith(f"{restored.site()}-{first.pk.hex[:12]}-")
