"""The start page, and the sample data that a first visit offers."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from jobs.access import current_workspace, member
from jobs.engine import samples
from jobs.errors import BadInput
from jobs.queries.home import first_of, home_of
from jobs.views.live import of_workspace, rests_on
from jobs.views.posting import only_post
from jobs.words import Role

LIVE_SECONDS, QUIET_SECONDS = 3, 20


@require_GET
@rests_on(of_workspace)
@member()
def home(request: HttpRequest) -> HttpResponse:
    """What needs me, what runs, what was saved. With htmx the living part alone, or 204 where nothing changed."""
    workspace = current_workspace(request)
    part = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    found = home_of(workspace, request.user.pk)  # type: ignore[arg-type]
    if part and request.GET.get("mark") == found.mark:
        return HttpResponse(status=204)
    first = None if found.money.n_jobs else first_of(workspace)
    if part and first is not None:  # the workspace's last job is gone: the page is another one
        return HttpResponse(headers={"HX-Refresh": "true"})
    page = {"home": found, "first": first, "every": LIVE_SECONDS if found.live else QUIET_SECONDS, "nav": "home"}
    return render(request, "jobs/_home_live.html" if part else "jobs/home.html", page)


@only_post("home")
@member(Role.ANALYST)
def sample(request: HttpRequest) -> HttpResponse:
    """Sample table, prompt and a draft over both; asked twice, the same ones."""
    try:
        made = samples.load(current_workspace(request), request.user)  # type: ignore[arg-type]
    except BadInput as error:
        messages.error(request, str(error))
        return redirect("home")
    if made.draft.connection_id is None:
        messages.info(request, "The sample is ready. It needs a model: add a connection, then choose one here.")
        return redirect("launch-model", pk=made.draft.pk)
    return redirect(reverse("launch-try", args=[made.draft.pk]))
