"""How well jobs went: estimates against reality, failures and cost per succeeded row; filters in the URL, and CSV."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from jobs.access import current_workspace, member
from jobs.charts import Chart
from jobs.formats import usd_places
from jobs.forms.costs import CostsForm
from jobs.queries import reports as queries
from jobs.queries.costs import DIMENSIONS, PERIODS, Filters

MOST_LINES = 50
FIRST_TEXT = (
    "After the first jobs you see here whether their estimates held, which models and prompts fail most, "
    "and what a succeeded row costs with each."
)
TABLES = ("accuracy", *queries.GROUPS)


@require_GET
@member()
def quality(request: HttpRequest) -> HttpResponse:
    form = CostsForm(request.GET)
    ok = form.is_valid()
    filters = form.filters() if ok else Filters()
    found = queries.quality_of(current_workspace(request), filters)
    page = {
        "report": found,
        "filters": filters,
        "bad_filter": not ok,
        "nav": "costs",
        "first_text": FIRST_TEXT,
        "accuracy": found.accuracy[:MOST_LINES],
        "accuracy_places": usd_places([each.high for each in found.accuracy] + [each.paid for each in found.accuracy]),
        "breakdowns": [(each, usd_places([group.per_thousand for group in each.groups])) for each in found.breakdowns],
        **_controls(request.GET, filters, found),
    }
    partial = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    return render(request, f"jobs/{'_reports' if partial else 'reports'}.html", page, status=200 if ok else 422)


@require_GET
@member()
def quality_csv(request: HttpRequest) -> HttpResponse:
    """`what` = accuracy, model or prompt; the filters as on the page. Amounts are exact, unknown ones empty."""
    form, what = CostsForm(request.GET), request.GET.get("what") or "accuracy"
    if not form.is_valid() or what not in TABLES:
        return HttpResponse("A filter of this address cannot be read.", status=422, content_type="text/plain; charset=utf-8")
    workspace, filters = current_workspace(request), form.filters()
    chart = (
        _accuracy(queries.accuracies(workspace, filters)[0])
        if what == "accuracy"
        else _groups(what, queries.breakdown_of(workspace, filters, what))
    )
    response = HttpResponse(chart.csv(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="quality-{what}.csv"'
    return response


def _accuracy(found: list[queries.Accuracy]) -> Chart:
    header = ("job_id", "job", "model", "finished_at", "estimate_low_usd", "estimate_high_usd", "paid_usd", "verdict")
    return Chart({}, "", (header, tuple((str(a.pk), a.name, a.model, a.at.isoformat(), a.low, a.high, a.paid, a.verdict) for a in found)))


def _groups(by: str, groups: list[queries.Quality]) -> Chart:
    header = (by, "jobs", "unpriced_jobs", "settled_rows", "succeeded", "failed", "paid_usd", "wasted_usd", "usd_per_1000_succeeded")
    rows = (
        (g.name, g.n_jobs, g.n_unpriced, g.n_done, g.n_succeeded, g.n_failed)
        + ((g.paid, g.wasted, g.per_thousand) if g.n_unpriced < g.n_jobs else (None, None, None))
        for g in groups
    )
    return Chart({}, "", (header, tuple(rows)))


def _controls(given: QueryDict, filters: Filters, found: queries.QualityReport) -> dict[str, Any]:
    """The choices of the filters, and the links that take each away."""
    selects = [
        {"name": name, "label": label, "value": str(filters.chosen.get(name, "")), "options": found.options[name]}
        for name, label in DIMENSIONS.items()
    ]
    active = [
        (f"{DIMENSIONS[name]}: {dict(found.options[name]).get(str(value), 'another')}", _url(given, **{name: None}))
        for name, value in filters.chosen.items()
        if name in DIMENSIONS
    ]
    return {
        "selects": selects,
        "active": active,
        "periods": list(PERIODS.items()),
        "clear": f"{reverse('report-quality')}?period={filters.period}",
        "downloads": {what: _url(given, "report-quality-csv", what=what) for what in TABLES},
        "no_period_text": f"Nothing was launched within: {PERIODS[filters.period].lower()}.",
    }


def _url(given: QueryDict, to: str = "report-quality", /, **changes: str | None) -> str:
    query = given.copy()
    for key, value in changes.items():
        if value is None:
            query.pop(key, None)
        else:
            query[key] = value
    return f"{reverse(to)}?{query.urlencode()}" if query else reverse(to)
