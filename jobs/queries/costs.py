"""Costs over all jobs: one grouped query gives every total, breakdown and filter choice; days and the table of jobs are two more.

The counters of jobs are the source. A job belongs to the period in which it was launched (a draft whose pilot cost something: was made).
Rows of unknown price are said apart: such a job's known part counts as paid, and nothing of it as real time or saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Case, Count, F, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Coalesce, TruncDate
from django.utils import timezone

from jobs.charts import Chart, Series, bars_by_category, bars_by_day, scatter
from jobs.models import Batch, Job, Workspace
from jobs.queries.sandbox import counted_jobs, kinds_of
from jobs.words import JobState

PERIODS = {
    "7": "7 days",
    "30": "30 days",
    "90": "90 days",
    "month": "This month",
    "last": "Last month",
    "year": "This year",
    "all": "All time",
}
DIMENSIONS = {"model": "Model", "connection": "Connection", "prompt": "Prompt", "dataset": "Dataset", "person": "Person"}
PATHS = {
    "model": "model",
    "connection": "connection_id",
    "prompt": "prompt_version__prompt_id",
    "dataset": "dataset_version__dataset_id",
    "person": "created_by_id",
    "state": "state",
}
NAMES = {
    "model": "model",
    "connection": "connection__name",
    "prompt": "prompt_version__prompt__name",
    "dataset": "dataset_version__dataset__name",
    "person": "created_by__username",
    "state": "state",
}
SORTS = {"launched": "at", "paid": "paid_usd", "saved": "saved", "wasted": "wasted_usd", "rows": "n_rows", "name": "name"}
PAGE = 50
TOP = 8
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Filters:
    """`chosen` maps words of PATHS to what they must equal; `by` is a word of DIMENSIONS."""

    period: str = "30"
    chosen: dict[str, Any] = field(default_factory=dict)
    by: str = "model"
    sort: str = "-launched"
    page: int = 1
    sandbox: bool = False  # its jobs too, where there is a real connection beside it


@dataclass(slots=True)
class Sums:
    """Dollars and rows of some jobs. `realtime` and `saved` are of the jobs whose every price is known; `n_unpriced` counts the others."""

    key: Any = None
    name: str = ""
    n_jobs: int = 0
    n_unpriced: int = 0
    n_rows: int = 0
    n_done: int = 0
    n_succeeded: int = 0
    paid: Decimal = ZERO
    realtime: Decimal = ZERO
    saved: Decimal = ZERO
    wasted: Decimal = ZERO

    def add(self, row: dict[str, Any]) -> None:
        self.n_jobs += row["n_jobs"]
        self.n_rows += row["rows"]
        self.n_done += row["done"]
        self.n_succeeded += row["succeeded"]
        self.paid += row["paid"]
        self.wasted += row["wasted"]
        if row["unpriced"]:
            self.n_unpriced += row["n_jobs"]
        else:
            self.realtime += row["realtime"]
            self.saved += row["realtime"] - row["paid"]

    @property
    def is_priced(self) -> bool:
        """Whether any of it has a price: else its money is unknown, and never $0."""
        return self.n_unpriced < self.n_jobs or self.paid > 0 or self.n_jobs == 0

    @property
    def paid_known(self) -> Decimal | None:
        return self.paid if self.is_priced else None

    @property
    def realtime_known(self) -> Decimal | None:
        return self.realtime if self.n_unpriced < self.n_jobs or self.n_jobs == 0 else None

    @property
    def saved_known(self) -> Decimal | None:
        return self.saved if self.n_unpriced < self.n_jobs or self.n_jobs == 0 else None

    @property
    def wasted_known(self) -> Decimal | None:
        return self.wasted if self.is_priced else None

    @property
    def n_failed(self) -> int:
        return self.n_done - self.n_succeeded

    @property
    def per_thousand(self) -> Decimal | None:
        """Dollars per 1,000 rows that succeeded; None where a price is unknown or nothing succeeded."""
        return self.paid * 1000 / self.n_succeeded if self.n_succeeded and not self.n_unpriced else None


@dataclass(frozen=True, slots=True)
class JobLine:
    pk: UUID
    name: str
    model: str
    dataset: str
    prompt: str
    connection: str
    person: str
    state: JobState
    at: datetime
    sums: Sums


@dataclass(frozen=True, slots=True)
class Costs:
    """All of the page. `options` are the values of each filter in the period, as (value, words)."""

    total: Sums
    groups: list[Sums]
    options: dict[str, list[tuple[str, str]]]
    days: Chart | None
    shares: Chart | None
    accuracy: Chart | None
    jobs: list[JobLine]
    n_jobs: int
    anything: bool
    ever: bool  # whether any job was ever launched here, whatever the filters say
    has_sandbox: bool
    has_real: bool
    n_left_out: int  # where nothing else is there: jobs of the sandbox, whose money does not count beside a real connection

    @property
    def only_sandbox(self) -> bool:
        """Whether none of it is real money."""
        return self.has_sandbox and not self.has_real


def costs_of(workspace: Workspace, filters: Filters) -> Costs:
    """In six queries, however many jobs there are; in one more where there are none."""
    cells = _cells(workspace, filters)
    has_sandbox, has_real = kinds_of(workspace)
    mine = [cell for cell in cells if all(str(cell[PATHS[name]]) == str(value) for name, value in filters.chosen.items())]
    total, groups = _total(mine), _groups(mine, filters.by)
    jobs = _matching(workspace, filters)
    return Costs(
        total=total,
        groups=groups,
        options={name: _options(cells, name) for name in PATHS},
        days=days_chart(workspace, filters),
        shares=groups_chart(groups, filters.by) if len(groups) > 1 else None,
        accuracy=_accuracy(jobs),
        jobs=_lines(jobs, filters.sort, filters.page),
        n_jobs=total.n_jobs,
        anything=bool(cells),
        ever=bool(cells) or ever_launched(workspace),
        has_sandbox=has_sandbox,
        has_real=has_real,
        n_left_out=_spent(workspace, replace(filters, sandbox=True)).count() if not cells and has_sandbox and has_real else 0,
    )


def bounds(period: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """From when (included) to when (excluded), at midnights of the person's zone; None: no bound."""
    today = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
    if period in ("7", "30", "90"):
        return today - timedelta(days=int(period) - 1), None
    first = today.replace(day=1)
    if period == "month":
        return first, None
    if period == "last":
        return (first - timedelta(days=1)).replace(day=1), first
    return (today.replace(month=1, day=1), None) if period == "year" else (None, None)


def ever_launched(workspace: Workspace) -> bool:
    """Whether a job was launched here, or its pilot spent something, at any time."""
    return _spent(workspace, Filters(period="all", sandbox=True)).exists()


def _spent(workspace: Workspace, filters: Filters) -> QuerySet[Any]:
    """Jobs of a period that were launched, or whose pilot spent something."""
    idle = Q(state=JobState.DRAFT, paid_usd=0, n_unpriced=0)
    found = Job.objects.filter(workspace=workspace).exclude(idle).annotate(at=Coalesce("launched_at", "created_at"))
    if not filters.sandbox:
        found = found.filter(counted_jobs())
    start, end = bounds(filters.period, timezone.now())
    if start is not None:
        found = found.filter(at__gte=start)
    return found.filter(at__lt=end) if end is not None else found


def _matching(workspace: Workspace, filters: Filters) -> QuerySet[Any]:
    return _spent(workspace, filters).filter(**{PATHS[name]: value for name, value in filters.chosen.items()})


def _cells(workspace: Workspace, filters: Filters) -> list[dict[str, Any]]:
    """Sums by every combination of what can be filtered, made by the database."""
    keys = list(dict.fromkeys([*PATHS.values(), *NAMES.values(), "unpriced"]))
    unpriced = Case(When(n_unpriced__gt=0, then=Value(1)), default=Value(0))
    done = Sum("n_succeeded") + Sum("n_invalid") + Sum("n_failed") + Sum("n_expired") + Sum("n_cancelled") + Sum("n_missing")
    found = _spent(workspace, filters).annotate(unpriced=unpriced).order_by().values(*keys)
    sums = {"rows": Sum("n_rows"), "succeeded": Sum("n_succeeded"), "paid": Sum("paid_usd"), "realtime": Sum("realtime_usd")}
    return list(found.annotate(n_jobs=Count("pk"), done=done, wasted=Sum("wasted_usd"), **sums))


def _total(cells: Iterable[dict[str, Any]]) -> Sums:
    total = Sums()
    for cell in cells:
        total.add(cell)
    return total


def _groups(cells: Iterable[dict[str, Any]], by: str) -> list[Sums]:
    """Dearest first."""
    found: dict[Any, Sums] = {}
    for cell in cells:
        key = cell[PATHS[by]]
        found.setdefault(key, Sums(key, cell[NAMES[by]] or "–")).add(cell)
    return sorted(found.values(), key=lambda sums: (-sums.paid, sums.name))


def _options(cells: Iterable[dict[str, Any]], name: str) -> list[tuple[str, str]]:
    words: Callable[[Any], str] = (lambda value: JobState(value).look.label) if name == "state" else str
    found = {str(cell[PATHS[name]]): words(cell[NAMES[name]]) for cell in cells if cell[PATHS[name]] not in (None, "")}
    return sorted(found.items(), key=lambda option: option[1].lower())


def days_chart(workspace: Workspace, filters: Filters) -> Chart | None:
    """Paid and saved by the day on which answers were collected; None without any."""
    start, end = bounds(filters.period, timezone.now())
    wanted = Q(job__workspace=workspace, settled_at__isnull=False) & Q(**{f"job__{PATHS[n]}": v for n, v in filters.chosen.items()})
    if not filters.sandbox:
        wanted &= Q(job__in=Job.objects.filter(counted_jobs(), workspace=workspace))
    batches = Batch.objects.filter(wanted).annotate(at=Coalesce("job__launched_at", "job__created_at"))
    if start is not None:
        batches = batches.filter(at__gte=start)
    if end is not None:
        batches = batches.filter(at__lt=end)
    priced = Q(job__n_unpriced=0)
    zone = timezone.get_current_timezone()
    sums = {"paid": Sum("paid_usd"), "saved": Sum("realtime_usd", filter=priced) - Sum("paid_usd", filter=priced)}
    grouped: QuerySet[Any, Any] = batches.annotate(day=TruncDate("settled_at", tzinfo=zone)).order_by("day").values("day")
    found: list[Any] = list(grouped.annotate(**sums))
    if not any(row["paid"] for row in found):
        return None
    days: list[date] = [row["day"] for row in found]
    series = [Series("Paid", [row["paid"] for row in found]), Series("Saved", [_above(row["saved"]) for row in found], colour=2)]
    caption = "What was paid each day, and what the same tokens in real time would have cost on top (saved), by the day of collection."
    return bars_by_day(days, series, caption=caption)


def _above(saved: Decimal | None) -> Decimal | None:
    """A stack cannot go below zero: a loss against real time (cache writes) is in the tables."""
    return None if saved is None else max(saved, ZERO)


def groups_chart(groups: list[Sums], by: str) -> Chart:
    """The dearest of a breakdown, the rest together; what has no known price is in the table alone."""
    shown = groups[:TOP]
    names = [each.name for each in shown]
    paid, wasted = [each.paid_known for each in shown], [each.wasted_known for each in shown]
    if rest := groups[TOP:]:
        names.append(f"{len(rest)} others")
        paid.append(sum((each.paid for each in rest), ZERO))
        wasted.append(sum((each.wasted for each in rest), ZERO))
    useful = [None if a is None or b is None else a - b for a, b in zip(paid, wasted, strict=True)]
    series = [Series("For rows that succeeded", useful), Series("Wasted on failed attempts", wasted)]
    word = DIMENSIONS[by].lower()
    caption = f"What each {word} cost, and how much of it was wasted."
    chart = bars_by_category(DIMENSIONS[by], names, series, caption=caption, unit="dollars", stacked=True)
    chart.figure["layout"]["yaxis"]["dtick"] = 1  # every bar is named, however narrow the page
    return chart


def _accuracy(jobs: QuerySet[Any]) -> Chart | None:
    """Estimate against actual of the latest finished jobs; None for fewer than three."""
    done = [state.value for state in (JobState.COMPLETED, JobState.COMPLETED_WITH_FAILURES)]
    found = (
        jobs.filter(state__in=done, n_unpriced=0, paid_usd__gt=0)
        .order_by("-at")
        .values_list("name", "lane", "model", "estimate", "paid_usd")
    )
    names, models, expected, actual = [], [], [], []
    for name, lane, model, estimate, paid in found[:200]:
        said = ((estimate or {}).get("lanes") or {}).get(lane) or {}
        if said.get("low") is not None and said.get("high") is not None:
            names.append(name)
            models.append(model)
            expected.append((Decimal(said["low"]) + Decimal(said["high"])) / 2)
            actual.append(paid)
    if len(names) < 3:
        return None
    caption = "The middle of each finished job's estimate against what it cost. On the dotted line both agree; above it, the job cost more."
    return scatter("Job", names, Series("Estimate", expected), Series("Paid", actual), caption=caption, unit="dollars", groups=models)


def _lines(jobs: QuerySet[Any], sort: str, page: int) -> list[JobLine]:
    key = SORTS.get(sort.lstrip("-"), "at")
    ordered = jobs.annotate(saved=F("realtime_usd") - F("paid_usd")).order_by(f"{'-' if sort.startswith('-') else ''}{key}", "-at", "pk")
    first = (page - 1) * PAGE
    return job_lines(ordered[first : first + PAGE])


def job_lines(jobs: QuerySet[Any]) -> list[JobLine]:
    related = jobs.select_related("connection", "created_by", "prompt_version__prompt", "dataset_version__dataset")
    return [_line(job) for job in related.defer("spec", "sheet", "estimate", "draft")]


def all_lines(workspace: Workspace, filters: Filters) -> list[JobLine]:
    """Every matching job, newest first: for the download."""
    return job_lines(_matching(workspace, filters).order_by("-at", "pk"))


def groups_of(workspace: Workspace, filters: Filters) -> list[Sums]:
    cells = _cells(workspace, filters)
    return _groups([c for c in cells if all(str(c[PATHS[n]]) == str(v) for n, v in filters.chosen.items())], filters.by)


def _line(job: Any) -> JobLine:
    sums = Sums(
        n_jobs=1,
        n_unpriced=int(job.n_unpriced > 0),
        n_rows=job.n_rows,
        n_done=job.n_done,
        n_succeeded=job.n_succeeded,
        paid=job.paid_usd,
        realtime=job.realtime_usd,
        saved=job.saved_usd,
        wasted=job.wasted_usd,
    )
    return JobLine(
        pk=job.pk,
        name=job.name,
        model=job.model,
        dataset=job.dataset_version.dataset.name if job.dataset_version else "–",
        prompt=job.prompt_version.prompt.name if job.prompt_version else "–",
        connection=job.connection.name if job.connection else "–",
        person=job.created_by.get_username() if job.created_by else "–",
        state=JobState(job.state),
        at=job.at,
        sums=sums,
    )
