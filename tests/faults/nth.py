"""The n-th operation of the engine fails: every query, commit, file operation and call is counted, and one of them raises."""

from __future__ import annotations

import errno
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from jobs.providers.http import GuardedTransport
from jobs.rows.merge import TableWriter

ERRNOS = (errno.ENOSPC, errno.EIO, errno.EROFS)
OF_FILES = ("fsync", "fdatasync", "replace", "rename", "write", "open", "mkdir", "unlink", "rmdir")
JOBS = f"{os.sep}jobs{os.sep}"


@dataclass
class Operations:
    """Counts the operations under `folder`, in the ledger and on the wire; those whose number is in `failing` fail, before or after
    they were carried out. `sites` tells where each came from: its kind and the two innermost functions of ours."""

    folder: Path
    failing: dict[int, str] = field(default_factory=dict)  # number from 0 → "before", "after" or, for a write, "half"
    sites: list[tuple[str, ...]] = field(default_factory=list)
    failed: list[tuple[str, ...]] = field(default_factory=list)
    is_on: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, kind: str) -> str:
        """Count one; when it is to fail, and how."""
        if not self.is_on:
            return ""
        with self._lock:
            site = (kind, *_callers())
            number = len(self.sites)
            self.sites.append(site)
            if how := self.failing.get(number, ""):
                self.failed.append((how, *site))
            return how

    @contextmanager
    def counted(self) -> Iterator[None]:
        """What is done inside counts."""
        with connection.execute_wrapper(self._query):
            self.is_on = True
            try:
                yield
            finally:
                self.is_on = False

    @contextmanager
    def watching(self) -> Iterator[Operations]:
        """Stand in for the operations. They do as always outside of `counted`."""
        with ExitStack() as stack:
            for name in OF_FILES:
                stack.enter_context(patch.object(os, name, self._of_file(name, getattr(os, name))))
            stack.enter_context(patch.object(io, "open", self._opening(io.open)))
            stack.enter_context(patch.object(TableWriter, "_flush", self._flushing(TableWriter._flush)))
            stack.enter_context(patch.object(BaseDatabaseWrapper, "_commit", self._committing(BaseDatabaseWrapper._commit)))  # type: ignore[attr-defined]
            stack.enter_context(patch.object(GuardedTransport, "handle_request", self._call(GuardedTransport.handle_request)))
            yield self

    def _error(self) -> OSError:
        number = ERRNOS[len(self.sites) % len(ERRNOS)]
        return OSError(number, os.strerror(number))

    def _query(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """The server is gone before the query reaches it."""
        if not sql.startswith(("BEGIN", "SAVEPOINT", "ROLLBACK")) and self.next("query"):
            raise OperationalError("the connection is lost")
        return execute(sql, params, many, context)

    def _committing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """A commit that fails may have been carried out."""

        def commit(db: Any) -> None:
            how = self.next("commit")
            if how != "before":
                real(db)
            if how:
                raise OperationalError("the connection is lost in the commit")

        return commit

    def _call(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """A call that got no answer may have been carried out."""

        def handle(transport: Any, request: Any) -> Any:
            how = self.next("call")
            if how == "before":
                raise httpx2.ConnectError("refused", request=request)
            response = real(transport, request)
            if how:
                response.close()
                raise httpx2.ReadError("reset", request=request)
            return response

        return handle

    def _of_file(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operate(target: Any, *more: Any, **named: Any) -> Any:
            if not self.is_on or not self._is_here(target):
                return real(target, *more, **named)
            how = self.next(name)
            if how == "half" and name == "write":
                return real(target, more[0][: len(more[0]) // 2])
            if how:
                raise self._error()
            return real(target, *more, **named)

        return operate

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opening(target: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            if not self.is_on or not self._is_here(target):
                return real(target, mode, *more, **named)
            if self.next("open"):
                raise self._error()
            if mode == "wb":
                return io.BufferedWriter(_Counted(target, self))
            return real(target, mode, *more, **named)

        return opening

    def _flushing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Arrow writes by itself; its errors carry their number in the text alone."""

        def flush(writer: Any) -> None:
            if self.next("parquet"):
                raise OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device")
            real(writer)

        return flush

    def _is_here(self, target: Any) -> bool:
        if isinstance(target, int):
            target = os.readlink(f"/proc/self/fd/{target}")
        return str(target).startswith(str(self.folder))


class _Counted(io.FileIO):
    """A file whose writes count."""

    def __init__(self, path: Any, operations: Operations) -> None:
        super().__init__(path, "wb")
        self._operations = operations

    def write(self, data: Any) -> int:  # type: ignore[override]
        if self._operations.next("write"):
            raise self._operations._error()
        return super().write(data)  # type: ignore[return-value]


def _callers() -> list[str]:
    found: list[str] = []
    frame = sys._getframe(3)
    while frame is not None and len(found) < 2:
        if JOBS in frame.f_code.co_filename and f"{os.sep}sandbox{os.sep}" not in frame.f_code.co_filename:
            found.append(f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return found
