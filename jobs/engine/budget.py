"""Budgets: a cap per job, and one per workspace and month. Checked where money is about to be spent, under the workspace's lock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import Sum
from django.utils import timezone

from jobs import formats
from jobs.costs.estimate import Estimate
from jobs.costs.prices import PriceSheet
from jobs.models import Batch, Job, Membership, Round, Workspace
from jobs.words import TOKEN_KINDS, BatchState, JobState, Lane, Role

IN_FLIGHT = [BatchState.SUBMITTING, BatchState.UNKNOWN, BatchState.SUBMITTED, BatchState.ENDED, BatchState.FETCHED]
MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Crossing:
    """A cap that would be crossed: which, and by what."""

    words: str


def reserve_of(round_: Round, n_requests: int, n_tokens: int) -> Decimal | None:
    """The most that a batch can cost: every token at the dearest tier, every answer at its limit. None where that has no bound or price."""
    tiers = PriceSheet.from_json(round_.sheet).tiers(round_.lane)
    if not tiers:
        return None
    dearest_in = max(tier.price(kind) for tier in tiers for kind in TOKEN_KINDS if kind != "output")
    dearest_out = max(tier.price("output") for tier in tiers)
    most = round_.spec.get("max_output_tokens")
    if most is None and dearest_out and round_.spec.get("kind") == "generate":
        return None
    return (n_tokens * dearest_in + n_requests * (most or 0) * dearest_out) / MILLION


def month_start(now: datetime | None = None) -> datetime:
    return (now or timezone.now()).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def spent_this_month(workspace: Workspace) -> Decimal:
    """What batches that settled this month cost."""
    closed = Batch.objects.filter(job__workspace=workspace, settled_at__gte=month_start())
    return closed.aggregate(total=Sum("paid_usd"))["total"] or Decimal(0)


def in_flight(workspace: Workspace, job: Job | None = None, without: Batch | None = None) -> Decimal:
    """The most that batches under way can still cost."""
    flying = Batch.objects.filter(job__workspace=workspace, state__in=IN_FLIGHT)
    if job is not None:
        flying = flying.filter(job=job)
    if without is not None:
        flying = flying.exclude(pk=without.pk)
    return flying.aggregate(total=Sum("reserve_usd"))["total"] or Decimal(0)


def lock(workspace_id: UUID) -> Workspace:
    """Serialise decisions about a workspace's money; inside a transaction."""
    return Workspace.objects.select_for_update().get(pk=workspace_id)


def why_hold(batch: Batch) -> str:
    """Why the batch may not be sent now, "" where it may. Inside the transaction that marks it as being sent."""
    job = Job.objects.get(pk=batch.job_id)
    workspace = lock(job.workspace_id)
    if reason := _may_not_spend(batch, job):
        return reason
    if job.approved_by_id is not None:
        return ""
    if job.cap_usd is not None:
        if batch.reserve_usd is None:
            return f"held: its price has no known bound, so the job's cap of {formats.usd(job.cap_usd)} could not be kept"
        flying = in_flight(workspace, job, batch)
        if job.paid_usd + flying + batch.reserve_usd > job.cap_usd:
            return _held(f"the job's cap of {formats.usd(job.cap_usd)}", job.paid_usd, flying, batch.reserve_usd)
    if workspace.monthly_cap_usd is not None and batch.reserve_usd is not None:
        spent, flying = spent_this_month(workspace), in_flight(workspace, None, batch)
        if spent + flying + batch.reserve_usd > workspace.monthly_cap_usd:
            return _held(
                f"the workspace's cap of {formats.usd(workspace.monthly_cap_usd)} for this month", spent, flying, batch.reserve_usd
            )
    return ""


def _may_not_spend(batch: Batch, job: Job) -> str:
    """Whoever asked for the round must still be allowed to launch: a role that is taken away stops what is not sent yet."""
    asked_by = batch.round.created_by_id or job.created_by_id
    if asked_by is None:  # from the command line
        return ""
    role = Membership.objects.filter(workspace_id=job.workspace_id, user_id=asked_by).values_list("role", flat=True).first()
    if role is not None and Role(role).may(Role.ANALYST):
        return ""
    return "held: the person who asked for it may no longer launch jobs in this workspace; an admin can cancel the job or restore the role"


def _held(cap: str, paid: Decimal, flying: Decimal, most: Decimal) -> str:
    amounts = f"{formats.usd(paid)} paid, up to {formats.usd(flying)} under way, this batch up to {formats.usd(most)}"
    return f"held: {cap} would be crossed ({amounts})"


def crossings(workspace: Workspace, estimate: Estimate, lane: Lane, cap: Decimal | None, paid: Decimal = Decimal(0)) -> list[Crossing]:
    """The caps that a launch with this estimate would cross at its upper end."""
    found: list[Crossing] = []
    high = estimate.lanes[lane.value].high
    if cap is not None and high is None:
        found.append(Crossing(f"What this job costs has no known upper end, so its cap of {formats.usd(cap)} cannot be kept."))
    if cap is not None and high is not None and paid + high > cap:
        found.append(Crossing(f"It may cost up to {formats.usd(paid + high)}, above its cap of {formats.usd(cap)}."))
    monthly = workspace.monthly_cap_usd
    if monthly is not None:
        spent, flying = spent_this_month(workspace), committed(workspace)
        if high is None:
            found.append(
                Crossing(f"What this job costs has no known upper end, and the workspace has a cap of {formats.usd(monthly)} a month.")
            )
        elif spent + flying + high > monthly:
            told = f"{formats.usd(spent)} are spent, up to {formats.usd(flying)} are under way"
            found.append(
                Crossing(
                    f"With up to {formats.usd(high)} for this job, the workspace's {formats.usd(monthly)} "
                    f"this month would be crossed: {told}."
                )
            )
    return found


def committed(workspace: Workspace) -> Decimal:
    """The upper ends of jobs that are launched and not finished, less what they have paid already."""
    total = Decimal(0)
    live = Job.objects.filter(workspace=workspace, launched_at__isnull=False).exclude(
        state__in=[state for state in JobState if state.terminal]
    )
    for job in live.exclude(state=JobState.DRAFT):
        if job.estimate:
            high = Estimate.from_json(job.estimate).lanes[job.lane].high
            total += max(Decimal(0), (high or Decimal(0)) - job.paid_usd)
    return total
