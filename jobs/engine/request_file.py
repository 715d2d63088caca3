"""A batch's request file where it is gone from the disk, or only half there: its rows are known without it, and what was not sent yet
is cut again from the same rows, to the same bytes."""

from __future__ import annotations

import os
import shutil
import uuid

import numpy as np
import pyarrow.parquet as pq

from jobs.engine import places
from jobs.engine.lease import Lease
from jobs.engine.plan import CHILD_MEMORY, CHILD_SECONDS, request_of
from jobs.errors import BatchuiError
from jobs.models import Batch, Round
from jobs.rows.child import run_child
from jobs.rows.cut import Rows, index_of, rows_in
from jobs.rows.files import fsync_folder
from jobs.rows.render import selected_rows

GONE = "its request file is gone from the disk, and cannot be made again as it was: cancel the job, then retry the rows"


def rows_of(batch: Batch) -> Rows:
    """The rows of a batch that has, or had, a request file, sorted. Raises BatchuiError where nothing tells them any more."""
    try:
        rows = rows_in(places.request_file(batch))
        if len(rows) == batch.n_requests:
            return rows
    except (OSError, ValueError):  # a torn index is a ValueError
        pass
    rows = _span(batch)[1]
    for unsent in batch.round.batches.filter(n_bytes=0).select_related("job"):  # their template failed
        rows = np.setdiff1d(rows, pq.read_table(places.outcomes_file(unsent), columns=["_row"]).column(0).to_numpy())
    if len(rows) != batch.n_requests:
        raise BatchuiError("its request file is gone from the disk, and which rows it had is not known any more")
    return rows


def _span(batch: Batch) -> tuple[int, Rows]:
    """Where in the rows of its round the batch begins, and those rows from its first to its last."""
    path = places.rows_file(batch.round)
    if path is None:
        return batch.first_row, np.arange(batch.first_row, batch.last_row + 1, dtype=np.int64)
    chosen = selected_rows(path)
    first, last = np.searchsorted(chosen, [batch.first_row, batch.last_row])
    return int(first), chosen[first : last + 1]


def make_whole(batch: Batch, lease: Lease) -> None:
    """See to it that the request file is whole before anything of it is sent. Raises BatchuiError where it cannot be made again."""
    target = places.request_file(batch)
    if _is_whole(batch):
        return
    round_ = Round.objects.select_related("job__dataset_version", "prompt_version", "connection").get(pk=batch.round_id)
    start, rows = _span(batch)
    again = target.parent.with_name(f"again-{uuid.uuid4().hex}")
    limits = {"requests": len(rows), "bytes": batch.n_bytes, "tokens": None}
    request = request_of(round_, start, limits, left=[], again={"token": batch.token, "folder": again.name})
    try:
        with lease.kept():
            done = run_child(
                "jobs.engine.render_child",
                request,
                seconds=CHILD_SECONDS,
                memory_bytes=CHILD_MEMORY,
                file_bytes=batch.n_bytes + 50_000_000,
            )
        lease.renew()
        if (done["n_requests"], done["n_bytes"]) != (batch.n_requests, batch.n_bytes):
            raise BatchuiError(GONE)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(index_of(again / target.name), index_of(target))
        os.replace(again / target.name, target)
        fsync_folder(target.parent)
    finally:
        shutil.rmtree(again, ignore_errors=True)


def _is_whole(batch: Batch) -> bool:
    path = places.request_file(batch)
    try:
        index = np.load(index_of(path), mmap_mode="r", allow_pickle=False)
        return path.stat().st_size == batch.n_bytes and index.shape == (2, batch.n_requests)
    except (OSError, ValueError):
        return False
