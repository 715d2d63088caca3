"""How well jobs went: estimates against what was paid over time, failures and cost per succeeded row by model and by prompt version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from jobs.charts import Chart, Series, against_range, bars_by_category
from jobs.formats import share
from jobs.models import Job, Workspace
from jobs.queries.costs import NAMES, PATHS, TOP, Filters, bounds, ever_launched
from jobs.words import JobState

FINISHED = (JobState.COMPLETED, JobState.COMPLETED_WITH_FAILURES)
MOST_JOBS = 500  # points of the chart and lines of its table; the newest
GROUPS = {"model": "Model", "prompt": "Prompt version"}
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A finished job: the range of its estimate (dollars, on its lane) against what it cost."""

    pk: UUID
    name: str
    model: str
    at: datetime
    low: Decimal
    high: Decimal
    paid: Decimal

    @property
    def verdict(self) -> str:
        return "below" if self.paid < self.low else "above" if self.paid > self.high else "within"

    @property
    def percent(self) -> Decimal | None:
        """What was paid in percent of the middle of the range; None where the middle is zero."""
        middle = (self.low + self.high) / 2
        return self.paid * 100 / middle if middle else None


@dataclass(slots=True)
class Quality:
    """Sums of the jobs of a model or prompt version. Dollars per row are of the jobs whose every price is known."""

    name: str
    n_jobs: int = 0
    n_unpriced: int = 0
    n_done: int = 0
    n_succeeded: int = 0
    priced_succeeded: int = 0
    paid: Decimal = ZERO
    wasted: Decimal = ZERO

    @property
    def n_failed(self) -> int:
        return self.n_done - self.n_succeeded

    @property
    def failed_share(self) -> str:
        return share(self.n_failed, self.n_done)

    @property
    def failed_percent(self) -> Decimal | None:
        return Decimal(self.n_failed) * 100 / self.n_done if self.n_done else None

    @property
    def per_thousand(self) -> Decimal | None:
        """Dollars per 1,000 rows that succeeded; None where a price is unknown or nothing succeeded."""
        return self.paid * 1000 / self.priced_succeeded if self.priced_succeeded else None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """By model or by prompt version: a table and its two charts (None for fewer than two groups)."""

    by: str
    label: str
    groups: list[Quality]
    failures: Chart | None
    prices: Chart | None


@dataclass(frozen=True, slots=True)
class QualityReport:
    accuracy: list[Accuracy]
    accuracy_chart: Chart | None
    accuracy_words: str
    n_without: int  # finished jobs with no estimate or no known price
    breakdowns: list[Breakdown]
    options: dict[str, list[tuple[str, str]]]
    n_jobs: int
    anything: bool
    ever: bool  # whether any job was ever launched here, whatever the filters say


def quality_of(workspace: Workspace, filters: Filters) -> QualityReport:
    """In three queries, however many jobs there are."""
    cells = _cells(_of_period(workspace, filters.period))
    mine = [cell for cell in cells if all(str(cell[PATHS[name]]) == str(value) for name, value in filters.chosen.items())]
    accuracy, n_without = accuracies(workspace, filters)
    return QualityReport(
        accuracy=accuracy,
        accuracy_chart=accuracy_chart(accuracy) if len(accuracy) > 1 else None,
        accuracy_words=accuracy_words(accuracy),
        n_without=n_without,
        breakdowns=[breakdown(mine, by) for by in GROUPS],
        options={name: _options(cells, name) for name in PATHS if name != "state"},
        n_jobs=sum(cell["n_jobs"] for cell in mine),
        anything=bool(cells),
        ever=bool(cells) or ever_launched(workspace),
    )


def breakdown_of(workspace: Workspace, filters: Filters, by: str) -> list[Quality]:
    """For the download."""
    chosen = {PATHS[name]: value for name, value in filters.chosen.items()}
    return breakdown(_cells(_of_period(workspace, filters.period).filter(**chosen)), by).groups


def _of_period(workspace: Workspace, period: str) -> QuerySet[Any]:
    """Launched jobs with at least one settled row, by their launch."""
    found = Job.objects.filter(workspace=workspace).exclude(state=JobState.DRAFT).annotate(at=Coalesce("launched_at", "created_at"))
    start, end = bounds(period, timezone.now())
    found = found if start is None else found.filter(at__gte=start)
    return found if end is None else found.filter(at__lt=end)


def _cells(jobs: QuerySet[Any]) -> list[dict[str, Any]]:
    """Sums by every combination of what can be filtered or grouped, made by the database."""
    keys = list(
        dict.fromkeys([*(PATHS[n] for n in PATHS if n != "state"), *(NAMES[n] for n in NAMES if n != "state"), "prompt_version__number"])
    )
    done = sum((Sum(f"n_{kind}") for kind in ("invalid", "failed", "expired", "cancelled", "missing")), Sum("n_succeeded"))
    priced = Q(n_unpriced=0)
    sums = {
        "n_jobs": Count("pk"),
        "n_unpriced_jobs": Count("pk", filter=~priced),
        "done": done,
        "succeeded": Sum("n_succeeded"),
        "priced_succeeded": Sum("n_succeeded", filter=priced),
        "paid": Sum("paid_usd", filter=priced),
        "wasted": Sum("wasted_usd", filter=priced),
    }
    return list(jobs.order_by().values(*keys).annotate(**sums))


def breakdown(cells: Iterable[dict[str, Any]], by: str) -> Breakdown:
    """Most rows first; only what has settled rows."""
    found: dict[Any, Quality] = {}
    for cell in cells:
        name = cell["model"] if by == "model" else _version(cell)
        key = cell["model"] if by == "model" else (cell["prompt_version__prompt_id"], cell["prompt_version__number"])
        sums = found.setdefault(key, Quality(name or "–"))
        sums.n_jobs += cell["n_jobs"]
        sums.n_unpriced += cell["n_unpriced_jobs"]
        sums.n_done += cell["done"]
        sums.n_succeeded += cell["succeeded"]
        sums.priced_succeeded += cell["priced_succeeded"] or 0
        sums.paid += cell["paid"] or ZERO
        sums.wasted += cell["wasted"] or ZERO
    groups = sorted((sums for sums in found.values() if sums.n_done), key=lambda sums: (-sums.n_done, sums.name))
    shown = groups[:TOP]
    label = GROUPS[by]
    return Breakdown(
        by,
        label,
        groups,
        _bars(label, shown, "failures") if len(shown) > 1 else None,
        _bars(label, shown, "prices") if len(shown) > 1 else None,
    )


def _version(cell: dict[str, Any]) -> str:
    name = cell["prompt_version__prompt__name"]
    return f"{name} v{cell['prompt_version__number']}" if name else "–"


def _bars(label: str, groups: Sequence[Quality], what: str) -> Chart:
    names = [group.name for group in groups]
    if what == "failures":
        series = Series("Did not succeed, %", [_rounded(group.failed_percent, 2) for group in groups])
        chart = bars_by_category(
            label, names, [series], caption="Rows that did not succeed, in percent of the settled rows.", unit="percent"
        )
    else:
        series = Series("$ per 1,000 succeeded", [_rounded(group.per_thousand, 6) for group in groups])
        caption = "Dollars per 1,000 rows that succeeded, failed attempts included. Models without a known price have no bar."
        chart = bars_by_category(label, names, [series], caption=caption, unit="dollars")
    chart.figure["layout"]["yaxis"]["dtick"] = 1  # every bar is named, however narrow the page
    return chart


def _rounded(value: Decimal | None, places: int) -> Decimal | None:
    return None if value is None else round(value, places)


def accuracies(workspace: Workspace, filters: Filters) -> tuple[list[Accuracy], int]:
    """Finished jobs with an estimate on their lane and known prices, newest first; and how many there are without."""
    chosen = {PATHS[name]: value for name, value in filters.chosen.items()}
    jobs = _of_period(workspace, filters.period).filter(**chosen, state__in=[state.value for state in FINISHED])
    found, without = [], 0
    columns = ("pk", "name", "model", "lane", "finished_at", "at", "estimate", "paid_usd", "n_unpriced")
    for pk, name, model, lane, finished_at, at, estimate, paid, n_unpriced in jobs.order_by("-at").values_list(*columns)[:MOST_JOBS]:
        said = ((estimate or {}).get("lanes") or {}).get(lane) or {}
        if n_unpriced or said.get("low") is None or said.get("high") is None:
            without += 1
        else:
            found.append(Accuracy(pk, name, model, finished_at or at, Decimal(said["low"]), Decimal(said["high"]), paid))
    return found, without


def accuracy_words(found: Sequence[Accuracy]) -> str:
    """One sentence: how many cost what was said."""
    if not found:
        return ""
    n = {verdict: sum(each.verdict == verdict for each in found) for verdict in ("within", "above", "below")}
    jobs = "the one finished job" if len(found) == 1 else f"{len(found):,} finished jobs"
    sentence = f"Of {jobs} with an estimate, {n['within']:,} cost what the range said, {n['above']:,} more, {n['below']:,} less."
    percents = sorted(each.percent for each in found if each.percent is not None)
    if len(percents) > 2:
        sentence += f" Half of them cost at most {round(percents[len(percents) // 2])} % of the middle of their range."
    return sentence


def accuracy_chart(found: Sequence[Accuracy]) -> Chart:
    """What was paid in percent of the middle of the estimate, over time, with the range as a bar around 100."""
    shown = [each for each in reversed(found) if each.percent is not None]
    caption = (
        "What each job cost, in percent of the middle of its estimate, by the day it finished. "
        "The bar is the estimate's range; a point outside it was misjudged."
    )
    return against_range(
        "Job",
        [each.name for each in shown],
        [timezone.localtime(each.at) for each in shown],
        low=[each.low for each in shown],
        high=[each.high for each in shown],
        actual=[each.paid for each in shown],
        caption=caption,
    )


def _options(cells: Iterable[dict[str, Any]], name: str) -> list[tuple[str, str]]:
    found = {str(cell[PATHS[name]]): str(cell[NAMES[name]]) for cell in cells if cell[PATHS[name]] not in (None, "")}
    return sorted(found.items(), key=lambda option: option[1].lower())
