"""Batches at the provider that should not be there beside one of ours: named in the timeline, cancelled, and told what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from jobs.engine.log import note
from jobs.errors import ProviderError
from jobs.models import Batch, Connection, Event
from jobs.providers.base import Provider, RemoteBatch
from jobs.words import Cause

SEEN, CANCELLED, ENDED = "batch:twin", "batch:twin-cancelled", "batch:twin-ended"


def note_twin(batch: Batch, remote: RemoteBatch) -> None:
    """Write down that the provider has a second batch of the same rows, before anything is done about it."""
    text = f"Batch {batch.number}: the provider also made {remote.id} of the same rows; it is cancelled and its rows are not counted"
    note(batch.job, SEEN, text, batch, provider_batch_id=remote.id)


def ids_of(connection: Connection) -> set[str]:
    """All twins of a connection that were ever seen."""
    return set(_events(Batch.objects.filter(connection=connection), SEEN))


def cancel_twins(batches: Iterable[Batch], provider: Provider) -> None:
    """Ask for the end of twins that were not asked yet. What cannot be asked now is asked at the next look."""
    batches = list(batches)
    seen = _events(batches, SEEN)
    for twin in set(seen) - set(_events(batches, CANCELLED)):
        if words := ask_to_cancel(provider, twin):
            batch = seen[twin]
            note(batch.job, CANCELLED, f"Batch {batch.number}: of the second batch {twin}, {words}", batch, provider_batch_id=twin)


def follow_twins(batches: Iterable[Batch], provider: Provider) -> None:
    """Say what twins cost once they have ended: their answers are paid and counted nowhere else."""
    for batch, remote in newly_ended(batches, provider, SEEN, ENDED):
        n = remote.n_succeeded or 0
        told = f"{n:,} {'row of it had run and is' if n == 1 else 'rows of it had run and are'} billed a second time"
        text = f"Batch {batch.number}: the second batch {remote.id} ended ({remote.status}); {told}"
        note(batch.job, ENDED, text, batch, provider_batch_id=remote.id, n_succeeded=n)


def newly_ended(batches: Iterable[Batch], provider: Provider, seen: str, told: str) -> Iterator[tuple[Batch, RemoteBatch]]:
    """What an event of kind `seen` named at the provider and has ended there, where no event of kind `told` says so yet. What cannot be
    asked now is asked at the next look."""
    batches = list(batches)
    of_batch = _events(batches, seen)
    for there in set(of_batch) - set(_events(batches, told)):
        try:
            remote = provider.get(there)
        except ProviderError:
            continue
        if remote.ended:
            yield of_batch[there], remote


def ask_to_cancel(provider: Provider, provider_batch_id: str) -> str:
    """Ask for the end of a batch: what came of it, in words; "" where it cannot be asked now and is asked again at the next look."""
    try:
        provider.cancel(provider_batch_id)
    except ProviderError as error:
        return "" if is_passing(error) else f"the provider did not take the cancel ({error.message})"
    return "the provider was asked to cancel it"


def is_passing(error: ProviderError) -> bool:
    """Whether asking again later may help: no clear refusal, a busy provider, a key that is not accepted now, a 404 (no verdict)."""
    return not error.definite or error.status == 404 or error.cause in (Cause.RATE_LIMITED, Cause.AUTH)


def _events(batches: Iterable[Batch] | Sequence[Batch], kind: str) -> dict[str, Batch]:
    events = Event.objects.filter(batch__in=batches, kind=kind).select_related("batch", "batch__job")
    return {there: event.batch for event in events if event.batch is not None and (there := event.data["provider_batch_id"])}
