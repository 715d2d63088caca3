"""Orphans: batches at the provider that the ledger does not know. Listed, and cancelled or set aside by a person."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from jobs.engine import audit_log, learned, twins
from jobs.engine.listing import Walked
from jobs.engine.remote import calling
from jobs.errors import BadInput, ProviderError
from jobs.models import Batch, Connection, Event
from jobs.providers.base import Provider, RemoteBatch
from jobs.words import UNDECIDED

MAX_PAGES = 20
DAYS = 30
KEY = "orphans"  # in Connection.learned


@dataclass(frozen=True, slots=True)
class Orphan:
    """One batch that is not in the ledger. `made_by_us` says that it carries a token of batchui, perhaps of another deployment;
    `could_be` are ids of batches that are being looked for and that a person may adopt it as (`decide.adopt`)."""

    id: str
    status: str
    ended: bool
    created_at: str
    n_requests: int | None
    made_by_us: bool
    could_be: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Orphans:
    """What was found at `at` (None: never looked). `complete` is False where the list was longer than was walked."""

    found: tuple[Orphan, ...]
    at: datetime | None
    complete: bool


def orphans_of(connection: Connection) -> Orphans:
    """What the last look found, without those that were set aside; no call."""
    kept = connection.learned.get(KEY) or {}
    ignored = ignored_ids(connection)
    found = tuple(Orphan(**{**each, "could_be": tuple(each["could_be"])}) for each in kept.get("found", []) if each["id"] not in ignored)
    at = datetime.fromisoformat(kept["at"]) if kept.get("at") else None
    return Orphans(found, at, bool(kept.get("complete", False)))


def look(connection: Connection) -> Orphans:
    """Walk the provider's list and keep what the ledger does not know. Raises BadInput where the provider cannot be asked."""
    known, lost = known_ids(connection), list(Batch.objects.filter(connection=connection, state__in=UNDECIDED))
    try:
        with calling(connection) as provider:
            remotes, complete = walk(provider, timezone.now() - timedelta(days=DAYS))
    except ProviderError as error:
        raise BadInput(f"The provider could not be asked: {error.message}") from error
    elsewhere = _elsewhere(connection, {remote.token for remote in remotes if remote.token and remote.id not in known})
    found = [_orphan(remote, lost) for remote in remotes if remote.id not in known and remote.token not in elsewhere]
    seen = {"found": [asdict(each) for each in found], "at": timezone.now().isoformat(), "complete": complete}
    learned.learn(connection, lambda known: {KEY: {**(known.get(KEY) or {}), **seen}})
    return orphans_of(connection)


def _elsewhere(connection: Connection, tokens: set[str]) -> set[str]:
    """Those tokens that are of batches of other connections, which look for them: two workspaces may have one key."""
    others = Batch.objects.exclude(connection=connection).filter(submit_token__in=tokens)
    return set(others.values_list("submit_token", flat=True))


def walk(provider: Provider, oldest: datetime, most: int = MAX_PAGES) -> tuple[list[RemoteBatch], bool]:
    """The provider's batches made since `oldest`, and some before, and whether the walk came to the end of them in `most` pages."""
    cursor = None
    found: dict[str, RemoteBatch] = {}
    walked = Walked()
    for _ in range(most):
        page = provider.list(cursor)
        found |= {remote.id: remote for remote in page.batches}
        walked.add(page.batches)
        if page.next is None or walked.is_past(oldest):
            return list(found.values()), True
        if page.next == cursor or not page.batches:
            break
        cursor = page.next
    return list(found.values()), False


def known_ids(connection: Connection) -> set[str]:
    """Every id at the provider that the ledger speaks of: its batches, refused tries of them, twins and late ones.

    Other connections to the same server count too: a key that two workspaces share must not let one cancel what the other pays for.
    """
    batches = Batch.objects.filter(connection__kind=connection.kind, connection__base_url=connection.base_url)
    ids = set(batches.exclude(provider_batch_id="").values_list("provider_batch_id", flat=True))
    for past in batches.exclude(past_tokens=[]).values_list("past_tokens", flat=True):
        ids.update(past)
    late = Event.objects.filter(batch__connection=connection, kind="batch:late")
    return ids | twins.ids_of(connection) | {event.data["provider_batch_id"] for event in late}


def ignored_ids(connection: Connection) -> set[str]:
    """What an admin has set aside."""
    return set((connection.learned.get(KEY) or {}).get("ignored", []))


def _orphan(remote: RemoteBatch, lost: list[Batch]) -> Orphan:
    could_be = tuple(str(batch.pk) for batch in lost if _fits(batch, remote))
    created = remote.created_at.isoformat() if remote.created_at else ""
    return Orphan(remote.id, remote.status, remote.ended, created, remote.n_requests, bool(remote.token), could_be)


def _fits(batch: Batch, remote: RemoteBatch) -> bool:
    if remote.token:
        return remote.token in (batch.submit_token, *batch.past_tokens)
    if remote.input_file_id and batch.upload_id:
        return remote.input_file_id == batch.upload_id
    return not remote.n_requests or remote.n_requests == batch.n_requests


def cancel(connection: Connection, user: User | None, provider_batch_id: str) -> Orphans:
    """Ask the provider to end an orphan; audited. Raises BadInput where it is a batch of the ledger, or the provider refuses."""
    if provider_batch_id in known_ids(connection) - twins.ids_of(connection):
        raise BadInput(f"{provider_batch_id} belongs to a job.", "Cancel the job instead.")
    try:
        with calling(connection) as provider:
            provider.cancel(provider_batch_id)
    except ProviderError as error:
        raise BadInput(f"The provider did not cancel {provider_batch_id}: {error.message}") from error
    audit_log.write(connection.workspace, user, "orphan cancelled", connection.name, provider_batch_id=provider_batch_id)
    return look(connection)


def ignore(connection: Connection, user: User | None, provider_batch_id: str) -> Orphans:
    """Do not show it again; it stays as it is at the provider. Audited."""

    def aside(known: dict[str, Any]) -> dict[str, Any]:
        kept = known.get(KEY) or {}
        return {KEY: {**kept, "ignored": sorted({*kept.get("ignored", []), provider_batch_id})}}

    learned.learn(connection, aside)
    audit_log.write(connection.workspace, user, "orphan set aside", connection.name, provider_batch_id=provider_batch_id)
    return orphans_of(connection)
