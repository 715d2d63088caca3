"""Small middleware: request ids, response headers, session limits, a person's time zone."""

from __future__ import annotations

import time
import uuid
import zoneinfo
from collections.abc import Callable
from functools import lru_cache

import structlog
from csp.constants import NONE
from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers, patch_vary_headers

Handler = Callable[[HttpRequest], HttpResponse]
SEEN_EVERY_SECONDS = 300  # the session row is written at most this often, so that polling pages do not write


def request_id(get_response: Handler) -> Handler:
    """Give each request an id of our own: in every log line, and on the error page."""

    def handle(request: HttpRequest) -> HttpResponse:
        request.id = uuid.uuid4().hex[:12]  # type: ignore[attr-defined]
        with structlog.contextvars.bound_contextvars(request_id=request.id):  # type: ignore[attr-defined]
            return get_response(request)

    return handle


def headers(get_response: Handler) -> Handler:
    """Headers that Django does not set. A page and its partial share a URL, so caches must tell them apart and keep neither."""

    def handle(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        patch_vary_headers(response, ["HX-Request"])
        response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        if response.get("Content-Disposition", "").startswith("attachment"):
            # Whatever a browser makes of a downloaded file, it is not of our origin and runs nothing (S25).
            response._csp_replace = {"sandbox": [], "default-src": [NONE]}  # type: ignore[attr-defined]
        user = getattr(request, "user", None)
        if user is not None and not response.has_header("Cache-Control"):
            add_never_cache_headers(response)
        return response

    return handle


def session_limits(get_response: Handler) -> Handler:
    """End sessions that are too old, or unused for too long."""

    def handle(request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            now = int(time.time())
            started = request.session.setdefault("started_at", now)
            seen = request.session.get("seen_at", now)
            if now - started > settings.SESSION_COOKIE_AGE or now - seen > settings.SESSION_IDLE_SECONDS:
                logout(request)
            elif "seen_at" not in request.session or now - seen >= SEEN_EVERY_SECONDS:
                request.session["seen_at"] = now
        return get_response(request)

    return handle


def person_zone(get_response: Handler) -> Handler:
    """Show times in the zone that the person chose (cookie `zone`), else in the one that the browser named (cookie `tz`)."""

    def handle(request: HttpRequest) -> HttpResponse:
        with timezone.override(_zone(request.COOKIES.get("zone") or request.COOKIES.get("tz", ""))):
            return get_response(request)

    return handle


@lru_cache(maxsize=600)
def _zone(name: str) -> zoneinfo.ZoneInfo | None:
    return zoneinfo.ZoneInfo(name) if name in zoneinfo.available_timezones() else None
