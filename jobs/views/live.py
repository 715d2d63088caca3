"""Live questions that cost little: an answer of “nothing new” is given again while all that it rested on stands as it stood.

A page in a browser asks for news of itself every few seconds, and mostly there are none. Finding that out in full (session, person,
membership, job, its batches) takes Django several milliseconds, most of them spent on building the same SQL. So the statements that
read the session, the person's memberships and the thing itself are kept, ready to run, with the rows that they gave before the full
answer was made. As long as they give the very same rows, the full answer would be the same; who was signed out, removed or demoted
is a changed row. Each full answer is good for a minute at most, so that what depends on the time alone is late by no more than that.

How often pages ask is bounded too: when live answers take more of this process's time than `BUDGET`, the pages are told to ask less
often, by a header that `static/js/live.js` reads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils.cache import add_never_cache_headers

from jobs.access import current_membership
from jobs.models import Membership
from jobs.queries.basis import job_basis, workspace_basis

SECONDS = 60.0  # how long a full answer may be repeated
MOST = 4_000  # pages that are remembered in one process
BUDGET = 0.08  # of one core, for all live answers of this process
STRETCH = 20.0  # at most so many times rarer
HEADER = "Live-Stretch"

Things = Callable[..., Iterable[QuerySet[Any, Any]]]
Statement = tuple[str, tuple[Any, ...]]
View = Callable[..., HttpResponse]


@dataclass(frozen=True, slots=True)
class Basis:
    """Statements, ready to run, and the rows that they gave."""

    statements: tuple[Statement, ...]
    rows: tuple[Any, ...]
    until: float  # monotonic seconds

    def stands(self) -> bool:
        return time.monotonic() < self.until and _run(self.statements) == self.rows


_remembered: dict[tuple[str, str], Basis] = {}


def rests_on(things: Things) -> Callable[[View], View]:
    """A view whose 204 to a live question may be repeated while the rows of `things(request, **kwargs)` are the same.

    Put it outside of `member`: the rows are read before the view looks, so that a change in between is never missed.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not is_live(request) or not request.user.is_authenticated:
                return view(request, *args, **kwargs)
            statements = tuple(_compiled([_person(request), *things(request, **kwargs)]))
            basis = Basis(statements, _run(statements), time.monotonic() + SECONDS)
            response = view(request, *args, **kwargs)
            if response.status_code == 204:
                _remember(_key(request), basis)
            return response

        return wrapped

    return decorate


def is_live(request: HttpRequest) -> bool:
    """Whether a live region asks for news of what it has."""
    return request.method == "GET" and request.headers.get("HX-Request") == "true" and any(name in request.GET for name in ("seen", "mark"))


def middleware(get_response: View) -> View:
    """Repeat what may be repeated, before session and person are loaded; keep the whole of it within the budget."""

    def handle(request: HttpRequest) -> HttpResponse:
        if not is_live(request):
            return get_response(request)
        began = time.thread_time()
        basis = _remembered.get(_key(request))
        if basis is not None and basis.stands():
            response = HttpResponse(status=204)
            add_never_cache_headers(response)
        else:
            response = get_response(request)
        response.headers[HEADER] = f"{governor.spent(time.thread_time() - began):.1f}"
        return response

    return handle


class Governor:
    """Keeps what live answers take near `BUDGET` of a core by asking pages for patience: `stretch` times as much as they would wait."""

    def __init__(self) -> None:
        self.stretch = 1.0
        self._since = time.monotonic()
        self._seconds = 0.0
        self._lock = threading.Lock()

    def spent(self, seconds: float, now: float | None = None) -> float:
        """Take note of an answer that took so much processor time; how much rarer the pages should ask from now on."""
        now = time.monotonic() if now is None else now
        with self._lock:
            self._seconds += seconds
            passed = now - self._since
            if passed >= 2.0:  # a short while: long enough to mean something, short enough to react
                over = self._seconds / passed / BUDGET
                self.stretch = min(STRETCH, max(1.0, self.stretch * max(0.5, min(2.0, over)) ** 0.5))
                self._since, self._seconds = now, 0.0
            return self.stretch


governor = Governor()


def _person(request: HttpRequest) -> QuerySet[Any, Any]:
    """Who asks, by which session, and what they are a member of, as what."""
    session = Session.objects.filter(session_key=request.session.session_key).values("session_data")[:1]
    mine = Membership.objects.filter(user_id=request.user.pk or 0).order_by("pk")
    return mine.values_list("pk", "workspace_id", "role", "user__password", "user__is_active", Subquery(session))


def _compiled(querysets: Iterable[QuerySet[Any, Any]]) -> Iterable[Statement]:
    for each in querysets:
        try:
            yield each.query.sql_with_params()
        except EmptyResultSet:  # nothing can match, now or later
            continue


def _run(statements: tuple[Statement, ...]) -> tuple[Any, ...]:
    found = []
    with connection.cursor() as cursor:
        for sql, params in statements:
            cursor.execute(sql, params)
            found.append(tuple(cursor.fetchall()))
    return tuple(found)


def _key(request: HttpRequest) -> tuple[str, str]:
    return request.COOKIES.get(settings.SESSION_COOKIE_NAME, ""), request.get_full_path()


def _remember(key: tuple[str, str], basis: Basis) -> None:
    if len(_remembered) >= MOST:
        now = time.monotonic()
        for old in [old for old, kept in list(_remembered.items()) if kept.until <= now] or list(_remembered)[: MOST // 4]:
            _remembered.pop(old, None)
    _remembered[key] = basis


def of_job(request: HttpRequest, pk: UUID) -> Iterable[QuerySet[Any, Any]]:
    return job_basis(pk)


def of_workspace(request: HttpRequest) -> Iterable[QuerySet[Any, Any]]:
    return workspace_basis(current_membership(request).workspace_id)
