"""What a page has read is old by the time that it acts: the ledger moved on in between, and what it says now counts."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from jobs.engine import pilot
from jobs.engine.connections import save_connection
from jobs.engine.drive import step
from jobs.engine.launch import Plan, launch, new_token
from jobs.engine.lease import claim
from jobs.errors import BadInput
from jobs.models import Batch, Connection, Job
from jobs.words import JobState, RoundState
from tests.jobs import make_connection, make_dataset, make_prompt, settled
from tests.money.tools import executed_rows

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def plan(people: Any, sandbox: Any, data_folder: Any) -> Plan:
    home, owner = people.home, people.owner
    return Plan(home, make_dataset(home, owner, 12), make_prompt(home, owner), make_connection(home, owner, sandbox), "gpt-6-luna")


def run(draft: Job) -> None:
    """Until its tries are done."""
    while draft.rounds.exclude(state=RoundState.SETTLED).exists():
        Batch.objects.filter(job=draft).update(next_look_at=timezone.now())
        Job.objects.filter(pk=draft.pk).update(next_look_at=timezone.now())
        step(draft)


def test_a_try_that_ends_while_the_launch_page_is_at_work_is_not_paid_again(plan: Plan, people: Any, sandbox: Any) -> None:
    draft = Job.objects.create(workspace=plan.workspace, name="Draft", launch_token=new_token(), created_by=people.owner)
    pilot.start(draft, people.owner, plan, [0, 1, 2], token=new_token())
    as_read = Job.objects.get(pk=draft.pk)  # by the page, which then estimates what the rest costs
    run(draft)
    job = settled(launch(plan, people.owner, as_read))
    assert (job.state, job.n_succeeded, job.counts["pending"]) == (JobState.COMPLETED, 12, 0)
    assert executed_rows(sandbox) == dict.fromkeys(executed_rows(sandbox), 1)
    assert sum(executed_rows(sandbox).values()) == 12


def test_a_connection_that_is_saved_keeps_the_turn_of_a_create_that_began_meanwhile(people: Any, sandbox: Any, data_folder: Any) -> None:
    """Where creates go one at a time their turn is the connection's lease."""
    made = make_connection(people.home, people.owner, sandbox)
    as_read = Connection.objects.get(pk=made.pk)  # by the page
    turn = claim(Connection, made.pk)
    assert turn is not None
    Connection.objects.filter(pk=made.pk).update(problem="the key was not accepted")
    save_connection(people.home, people.owner, name="Other", kind="openai", base_url=made.base_url, connection=as_read, by_operator=True)
    made.refresh_from_db()
    assert (made.name, made.problem) == ("Other", "the key was not accepted")
    assert claim(Connection, made.pk) is None
    turn.write()


def test_a_try_of_a_draft_that_is_launched_meanwhile_is_refused_in_words(plan: Plan, people: Any, monkeypatch: Any) -> None:
    draft = Job.objects.create(workspace=plan.workspace, name="Draft", launch_token=new_token(), created_by=people.owner)
    really = pilot.standing_of

    def launched_meanwhile(job: Job) -> Any:
        launch(plan, people.owner, Job.objects.get(pk=draft.pk))
        return really(job)

    monkeypatch.setattr(pilot, "standing_of", launched_meanwhile)
    with pytest.raises(BadInput, match="meanwhile"):
        pilot.start(draft, people.owner, plan, [0, 1, 2], token=new_token())
