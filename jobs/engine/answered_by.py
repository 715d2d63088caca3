"""Who answered: a provider that takes a model's name and runs another one says so in its answers alone (RELIABILITY A17)."""

from __future__ import annotations

import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs import formats
from jobs.engine import places
from jobs.engine.log import note
from jobs.models import Batch
from jobs.providers import lines


def is_same(asked: str, answered: str) -> bool:
    """Whether a model's name in an answer is the one that was asked for: snapshots (`-2026-08-01`) and folders (`org/`) are left aside."""
    wanted, found = (name.lower().partition("+")[0].rpartition("/")[2] for name in (asked, answered))
    return found == wanted or found.startswith((f"{wanted}-", f"{wanted}@", f"{wanted}:")) or wanted.startswith(f"{found}-")


def say_others(batch: Batch) -> None:
    """A line on the timeline where answers of the settled batch are another model's. They count: they were asked for, and paid."""
    models = pq.read_table(places.outcomes_file(batch), columns=["model"]).column("model").drop_null()
    counts = {pair["values"]: pair["counts"] for pair in pc.value_counts(models.cast("string")).to_pylist()}
    others = sorted(((n, name) for name, n in counts.items() if name and not is_same(batch.model, name)), reverse=True)
    if others:
        told = ", ".join(f"{n:,} by {lines.clean(name)[:80]}" for n, name in others[:3])
        rows = formats.count(sum(n for n, _ in others), "answer is", "answers are")
        text = f"Batch {batch.number}: {rows} another model's than {batch.model}, which was asked for ({told})"
        note(batch.job, "batch:model", text, batch, n=sum(n for n, _ in others))
