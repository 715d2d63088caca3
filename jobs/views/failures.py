"""Failures of a job, by cause."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from jobs.access import get_job, member
from jobs.engine.estimates import FLAKY
from jobs.engine.launch import new_token
from jobs.queries.failures import failures_page
from jobs.queries.job import stamp_of
from jobs.queries.job_money import link
from jobs.views.job import crumbs_of, draft_page, files_of, live, may_run
from jobs.views.live import of_job, rests_on
from jobs.words import JobState


@require_GET
@rests_on(of_job)
@member()
def job_failures(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What went wrong, why, and what to do now; the live region gets 204 where nothing changed."""
    job = get_job(request, pk)
    if job.state == JobState.DRAFT:
        return draft_page(job)
    if live(request) and request.GET["seen"] == stamp_of(job):
        return HttpResponse(status=204)
    page = failures_page(job, files_of(job))
    context = {
        "page": page,
        "frame": page.frame,
        "job": job,
        "crumbs": crumbs_of(job, (job.name, link("job-detail", job.pk))),
        "may_run": may_run(request),
        "on_purpose": bool(page.groups) and job.model.endswith(FLAKY) and job.connection is not None and job.connection.is_sandbox,
        "groups": [(group, new_token()) for group in page.groups],
        "tokens": [new_token(), new_token()],
        "live": live(request),
    }
    return render(request, "jobs/_failures.html" if live(request) else "jobs/failures.html", context)
