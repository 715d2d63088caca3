"""Two people, or a person and a worker, who want the same rows of the ledger in another order: both are heard (PostgreSQL)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from jobs.engine import budget, connections, launch, learned, members, retry, still
from jobs.engine.advance import advance_batch
from jobs.engine.cancel import cancel
from jobs.engine.connections import remove_connection, save_connection
from jobs.engine.drive import step
from jobs.engine.launch import Plan
from jobs.errors import BadInput
from jobs.models import Batch, Connection, Job, Membership
from jobs.words import JobState, Role
from tests.concurrency.crowd import make_boss
from tests.concurrency.meanwhile import Meanwhile
from tests.engine.world import KEY
from tests.jobs import make_connection, make_dataset, make_job, make_prompt, settled

pytestmark = [pytest.mark.postgres, pytest.mark.serial, pytest.mark.django_db(transaction=True)]


def test_a_cancel_while_a_create_is_marked_is_heard(people: Any, sandbox: Any, data_folder: Any, monkeypatch: Any) -> None:
    """The worker has the workspace and wants the batch; who cancels has the batch, and writes an audit line that names the workspace."""
    job = make_job(people.home, people.owner, sandbox, settle=False)
    step(job)
    batch, really, asked = Batch.objects.get(job=job), budget.why_hold, list[Batch]()
    other = Meanwhile(lambda: cancel(Job.objects.get(pk=job.pk), people.owner))

    def why_hold(batch: Batch) -> str:
        asked.append(batch)
        found = really(batch)
        if len(asked) == 2:  # the second time is in the transaction of the mark
            other.begin()
        return found

    monkeypatch.setattr(budget, "why_hold", why_hold)
    advance_batch(str(batch.pk))
    monkeypatch.undo()
    assert other.told() == [True]
    batch.refresh_from_db()
    assert (batch.problem, batch.n_errors) == ("", 0)
    assert (settled(job).state, sandbox.control("calls", verb="batches.create")) == (JobState.CANCELLED, [])


@pytest.mark.parametrize("act", ["approve", "raise_cap"])
def test_a_cancel_while_another_lets_the_job_go_on_is_heard(
    people: Any, sandbox: Any, data_folder: Any, monkeypatch: Any, act: str
) -> None:
    """Who lets it go had the job and wanted its batches; who cancels had the batches and wanted the job."""
    job = make_job(people.home, people.owner, sandbox, settle=False)
    Job.objects.filter(pk=job.pk).update(cap_usd="0.000001")
    step(job)
    advance_batch(str(Batch.objects.get(job=job).pk))
    other, really = Meanwhile(lambda: cancel(Job.objects.get(pk=job.pk), people.owner)), budget._let_go

    def let_go(*given: Any) -> None:
        other.begin()
        really(*given)

    monkeypatch.setattr(budget, "_let_go", let_go)
    if act == "approve":
        budget.approve(Job.objects.get(pk=job.pk), people.owner)
    else:
        budget.raise_cap(Job.objects.get(pk=job.pk), people.owner, budget.Decimal(1))
    monkeypatch.undo()
    assert other.told() == [True]
    assert settled(job).state == JobState.CANCELLED


def test_a_key_that_is_saved_while_batches_are_cut_and_moved_is_kept(people: Any, sandbox: Any, data_folder: Any) -> None:
    """A worker has a batch, and what it writes names the connection; who saves a key has the connection and wants its batches."""
    provider = make_connection(people.home, people.owner, sandbox)
    job = make_job(people.home, people.owner, sandbox, connection=provider, settle=False)
    step(job)

    def save() -> Any:
        given: dict[str, Any] = {"name": "N", "kind": provider.kind, "base_url": provider.base_url, "connection": provider}
        return save_connection(people.home, people.owner, key="sk-another-123456", by_operator=True, **given)[0].name

    Batch.objects.filter(job=job).update(next_look_at=timezone.now() + timedelta(seconds=60))
    with transaction.atomic():
        list(Batch.objects.select_for_update(no_key=True).filter(job=job))
        other = Meanwhile(save)
        other.begin()
        job.rounds.create(number=9, connection=provider, prompt_version=job.prompt_version, state="settled")
    assert other.told() == ["N"]


def test_what_is_learned_of_a_connection_keeps_no_round_from_being_made(people: Any, sandbox: Any, data_folder: Any) -> None:
    provider = make_connection(people.home, people.owner, sandbox)
    job = make_job(people.home, people.owner, sandbox, connection=provider, settle=False)
    make = Meanwhile(lambda: job.rounds.create(number=9, connection=provider, prompt_version=job.prompt_version).number)

    def change(_: dict[str, Any]) -> dict[str, Any]:
        make.begin()
        assert make.told() == [9]
        return {}

    learned.learn(provider, change)


@pytest.mark.parametrize("what", ["moved", "removed"])
@pytest.mark.parametrize("act", ["launch", "retry"])
def test_a_connection_stays_as_it_is_while_a_round_is_made_on_it(
    people: Any, sandbox: Any, data_folder: Any, monkeypatch: Any, act: str, what: str
) -> None:
    """The round is not to be seen yet: whoever asked whether the connection is in use was told that it is not."""
    home, owner = people.home, people.owner
    provider = make_connection(home, owner, sandbox)
    plan = Plan(home, make_dataset(home, owner, 12), make_prompt(home, owner), provider, "gpt-6-luna")
    done = make_job(home, owner, sandbox, model="gpt-6-luna+errors=2,once", connection=provider)

    def change() -> Any:
        now = Connection.objects.get(pk=provider.pk)
        if what == "removed":
            return remove_connection(now, owner)
        given: dict[str, Any] = {"kind": "anthropic", "base_url": sandbox.anthropic_url, "connection": now, "by_operator": True}
        return save_connection(home, owner, name="Moved", key=KEY, **given)

    other, place, name = Meanwhile(change), *((launch, "_first_round") if act == "launch" else (retry, "note"))
    really = getattr(place, name)

    def in_the_middle(*given: Any, **more: Any) -> Any:
        other.begin()
        return really(*given, **more)

    monkeypatch.setattr(place, name, in_the_middle)
    made = launch.launch(plan, owner) if act == "launch" else retry.retry(done, owner, retry.Wanted(), token="t" * 16).job
    monkeypatch.undo()
    assert [(type(each), "are still open" in str(each)) for each in other.told()] == [(BadInput, True)]
    provider.refresh_from_db()
    assert (provider.kind, provider.archived_at) == ("openai", None)
    assert settled(made).n_succeeded == made.n_rows


def test_two_connections_that_are_given_one_name_at_once(people: Any, sandbox: Any, data_folder: Any, monkeypatch: Any) -> None:
    one, two = make_connection(people.home, people.owner, sandbox), make_connection(people.home, people.owner, sandbox, "Two")

    def rename(connection: Connection) -> Any:
        given: dict[str, Any] = {"kind": connection.kind, "base_url": connection.base_url, "connection": connection}
        return save_connection(people.home, people.owner, name="Same", by_operator=True, **given)

    other, really = Meanwhile(lambda: rename(two)), connections.audit_log.write

    def write(*given: Any, **more: Any) -> None:
        monkeypatch.undo()
        other.begin()
        really(*given, **more)

    monkeypatch.setattr(connections.audit_log, "write", write)
    rename(one)
    assert [str(each) for each in other.told()] == ["There is a connection “Same” already. Choose another name."]
    assert sorted(Connection.objects.values_list("name", flat=True)) == ["Same", "Two"]


@pytest.mark.parametrize("act", ["stepping down", "leaving"])
def test_two_admins_who_go_at_once_leave_one(people: Any, monkeypatch: Any, act: str) -> None:
    people_of = {user: Membership.objects.get(workspace=people.home, user=user) for user in (people.owner, make_boss(people))}
    one, two = people_of.values()

    def go(membership: Membership) -> None:
        if act == "leaving":
            members.remove_member(membership, membership.user)
        else:
            members.change_role(membership, membership.user, Role.ANALYST)

    other, really = Meanwhile(lambda: go(two)), members._keep_an_admin

    def keep(*given: Any) -> None:
        monkeypatch.undo()
        really(*given)
        other.begin()

    monkeypatch.setattr(members, "_keep_an_admin", keep)
    go(one)
    assert [str(each) for each in other.told()] == ["boss is the last admin. Make another member an admin first."]
    assert list(Membership.objects.filter(workspace=people.home, role=Role.ADMIN)) == [two]


def test_a_person_who_is_added_twice_at_once_is_a_member_once(people: Any, monkeypatch: Any) -> None:
    other = Meanwhile(lambda: members.add_member(people.home, people.owner, "new", Role.VIEWER))
    really = members.audit_log.write

    def write(*given: Any, **more: Any) -> None:
        monkeypatch.undo()
        other.begin()
        really(*given, **more)

    monkeypatch.setattr(members.audit_log, "write", write)
    members.add_member(people.home, people.owner, "new", Role.ANALYST)
    assert [type(each) for each in other.told()] == [BadInput]
    assert Membership.objects.get(workspace=people.home, user__username="new").role == Role.ANALYST


def test_a_job_is_held_with_the_batches_that_are_cut_while_it_is_waited_for(
    people: Any, sandbox: Any, data_folder: Any, monkeypatch: Any
) -> None:
    """Who came later had locked them, and waited for the job: a cancel and an approval threw each other out."""
    job = make_job(people.home, people.owner, sandbox, settle=False)
    really = still._hold_batches

    def hold_batches(job: Job) -> set[Any]:
        monkeypatch.undo()
        found = really(job)
        planner = Meanwhile(lambda: step(job))
        planner.begin()
        assert planner.told() == [1]
        return found

    monkeypatch.setattr(still, "_hold_batches", hold_batches)
    with transaction.atomic():
        still.hold_still(job)
        free = Batch.objects.select_for_update(skip_locked=True).filter(job=job)
        others = Meanwhile(lambda: transaction.atomic(free.first)())
        others.begin()
        assert others.told() == [None]
    assert Batch.objects.filter(job=job).count() == 1
