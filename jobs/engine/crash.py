"""Named points where the tests end the process: `BATCHUI_CRASH_AT="after mark"` kills it there, as `kill -9` would."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def point(name: str) -> None:
    wanted = os.environ.get("BATCHUI_CRASH_AT")
    if wanted is None or wanted != name:
        return
    once = os.environ.get("BATCHUI_CRASH_ONCE")  # a file that says that it happened
    if once:
        if Path(once).exists():
            return
        Path(once).touch()
    os.kill(os.getpid(), signal.SIGKILL)
