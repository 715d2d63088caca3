"""Orphans: batches at a provider that the ledger does not know. Looked for, cancelled or set aside by admins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from jobs.access import get_connection, member
from jobs.engine import orphans
from jobs.errors import BadInput
from jobs.formats import count
from jobs.models import Batch, Connection
from jobs.views.posting import only_post
from jobs.words import Role, remote_status

MOST_SHOWN = 50


@dataclass(frozen=True, slots=True)
class OrphanLine:
    """One as the page shows it; `decide` are (label, address) of batches that it may be, where a person decides."""

    orphan: orphans.Orphan
    status: str
    created_at: datetime | None
    decide: tuple[tuple[str, str], ...]
    dialog_id: str


@dataclass(frozen=True, slots=True)
class OrphanList:
    """What the last look found, the newest first, and how many more there are than are shown."""

    lines: tuple[OrphanLine, ...]
    more: int
    at: datetime | None
    complete: bool


def orphan_lines(connection: Connection, found: orphans.Orphans) -> OrphanList:
    """The orphans of a connection with their ways out; one query where one may be a batch that is looked for."""
    shown = sorted(found.found, key=lambda each: each.created_at, reverse=True)[:MOST_SHOWN]
    wanted = {pk for each in shown for pk in each.could_be}
    batches = (
        {str(b.pk): b for b in Batch.objects.filter(connection=connection, pk__in=wanted).select_related("job", "round")} if wanted else {}
    )
    lines = []
    for number, each in enumerate(shown, 1):
        known = [batches[pk] for pk in each.could_be if pk in batches]
        ways = tuple((f"{b.label} of {b.job.name}", reverse("job-decide", args=[b.job_id, b.pk])) for b in known)
        created = datetime.fromisoformat(each.created_at) if each.created_at else None
        lines.append(OrphanLine(each, remote_status(each.status), created, ways, f"orphan-{number}"))
    return OrphanList(tuple(lines), len(found.found) - len(shown), found.at, found.complete)


@only_post("connection-edit", "pk")
@member(Role.ADMIN)
def orphans_look(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Walk the provider's list now."""
    connection = _connection(request, pk)
    try:
        n = len(orphans.look(connection).found)
        words = f"{count(n, 'batch', 'batches')} at the provider {'is' if n == 1 else 'are'} not known here."
        messages.success(request, words if n else "Every batch there belongs to a job here.")
    except BadInput as error:
        messages.error(request, str(error))
    return _back(connection)


@only_post("connection-edit", "pk")
@member(Role.ADMIN)
def orphan_cancel(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Ask the provider to end one."""
    connection, named = _connection(request, pk), request.POST.get("batch", "")[:200]
    try:
        _known(connection, named)
        orphans.cancel(connection, request.user, named)  # type: ignore[arg-type]
        messages.success(request, f"The provider was asked to cancel {named}. What it finished before is billed.")
    except BadInput as error:
        messages.error(request, str(error))
    return _back(connection)


@only_post("connection-edit", "pk")
@member(Role.ADMIN)
def orphan_ignore(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Do not show one again."""
    connection, named = _connection(request, pk), request.POST.get("batch", "")[:200]
    try:
        _known(connection, named)
        orphans.ignore(connection, request.user, named)  # type: ignore[arg-type]
        messages.success(request, f"{named} is not shown again. It stays as it is at the provider.")
    except BadInput as error:
        messages.error(request, str(error))
    return _back(connection)


def _known(connection: Connection, named: str) -> None:
    """Only what the last look found may be acted on. Raises BadInput."""
    if named not in {each.id for each in orphans.orphans_of(connection).found}:
        raise BadInput("That batch is not in the list of the last look.", "Look again.")


def _connection(request: HttpRequest, pk: UUID) -> Connection:
    found = get_connection(request, pk, Role.ADMIN)
    if found.archived_at is not None:
        raise Http404
    return found


def _back(connection: Connection) -> HttpResponse:
    return redirect(reverse("connection-edit", args=[connection.pk]) + "#orphans")
