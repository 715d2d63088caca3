"""Rows that never ran: each still gets its one outcome, unpaid."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.utils import timezone

from jobs import formats
from jobs.engine import places, tally
from jobs.engine.log import note
from jobs.models import Batch, Round
from jobs.rows.outcomes import OutcomeWriter
from jobs.words import BatchState, Cause, OutcomeKind


def add_unsent(round_: Round, rows: Sequence[int], kind: OutcomeKind, cause: Cause, messages: Sequence[str]) -> Batch:
    """A closed batch of rows that no request file holds; inside the transaction that moves the round on."""
    round_.n_batches += 1
    Round.objects.filter(pk=round_.pk).update(n_batches=round_.n_batches)
    batch_id = uuid.uuid4()
    outcomes = places.batch_folder(round_.job, batch_id) / "outcomes.parquet"
    with OutcomeWriter(outcomes, round=round_.number, kind=kind.value, cause=cause.value, batch=batch_id.hex) as writer:
        writer.add({"_row": list(rows), "message": list(messages)})
    counted = tally.tally_of(outcomes)
    batch = Batch.objects.create(
        id=batch_id,
        job=round_.job,
        round=round_,
        connection=round_.connection,
        number=round_.n_batches,
        model=round_.spec["model"],
        token=uuid.uuid4().hex[:16],
        state=BatchState.REJECTED,
        n_requests=len(rows),
        n_bytes=0,
        first_row=min(rows),
        last_row=max(rows),
        settled_at=timezone.now(),
        **counted.batch_fields(),
    )
    tally.add(round_.job_id, counted)
    note(round_.job, "batch:unsent", f"{formats.count(len(rows), 'row was', 'rows were')} not sent: {cause.label.lower()}", batch)
    return batch
