"""The ledger is put back to an older copy while the provider has moved on: nothing is created a second time (RELIABILITY T11)."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from django.utils import timezone

from jobs.engine import journal, orphans, places, restored
from jobs.engine.remote import seal_key
from jobs.models import Batch, Connection, Event, Job, Round
from tests.engine.test_reconcile import foreign
from tests.engine.world import KEY, batch_of, batch_of_pk, creates, finish, hurry, kinds, look

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


def test_what_the_provider_remembers_is_found_behind_many_batches_of_others(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    job = make(per_batch=3)
    before = copy()
    look(batch_of(job, 1))
    look(batch_of(job, 2))
    n_others = orphans.MAX_PAGES + 1
    monkeypatch.setattr(restored, "site", lambda: "0ther000")
    other = make(connection=job.connection, n_rows=3 * n_others)
    for number in range(n_others):
        look(batch_of(other, number + 1))
    monkeypatch.undo()
    assert creates(sandbox) == 2 + n_others
    put_back(before)
    forget_the_journal()
    sandbox.control("arm", verb="batches.list", fault="page", n=1, times=0)
    assert look(batch_of(job, 1)).state == "unknown"
    sandbox.control("disarm")
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 2 + n_others)


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


def alone(sandbox: Any, n_rows: int, ended: bool = True) -> str:
    """Somebody else makes a batch of so many requests in the same workspace of the provider; its id."""
    foreign(sandbox, n_rows, model="claude-haiku-4-5+slow=600s")
    made = sandbox.control("")["batches"][-1]["id"]
    if ended:
        sandbox.control("end", batch=made, status="completed")
    return str(made)


def long_ago() -> None:
    Batch.objects.exclude(submitting_at=None).update(submitting_at=timezone.now() - timedelta(hours=1))
    Connection.objects.update(created_at=timezone.now() - timedelta(hours=1))


def test_anthropic_batches_of_the_same_rows_are_found_and_taken(make: Any, sandbox: Any) -> None:
    """No journal and no marks: a batch of as many rows, made since the ledger's last sign, is asked for its first row."""
    job = make(kind="anthropic", per_batch=3, model="claude-haiku-4-5+slow=30s")
    before = copy()
    there = look(batch_of(job, 1)).provider_batch_id
    put_back(before)
    forget_the_journal()
    second = look(batch_of(job, 2))
    assert (second.state, creates(sandbox)) == ("ready", 1)
    assert second.wait_reason.startswith(f"the provider has 1 batch with as many requests as one that waits (first: {there})")
    job = finish(job, sandbox)  # it ends, and says whose rows it has
    assert (job.state, kinds(job), creates(sandbox)) == ("completed", {"succeeded": 6}, 2)
    assert there in list(job.batches.values_list("provider_batch_id", flat=True))


def test_anthropic_batches_that_were_cut_after_the_backup_hold_until_set_aside(make: Any, sandbox: Any, people: Any) -> None:
    job = make(kind="anthropic", per_batch=3, planned=False)
    before = copy()
    from tests.engine.world import plan_here

    plan_here(job)
    gone = look(batch_of(job, 1)).provider_batch_id
    put_back(before)
    forget_the_journal()
    shutil.rmtree(places.job_folder(job))  # with it the batch would be taken (test_left_behind)
    plan_here(job)
    sandbox.control("end", batch=gone, status="completed")
    for _ in range(3):
        batch = look(batch_of(job, 1))
    assert (batch.state, creates(sandbox)) == ("ready", 1)
    assert Connection.objects.get(pk=job.connection_id).problem == batch.wait_reason
    orphans.ignore(batch.connection, people.owner, gone)
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 3)


@pytest.mark.parametrize(("n_rows", "ended"), [(3, True), (4, False)])
def test_anthropic_batches_of_others_hold_nothing(make: Any, sandbox: Any, n_rows: int, ended: bool) -> None:
    """One of as many requests that has ended says that it is not ours; one of another length cannot be."""
    job = make(kind="anthropic", per_batch=3)
    alone(sandbox, n_rows, ended)
    long_ago()
    assert look(batch_of(job, 1)).state == "submitted"


def test_anthropic_batch_of_others_that_runs_holds_until_it_has_ended(make: Any, sandbox: Any) -> None:
    job = make(kind="anthropic", per_batch=3)
    other = alone(sandbox, 3, ended=False)
    long_ago()
    assert look(batch_of(job, 1)).state == "ready"
    sandbox.control("end", batch=other, status="completed")
    assert look(batch_of(job, 1)).state == "submitted"


def test_what_another_connection_made_at_the_same_account_holds_nothing(make: Any, connect: Any, sandbox: Any) -> None:
    """The same server under another address, as two workspaces with one key may write it: the mark says that the ledger knows it."""
    look(batch_of(make(per_batch=3), 1))
    job = make(connection=connect(base_url=f"{sandbox.openai_url}/"))
    Connection.objects.filter(pk=job.connection_id).update(created_at=timezone.now() - timedelta(hours=1))
    job.connection.refresh_from_db()
    seal_key(job.connection, KEY)
    job.connection.save()
    assert look(batch_of(job)).state == "submitted"
