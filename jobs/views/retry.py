"""Retry: all failed rows, one cause, ticked rows or a filter's, as they were or with changes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from jobs.access import get_job, member
from jobs.engine.estimates import models_of
from jobs.engine.launch import new_token
from jobs.engine.retry import Changes, retry
from jobs.errors import BadInput
from jobs.forms.retry import ChangesForm, Scope, price_of, scope_again, scope_of
from jobs.models import Job
from jobs.queries.job import frame_of
from jobs.queries.job_money import link
from jobs.views.job import crumbs_of, draft_page, files_of
from jobs.words import JobState, Role


@require_http_methods(["GET", "HEAD", "POST"])
@member(Role.ANALYST)
def job_retry(request: HttpRequest, pk: UUID) -> HttpResponse:
    """GET: the form of changes with rows and price. POST: a new round, once per token."""
    job = get_job(request, pk, Role.ANALYST)
    if job.state == JobState.DRAFT:
        return draft_page(job)
    try:
        if request.method == "POST":
            return _start(request, job)
        return _form(request, job, scope_again(request.GET), ChangesForm(job, request.GET if "model" in request.GET else None))
    except BadInput as error:
        return _form(request, job, _scope_or_all(request), ChangesForm(job), problem=error)


def _start(request: HttpRequest, job: Job) -> HttpResponse:
    token = request.POST.get("token", "")
    if not 16 <= len(token) <= 64:
        raise BadInput("The form is not complete.", "Load the page again, then retry.")
    with_changes = "model" in request.POST
    scope = scope_again(request.POST) if with_changes else scope_of(request.POST, request.GET)
    form = ChangesForm(job, request.POST if with_changes else None)
    if with_changes and not form.is_valid():
        return _form(request, job, scope, form, status=422)
    try:
        user: Any = request.user
        made = retry(job, user, scope.wanted(files_of(job)), form.changes() if with_changes else Changes(), token=token)
    except BadInput as error:
        return _form(request, job, scope, form if with_changes else ChangesForm(job), problem=error)
    messages.success(request, f"Round {made.number} has started: {made.n_rows:,} row{'' if made.n_rows == 1 else 's'} will be retried.")
    return redirect("job-detail", pk=job.pk)


def _scope_or_all(request: HttpRequest) -> Scope:
    """The scope of a request that cannot be used as it is: all failed rows, so that the page can say what is wrong."""
    return scope_of(QueryDict(""), QueryDict(""))


def _form(
    request: HttpRequest, job: Job, scope: Scope, form: ChangesForm, problem: BadInput | None = None, status: int = 200
) -> HttpResponse:
    n_rows = len(scope.rows(files_of(job)))
    changes = form.changes() if form.is_bound and form.is_valid() else Changes()
    if form.is_bound and not form.is_valid() and request.method == "GET":
        status = 422
    assert job.connection is not None
    context = {
        "job": job,
        "frame": frame_of(job, "failures"),
        "crumbs": crumbs_of(job, (job.name, link("job-detail", job.pk)), ("Failures", link("job-failures", job.pk))),
        "form": form,
        "scope": scope,
        "n_rows": n_rows,
        "price": price_of(job, n_rows, changes),
        "changes": changes.words,
        "token": new_token(),
        "models": [entry.id for entry in models_of(changes.connection or job.connection, job.workspace)][:300],
        "problem": problem,
    }
    return render(request, "jobs/retry.html", context, status=422 if problem else status)
