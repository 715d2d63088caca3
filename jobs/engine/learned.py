"""What a connection has learned (`Connection.learned`): written in one place, under a lock, since several parts of the engine write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction

from jobs.models import Connection


def learn(connection: Connection, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Write the fields that `change` makes of all that is known now; what others learned meanwhile stays. Returns these fields, and
    leaves `connection.learned` as it is in the ledger."""
    with transaction.atomic():
        known = Connection.objects.select_for_update(no_key=True).get(pk=connection.pk).learned
        fields = change(known)
        connection.learned = {**known, **fields}
        Connection.objects.filter(pk=connection.pk).update(learned=connection.learned)
    return fields
