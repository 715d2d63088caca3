"""How far a walk through a provider's list has come. Newest first is what the documents say, and what no walk may take on trust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.providers.base import RemoteBatch

JITTER = timedelta(seconds=60)  # by which neighbours on a list may be out of order, and it still is in order


@dataclass(slots=True)
class Walked:
    """The times of a list, page by page, in the order in which they came."""

    _first: datetime | None = None
    _last: datetime | None = None
    _in_order: bool = True
    _page: Sequence[RemoteBatch] = ()

    def add(self, page: Sequence[RemoteBatch]) -> None:
        self._page = page
        for remote in page:
            made = remote.created_at
            if made is None:
                continue
            if self._last is not None and made > self._last + JITTER:
                self._in_order = False
            self._first = self._first or made
            self._last = made

    def is_past(self, moment: datetime) -> bool:
        """Whether all that comes is older than `moment`: the last page was, and the list was seen to go from newer to older. A list that
        begins with the oldest, or stands in no order, is past nothing before its end."""
        goes_down = self._first is not None and self._last is not None and self._first > self._last
        is_old = bool(self._page) and all(remote.created_at is not None and remote.created_at < moment for remote in self._page)
        return self._in_order and goes_down and is_old
