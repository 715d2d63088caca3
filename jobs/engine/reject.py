"""Close a batch that brings no answers: its rows get their outcome and are free."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from jobs.engine import crash, places, tally
from jobs.engine.headroom import learn_bytes
from jobs.engine.lease import Lease, LostLease
from jobs.engine.log import move
from jobs.engine.pump import nudge
from jobs.engine.request_file import rows_of
from jobs.models import Batch
from jobs.providers.base import LineError, RemoteBatch
from jobs.rows.files import fsync_folder
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


def cut_smaller(batch: Batch, lease: Lease, message: str, remote: RemoteBatch | None = None) -> None:
    """Too long for the provider: its rows go again in files of half the length, which the connection remembers. It costs no attempt."""
    most = learn_bytes(batch.connection, batch.n_bytes // 2)
    words = f"{message} Its rows go again in files of at most {most:,} bytes."
    reject_whole(batch, lease, Cause.BATCH_REJECTED, words, remote=remote)


def close_unanswered(batch: Batch, lease: Lease, message: str) -> None:
    """Its answers are not waited for any more: every row without one, and what was charged not known."""
    _close(batch, lease, OutcomeKind.MISSING, Cause.NO_ANSWER, message, {}, to=BatchState.SETTLED, billed="unknown")


def _named(batch: Batch, errors: Sequence[LineError]) -> dict[int, tuple[Cause, str]]:
    """Row → cause and words, of the lines that the provider named."""
    wanted = {error.line: error for error in errors if error.line and not error.shared}
    if not wanted:
        return {}
    rows = rows_of(batch)  # a line of the file each, in their order
    return {int(rows[line - 1]): (error.cause, error.message) for line, error in wanted.items() if line <= len(rows)}


def _close(
    batch: Batch,
    lease: Lease,
    kind: OutcomeKind,
    cause: Cause,
    message: str,
    named: dict[int, tuple[Cause, str]],
    to: BatchState = BatchState.REJECTED,
    **of_each: Any,
) -> None:
    """One outcome of `kind` for each row, `of_each` among its fields; a row of `named` has a cause and words of its own."""
    rows = [int(row) for row in rows_of(batch)]
    innocent = f"Another line of the batch was refused: {message}" if named else message
    with OutcomeWriter(draft_of(batch, lease), round=batch.round.number, kind=kind.value, batch=batch.pk.hex, **of_each) as writer:
        for i in range(0, len(rows), 20_000):
            part = rows[i : i + 20_000]
            said = [named.get(row, (cause, innocent)) for row in part]
            # What was refused because of others or of its size alone was never tried, so it costs no attempt.
            attempts = [0 if each is Cause.BATCH_REJECTED else 1 for each, _ in said]
            writer.add(
                {"_row": part, "cause": [each.value for each, _ in said], "message": [words for _, words in said], "attempts": attempts}
            )
    close_with(batch, lease, to, problem=message[:1000])


def draft_of(batch: Batch, lease: Lease) -> Path:
    """Where the outcomes are written until the ledger takes them: each holder of the lease has a name of its own, so that one who
    lost it can never overwrite what was settled. What dead holders left goes."""
    target = places.outcomes_file(batch)
    for left in target.parent.glob("outcomes-*"):
        left.unlink(missing_ok=True)
    return target.with_name(f"outcomes-{lease.token}.parquet")


def close_with(batch: Batch, lease: Lease, to: BatchState, text: str = "", **fields: Any) -> None:
    """Commit a closed batch and the job's counters in one transaction, with the outcome file of `draft_of`, which must be whole."""
    draft = places.outcomes_file(batch).with_name(f"outcomes-{lease.token}.parquet")
    counted = tally.of_batch(batch, draft)
    if counted.n != batch.n_requests:
        raise ValueError(f"batch {batch.pk} has {batch.n_requests} rows and {counted.n} outcomes")
    told = ", ".join(f"{n:,} {kind}" for kind, n in sorted(counted.kinds.items()))
    with transaction.atomic():
        # The lease ends with it: a worker that dies after the commit must not leave a closed batch held for ever.
        fields |= {"settled_at": timezone.now(), "wait_reason": "", "next_look_at": None, "lease_until": None, **counted.batch_fields()}
        try:
            move(batch, lease, to, text or f"Batch {batch.number}: {told}", **fields)
        except LostLease:
            draft.unlink(missing_ok=True)
            raise
        tally.add(batch.job_id, counted)
        crash.point("before outcomes")
        os.replace(draft, places.outcomes_file(batch))  # while the row is locked: nobody else can be here
        fsync_folder(draft.parent)
        crash.point("after outcomes")
        transaction.on_commit(lambda: nudge("job", batch.job_id))
