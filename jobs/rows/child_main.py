"""The child's side of `jobs.rows.child`: bind its own hands, read the request, call `module.answer`, write what it answers."""

from __future__ import annotations

import ctypes
import errno
import importlib
import json
import math
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from jobs.errors import BadInput, BadTable, BadTemplate

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_FILTER = 2
# machine → (audit architecture, numbers of: socket, execve, execveat, ptrace, io_uring_setup)
_SYSTEM_CALLS = {
    "x86_64": (0xC000003E, (41, 59, 322, 101, 425)),
    "aarch64": (0xC00000B7, (198, 221, 281, 117, 425)),
}


def main(module: str, limits: dict[str, Any]) -> int:
    """Answer one request on standard output, one JSON object a line: `{"answer": …}`*, then `{"done": true}` or `{"error": …}`."""
    _die_with(limits["parent"])
    out = _own_stdout()
    request = json.loads(sys.stdin.buffer.read())
    _lock()  # before any library starts a thread: the filter is inherited, not shared
    answer: Callable[[dict[str, Any]], Any] = importlib.import_module(module).answer
    _limit(limits)
    try:
        result = answer(request)
        for part in result if isinstance(result, Iterator) else (result,):
            _say(out, {"answer": part})
        _say(out, {"done": True})
    except BaseException as error:
        data = _as_data(error)
        if data is None:
            raise
        _say(out, {"error": data})
    out.flush()
    os._exit(0)  # thread pools of the engines may take long to end, or break at it; all that counts is written


def _say(out: BinaryIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message).encode() + b"\n")
    out.flush()


def _own_stdout() -> BinaryIO:
    """Keep the pipe for answers; whatever a library prints goes to standard error."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _as_data(error: BaseException) -> dict[str, Any] | None:
    if isinstance(error, BadTable):
        where = {"line": error.where.line, "found": error.where.found, "expected": error.where.expected}
        return {"kind": "BadTable", "message": error.message, "hint": error.hint, "where": where}
    if isinstance(error, BadTemplate):
        return {"kind": "BadTemplate", "message": error.message, "hint": error.hint, "line": error.line}
    if isinstance(error, BadInput):
        return {"kind": "BadInput", "message": error.message, "hint": error.hint}
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryException", "ArrowMemoryError"):
        return {"kind": "ChildDied", "reason": "memory", "detail": str(error)[:2000]}
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return {"kind": "ChildDied", "reason": "disk", "detail": str(error)[:2000]}
    return None


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we could ask to be told
        os._exit(1)


def _limit(limits: dict[str, Any]) -> None:
    """Memory counts from what is mapped now: libraries map a gigabyte that they do not use, which differs between versions."""
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    _lower(resource.RLIMIT_AS, mapped + limits["memory_bytes"])
    _lower(resource.RLIMIT_CPU, math.ceil(limits["seconds"]) * (os.cpu_count() or 1) + 1)
    _lower(resource.RLIMIT_FSIZE, max(limits["file_bytes"], 1_000_000))
    _lower(resource.RLIMIT_CORE, 0)


def _lower(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _lock() -> bool:
    """No sockets and no other programs from here on (seccomp). False where the kernel or the machine does not offer it."""
    if platform.machine() not in _SYSTEM_CALLS:
        return False
    architecture, refused = _SYSTEM_CALLS[platform.machine()]
    load, equal, give = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EPERM
    n = len(refused)
    # Other architecture: refuse; a listed number: refuse; the rest: allow. (code, jump if true, jump if false, value)
    program = [(load, 0, 0, 4), (equal, 0, n + 2, architecture), (load, 0, 0, 0)]
    program += [(equal, n - i, 0, number) for i, number in enumerate(refused)]
    program += [(give, 0, 0, allow), (give, 0, 0, refuse)]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code)
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(prctl(_PR_SET_SECCOMP, _SECCOMP_FILTER, ctypes.addressof(header), 0, 0) == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))
