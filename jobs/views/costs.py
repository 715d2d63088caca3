"""What all jobs cost: tiles, charts and tables by filters in the URL, and the same as CSV."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from jobs.access import current_workspace, member
from jobs.charts import Cell, Chart
from jobs.costs.receipt import money
from jobs.formats import count, usd_places
from jobs.forms.costs import CostsForm
from jobs.queries import costs as queries
from jobs.queries.costs import DIMENSIONS, PERIODS, Costs, Filters

_FILTER_WORDS = {**DIMENSIONS, "state": "State"}
FIRST_TEXT = (
    "After the first job you see here what it cost, what the same tokens would have cost in real time, and what failed attempts wasted: "
    "by day, model, prompt, dataset, person and connection."
)


@require_GET
@member()
def costs(request: HttpRequest) -> HttpResponse:
    form = CostsForm(request.GET)
    ok = form.is_valid()
    filters = form.filters() if ok else Filters()
    found = queries.costs_of(current_workspace(request), filters)
    page = {
        "costs": found,
        "filters": filters,
        "bad_filter": not ok,
        "nav": "costs",
        "first_text": FIRST_TEXT,
        **_controls(request.GET, filters, found),
        **_places(found),
    }
    partial = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    return render(request, f"jobs/{'_costs' if partial else 'costs'}.html", page, status=200 if ok else 422)


@require_GET
@member()
def costs_csv(request: HttpRequest) -> HttpResponse:
    """`table` = jobs, days or groups; the filters as on the page. Amounts are exact, unknown ones empty."""
    form = CostsForm(request.GET)
    if not form.is_valid():
        return HttpResponse("A filter of this address cannot be read.", status=422, content_type="text/plain; charset=utf-8")
    filters, workspace = form.filters(), current_workspace(request)
    table = form.cleaned_data["table"] or "jobs"
    if table == "days":
        chart = queries.days_chart(workspace, filters) or Chart({}, "", (("Day", "Paid", "Saved"), ()))
    elif table == "groups":
        chart = _groups_table(queries.groups_of(workspace, filters), DIMENSIONS[filters.by])
    else:
        chart = _jobs_table(queries.all_lines(workspace, filters))
    response = HttpResponse(chart.csv(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="costs-{table}.csv"'
    return response


_MONEY = ("paid_usd", "realtime_usd", "saved_usd", "wasted_usd", "usd_per_1000_succeeded")


def _money(sums: queries.Sums) -> tuple[Cell, ...]:
    return (sums.paid_known, sums.realtime_known, sums.saved_known, sums.wasted_known, sums.per_thousand)


def _jobs_table(lines: list[queries.JobLine]) -> Chart:
    header = (
        "job_id",
        "job",
        "state",
        "launched_at",
        "model",
        "connection",
        "prompt",
        "dataset",
        "person",
        "rows",
        "succeeded",
        "unpriced",
        *_MONEY,
    )
    rows = tuple(
        (
            *(
                str(line.pk),
                line.name,
                str(line.state),
                line.at.isoformat(),
                line.model,
                line.connection,
                line.prompt,
                line.dataset,
                line.person,
            ),
            *(line.sums.n_rows, line.sums.n_succeeded, line.sums.n_unpriced, *_money(line.sums)),
        )
        for line in lines
    )
    return Chart({}, "", (header, rows))


def _groups_table(groups: list[queries.Sums], label: str) -> Chart:
    header = (label.lower(), "jobs", "rows", "succeeded", "failed", "unpriced_jobs", *_MONEY)
    rows = tuple((g.name, g.n_jobs, g.n_rows, g.n_succeeded, g.n_failed, g.n_unpriced, *_money(g)) for g in groups)
    return Chart({}, "", (header, rows))


def _controls(given: QueryDict, filters: Filters, found: Costs) -> dict[str, Any]:
    """The links and choices of the filters; each keeps the others."""
    selects = [
        {"name": name, "label": label, "value": str(filters.chosen.get(name, "")), "options": found.options[name]}
        for name, label in _FILTER_WORDS.items()
    ]
    active = []
    for name, value in filters.chosen.items():
        words = dict(found.options[name]).get(str(value), "another")
        active.append((f"{_FILTER_WORDS[name]}: {words}", _url(given, "costs", **{name: None})))
    if filters.sandbox:
        active.append(("With the sandbox", _url(given, "costs", sandbox=None)))
    return {
        "selects": selects,
        "unreal": "; sandbox, no real money" if found.only_sandbox else "; some of it is the sandbox's, no real money" * filters.sandbox,
        "active": active,
        "periods": list(PERIODS.items()),
        "tabs": [{"label": label, "url": _url(given, by=by), "current": by == filters.by} for by, label in DIMENSIONS.items()],
        "by_label": DIMENSIONS[filters.by],
        "clear": f"{reverse('costs')}?period={filters.period}",
        "per_page": queries.PAGE,
        "sort": filters.sort,
        "links": [{"sums": sums, "url": _url(given, "costs", **{filters.by: sums.key})} for sums in found.groups],
        "no_period_text": f"Nothing was launched within: {PERIODS[filters.period].lower()}.",
        "left_out_text": f"{count(found.n_left_out, 'job')} ran on the sandbox in this time. They cost no real money and are left out.",
        "with_sandbox": _url(given, "costs", sandbox="1"),
        "csv": {table: _url(given, "costs-csv", table=table) for table in ("jobs", "days", "groups")},
    }


def _places(found: Costs) -> dict[str, Any]:
    """One precision a table: that of its largest amount."""
    groups = [each.realtime for each in found.groups] + [each.paid for each in found.groups]
    jobs = [line.sums.realtime for line in found.jobs] + [line.sums.paid for line in found.jobs]
    n, total = found.total.n_unpriced, found.total
    return {
        "unpriced_title": f"{n:,} {'job has' if n == 1 else 'jobs have'} rows of unknown price",
        "saved_percent": _percent(total.saved, total.realtime) if total.realtime else "",
        "wasted_percent": _percent(total.wasted, total.paid) if total.wasted and total.paid else "",
        "places": usd_places([found.total.paid, found.total.realtime]),
        "group_places": usd_places(groups),
        "job_places": usd_places(jobs),
        "group_unit_places": usd_places([each.per_thousand for each in found.groups]),
        "job_unit_places": usd_places([line.sums.per_thousand for line in found.jobs]),
    }


def _percent(part: Decimal, whole: Decimal) -> str:
    return f"{money(part * 100 / whole, 0)} %"


def _url(given: QueryDict, to: str = "costs", /, **changes: Any) -> str:
    query = given.copy()
    query.pop("page", None)
    for key, value in changes.items():
        if value is None:
            query.pop(key, None)
        else:
            query[key] = str(value)
    return f"{reverse(to)}?{query.urlencode()}" if query else reverse(to)
