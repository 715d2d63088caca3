"""The same job on a smaller model: what its own tokens would have cost there, by today's prices."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from jobs.costs.prices import Usage, price_row
from jobs.costs.tokens import TokenModel
from jobs.engine.estimates import models_of
from jobs.engine.offers import SMALL_MODELS
from jobs.engine.spec import overrides_of, priced_by
from jobs.models import Batch, Connection, Job
from jobs.words import Lane, PromptKind, ProviderKind

WORTH = Decimal("0.7")  # of today's price: a smaller saving is not worth another model's answers
ROOM = 10  # times the mean input that the context must take, as single rows are longer


@dataclass(frozen=True, slots=True)
class Smaller:
    """A model of the same connection; dollars for all rows of the job on its lane, there and on its own model, both by today's prices."""

    model: str
    usd: Decimal
    instead_of: Decimal

    @property
    def percent(self) -> int:
        """How much less that is, rounded down."""
        return int((1 - self.usd / self.instead_of) * 100)


def smaller_of(job: Job) -> Smaller | None:
    """The first of the small current models that would have cost a good deal less; None where there is none, or a price is unknown."""
    mean = _mean_of(job)
    if job.connection is None or job.connection.archived_at or mean is None or job.spec.get("kind") != PromptKind.GENERATE:
        return None
    overrides = overrides_of(job.workspace, job.connection.kind)
    own = _cost(job, job.connection, job.model, mean, overrides)
    if not own:
        return None
    offered = models_of(job.connection, job.workspace, overrides=overrides)
    entries = {entry.id: entry for entry in offered if not entry.deprecated and "+" not in entry.id}
    names = entries if job.connection.kind == ProviderKind.OPENAI_COMPATIBLE else [name for name in SMALL_MODELS if name in entries]
    found = []
    for name in names:
        window = entries[name].context_window
        if name == job.model or (window is not None and window < ROOM * mean.input_tokens):
            continue
        usd = _cost(job, job.connection, name, mean, overrides)
        if usd is not None and usd <= own * WORTH:
            found.append(Smaller(name, usd, own))
    return min(found, key=lambda each: each.usd, default=None)


def _mean_of(job: Job) -> Usage | None:
    """The tokens of a row of this job on its own model, as they were."""
    sums = dict.fromkeys(("input_tokens", "cached_tokens", "output_tokens"), 0)
    rows = 0
    for usage, outcomes in Batch.objects.filter(job=job, model=job.model).order_by().values_list("usage", "outcomes"):
        rows += sum(n for kind, n in outcomes.items() if kind in ("succeeded", "invalid"))
        for name in sums:
            sums[name] += usage.get(name, 0)
    return Usage(**{name: round(n / rows) for name, n in sums.items()}) if rows else None


def _cost(job: Job, connection: Connection, model: str, mean: Usage, overrides: dict[str, Any]) -> Decimal | None:
    """Dollars for all rows; tokens are as many more or fewer as the models' tokenizers differ."""
    sheet = priced_by(connection, model, overrides)
    if sheet.per_hour is not None:
        return None
    more = TokenModel(connection.kind, model).factor / TokenModel(connection.kind, job.model).factor
    there = Usage(round(mean.input_tokens * more), round(mean.cached_tokens * more), 0, 0, round(mean.output_tokens * more))
    price = price_row(sheet, Lane(job.lane), there)
    return None if price is None else price * job.n_rows
