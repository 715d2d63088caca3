"""Something that a person does while a transaction of somebody else is open; on PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import OperationalError, connection, connections

from jobs.errors import BadInput


def waits_for_a_lock() -> bool:
    """Whether anyone waits for a lock in this database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
        return bool(cursor.fetchone()[0])


class Meanwhile:
    """An act in a thread with a connection of its own."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act, self._told = act, list[Any]()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._told.append(self._act())
        except (BadInput, OperationalError) as error:
            self._told.append(error)
        finally:
            connections.close_all()

    def begin(self) -> None:
        """Until it waits for a lock, which the transaction of the caller may hold, or is done."""
        self._thread.start()
        ends = time.monotonic() + 10
        while self._thread.is_alive() and not waits_for_a_lock() and time.monotonic() < ends:
            self._thread.join(0.02)

    def told(self) -> list[Any]:
        """What the act gave, or the error that it raised."""
        self._thread.join()
        return self._told
