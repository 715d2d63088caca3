"""The receipt of a job, out of its outcome files and the frozen price sheets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jobs.costs.estimate import Estimate
from jobs.costs.prices import PriceSheet
from jobs.costs.receipt import Receipt, RoundUsage, Sums, receipt
from jobs.engine import places
from jobs.models import Batch, Job, Round
from jobs.rows import outcomes as files
from jobs.words import BatchState, Lane, OutcomeKind, RoundReason

CLOSED = [BatchState.SETTLED, BatchState.REJECTED]


def receipt_of(job: Job) -> Receipt:
    """What the job cost so far, over all closed batches."""
    rounds = [_usage(round_, _files(job, round_)) for round_ in job.rounds.order_by("number")]
    estimate = Estimate.from_json(job.estimate) if job.estimate else None
    return receipt(rounds, n_rows=job.n_rows, standings=job.counts, estimate=estimate)


def _files(job: Job, round_: Round) -> list[Path]:
    closed = Batch.objects.filter(round=round_, state__in=CLOSED).order_by("number").values_list("pk", flat=True)
    return [places.batch_folder(job, pk) / "outcomes.parquet" for pk in closed]


def _usage(round_: Round, paths: Iterable[Path]) -> RoundUsage:
    sums = []
    for (_, tier, kind, billed), each in files.sum_outcomes(paths).items():
        fresh = max(0, each.input_tokens - each.cached_tokens - each.cache_write_tokens - each.cache_write_1h_tokens)
        tokens = {
            "input": fresh,
            "cached": each.cached_tokens,
            "cache_write": each.cache_write_tokens,
            "cache_write_1h": each.cache_write_1h_tokens,
            "output": each.output_tokens,
        }
        # Rows that succeeded are never sent again, so a success is always the row's standing.
        sums.append(Sums(tier, billed, kind == OutcomeKind.SUCCEEDED, each.n, tokens))
    sheet = PriceSheet.from_json(round_.sheet)
    return RoundUsage(round_.number, RoundReason(round_.reason), Lane(round_.lane), sheet, tuple(sums))


def receipt_json(job: Job) -> dict[str, Any]:
    return receipt_of(job).to_json()
