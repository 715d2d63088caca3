"""Audit: count every job again from its files, and compare with the ledger, the standings, the receipt and the raw answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from django.db import connection

from jobs.costs.prices import PriceSheet, price_rows
from jobs.engine import audit_raw, left_behind, places, tally
from jobs.engine.receipts import receipt_of
from jobs.models import Batch, Job, Round
from jobs.rows.cut import index_of, rows_in
from jobs.rows.outcomes import TOKENS, count_standings, pico_of
from jobs.rows.render import selected_rows
from jobs.words import CLOSED, JobState, Lane, OutcomeKind, RoundState

_FLOAT = Decimal("1e-11")  # of an amount: far below the cheapest row of a large job, far above what 100,000 additions lose
KINDS = [kind.value for kind in OutcomeKind]
Codes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not add up."""

    job: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"job {self.job}, {self.where}: {self.text}"


def audit_job(job: Job) -> list[Finding]:
    """All that is wrong with the books of a job; empty when they add up. Reads every file of the job once or twice."""
    return [Finding(str(job.pk), where, text) for where, text in _findings(job)]


def unknown_jobs() -> list[Finding]:
    """Folders with answers of jobs that the ledger does not know, as after a restore from a backup."""
    known = {pk.hex for pk in Job.objects.values_list("pk", flat=True)}
    found = [folder for folder in sorted(places.paths().data.glob("rows/*/jobs/*")) if folder.name not in known]
    text = "holds answers, and the ledger does not know the job"
    return [Finding(each.name, "folder", text) for each in found if any(map(left_behind.has_answers, each.glob("batches/*")))]


def _findings(job: Job) -> Iterator[tuple[str, str]]:
    if job.dataset_version is None:
        return
    yield from _table(job)
    sound: list[Batch] = []
    for batch in job.batches.select_related("round", "connection", "job").order_by("round__number", "number"):
        wrong = list(_batch(batch))
        yield from ((f"batch {batch.round.number}.{batch.number}", text) for text in wrong)
        if not wrong and batch.state in CLOSED:
            sound.append(batch)
    if len(sound) != job.batches.filter(state__in=CLOSED).count():
        yield "job", "its sums are not compared, because files of closed batches are missing or wrong"
        return
    yield from (("job", text) for text in _counters(job, sound))
    yield from (("standings", text) for text in _standings(job, sound))
    yield from (("rounds", text) for text in _rounds(job))
    yield from (("folder", text) for text in _left_over(job))
    yield from (("state", text) for text in _state(job))


def _table(job: Job) -> Iterator[tuple[str, str]]:
    assert job.dataset_version is not None
    path = places.table_of(job.dataset_version)
    try:
        n = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowInvalid) as error:
        yield "table", f"cannot be read: {error}"
        return
    if n != job.dataset_version.n_rows:
        yield "table", f"has {n:,} rows, the ledger says {job.dataset_version.n_rows:,}"


def _batch(batch: Batch) -> Iterator[str]:
    request = places.request_file(batch)
    sent = None
    if batch.n_bytes:
        if not request.exists() or not index_of(request).exists():
            yield "its request file is gone"
        elif request.stat().st_size != batch.n_bytes:
            yield f"its request file has {request.stat().st_size:,} bytes, the ledger says {batch.n_bytes:,}"
        else:
            sent = rows_in(request)
            if len(sent) != batch.n_requests:
                yield f"its request file has {len(sent):,} rows, the ledger says {batch.n_requests:,}"
    if batch.state in CLOSED:
        yield from _outcomes(batch, sent)


def _outcomes(batch: Batch, sent: Any) -> Iterator[str]:
    path = places.outcomes_file(batch)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        yield f"its outcomes cannot be read: {error}"
        return
    rows = table.column("_row").to_numpy()
    if len(rows) != batch.n_requests:
        yield f"{len(rows):,} outcomes for {batch.n_requests:,} rows"
    if len(rows) > 1 and not bool(np.all(rows[1:] > rows[:-1])):
        yield "its outcomes are out of order, or a row is there twice"
    elif sent is not None and not np.array_equal(rows, sent):
        yield "its outcomes are of other rows than were sent"
    if set(table.column("round").unique().to_pylist()) != {batch.round.number} or set(table.column("batch").unique().to_pylist()) != {
        batch.pk.hex
    }:
        yield "its outcomes say that they are of another batch"
    yield from _prices(batch, table)
    counted = tally.of_batch(batch, path)
    if counted.kinds != batch.outcomes:
        yield f"its outcomes add up to {counted.kinds}, the ledger says {batch.outcomes}"
    for name, ours, theirs in (("paid", counted.paid, batch.paid_usd), ("real-time price", counted.realtime, batch.realtime_usd)):
        if not is_kept(ours, theirs):
            yield f"its {name} adds up to {ours}, the ledger says {theirs}"
    if "unknown_rows" not in batch.usage:  # settled before these were counted
        counted.usage = {name: n for name, n in counted.usage.items() if not name.startswith("unknown_")}
    if counted.usage != batch.usage:
        yield f"its tokens add up to {counted.usage}, the ledger says {batch.usage}"
    yield from audit_raw.raw_lines(batch, table)


def _prices(batch: Batch, table: pa.Table) -> Iterator[str]:
    """Each row's cost again from its tokens and the round's frozen sheet."""
    counts = {name: table.column(name).to_numpy() for name in TOKENS}
    charged = np.asarray(pc.not_equal(table.column("billed"), "unpaid").to_numpy(zero_copy_only=False), dtype=bool)
    sheet = PriceSheet.from_json(batch.round.sheet)
    for column, lane in (("cost", batch.round.lane), ("realtime", Lane.DIRECT)):
        _, price = price_rows(sheet, lane, counts)
        stored = np.array([-1 if pico is None else pico for pico in pico_of(table.column(column))], dtype=np.int64)
        wrong = int(np.count_nonzero(np.where(charged, price, 0) != stored))
        if wrong:
            yield f"the {column} of {wrong:,} rows is not what their tokens cost by the frozen prices"


def _counters(job: Job, closed: list[Batch]) -> Iterator[str]:
    codes = _recounted(job, closed)
    found = {name: int(n) for name, n in zip(["pending", *KINDS], np.bincount(codes, minlength=len(KINDS) + 1), strict=True)}
    if found != {name: job.counts[name] for name in found}:
        yield f"its rows stand at {_nonzero(found)}, the ledger says {_nonzero(job.counts)}"
    paid = sum((batch.paid_usd for batch in closed), Decimal(0))
    realtime = sum((batch.realtime_usd for batch in closed), Decimal(0))
    if not is_kept(paid, job.paid_usd):
        yield f"its batches paid {paid}, the ledger says {job.paid_usd}"
    if not is_kept(realtime, job.realtime_usd):
        yield f"its batches would have cost {realtime} in real time, the ledger says {job.realtime_usd}"
    shown = receipt_of(job)
    if not job.n_unpriced and not is_kept(Decimal(shown.to_json()["paid"] or 0), paid):
        yield f"its receipt says {shown.to_json()['paid']} paid, its batches {paid}"
    uncertain = sum(batch.usage.get("unknown_rows", 0) for batch in closed)
    if shown.uncertain_rows < uncertain:  # more are right of batches that settled before these were counted
        yield f"its receipt says that {shown.uncertain_rows:,} rows may have been charged, its batches {uncertain:,}"


def is_kept(ours: Decimal, theirs: Decimal) -> bool:
    """Whether an amount of the ledger is ours. SQLite's is a float, and a job's has gone through an addition for each batch."""
    return ours == theirs or (connection.vendor == "sqlite" and abs(ours - theirs) <= abs(ours) * _FLOAT)


def _nonzero(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.items() if n) or "nothing"


def _recounted(job: Job, closed: list[Batch], up_to: int | None = None) -> Codes:
    """Row → standing (0 pending, else 1 + place in KINDS), out of the rounds' rows and the batches' outcomes alone."""
    codes = np.zeros(job.n_rows, dtype=np.uint8)
    code_of = {name: i + 1 for i, name in enumerate(KINDS)}
    for round_ in job.rounds.order_by("number"):
        if up_to is not None and round_.number > up_to:
            break
        if round_.has_rows_file:
            codes[selected_rows(places.new_rows_file(job, round_.number))] = 0
        for batch in closed:
            if batch.round_id == round_.pk:
                table = pq.read_table(places.outcomes_file(batch), columns=["_row", "kind"])
                kinds = table.column("kind").to_pylist()
                codes[table.column("_row").to_numpy()] = [code_of[kind] for kind in kinds]
    return codes


def _standings(job: Job, closed: list[Batch]) -> Iterator[str]:
    path = places.standings_file(job, job.n_settled_rounds)
    if path is None:
        return
    try:
        stored = Counter[str]()
        for (kind, _), n in count_standings([path]).items():
            stored[kind] += n
    except (OSError, pa.ArrowInvalid) as error:
        yield f"the file after round {job.n_settled_rounds} cannot be read: {error}"
        return
    codes = _recounted(job, closed, job.n_settled_rounds)
    found = {name: int(n) for name, n in zip(KINDS, np.bincount(codes, minlength=len(KINDS) + 1)[1:], strict=True) if n}
    if found != dict(stored):
        yield f"the file after round {job.n_settled_rounds} has {dict(stored)}, its batches {found}"


def _rounds(job: Job) -> Iterator[str]:
    """A planned round's batches hold each of its rows once."""
    for round_ in job.rounds.exclude(state=RoundState.PLANNING).order_by("number"):
        held = [_rows_of(batch) for batch in round_.batches.select_related("job")]
        rows = np.sort(np.concatenate(held)) if held else np.zeros(0, dtype=np.int64)
        if not np.array_equal(rows, _wanted(job, round_)):
            told = f"{len(rows):,} rows, {len(np.unique(rows)):,} of them different"
            yield f"the batches of round {round_.number} hold {told}, for {round_.n_rows:,}"


def _rows_of(batch: Batch) -> Any:
    if batch.n_bytes:
        return rows_in(places.request_file(batch))
    return pq.read_table(places.outcomes_file(batch), columns=["_row"]).column(0).to_numpy()


def _wanted(job: Job, round_: Round) -> Any:
    return selected_rows(places.new_rows_file(job, round_.number)) if round_.has_rows_file else np.arange(job.n_rows, dtype=np.int64)


def _left_over(job: Job) -> Iterator[str]:
    """What no ledger names: only of jobs at which nobody works."""
    folder = places.job_folder(job)
    if not JobState(job.state).terminal or not folder.exists():
        return
    known = {pk.hex for pk in job.batches.values_list("pk", flat=True)}
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(".part") or path.name.startswith("outcomes-"):
            yield f"left over: {path.relative_to(folder)}"
        elif path.parent == folder / "batches" and path.name not in known:
            what = "answers of a batch" if left_behind.has_answers(path) else "a batch"
            yield f"{what} that the ledger does not know: {path.name}"


def _state(job: Job) -> Iterator[str]:
    if job.batches.filter(state__in=CLOSED, lease_until__isnull=False).exists():
        yield "a closed batch is still held by a worker"
    if not JobState(job.state).terminal:
        return
    if job.batches.exclude(state__in=CLOSED).exists():
        yield f"it is {job.state} with open batches"
    if job.counts["pending"] and job.launched_at is not None:  # of a draft that was put away nobody tried the others
        yield f"it is {job.state} with {job.counts['pending']:,} rows pending"
    if (job.state == JobState.COMPLETED) != (job.n_succeeded == job.n_rows) and job.state != JobState.CANCELLED:
        yield f"it is {job.state} with {job.n_succeeded:,} of {job.n_rows:,} rows succeeded"
