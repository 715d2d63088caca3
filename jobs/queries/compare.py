"""Jobs over one dataset version side by side: numbers, causes, agreement of the answers, and the rows that differ."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from jobs import formats
from jobs.models import Batch, DatasetVersion, Job, Workspace
from jobs.queries.failures import cause_of
from jobs.queries.job_money import money_of
from jobs.rows.compare import Agreement, Comparison, compare, differing
from jobs.rows.query import Query, RowFiles
from jobs.rows.schema import fields
from jobs.words import PENDING, PENDING_LOOK, JobState, Look, OutcomeKind

PER_PAGE = 25
MOST_CHOICES = 100
MOST_INPUTS = 6
CELL = 300  # characters of an input; the whole row is one click away
ANSWER = 1_500  # characters of an answer; differences are looked for in these
MOST_WORDS = 800  # words of a text that are held against each other; above, texts stand whole
SHADES = (2, 5, 10)  # percent of the rows from which a disagreement is shaded darker
WHOLE = ""  # the field's name for whole answers


@dataclass(frozen=True, slots=True)
class Side:
    """A job in numbers. Money is None where a price is unknown; `seconds` so far where it is not over; tokens are of all attempts."""

    job: Job
    look: Look
    over: bool
    letter: str
    paid: Decimal | None
    at_least: bool
    per_thousand: Decimal | None
    realtime: Decimal | None
    input_tokens: int
    output_tokens: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class CauseLine:
    """A cause, and how many rows of each job have it."""

    label: str
    meaning: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the confusion: rows, how it is shaded (0 to 4), and whether both say the same."""

    first: str
    second: str
    n: int
    shade: int
    same: bool
    single: bool  # one value each, so that its rows can be shown


@dataclass(frozen=True, slots=True)
class FieldLine:
    """The agreement of one field; `table` is the confusion, a row per label of the reference."""

    name: str
    type: str
    same: int
    n: int
    share: str
    n_differ: int
    labels: tuple[str, ...]
    table: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """The reference against another job."""

    both: int
    only_first: int
    only_second: int
    fields: tuple[FieldLine, ...]


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A row on which two jobs differ: inputs (header, text), and both values in pieces (text, whether it stands only there)."""

    row: int
    inputs: tuple[tuple[str, str], ...]
    first: tuple[tuple[str, bool], ...] | None
    second: tuple[tuple[str, bool], ...] | None


@dataclass(frozen=True, slots=True)
class DiffPage:
    lines: tuple[DiffLine, ...]
    total: int
    number: int


@dataclass(frozen=True, slots=True)
class Group:
    """A dataset version with its jobs, newest first, for the choice."""

    version: DatasetVersion
    jobs: tuple[Job, ...]

    @property
    def lines(self) -> list[tuple[Job, Look]]:
        return [(job, JobState(job.state).look) for job in self.jobs]


def launched(workspace: Workspace) -> QuerySet[Job]:
    return Job.objects.filter(workspace=workspace, dataset_version__isnull=False).exclude(state=JobState.DRAFT)


def compare_url(job: Job) -> str:
    """Where to compare the job, or "" where no other job ran over the same dataset version; one query."""
    if job.state == JobState.DRAFT or not job.dataset_version_id:
        return ""
    others = launched(job.workspace).filter(dataset_version_id=job.dataset_version_id).exclude(pk=job.pk)
    return f"{reverse('compare')}?{urlencode({'jobs': str(job.pk)})}" if others.exists() else ""


def choices(workspace: Workspace, version_id: UUID | None = None) -> list[Group]:
    """Dataset versions with two jobs or more, the ones of the newest jobs first; or the one that is asked for. Two queries."""
    found = launched(workspace)
    if version_id is not None:
        found = found.filter(dataset_version_id=version_id)
    else:
        several = DatasetVersion.objects.filter(dataset__workspace=workspace)
        several = several.annotate(n=Count("jobs", filter=~Q(jobs__state=JobState.DRAFT))).filter(n__gte=2)
        found = found.filter(dataset_version__in=several.values("pk"))
    groups: dict[UUID, list[Job]] = {}
    related = found.select_related("dataset_version__dataset", "prompt_version__prompt", "connection").defer("spec", "estimate", "draft")
    for job in related.order_by("-launched_at", "-created_at")[:MOST_CHOICES]:
        assert job.dataset_version is not None
        groups.setdefault(job.dataset_version.pk, []).append(job)
    return [Group(jobs[0].dataset_version, tuple(jobs)) for jobs in groups.values() if jobs[0].dataset_version]


def refusal(jobs: Sequence[Job]) -> str:
    """Why these jobs cannot be held against each other, in words; "" if they can."""
    for job in jobs:
        if job.state == JobState.DRAFT or job.dataset_version is None:
            return f"“{job.name}” is a draft: it has no answers to compare."
    first = jobs[0]
    other = next((job for job in jobs if job.dataset_version_id != first.dataset_version_id), None)
    if other is None:
        return ""
    ours, theirs = f"“{first.name}” over {first.dataset_version}", f"“{other.name}” ran over {other.dataset_version}"
    return f"{theirs}, and {ours}: their rows are not the same rows."


def sides(jobs: Sequence[Job]) -> list[Side]:
    """One query."""
    tokens: dict[UUID, list[int]] = {job.pk: [0, 0] for job in jobs}
    for pk, usage in Batch.objects.filter(job__in=jobs).order_by().values_list("job_id", "usage"):
        tokens[pk][0] += usage.get("input_tokens", 0)
        tokens[pk][1] += usage.get("output_tokens", 0)
    return [_side(job, letter, *tokens[job.pk]) for job, letter in zip(jobs, "ABCD", strict=False)]


def _side(job: Job, letter: str, input_tokens: int, output_tokens: int) -> Side:
    money, state = money_of(job), JobState(job.state)
    ended = job.finished_at or (None if state.terminal else timezone.now())
    certain = money.paid is not None and not job.n_unpriced and job.n_succeeded
    return Side(
        job=job,
        look=state.look,
        over=state.terminal,
        letter=letter,
        paid=money.paid,
        at_least=bool(job.n_unpriced) and money.paid is not None,
        per_thousand=job.paid_usd * 1000 / job.n_succeeded if certain else None,
        realtime=None if job.n_unpriced else money.realtime,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        seconds=(ended - job.launched_at).total_seconds() if ended and job.launched_at else None,
    )


@dataclass(frozen=True, slots=True)
class OutcomeLine:
    """A kind of outcome, and of each job its rows and their share."""

    look: Look
    counts: tuple[tuple[int, str], ...]


def outcome_lines(found: Sequence[Side]) -> list[OutcomeLine]:
    """The kinds that any of the jobs has, pending rows last."""
    kinds = [(kind.look, kind.value) for kind in OutcomeKind] + [(PENDING_LOOK, PENDING)]
    lines = []
    for look, kind in kinds:
        counts = tuple((side.job.counts[kind], formats.share(side.job.counts[kind], side.job.n_rows)) for side in found)
        if any(n for n, _ in counts) or kind == OutcomeKind.SUCCEEDED:
            lines.append(OutcomeLine(look, counts))
    return lines


def cause_lines(files: Sequence[RowFiles | None]) -> list[CauseLine]:
    """Causes of what did not succeed in the settled standings, the most frequent first."""
    found: dict[str, list[int]] = {}
    meanings: dict[str, str] = {}
    for i, each in enumerate(files):
        if each is None:
            continue
        with Query(each) as query:
            for count in query.causes():
                if count.kind != OutcomeKind.SUCCEEDED:
                    advice = cause_of(count.cause, count.kind).advice
                    meanings[advice.label] = advice.meaning
                    found.setdefault(advice.label, [0] * len(files))[i] += count.n
    return [CauseLine(label, meanings[label], tuple(counts)) for label, counts in sorted(found.items(), key=lambda item: -sum(item[1]))]


def shared_fields(first: Job, second: Job) -> list[tuple[str, str]]:
    """Fields of both output schemas; of two types, they are compared as text. Empty: whole answers are compared."""
    ours, theirs = (dict(fields(job.prompt_version.schema)) if job.prompt_version else {} for job in (first, second))
    return [(name, type_ if theirs[name] == type_ else "text") for name, type_ in ours.items() if name in theirs]


@lru_cache(maxsize=64)
def _compared(first: Path, second: Path, wanted: tuple[tuple[str, str], ...]) -> Comparison:
    """Standings files never change under their name."""
    return compare(first, second, wanted)


def pair_of(first: Path, second: Path, wanted: Sequence[tuple[str, str]]) -> Pair:
    found = _compared(first, second, tuple(wanted))
    return Pair(found.both, found.only_first, found.only_second, tuple(_field(each) for each in found.fields))


def _field(found: Agreement) -> FieldLine:
    labels = tuple(found.labels)
    table = tuple((a, tuple(_cell(a, b, found.confusion.get((a, b), 0), found.n) for b in labels)) for a in labels)
    name = found.field or WHOLE
    return FieldLine(name, found.type, found.same, found.n, formats.share(found.same, found.n), found.n - found.same, labels, table)


def _cell(first: str, second: str, n: int, total: int) -> Cell:
    same = first == second and first != "…"
    shade = 0 if same or not n else 1 + sum(n * 100 >= total * percent for percent in SHADES)
    return Cell(first, second, n, shade, same, "…" not in (first, second))


def default_field(pair: Pair) -> str:
    """The one with the most differences."""
    return max(pair.fields, key=lambda field: field.n_differ).name if pair.fields else WHOLE


def diff_page(
    files: RowFiles, second: Path, columns: Sequence[dict[str, Any]], field: str, pair: tuple[str, str] | None, number: int
) -> DiffPage:
    """A page of the rows that differ in a field, or of one cell of its confusion. `files` are those of the reference."""
    assert files.base is not None
    total, found = differing(files.base, second, field or None, limit=PER_PAGE, offset=(number - 1) * PER_PAGE, pair=pair)
    if not found and total:  # past the end: the last page
        number = -(-total // PER_PAGE)
        total, found = differing(files.base, second, field or None, limit=PER_PAGE, offset=(number - 1) * PER_PAGE, pair=pair)
    with Query(files) as query:
        cells = {line.row: line.values for line in query.lines([row for row, _, _ in found])}
    names = {str(column["key"]): str(column["name"]) for column in columns}
    lines = []
    for row, ours, theirs in found:
        values = cells.get(row, {})
        inputs = tuple((names[key], _cut(value, CELL)) for key, value in list(values.items())[:MOST_INPUTS] if value)
        lines.append(DiffLine(row, inputs, *pieces(ours, theirs)))
    return DiffPage(tuple(lines), total, number)


Pieces = tuple[tuple[str, bool], ...]


def pieces(first: str | None, second: str | None) -> tuple[Pieces | None, Pieces | None]:
    """Both texts cut where they differ: (text, whether the other one lacks it); None stays None."""
    if first is None or second is None:
        return tuple(None if text is None else ((_cut(text, ANSWER), False),) for text in (first, second))  # type: ignore[return-value]
    ours, theirs = (re.findall(r"\s+|\w+|[^\w\s]", _cut(text, ANSWER)) for text in (first, second))
    if len(ours) + len(theirs) > 2 * MOST_WORDS or min(len(ours), len(theirs)) < 3:
        return ((_cut(first, ANSWER), first != second),), ((_cut(second, ANSWER), first != second),)
    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    for what, a, b, c, d in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        for side, words in ((left, ours[a:b]), (right, theirs[c:d])):
            if words:
                side.append(("".join(words), what != "equal"))
    return tuple(left), tuple(right)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
