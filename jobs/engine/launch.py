"""Launch: freeze spec, prices and estimate on the job and make its first round, once, however often it is asked."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.utils import timezone

from jobs.engine import audit_log
from jobs.engine.log import note
from jobs.engine.pump import nudge
from jobs.engine.spec import check_spec, sheet_for, spec_for, spec_to_json
from jobs.errors import BadInput
from jobs.models import Connection, DatasetVersion, Job, PromptVersion, Round, Workspace
from jobs.providers.registry import abilities_of
from jobs.rows.template import check
from jobs.words import JobState, Lane, RoundReason


@dataclass(slots=True)
class Plan:
    """All that a launch needs. `token` makes a second launch of the same plan give the first one's job."""

    workspace: Workspace
    dataset_version: DatasetVersion
    prompt_version: PromptVersion
    connection: Connection
    model: str
    name: str = ""
    lane: Lane = Lane.BATCH
    changes: dict[str, Any] = field(default_factory=dict)  # parameters other than the prompt version's
    max_attempts: int = 3
    cap_usd: Decimal | None = None
    estimate: dict[str, Any] = field(default_factory=dict)
    token: str = ""


def new_token() -> str:
    return secrets.token_hex(16)


def problems_of(plan: Plan) -> list[str]:
    """Why the plan cannot be launched, in words; empty when it can."""
    found: list[str] = []
    if plan.dataset_version.state != DatasetVersion.READY or not plan.dataset_version.n_rows:
        found.append("The dataset has no rows that can be used.")
    if plan.connection.archived_at:
        found.append("The connection was removed.")
    if plan.lane == Lane.BATCH and not abilities_of(plan.connection.kind).batch:
        found.append("This connection has no batch API; choose real time.")
    found += [problem.message for problem in check(plan.prompt_version.system, plan.prompt_version.user, plan.dataset_version.columns)]
    try:
        check_spec(plan.connection, spec_for(plan.prompt_version, plan.model, plan.lane, plan.changes))
    except BadInput as error:
        found.append(str(error))
    return found


def launch(plan: Plan, user: AbstractBaseUser | None, draft: Job | None = None) -> Job:
    """The launched job. Raises BadInput where `problems_of` finds something. A token that was used gives the job that it made."""
    token = draft.launch_token if draft else plan.token or new_token()
    launched = Job.objects.filter(workspace=plan.workspace, launch_token=token).exclude(state=JobState.DRAFT).first()
    if launched is not None:
        return launched
    if found := problems_of(plan):
        raise BadInput(found[0])
    spec = spec_for(plan.prompt_version, plan.model, plan.lane, plan.changes)
    frozen = {
        "name": plan.name or f"{plan.prompt_version.prompt.name} × {plan.dataset_version.dataset.name}",
        "dataset_version": plan.dataset_version,
        "prompt_version": plan.prompt_version,
        "connection": plan.connection,
        "model": plan.model,
        "lane": plan.lane,
        "spec": spec_to_json(spec),
        "sheet": sheet_for(plan.connection, plan.model).to_json(),
        "estimate": plan.estimate,
        "max_attempts": max(1, plan.max_attempts),
        "cap_usd": plan.cap_usd,
        "n_rows": plan.dataset_version.n_rows,
        "state": JobState.QUEUED,
        "launched_at": timezone.now(),
        "next_look_at": timezone.now(),
    }
    with transaction.atomic():
        job = draft or Job.objects.get_or_create(
            workspace=plan.workspace, launch_token=token, defaults={"name": str(frozen["name"]), "created_by": user}
        )[0]
        if Job.objects.filter(pk=job.pk, state=JobState.DRAFT).update(**frozen) != 1:
            return Job.objects.get(pk=job.pk)  # another click was first
        job.refresh_from_db()
        _first_round(job, user)
        note(job, "launched", f"Launched: {job.n_rows:,} rows on {job.model}, {Lane(job.lane).label.lower()}")
        audit_log.write(job.workspace, user, "launch", job.name, rows=job.n_rows, model=job.model, estimate=plan.estimate.get("words", ""))
        transaction.on_commit(lambda: nudge("job", job.pk))
    return job


def _first_round(job: Job, user: AbstractBaseUser | None) -> Round:
    assert job.connection and job.prompt_version
    return Round.objects.create(
        job=job,
        number=1,
        reason=RoundReason.FIRST,
        lane=job.lane,
        connection=job.connection,
        prompt_version=job.prompt_version,
        spec=job.spec,
        sheet=job.sheet,
        n_rows=job.n_rows,
        created_by=user,
    )
