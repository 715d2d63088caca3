"""The start page: what needs me, what runs, what was saved, what happened last."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Count, Exists, OuterRef, Q, Sum
from django.utils import timezone

from jobs.formats import count, usd, usd_places
from jobs.models import Batch, Connection, Dataset, Job, Prompt, Workspace
from jobs.queries.job_list import LIVE, Line, line_of, needs_person
from jobs.queries.machinery import standstill
from jobs.queries.sandbox import counted_batches, counted_jobs
from jobs.words import JobState

MOST_NEEDS, MOST_LIVE, MOST_RECENT, MOST_DRAFTS = 6, 8, 8, 3


@dataclass(frozen=True, slots=True)
class Money:
    """Dollars of the whole workspace; `unpriced` counts paid rows whose price is unknown, which are in no sum. `n_jobs` are all jobs,
    `n_counted` those whose money counts. `sandbox`: there is nothing but the sandbox, so none of it is real."""

    paid: Decimal
    realtime: Decimal
    month: Decimal
    unpriced: int
    n_succeeded: int
    n_jobs: int
    n_counted: int = 0
    sandbox: bool = False

    @property
    def saved(self) -> Decimal:
        return self.realtime - self.paid

    @property
    def share(self) -> int | None:
        """What was saved in percent of the real-time price, rounded down."""
        return int(self.saved * 100 / self.realtime) if self.realtime else None

    @property
    def saved_note(self) -> str:
        if self.share is None:
            return "against real time, once rows are paid"
        return f"{self.share} % of the {usd(self.realtime, 2)} that real time costs{self.unreal}"

    @property
    def month_note(self) -> str:
        left_out = (
            f"; {count(self.unpriced, 'row without a known price is', 'rows without a known price are')} not in it" if self.unpriced else ""
        )
        return f"{usd(self.paid, 2)} in all{left_out}{self.unreal}"

    @property
    def unreal(self) -> str:
        return "; sandbox, no real money" if self.sandbox else ""

    @property
    def jobs_note(self) -> str:
        left_out = "; the sandbox's are left out" if self.n_counted < self.n_jobs else ""
        return f"by {self.n_counted:,} job{'' if self.n_counted == 1 else 's'}{left_out}"


@dataclass(frozen=True, slots=True)
class Home:
    """What the start page shows. `mark` changes when anything on it does."""

    needs: list[Line]
    n_needs: int
    live: list[Line]
    n_live: int
    recent: list[Line]
    drafts: list[Job]
    broken: list[Connection]
    money: Money
    month: datetime
    mark: str
    standstill: str  # why no job moves, where one should

    @property
    def month_label(self) -> str:
        return f"Spent in {self.month:%B}"

    @property
    def live_note(self) -> str:
        pending = sum(line.job.n_rows - line.n_done for line in self.live)
        return f"{count(pending, 'row')} to go" if self.live else "jobs"

    @property
    def places(self) -> int:
        """Decimals of the columns of dollars."""
        return usd_places([value for line in self.recent for value in (line.cost, line.saved)])


@dataclass(frozen=True, slots=True)
class First:
    """What a new workspace has so far."""

    has_dataset: bool
    has_prompt: bool
    has_connection: bool


def first_of(workspace: Workspace) -> First | None:
    """What is there before the first launch; None once there was one."""
    launched = Job.objects.filter(workspace=OuterRef("pk")).exclude(state=JobState.DRAFT)
    connections = Connection.objects.filter(workspace=OuterRef("pk"), archived_at__isnull=True)
    datasets = Dataset.objects.filter(workspace=OuterRef("pk"), archived_at__isnull=True)
    prompts = Prompt.objects.filter(workspace=OuterRef("pk"), archived_at__isnull=True)
    wanted = [Exists(each) for each in (launched, datasets, prompts, connections)]
    has_job, *rest = Workspace.objects.filter(pk=workspace.pk).values_list(*wanted).get()
    return None if has_job else First(*rest)


def home_of(workspace: Workspace, user_id: int) -> Home:
    """Everything of the start page, in a handful of queries whatever the workspace's size."""
    now = timezone.now()
    jobs = Job.objects.filter(workspace=workspace).defer("draft", "spec", "sheet").select_related("dataset_version__dataset", "created_by")
    needs = [line_of(job) for job in jobs.filter(needs_person(now)).order_by("-launched_at", "pk")[:MOST_NEEDS]]
    live = [line_of(job) for job in jobs.filter(state__in=LIVE).order_by("-launched_at", "pk")[:MOST_LIVE]]
    ended = jobs.exclude(state__in=[*LIVE, JobState.DRAFT]).order_by("-finished_at", "pk")[:MOST_RECENT]
    drafts = list(jobs.filter(state=JobState.DRAFT, created_by_id=user_id).order_by("-created_at")[:MOST_DRAFTS])
    connections = list(Connection.objects.filter(workspace=workspace).order_by("name"))
    broken = [each for each in connections if each.archived_at is None and each.problem]
    counted = counted_jobs()
    totals = Job.objects.filter(workspace=workspace).exclude(state=JobState.DRAFT).aggregate(
        n=Count("pk"), needs=Count("pk", filter=needs_person(now)), live=Count("pk", filter=Q(state__in=LIVE)),
        paid=Sum("paid_usd", filter=counted), realtime=Sum("realtime_usd", filter=counted), unpriced=Sum("n_unpriced", filter=counted),
        succeeded=Sum("n_succeeded", filter=counted), n_counted=Count("pk", filter=counted), changes=Sum("version"),
    )  # fmt: skip
    month = timezone.localtime(now).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    batches = Batch.objects.filter(counted_batches(), job__workspace=workspace, settled_at__gte=month)
    spent = batches.aggregate(paid=Sum("paid_usd"))["paid"]
    zero = Decimal(0)
    money = Money(
        paid=totals["paid"] or zero,
        realtime=totals["realtime"] or zero,
        month=spent or zero,
        unpriced=totals["unpriced"] or 0,
        n_succeeded=totals["succeeded"] or 0,
        n_jobs=totals["n"],
        n_counted=totals["n_counted"],
        sandbox=bool(connections) and all(each.is_sandbox for each in connections),
    )
    still = standstill(now) if live else ""
    seen = [still, money.sandbox, totals, spent, [(d.pk, d.version) for d in drafts], [(c.pk, c.problem) for c in broken]]
    mark = hashlib.sha256(repr(seen).encode()).hexdigest()[:16]
    recent = [line_of(job) for job in ended]
    return Home(needs, totals["needs"], live, totals["live"], recent, drafts, broken, money, month, mark, still)
