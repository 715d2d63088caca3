"""A draft is thrown away, or given other data, in the very moment in which rows of it are tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.engine import drafts, pilot
from jobs.engine.launch import Plan, new_token
from jobs.errors import BadInput
from jobs.models import Batch, Job
from jobs.words import JobState, RoundState
from tests.concurrency.meanwhile import Meanwhile
from tests.engine.test_stale import run
from tests.jobs import make_connection, make_dataset, make_prompt, settled

pytestmark = [pytest.mark.postgres, pytest.mark.serial, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def plan(people: Any, sandbox: Any, data_folder: Any) -> Plan:
    home, owner = people.home, people.owner
    return Plan(home, make_dataset(home, owner, 12), make_prompt(home, owner), make_connection(home, owner, sandbox), "gpt-6-luna")


@pytest.fixture
def draft(plan: Plan, people: Any) -> Job:
    return drafts.start(people.home, people.owner, plan.dataset_version, plan.prompt_version)


def while_a_try_begins(monkeypatch: Any, draft: Job, plan: Plan, act: Callable[[], Any]) -> list[Any]:
    """What `act` gives or raises, begun while the transaction of a new try is open, which commits once `act` waits for it."""
    other, really = Meanwhile(act), pilot.take_over

    def in_the_middle(*given: Any) -> None:
        really(*given)
        other.begin()

    monkeypatch.setattr(pilot, "take_over", in_the_middle)
    pilot.start(draft, draft.created_by, plan, [3, 4], token=new_token())
    monkeypatch.undo()
    return other.told()


def test_a_draft_thrown_away_while_its_second_try_begins_comes_to_its_end(plan: Plan, draft: Job, monkeypatch: Any) -> None:
    pilot.start(draft, draft.created_by, plan, [0, 1, 2], token=new_token())
    run(draft)
    while_a_try_begins(monkeypatch, draft, plan, lambda: drafts.discard(Job.objects.get(pk=draft.pk)))
    draft.refresh_from_db()
    assert draft.state == JobState.CANCELLING
    draft = settled(draft)
    assert (draft.state, draft.n_succeeded, draft.n_cancelled) == (JobState.CANCELLED, 3, 2)
    assert [each.state for each in draft.rounds.all()] == [RoundState.SETTLED] * 2


def test_a_draft_thrown_away_while_its_first_try_begins_is_put_away_with_it(plan: Plan, draft: Job, monkeypatch: Any) -> None:
    while_a_try_begins(monkeypatch, draft, plan, lambda: drafts.discard(Job.objects.get(pk=draft.pk)))
    draft = settled(draft)
    assert (draft.state, draft.n_cancelled, Batch.objects.filter(job=draft).count()) == (JobState.CANCELLED, 2, 1)


def test_other_data_chosen_while_rows_are_tried_is_refused(plan: Plan, draft: Job, people: Any, monkeypatch: Any) -> None:
    other = make_dataset(people.home, people.owner, 24, name="Other", content=b"ticket,text,note\n1,a,b\n2,c,d\n3,e,f\n")
    told = while_a_try_begins(monkeypatch, draft, plan, lambda: drafts.choose_data(Job.objects.get(pk=draft.pk), other))
    assert [type(each) for each in told] == [BadInput]
    draft.refresh_from_db()
    assert (draft.dataset_version, draft.n_rows) == (plan.dataset_version, 12)
