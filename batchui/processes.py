"""Starting processes that end with the one that started them, and ending them all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork: loading in a forked child can deadlock


def die_with_parent(with_signal: int = signal.SIGKILL) -> None:
    """Ask the kernel to end this process when its parent ends. Does nothing where there is no such thing (macOS)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, with_signal)


def _in_child() -> None:
    """Between fork and exec: an own session, so that Ctrl-C in the terminal reaches the supervisor alone."""
    os.setsid()
    die_with_parent(signal.SIGTERM)


@dataclass
class Child:
    """A process that should run for as long as its supervisor does.

    `essential` children end the whole when they end; the others are started again, later each time.
    `patience` is how many seconds it gets to stop by itself.
    """

    name: str
    command: list[str]
    essential: bool = True
    patience: float = 5.0
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    failures: int = 0
    started_at: float = 0.0
    start_again_at: float = 0.0

    def start(self, say: Callable[[str, str], None]) -> None:
        """Start it; each line that it prints goes to `say(name, line)`."""
        # The parent-death signal follows the thread that forks: this must run in the main thread, which lives as long as the process.
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            bufsize=1,
            preexec_fn=_in_child,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.env},
        )
        self.started_at = time.monotonic()
        threading.Thread(target=self._relay, args=(self.process, say), daemon=True).start()

    def _relay(self, process: subprocess.Popen[str], say: Callable[[str, str], None]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            say(self.name, line.rstrip())

    @property
    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def sweep(self) -> None:
        """Kill whatever is left of its session."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Supervisor:
    """Runs children until one that matters ends or a stop is asked for; then ends all of them, last started first."""

    def __init__(self, children: list[Child], say: Callable[[str, str], None]) -> None:
        self.children = children
        self.say = say
        self.stopping = threading.Event()

    def stop(self, *_signal: object) -> None:
        """Ask for an orderly stop; may be a signal handler."""
        self.stopping.set()

    def start(self) -> None:
        """Start every child."""
        for child in self.children:
            child.start(self.say)

    def watch(self) -> int:
        """Keep the children running until told to stop. 0 after a stop, 1 after the end of an essential child."""
        while not self.stopping.wait(0.2):
            for child in self.children:
                if child.ended and not self._revive(child):
                    return 1
        return 0

    def _revive(self, child: Child) -> bool:
        """Start an ended child again when its pause is over; False if the whole must end with it."""
        assert child.process is not None
        now = time.monotonic()
        if child.essential:
            self.say("up", f"{child.name} ended with status {child.process.returncode}; stopping the rest")
            return False
        if not child.start_again_at:
            child.sweep()
            child.failures = 1 if now - child.started_at > 60 else child.failures + 1
            pause = min(30.0, 0.5 * 2 ** (child.failures - 1))
            child.start_again_at = now + pause
            self.say("up", f"{child.name} ended with status {child.process.returncode}; starting it again in {pause:g} s")
        elif now >= child.start_again_at:
            child.start_again_at = 0.0
            child.start(self.say)
        return True

    def end(self) -> None:
        """Ask all children to stop at once, wait as long as each may take, and kill what is left."""
        for child in reversed(self.children):
            if child.process is not None and not child.ended:
                child.process.send_signal(signal.SIGTERM)
        since = time.monotonic()
        for child in reversed(self.children):
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.1, since + child.patience - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.say("up", f"{child.name} did not stop within {child.patience:g} s and is killed; its work goes on at the next start")
            child.sweep()
