"""Datasets: the list, an upload, one dataset with its rows, columns and versions, and correcting how a file was read."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_http_methods

from jobs import formats
from jobs.access import current_workspace, get_dataset, get_dataset_version, get_upload, member
from jobs.engine import datasets as engine
from jobs.engine import ingest, places
from jobs.errors import BadInput, BadTable
from jobs.forms.datasets import ACCEPT, LimitedUpload, NameForm, ReadingForm, UploadForm, add_problem, limit_upload
from jobs.models import Dataset, DatasetUpload, DatasetVersion
from jobs.queries import datasets as queries
from jobs.queries.machinery import standstill
from jobs.rows.ingest import Reading, preview
from jobs.rows.query import Filter, Query, RowFiles
from jobs.rows.reading import ENCODINGS
from jobs.views.posting import only_post
from jobs.words import Role

ROWS_PER_PAGE = 25
COLUMNS_PER_PAGE = 50
CELLS_ACROSS = 60  # more columns than that are shown in parts: a page stays a page
PREVIEW_ROWS = 8
LONGEST_CELL = 1000
POLL_SECONDS = 2


def wants_part(request: HttpRequest) -> bool:
    """Whether htmx asks for a part of the page, and not for the page to go back to."""
    return bool(request.htmx and not request.htmx.history_restore_request)  # type: ignore[attr-defined]


def number_in(request: HttpRequest, name: str = "page") -> int:
    """A positive number in the query, 1 for anything else."""
    text = request.GET.get(name, "")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 12 else 1


@require_GET
@member()
def dataset_list(request: HttpRequest) -> HttpResponse:
    text, sort = request.GET.get("q", "").strip()[:200], request.GET.get("sort", "-read")
    archived = request.GET.get("archived") == "1"
    found = queries.dataset_page(current_workspace(request), text=text, sort=sort, number=number_in(request), archived=archived)
    page = "jobs/_datasets.html" if wants_part(request) else "jobs/datasets.html"
    context = {"found": found, "q": text, "sort": sort, "archived": archived, "per_page": queries.PER_PAGE, "target": "#datasets"}
    return render(request, page, context)


@csrf_exempt  # checked in _upload: what checks it reads the body, and the size must be watched from the first byte
@require_http_methods(["GET", "POST"])
@member(Role.ANALYST)
def dataset_upload(request: HttpRequest) -> HttpResponse:
    """The form, and the file that it sends. A stranger or a viewer is turned away before a byte of the body is read."""
    return _upload(request, limit_upload(request))


@csrf_protect
def _upload(request: HttpRequest, handler: LimitedUpload) -> HttpResponse:
    if request.method == "GET":
        return _upload_form(request, UploadForm(initial={"name": request.GET.get("name", "")[:200]}))
    form = UploadForm(request.POST, request.FILES)
    if handler.too_large:
        form.errors.clear()
        form.add_error(
            "file", f"The file is larger than {formats.bytes_(settings.MAX_UPLOAD_BYTES)}, the most that is taken. Upload it in parts."
        )
    if handler.no_room:
        form.errors.clear()
        form.add_error("file", f"{ingest.NO_ROOM} Ask whoever runs batchui here to make room.")
    if not form.is_valid():
        return _upload_form(request, form, status=422)
    file = form.cleaned_data["file"]
    upload = ingest.receive(
        current_workspace(request),
        request.user,  # type: ignore[arg-type]
        filename=file.name,
        taken=Path(file.temporary_file_path()),
        dataset_name=form.cleaned_data["name"],
        reading=form.reading(),
        max_bytes=settings.MAX_UPLOAD_BYTES,
    )
    if upload.state == DatasetUpload.REFUSED:
        return _upload_form(request, form, upload, status=422)
    return _go(request, _after(request, upload))


def _upload_form(request: HttpRequest, form: UploadForm, refused: DatasetUpload | None = None, status: int = 200) -> HttpResponse:
    context = {"form": form, "refused": refused, "accept": ACCEPT, "limit": settings.MAX_UPLOAD_BYTES}
    return render(request, "jobs/dataset_upload.html", {**context, "crumbs": _crumbs()}, status=status)


def _go(request: HttpRequest, url: str) -> HttpResponse:
    """Go to a page. A script that sent the form goes there itself, so that the page is asked for once."""
    if request.headers.get("X-Requested-With") == "XMLHttpRequest" or request.htmx:  # type: ignore[attr-defined]
        return HttpResponse(status=204, headers={"HX-Redirect": url})
    return redirect(url)


def _after(request: HttpRequest, upload: DatasetUpload) -> str:
    """Where an upload leads, with a word on what became of it."""
    version = upload.version
    if upload.state != DatasetUpload.DONE or version is None:
        return reverse("upload-detail", args=[upload.pk])
    if upload.repeated:
        messages.info(request, f"These very bytes are here already, as version {version.number}. Nothing was added.")
    else:
        messages.success(
            request,
            f"Read {formats.count(version.n_rows, 'row')} in {formats.count(len(version.columns), 'column')}, as version {version.number}.",
        )
    return f"{reverse('dataset-detail', args=[version.dataset_id])}?version={version.number}"


@require_GET
@member()
def upload_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """An upload that a worker reads: asks again until it is a version or refused."""
    upload = get_upload(request, pk)
    if upload.state == DatasetUpload.DONE:
        return _go(request, _after(request, upload)) if upload.version else redirect("dataset-list")
    page = "jobs/_dataset_upload_state.html" if wants_part(request) else "jobs/dataset_upload_detail.html"
    return render(request, page, {"upload": upload, "poll": POLL_SECONDS, "crumbs": _crumbs(), "standstill": standstill()})


@dataclass(frozen=True, slots=True)
class Row:
    """A row as the table shows it: its number from 1, and (text or None, how much of it is left out) by column."""

    number: int
    cells: list[tuple[str | None, int]]


@require_GET
@member()
def dataset_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One version of a dataset, the newest unless the query names another: rows, columns or versions."""
    dataset = get_dataset(request, pk)
    version = _version(request, dataset)
    tab = request.GET.get("tab", "rows")
    context: dict[str, Any] = {"dataset": dataset, "version": version, "tab": tab, "target": f"#dataset-{tab}", "crumbs": _crumbs()}
    if tab == "columns":
        context |= _columns(request, version)
    elif tab == "versions":
        context |= {"versions": queries.version_lines(dataset)}
    else:
        context |= {"tab": "rows", "target": "#dataset-rows", **_rows(request, version)}
    if wants_part(request) and context["tab"] in ("rows", "columns"):
        return render(request, f"jobs/_dataset_{context['tab']}.html", context)
    n_jobs, used_at = queries.used_at(dataset)
    n_versions = dataset.versions.count()
    context |= {
        "n_versions": n_versions,
        "words": queries.words_of(version.reading),
        "n_jobs": n_jobs,
        "used_at": used_at,
        "tabs": _tabs(dataset, version, context["tab"], n_versions),
        "change": queries.columns_changed(version),
    }
    return render(request, "jobs/dataset_detail.html", context)


def _version(request: HttpRequest, dataset: Dataset) -> DatasetVersion:
    version = queries.version_of(dataset, number_in(request, "version") if "version" in request.GET else None)
    if version is None:
        raise Http404("There is no such version.")
    return version


def _tabs(dataset: Dataset, version: DatasetVersion, current: str, n_versions: int) -> list[dict[str, Any]]:
    counts = {"rows": version.n_rows, "columns": len(version.columns), "versions": n_versions}
    base = reverse("dataset-detail", args=[dataset.pk])
    return [
        {
            "label": name.capitalize(),
            "count": n,
            "current": name == current,
            "url": f"{base}?{urlencode([('version', str(version.number)), ('tab', name)])}",
        }
        for name, n in counts.items()
    ]


def _columns(request: HttpRequest, version: DatasetVersion) -> dict[str, Any]:
    lines = queries.column_lines(version)
    number = min(number_in(request), max(1, ceil(len(lines) / COLUMNS_PER_PAGE)))
    shown = lines[(number - 1) * COLUMNS_PER_PAGE : number * COLUMNS_PER_PAGE]
    return {"lines": shown, "total": len(lines), "number": number, "per_page": COLUMNS_PER_PAGE}


def _rows(request: HttpRequest, version: DatasetVersion) -> dict[str, Any]:
    text = request.GET.get("q", "").strip()[:200]
    across = min(number_in(request, "across"), max(1, ceil(len(version.columns) / CELLS_ACROSS)))
    shown = version.columns[(across - 1) * CELLS_ACROSS : across * CELLS_ACROSS]
    keys = tuple(column["key"] for column in (version.columns if text else shown))
    number = number_in(request)
    with Query(RowFiles(places.table_of(version), version.n_rows, keys)) as query:
        page = query.page(Filter(text=text), limit=ROWS_PER_PAGE, offset=(number - 1) * ROWS_PER_PAGE)
        if not page.lines and page.total:
            number = ceil(page.total / ROWS_PER_PAGE)
            page = query.page(Filter(text=text), limit=ROWS_PER_PAGE, offset=(number - 1) * ROWS_PER_PAGE)
    rows = [Row(line.row + 1, [_cell(line.values.get(column["key"])) for column in shown]) for line in page.lines]
    return {
        "rows": rows,
        "columns": shown,
        "total": page.total,
        "number": number,
        "per_page": ROWS_PER_PAGE,
        "q": text,
        "across": across,
        "cells_across": CELLS_ACROSS,
        "n_columns": len(version.columns),
    }


def _cell(value: str | None) -> tuple[str | None, int]:
    return (value, 0) if value is None else (value[:LONGEST_CELL], max(0, len(value) - LONGEST_CELL))


@require_http_methods(["GET", "POST"])
@member(Role.ANALYST)
def dataset_reading(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Correct how a version was read: first rows under what the form says, and by POST a new version read that way."""
    dataset = get_dataset(request, pk, Role.ANALYST)
    version = _version(request, dataset)
    said = request.POST if request.method == "POST" else request.GET if "kind" in request.GET else None
    form = ReadingForm(said, initial=ReadingForm.initial_of(version.reading))
    context: dict[str, Any] = {"dataset": dataset, "version": version, "form": form, "words": queries.words_of(version.reading)}
    status = 200
    if said is not None and not form.is_valid():
        status = 422
    elif request.method == "POST":
        try:
            upload = ingest.read_again(version, form.reading(version.reading).to_dict(), request.user)  # type: ignore[arg-type]
            if upload.state != DatasetUpload.REFUSED:
                return _go(request, _after(request, upload))
        except BadInput as error:
            form.add_error(None, str(error))
        status = 422
    if not form.errors:
        context |= _try_reading(version, form)
    if wants_part(request):
        return render(request, "jobs/_dataset_reading.html", context, status=status)
    context["crumbs"] = [*_crumbs(), (dataset.name, reverse("dataset-detail", args=[dataset.pk]))]
    return render(request, "jobs/dataset_reading.html", context, status=status)


def _try_reading(version: DatasetVersion, form: ReadingForm) -> dict[str, Any]:
    """The first rows under the form's reading, or why not."""
    reading = form.reading(version.reading) if form.is_bound else Reading.from_dict(version.reading)
    source = places.version_folder(version.dataset.workspace_id, version.pk) / "source"
    try:
        found = preview(source, reading, PREVIEW_ROWS)
    except BadTable as error:
        return {"problem": error}
    rows = [Row(n, [(value, 0) for value in cells[:CELLS_ACROSS]]) for n, cells in enumerate(found.rows, 1)]
    return {
        "found": found,
        "rows": rows,
        "columns": [column.to_dict() for column in found.columns[:CELLS_ACROSS]],
        "n_columns": len(found.columns),
        "try_words": reading.words,
        "same": reading.to_dict() == version.reading,
        "encoding": ENCODINGS.get(reading.encoding, ""),
    }


@require_http_methods(["GET", "POST"])
@member(Role.ANALYST)
def dataset_settings(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Rename a dataset; archive it or bring it back."""
    dataset = get_dataset(request, pk, Role.ANALYST)
    here = reverse("dataset-detail", args=[dataset.pk])
    form = NameForm(request.POST or None, initial={"name": dataset.name})
    if request.method == "POST" and form.is_valid():
        try:
            engine.rename(dataset, form.cleaned_data["name"], request.user)  # type: ignore[arg-type]
            return redirect(here)
        except BadInput as error:
            add_problem(form, error, "name")
    context = {"dataset": dataset, "form": form, "crumbs": [*_crumbs(), (dataset.name, here)]}
    return render(request, "jobs/dataset_settings.html", context, status=422 if form.errors else 200)


@only_post("dataset-detail", "pk")
@member(Role.ANALYST)
def dataset_archive(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Archive with archived=1, bring back with archived=0."""
    dataset = get_dataset(request, pk, Role.ANALYST)
    archived = request.POST.get("archived") == "1"
    engine.set_archived(dataset, archived, request.user)  # type: ignore[arg-type]
    words = "is archived. Its jobs go on, and nothing was deleted." if archived else "is back in the list."
    messages.success(request, f"{dataset.name} {words}")
    return redirect("dataset-list") if archived else redirect("dataset-detail", pk=dataset.pk)


@require_GET
@member()
def dataset_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The file as it was uploaded, byte for byte."""
    version = get_dataset_version(request, pk)
    source = places.version_folder(version.dataset.workspace_id, version.pk) / "source"
    if not source.is_file():
        raise Http404("The file is not there any more.")
    file: Any = FileResponse(source.open("rb"), as_attachment=True, filename=version.filename, content_type="application/octet-stream")
    return file


def _crumbs() -> list[tuple[str, str]]:
    return [("Datasets", reverse("dataset-list"))]
