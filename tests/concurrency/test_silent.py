"""A host that falls silent in the middle of a transaction: the database lets go of what it holds."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.utils import timezone

from jobs.models import Workspace

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]


def test_every_connection_is_bounded() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('tcp_keepalives_idle')")
        assert cursor.fetchone() == (f"{settings.SILENT_MS // 1000}s", "15")


def test_a_lock_of_a_silent_transaction_is_free_again(people: Any) -> None:
    """The very limit, made short for this one connection."""
    locked, over = threading.Event(), threading.Event()
    raised: list[type[Exception]] = []

    def fall_silent() -> None:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '500ms'")
                Workspace.objects.select_for_update().get(pk=people.home.pk)
                locked.set()
                over.wait(20)
                Workspace.objects.filter(pk=people.home.pk).update(name="too late")
        except (DatabaseError, InterfaceError) as error:
            raised.append(type(error))
        finally:
            connection.close()

    thread = threading.Thread(target=fall_silent)
    thread.start()
    assert locked.wait(20)
    began = timezone.now()
    Workspace.objects.filter(pk=people.home.pk).update(name="free")  # would wait for ever
    assert (timezone.now() - began).total_seconds() < 15
    over.set()
    thread.join(20)
    people.home.refresh_from_db()
    assert (people.home.name, len(raised)) == ("free", 1)
