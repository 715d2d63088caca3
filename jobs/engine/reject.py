"""Close a batch of which nothing ran: its rows get their outcome, unpaid, and are free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from django.db import transaction
from django.utils import timezone

from jobs.engine import places, tally
from jobs.engine.lease import Lease
from jobs.engine.log import move
from jobs.engine.pump import nudge
from jobs.models import Batch
from jobs.providers.base import LineError, RemoteBatch
from jobs.rows.cut import row_of, rows_in
from jobs.rows.outcomes import OutcomeWriter
from jobs.words import BatchState, Cause, OutcomeKind


def free_unsent(batch: Batch, lease: Lease) -> None:
    """Cancelled before anything was sent."""
    _close(batch, lease, OutcomeKind.CANCELLED, Cause.CANCELLED, "Cancelled before it was sent.", {})


def reject_whole(
    batch: Batch, lease: Lease, cause: Cause, message: str, errors: Sequence[LineError] = (), remote: RemoteBatch | None = None
) -> None:
    """The provider refused all of it. Rows whose line it named get its words; the others, if it named any, are innocent and go again."""
    named = _named(batch, errors)
    if remote is not None:
        batch.provider_status = remote.status[:60]
    if any(error.later for error in errors):  # too large for the provider's limit of enqueued tokens: cut smaller
        cause, named = Cause.BATCH_REJECTED, {}
    _close(batch, lease, OutcomeKind.FAILED, Cause.BATCH_REJECTED if named else cause, message, named)


def _named(batch: Batch, errors: Sequence[LineError]) -> dict[int, tuple[Cause, str]]:
    """Row → cause and words, of the lines that the provider named."""
    wanted = {error.line: error for error in errors if error.line}
    found: dict[int, tuple[Cause, str]] = {}
    if not wanted:
        return found
    with places.request_file(batch).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if error := wanted.get(number):
                row = row_of(orjson.loads(line)["custom_id"])
                if row is not None:
                    found[row] = (error.cause, error.message)
    return found


def _close(batch: Batch, lease: Lease, kind: OutcomeKind, cause: Cause, message: str, named: dict[int, tuple[Cause, str]]) -> None:
    rows = [int(row) for row in rows_in(places.request_file(batch))]
    innocent = f"Another line of the batch was refused: {message}" if named else message
    with OutcomeWriter(places.outcomes_file(batch), round=batch.round.number, kind=kind.value, batch=batch.pk.hex) as writer:
        for i in range(0, len(rows), 20_000):
            part = rows[i : i + 20_000]
            said = [named.get(row, (cause, innocent)) for row in part]
            writer.add({"_row": part, "cause": [each.value for each, _ in said], "message": [words for _, words in said]})
    close_with(batch, lease, BatchState.REJECTED, tally.tally_of(places.outcomes_file(batch)), problem=message[:1000])


def close_with(batch: Batch, lease: Lease, to: BatchState, counted: tally.Tally, text: str = "", **fields: Any) -> None:
    """Commit a closed batch and the job's counters in one transaction. The outcome file must be whole."""
    if counted.n != batch.n_requests:
        raise ValueError(f"batch {batch.pk} has {batch.n_requests} rows and {counted.n} outcomes")
    told = ", ".join(f"{n:,} {kind}" for kind, n in sorted(counted.kinds.items()))
    with transaction.atomic():
        fields |= {"settled_at": timezone.now(), "wait_reason": "", "next_look_at": None, **counted.batch_fields()}
        move(batch, lease, to, text or f"Batch {batch.number}: {told}", **fields)
        tally.add(batch.job_id, counted)
        transaction.on_commit(lambda: nudge("job", batch.job_id))
