"""What a connection may have enqueued for a model, and whose turn it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Q, Sum
from django.utils import timezone

from jobs import formats
from jobs.engine import learned
from jobs.engine.budget import HELD
from jobs.engine.remote import limits_for
from jobs.models import Batch, Connection
from jobs.words import BatchState, Lane

WAITS = timedelta(seconds=16)  # a little more than the longest pause of a batch that waits for headroom
IN_FLIGHT = [BatchState.SUBMITTING, BatchState.UNKNOWN, BatchState.SUBMITTED]
_LIMIT = re.compile(r"[Ll]imit:?\s*([\d,._]+)")


@dataclass(frozen=True, slots=True)
class Headroom:
    """Tokens enqueued now against the limit (None: unknown) for one model of a connection."""

    model: str
    used: int
    limit: int | None

    def takes(self, n_tokens: int) -> bool:
        return self.limit is None or self.used + n_tokens <= self.limit

    @property
    def words(self) -> str:
        limit = formats.compact(self.limit or 0)
        return f"waiting for headroom: {formats.compact(self.used)} of {limit} tokens enqueued on {self.model}"


def token_limit(connection: Connection, model: str) -> int | None:
    """The admin's limit, else what the provider's refusals taught us, else unknown."""
    return limits_for(connection).enqueued_tokens or connection.learned.get("enqueued_tokens", {}).get(model)


def headroom(connection: Connection, model: str) -> Headroom:
    used = Batch.objects.filter(connection=connection, model=model, state__in=IN_FLIGHT).aggregate(n=Sum("n_tokens"))["n"] or 0
    return Headroom(model, used, token_limit(connection, model))


def is_next(batch: Batch) -> bool:
    """Whether it is this batch's turn for the headroom: the job with least in flight first, then the oldest."""
    ready = Batch.objects.filter(connection=batch.connection, model=batch.model, state=BatchState.READY, cancel_requested_at__isnull=True)
    ready = ready.filter(round__lane=Lane.BATCH)  # one of ordinary calls is `ready` until its last answer, and needs no headroom
    # One that waits for something else, longer than headroom is waited for, must not keep the others from going.
    due = Q(next_look_at__isnull=True) | Q(next_look_at__lte=timezone.now() + WAITS)
    ready = ready.filter(Q(pk=batch.pk) | (due & ~Q(wait_reason__startswith=HELD)))
    flying = dict(
        Batch.objects.filter(connection=batch.connection, model=batch.model, state__in=IN_FLIGHT)
        .values_list("job")
        .annotate(n=Sum("n_tokens"))
        .values_list("job", "n")
    )
    queue = sorted(ready.values_list("job", "job__launched_at", "number", "pk"), key=lambda r: (flying.get(r[0], 0), str(r[1]), r[2]))
    return bool(queue) and queue[0][3] == batch.pk


def learn_bytes(connection: Connection, n_bytes: int) -> int:
    """A file of twice as many bytes was too large: never again more than this."""
    found = learned.learn(connection, lambda known: {"bytes_per_batch": max(1, min(n_bytes, known.get("bytes_per_batch", n_bytes)))})
    return int(found["bytes_per_batch"])


def learn_tokens(connection: Connection, model: str, n_tokens: int) -> None:
    """A file of twice as many tokens, by our count, never fitted: smaller ones are cut for the model."""

    def fewer(known: dict[str, Any]) -> dict[str, Any]:
        by_model = known.get("tokens_per_batch", {})
        return {"tokens_per_batch": {**by_model, model: max(1, min(n_tokens, by_model.get(model, n_tokens)))}}

    learned.learn(connection, fewer)


def tokens_per_batch(connection: Connection, model: str) -> int | None:
    """Tokens that one file may have, by our count: a share of the limit, which rows of other files need too; None where none is known."""
    known, taught = token_limit(connection, model), connection.learned.get("tokens_per_batch", {}).get(model)
    return min((each for each in (int(known * 0.8) if known else None, taught) if each is not None), default=None)


def byte_limit(connection: Connection) -> int:
    """Bytes that one file may have: the provider's or the admin's limit, or less where a refusal taught so."""
    return min(limits_for(connection).bytes_per_batch, connection.learned.get("bytes_per_batch") or limits_for(connection).bytes_per_batch)


def learn(connection: Connection, model: str, message: str) -> int | None:
    """Take the limit out of a refusal ("Limit: 2,000,000 enqueued tokens"); None where it names none."""
    found = _LIMIT.search(message)
    digits = re.sub(r"\D", "", found.group(1)) if found else ""
    if not digits or not int(digits):
        return None
    learned.learn(connection, lambda known: {"enqueued_tokens": {**known.get("enqueued_tokens", {}), model: int(digits)}})
    return int(digits)
