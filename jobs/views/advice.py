"""“Should this be batch?”: what batch, flex and real time would cost and take, from numbers or from a CSV of requests. Nothing is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from jobs.access import current_workspace, get_job, member
from jobs.costs.advice import Load, Traffic, Ways, advise
from jobs.engine.estimates import models_of
from jobs.engine.history import pace_of
from jobs.engine.remote import limits_for
from jobs.engine.spec import overrides_of, priced_by
from jobs.errors import BadTable
from jobs.formats import usd_places
from jobs.forms.advice import NumbersForm, TrafficForm
from jobs.models import Connection, Workspace
from jobs.providers.registry import abilities_of
from jobs.queries import advice as queries
from jobs.words import Lane


@require_http_methods(["GET", "HEAD", "POST"])
@member()
def advice(request: HttpRequest) -> HttpResponse:
    """GET takes the numbers out of the address; POST takes a file of requests."""
    workspace = current_workspace(request)
    connections = list(Connection.objects.filter(workspace=workspace, archived_at__isnull=True).order_by("is_sandbox", "name"))
    page: dict[str, Any] = {"nav": "costs", "connections": connections, "by_file": request.method == "POST"}
    if not connections:
        return render(request, "jobs/advice.html", page)
    status = (
        _of_file(request, page, workspace, connections) if request.method == "POST" else _of_numbers(request, page, workspace, connections)
    )
    page["models"] = _models(workspace, connections)
    return render(request, "jobs/advice.html", page, status=status)


def _of_numbers(request: HttpRequest, page: dict[str, Any], workspace: Workspace, connections: list[Connection]) -> int:
    start: dict[str, Any] = {"pattern": "once", "deadline": 24, "connection": str(connections[0].pk)}
    if "job" in request.GET:
        job = get_job(request, _uuid(request.GET["job"]))
        page["job"] = job
        start |= {key: value for key, value in queries.numbers_of(job).items() if value not in (None, "")}
    page["file_form"] = TrafficForm(connections=connections, initial=start | {"deadline": 48})
    if "requests" not in request.GET:
        page["form"] = NumbersForm(connections=connections, initial=start)
        return 200
    form = page["form"] = NumbersForm(request.GET, connections=connections)
    if not form.is_valid():
        return 422
    data = form.cleaned_data
    sheet = _sheets(workspace, form.chosen)(data["model"])
    one = [np.array([data[name]], dtype=np.int64) for name in ("input_tokens", "output_tokens", "requests")]
    _answer(page, workspace, form, Traffic((Load(sheet, *one),), spread=data["pattern"] == "month"), data["model"])
    return 200


def _of_file(request: HttpRequest, page: dict[str, Any], workspace: Workspace, connections: list[Connection]) -> int:
    form = page["file_form"] = TrafficForm(request.POST, request.FILES, connections=connections)
    page["form"] = NumbersForm(connections=connections, initial={"pattern": "month", "deadline": 24, "connection": str(connections[0].pk)})
    if not form.is_valid():
        return 422
    file, model = form.cleaned_data["file"], form.cleaned_data["model"]
    try:
        found = queries.read_requests(Path(file.temporary_file_path()), file.name, model)
    except BadTable as problem:
        page["problem"] = problem
        return 422
    page["requests"] = found
    traffic = found.traffic(_sheets(workspace, form.chosen), model)
    _answer(page, workspace, form, traffic, model or found.models[0])
    return 200


def _sheets(workspace: Workspace, connection: Connection) -> Any:
    """Today's prices of any model, with the overrides read once."""
    overrides = overrides_of(workspace, connection.kind)
    return lambda model: priced_by(connection, model, overrides)


def _answer(page: dict[str, Any], workspace: Workspace, form: NumbersForm | TrafficForm, traffic: Traffic, model: str) -> None:
    connection = form.chosen
    limits, abilities = limits_for(connection), abilities_of(connection.kind)
    pace = pace_of(workspace, connection.kind, model, traffic.n, sandbox=connection.is_sandbox)
    ways = Ways(
        limits.concurrency,
        limits.requests_per_minute,
        limits.tokens_per_minute,
        abilities.batch,
        abilities.flex,
        pace.median if pace else None,
        pace.slow if pace else None,
    )
    found = advise(traffic, ways, form.seconds)
    lanes = queries.lanes_in_words(found, traffic, ways)
    page |= {
        "found": found,
        "lanes": lanes,
        "answer": queries.sentence(found),
        "traffic": traffic,
        "loads": [(load, [load.usd(lane) for lane in (Lane.BATCH, Lane.FLEX, Lane.DIRECT)]) for load in traffic.loads],
        "within": queries.hours(found.deadline),
        "places": usd_places([each.lane.usd for each in lanes]),
        "n_batches": -(-traffic.n // limits.requests_per_batch),
        "chosen": connection,
        "notes": list(dict.fromkeys(note for load in traffic.loads for note in load.sheet.notes)),
    }


def _models(workspace: Workspace, connections: list[Connection]) -> list[str]:
    """Names to choose from; any other may be typed."""
    overrides = {kind: overrides_of(workspace, kind) for kind in {each.kind for each in connections}}
    found = {
        entry.id for each in connections for entry in models_of(each, workspace, overrides=overrides[each.kind]) if not entry.deprecated
    }
    return sorted(found)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404 from None
