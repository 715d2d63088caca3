"""The two files of a direct batch: `sent` names a row before its request leaves, `answers.jsonl` keeps what came back."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from jobs.rows.cut import row_of

ANSWERS, SENT, SECONDS = "answers.jsonl", "sent", "seconds"


@dataclass(slots=True)
class Log:
    """Writes are single appends, so that threads and crashes cannot mix lines."""

    folder: Path
    _files: dict[str, int] = field(default_factory=dict)
    _torn: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self) -> None:
        """Ready for writing. A line that a crash or a full disk cut is closed by the next one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (SENT, ANSWERS):
            handle = os.open(self.folder / name, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            self._files[name] = handle
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                self._torn.add(name)

    def _append(self, name: str, line: bytes) -> None:
        """Raises OSError where not all of the line is in the file; what is there then counts for nothing."""
        handle = self._files[name]
        with self._lock:
            # The half of a line must name no row: 12 of 1234 was not sent, and -12 of -1234 not taken back.
            data = (b"?\n" if name == SENT else b"\n") + line if name in self._torn else line
            self._torn.add(name)
            if os.write(handle, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._torn.discard(name)

    def send(self, row: int) -> None:
        self._append(SENT, b"%d\n" % row)
        os.fdatasync(self._files[SENT])

    def back(self, row: int) -> None:
        """The provider refused it for now and charged nothing."""
        self._append(SENT, b"-%d\n" % row)

    def answer(self, line: bytes) -> None:
        self._append(ANSWERS, line.rstrip(b"\n") + b"\n")

    def took(self, row: int, seconds: float) -> None:
        """For people only, so it is not synced, and not worth failing for."""
        with suppress(OSError), (self.folder / SECONDS).open("a") as file:
            file.write(f"{row} {seconds:.3f}\n")

    def close(self) -> None:
        """With all that was written on the disk."""
        for name in list(self._files):
            handle = self._files.pop(name)
            try:
                os.fdatasync(handle)
            finally:
                os.close(handle)

    def sent(self) -> set[int]:
        """Rows whose request left, or may have."""
        path, found = self.folder / SENT, set()
        for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else ():  # what has no end was not written whole
            if line.isdigit():
                found.add(int(line))
            elif line[:1] == b"-" and line[1:].isdigit():
                found.discard(int(line[1:]))
        return found

    def answered(self) -> set[int]:
        """Rows of which there is a line."""
        found: set[int] = set()
        path = self.folder / ANSWERS
        if not path.exists():
            return found
        with path.open("rb") as lines:
            for line in lines:
                try:
                    row = row_of(orjson.loads(line).get("custom_id", ""))
                except (orjson.JSONDecodeError, AttributeError):
                    continue
                if row is not None:
                    found.add(row)
        return found


def lost_of(folder: Path, rows: list[int]) -> set[int]:
    """Those of `rows`, of which there is no line, that were sent all the same: what was answered to them is gone from the disk."""
    return set(rows) & Log(folder).sent() if (folder / ANSWERS).exists() else set(rows)


def seconds_of(folder: Path) -> dict[int, float]:
    """Row → seconds that its answer took."""
    path = folder / SECONDS
    pairs = (line.split() for line in path.read_text().splitlines()) if path.exists() else ()
    return {int(pair[0]): float(pair[1]) for pair in pairs if len(pair) == 2}
