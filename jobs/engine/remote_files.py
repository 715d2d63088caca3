"""Files at the provider: removed once ours are whole, where the connection says so."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from jobs.engine import twins
from jobs.engine.log import note
from jobs.engine.remote import calling
from jobs.errors import ProviderError
from jobs.models import Batch, Connection, Event
from jobs.providers.base import Provider, RemoteBatch
from jobs.words import CLOSED, Lane

DELETED, REFUSED, LATER = "batch:deleted", "batch:not-deleted", "batch:delete-later"


def delete_all(connection: Connection, batches: QuerySet[Batch]) -> None:
    """Delete what closed batches left at the provider and what could not be deleted before; refused ones sent a file as well."""
    if not connection.delete_remote_files:
        return
    told = Event.objects.filter(kind__in=[DELETED, REFUSED]).values("batch")
    left = batches.filter(state__in=CLOSED, round__lane=Lane.BATCH).filter(~Q(provider_batch_id="") | ~Q(upload_id=""))
    for batch in left.exclude(pk__in=told).select_related("job", "connection"):
        delete(batch)


def delete(batch: Batch) -> None:
    """Remove the provider's copies of a closed batch. What cannot be deleted now is tried again by the sweep."""
    try:
        with calling(batch.connection) as provider:
            remote = _remote(batch, provider)
            if not remote.ended:  # given up, and still running there
                _later(batch, "it has not ended there")
                return
            if remote.id or remote.input_file_id:
                provider.delete(remote)
        note(batch.job, DELETED, f"Batch {batch.number}: files at the provider deleted", batch)
    except ProviderError as error:
        if twins.is_passing(error):
            _later(batch, error.message)
            return
        note(batch.job, REFUSED, f"Batch {batch.number}: files at the provider could not be deleted: {error.message}", batch)


def _remote(batch: Batch, provider: Provider) -> RemoteBatch:
    """The batch as the provider knows it; what was refused before it became one, or is gone, has its uploaded file at most."""
    if batch.provider_batch_id:
        try:
            return provider.get(batch.provider_batch_id)
        except ProviderError as error:
            if error.status != 404:
                raise
    return RemoteBatch("", "", ended=True, input_file_id=batch.upload_id)


def _later(batch: Batch, why: str) -> None:
    if not Event.objects.filter(batch=batch, kind=LATER).exists():
        text = f"Batch {batch.number}: files at the provider could not be deleted yet, which is tried again every hour: {why}"
        note(batch.job, LATER, text, batch)
