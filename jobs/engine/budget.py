"""Budgets: a cap per job, and one per workspace and month. Checked where money is about to be spent, under the workspace's lock.

A batch that a cap holds back waits until the cap is raised, an admin approves the job, or what is under way costs less than it might.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from functools import partial
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, Sum
from django.utils import timezone

from jobs import formats
from jobs.costs.estimate import Estimate
from jobs.engine import audit_log
from jobs.engine.lease import Lease
from jobs.engine.log import note
from jobs.engine.pump import nudge
from jobs.engine.still import hold_still
from jobs.errors import BadInput
from jobs.models import Batch, Connection, Job, Membership, Workspace
from jobs.queries.sandbox import counted_batches, counted_jobs, counts
from jobs.words import BatchState, JobState, Lane, Role, RoundReason

IN_FLIGHT = [BatchState.SUBMITTING, BatchState.UNKNOWN, BatchState.SUBMITTED, BatchState.ENDED, BatchState.FETCHED]
HELD = "held: "  # how the wait of a batch begins that a cap holds back
NEEDS = "A cap holds batches back"  # how the needs of its job begin


@dataclass(frozen=True, slots=True)
class Crossing:
    """A cap that would be crossed: which, and by what."""

    words: str


def month_start(now: datetime | None = None) -> datetime:
    """The first midnight of the month, by the time zone that the pages count their months in."""
    return timezone.localtime(now).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def spent_this_month(workspace: Workspace) -> Decimal:
    """What batches that settled this month cost, as far as it is real money."""
    closed = Batch.objects.filter(counted_batches(), job__workspace=workspace, settled_at__gte=month_start())
    return closed.aggregate(total=Sum("paid_usd"))["total"] or Decimal(0)


def uncertain(workspace: Workspace, job: Job | None = None) -> Decimal:
    """The most that rows cost of which nobody knows whether they were charged: of a job, else of what settled this month. Caps count it as
    paid, the safe side. Where the rows of a batch have no bound it is all that the batch could cost, as far as that is known."""
    closed = Batch.objects.filter(job__workspace=workspace, usage__has_key="unknown_rows")
    if job is None:
        closed = closed.filter(counted_batches(), settled_at__gte=month_start())
    else:
        closed = closed.filter(job=job)
    told = ((usage.get("unknown_usd"), reserve) for usage, reserve in closed.values_list("usage", "reserve_usd"))
    return sum((Decimal(most) if most is not None else reserve or Decimal(0) for most, reserve in told), Decimal(0))


def _flying() -> Q:
    """Batches that may cost something yet: at the provider, or begun on the lanes of ordinary calls, where a batch stays `ready`
    from its first call to its last."""
    return Q(state__in=IN_FLIGHT) | (Q(state=BatchState.READY, n_submits__gt=0) & ~Q(round__lane=Lane.BATCH))


def in_flight(workspace: Workspace, job: Job | None = None, without: Batch | None = None) -> Decimal:
    """The most that batches under way can still cost. To be asked before what is paid: a batch that settles in between then counts twice,
    and not never."""
    flying = Batch.objects.filter(_flying(), job__workspace=workspace)
    flying = flying.filter(counted_batches()) if job is None else flying.filter(job=job)
    if without is not None:
        flying = flying.exclude(pk=without.pk)
    return flying.aggregate(total=Sum("reserve_usd"))["total"] or Decimal(0)


def lock(workspace_id: UUID) -> Workspace:
    """Serialise decisions about a workspace's money; inside a transaction."""
    return Workspace.objects.select_for_update(no_key=True).get(pk=workspace_id)


def begin(batch: Batch, lease: Lease) -> str:
    """Why a batch of ordinary calls may not begin or go on, "" where it may; then it counts as under way until it settles. The cap is
    checked and the mark is made under one lock, so that batches cannot pass it together."""
    with transaction.atomic():
        if reason := why_hold(batch):
            return reason
        lease.write(n_submits=batch.n_submits + 1)
        Job.objects.filter(pk=batch.job_id, needs__contains=HELD).update(needs="")
    return ""


def why_hold(batch: Batch) -> str:
    """Why the batch may not be sent now, "" where it may. Inside the transaction that marks it as being sent."""
    workspace = lock(Workspace.objects.values_list("pk", flat=True).get(jobs=batch.job_id))
    job = Job.objects.get(pk=batch.job_id)  # after the lock: what others were let do counts
    if reason := _may_not_spend(batch, job):
        return reason
    if job.approved_by_id is not None:
        return ""
    return _over_job_cap(batch, job, workspace) or _over_monthly_cap(batch, workspace)


def _over_job_cap(batch: Batch, job: Job, workspace: Workspace) -> str:
    if job.cap_usd is None:
        return ""
    if batch.reserve_usd is None:
        return f"{HELD}its price has no known bound, so the job's cap of {formats.usd(job.cap_usd)} could not be kept"
    flying = in_flight(workspace, job, batch)
    job.refresh_from_db(fields=["paid_usd"])
    unsure = uncertain(workspace, job)
    if job.paid_usd + unsure + flying + batch.reserve_usd > job.cap_usd:
        return _held(f"the job's cap of {formats.usd(job.cap_usd)}", job.paid_usd, unsure, flying, batch.reserve_usd)
    return ""


def _over_monthly_cap(batch: Batch, workspace: Workspace) -> str:
    cap = workspace.monthly_cap_usd
    if cap is None or not counts(batch.connection):
        return ""
    words = f"the workspace's cap of {formats.usd(cap)} for this month"
    if batch.reserve_usd is None:  # but for a try: its few rows are how a bound is learned
        return "" if batch.round.reason == RoundReason.PILOT else f"{HELD}its price has no known bound, so {words} could not be kept"
    flying = in_flight(workspace, None, batch)
    spent, unsure = spent_this_month(workspace), uncertain(workspace)
    return _held(words, spent, unsure, flying, batch.reserve_usd) if spent + unsure + flying + batch.reserve_usd > cap else ""


def _may_not_spend(batch: Batch, job: Job) -> str:
    """Whoever asked for the round must still be allowed to launch: a role that is taken away stops what is not sent yet."""
    asked_by = batch.round.created_by_id or job.created_by_id
    if asked_by is None:  # from the command line
        return ""
    role = Membership.objects.filter(workspace_id=job.workspace_id, user_id=asked_by).values_list("role", flat=True).first()
    if role is not None and Role(role).may(Role.ANALYST):
        return ""
    return "held: the person who asked for it may no longer launch jobs in this workspace; an admin can cancel the job or restore the role"


def _perhaps(unsure: Decimal) -> str:
    """What may have been charged, in a list of amounts."""
    return f"up to {formats.usd(unsure)} perhaps charged, " if unsure else ""


def _held(cap: str, paid: Decimal, unsure: Decimal, flying: Decimal, most: Decimal) -> str:
    amounts = f"{formats.usd(paid)} paid, {_perhaps(unsure)}up to {formats.usd(flying)} under way, this batch up to {formats.usd(most)}"
    return f"{HELD}{cap} would be crossed ({amounts})"


def crossings(
    workspace: Workspace,
    estimate: Estimate,
    lane: Lane,
    cap: Decimal | None,
    paid: Decimal = Decimal(0),
    left: int | None = None,
    connection: Connection | None = None,
) -> list[Crossing]:
    """The caps that a launch with this estimate would cross at its upper end. The estimate is for the whole table; `left` are the rows
    that are still to be sent, and `paid` is what those cost that a pilot has done. The month's cap is not for a `connection` that is a
    sandbox beside real ones."""
    found: list[Crossing] = []
    high = estimate.lanes[lane.value].high
    if high is not None and left is not None and estimate.n_rows:
        high = high * left / estimate.n_rows
    if cap is not None and high is None:
        found.append(Crossing(f"What this job costs has no known upper end, so its cap of {formats.usd(cap)} cannot be kept."))
    if cap is not None and high is not None and paid + high > cap:
        found.append(Crossing(f"It may cost up to {formats.usd(paid + high)}, above its cap of {formats.usd(cap)}."))
    monthly = workspace.monthly_cap_usd
    if monthly is not None and (connection is None or counts(connection)):
        flying = committed(workspace)
        spent, unsure = spent_this_month(workspace), uncertain(workspace)
        if high is None:
            found.append(
                Crossing(f"What this job costs has no known upper end, and the workspace has a cap of {formats.usd(monthly)} a month.")
            )
        elif spent + unsure + flying + high > monthly:
            told = f"{formats.usd(spent)} spent, {_perhaps(unsure)}up to {formats.usd(flying)} under way"
            found.append(
                Crossing(
                    f"With up to {formats.usd(high)} for this job, the workspace's {formats.usd(monthly)} "
                    f"this month would be crossed: {told}."
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class Held:
    """Batches that a cap holds back: why, how many rows they have, whether it is the job's own cap, and a cap that would let all go."""

    why: str
    n_batches: int
    n_rows: int
    own_cap: Decimal | None
    enough: Decimal | None


def is_cap(reason: str) -> bool:
    """Whether a batch waits for a cap, by what `why_hold` said."""
    return reason.startswith(HELD) and ("would be crossed" in reason or "could not be kept" in reason)


def held_of(job: Job) -> Held | None:
    """What a cap holds back of the job now, None where nothing."""
    waiting = list(Batch.objects.filter(job=job, state=BatchState.READY).select_related("round").order_by("round__number", "number"))
    held = [batch for batch in waiting if is_cap(batch.wait_reason)]
    if not held or job.approved_by_id is not None:
        return None
    why = held[0].wait_reason.removeprefix(HELD)
    reserves = [batch.reserve_usd for batch in waiting if batch.round.lane == Lane.BATCH or not batch.n_submits]  # the rest is in flight
    known = [reserve for reserve in reserves if reserve is not None]
    own = job.cap_usd if "the job's cap" in why else None
    enough = None
    if own is not None and len(known) == len(reserves):
        most = job.paid_usd + uncertain(job.workspace, job) + in_flight(job.workspace, job) + sum(known, Decimal(0))
        enough = most.quantize(Decimal("0.01"), ROUND_CEILING)
    return Held(why, len(held), sum(batch.n_requests for batch in held), own, enough)


def raise_cap(job: Job, user: User | None, cap: Decimal) -> None:
    """Give the job a higher cap; what was held back is looked at at once. Audited. Raises BadInput where it is not higher."""
    with transaction.atomic():
        lock(job.workspace_id)
        hold_still(job)
        job.refresh_from_db()
        if JobState(job.state).terminal or job.state == JobState.DRAFT:
            raise BadInput("This job is not running.")
        if job.cap_usd is None:
            raise BadInput("This job has no cap of its own.")
        if cap <= job.cap_usd:
            raise BadInput(f"The cap is {formats.usd(job.cap_usd)} already.", "Enter a higher one.")
        told = f"{formats.usd(job.cap_usd)} to {formats.usd(cap)}"
        Job.objects.filter(pk=job.pk).update(cap_usd=cap)
        _let_go(job, "cap", f"The job's cap was raised from {told} by {_name(user)}")
        audit_log.write(job.workspace, user, "cap raised", job.name, before=str(job.cap_usd), after=str(cap))
    job.cap_usd = cap


def approve(job: Job, user: User) -> None:
    """Let the job cross its cap and the workspace's. Audited. Who may is for the caller to know; twice is once. Raises BadInput."""
    with transaction.atomic():
        lock(job.workspace_id)
        hold_still(job)
        job.refresh_from_db()
        if job.approved_by_id is not None:
            return
        if JobState(job.state).terminal or job.state == JobState.DRAFT:
            raise BadInput("This job is not running.")
        Job.objects.filter(pk=job.pk).update(approved_by=user)
        _let_go(job, "approved", f"{_name(user)} approved that this job may go over its cap and the workspace's")
        audit_log.write(job.workspace, user, "cap crossing approved", job.name)
    job.approved_by = user


def _let_go(job: Job, kind: str, words: str) -> None:
    """What a cap held back is looked at again, now."""
    Job.objects.filter(pk=job.pk, needs__startswith=NEEDS).update(needs="")
    held = Batch.objects.filter(job=job, state=BatchState.READY, wait_reason__startswith=HELD)
    pks = list(held.values_list("pk", flat=True)[:100])
    held.update(wait_reason="", next_look_at=timezone.now())
    note(job, kind, words)
    for pk in pks:
        transaction.on_commit(partial(nudge, "batch", pk))


def _name(user: User | None) -> str:
    return user.get_username() if user is not None else "the operator"


def committed(workspace: Workspace) -> Decimal:
    """What is promised already: of each job that is launched and not finished the upper end less what it has paid, or what it has under
    way where that is more (a retry); and what is under way of all others, tries among them."""
    flying = dict(
        Batch.objects.filter(_flying(), counted_batches(), job__workspace=workspace)
        .order_by()
        .values_list("job")
        .annotate(total=Sum("reserve_usd"))
    )
    live = Job.objects.filter(counted_jobs(), workspace=workspace, launched_at__isnull=False).exclude(
        state__in=[JobState.DRAFT, *(state for state in JobState if state.terminal)]
    )
    total = Decimal(0)
    for pk, estimate, lane, paid in live.values_list("pk", "estimate", "lane", "paid_usd"):
        high = Estimate.from_json(estimate).lanes[lane].high if estimate else None
        total += max(Decimal(0), (high or Decimal(0)) - paid, flying.pop(pk, None) or Decimal(0))
    return total + sum((each for each in flying.values() if each), Decimal(0))
