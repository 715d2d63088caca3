"""Rows of a job: the table, the charts of answers, one row, downloads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

from csp.decorators import csp_replace
from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.text import slugify
from django.views.decorators.http import require_GET

from jobs.access import get_job, member
from jobs.engine import places
from jobs.engine.collect import result_files
from jobs.engine.launch import new_token
from jobs.engine.preview import render as render_prompt
from jobs.errors import BadInput
from jobs.forms.results import KINDS, RowFilter, page_number, row_filter, whole_number
from jobs.models import Batch
from jobs.queries.job_money import link
from jobs.queries.results import PER_PAGE, Outcome, answer_charts, batches_with, neighbours, results_page, row_story
from jobs.rows.cut import line_of
from jobs.rows.export import Export, csv_chunks, jsonl_chunks, write_parquet
from jobs.rows.memory import give_back, giving_back
from jobs.rows.query import Filter, Query
from jobs.rows.schema import fields
from jobs.views.job import crumbs_of, draft_page, files_of, may_run
from jobs.words import PENDING, PENDING_LOOK, Cause, JobState, OutcomeKind

MOST_RAW = 2_000_000  # bytes of a raw line that a page shows
TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
TYPES["excel"] = TYPES["csv"]
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t"}  # which one Excel parts cells at depends on the country it is set to
KIND_CHOICES = [(kind, PENDING_LOOK.label if kind == PENDING else OutcomeKind(kind).look.label) for kind in KINDS]
CAUSE_CHOICES = [(cause.value, cause.label) for cause in Cause]


def _filter(request: HttpRequest) -> tuple[RowFilter, BadInput | None]:
    """The filter of the address, or none and why."""
    try:
        return row_filter(request.GET), None
    except BadInput as error:
        return RowFilter(Filter()), error


@require_GET
@member()
def job_rows(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Original columns beside the answers, by page, filtered by the address."""
    job = get_job(request, pk)
    if job.state == JobState.DRAFT:
        return draft_page(job)
    chosen, problem = _filter(request)
    after = request.GET.get("after", "")
    page = results_page(job, files_of(job), chosen.filter, page_number(request.GET), whole_number(after))
    context = {
        "page": page,
        "frame": page.frame,
        "job": job,
        "chosen": chosen,
        "problem": problem,
        "active": chosen.words,
        "per_page": PER_PAGE,
        "crumbs": crumbs_of(job, (job.name, link("job-detail", job.pk))),
        "may_run": may_run(request),
        "token": new_token(),
        "kinds": KIND_CHOICES,
        "causes": CAUSE_CHOICES,
        "rounds": range(1, page.n_rounds + 1),
        "n_head": 4 + max(1, len(page.fields)),
    }
    partial = bool(getattr(request, "htmx", False)) and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    return render(request, "jobs/_rows.html" if partial else "jobs/rows.html", context, status=422 if problem else 200)


@require_GET
@member()
def job_charts(request: HttpRequest, pk: UUID) -> HttpResponse:
    """How the answers spread, over all rows; asked for when somebody opens the fold."""
    job = get_job(request, pk)
    charts = answer_charts(job, files_of(job)) if job.dataset_version else []
    way = [(job.name, link("job-detail", job.pk)), ("Results", link("job-rows", job.pk))]
    page = {"job": job, "charts": charts, "crumbs": crumbs_of(job, *way), "nav": "jobs"}
    partial = bool(getattr(request, "htmx", False)) and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    return render(request, "jobs/_rows_charts.html" if partial else "jobs/rows_charts.html", page)


@require_GET
@member()
def job_row(request: HttpRequest, pk: UUID, number: int) -> HttpResponse:
    """One row with its story: a page of its own, or a drawer beside the table."""
    job = get_job(request, pk)
    chosen, _ = _filter(request)
    files = files_of(job)
    batches = batches_with(job, number) if number < job.n_rows else []
    try:
        story = row_story(job, files, number, [places.outcomes_file(batch) for batch in batches])
    except KeyError as error:
        raise Http404("This job has no such row.") from error
    before, after, at, total = neighbours(files, chosen.filter, number)
    suffix = f"?{chosen.query}" if chosen.query else ""
    ways = {
        name: f"{reverse('job-row', args=[job.pk, row])}{suffix}"
        for name, row in (("previous", before), ("next", after))
        if row is not None
    }
    by_id = {batch.pk.hex: batch for batch in batches}
    context = {
        "job": job,
        "story": story,
        "ways": ways,
        "at": at,
        "total": total,
        "list_url": f"{reverse('job-rows', args=[job.pk])}{suffix}",
        "prompt_url": reverse("job-row-prompt", args=[job.pk, number]),
        "history": [(each, by_id.get(each.batch), *_raw(by_id.get(each.batch), number, each)) for each in reversed(story.history)],
        "crumbs": crumbs_of(job, (job.name, link("job-detail", job.pk)), ("Results", f"{reverse('job-rows', args=[job.pk])}{suffix}")),
        "may_run": may_run(request),
        "token": new_token(),
        "title": f"Row {number + 1:,}",  # people count from 1, files and addresses from 0
    }
    return render(request, "jobs/_row_drawer.html" if getattr(request, "htmx", False) else "jobs/row.html", context)


@require_GET
@member()
def job_row_prompt(request: HttpRequest, pk: UUID, number: int) -> HttpResponse:
    """The prompt of one row as it was filled in; rendered in a bounded child, so it comes after the rest."""
    job = get_job(request, pk)
    if number >= job.n_rows or job.dataset_version is None or job.prompt_version is None:
        raise Http404
    batches = batches_with(job, number)
    version = batches[-1].round.prompt_version if batches else job.prompt_version
    preview = render_prompt(job.dataset_version, version.system, version.user, [number], cells=False)
    found = preview.rows[0] if preview.rows else None
    way = (
        (job.name, link("job-detail", job.pk)),
        ("Results", reverse("job-rows", args=[job.pk])),
        (f"Row {number + 1:,}", reverse("job-row", args=[job.pk, number])),
    )
    context = {"preview": preview, "found": found, "version": version, "job": job, "crumbs": crumbs_of(job, *way), "nav": "jobs"}
    return render(request, "jobs/_row_prompt.html" if getattr(request, "htmx", False) else "jobs/row_prompt.html", context)


def _raw(batch: Batch | None, row: int, outcome: Outcome) -> tuple[str, str]:
    """The raw request and the raw answer of a row in one round, as text; "" where there is none."""
    if batch is None:
        return "", ""
    try:
        request = line_of(places.request_file(batch), row)
    except (KeyError, OSError):
        request = b""
    number, offset, length = outcome.raw
    answer = b""
    paths = result_files(batch)
    if 0 <= number < len(paths) and offset >= 0:
        with paths[number].open("rb") as file:
            file.seek(offset)
            answer = file.read(min(length, MOST_RAW))
    return request[:MOST_RAW].decode("utf-8", "replace"), answer.decode("utf-8", "replace")


@require_GET
@csp_replace({"sandbox": [], "default-src": ["'none'"]})
@member()
def job_download(request: HttpRequest, pk: UUID, kind: str) -> HttpResponse:
    """All rows, or those of the filter, as CSV, JSONL or Parquet, in the order of the source."""
    job = get_job(request, pk)
    if kind not in TYPES or job.dataset_version is None:
        raise Http404
    chosen, problem = _filter(request)
    if problem is not None:
        return HttpResponse(str(problem), status=422, content_type="text/plain; charset=utf-8")
    files = files_of(job)
    rows = None
    if not chosen.filter.empty:
        with Query(files) as query:
            rows = query.rows(chosen.filter)
    names = [name for name, _ in fields(job.prompt_version.schema if job.prompt_version else None)]
    export = Export(files, job.dataset_version.columns, names, rows, defuse=request.GET.get("formulas") != "keep")
    response = _streamed(export, kind, DELIMITERS.get(request.GET.get("separator", ""), ","))
    name = f"{slugify(job.name) or 'job'}-{job.pk.hex[:8]}{'' if rows is None else '-filtered'}.{'csv' if kind == 'excel' else kind}"
    response["Content-Disposition"] = f"attachment; filename=\"{name}\"; filename*=UTF-8''{quote(name)}"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _streamed(export: Export, kind: str, delimiter: str) -> Any:
    if kind == "parquet":
        return FileResponse(_parquet(export), content_type=TYPES[kind])
    if kind == "excel":
        return StreamingHttpResponse(giving_back(csv_chunks(export, delimiter, bom=True)), content_type=TYPES[kind])
    chunks: Iterator[bytes] = csv_chunks(export) if kind == "csv" else jsonl_chunks(export)
    return StreamingHttpResponse(giving_back(chunks), content_type=TYPES[kind])


def _parquet(export: Export) -> Any:
    """Parquet has its footer at the end: written to a file without a name, which is gone when the download is."""
    with tempfile.NamedTemporaryFile(dir=settings.DATA, suffix=".parquet") as file:
        write_parquet(export, Path(file.name))
        give_back()
        return Path(file.name).open("rb")
