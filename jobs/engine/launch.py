"""Launch: freeze spec, prices and estimate on the job and make its first round, once, however often it is asked."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from jobs import formats
from jobs.costs.estimate import Estimate
from jobs.engine import audit_log, budget, history, pilot, places
from jobs.engine.log import note
from jobs.engine.proposals import GONE, Plan, new_token, problems_of
from jobs.engine.pump import nudge
from jobs.engine.spec import sheet_for, spec_for, spec_to_json
from jobs.engine.still import hold_as_read
from jobs.errors import BadInput
from jobs.models import Job, Round
from jobs.rows.choose import Chosen, write_rows
from jobs.words import JobState, Lane, RoundReason

__all__ = ["Plan", "launch", "new_token", "problems_of"]


def launch(plan: Plan, user: User | None, draft: Job | None = None) -> Job:
    """The launched job. Raises BadInput where `problems_of` finds something. A token that was used gives the job that it made."""
    token = draft.launch_token if draft else plan.token or new_token()
    try:
        return _launched(plan, token) or _launch(plan, user, draft, token)
    except BadInput:
        # Another click was first, after this one had looked: what it made is why this one is refused.
        if (launched := _launched(plan, token)) is None:
            raise
        return launched
    except Job.DoesNotExist as error:
        raise BadInput(GONE) from error


def _launched(plan: Plan, token: str) -> Job | None:
    return Job.objects.filter(workspace=plan.workspace, launch_token=token).exclude(state=JobState.DRAFT).first()


def _launch(plan: Plan, user: User | None, draft: Job | None, token: str) -> Job:
    if found := problems_of(plan):
        raise BadInput(found[0])
    tried = _tries_of(draft)
    if draft is not None:  # a try may have ended since the page read the draft: its answers are paid, and not bought again
        draft.refresh_from_db(fields=["n_settled_rounds", "paid_usd"])
    chosen = pilot.rest(draft, plan) if draft else None
    if chosen is not None and draft is not None and draft.dataset_version_id != plan.dataset_version.pk:
        raise BadInput("Rows of another dataset were tried in this draft.", "Start a new job for this dataset.")
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
        "estimate": _with_uncorrected(plan),
        "max_attempts": max(1, plan.max_attempts),
        "cap_usd": plan.cap_usd,
        "approved_by": plan.approved_by,
        "n_rows": plan.dataset_version.n_rows,
        "state": JobState.QUEUED,
        "launched_at": timezone.now(),
        "next_look_at": timezone.now(),
    }
    with transaction.atomic():
        _check_budget(plan, draft, chosen)
        hold_as_read(plan.connection)
        job = (
            draft
            or Job.objects.get_or_create(
                workspace=plan.workspace, launch_token=token, defaults={"name": str(frozen["name"]), "created_by": user}
            )[0]
        )
        if Job.objects.filter(pk=job.pk, state=JobState.DRAFT).update(**frozen) != 1:
            return Job.objects.get(pk=job.pk)  # another click was first
        job.refresh_from_db()
        if _tries_of(draft) != tried:
            raise BadInput("Rows of this draft were tried meanwhile.", "Look at it again, then launch.")
        _first_round(job, user, chosen)
        note(job, "launched", f"Launched: {formats.count(job.n_rows, 'row')} on {job.model}, {Lane(job.lane).label.lower()}")
        audit_log.write(job.workspace, user, "launch", job.name, rows=job.n_rows, model=job.model, estimate=plan.estimate.get("words", ""))
        transaction.on_commit(lambda: nudge("job", job.pk))
    return job


def _tries_of(draft: Job | None) -> list[tuple[int, str]]:
    """Which tries a draft has, and how far each is: a launch sends what they left."""
    return list(draft.rounds.order_by("number").values_list("number", "state")) if draft else []


def _with_uncorrected(plan: Plan) -> dict[str, Any]:
    """The estimate and, where it was counted, its input tokens before any correction: what the finished job is compared with."""
    if not plan.estimate or not Estimate.from_json(plan.estimate).counted:
        return plan.estimate
    whole = plan.estimate["input"]
    correction = history.calibration(plan.connection, plan.model) or Decimal(1)
    return {**plan.estimate, "uncorrected_input": int(Decimal(whole["low"] + whole["high"]) / 2 / correction)}


def _check_budget(plan: Plan, draft: Job | None, chosen: Chosen | None) -> None:
    """Refuse a launch whose upper end crosses a cap; under the lock, so that many launches at once cannot pass it together."""
    workspace = budget.lock(plan.workspace.pk)
    if plan.approved_by is not None or (plan.cap_usd is None and workspace.monthly_cap_usd is None):
        return
    if not plan.estimate:
        raise BadInput("There is a cap, and no estimate to hold against it.", "Go back to the model table.")
    paid = draft.paid_usd if draft else Decimal(0)
    left = len(chosen.rows) if chosen is not None else None
    estimate = Estimate.from_json(plan.estimate)
    if found := budget.crossings(workspace, estimate, Lane(plan.lane), plan.cap_usd, paid, left, plan.connection):
        raise BadInput(
            " ".join(each.words for each in found), "Raise the cap, choose fewer rows or a smaller model, or ask an admin to approve it."
        )


def _first_round(job: Job, user: User | None, chosen: Chosen | None) -> Round | None:
    """The first pass over all rows, or over those that a pilot left; None where it left none."""
    assert job.connection
    assert job.prompt_version
    number = job.n_settled_rounds + 1
    if chosen is not None:
        if not len(chosen.rows):
            return None
        write_rows(chosen.rows, places.new_rows_file(job, number))
        pilot.take_over(job, chosen)
    return Round.objects.create(
        job=job,
        number=number,
        has_rows_file=chosen is not None,
        replaced=chosen.kinds if chosen is not None else {},
        reason=RoundReason.FIRST,
        lane=job.lane,
        connection=job.connection,
        prompt_version=job.prompt_version,
        spec=job.spec,
        sheet=job.sheet,
        n_rows=job.n_rows if chosen is None else len(chosen.rows),
        created_by=user,
    )
