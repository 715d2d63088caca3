"""Named points where the tests end the process: `BATCHUI_CRASH_AT="after mark"` kills it there, as `kill -9` would."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

LATER_SECONDS = 0.4
# What a test in the same process puts here is called at every point; it may raise.
hook: Callable[[str], None] | None = None


def point(name: str) -> None:
    """A place between two effects that a crash may part."""
    if hook is not None:
        hook(name)
    if _wanted(name):
        os.kill(os.getpid(), signal.SIGKILL)


def during(name: str) -> None:
    """The start of a call that takes its time: the process ends a moment later, in the middle of it."""
    if hook is not None:
        hook(name)
    if _wanted(name):
        threading.Timer(LATER_SECONDS, os.kill, (os.getpid(), signal.SIGKILL)).start()


def _wanted(name: str) -> bool:
    if os.environ.get("BATCHUI_CRASH_AT") != name:
        return False
    once = os.environ.get("BATCHUI_CRASH_ONCE")  # a file that says that it happened
    if once:
        if Path(once).exists():
            return False
        Path(once).touch()
    return True
