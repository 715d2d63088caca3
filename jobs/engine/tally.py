"""The counters of a job: those of its standings and its money, moved in the same transaction as the state that they speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.db.models import F

from jobs.costs.prices import plain, time_cost
from jobs.engine import places
from jobs.engine.pace import milliseconds
from jobs.engine.reserve import most_of
from jobs.models import Batch, Job
from jobs.rows.outcomes import Sums, sum_outcomes
from jobs.words import OutcomeKind


@dataclass(slots=True)
class Tally:
    """What one outcome file adds up to."""

    kinds: dict[str, int] = field(default_factory=dict)
    paid: Decimal = Decimal(0)
    realtime: Decimal = Decimal(0)
    wasted: Decimal = Decimal(0)
    n_unpriced: int = 0
    usage: dict[str, Any] = field(default_factory=dict)  # tokens; of ordinary calls `ms`, and `time_usd` where time has a price
    unknown: Sums = field(default_factory=Sums)  # lines of which nobody knows whether they were charged

    @property
    def n(self) -> int:
        return sum(self.kinds.values())

    def batch_fields(self) -> dict[str, Any]:
        return {"outcomes": self.kinds, "paid_usd": self.paid, "realtime_usd": self.realtime, "usage": self.usage}


def of_batch(batch: Batch, outcomes: Path) -> Tally:
    """As `tally_of`, with the time that ordinary calls took, and what that cost where it has a price. `usage` also gets the rows of
    which nobody knows whether they were charged (`unknown_rows`), and the most that they cost (`unknown_usd`, None: no bound)."""
    tally = tally_of(outcomes)
    if tally.unknown.n:
        most = most_of(batch, tally.unknown.n_blank)
        known = None if most is None or tally.unknown.n_unpriced else tally.unknown.cost + most
        tally.usage |= {"unknown_rows": tally.unknown.n, "unknown_usd": None if known is None else plain(known)}
    took = milliseconds(places.results_folder(batch))
    if took:
        tally.usage["ms"] = took
    per_hour = batch.round.sheet.get("per_hour")
    if took and per_hour is not None:
        cost = time_cost(Decimal(per_hour), took)
        tally.usage["time_usd"] = plain(cost)
        tally.paid += cost
        tally.realtime += cost
    return tally


def tally_of(outcomes: Path) -> Tally:
    """Count an outcome file. Money that is only possibly billed ("unknown") is not in `paid`; the receipt shows it apart."""
    tally = Tally()
    for (_, _, kind, billed), sums in sum_outcomes([outcomes]).items():
        tally.kinds[kind] = tally.kinds.get(kind, 0) + sums.n
        if billed == "unknown":
            tally.unknown += sums
        if billed != "paid":
            continue
        tally.paid += sums.cost
        tally.realtime += sums.realtime
        tally.n_unpriced += sums.n_unpriced
        if kind != OutcomeKind.SUCCEEDED:
            tally.wasted += sums.cost
        for name in ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"):
            tally.usage[name] = tally.usage.get(name, 0) + getattr(sums, name)
    return tally


def add(job_id: Any, tally: Tally) -> None:
    """Add a settled batch to its job's counters; inside the transaction that settles it."""
    fields: dict[str, Any] = {f"n_{kind}": F(f"n_{kind}") + n for kind, n in tally.kinds.items()}
    fields |= {
        "paid_usd": F("paid_usd") + tally.paid,
        "realtime_usd": F("realtime_usd") + tally.realtime,
        "wasted_usd": F("wasted_usd") + tally.wasted,
        "n_unpriced": F("n_unpriced") + tally.n_unpriced,
        "version": F("version") + 1,
    }
    Job.objects.filter(pk=job_id).update(**fields)


def take_back(job_id: Any, replaced: Mapping[str, int]) -> None:
    """Rows that a new round takes are pending again; inside the transaction that makes the round."""
    fields: dict[str, Any] = {f"n_{kind}": F(f"n_{kind}") - n for kind, n in replaced.items() if n}
    if fields:
        Job.objects.filter(pk=job_id).update(**fields, version=F("version") + 1)


def waste(job_id: Any, amount: Decimal) -> None:
    """What was paid for answers that a new round replaces."""
    Job.objects.filter(pk=job_id).update(wasted_usd=F("wasted_usd") + amount)
