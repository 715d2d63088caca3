"""The list of jobs. Its living rows refresh in one request, cell by cell, so that nothing moves."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.http import require_GET

from jobs.access import current_workspace, member
from jobs.queries.job_list import PER_PAGE, Choices, Line, Wanted, choices_of, job_page, live_lines
from jobs.views.live import of_workspace, rests_on

LIVE_SECONDS = 3
LABELS = {"q": "Text", "state": "Status", "model": "Model", "owner": "Owner", "dataset": "Dataset"}


@require_GET
@rests_on(of_workspace)
@member()
def job_list(request: HttpRequest) -> HttpResponse:
    """The page, its table alone (htmx), or only the cells of the jobs named by `live` (htmx)."""
    part = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    if part and "live" in request.GET:
        return _live(request)
    workspace, get = current_workspace(request), request.GET
    wanted = Wanted(*(get.get(name, "").strip()[:200] for name in ("q", "state", "model", "owner", "dataset", "sort")))
    number = get.get("page", "1")
    page = job_page(workspace, wanted, int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 1)
    choices = choices_of(workspace)
    context = {
        "page": page,
        "wanted": wanted,
        "choices": choices,
        "active": _active(get, choices),
        "per_page": PER_PAGE,
        "target": "#jobs",
        "nav": "jobs",
        "live": page.live,
        "mark": _mark(page.live),
        "every": LIVE_SECONDS,
        "places": page.places,
    }
    return render(request, "jobs/_list.html" if part else "jobs/list.html", context)


def _live(request: HttpRequest) -> HttpResponse:
    """Fresh cells of the rows that lived when the page asked; the ones that still live are asked for next time."""
    ids = [UUID(text) for text in request.GET["live"].split(",") if _is_uuid(text)]
    lines = live_lines(current_workspace(request), ids)
    if _mark(lines) == request.GET.get("mark"):
        return HttpResponse(status=204)
    living = [line for line in lines if line.live]
    places = 4 if request.GET.get("places") == "4" else 2  # those of the column that the cells stand in
    context = {"lines": lines, "live": living, "mark": _mark(living), "every": LIVE_SECONDS, "places": places}
    return render(request, "jobs/_list_cells.html", context)


def _mark(lines: list[Line]) -> str:
    """Changes whenever one of the rows does."""
    return f"{len(lines)}-{sum(line.job.version for line in lines)}-{sum(line.n_done for line in lines)}"


def _active(get: QueryDict, choices: Choices) -> list[tuple[str, str]]:
    """What is filtered now, in words, each with the URL without it."""
    offered = {"state": choices.states, "model": choices.models, "owner": choices.owners, "dataset": choices.datasets}
    found = []
    for name, label in LABELS.items():
        value = get.get(name, "").strip()
        if value:
            rest = get.copy()
            rest.pop(name, None)
            rest.pop("page", None)
            said = dict(offered.get(name, [])).get(value, f"“{value}”" if name == "q" else value)
            found.append((f"{label}: {said}", f"?{rest.urlencode()}"))
    return found


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
