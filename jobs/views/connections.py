"""Connections: seen by every member, changed and tested by admins."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods

from jobs.access import current_membership, current_workspace, get_connection, member
from jobs.engine.connections import remove_connection, test_connection
from jobs.engine.orphans import orphans_of
from jobs.errors import BadInput
from jobs.forms.connections import ConnectionForm
from jobs.models import Connection
from jobs.queries.connections import connection_line, connection_lines, learned_of
from jobs.views.orphans import orphan_lines
from jobs.views.posting import only_post
from jobs.words import Role

CRUMBS = ("Connections", "connection-list")


@require_GET
@member()
def connection_list(request: HttpRequest) -> HttpResponse:
    lines = connection_lines(current_workspace(request))
    bad = [line for line in lines if line.look.tone in ("bad", "warn")]
    page = {"lines": lines, "bad": bad, "sandboxes": [line for line in lines if line.connection.is_sandbox], "can_change": _admin(request)}
    return render(request, "jobs/connections.html", page)


@sensitive_post_parameters("key")
@require_http_methods(["GET", "POST"])
@member(Role.ADMIN)
def connection_new(request: HttpRequest) -> HttpResponse:
    form = ConnectionForm(request.POST or None, workspace=current_workspace(request))
    if request.method == "POST" and (saved := _save(request, form)):
        return redirect("connection-edit", pk=saved.pk)
    page = {"form": form, "crumbs": _crumbs(), "can_change": True}
    return render(request, "jobs/connection_new.html", page, status=422 if request.method == "POST" else 200)


@sensitive_post_parameters("key")
@require_http_methods(["GET", "POST"])
@member()
def connection_edit(request: HttpRequest, pk: UUID) -> HttpResponse:
    connection = _connection(request, pk, Role.ADMIN if request.method == "POST" else Role.VIEWER)
    form = ConnectionForm(request.POST or None, workspace=connection.workspace, connection=connection)
    if request.method == "POST" and (saved := _save(request, form)):
        return redirect("connection-edit", pk=saved.pk)
    connection.refresh_from_db()  # what a failed save put on it is not what is kept
    page = {
        "form": form,
        "line": connection_line(pk),
        "learned": learned_of(connection),
        "crumbs": _crumbs(),
        "can_change": _admin(request),
        "orphans": orphan_lines(connection, orphans_of(connection)) if _admin(request) else None,
    }
    return render(request, "jobs/connection.html", page, status=422 if request.method == "POST" else 200)


@only_post("connection-edit", "pk")
@member()
def connection_test(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One cheap call. For htmx: the row of the list, or the card of the page; else back to the page."""
    connection = _connection(request, pk, Role.ADMIN)
    ok, words = test_connection(connection)
    page = {"line": connection_line(pk), "can_change": True, "tested_now": True}
    if request.htmx:  # type: ignore[attr-defined]
        in_list = (request.headers.get("HX-Target") or "").startswith("connection-row-")
        return render(request, f"jobs/{'_connection_row' if in_list else '_connection_test'}.html", page)
    (messages.success if ok else messages.error)(request, words)
    return redirect("connection-edit", pk=pk)


@only_post("connection-edit", "pk")
@member()
def connection_remove(request: HttpRequest, pk: UUID) -> HttpResponse:
    connection = _connection(request, pk, Role.ADMIN)
    name = connection.name
    try:
        remove_connection(connection, request.user)  # type: ignore[arg-type]
    except BadInput as problem:
        messages.error(request, str(problem))
        return redirect("connection-edit", pk=pk)
    messages.success(request, f"{name} is removed and its key destroyed. Its jobs keep their record.")
    return redirect("connection-list")


def _connection(request: HttpRequest, pk: UUID, needed: Role) -> Connection:
    found = get_connection(request, pk, needed)
    if found.archived_at is not None:
        raise Http404
    return found


def _save(request: HttpRequest, form: ConnectionForm) -> Connection | None:
    """Save, and test at once where the button says so."""
    if not form.is_valid():
        return None
    try:
        saved = form.save(request.user)  # type: ignore[arg-type]
    except BadInput as problem:
        form.add_error(None, str(problem))
        return None
    if "test" in request.POST:
        ok, words = test_connection(saved)
        if ok:
            messages.success(request, f"{saved.name} is saved. {words}")
        else:
            messages.warning(request, f"{saved.name} is saved, but the test failed: {words}")
    else:
        messages.success(request, f"{saved.name} is saved.")
    return saved


def _admin(request: HttpRequest) -> bool:
    return current_membership(request).may(Role.ADMIN)


def _crumbs() -> list[tuple[str, Any]]:
    label, name = CRUMBS
    return [(label, reverse(name))]
