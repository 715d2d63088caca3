"""The list of jobs: those that need a person first, then the newest; filtered, sorted and paged by the URL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Case, Count, F, IntegerField, Q, QuerySet, Value, When
from django.utils import timezone

from jobs.formats import usd_places, usd_range
from jobs.models import Job, Workspace
from jobs.words import NEEDS_LOOK, JobState, Look, OutcomeKind

PER_PAGE = 25
MOST_LIVE = 200  # ids that one refresh may ask for
ATTENTION_DAYS = 14  # an ended job with failures asks for a person this long
LIVE = (JobState.QUEUED, JobState.PREPARING, JobState.RUNNING, JobState.CANCELLING)
ENDED_BADLY = (JobState.FAILED, JobState.COMPLETED_WITH_FAILURES)
GROUPS = (("needs", "Needs you"), ("live", "Running"), ("ended", "Ended"), ("draft", "Drafts"))
BAD = [kind for kind in OutcomeKind if kind not in (OutcomeKind.SUCCEEDED, OutcomeKind.CANCELLED)]
CAP = re.compile(r"A cap holds batches back\..*\(held: (.+?)(?: \(.*)?\)$", re.DOTALL)
SORTS = {"name": "name", "model": "model", "failed": "n_bad", "cost": "paid_usd", "started": "began", "owner": "created_by__username"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The filters and the order as they stand in the URL; "" is no filter. Unknown values filter nothing."""

    text: str = ""
    state: str = ""
    model: str = ""
    owner: str = ""
    dataset: str = ""
    sort: str = ""

    @property
    def any(self) -> bool:
        return bool(self.text or self.state or self.model or self.owner or self.dataset)


@dataclass(frozen=True, slots=True)
class Line:
    """A job as a row of a list."""

    job: Job
    state: JobState
    n_done: int
    n_bad: int  # rows that did not succeed, but for those that a person cancelled
    segments: list[dict[str, Any]]
    cost: Decimal | None  # paid so far; None before anything was paid
    estimate: str  # a range, "" where there is none

    @property
    def live(self) -> bool:
        return self.state in LIVE

    @property
    def look(self) -> Look:
        return look_of(self.job)

    @property
    def needs(self) -> str:
        """What a person has to do, in words; "" when nothing."""
        if self.job.needs and self.state != JobState.CANCELLED:
            return needs_words(self.job.needs)
        if self.state == JobState.FAILED:
            return "It could not be finished. Open it to see why."
        return ""

    @property
    def saved(self) -> Decimal | None:
        """Dollars less than in real time; None where nothing of it is known."""
        return None if self.cost is None else self.job.saved_usd

    @property
    def dataset(self) -> str:
        return self.job.dataset_version.dataset.name if self.job.dataset_version else ""


@dataclass(frozen=True, slots=True)
class Choices:
    """What can be filtered by: (value, label)."""

    states: list[tuple[str, str]]
    models: list[tuple[str, str]]
    owners: list[tuple[str, str]]
    datasets: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Page:
    lines: list[Line]
    number: int
    total: int
    places: int  # decimals of the column of costs
    n_needs: int
    n_live: int
    n_all: int

    @property
    def live(self) -> list[Line]:
        return [line for line in self.lines if line.live]


def look_of(job: Job) -> Look:
    """The status of a job; one that waits for a person says so."""
    state = JobState(job.state)
    return NEEDS_LOOK if job.needs and not state.terminal else state.look


def needs_words(needs: str) -> str:
    """What a job needs, short enough for a list: of a cap that holds it, which cap, without the sums (its page has them)."""
    found = CAP.match(needs)
    return f"Held: {found[1]}. Raise it, have the job approved, or cancel." if found else needs


def needs_person(now: datetime) -> Q:
    """The jobs that a person should look at: held, failed, or ended with failures in the last two weeks."""
    recent = Q(state__in=ENDED_BADLY, finished_at__gte=now - timedelta(days=ATTENTION_DAYS))
    return ~Q(needs="") & ~Q(state=JobState.CANCELLED) | recent


def job_page(workspace: Workspace, wanted: Wanted, number: int = 1) -> Page:
    """One page of the list. A number beyond the end gives the last page."""
    now = timezone.now()
    every = Job.objects.filter(workspace=workspace)
    n_all, n_needs, n_live = _totals(every, now)
    found = _filtered(every, wanted, now)
    total = found.count() if wanted.any else n_all
    number = min(max(1, number), max(1, -(-total // PER_PAGE)))
    ordered = _ordered(found, wanted.sort, now).select_related("dataset_version__dataset", "created_by")
    lines = [line_of(job) for job in ordered.defer("draft", "spec", "sheet")[(number - 1) * PER_PAGE : number * PER_PAGE]]
    return Page(lines, number, total, usd_places([line.cost for line in lines]), n_needs, n_live, n_all)


def live_lines(workspace: Workspace, ids: Iterable[UUID]) -> list[Line]:
    """The rows of these jobs as they are now, whatever became of them; jobs of other workspaces are left out."""
    jobs = Job.objects.filter(workspace=workspace, pk__in=list(ids)[:MOST_LIVE]).defer("draft", "spec", "sheet")
    return [line_of(job) for job in jobs.select_related("dataset_version__dataset", "created_by")]


def name_of(model: str) -> str:
    """A model without the faults that the sandbox was asked for behind a `+`."""
    return model.partition("+")[0]


def choices_of(workspace: Workspace) -> Choices:
    """What the filters offer: only what the workspace's jobs have."""
    jobs = Job.objects.filter(workspace=workspace)
    rows = jobs.values_list(
        "model", "created_by_id", "created_by__username", "dataset_version__dataset_id", "dataset_version__dataset__name"
    )
    models, owners, datasets = set(), set(), set()
    for model, owner_id, owner, dataset_id, dataset in rows.order_by().distinct()[:2000]:
        models.add((name_of(model), name_of(model)))
        owners.add((str(owner_id or ""), owner or ""))
        datasets.add((str(dataset_id or ""), dataset or ""))
    states = [*GROUPS, *((state.value, state.look.label) for state in JobState if state != JobState.DRAFT)]
    return Choices(states, _sorted(models), _sorted(owners), _sorted(datasets))


def line_of(job: Job) -> Line:
    counts = job.counts
    tones = {"good": counts["succeeded"], "warn": counts["invalid"], "bad": counts["failed"] + counts["missing"]}
    tones["off"] = counts["expired"] + counts["cancelled"]
    labels = {"good": "succeeded", "warn": "invalid", "bad": "failed", "off": "expired or cancelled"}
    segments = [{"tone": tone, "label": labels[tone], "n": n} for tone, n in tones.items()]
    paid = job.paid_usd if job.paid_usd or JobState(job.state).terminal else None
    if job.n_unpriced and not job.paid_usd:
        paid = None
    return Line(
        job, JobState(job.state), job.n_done, job.n_unsuccessful - job.n_cancelled, segments, paid, estimate_words(job.estimate, job.lane)
    )


def estimate_words(estimate: Mapping[str, Any], lane: str) -> str:
    """The range of a frozen estimate on its lane, "" where none is known."""
    found = estimate.get("lanes", {}).get(lane)
    if not found or found["low"] is None:
        return ""
    return usd_range(Decimal(found["low"]), None if found["high"] is None else Decimal(found["high"]))


def _totals(every: QuerySet[Job], now: datetime) -> tuple[int, int, int]:
    found = every.aggregate(n=Count("pk"), needs=Count("pk", filter=needs_person(now)), live=Count("pk", filter=Q(state__in=LIVE)))
    return found["n"], found["needs"], found["live"]


def _filtered(jobs: QuerySet[Job], wanted: Wanted, now: datetime) -> QuerySet[Job]:
    if wanted.text:
        named = Q(name__icontains=wanted.text) | Q(model__icontains=wanted.text)
        jobs = jobs.filter(
            named | Q(dataset_version__dataset__name__icontains=wanted.text) | Q(prompt_version__prompt__name__icontains=wanted.text)
        )
    groups = {"needs": needs_person(now), "live": Q(state__in=LIVE), "ended": Q(state__in=[s for s in JobState if s.terminal])}
    if wanted.state in groups:
        jobs = jobs.filter(groups[wanted.state])
    elif wanted.state in set(JobState):
        jobs = jobs.filter(state=wanted.state)
    if wanted.model:
        jobs = jobs.filter(Q(model=wanted.model) | Q(model__startswith=f"{wanted.model}+"))
    if wanted.owner.isascii() and wanted.owner.isdigit() and len(wanted.owner) < 16:
        jobs = jobs.filter(created_by_id=int(wanted.owner))
    if _is_uuid(wanted.dataset):
        jobs = jobs.filter(dataset_version__dataset_id=wanted.dataset)
    return jobs


def _ordered(jobs: QuerySet[Job], sort: str, now: datetime) -> QuerySet[Job]:
    began = Case(When(launched_at__isnull=False, then=F("launched_at")), default=F("created_at"))
    key = SORTS.get(sort.lstrip("-"))
    if key is None:
        first = Case(When(needs_person(now), then=Value(0)), default=Value(1), output_field=IntegerField())
        return jobs.annotate(began=began, first=first).order_by("first", "-began", "pk")
    bad = sum((F(f"n_{kind.value}") for kind in BAD), Value(0))
    return jobs.annotate(began=began, n_bad=bad).order_by(f"{'-' if sort.startswith('-') else ''}{key}", "-began", "pk")


def _sorted(pairs: set[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(((value, label) for value, label in pairs if value), key=lambda pair: pair[1].lower())


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
