"""Request files: rows filled in, encoded, and cut where the provider's limits say. The same cut gives the same bytes again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jobs.rows.files import written_beside
from jobs.rows.render import Columns, Rendered, render_portions

Encoder = Callable[[str, str, str], bytes]  # (custom_id, system, user) → one line, newline included
Rows = np.ndarray[Any, np.dtype[np.int64]]
_ID = re.compile(rb'"custom_id" ?: ?"[^"\\]*-([0-9]{1,18})"')


@dataclass(frozen=True, slots=True)
class CutLimits:
    """What fits in one batch; `tokens` is estimated from the bytes of the lines, plus `tokens_per_request` for each."""

    requests: int = 50_000
    bytes: int = 200_000_000
    tokens: int | None = None
    bytes_per_token: float = 4.0
    tokens_per_request: int = 0

    def tokens_of(self, n_bytes: int) -> int:
        """Estimated tokens of a line, rounded up."""
        return int(-(-n_bytes // self.bytes_per_token)) + self.tokens_per_request


@dataclass(slots=True)
class Cut:
    """One request file. Where every row failed, `n_requests` is 0 and there is no file.

    `next_offset` counts the rows of the selection that are dealt with: requests and failures. `done` says that none is left.
    """

    n_requests: int = 0
    n_bytes: int = 0
    n_tokens_estimated: int = 0
    n_bytes_longest: int = 0  # of one line: no request has more tokens than bytes
    first_row: int | None = None
    last_row: int | None = None
    next_offset: int = 0
    done: bool = False
    failures: list[tuple[int, str]] = field(default_factory=list)


def custom_id_of(token: str, row: int) -> str:
    """The id that a request carries there and back."""
    return f"{token}-{row}"


def custom_ids(token: str, rows: Sequence[int]) -> dict[str, int]:
    """The ids of rows → the rows."""
    return dict(zip(map(custom_id_of(token, 0)[:-1].__add__, map(str, rows)), rows, strict=True))


def row_of(custom_id: str) -> int | None:
    """The row that a custom_id names, None where it is not one of ours."""
    token, _, digits = custom_id.rpartition("-")
    if not token or not digits.isascii() or not digits.isdigit() or len(digits) > 18 or (digits[0] == "0" and digits != "0"):
        return None
    return int(digits)


def cut(
    table: Path,
    columns: Columns,
    system: str,
    user: str,
    rows: Path | None,
    start: int,
    encoder: Encoder,
    limits: CutLimits,
    token: str,
    folder: Path,
) -> Cut:
    """Write the next request file of a round to `folder/requests.jsonl`, whole or not at all, with its index beside it.

    `rows` and `start` are as in `render_portions`. Raises BadTemplate, OSError. Rows whose template fails, and rows whose
    request alone is larger than a file may be, are `failures`: (row, message).
    """
    cutting = _Cutting(limits, token, encoder, Cut(next_offset=start))
    target = folder / "requests.jsonl"
    with _unless_empty(target, cutting) as part, part.open("wb") as out:
        # A row more than fits, so that the last file of a round knows that it is the last.
        for portion in render_portions(table, columns, system, user, rows, start, start + limits.requests + 1):
            out.write(b"".join(cutting.take(portion)))
            if cutting.full:
                break
        cutting.cut.done = not cutting.full
        if cutting.cut.n_requests:
            cutting.cut.n_bytes_longest = cutting.longest()
            with written_beside(index_of(target)) as index, index.open("wb") as file:
                np.save(file, cutting.index(), allow_pickle=False)
    return cutting.cut


class _Empty(Exception):
    """Leaves `written_beside` without a file."""


@contextmanager
def _unless_empty(target: Path, cutting: _Cutting) -> Iterator[Path]:
    try:
        with written_beside(target) as part:
            yield part
            if not cutting.cut.n_requests:
                raise _Empty
    except _Empty:
        pass


class _Cutting:
    """One cut under way: takes portions until a limit is reached."""

    def __init__(self, limits: CutLimits, token: str, encoder: Encoder, result: Cut) -> None:
        self.limits, self.token, self.encoder, self.cut = limits, token, encoder, result
        self.full = False
        self._start = result.next_offset
        self._rows: list[int] = []
        self._offsets: list[int] = []

    def take(self, portion: Rendered) -> list[bytes]:
        """The lines of a portion that still fit; sets `full` at the first row that does not."""
        lines: list[bytes] = []
        cut, limits, encoder, failed = self.cut, self.limits, self.encoder, portion.failed
        prefix, most = f"{self.token}-", limits.tokens
        left = limits.requests - (cut.next_offset - self._start)
        n_bytes, n_tokens, tokens_of, n_before = cut.n_bytes, cut.n_tokens_estimated, limits.tokens_of, len(self._rows)
        for i, (row, system, user) in enumerate(zip(portion.rows, portion.system, portion.user, strict=True)):
            if i >= left:
                self.full = True
                break
            if failed and i in failed:
                cut.failures.append((row, str(failed[i])))
                continue
            line = encoder(f"{prefix}{row}", system, user)
            size = len(line)
            if size > limits.bytes:
                cut.failures.append((row, f"The request of this row has {size:,} bytes; a file may have {limits.bytes:,}."))
                continue
            tokens = tokens_of(size)
            if n_bytes + size > limits.bytes or (most is not None and n_tokens + tokens > most and self._rows):
                self.full = True
                break
            self._rows.append(row)
            self._offsets.append(n_bytes)
            lines.append(line)
            n_bytes += size
            n_tokens += tokens
        else:
            i = len(portion.rows)
        cut.next_offset += i
        cut.n_bytes, cut.n_tokens_estimated = n_bytes, n_tokens
        self._note(n_before)
        return lines

    def _note(self, n_before: int) -> None:
        if len(self._rows) > n_before:
            self.cut.n_requests = len(self._rows)
            self.cut.first_row, self.cut.last_row = self._rows[0], self._rows[-1]

    def longest(self) -> int:
        return int(np.diff(self._offsets, append=self.cut.n_bytes).max())

    def index(self) -> Rows:
        return np.array([self._rows, self._offsets], dtype=np.int64)


def index_of(request_file: Path) -> Path:
    """The index beside a request file: a NumPy array of rows and of the offsets of their lines."""
    return request_file.with_suffix(".index.npy")


def rows_in(request_file: Path) -> Rows:
    """The row numbers of a request file, sorted."""
    index = index_of(request_file)
    if index.exists():
        return np.array(np.load(index, mmap_mode="r", allow_pickle=False)[0])
    found = [int(match.group(1)) for line in _lines(request_file) if (match := _ID.search(line))]
    return np.array(found, dtype=np.int64)


def line_of(request_file: Path, row: int) -> bytes:
    """The raw request of one row, without its newline. Raises KeyError where the file has no such row."""
    index = index_of(request_file)
    if index.exists():
        rows, offsets = np.load(index, mmap_mode="r", allow_pickle=False)
        at = int(np.searchsorted(rows, row))
        if at >= len(rows) or rows[at] != row:
            raise KeyError(row)
        with request_file.open("rb") as file:
            file.seek(int(offsets[at]))
            return file.readline().rstrip(b"\n")
    for line in _lines(request_file):
        match = _ID.search(line)
        if match and int(match.group(1)) == row:
            return line.rstrip(b"\n")
    raise KeyError(row)


def _lines(request_file: Path) -> Iterator[bytes]:
    with request_file.open("rb") as file:
        yield from file
