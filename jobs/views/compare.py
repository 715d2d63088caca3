"""Two or more jobs over the same dataset version, side by side."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET

from jobs.access import current_workspace, get_jobs, member
from jobs.engine.places import standings_file, table_of
from jobs.errors import BadInput
from jobs.formats import usd_places
from jobs.forms.compare import MOST_JOBS, Chosen, chosen_from
from jobs.models import Job
from jobs.queries import compare as queries
from jobs.rows.query import RowFiles


@require_GET
@member()
def compare(request: HttpRequest) -> HttpResponse:
    """With two jobs or more the comparison, with fewer the choice. What cannot be compared is refused with words: 422."""
    try:
        chosen = chosen_from(request.GET)
    except BadInput as problem:
        return _picker(request, [], problem)
    jobs = get_jobs(request, chosen.jobs) if chosen.jobs else []
    if why := queries.refusal(jobs) if jobs else "":
        return _picker(request, jobs[:1] if len(jobs) > 1 else [], BadInput(why))
    if len(jobs) < 2:
        return _picker(
            request, jobs, BadInput("Fewer than two jobs are ticked.", "Tick the jobs to compare.") if "go" in request.GET else None
        )
    try:
        page = _page(chosen, jobs)
    except BadInput as problem:
        return _picker(request, jobs[:1], problem)
    partial = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    return render(request, f"jobs/{'_compare_rows' if partial else 'compare'}.html", page)


def _picker(request: HttpRequest, jobs: list[Job], problem: BadInput | None = None) -> HttpResponse:
    reference = next((job for job in jobs if job.dataset_version_id), None)
    groups = queries.choices(current_workspace(request), reference.dataset_version_id if reference else None)
    page = {
        "groups": groups,
        "reference": reference,
        "problem": problem,
        "most": MOST_JOBS,
        "alone": reference is not None and all(len(group.jobs) < 2 for group in groups),
        "nav": "costs",
        "crumbs": [("Costs", reverse("costs"))],
    }
    return render(request, "jobs/compare_choose.html", page, status=422 if problem else 200)


def _files(job: Job) -> RowFiles | None:
    """The settled standings of a job; None before its first round is settled."""
    base = standings_file(job, job.n_settled_rounds)
    if base is None or not base.exists() or job.dataset_version is None:
        return None
    keys = tuple(str(column["key"]) for column in job.dataset_version.columns)
    return RowFiles(table_of(job.dataset_version), job.n_rows, keys, base)


def _page(chosen: Chosen, jobs: list[Job]) -> dict[str, Any]:
    """Raises BadInput where the field is none of theirs."""
    files = [_files(job) for job in jobs]
    at = next((i for i, job in enumerate(jobs) if job.pk == chosen.other), 1)
    sides = queries.sides(jobs)
    page: dict[str, Any] = {
        "sides": sides,
        "first": sides[0],
        "second": sides[at],
        "outcome_rows": queries.outcome_lines(sides),
        "causes": queries.cause_lines(files),
        "unsettled": [job for job, each in zip(jobs, files, strict=True) if each is None],
        "places": usd_places([side.paid for side in sides] + [side.realtime for side in sides]),
        "unit_places": usd_places([side.per_thousand for side in sides]),
        "version": jobs[0].dataset_version,
        "pair": None,
        "nav": "costs",
        "crumbs": [("Costs", reverse("costs")), ("Compare", reverse("compare"))],
        "choose": f"{reverse('compare')}?{urlencode({'jobs': str(jobs[0].pk)})}",
        "tabs": [
            {"label": f"{sides[0].letter} and {side.letter}", "url": _url(jobs, jobs[i]), "current": i == at}
            for i, side in enumerate(sides)
            if i
        ],
    }
    ours, theirs = files[0], files[at]
    if ours and theirs and ours.base and theirs.base:
        page |= _pair(chosen, jobs, jobs[at], ours, theirs)
    return page


def _pair(chosen: Chosen, jobs: list[Job], other: Job, ours: RowFiles, theirs: RowFiles) -> dict[str, Any]:
    first = jobs[0]
    assert ours.base
    assert theirs.base
    assert first.dataset_version
    pair = queries.pair_of(ours.base, theirs.base, queries.shared_fields(first, other))
    known = {each.name for each in pair.fields} | {queries.WHOLE}
    if chosen.field not in known:
        raise BadInput(f"“{chosen.field[:80]}” is no field of both jobs.")
    field = chosen.field or queries.default_field(pair)
    found = queries.diff_page(ours, theirs.base, first.dataset_version.columns, field, chosen.pair, chosen.page)
    return {
        "pair": pair,
        "field": field,
        "cell": chosen.pair,
        "found": found,
        "per_page": queries.PER_PAGE,
        "field_links": [(each, _url(jobs, other, each.name)) for each in pair.fields],
        "confusions": [_confusion(each, jobs, other, field, chosen.pair) for each in pair.fields if each.table],
        "all_of_field": _url(jobs, other, field),
    }


def _confusion(found: queries.FieldLine, jobs: list[Job], other: Job, field: str, cell: tuple[str, str] | None) -> dict[str, Any]:
    """A confusion whose cells lead to their rows."""
    rows = [
        (
            label,
            [
                (
                    each,
                    _url(jobs, other, found.name, a=each.first, b=each.second) if each.n and each.single else "",
                    found.name == field and cell == (each.first, each.second),
                )
                for each in cells
            ],
        )
        for label, cells in found.table
    ]
    return {"field": found, "rows": rows}


def _url(jobs: list[Job], other: Job, field: str = "", **more: str) -> str:
    query: list[tuple[str, Any]] = [("jobs", job.pk) for job in jobs]
    if other.pk != jobs[1].pk:
        query.append(("with", other.pk))
    if field:
        query.append(("field", field))
    return f"{reverse('compare')}?{urlencode([*query, *more.items()])}"
