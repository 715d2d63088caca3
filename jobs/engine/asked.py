"""A provider that asks for hours before the next create is kept to, up to a day, for all of the connection.

The moment stands beside `next_look_at`, which never lies far ahead, so that a clock that was stepped back strands nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from jobs.engine import learned
from jobs.engine.windows import LONGEST
from jobs.models import Connection

KEY = "asked_to_wait"  # in Connection.learned
JITTER = timedelta(minutes=1)


def note(connection: Connection, seconds: float | None) -> None:
    """Keep a wait that is longer than anything is put off for otherwise."""
    if seconds is not None and seconds > LONGEST:
        now = timezone.now()
        asked = {"at": now.isoformat(), "until": (now + timedelta(seconds=seconds)).isoformat()}
        learned.learn(connection, lambda _: {KEY: asked})


def until(connection: Connection) -> datetime | None:
    """Until when nothing is created; None where nothing was asked, it is over, or the clock was stepped back behind the asking."""
    kept, now = connection.learned.get(KEY), timezone.now()
    if not kept or now < datetime.fromisoformat(kept["at"]) - JITTER:
        return None
    moment = datetime.fromisoformat(kept["until"])
    return moment if now < moment else None


def words(moment: datetime) -> str:
    """Why nothing is sent, for the page."""
    return f"the provider asked us to wait until {timezone.localtime(moment):%H:%M %Z on %d %B}; nothing is created before"
