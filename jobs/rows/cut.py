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
from jobs.rows.weigh import Weigher

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

    def tokens_of(self, n_bytes: Rows) -> Rows:
        """Estimated tokens of each line, rounded up."""
        return np.asarray(-(-n_bytes // self.bytes_per_token), dtype=np.int64) + self.tokens_per_request


@dataclass(slots=True)
class Cut:
    """One request file. Where every row failed, `n_requests` is 0 and there is no file.

    `next_offset` counts the rows of the selection that are dealt with: requests and failures. `done` says that none is left.
    """

    n_requests: int = 0
    n_bytes: int = 0
    n_tokens_estimated: int = 0
    n_tokens_most: int = 0  # as a cap counts them (`rows.weigh`), never below the estimate
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
    return dict(zip(_ids_of(token, rows), rows, strict=True))


def _ids_of(token: str, rows: Sequence[int]) -> Iterator[str]:
    """As `custom_id_of`, for many rows at once."""
    return map(custom_id_of(token, 0)[:-1].__add__, map(str, rows))


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
    weigher: Weigher = Weigher(),
) -> Cut:
    """Write the next request file of a round to `folder/requests.jsonl`, whole or not at all, with its index beside it.

    `rows` and `start` are as in `render_portions`. Raises BadTemplate, OSError. Rows whose template fails, and rows whose
    request alone is larger than a file may be, are `failures`: (row, message).
    """
    cutting = _Cutting(limits, token, encoder, weigher, Cut(next_offset=start))
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

    def __init__(self, limits: CutLimits, token: str, encoder: Encoder, weigher: Weigher, result: Cut) -> None:
        self.limits, self.token, self.encoder, self.weigher, self.cut = limits, token, encoder, weigher, result
        self.full = False
        self._start = result.next_offset
        self._rows: list[int] = []
        self._sizes: list[Rows] = []  # of the lines, a portion each

    def take(self, portion: Rendered) -> list[bytes]:
        """The lines of a portion that still fit; sets `full` at the first row that does not."""
        cut, failed = self.cut, portion.failed
        n = min(len(portion.rows), self.limits.requests - (cut.next_offset - self._start))
        whole: Sequence[int] = [i for i in range(n) if i not in failed] if failed else range(n)
        rows = [portion.rows[i] for i in whole] if failed or n < len(portion.rows) else portion.rows
        lines = self._encoded(portion, whole, rows)
        sizes = np.fromiter(map(len, lines), np.int64, len(lines))
        small = sizes <= self.limits.bytes
        fit = self._fitting(np.where(small, sizes, 0))
        self.full = fit < len(lines) or n < len(portion.rows)
        end = whole[fit] if fit < len(lines) else n
        large = {whole[i]: _too_large(int(sizes[i]), self.limits.bytes) for i in np.flatnonzero(~small[:fit]).tolist()}
        wrong = large | {i: str(error) for i, error in failed.items() if i < end}
        cut.failures.extend((portion.rows[i], wrong[i]) for i in sorted(wrong))
        cut.next_offset += end
        if large or fit < len(lines):
            kept = np.flatnonzero(small[:fit]).tolist()
            rows, lines, sizes, whole = [rows[i] for i in kept], [lines[i] for i in kept], sizes[kept], [whole[i] for i in kept]
        self._keep(rows, sizes, portion, whole)
        return lines

    def _encoded(self, portion: Rendered, whole: Sequence[int], rows: Sequence[int]) -> list[bytes]:
        ids = _ids_of(self.token, rows)
        if len(whole) == len(portion.rows):
            return list(map(self.encoder, ids, portion.system, portion.user))
        return [self.encoder(custom_id, portion.system[i], portion.user[i]) for custom_id, i in zip(ids, whole, strict=True)]

    def _fitting(self, sizes: Rows) -> int:
        """How many of the next lines fit (size 0: it fits in no file). The first of a file may have any number of tokens."""
        over = self.cut.n_bytes + np.cumsum(sizes) > self.limits.bytes
        if self.limits.tokens is not None:
            tokens = np.where(sizes, self.limits.tokens_of(sizes), 0)
            too_many = self.cut.n_tokens_estimated + np.cumsum(tokens) > self.limits.tokens
            if not self._rows and sizes.any():  # no file would have fewer
                too_many[: int(np.flatnonzero(sizes)[0]) + 1] = False
            over |= too_many
        over &= sizes > 0
        return int(over.argmax()) if over.any() else len(sizes)

    def _keep(self, rows: list[int], sizes: Rows, portion: Rendered, kept: Sequence[int]) -> None:
        """Count lines that are in the file: of `rows`, which are those at `kept` in the portion."""
        if not rows:
            return
        cut, all_ = self.cut, len(kept) == len(portion.rows)
        self._rows.extend(rows)
        self._sizes.append(sizes)
        cut.n_requests += len(rows)
        n_bytes, n_tokens = int(sizes.sum()), int(self.limits.tokens_of(sizes).sum())
        cut.n_bytes += n_bytes
        cut.n_tokens_estimated += n_tokens
        system, user = (texts if all_ else [texts[i] for i in kept] for texts in (portion.system, portion.user))
        cut.n_tokens_most += max(n_tokens, self.weigher.most(system, user, n_bytes))
        cut.first_row, cut.last_row = self._rows[0], self._rows[-1]

    def longest(self) -> int:
        return max(int(sizes.max()) for sizes in self._sizes)

    def index(self) -> Rows:
        """The rows, and the offsets of their lines."""
        ends = np.cumsum(np.concatenate(self._sizes))
        return np.array([self._rows, np.concatenate([[0], ends[:-1]])], dtype=np.int64)


def _too_large(n_bytes: int, limit: int) -> str:
    return f"The request of this row has {n_bytes:,} bytes; a file may have {limit:,}."


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
