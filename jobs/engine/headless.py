"""The workspace that commands work in."""

from __future__ import annotations

from jobs.errors import BadInput
from jobs.models import Workspace


def headless_workspace(name: str = "") -> Workspace:
    """The workspace of that name; without a name the oldest one, made where there is none yet."""
    if name:
        found = Workspace.objects.filter(name=name).first()
        if found is None:
            raise BadInput(f"There is no workspace “{name}”.")
        return found
    return Workspace.objects.order_by("created_at").first() or Workspace.objects.create(name="My workspace")
