"""The workspace that commands work in."""

from __future__ import annotations

from django.core.management import call_command
from django.db import connection

from jobs.errors import BadInput
from jobs.models import Workspace


def ready_database() -> None:
    """Make the tables where a command is the first thing that runs in a fresh data folder."""
    if Workspace._meta.db_table not in connection.introspection.table_names():
        call_command("migrate", verbosity=0, interactive=False)


def headless_workspace(name: str = "") -> Workspace:
    """The workspace of that name; without a name the oldest one, made where there is none yet."""
    if name:
        found = Workspace.objects.filter(name=name).first()
        if found is None:
            raise BadInput(f"There is no workspace “{name}”.")
        return found
    return Workspace.objects.order_by("created_at").first() or Workspace.objects.create(name="My workspace")
