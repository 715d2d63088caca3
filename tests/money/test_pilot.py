"""The pilot's rows count: a launch sends the rest, and nothing is paid twice."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from jobs.engine import pilot
from jobs.engine.launch import Plan, launch, new_token
from jobs.engine.receipts import receipt_of
from jobs.errors import BadInput
from jobs.models import Job, PromptVersion
from jobs.words import JobState, RoundState
from tests.jobs import make_connection, make_dataset, make_prompt, settled
from tests.money.tools import executed_rows, try_rows

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def plan(people: Any, sandbox: Any) -> Plan:
    home, owner = people.home, people.owner
    return Plan(home, make_dataset(home, owner, 30), make_prompt(home, owner), make_connection(home, owner, sandbox), "gpt-6-luna")


@pytest.fixture
def draft(plan: Plan, people: Any) -> Job:
    return Job.objects.create(workspace=plan.workspace, name="Draft", launch_token=new_token(), created_by=people.owner)


def test_launch_after_pilot_pays_each_row_once(plan: Plan, draft: Job, people: Any, sandbox: Any) -> None:
    try_rows(draft, plan, [0, 5, 7, 29])
    assert (draft.state, draft.n_succeeded, draft.counts["pending"]) == (JobState.DRAFT, 4, 26)
    job = settled(launch(plan, people.owner, draft))
    assert (job.state, job.n_succeeded) == (JobState.COMPLETED, 30)
    assert [round_.n_rows for round_ in job.rounds.all()] == [4, 26]
    assert sum(executed_rows(sandbox).values()) == 30
    found = receipt_of(job)
    assert found.paid.amount == job.paid_usd
    assert (found.wasted.amount, job.wasted_usd) == (Decimal(0), Decimal(0))


def test_pilot_with_another_prompt_is_sent_again_and_counts_as_wasted(plan: Plan, draft: Job, people: Any) -> None:
    try_rows(draft, plan, [0, 1, 2])
    spent = draft.paid_usd
    other = PromptVersion.objects.create(
        prompt=plan.prompt_version.prompt, number=2, user="Say: {{ text }}", params={"max_output_tokens": 50}
    )
    plan.prompt_version = other
    job = settled(launch(plan, people.owner, draft))
    assert job.n_succeeded == 30
    assert [round_.n_rows for round_ in job.rounds.all()] == [3, 30]
    assert job.wasted_usd == spent > 0
    assert receipt_of(job).wasted.amount == spent


def test_second_try_of_the_same_rows_replaces_the_first(plan: Plan, draft: Job) -> None:
    try_rows(draft, plan, [0, 1])
    first = draft.paid_usd
    try_rows(draft, plan, [1, 2])
    assert draft.counts["succeeded"] == 3
    assert [sorted(row.row for row in each.rows) for each in pilot.pilots_of(draft)] == [[0, 1], [1, 2]]
    assert 0 < draft.wasted_usd < first


def test_estimate_from_the_pilot_is_what_its_rows_cost(plan: Plan, draft: Job) -> None:
    try_rows(draft, plan, [0, 1, 2, 3, 4, 5])
    found = pilot.estimate_from(draft, plan)
    assert found is not None
    assert found.sampled == 6
    lane = found.lanes["direct"]
    assert lane.low is not None
    assert lane.high is not None
    assert lane.low <= draft.paid_usd / 6 * 30 <= lane.high
    assert "pilot" in found.basis[0]


def test_pilot_shows_answers_fields_cost_and_seconds(plan: Plan, draft: Job) -> None:
    try_rows(draft, plan, [0])
    (row,) = pilot.pilots_of(draft)[0].rows
    assert (row.kind, row.row) == ("succeeded", 0)
    assert row.parsed is not None
    assert row.parsed["intent"] == "billing"
    assert row.cost is not None
    assert row.cost > 0
    assert row.seconds is not None
    assert row.seconds >= 0


def test_same_token_starts_one_round(plan: Plan, draft: Job, people: Any) -> None:
    first = pilot.start(draft, people.owner, plan, [0], token="once")
    assert pilot.start(draft, people.owner, plan, [0], token="once") == first
    assert draft.rounds.count() == 1


def test_pilot_refuses_too_many_rows_and_a_second_try_at_once(plan: Plan, draft: Job, people: Any) -> None:
    with pytest.raises(BadInput, match="at most 200"):
        pilot.start(
            draft,
            people.owner,
            Plan(**{**plan_fields(plan), "dataset_version": make_dataset(plan.workspace, people.owner, 300, "Big")}),
            list(range(201)),
            token="a",
        )
    pilot.start(draft, people.owner, plan, [0], token="b")
    with pytest.raises(BadInput, match="running"):
        pilot.start(draft, people.owner, plan, [1], token="c")


def test_launch_waits_for_a_running_try(plan: Plan, draft: Job, people: Any) -> None:
    pilot.start(draft, people.owner, plan, [0], token="b")
    with pytest.raises(BadInput, match="still running"):
        launch(plan, people.owner, draft)
    assert Job.objects.get(pk=draft.pk).state == JobState.DRAFT


def test_all_rows_tried_leaves_nothing_to_send(plan: Plan, draft: Job, people: Any, sandbox: Any) -> None:
    try_rows(draft, plan, list(range(30)))
    job = settled(launch(plan, people.owner, draft))
    assert (job.state, job.n_succeeded, job.rounds.count()) == (JobState.COMPLETED, 30, 1)
    assert Counter(executed_rows(sandbox).values()) == {1: 30}
    assert job.rounds.get().state == RoundState.SETTLED


def plan_fields(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in Plan.__dataclass_fields__}


def test_a_launch_that_another_overtakes_gives_the_job_that_was_made(plan: Plan, draft: Job, people: Any, monkeypatch: Any) -> None:
    """The other click commits between this one's first look and its look at the tries: its round is no try that runs."""
    rest = pilot.rest
    launched: list[Job] = []
    begun: list[bool] = []

    def overtaken(job: Job, plan: Plan) -> Any:
        if not begun:
            begun.append(True)
            launched.append(launch(plan, people.owner, draft=Job.objects.get(pk=job.pk)))
        return rest(job, plan)

    monkeypatch.setattr(pilot, "rest", overtaken)
    assert launch(plan, people.owner, draft=draft) == launched[0]
    assert draft.rounds.count() == 1
