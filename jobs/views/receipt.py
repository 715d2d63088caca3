"""What one job cost: a page that prints, JSON and CSV. While the job runs it says what was paid so far."""

from __future__ import annotations

import csv
import io
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.text import slugify
from django.views.decorators.http import require_GET

from jobs.access import current_membership, get_job, member
from jobs.costs.prices import PriceSheet
from jobs.engine.receipts import receipt_of
from jobs.engine.smaller import smaller_of
from jobs.formats import usd_range
from jobs.models import Job
from jobs.queries.compare import compare_url
from jobs.queries.job import NOTHING, frame_of
from jobs.queries.receipts import csv_rows, receipt_page
from jobs.queries.sandbox import is_sandbox
from jobs.views.live import of_job, rests_on
from jobs.words import TOKEN_KIND_LABELS, TOKEN_KINDS, JobState, Lane, Role

LIVE_SECONDS = 10


@require_GET
@rests_on(of_job)
@member()
def job_receipt(request: HttpRequest, pk: UUID) -> HttpResponse:
    job = get_job(request, pk)
    partial = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    if partial and request.GET.get("seen") == str(job.version):
        return HttpResponse(status=204)
    found = receipt_page(job, receipt_of(job))
    page = {
        "job": job,
        "state": JobState(job.state),
        "sandbox": is_sandbox(job),
        "page": found,
        "live": 0 if found.over else LIVE_SECONDS,
        "sheets": [_sheet(sheet) for sheet in found.receipt.prices],
        "per_thousand": None if found.receipt.per_succeeded is None else found.receipt.per_succeeded * 1000,
        "expected_range": usd_range(found.expected.low, found.expected.high) if found.expected else "",
        "hit_percent": f"{found.receipt.hit_rate:.0%}".replace("%", " %") if found.receipt.hit_rate else "",
        "smaller": smaller_of(job) if found.over else None,
        "may_run": current_membership(request).may(Role.ANALYST),
        "crumbs": _crumbs(job),
        "compare_url": "" if partial else compare_url(job),
        "nav": "jobs",
        "tabs": frame_of(job, "receipt", NOTHING).tabs,
    }
    return render(request, f"jobs/{'_receipt' if partial else 'receipt'}.html", page)


@require_GET
@member()
def receipt_json(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Exact amounts as strings, null where unknown."""
    job = get_job(request, pk)
    about = {
        "id": str(job.pk),
        "name": job.name,
        "state": job.state,
        "model": job.model,
        "connection": job.connection.name if job.connection else None,
        "dataset": str(job.dataset_version.dataset) if job.dataset_version else None,
        "prompt": str(job.prompt_version) if job.prompt_version else None,
        "launched_at": job.launched_at,
        "finished_at": job.finished_at,
        "sandbox": is_sandbox(job),
        "so_far": not JobState(job.state).terminal,
    }
    response = JsonResponse({"job": about, **receipt_of(job).to_json()}, json_dumps_params={"indent": 2, "ensure_ascii": False})
    response["Content-Disposition"] = f'attachment; filename="{_filename(job)}.json"'
    return response


@require_GET
@member()
def receipt_csv(request: HttpRequest, pk: UUID) -> HttpResponse:
    job = get_job(request, pk)
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(csv_rows(job, receipt_of(job)))
    response = HttpResponse(out.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{_filename(job)}.csv"'
    return response


def _sheet(sheet: PriceSheet) -> dict[str, Any]:
    """A price sheet as a table: a row for each lane and tier."""
    rows = [
        {"lane": Lane(lane).label, "above": tier.above, "prices": [tier.price(kind) for kind in TOKEN_KINDS]}
        for lane, tiers in sheet.lanes.items()
        for tier in tiers
    ]
    return {"sheet": sheet, "rows": rows, "kinds": [TOKEN_KIND_LABELS[kind] for kind in TOKEN_KINDS]}


def _filename(job: Job) -> str:
    return f"receipt-{slugify(job.name)[:60] or 'job'}-{job.pk.hex[:8]}"


def _crumbs(job: Job) -> list[tuple[str, Any]]:
    try:
        return [("Jobs", reverse("job-list")), (job.name, reverse("job-detail", args=[job.pk]))]
    except NoReverseMatch:
        return [("Costs", reverse("costs"))]
