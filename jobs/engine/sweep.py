"""The sweep: once an hour, look after what no step looks after any more: twins, late and given-up batches, files at the provider."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import structlog
from django.db.models import Q, QuerySet
from django.utils import timezone

from jobs.engine import give_up, remote_files, twins
from jobs.engine.lease import LostLease, claim
from jobs.engine.listing import Walked
from jobs.engine.log import move, note
from jobs.engine.remote import calling
from jobs.errors import BatchuiError
from jobs.models import Batch, Connection, Event
from jobs.providers.base import Provider, RemoteBatch
from jobs.words import UNDECIDED, BatchState, Lane

FOR = timedelta(days=30)  # as long as results can turn up
MAX_PAGES = 50
LATE = "batch:late"
log = structlog.get_logger(__name__)


def sweep() -> None:
    """One sweep over all connections. A provider that cannot be asked is asked the next time."""
    since = timezone.now() - FOR
    recent = Batch.objects.filter(round__lane=Lane.BATCH).filter(Q(settled_at__gte=since) | Q(settled_at__isnull=True))
    for connection in Connection.objects.filter(batches__in=recent).distinct():
        mine = recent.filter(connection=connection)
        for part in (_look_after, remote_files.delete_all):
            try:
                with suppress(BatchuiError):
                    part(connection, mine)
            except Exception:
                log.exception("sweep failed", connection=str(connection.pk))


def _look_after(connection: Connection, mine: QuerySet[Batch]) -> None:
    with calling(connection) as provider:
        doubled = list(mine.filter(events__kind=twins.SEEN).distinct())
        twins.cancel_twins(doubled, provider)
        twins.follow_twins(doubled, provider)
        give_up.follow_given_up(list(mine.filter(events__kind=give_up.GIVEN_UP).distinct()), provider)
        late_ones(list(mine.exclude(past_tokens=[]).select_related("job")), provider)


def late_ones(batches: list[Batch], provider: Provider) -> list[str]:
    """Creates that proved absent and are there after all: said on the timeline, cancelled where they still run. Their ids."""
    by_token = {token: batch for batch in batches for token in batch.past_tokens}
    if not by_token:
        return []
    known = _known(batches)
    first = min(batch.created_at for batch in batches) - timedelta(minutes=10)
    walked, cursor, found = Walked(), None, []
    for _ in range(MAX_PAGES):
        page = provider.list(cursor)
        walked.add(page.batches)
        for remote in page.batches:
            if remote.token in by_token and remote.id not in known:
                known.add(remote.id)
                found.append(remote.id)
                _late(by_token[remote.token], remote, provider)
        if page.next is None or page.next == cursor or walked.is_past(first):
            break
        cursor = page.next
    return found


def _take(batch: Batch, remote: RemoteBatch) -> None:
    """Have a batch that waits to be sent again looked for: the look-up adopts what is there."""
    lease = claim(Batch, batch.pk, state=BatchState.READY)
    if lease is None:  # being sent just now: a twin, which the next sweep cancels
        return
    marked = min(filter(None, (batch.submitting_at, remote.created_at)), default=batch.created_at)
    words = f"Batch {batch.number}: a create that had proved absent turned up as {remote.id} before it was sent again; taking that one"
    with suppress(LostLease):
        now = timezone.now()
        fresh: dict[str, Any] = {"n_absent": 0, "absent_at": None}  # what proved it absent proves nothing any more
        move(batch, lease, BatchState.UNKNOWN, words, submit_token=remote.token, submitting_at=marked, next_look_at=now, **fresh)
    lease.release(timezone.now())


def _known(batches: list[Batch]) -> set[str]:
    connection = batches[0].connection_id
    ids = set(Batch.objects.filter(connection=connection).exclude(provider_batch_id="").values_list("provider_batch_id", flat=True))
    ids |= {token for batch in batches for token in batch.past_tokens}
    events = Event.objects.filter(batch__in=batches, kind__in=[twins.SEEN, LATE])
    return ids | {event.data["provider_batch_id"] for event in events}


def _late(batch: Batch, remote: RemoteBatch, provider: Provider) -> None:
    """The provider made it after all. Where nothing was sent in its place yet it is taken; else it is a twin of what was sent instead."""
    if batch.state in UNDECIDED:  # looked for at this moment, by this token too
        return
    if batch.state == BatchState.READY and not remote.failed:
        _take(batch, remote)
        return
    n = f"{remote.n_succeeded:,} answers" if remote.n_succeeded else "no answers yet"
    text = f"Batch {batch.number}: a create that had proved absent turned up late as {remote.id} ({remote.status}, {n})"
    note(batch.job, LATE, text, batch, provider_batch_id=remote.id)
    twins.note_twin(batch, remote)
    twins.cancel_twins([batch], provider)
