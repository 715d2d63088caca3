"""Bounded child processes: what reads files or templates of strangers runs in one of these, never in the web process or a worker.

A child is a fresh Python with a nearly empty environment, limits on memory, processor time and file size, no core, no sockets and no
exec (seccomp, where the kernel allows it), its own session, and it dies with its parent. It gets a JSON request and answers in JSON lines.

The module that does the work has a function `answer(request: dict) -> dict | Iterator[dict]`; see `child_main` for the child's side.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any

from jobs import errors
from jobs.errors import BatchuiError, Where

REPOSITORY = Path(__file__).resolve().parents[2]
ANSWER_BYTES = 64_000_000  # one answer line; more than that would only move the bomb into the parent
_ERROR_TAIL = 2000


class ChildDied(BatchuiError):
    """A child ended without an answer. `reason` is `timeout`, `memory`, `disk` or `crash`; `detail` is for the log, not for a person."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(_REASONS[reason])
        self.reason = reason
        self.detail = detail


_REASONS = {
    "timeout": "It took too long and was stopped.",
    "memory": "It needed more memory than allowed and was stopped.",
    "disk": "It needed more disk space than allowed, or the disk is full.",
    "crash": "The process that worked on it broke.",
}


def run_child(
    module: str, request: dict[str, Any], *, seconds: float, memory_bytes: int, file_bytes: int = 0, cwd: Path | None = None
) -> dict[str, Any]:
    """Run `module.answer(request)` in a bounded child and return its one answer.

    `seconds` is wall time, `memory_bytes` address space beyond what Python and its libraries map at start, `file_bytes` the largest file
    it may write (0: only what its pipes need). Raises ChildDied, or the error of `jobs.errors` that the child raised.
    """
    last: dict[str, Any] | None = None
    for answer in stream_child(module, request, seconds=seconds, memory_bytes=memory_bytes, file_bytes=file_bytes, cwd=cwd):
        last = answer
    if last is None:
        raise ChildDied("crash", f"{module} answered nothing")
    return last


def stream_child(
    module: str, request: dict[str, Any], *, seconds: float, memory_bytes: int, file_bytes: int = 0, cwd: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Like `run_child`, but yield every answer as it comes. The clock runs on while the caller works; closing it kills the child."""
    limits = {"seconds": seconds, "memory_bytes": memory_bytes, "file_bytes": file_bytes, "parent": os.getpid()}
    with tempfile.TemporaryFile() as errors_file:
        child = subprocess.Popen(
            [sys.executable, "-s", "-m", "jobs.rows.child_main", module, json.dumps(limits)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors_file,
            cwd=cwd or tempfile.gettempdir(),
            env=_environment(),
            start_new_session=True,
        )
        late = threading.Event()
        timer = threading.Timer(seconds, _stop, (child, late))
        timer.daemon = True
        timer.start()
        try:
            _ask(child, request)
            finished = yield from _answers(child)
            code = child.wait()
            if late.is_set() or not finished:
                raise _death(code, late.is_set(), _tail(errors_file))
        finally:
            timer.cancel()
            _kill(child)
            child.wait()
            if child.stdout:
                child.stdout.close()


def _environment() -> dict[str, str]:
    """No key, no token, no proxy: only what Python needs, and allocators that do not reserve what they do not use."""
    kept = {name: os.environ[name] for name in ("PATH", "TZ", "LD_LIBRARY_PATH") if name in os.environ}
    return {
        **kept,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "2",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "OMP_NUM_THREADS": "2",
    }


def _ask(child: subprocess.Popen[bytes], request: dict[str, Any]) -> None:
    """Hand over the request. The child reads all of it before it writes anything, so this cannot block for ever."""
    assert child.stdin is not None
    try:
        child.stdin.write(json.dumps(request).encode())
        child.stdin.close()
    except BrokenPipeError:
        pass  # it died at start; its exit status tells why


def _answers(child: subprocess.Popen[bytes]) -> Generator[dict[str, Any], None, bool]:
    """Yield answers until the child says that it is done; return whether it did. Raises what the child raised."""
    assert child.stdout is not None
    while line := child.stdout.readline(ANSWER_BYTES):
        if not line.endswith(b"\n"):
            return False  # a torn or monstrous line
        message = json.loads(line)
        if "answer" in message:
            yield message["answer"]
        elif "error" in message:
            raise _raised(message["error"])
        else:
            return True
    return False


def _raised(data: dict[str, Any]) -> BatchuiError:
    """An error of `jobs.errors` that came as data, or ChildDied."""
    kind = data["kind"]
    if kind == "ChildDied":
        return ChildDied(data["reason"], data["detail"])
    if kind == "BadTable":
        return errors.BadTable(data["message"], Where(**data["where"]), data["hint"])
    if kind == "BadTemplate":
        return errors.BadTemplate(data["message"], data["line"], data["hint"])
    return errors.BadInput(data["message"], data["hint"])


def _death(code: int, late: bool, tail: str) -> ChildDied:
    if late or code == -signal.SIGXCPU:
        return ChildDied("timeout", tail)
    if code == -signal.SIGXFSZ:
        return ChildDied("disk", tail)
    # The kernel's memory killer sends SIGKILL; an allocator that finds none aborts, and says so first.
    if code == -signal.SIGKILL or any(
        word in tail for word in ("bad_alloc", "MemoryError", "Cannot allocate memory", "Out of Memory", "out of memory")
    ):
        return ChildDied("memory", tail)
    return ChildDied("crash", f"exit {code}: {tail}")


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _ERROR_TAIL))
    return file.read().decode(errors="replace")


def _stop(child: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever it started: it leads its own session. Safe to call twice: a reaped child is not signalled."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
