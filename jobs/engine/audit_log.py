"""Who did what that costs money or opens doors. No prompt text, no secrets."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User

from jobs.models import AuditEntry, Workspace


def write(workspace: Workspace, user: User | None, action: str, target: str = "", *, ip: str | None = None, **detail: Any) -> None:
    """Append one entry; `detail` must be JSON."""
    who = user if user is not None and user.pk else None
    AuditEntry.objects.create(workspace=workspace, user=who, action=action, target=target[:200], detail=detail, ip=ip)
