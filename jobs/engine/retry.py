"""Retry: a new round over rows that did not succeed and are in no open batch, with the same settings or changed ones."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from jobs import formats
from jobs.engine import audit_log, crash, places, tally
from jobs.engine.lease import Lease, LostLease, claim
from jobs.engine.log import note
from jobs.engine.proposals import GONE
from jobs.engine.pump import nudge
from jobs.engine.spec import check_spec, sheet_for, spec_for, spec_to_json
from jobs.engine.still import hold_as_read
from jobs.engine.view import standing_of
from jobs.errors import BadInput
from jobs.models import Connection, Job, PromptVersion, Round
from jobs.providers.registry import abilities_of
from jobs.rows.choose import Chosen, Wanted, choose, write_rows
from jobs.rows.files import fsync_folder
from jobs.rows.template import check
from jobs.words import JobState, Lane, OutcomeKind, RoundReason, RoundState

UNSUCCESSFUL = tuple(kind.value for kind in OutcomeKind if kind is not OutcomeKind.SUCCEEDED)
CLAIM_SECONDS = 8.0


@dataclass(slots=True)
class Changes:
    """What a retry does differently; what is None stays as it was."""

    model: str | None = None
    connection: Connection | None = None
    prompt_version: PromptVersion | None = None
    lane: Lane | None = None
    params: dict[str, Any] = field(default_factory=dict)  # parameters other than the prompt version's, max_output_tokens among them

    @property
    def words(self) -> dict[str, str]:
        told = {
            "model": self.model,
            "connection": self.connection and self.connection.name,
            "prompt": self.prompt_version and str(self.prompt_version),
        }
        told["lane"] = self.lane and self.lane.label
        return {**{name: str(value) for name, value in told.items() if value}, **{name: str(value) for name, value in self.params.items()}}


def retry(
    job: Job,
    user: User | None,
    wanted: Wanted,
    changes: Changes | None = None,
    *,
    token: str,
    reason: RoundReason = RoundReason.RETRY,
) -> Round:
    """A person's round over the wanted rows. The same `token` gives the same round: a double click pays once. Raises BadInput."""
    if made := Round.objects.filter(job=job, token=token).first():
        return made
    kinds = [kind for kind in (wanted.kinds or UNSUCCESSFUL) if kind != OutcomeKind.SUCCEEDED]
    wanted = Wanted(kinds or UNSUCCESSFUL, wanted.causes, wanted.rows, wanted.max_attempts)
    lease = claim_job(job)
    try:
        job.refresh_from_db()
        if made := Round.objects.filter(job=job, token=token).first():
            return made
        if job.launched_at is None:
            raise BadInput("This job was never launched, so there is nothing to retry.")
        if job.state == JobState.CANCELLING:
            raise BadInput("The job is being cancelled.", "Wait until it has ended, then retry.")
        if job.wish:
            raise BadInput("What is left of the job is about to be finished in real time.", "Wait until that has begun, then retry.")
        standing = standing_of(job)
        chosen = choose(standing.files, wanted, [path for _, path in standing.busy])
        if not len(chosen.rows):
            raise BadInput("There is nothing to retry: no row with such a failure is left, or they are being retried already.")
        settings = settings_of(job, changes or Changes())
        round_ = add_round(job, lease, chosen, reason=reason, user=user, token=token, **settings)
        audit_log.write(job.workspace, user, "retry", job.name, rows=len(chosen.rows), changes=(changes or Changes()).words)
        return round_
    except LostLease as error:
        raise BadInput("The job has changed meanwhile.", "Look at it again, then retry.") from error
    finally:
        lease.release(timezone.now())


def claim_job(job: Job) -> Lease:
    """The job's lease: planning happens under it. A worker holds it for moments, or for the time that a planning step takes."""
    ends = time.monotonic() + CLAIM_SECONDS
    while True:
        if lease := claim(Job, job.pk):
            return lease
        if not Job.objects.filter(pk=job.pk).exists():
            raise BadInput(GONE)
        if time.monotonic() > ends:
            raise BadInput("The job is busy preparing rows.", "Try again in a moment.")
        time.sleep(0.1)


def settings_of(job: Job, changes: Changes) -> dict[str, Any]:
    """Connection, prompt version, spec and sheet of the new round; those of the job where nothing is changed."""
    assert job.connection
    assert job.prompt_version
    assert job.dataset_version
    connection = changes.connection or job.connection
    version = changes.prompt_version or job.prompt_version
    model, lane = changes.model or job.model, changes.lane or Lane(job.lane)
    if connection.workspace_id != job.workspace_id or version.prompt.workspace_id != job.workspace_id:
        raise BadInput("That connection or prompt belongs to another workspace.")
    if connection.archived_at is not None:
        raise BadInput(f"The connection “{connection.name}” was removed.", "Choose another one.")
    if changes.connection is None and changes.model is None and job.sheet.get("provider", connection.kind) != connection.kind:
        raise BadInput(
            f"The connection “{connection.name}” speaks another API now than when this job was launched.", "Choose another model."
        )
    if lane == Lane.BATCH and not abilities_of(connection.kind).batch:
        raise BadInput("This connection has no batch API; choose real time.")
    names = {"connection": connection, "prompt_version": version, "lane": lane, "changes": changes.words}
    if not changes.words:
        return {**names, "spec": job.spec, "sheet": job.sheet}
    params = {**_own_params(job), **changes.params} if changes.prompt_version is None else changes.params
    spec = spec_for(version, model, lane, params)
    check_spec(connection, spec)
    if problems := check(version.system, version.user, job.dataset_version.columns):
        raise BadInput(problems[0].message)
    return {**names, "spec": spec_to_json(spec), "sheet": sheet_for(connection, model).to_json()}


def _own_params(job: Job) -> dict[str, Any]:
    """The parameters that the job was launched with."""
    kept = {"max_output_tokens": job.spec.get("max_output_tokens"), "cache_prefix": job.spec.get("cache_prefix")}
    return {**job.spec.get("params", {}), **{name: value for name, value in kept.items() if value}}


def rows_draft(job: Job, number: int, lease: Lease) -> Path:
    """Where the rows are written until the ledger knows the round: each holder of the lease has a name of its own, so that one who
    slept through it cannot change the rows of a round that another made. What dead holders left goes."""
    target = places.new_rows_file(job, number)
    for left in target.parent.glob("rows-*"):
        left.unlink(missing_ok=True)
    return target.with_name(f"rows-{lease.token}.parquet")


def name_rows(draft: Path, job: Job, number: int) -> None:
    """Give the rows of a new round their name; while the job's row is locked, so that nobody else can be here."""
    os.replace(draft, places.new_rows_file(job, number))
    fsync_folder(draft.parent)


def add_round(
    job: Job,
    lease: Lease,
    chosen: Chosen,
    *,
    reason: RoundReason,
    lane: str,
    connection: Connection,
    prompt_version: PromptVersion,
    spec: dict[str, Any],
    sheet: dict[str, Any],
    changes: dict[str, str] | None = None,
    user: User | None = None,
    token: str = "",
) -> Round:
    """A new round over the chosen rows, which are pending from now on. Under the job's lease."""
    number = (job.rounds.order_by("-number").values_list("number", flat=True).first() or 0) + 1
    draft = rows_draft(job, number, lease)
    write_rows(np.asarray(chosen.rows), draft)
    crash.point("before round")
    with transaction.atomic():
        hold_as_read(connection)
        # A cancel that came since the job was read wins; a person's retry takes an older one back.
        lease.write(
            {"cancel_requested_at": job.cancel_requested_at},
            state=JobState.RUNNING,
            finished_at=None,
            cancel_requested_at=None,
            needs="",
            next_look_at=timezone.now(),
        )
        name_rows(draft, job, number)
        round_ = Round.objects.create(
            job=job,
            number=number,
            reason=reason,
            lane=lane,
            connection=connection,
            prompt_version=prompt_version,
            spec=spec,
            sheet=sheet,
            changes=changes or {},
            has_rows_file=True,
            n_rows=len(chosen.rows),
            replaced=chosen.kinds,
            token=token,
            state=RoundState.PLANNING,
            created_by=user,
        )
        tally.take_back(job.pk, chosen.kinds)
        told = "".join(f", {name} {value}" for name, value in (changes or {}).items())
        note(job, "round", f"{reason.label}: round {number} with {formats.count(len(chosen.rows), 'row')}{told}")
        transaction.on_commit(lambda: nudge("job", job.pk))
    return round_
