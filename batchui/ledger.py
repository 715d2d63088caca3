"""Whether the ledger has the tables that this version of the code needs; said before anything is started on it."""

from __future__ import annotations

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor


def ready(make: bool = False) -> None:
    """Raise CommandError where migrations are missing; with `make` those of a ledger that holds nothing yet are run."""
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not missing:
        return
    if not executor.loader.applied_migrations:
        if not make:
            raise CommandError("The ledger has no tables yet. Make them: manage.py migrate")
        call_command("migrate", verbosity=0, interactive=False)
        return
    names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in missing[:3])
    raise CommandError(
        f"The ledger is of an older version: {len(missing)} of its migrations were not run ({names}{' …' if len(missing) > 3 else ''}). "
        "Stop all that works on it, make a backup, then: manage.py migrate"
    )
