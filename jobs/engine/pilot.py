"""The pilot: a few rows of a draft in real time, now. Its answers count: the launch sends only the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from jobs import formats
from jobs.costs.estimate import Estimate, estimate_from_usage
from jobs.costs.prices import Usage
from jobs.engine import audit_log, direct_files, history, places, tally
from jobs.engine.estimates import timed
from jobs.engine.lease import Lease, LostLease
from jobs.engine.log import note
from jobs.engine.proposals import GONE, Plan, problems_of
from jobs.engine.pump import nudge
from jobs.engine.retry import claim_job, name_rows, rows_draft
from jobs.engine.spec import sheet_for, spec_for, spec_to_json
from jobs.engine.still import hold_as_read
from jobs.engine.view import standing_of
from jobs.errors import BadInput
from jobs.models import Job, Round
from jobs.rows.choose import Chosen, Wanted, choose, write_rows
from jobs.rows.outcomes import TOKENS, standings
from jobs.rows.schema import validator
from jobs.words import CLOSED, BatchState, JobState, Lane, OutcomeKind, RoundReason, RoundState

MOST_ROWS = 200


@dataclass(frozen=True, slots=True)
class Tried:
    """One row of a pilot, as far as it is known: pending until it has an outcome."""

    row: int
    kind: str
    cause: str | None = None
    message: str = ""
    answer: str | None = None
    parsed: dict[str, Any] | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Pilot:
    """A pilot round and its rows."""

    round: Round
    rows: list[Tried] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.round.state == RoundState.SETTLED

    @property
    def paid(self) -> Decimal | None:
        costs = [row.cost for row in self.rows if row.kind != "pending"]
        return None if any(cost is None for cost in costs) else sum((cost for cost in costs if cost is not None), Decimal(0))


def start(draft: Job, user: User | None, plan: Plan, rows: list[int], *, token: str) -> Round:
    """Send the given rows of the draft in real time. The same `token` gives the same round. Raises BadInput."""
    if made := Round.objects.filter(job=draft, token=token).first():
        return made
    if found := problems_of(plan):
        raise BadInput(found[0])
    wanted = sorted({row for row in rows if 0 <= row < plan.dataset_version.n_rows})
    if not wanted:
        raise BadInput("No row is chosen.")
    if len(wanted) > MOST_ROWS:
        raise BadInput(f"A pilot takes at most {MOST_ROWS} rows.", "Launch the job for more.")
    lease = claim_job(draft)
    try:
        draft.refresh_from_db()
        if made := Round.objects.filter(job=draft, token=token).first():
            return made
        if draft.state != JobState.DRAFT:
            raise BadInput("The job is launched already.")
        if draft.rounds.exclude(state=RoundState.SETTLED).exists():
            raise BadInput("A try is running.", "Wait until it is done.")
        if draft.rounds.exists() and draft.dataset_version_id != plan.dataset_version.pk:
            raise BadInput("Rows of another dataset were tried in this draft.", "Start a new job for this dataset.")
        return _add(draft, user, plan, wanted, token, lease)
    except Job.DoesNotExist as error:
        raise BadInput(GONE) from error
    except LostLease as error:
        raise BadInput("The draft was launched or thrown away meanwhile.") from error
    finally:
        lease.release(timezone.now())


def _add(draft: Job, user: User | None, plan: Plan, rows: list[int], token: str, lease: Lease) -> Round:
    spec = spec_for(plan.prompt_version, plan.model, Lane.DIRECT, plan.changes)
    number = draft.rounds.count() + 1
    replaced = choose(standing_of(draft).files, Wanted(rows=rows)).kinds
    rows_file = rows_draft(draft, number, lease)
    write_rows(rows, rows_file)
    with transaction.atomic():
        hold_as_read(plan.connection)
        lease.write(
            {"state": JobState.DRAFT}, dataset_version=plan.dataset_version, n_rows=plan.dataset_version.n_rows, next_look_at=timezone.now()
        )
        name_rows(rows_file, draft, number)
        round_ = Round.objects.create(
            job=draft,
            number=number,
            reason=RoundReason.PILOT,
            lane=Lane.DIRECT,
            connection=plan.connection,
            prompt_version=plan.prompt_version,
            spec=spec_to_json(spec),
            sheet=sheet_for(plan.connection, plan.model).to_json(),
            has_rows_file=True,
            n_rows=len(rows),
            replaced=replaced,
            token=token,
            state=RoundState.PLANNING,
            created_by=user,
        )
        take_over(draft, Chosen(np.array(rows, dtype=np.int64), replaced))
        note(draft, "pilot", f"Pilot: round {number} tries {formats.count(len(rows), 'row')} on {plan.model}")
        audit_log.write(draft.workspace, user, "pilot", draft.name, rows=len(rows), model=plan.model)
        transaction.on_commit(lambda: nudge("job", draft.pk))
    return round_


def take_over(job: Job, chosen: Chosen) -> None:
    """Rows that a round takes again are pending, and what a success of theirs cost was for nothing."""
    tally.take_back(job.pk, chosen.kinds)
    if n := chosen.kinds.get(OutcomeKind.SUCCEEDED, 0):
        tally.waste(job.pk, _paid_successes(job, chosen.rows, n))


def _paid_successes(job: Job, rows: Any, n: int) -> Decimal:
    """What the standing successes among the rows cost; there are few, those of pilots."""
    wanted, total = set(rows.tolist()), Decimal(0)
    for line in _standing_lines(job, ["_row", "kind", "cost", "billed"]):
        if line["_row"] in wanted and line["kind"] == OutcomeKind.SUCCEEDED and line["billed"] == "paid" and line["cost"] is not None:
            total += line["cost"]
    return total


def _standing_lines(job: Job, columns: list[str]) -> list[dict[str, Any]]:
    path = places.standings_file(job, job.n_settled_rounds)
    if path is not None and not path.exists():
        return [line for table in standings(None, standing_of(job).newer) for line in table.select(columns).to_pylist()]
    return pq.read_table(path, columns=columns).to_pylist() if path is not None else []


def pilots_of(draft: Job) -> list[Pilot]:
    """The pilots of a draft or a launched job, oldest first."""
    rounds = draft.rounds.filter(reason=RoundReason.PILOT).select_related("prompt_version__prompt", "connection", "job").order_by("number")
    return [Pilot(round_, _tried(round_)) for round_ in rounds]


def _tried(round_: Round) -> list[Tried]:
    rows_file = places.rows_file(round_)
    assert rows_file is not None
    rows = pq.read_table(rows_file).column("_row").to_pylist()
    found: dict[int, Tried] = {}
    valid = validator(round_.spec["schema"]) if round_.spec.get("schema") else None
    for batch in round_.batches.all():
        seconds = direct_files.seconds_of(places.results_folder(batch))
        if batch.state not in CLOSED:
            continue
        for line in pq.read_table(places.outcomes_file(batch)).to_pylist():
            fits, parsed, _ = valid(line["answer"] or "") if valid else (False, None, "")
            found[line["_row"]] = Tried(
                row=line["_row"],
                kind=line["kind"],
                cause=line["cause"],
                message=line["message"],
                answer=line["answer"],
                parsed=parsed if fits and isinstance(parsed, dict) else None,
                input_tokens=line["input_tokens"],
                output_tokens=line["output_tokens"],
                cost=line["cost"],
                seconds=seconds.get(line["_row"]),
            )
    return [found.get(row, Tried(row, "pending")) for row in rows]


def same_settings(round_: Round, plan: Plan) -> bool:
    """Whether a round asked just what the plan asks, but for the lane, which changes the price and not the answer."""
    spec = spec_to_json(spec_for(plan.prompt_version, plan.model, plan.lane, plan.changes))
    ours, theirs = {**spec, "service_tier": ""}, {**round_.spec, "service_tier": ""}
    return ours == theirs and round_.prompt_version_id == plan.prompt_version.pk and round_.connection_id == plan.connection.pk


def estimate_from(draft: Job, plan: Plan) -> Estimate | None:
    """The estimate for the whole table from the real tokens of the latest pilot with the plan's settings; None without one."""
    for round_ in draft.rounds.filter(reason=RoundReason.PILOT, state=RoundState.SETTLED).order_by("-number"):
        if not same_settings(round_, plan):
            continue
        usages = _usages(round_)
        if len(usages) >= 3:
            sheet = sheet_for(plan.connection, plan.model)
            words = f"the {len(usages)} rows of the pilot"
            most = spec_for(plan.prompt_version, plan.model, plan.lane, plan.changes).max_output_tokens
            known = history.output_history(plan.connection, plan.prompt_version, plan.model, most) if len(usages) < 20 else None
            found = estimate_from_usage(sheet, usages, plan.dataset_version.n_rows, words, most, known)
            return timed(found, sheet, plan.connection, plan.model)
    return None


def _usages(round_: Round) -> list[Usage]:
    found: list[Usage] = []
    names = [name for name in TOKENS if name != "reasoning_tokens"]
    for batch in round_.batches.filter(state=BatchState.SETTLED):
        table = pq.read_table(places.outcomes_file(batch), columns=[*names, "billed"])
        found += [Usage(**{name: line[name] for name in names}) for line in table.to_pylist() if line["billed"] == "paid"]
    return found


def rest(job: Job, plan: Plan) -> Chosen | None:
    """The rows that a launch still has to send: all but those that succeeded in a pilot with the plan's settings. None: all rows."""
    rounds = list(job.rounds.all())
    if not rounds:
        return None
    if any(round_.state != RoundState.SETTLED for round_ in rounds):
        raise BadInput("A try is still running.", "Wait until it is done, then launch.")
    good = {round_.number for round_ in rounds if same_settings(round_, plan)}
    done: set[int] = set()
    kinds: dict[str, int] = {}
    for line in _standing_lines(job, ["_row", "kind", "round"]):
        if line["kind"] == OutcomeKind.SUCCEEDED and line["round"] in good:
            done.add(line["_row"])
        else:
            kinds[line["kind"]] = kinds.get(line["kind"], 0) + 1
    rows = np.setdiff1d(np.arange(job.n_rows, dtype=np.int64), np.array(sorted(done), dtype=np.int64), assume_unique=True)
    return Chosen(rows, kinds)
