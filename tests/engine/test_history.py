"""What finished jobs teach the next estimate: only what they measured, and the sandbox nothing about real models."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.costs.estimate import Estimate
from jobs.engine import history, pilot
from jobs.engine.estimates import estimate_for, output_basis, sample_of, token_model
from jobs.engine.launch import Plan, launch, new_token
from jobs.models import Connection, Job
from tests.jobs import make_connection, make_dataset, make_prompt, settled
from tests.money.tools import try_rows

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def plan(people: Any, sandbox: Any) -> Plan:
    home, owner = people.home, people.owner
    connection = make_connection(home, owner, sandbox)
    return Plan(home, make_dataset(home, owner, 30), make_prompt(home, owner), connection, "gpt-6-luna", token=new_token())


def counted(plan: Plan) -> dict[str, Any]:
    return estimate_for(sample_of(plan.dataset_version, plan.prompt_version), plan.prompt_version, plan.connection, plan.model, 200)[
        0
    ].to_json()


def test_the_sandbox_teaches_nothing_about_real_models(plan: Plan, people: Any) -> None:
    """Its answers and counts are made up: beside it, a real connection of the same model is estimated as if it had never run."""
    plan.estimate = counted(plan)
    settled(launch(plan, people.owner))
    real = Connection.objects.create(workspace=people.home, name="Real", kind="openai")
    assert token_model(plan.connection, plan.model).calibration is not None
    assert token_model(real, plan.model).calibration is None
    assert output_basis(plan.prompt_version, 200, plan.connection, plan.model).source == "observed"
    assert output_basis(plan.prompt_version, 200, real, plan.model).source == "limit"


def test_an_estimate_from_a_pilot_teaches_nothing_of_counting(plan: Plan, people: Any) -> None:
    """Its tokens are those that the provider counted: that they agree with the provider's says nothing of our own count."""
    draft = Job.objects.create(workspace=plan.workspace, name="Draft", launch_token=new_token(), created_by=people.owner)
    try_rows(draft, plan, [0, 1, 2, 3, 4])
    found = pilot.estimate_from(draft, plan)
    assert found is not None
    plan.estimate = found.to_json()
    job = settled(launch(plan, people.owner, draft))
    assert (job.n_succeeded, found.counted, Estimate.from_json(counted(plan)).counted) == (30, False, True)
    assert history.calibration(plan.connection, plan.model) is None
