"""Failures of a job by cause, biggest first, each with the act that fits it and about what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from jobs import formats
from jobs.models import Job, Round
from jobs.queries.job import Frame, Segment, facts_of, frame_of, pace_of, rows_url, segments_of, stamp_of
from jobs.queries.job_money import about, cost_per_row, dollars, uncertain_most, uncertain_words
from jobs.rows.query import CauseCount, Query, RowFiles
from jobs.words import PENDING, Advice, Cause, Look, OutcomeKind, Remedy, RoundState


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that stand at one kind and cause. `message` is the provider's most frequent sentence; `price` reads ", about $0.40"."""

    kind: str
    cause: str
    look: Look
    advice: Advice
    n: int
    share: str
    wasted: Decimal
    n_unpriced: int
    messages: tuple[tuple[str, int], ...]
    n_other_messages: int
    rows_url: str
    price: str

    wasted_words: str

    @property
    def needs_change(self) -> bool:
        """Whether the same request would fail again."""
        return self.advice.remedy is Remedy.CHANGE

    @property
    def can_retry(self) -> bool:
        return self.advice.remedy is not Remedy.NONE


@dataclass(frozen=True, slots=True)
class FailuresPage:
    frame: Frame
    groups: tuple[Group, ...]
    n_failed: int
    n_retrying: int
    n_pending: int
    cost_words: str  # what they cost, as the end of a sentence
    price_all: str
    n_same: int  # rows whose cause says that the same request may do better
    price_same: str
    segments: tuple[Segment, ...]
    pace: int
    stamp: str


def failures_page(job: Job, files: RowFiles) -> FailuresPage:
    """The page, out of the row files (one look over the standings) and three queries."""
    with Query(files) as query:
        counts = [each for each in query.causes() if each.kind != OutcomeKind.SUCCEEDED]
        messages = query.messages() if counts else {}
        uncertain = query.uncertain() if any(each.n_unknown for each in counts) else {}
    per_row = cost_per_row(job)
    facts, pace = facts_of(job), pace_of(job)
    places = formats.usd_places([each.cost for each in counts]) if counts else 2
    groups = tuple(_group(job, each, messages.get((each.kind, each.cause), []), per_row, places) for each in counts)
    n_failed = sum(group.n for group in groups)
    n_same = sum(group.n for group in groups if group.can_retry and not group.needs_change)
    return FailuresPage(
        frame=frame_of(job, "failures", facts),
        groups=groups,
        n_failed=n_failed,
        n_retrying=retrying(job),
        n_pending=job.counts[PENDING],
        cost_words=_cost_words(counts, places, uncertain_most(job, uncertain) if uncertain else None),
        price_all=about(n_failed, per_row),
        n_same=n_same,
        price_same=about(n_same, per_row),
        segments=segments_of(job),
        pace=pace,
        stamp=stamp_of(job, facts, pace),
    )


def retrying(job: Job) -> int:
    """Rows that wait for the outcome of a later round."""
    open_rounds = Round.objects.filter(job=job, number__gt=1).exclude(state=RoundState.SETTLED)
    n = sum(open_rounds.values_list("n_rows", flat=True))
    return min(n, job.counts[PENDING])


def cause_of(cause: str | None, kind: str) -> Cause:
    """A cause that is known; what an older or newer file calls otherwise is not recognised."""
    try:
        return Cause(cause or kind)
    except ValueError:
        return Cause.UNKNOWN


def _group(job: Job, count: CauseCount, messages: list[tuple[str, int]], per_row: Decimal | None, places: int) -> Group:
    cause = cause_of(count.cause, count.kind)
    return Group(
        kind=count.kind,
        cause=count.cause or "",
        look=OutcomeKind(count.kind).look,
        advice=cause.advice,
        n=count.n,
        share=formats.share(count.n, job.n_rows),
        wasted=count.cost,
        n_unpriced=count.n_unpriced,
        messages=tuple(messages),
        n_other_messages=max(0, count.n - sum(n for _, n in messages)) if messages else 0,
        rows_url=rows_url(job, kind=count.kind, **({"cause": count.cause} if count.cause else {})),
        price=about(count.n, per_row),
        wasted_words="–" if count.n_unpriced + count.n_unknown == count.n else dollars(count.cost, places),
    )


def _cost_words(counts: list[CauseCount], places: int, most: Decimal | None) -> str:
    """What rows cost that did not succeed: "nothing was paid for them" only where that is known of each."""
    wasted = sum((each.cost for each in counts), Decimal(0))
    unpriced = sum(each.n_unpriced for each in counts)
    said = []
    if wasted:
        said.append(f"they cost {formats.usd(wasted, places)} without an answer that can be used")
    if unpriced:
        said.append(f"what {'the others' if wasted else 'they'} cost is not known")
    if unknown := uncertain_words(sum(each.n_unknown for each in counts), most):
        said.append(unknown)
    return "; ".join(said) or "nothing was paid for them"
