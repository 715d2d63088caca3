"""What a connection has learned has several writers; none undoes what another wrote."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.engine import headroom, orphans
from jobs.models import Connection

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_learned_limit_keeps_what_an_admin_set_aside(make: Any) -> None:
    connection = make().connection
    stale = Connection.objects.get(pk=connection.pk)  # read by a worker before the admin's click
    orphans.ignore(connection, None, "batch_of_a_colleague")
    assert headroom.learn(stale, "gpt-6-luna", "Limit: 2,000,000 enqueued tokens") == 2_000_000
    assert headroom.learn_bytes(connection, 1_000) == 1_000  # by an instance that is stale in its turn
    headroom.learn_tokens(stale, "gpt-6-luna", 500)
    stored = Connection.objects.get(pk=connection.pk)
    assert stored.learned == {
        "orphans": {"ignored": ["batch_of_a_colleague"]},
        "enqueued_tokens": {"gpt-6-luna": 2_000_000},
        "bytes_per_batch": 1_000,
        "tokens_per_batch": {"gpt-6-luna": 500},
    }
    assert stale.learned == stored.learned


def test_limits_are_only_ever_learned_smaller(make: Any) -> None:
    connection = make().connection
    assert [headroom.learn_bytes(connection, n) for n in (500, 900, 0)] == [500, 500, 1]
