"""Collect: every result file to our disk, every line to an outcome, every row of the batch to exactly one of them."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from django.utils import timezone

from jobs import formats
from jobs.costs.prices import PriceSheet, price_rows
from jobs.engine import answered_by, crash, left_behind, places, remote_files, second_look, shelf
from jobs.engine.direct_files import lost_of
from jobs.engine.lease import Lease
from jobs.engine.log import move, note
from jobs.engine.reject import close_with, draft_of
from jobs.engine.remote import calling
from jobs.engine.request_file import rows_of
from jobs.engine.spec import spec_from_json
from jobs.engine.windows import back_off
from jobs.errors import ProviderError
from jobs.models import Batch, Connection
from jobs.providers.base import Answer, Plain, RemoteBatch, RequestSpec, split_lines
from jobs.providers.lines import split_glued
from jobs.providers.registry import abilities_of, decoder_for, plain_decoder_for
from jobs.rows.cut import custom_id_of, custom_ids
from jobs.rows.files import write_whole
from jobs.rows.memory import give_back
from jobs.rows.outcomes import OutcomeWriter
from jobs.rows.schema import FENCED, nodder, unfenced, validator
from jobs.words import BatchState, Cause, Lane, OutcomeKind

CHUNK = 1 << 20
GONE = "gone"  # a file in the results folder: the provider had thrown the results away
NO_FILES_TRIES = 4
ANSWERED = (OutcomeKind.SUCCEEDED, OutcomeKind.INVALID)
PORTION = 10_000
PORTION_BYTES = 8_000_000  # of result lines: embeddings have tens of kilobytes each
TOKENS = ("input_tokens", "cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens", "reasoning_tokens")
LINE = (
    "_row",
    "kind",
    "cause",
    "raw_file",
    "raw_offset",
    "raw_length",
    "message",
    "answer",
    "finish",
    "model",
    "request_id",
    "billed",
    *TOKENS,
)
PLAIN_TOKENS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
_SUCCEEDED = {"kind": OutcomeKind.SUCCEEDED.value, "cause": None, "message": "", "finish": "stop", "billed": "paid"}
_tokens_of = attrgetter(*TOKENS)
_VALUES = {kind: kind.value for kind in OutcomeKind}  # a look-up costs a third of an enum's property
Decode = Callable[[bytes], Answer]


def fetch(batch: Batch, lease: Lease) -> None:
    """Bring the result files here. What cannot be had now is tried again until the provider has thrown it away."""
    if left_behind.was_collected(batch):
        move(batch, lease, BatchState.FETCHED, f"Batch {batch.number}: its results were here already", n_errors=0, wait_reason="")
        return
    try:
        with lease.kept(), calling(batch.connection) as provider:
            remote = provider.get(batch.provider_batch_id)
            batch.results_expire_at = min(filter(None, (batch.results_expire_at, remote.results_expire_at)), default=None)  # or archived
            if reason := _not_yet(batch, remote):
                _later(batch, lease, reason)
                return
            for left in places.results_folder(batch).glob("*.part"):  # of a worker that was killed; the lease is ours
                left.unlink(missing_ok=True)
            crash.point("before download")
            crash.during("in download")
            files = provider.download(remote, places.results_folder(batch))
            crash.point("after download")
    except ProviderError as error:
        _not_fetched(batch, lease, error)
        return
    n_bytes = sum(file.stat().st_size for file in files)
    words = f"Batch {batch.number}: results are here, {n_bytes:,} bytes"
    counts = {**batch.provider_counts, second_look.BYTES: n_bytes}
    told: dict[str, Any] = {"provider_raw": remote.raw, "provider_counts": counts, "results_expire_at": batch.results_expire_at}
    move(batch, lease, BatchState.FETCHED, words, n_errors=0, wait_reason="", **told)
    shelf.fetched(batch)


def _not_yet(batch: Batch, remote: RemoteBatch) -> str:
    """Why what the provider says now cannot be the end of it; "" where it can. Rows that no file mentions would count as missing and go
    again, so an answer without files is believed only when it is given several times."""
    if not remote.ended:
        return f"the provider said that it had ended, and says “{remote.status}” now; asking again"
    if not remote.files and batch.n_errors < NO_FILES_TRIES and abilities_of(batch.connection.kind).metadata:
        return "the provider names no result files; asking again before that is believed"
    return ""


def _later(batch: Batch, lease: Lease, words: str, error: ProviderError | None = None) -> None:
    tries = batch.n_errors + 1
    at = back_off(tries, error.retry_after if error else None, cap=1.0 if batch.connection.is_sandbox and error is None else 120.0)
    lease.write(n_errors=tries, wait_reason=words[:500], problem=(error.message if error else words)[:1000], next_look_at=at)


def _not_fetched(batch: Batch, lease: Lease, error: ProviderError) -> None:
    if error.status in (404, 410) and shelf.is_over(batch):
        write_whole(places.results_folder(batch) / GONE, b"")
        words = f"Batch {batch.number}: its results were no longer at the provider; what ran was paid, so only a person sends it again"
        move(batch, lease, BatchState.FETCHED, words, problem=error.message[:1000], n_errors=0, wait_reason="")
        shelf.fetched(batch)
        return
    if error.cause is Cause.AUTH:
        Connection.objects.filter(pk=batch.connection_id).update(problem=error.message[:500])
        words = f"the key was not accepted; the results are fetched once it works again ({error.message})"
    else:
        words = f"the results cannot be fetched yet: {error.message}"
    _later(batch, lease, words, error)
    shelf.warn(batch, error.message)


def collect(batch: Batch, lease: Lease) -> None:
    """Decode the files into outcomes, reconcile them with the rows that were sent, and settle the batch."""
    files = result_files(batch)
    spec = spec_from_json(batch.round.spec)
    decoder = decoder_for(batch.connection.kind)
    if batch.provisional and not _is_ours(batch, files, lambda line: decoder(line, spec)):
        _wrong_batch(batch, lease)
        return
    with lease.kept(), _without_gc():
        gathering = _Gathering(batch, spec, lambda line: decoder(line, spec), gone=_why_gone(batch))
        with OutcomeWriter(draft_of(batch, lease), round=batch.round.number, batch=batch.pk.hex) as writer:
            for number, path in enumerate(files):
                for portion in gathering.portions(number, path):
                    writer.add(portion)
            for portion in gathering.unreadable():
                writer.add(portion)
            left = gathering.n_left
            for portion in gathering.missing():
                writer.add(portion)
        if (left or gathering.strays.get("unreadable")) and not second_look.settles(batch, lease, left):
            return
    give_back()
    crash.point("after parquet")
    told = {} if gathering.gone else {"problem": ""}  # what went wrong on the way here is over
    close_with(batch, lease, BatchState.SETTLED, strays=gathering.strays, provisional=False, **told)
    crash.point("after settled")
    _say_strays(batch, gathering.strays)
    _say_counts(batch)
    answered_by.say_others(batch)
    if batch.connection.delete_remote_files and batch.round.lane == Lane.BATCH:
        remote_files.delete(batch)


@contextmanager
def _without_gc() -> Iterator[None]:
    """Decoding makes many short-lived objects and no cycles; looking for cycles among them costs a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def result_files(batch: Batch) -> list[Path]:
    """The files that hold answers, in the order in which their lines count: outputs before errors."""
    folder = places.results_folder(batch)
    names = [path for path in folder.iterdir() if path.suffix == ".jsonl"] if folder.exists() else []
    return sorted(names, key=lambda path: ("error" in path.name, path.name))


def _why_gone(batch: Batch) -> str:
    """Why answers may have been made that can be had nowhere any more; "" where that is not so."""
    marker = places.results_folder(batch) / GONE
    words = "The results were no longer at the provider when they were fetched. The row may have been answered and charged."
    return (marker.read_text() or words) if marker.exists() else ""


def _is_ours(batch: Batch, files: list[Path], decode: Decode) -> bool:
    for path in files:
        for _, line in split_lines(_chunks(path)):
            answer = decode(line)
            if answer.custom_id:
                return answer.custom_id.startswith(f"{batch.token}-")
    return True


def _wrong_batch(batch: Batch, lease: Lease) -> None:
    """What was adopted by time and count belongs to somebody else: forget it and look on."""
    for path in result_files(batch):
        path.unlink()
    move(
        batch,
        lease,
        BatchState.UNKNOWN,
        f"Batch {batch.number}: {batch.provider_batch_id} turned out to be somebody else's; looking on",
        past_tokens=[*batch.past_tokens, batch.provider_batch_id],
        provider_batch_id="",
        provisional=False,
        submitted_at=None,
        next_look_at=timezone.now(),
    )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


@dataclass(slots=True)
class _Gathering:
    """Lines to columns of outcomes, each row once. Lines that are nobody's are counted, never dropped in silence."""

    batch: Batch
    spec: RequestSpec
    decode: Decode
    strays: dict[str, int] = field(default_factory=dict)
    _left: set[int] = field(default_factory=set)
    _ids: dict[str, int] = field(default_factory=dict)  # custom_id → row, of all that were sent
    _answers: list[tuple[tuple[int, int, int], Plain]] = field(default_factory=list)  # flushed next: row, offset and length; the answer
    _lines: list[tuple[Any, ...]] = field(default_factory=list)  # the others that are flushed next, in the order of LINE
    _plain: Any = None
    _nods: Any = None
    _sheet: Any = None
    _valid: Any = None
    _may_be_ours: bool = False
    gone: str = ""  # why there may have been answers that nobody has, in words
    _torn: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # row → where its line stands that cannot be read

    def __post_init__(self) -> None:
        sent = rows_of(self.batch).tolist()
        self._left, self._ids = set(sent), custom_ids(self.batch.token, sent)
        self._sheet = PriceSheet.from_json(self.batch.round.sheet)
        self._valid = validator(self.spec.schema) if self.spec.schema else None
        self._plain, self._nods = plain_decoder_for(self.batch.connection.kind), nodder(self.spec.schema)
        self._may_be_ours = self.batch.round.lane != Lane.BATCH

    def portions(self, number: int, path: Path) -> Iterator[dict[str, Any]]:
        """The outcomes of one file, some thousand at a time."""
        ids, left, plain, nods = self._ids, self._left, self._plain, self._nods
        offset = flushed = 0
        with path.open("rb") as file:
            for line in file:  # cut at 0x0A alone: U+2028 is legal inside JSON
                length = len(line) - line.endswith(b"\n")
                found = plain(line)
                if found is not None and (row := ids.get(found[0])) in left and nods(found[1]):  # nearly every line
                    left.discard(row)
                    self._answers.append(((row, offset, length), found))
                else:
                    self._line(number, offset, line[:length])
                offset += len(line)
                if len(self._answers) + len(self._lines) >= PORTION or offset - flushed >= PORTION_BYTES:
                    yield from self._flush(number)
                    flushed = offset
        yield from self._flush(number)

    def _line(self, number: int, offset: int, line: bytes) -> None:
        """A line that is not plainly the answer of a row that waits for one."""
        if line.startswith(b"\xef\xbb\xbf"):
            line = line[3:]
        answer = _ours(line) if self._may_be_ours and b'"batchui":' in line else self.decode(line)
        if not answer.custom_id and (glued := split_glued(line)) and len(glued) > 1:
            for part in glued:
                self._line(number, offset, part)
            return
        if not answer.custom_id:
            if line.strip():
                self._count("unreadable")
                self._torn_line(number, offset, line)
            return
        row = self._ids.get(answer.custom_id)
        if row is None:
            self._count("unknown")
        elif row not in self._left:
            self._count("doubled")
        else:
            self._left.discard(row)
            self._take(row, answer, number, offset, len(line))

    def _torn_line(self, number: int, offset: int, line: bytes) -> None:
        """A line that is no JSON and still names one row of ours: that row was answered, and is not sent again unasked."""
        named = {int(digits) for digits in re.findall(rb'"custom_id"\s*:\s*"%b-(\d{1,18})"' % self.batch.token.encode(), line)}
        if len(named) == 1 and custom_id_of(self.batch.token, row := named.pop()) in self._ids:
            self._torn.setdefault(row, (number, offset, len(line)))

    @property
    def n_left(self) -> int:
        """Rows that no line spoke of so far."""
        return len(self._left)

    def unreadable(self) -> Iterator[dict[str, Any]]:
        """Rows of which there is only a line that cannot be read."""
        torn = sorted(row for row in self._torn if row in self._left)
        self._left.difference_update(torn)
        if torn:
            at = [self._torn[row] for row in torn]
            yield {
                "_row": torn,
                "kind": OutcomeKind.FAILED.value,
                "cause": Cause.UNREADABLE.value,
                "message": "The provider's line for this row is cut or broken.",
                "billed": "unknown",
                "raw_file": [number for number, _, _ in at],
                "raw_offset": [offset for _, offset, _ in at],
                "raw_length": [length for _, _, length in at],
            }

    def _count(self, what: str) -> None:
        self.strays[what] = self.strays.get(what, 0) + 1

    def _take(self, row: int, answer: Answer, number: int, offset: int, length: int) -> None:
        kind, cause, message, text = answer.kind, answer.cause, answer.message, answer.text
        if self._valid is not None and kind is OutcomeKind.SUCCEEDED:
            fits, _, problem = self._valid(text or "")
            if not fits:
                kind, cause, message = OutcomeKind.INVALID, Cause.SCHEMA_MISMATCH, problem
            elif problem == FENCED:
                text, message = unfenced(text or ""), problem
        self._lines.append(
            (
                row, _VALUES[kind], None if cause is None else cause.value, number, offset, length,
                message, text, answer.finish, answer.model, answer.request_id, answer.billed, *_tokens_of(answer),
            )
        )  # fmt: skip

    def _flush(self, number: int) -> Iterator[dict[str, Any]]:
        if self._answers:
            places_, answers = zip(*self._answers, strict=True)
            rows, offsets, lengths = zip(*places_, strict=True)
            _, texts, models, request_ids, *counts = zip(*answers, strict=True)
            self._answers = []
            columns: dict[str, Any] = {"_row": rows, **_SUCCEEDED, "raw_file": number, "raw_offset": offsets, "raw_length": lengths}
            columns |= {"answer": texts, "model": models, "request_id": request_ids}
            yield columns | self._priced(dict(zip(PLAIN_TOKENS, counts, strict=True)), None)
        if self._lines:
            columns = dict(zip(LINE, zip(*self._lines, strict=True), strict=True))
            self._lines = []
            charged = np.fromiter((billed != "unpaid" for billed in columns["billed"]), dtype=bool, count=len(columns["billed"]))
            yield columns | self._priced({name: columns[name] for name in TOKENS}, charged)

    def _priced(self, tokens: Mapping[str, Sequence[int]], charged: np.ndarray[Any, np.dtype[np.bool_]] | None) -> dict[str, Any]:
        """Token columns as arrays, with what they cost by the round's sheet; what was not `charged` costs nothing (None: all were)."""
        counts = {name: np.array(values, dtype=np.int64) for name, values in tokens.items()}
        parts = sum(counts[name] for name in ("cached_tokens", "cache_write_tokens", "cache_write_1h_tokens") if name in counts)
        counts["input_tokens"] = np.maximum(counts["input_tokens"], parts)  # a whole is not less than its parts, whatever a server says
        found: dict[str, Any] = dict(counts)
        for name, lane in (("cost", self.batch.round.lane), ("realtime", Lane.DIRECT)):
            tier, price = price_rows(self._sheet, lane, counts)
            found[name] = price if charged is None else np.where(charged, price, 0)
            if name == "cost":
                found["tier"] = tier
        return found

    def missing(self) -> Iterator[dict[str, Any]]:
        """Rows that no line spoke of."""
        left = sorted(self._left)
        kind, cause, words, billed = OutcomeKind.MISSING, Cause.MISSING, "The provider's answer does not mention this row.", "unknown"
        if self._never_ran():
            kind, cause, words, billed = OutcomeKind.CANCELLED, Cause.CANCELLED, "The batch was cancelled before any of it ran.", "unpaid"
        if self.batch.round.lane != Lane.BATCH:  # each row that was sent has a line there
            kind, cause, words, billed = OutcomeKind.CANCELLED, Cause.CANCELLED, "Cancelled before it was sent.", "unpaid"
            sent = lost_of(places.results_folder(self.batch), left)
            yield from self._without(sorted(sent), OutcomeKind.MISSING, Cause.NO_ANSWER, second_look.LOST, "unknown")
            left = [row for row in left if row not in sent]
        if self.gone:
            cause, words = Cause.NO_ANSWER, self.gone
        yield from self._without(left, kind, cause, words, billed)

    def _without(self, rows: list[int], kind: OutcomeKind, cause: Cause, words: str, billed: str) -> Iterator[dict[str, Any]]:
        for i in range(0, len(rows), PORTION):
            part = rows[i : i + PORTION]
            yield {"_row": part, "kind": kind.value, "cause": cause.value, "message": words, "billed": billed}

    def _never_ran(self) -> bool:
        """Cancelled at the provider while it was still being checked: no file, no row counted, no line."""
        counts = self.batch.provider_counts
        counted = counts.get("succeeded") or counts.get("failed")
        cancelled = self.batch.provider_status.lower() in ("cancelled", "canceled")
        return cancelled and not counted and not result_files(self.batch) and len(self._left) == len(self._ids)


def _ours(line: bytes) -> Answer:
    """A line that the direct lane wrote for a row without an answer."""
    try:
        data = orjson.loads(line)
        said = data["batchui"]
        if "no_answer" in said:
            return Answer(data["custom_id"], OutcomeKind.MISSING, Cause.NO_ANSWER, said["no_answer"], billed="unknown")
        return Answer(data["custom_id"], OutcomeKind.FAILED, Cause(said["error"]["cause"]), said["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return Answer("", OutcomeKind.FAILED, Cause.UNREADABLE)


def _say_counts(batch: Batch) -> None:
    """Where the provider counts other than its files do, the files count, and the timeline says so."""
    said, answered = batch.provider_counts.get("succeeded"), sum(batch.outcomes.get(kind.value, 0) for kind in ANSWERED)
    if batch.round.lane == Lane.BATCH and said is not None and said != answered:
        text = f"Batch {batch.number}: the provider counted {formats.count(said, 'answer')}, its files hold {answered:,}; the files count"
        note(batch.job, "batch:counts", text, batch, said=said, answered=answered)


def _say_strays(batch: Batch, strays: dict[str, int]) -> None:
    if strays:
        told = ", ".join(f"{n:,} {what}" for what, n in sorted(strays.items()))
        note(batch.job, "batch:strays", f"Batch {batch.number}: lines that belong to no row of it were set aside ({told})", batch, **strays)
