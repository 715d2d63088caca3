"""Plan: cut a round's rows into request files. Each whole file is a batch at once: the first is sent while the rest are rendered."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from jobs import formats
from jobs.engine import crash, left_behind, places
from jobs.engine.headroom import byte_limit, tokens_per_batch
from jobs.engine.lease import Lease, LostLease
from jobs.engine.log import note
from jobs.engine.pump import nudge
from jobs.engine.remote import limits_for
from jobs.engine.reserve import reserve_of, weigher_of
from jobs.engine.unsent import add_unsent
from jobs.models import Batch, Job, Round
from jobs.rows.child import ChildDied, stream_child
from jobs.rows.render import selected_rows
from jobs.words import Cause, JobState, Lane, OutcomeKind, RoundState

PIECE_SECONDS = 30.0
CHILD_SECONDS = 600.0
CHILD_MEMORY = 1_500_000_000
BYTES_PER_TOKEN = 3.5  # of request lines; what an enqueued-token limit is compared with, so rather too many than too few
DIRECT_ROWS = 2_000  # rows of one file on the direct lanes: short enough for workers to share


def plan(job: Job, lease: Lease) -> bool:
    """Cut the next piece of the first round that is still being planned. True if there was one."""
    round_ = job.rounds.select_related("prompt_version", "connection", "job").filter(state=RoundState.PLANNING).first()
    if round_ is None:
        return False
    Job.objects.filter(pk=job.pk, state=JobState.QUEUED).update(state=JobState.PREPARING)
    left_behind.remove_unknown(job, lease)
    if job.cancel_requested_at or job.wish:  # cancelled, or to be finished in real time
        cancel_rest(round_, lease)
    else:
        _cut(round_, lease)
    return True


def _cut(round_: Round, lease: Lease) -> None:
    try:
        for piece in stream_child(
            "jobs.engine.render_child",
            _request(round_),
            seconds=CHILD_SECONDS,
            memory_bytes=CHILD_MEMORY,
            file_bytes=limits_for(round_.connection).bytes_per_batch + 50_000_000,
        ):
            crash.point("after cut")
            _add(round_, piece, lease)
    except ChildDied as error:
        if error.reason == "disk":
            raise OSError("the disk is full; it goes on by itself once there is room") from error
        raise


def _request(round_: Round) -> dict[str, Any]:
    return request_of(round_, round_.plan_offset, cut_limits(round_), left=left_behind.takable(round_))


def request_of(round_: Round, start: int, limits: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What the child is asked for that cuts rows of the round, from the place `start` among them on."""
    version = round_.job.dataset_version
    assert version is not None
    table, rows = places.table_of(version), places.rows_file(round_)
    for path in filter(None, (table, rows)):
        path.stat()  # the child could only say that it broke
    return {
        "kind": round_.connection.kind,
        "spec": round_.spec,
        "table": str(table),
        "columns": version.columns,
        "system": round_.prompt_version.system,
        "user": round_.prompt_version.user,
        "rows": str(rows) if rows else "",
        "start": start,
        "limits": limits,
        "weigher": weigher_of(round_),
        "folder": str(places.job_folder(round_.job) / "batches"),
        "seconds": PIECE_SECONDS,
        **more,
    }


def cut_limits(round_: Round) -> dict[str, Any]:
    """What fits in one file of the round: the provider's limits, the connection's, and a share of a known enqueued-token limit."""
    limits = limits_for(round_.connection)
    if round_.lane != Lane.BATCH:
        return {"requests": DIRECT_ROWS, "bytes": limits.bytes_per_batch, "bytes_per_token": BYTES_PER_TOKEN}
    return {
        "requests": limits.requests_per_batch,
        "bytes": max(1, byte_limit(round_.connection) - 1_000),  # an envelope around the lines
        "tokens": tokens_per_batch(round_.connection, round_.spec["model"]),
        "bytes_per_token": BYTES_PER_TOKEN,
    }


def _add(round_: Round, piece: dict[str, Any], lease: Lease) -> None:
    """Commit one whole file as a batch, with the rows that failed in the template, and how far the round is planned."""
    with transaction.atomic():
        lease.write()
        as_read = Round.objects.filter(pk=round_.pk, plan_offset=round_.plan_offset, state=RoundState.PLANNING)
        if as_read.update(plan_offset=piece["next_offset"]) != 1:
            raise LostLease(str(round_))
        round_.plan_offset = piece["next_offset"]
        if piece["n_requests"]:
            batch = _new_batch(round_, piece)
            transaction.on_commit(lambda: nudge("batch", batch.pk))
        if piece["failures"]:
            add_unsent(
                round_,
                [row for row, _ in piece["failures"]],
                OutcomeKind.FAILED,
                Cause.TEMPLATE_ERROR,
                [message for _, message in piece["failures"]],
            )
        if piece["done"]:
            _planned(round_)


def _new_batch(round_: Round, piece: dict[str, Any]) -> Batch:
    round_.n_batches += 1
    Round.objects.filter(pk=round_.pk).update(n_batches=round_.n_batches)
    batch = Batch.objects.create(
        id=UUID(piece["batch"]),
        job=round_.job,
        round=round_,
        connection=round_.connection,
        number=round_.n_batches,
        model=round_.spec["model"],
        token=piece["token"],
        n_requests=piece["n_requests"],
        n_bytes=piece["n_bytes"],
        n_tokens=piece["n_tokens_estimated"],
        reserve_usd=reserve_of(round_, piece["n_requests"], piece["n_tokens_most"], longest=piece["n_bytes_longest"]),
        first_row=piece["first_row"],
        last_row=piece["last_row"],
        next_look_at=timezone.now(),
    )
    taken = ", with a request file that was there already" if piece["taken"] else ""
    note(round_.job, "batch:ready", f"Batch {batch.number}: {formats.count(batch.n_requests, 'row')} ready{taken}", batch)
    return batch


def _planned(round_: Round) -> None:
    Round.objects.filter(pk=round_.pk).update(state=RoundState.RUNNING)
    Job.objects.filter(pk=round_.job_id, state__in=[JobState.QUEUED, JobState.PREPARING]).update(state=JobState.RUNNING)
    rows = f"All {round_.n_rows:,} rows are" if round_.n_rows != 1 else "The row is"
    files = formats.count(round_.n_batches, "batch", "batches")
    note(round_.job, "planned", f"Round {round_.number}: {rows[0].lower()}{rows[1:]} ready in {files}")


def cancel_rest(round_: Round, lease: Lease) -> None:
    """The rows that no batch has taken yet are cancelled, unpaid. Under the job's lease."""
    rows_file = places.rows_file(round_)
    rows = selected_rows(rows_file)[round_.plan_offset :].tolist() if rows_file else list(range(round_.plan_offset, round_.n_rows))
    with transaction.atomic():
        lease.write()
        if Round.objects.filter(pk=round_.pk, state=RoundState.PLANNING).update(plan_offset=round_.n_rows) != 1:
            raise LostLease(str(round_))
        for i in range(0, len(rows), 100_000):
            part = rows[i : i + 100_000]
            add_unsent(round_, part, OutcomeKind.CANCELLED, Cause.CANCELLED, ["Cancelled before it was sent."] * len(part))
        _planned(round_)
