"""What the page of a job shows: one sentence, the bar, batches, rounds, events, money; and its frame, which the pages below it share."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import BigIntegerField, Count, Max, Q, QuerySet, Sum
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from jobs import formats
from jobs.models import Batch, Event, Job
from jobs.queries.basis import open_batches
from jobs.queries.job_list import look_of
from jobs.queries.job_money import Money, link, money_of, prices_of, settings_of, uncertain_most, uncertain_words
from jobs.queries.machinery import standstill
from jobs.queries.timeline import TimelineEvent, latest_events
from jobs.words import CLOSED, PENDING, PENDING_LOOK, BatchState, JobState, Lane, Look, OutcomeKind, RoundReason, RoundState, remote_status

BATCHES_SHOWN = 10
EVENTS_SHOWN = 12
QUICK, SLOW = 3, 15  # seconds between two looks at a page: while things move, and while they wait
STILL = timedelta(seconds=60)
HELD_UP_TO = re.compile(r"^held: .* would be crossed \(.*, this batch (up to [^)]+)\)$")
CAPPED = "A cap holds batches back"  # how the needs of a job begin that a cap holds
WAITING_STATES = (BatchState.READY, BatchState.SUBMITTING, BatchState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the bar; `href` leads to its rows."""

    tone: str
    label: str
    n: int
    href: str


@dataclass(frozen=True, slots=True)
class Tab:
    label: str
    url: str
    current: bool
    count: int | None = None


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A batch as a line of the table; `reason` is why it does not move, or what went wrong."""

    batch: Batch
    look: Look
    at_provider: str
    n_seen: int | None  # rows that the provider says it is done with
    reason: str
    round_number: int

    @property
    def short_reason(self) -> str:
        """The reason where the page says already which cap holds the job: only what is this batch's own."""
        found = HELD_UP_TO.search(self.reason)
        return f"held by the cap: it may cost {found[1]}" if found else self.reason


@dataclass(frozen=True, slots=True)
class RoundLine:
    number: int
    reason: str
    n_rows: int
    n_done: int
    look: Look
    paid: Decimal
    changes: tuple[tuple[str, str], ...]
    at: datetime
    by: str
    n_uncertain: int  # rows of which nobody knows whether they were charged


@dataclass(frozen=True, slots=True)
class Frame:
    """What all pages of a job share."""

    job: Job
    look: Look
    terminal: bool
    sentence: str
    title: str
    percent: str
    tabs: tuple[Tab, ...]
    needs: str
    connection_problem: str
    standstill: str  # why nothing moves at all


@dataclass(frozen=True, slots=True)
class JobPage:
    frame: Frame
    segments: tuple[Segment, ...]
    money: Money
    uncertain: str  # what may have been charged beyond it, as a clause
    batches: tuple[BatchLine, ...]
    n_batches: int
    unknown: tuple[BatchLine, ...]
    rounds: tuple[RoundLine, ...]
    events: tuple[TimelineEvent, ...]
    more_events: bool
    settings: tuple[tuple[str, str, str], ...]  # label, value, address
    prices: tuple[tuple[str, str, str], ...]  # kind of token, this lane, real time; dollars per million
    price_note: str
    time_label: str
    time_value: str
    time_note: str
    n_seen: int  # rows that the provider is done with, in batches that are not back yet
    pace: int  # seconds to the next look; 0: it is over
    stamp: str  # changes with anything that the page shows
    facts: Facts


def rows_url(job: Job, **params: Any) -> str:
    return f"{reverse('job-rows', args=[job.pk])}?{urlencode(params, doseq=True)}" if params else reverse("job-rows", args=[job.pk])


def stamp_of(job: Job, facts: Facts | None = None, pace: int | None = None) -> str:
    """A short text that changes whenever the live part of a page would; two to four queries where nothing is handed in."""
    facts = facts or facts_of(job)
    pace = pace_of(job) if pace is None else pace
    problem = job.connection.problem if job.connection else ""
    told = (facts.seen, job.state, job.needs, problem, facts.standstill)
    return f"{job.version}.{pace}.{zlib.crc32(repr(told).encode()):x}"


def pace_of(job: Job, last: datetime | None = None) -> int:
    """3 s while things move, then 15 s, 0 when all is over. `last` is the time of the last event, where it is known already."""
    if JobState(job.state).terminal:
        return 0
    last = last or Event.objects.filter(job=job).aggregate(at=Max("created_at"))["at"]
    return QUICK if last is None or timezone.now() - last < STILL else SLOW


def segments_of(job: Job) -> tuple[Segment, ...]:
    """The bar: succeeded, invalid, failed, missing, expired or cancelled, pending. Kinds without rows are left out, but the first."""
    counts = job.counts
    given = [
        ("good", "Succeeded", (OutcomeKind.SUCCEEDED,)),
        ("warn", "Invalid", (OutcomeKind.INVALID,)),
        ("bad", "Failed", (OutcomeKind.FAILED,)),
        ("bad", "Missing", (OutcomeKind.MISSING,)),
        ("off", "Expired or cancelled", (OutcomeKind.EXPIRED, OutcomeKind.CANCELLED)),
        ("track", PENDING_LOOK.label, (PENDING,)),
    ]
    found = []
    for tone, label, kinds in given:
        n = sum(counts[str(kind)] for kind in kinds)
        if n or label == "Succeeded":
            found.append(Segment(tone, label, n, rows_url(job, kind=[str(kind) for kind in kinds]) if n else ""))
    return tuple(found)


def frame_of(job: Job, current: str, facts: Facts | None = None) -> Frame:
    """Head and tabs. Costs up to three queries unless the job page has its facts already."""
    state = JobState(job.state)
    facts = facts or (NOTHING if state.terminal else facts_of(job))
    tabs = [
        Tab("Overview", reverse("job-detail", args=[job.pk]), current == "overview"),
        Tab("Failures", reverse("job-failures", args=[job.pk]), current == "failures", job.n_unsuccessful),
        Tab("Results", reverse("job-rows", args=[job.pk]), current == "rows", job.n_rows),
    ]
    if receipt := link("job-receipt", job.pk):
        tabs.append(Tab("Receipt", receipt, current == "receipt"))
    return Frame(
        job=job,
        look=look_of(job),
        terminal=state.terminal,
        sentence=sentence(job, facts),
        title=title(job),
        percent=formats.percent(job.n_done if state.terminal else min(job.n_done, job.n_rows - 1), job.n_rows),
        tabs=tuple(tabs),
        needs=job.needs,
        connection_problem=job.connection.problem if job.connection and not state.terminal else "",
        standstill="" if state.terminal else facts.standstill,
    )


@dataclass(frozen=True, slots=True)
class Facts:
    """Batches of a job in numbers: how many in each state, what the provider is done with, when the first one may expire."""

    states: Mapping[str, int]
    n_batches: int
    waiting: str
    expires_at: datetime | None
    n_seen: int  # rows that the provider says are done, in batches that are not settled
    seen: tuple[str, ...] = ()  # all of the open batches that a page shows, as text
    n_on_batch_lane: int = 0  # open batches, of the batch lane only
    oldest: datetime | None = None  # when the first and the last of those at the provider were taken
    newest: datetime | None = None
    largest: int = 0  # rows of the largest of those
    first_pass: bool = False  # whether rows are at the provider that were never sent before, but for a try
    standstill: str = ""  # why nothing moves at all, of any job


def facts_of(job: Job) -> Facts:
    """Three queries while the job lives, one when it is over."""
    states = dict(Batch.objects.filter(job=job).values_list("state").annotate(n=Count("id")).order_by())
    open_ones: list[Any] = []
    if not JobState(job.state).terminal:
        open_ones = list(open_batches(job.pk))
    waiting = next((each["wait_reason"] for each in open_ones if each["wait_reason"]), "")
    moving = [each for each in open_ones if each["state"] not in WAITING_STATES]
    expires = min((each["expires_at"] for each in open_ones if each["expires_at"]), default=None)
    n_seen = sum(seen_of(each["provider_counts"]) or 0 for each in open_ones)
    there = [each for each in open_ones if each["state"] == BatchState.SUBMITTED and each["submitted_at"]]
    taken = sorted(each["submitted_at"] for each in there)
    return Facts(
        states,
        sum(states.values()),
        "" if moving else waiting,
        expires,
        n_seen,
        tuple(repr(each) for each in open_ones),
        sum(each["round__lane"] == Lane.BATCH for each in open_ones),
        taken[0] if taken else None,
        taken[-1] if taken and not facts_waiting(states) else None,
        max((each["n_requests"] for each in there), default=0),
        any(each["round__reason"] == RoundReason.FIRST for each in open_ones),
        "" if JobState(job.state).terminal else standstill(),
    )


def facts_waiting(states: Mapping[str, int]) -> bool:
    """Whether a batch is not at the provider yet, so that nothing can be said of the end."""
    return any(states.get(state) for state in WAITING_STATES)


NOTHING = Facts({}, 0, "", None, 0)


def seen_of(counts: Mapping[str, Any]) -> int | None:
    """Rows that the provider says it is done with."""
    if "succeeded" not in counts and "failed" not in counts:
        return None
    return int(counts.get("succeeded") or 0) + int(counts.get("failed") or 0)


def title(job: Job) -> str:
    """What a tab of the browser tells: failure first, else how far it is."""
    state = JobState(job.state)
    n = job.n_unsuccessful
    if job.needs:
        return f"Needs you · {job.name}"
    if state.terminal and n:
        return f"{n:,} row{'' if n == 1 else 's'} did not succeed · {job.name}"
    if state.terminal:
        return f"{state.look.label} · {job.name}"
    return f"{formats.percent(min(job.n_done, job.n_rows - 1), job.n_rows)} · {job.name}"


def sentence(job: Job, facts: Facts) -> str:
    """How it is going, in one sentence."""
    state = JobState(job.state)
    if state.terminal:
        return _ended(job, state)
    if job.needs.startswith(CAPPED):
        return "Held: a cap keeps the next batches back until a person decides."
    if job.needs:
        return f"Needs you: {job.needs}"
    if job.wish:
        return "Finishing in real time: what runs is cancelled and collected first, then the rest is sent."
    if state is JobState.QUEUED:
        return "Waiting for a worker to pick it up."
    n_open = sum(n for name, n in facts.states.items() if name not in CLOSED)
    if state is JobState.CANCELLING:
        return (
            f"Cancelling: {_n(n_open, 'batch', 'batches')} still to come back from the provider. What it has finished is kept and paid for."
        )
    if facts.states.get(BatchState.UNKNOWN):
        return "The provider gave no clear answer to a batch. It is looked for there; nothing is sent twice."
    if facts.waiting:
        return f"Waiting: {facts.waiting.rstrip('.')}."
    if state is JobState.PREPARING or not facts.n_batches:
        return "Preparing: the prompt is filled in for each row and cut into batches."
    back = facts.n_batches - n_open
    if facts.n_batches == 1 and n_open == 1:
        return "Running: its batch is at the provider." if facts.states.get(BatchState.SUBMITTED) else "Running: its batch is on the way."
    retrying = job.counts[PENDING] if job.n_settled_rounds and not facts.first_pass else 0
    what = (
        f"{_n(retrying, 'row is', 'rows are')} being retried"
        if retrying
        else f"{back:,} of {_n(facts.n_batches, 'batch is', 'batches are')} back"
    )
    return f"Running: {what}."


def _ended(job: Job, state: JobState) -> str:
    took = formats.duration((job.finished_at - job.launched_at).total_seconds()) if job.finished_at and job.launched_at else "–"
    rows = _n(job.n_rows, "row", "rows")
    if state is JobState.COMPLETED:
        return f"All {rows} succeeded, in {took}." if job.n_rows > 1 else f"The row succeeded, in {took}."
    if state is JobState.FAILED:
        return f"None of the {rows} succeeded. Nothing is running any more."
    if state is JobState.CANCELLED:
        return f"Cancelled after {took}. {job.n_succeeded:,} of {rows} had succeeded and are kept."
    return f"{job.n_succeeded:,} of {rows} succeeded, in {took}; {job.n_unsuccessful:,} did not."


def _n(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def batch_lines(batches: QuerySet[Batch] | Sequence[Batch]) -> list[BatchLine]:
    """Batches as lines; what the provider said of each in words."""
    found = []
    for batch in batches:
        state = BatchState(batch.state)
        reason = "" if state.terminal and not batch.outcomes.get("failed") else batch.problem
        found.append(
            BatchLine(
                batch=batch,
                look=state.look,
                at_provider=remote_status(batch.provider_status),
                n_seen=seen_of(batch.provider_counts),
                reason=batch.wait_reason if not state.terminal and batch.wait_reason else reason,
                round_number=batch.round.number,
            )
        )
    return found


def batches_page(job: Job, number: int = 1, per_page: int = 50) -> tuple[list[BatchLine], int]:
    """A page of all batches, the newest round first, and how many there are."""
    batches = Batch.objects.filter(job=job).select_related("round").order_by("-round__number", "number")
    at = (number - 1) * per_page
    return batch_lines(batches[at : at + per_page]), batches.count()


def round_lines(job: Job) -> list[RoundLine]:
    """The passes over rows, oldest first, with what each cost and what it does differently. One query."""
    rounds = job.rounds.select_related("created_by").annotate(
        paid=Sum("batches__paid_usd"),
        uncertain=Sum(Cast(KeyTextTransform("unknown_rows", "batches__usage"), BigIntegerField())),
        done=Sum("batches__n_requests", filter=Q(batches__state__in=CLOSED)),
    )
    found = []
    for each in rounds.order_by("number"):
        state = RoundState(each.state)
        look = Look("Settled", "good", "check") if state is RoundState.SETTLED else Look("Running", "active", "half")
        by = each.created_by.get_username() if each.created_by else ""
        changes = tuple((name.replace("_", " "), value) for name, value in each.changes.items())
        done = each.n_rows if state is RoundState.SETTLED else each.done or 0
        found.append(
            RoundLine(
                number=each.number,
                reason=RoundReason(each.reason).label,
                n_rows=each.n_rows,
                n_done=done,
                look=look,
                paid=each.paid or Decimal(0),
                changes=changes,
                at=each.created_at,
                by=by,
                n_uncertain=each.uncertain or 0,
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Usual:
    """How long such batches took in this workspace, in seconds: half of `n` less than `median`, 9 of 10 less than `slow`."""

    median: float
    slow: float
    n: int


def time_of(job: Job, facts: Facts, begun: datetime | None, usual: Usual | None = None) -> tuple[str, str, str]:
    """Label, value and note of the tile of time: how long it took; what is left, by what the provider says, else as is usual here;
    else when the provider gives up."""
    now = timezone.now()
    if job.launched_at and job.finished_at and JobState(job.state).terminal:
        return (
            "Took",
            formats.duration((job.finished_at - job.launched_at).total_seconds()),
            f"until {timezone.localtime(job.finished_at):%-d %b, %H:%M}",
        )
    done, left = job.n_done + facts.n_seen, job.n_rows - job.n_done - facts.n_seen
    elapsed = (now - begun).total_seconds() if begun else 0
    if not job.n_settled_rounds and elapsed > 20 and done >= max(1, job.n_rows // 20) and left > 0:
        each = elapsed / done * left
        return (
            "Time left",
            formats.duration_range(each * 0.7, each * 1.6),
            f"roughly; {done:,} of {job.n_rows:,} rows are done at the provider",
        )
    if usual and facts.newest and (found := _usually_left(usual, (now - facts.newest).total_seconds())):
        return found
    if facts.expires_at:
        return (
            "Ends by",
            f"{timezone.localtime(facts.expires_at):%a %H:%M}",
            "then the provider gives up on what is left; most batches end long before",
        )
    return "Time left", "–", "known once the provider has begun"


def _usually_left(usual: Usual, elapsed: float) -> tuple[str, str, str] | None:
    """What is left as batches here usually took; None for one that takes longer than most did."""
    low, high = max(0.0, usual.median - elapsed), usual.slow - elapsed
    if high <= 0:
        return None
    value = formats.duration_range(low, high) if low >= 1 else f"up to {formats.duration(high)}"
    note = f"as is usual here: of {usual.n} such batches half took at most {formats.duration(usual.median)}, 9 in 10 at most"
    return "Time left", value, f"{note} {formats.duration(usual.slow)}"


def job_page(job: Job, facts: Facts, usual: Usual | None = None) -> JobPage:
    """All that the page of a job shows, in seven queries with those of the facts, whatever the number of rows."""
    rounds = round_lines(job)
    shown = batch_lines(Batch.objects.filter(job=job).select_related("round").order_by("-round__number", "number")[:BATCHES_SHOWN])
    unknown = [line for line in shown if line.batch.state == BatchState.UNKNOWN]
    if facts.states.get(BatchState.UNKNOWN, 0) > len(unknown):  # some are further down
        unknown = batch_lines(Batch.objects.filter(job=job, state=BatchState.UNKNOWN).select_related("round")[:20])
    events = latest_events(job, EVENTS_SHOWN + 1)
    pace = pace_of(job, events[0].at if events else None)
    prices, note = prices_of(job)
    n_uncertain = sum(each.n_uncertain for each in rounds)
    label, value, more = time_of(job, facts, rounds[-1].at if rounds else job.launched_at, usual)
    return JobPage(
        frame=frame_of(job, "overview", facts),
        segments=segments_of(job),
        money=money_of(job),
        uncertain=uncertain_words(n_uncertain, uncertain_most(job)) if n_uncertain else "",
        batches=tuple(shown),
        n_batches=facts.n_batches,
        unknown=tuple(unknown),
        rounds=tuple(rounds),
        events=tuple(events[:EVENTS_SHOWN]),
        more_events=len(events) > EVENTS_SHOWN,
        settings=settings_of(job),
        prices=prices,
        price_note=note,
        time_label=label,
        time_value=value,
        time_note=more,
        n_seen=facts.n_seen,
        pace=pace,
        stamp=stamp_of(job, facts, pace),
        facts=facts,
    )
