"""Is everything up? For people, supervisors and load balancers; it tells no secret, path or host."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from batchui import local
from jobs.engine import clocks
from jobs.models import Heartbeat
from jobs.queries.machinery import CLOCK

LOW_SPACE_BYTES = 200 * 1024 * 1024
Check = dict[str, Any]


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 when all is well, else 503; the body names each part."""
    checks = {name: _run(check) for name, check in _CHECKS.items()}
    well = all(check["ok"] for check in checks.values())
    return JsonResponse({"ok": well, **checks}, status=200 if well else 503)


def _run(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (DatabaseError, OSError) as error:
        # The class alone: messages of drivers carry hosts and user names.
        return {"ok": False, "error": type(error).__name__}


def _database() -> Check:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return {"ok": True, "kind": connection.vendor}


def _workers() -> Check:
    return _beat("worker")


def _pump() -> Check:
    return _beat("pump")


def _beat(name: str) -> Check:
    """How long ago that part showed that it moves, on whichever host."""
    at = Heartbeat.objects.filter(name=name).values_list("at", flat=True).first()
    if at is None:
        return {"ok": False, "age_seconds": None}
    age = max(0.0, (timezone.now() - at).total_seconds())
    return {"ok": age < settings.BEAT_LATE_SECONDS, "age_seconds": round(age, 1)}


def _clocks() -> Check:
    """Whether this host's clock goes with the database's, and no worker's host has said lately that its own does not."""
    worst = clocks.off()
    late = timezone.now() - timedelta(seconds=settings.BEAT_LATE_SECONDS)
    if not worst and (said := Heartbeat.objects.filter(name=CLOCK, at__gte=late).first()):
        worst = said.data["seconds"]
    return {"ok": not worst, "seconds_off": round(worst, 1)}


def _storage() -> Check:
    probe = Path(settings.DATA) / f".probe-{os.getpid()}"
    probe.write_bytes(b"batchui")
    probe.unlink(missing_ok=True)
    free = shutil.disk_usage(settings.DATA).free
    return {"ok": free >= LOW_SPACE_BYTES, "writable": True, "free_bytes": free}


def _sandbox() -> Check:
    """The sandbox is optional: only one that should run and does not answer is a fault."""
    if not settings.SANDBOX_PORT:
        return {"ok": True, "configured": False}
    return {"ok": local.answers(settings.SANDBOX_PORT), "configured": True}


_CHECKS: dict[str, Callable[[], Check]] = {
    "database": _database,
    "workers": _workers,
    "pump": _pump,
    "clocks": _clocks,
    "storage": _storage,
    "sandbox": _sandbox,
}
