"""How far a walk has come: past a moment only where the list was seen to go from newer to older."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobs.engine.listing import Walked
from jobs.providers.base import RemoteBatch

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
# Ages in seconds page by page (None: no time), and whether all that comes is older than an hour.
LISTS: dict[str, tuple[list[list[int | None]], bool]] = {
    "newest first": ([[0, 10], [4000, 5000]], True),
    "newest first, one a page": ([[10], [4000]], True),
    "not old enough": ([[0, 10], [20, 3000]], False),
    "one of the page is not old enough": ([[0, 10], [3000, 5000]], False),
    "one old batch": ([[5000]], False),
    "all of one moment": ([[5000, 5000], [5000]], False),
    "oldest first": ([[9000, 8000], [7000, 6000]], False),
    "oldest first, one a page": ([[9000], [8000]], False),
    "in no order": ([[9000, 5000, 9500], [9600]], False),
    "neighbours changed places": ([[0, 4000, 3970], [5000, 5030]], True),
    "no time": ([[0], [5000, None]], False),
    "an empty page": ([[0, 5000], []], False),
    "nothing": ([], False),
}


@pytest.mark.parametrize("name", LISTS)
def test_is_past(name: str) -> None:
    pages, expected = LISTS[name]
    walked = Walked()
    for page in pages:
        walked.add([RemoteBatch("b", "", True, created_at=None if age is None else NOW - timedelta(seconds=age)) for age in page])
    assert walked.is_past(NOW - timedelta(hours=1)) is expected
