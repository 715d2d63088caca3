"""The page of a job, its batches and timeline in full, and cancel."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from jobs.access import current_membership, get_job, member
from jobs.engine.cancel import cancel
from jobs.engine.launch import new_token
from jobs.engine.places import table_of
from jobs.engine.view import standing_of
from jobs.forms.results import page_number
from jobs.models import Job
from jobs.queries.compare import compare_url
from jobs.queries.job import batches_page, facts_of, frame_of, job_page, stamp_of
from jobs.queries.job_money import about, cost_per_row, link
from jobs.queries.timeline import events_page
from jobs.rows.query import RowFiles
from jobs.rows.schema import fields
from jobs.views.job_acts import acts_of, usual_of
from jobs.views.live import of_job, rests_on
from jobs.views.posting import only_post
from jobs.words import JobState, Role

PER_PAGE = 50


def crumbs_of(job: Job, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """The way to a page of a job."""
    first = [("Jobs", link("job-list"))] if link("job-list") else []
    return [*first, *more]


def files_of(job: Job) -> RowFiles:
    """Where the rows of a job stand now; two queries."""
    assert job.dataset_version is not None
    standing = standing_of(job)
    keys = tuple(str(column["key"]) for column in job.dataset_version.columns)
    known = tuple(fields(job.prompt_version.schema)) if job.prompt_version else ()
    return RowFiles(table_of(job.dataset_version), job.n_rows, keys, standing.base, standing.newer, standing.busy, known)


def live(request: HttpRequest) -> bool:
    """Whether a live region of the page asks for itself."""
    return bool(getattr(request, "htmx", False)) and "seen" in request.GET


def may_run(request: HttpRequest) -> bool:
    return current_membership(request).may(Role.ANALYST)


def draft_page(job: Job) -> HttpResponse:
    """A draft has no page yet: back to its launch."""
    return redirect(link("launch", job.pk) or "/")


@require_GET
@rests_on(of_job)
@member()
def job_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The job; asked by its live region, only what changed: 204 where nothing did."""
    job = get_job(request, pk)
    if job.state == JobState.DRAFT:
        return draft_page(job)
    if live(request) and request.GET["seen"] == stamp_of(job):
        return HttpResponse(status=204)
    facts = facts_of(job)
    usual = usual_of(job, facts)
    page = job_page(job, facts, usual)
    per_row = cost_per_row(job)
    context = {
        "page": page,
        "frame": page.frame,
        "job": job,
        "crumbs": crumbs_of(job),
        "may_run": may_run(request),
        "token": new_token(),
        "price_all": about(job.n_unsuccessful, per_row),
        "live": live(request),
        "compare_url": compare_url(job) if page.frame.terminal else "",
        "may_decide": current_membership(request).may(Role.ADMIN),
        **acts_of(job, page, usual),
    }
    return render(request, "jobs/_detail.html" if live(request) else "jobs/detail.html", context)


@require_GET
@member()
def job_batches(request: HttpRequest, pk: UUID) -> HttpResponse:
    """All batches, by page."""
    job = get_job(request, pk)
    number = page_number(request.GET)
    batches, total = batches_page(job, number, PER_PAGE)
    crumbs = crumbs_of(job, (job.name, link("job-detail", job.pk)))
    context = {"job": job, "batches": batches, "total": total, "number": number, "per_page": PER_PAGE, "crumbs": crumbs}
    return render(request, "jobs/detail_batches.html", context | {"frame": frame_of(job, "overview")})


@require_GET
@member()
def job_timeline(request: HttpRequest, pk: UUID) -> HttpResponse:
    """All events, by page, newest first."""
    job = get_job(request, pk)
    number = page_number(request.GET)
    events, total = events_page(job, number, PER_PAGE)
    crumbs = crumbs_of(job, (job.name, link("job-detail", job.pk)))
    context = {"job": job, "events": events, "total": total, "number": number, "per_page": PER_PAGE, "crumbs": crumbs}
    return render(request, "jobs/detail_timeline.html", context | {"frame": frame_of(job, "overview")})


@only_post("job-detail", "pk")
@member(Role.ANALYST)
def job_cancel(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Ask for the end of a job."""
    job = get_job(request, pk, Role.ANALYST)
    if cancel(job, request.user if request.user.is_authenticated else None):
        messages.success(request, "Cancelling. What the provider has finished is kept and paid for; nothing more is sent.")
    else:
        messages.info(request, "There is nothing left to cancel.")
    return redirect("job-detail", pk=job.pk)
