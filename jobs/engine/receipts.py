"""The receipt of a job, out of its outcome files and the frozen price sheets."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from jobs.costs.estimate import Estimate
from jobs.costs.prices import PriceSheet
from jobs.costs.receipt import Receipt, RoundUsage, Sums, receipt
from jobs.engine import places
from jobs.engine.reserve import most_of
from jobs.models import Batch, Job, Round
from jobs.rows import outcomes as files
from jobs.rows.render import selected_rows
from jobs.words import CLOSED, Lane, OutcomeKind, RoundReason


def receipt_of(job: Job) -> Receipt:
    """What the job cost so far, over all closed batches. Two queries, however many rounds."""
    rounds = list(job.rounds.select_related("job").order_by("number"))
    closed: dict[Any, list[Batch]] = {}
    for batch in Batch.objects.filter(job=job, state__in=CLOSED).order_by("number").only("round_id", "usage", "n_requests", "reserve_usd"):
        closed.setdefault(batch.round_id, []).append(batch)
    usages = [_usage(round_, closed.get(round_.pk, []), rounds) for round_ in rounds]
    estimate = Estimate.from_json(job.estimate) if job.estimate else None
    return receipt(usages, n_rows=job.n_rows, standings=job.counts, estimate=estimate)


def _usage(round_: Round, closed: list[Batch], rounds: list[Round]) -> RoundUsage:
    sums, n_unheard = [], 0
    paths = [places.batch_folder(round_.job, batch.pk) / "outcomes.parquet" for batch in closed]
    replaced = _replaced_later(round_, rounds) if round_.reason == RoundReason.PILOT else frozenset()
    for useful, (_, tier, kind, billed), each in _sums(paths, replaced):
        fresh = max(0, each.input_tokens - each.cached_tokens - each.cache_write_tokens - each.cache_write_1h_tokens)
        tokens = {
            "input": fresh,
            "cached": each.cached_tokens,
            "cache_write": each.cache_write_tokens,
            "cache_write_1h": each.cache_write_1h_tokens,
            "output": each.output_tokens,
        }
        n_unheard += each.n_blank if billed == "unknown" else 0
        sums.append(Sums(tier, billed, useful and kind == OutcomeKind.SUCCEEDED, each.n, tokens))
    sheet = PriceSheet.from_json(round_.sheet)
    time = sum((Decimal(batch.usage.get("time_usd", 0)) for batch in closed), Decimal(0))
    took = sum(batch.usage.get("ms", 0) for batch in closed)
    most = _most(round_, closed) if n_unheard else Decimal(0)
    return RoundUsage(round_.number, RoundReason(round_.reason), Lane(round_.lane), sheet, tuple(sums), took, time, n_unheard, most)


def _most(round_: Round, closed: list[Batch]) -> Decimal | None:
    """The most that the rows cost of which not even the tokens came back, batch by batch."""
    total = Decimal(0)
    for batch in closed:
        found = files.sum_outcomes([places.batch_folder(round_.job, batch.pk) / "outcomes.parquet"])
        n = sum(each.n_blank for (_, _, _, billed), each in found.items() if billed == "unknown")
        most = most_of(batch, n)
        if most is None:
            return None
        total += most
    return total


def _replaced_later(round_: Round, rounds: list[Round]) -> frozenset[int]:
    """The rows of a pilot that a later round took again. Only of a pilot's rows may a success be replaced, by other settings."""
    own = places.rows_file(round_)
    if own is None:
        return frozenset()
    rows = set(selected_rows(own).tolist())
    taken: set[int] = set()
    for later in rounds:
        if later.number > round_.number:
            path = places.rows_file(later)
            taken |= rows & set(selected_rows(path).tolist()) if path is not None else rows
    return frozenset(taken)


def _sums(paths: list[Path], replaced: frozenset[int]) -> Iterator[tuple[bool, tuple[int, int, str, str], files.Sums]]:
    """Sums by (round, tier, kind, billed); those of rows that were replaced apart."""
    if not replaced:
        yield from ((True, key, each) for key, each in files.sum_outcomes(paths).items())
        return
    for useful, tables in ((True, files.sum_outcomes(paths, without=replaced)), (False, files.sum_outcomes(paths, only=replaced))):
        yield from ((useful, key, each) for key, each in tables.items())


def receipt_json(job: Job) -> dict[str, Any]:
    return receipt_of(job).to_json()
