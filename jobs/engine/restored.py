"""A ledger that went back in time, restored from a backup, must not send again what the provider has had since.

Two memories are asked before a create: our journal, which may be younger than the ledger, and the provider's list, whose batches carry
marks of this deployment. Both are cheap: the journal is read on from where it was left, the list only after a silence.
"""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Max
from django.utils import timezone

from jobs import formats
from jobs.engine import journal, learned, orphans
from jobs.engine.lease import Lease, LostLease, claim
from jobs.engine.log import move
from jobs.engine.twins import is_passing
from jobs.engine.windows import soon
from jobs.errors import ProviderError
from jobs.models import Batch, Connection, Workspace
from jobs.providers.base import Provider, RemoteBatch
from jobs.providers.registry import abilities_of
from jobs.words import BatchState

SILENCE = timedelta(minutes=2)  # since the last sign of the ledger; a backup is restored in no less
OVERLAP = timedelta(minutes=10)  # clocks of ours and of the provider
MAX_PAGES = 200  # of the list, once after a silence: what is behind them would be paid twice
KEY = "looked_back_at"  # in Connection.learned
OURS = re.compile(r"([0-9a-f]{16})-\d+")  # a request id: the batch's token, the row
Ready = dict[UUID, Batch]
Found = list[tuple[RemoteBatch, UUID | None]]  # with the waiting batch that it is of


def site() -> str:
    """Eight characters that name this deployment in its marks; the same after a restore, and on each of its hosts."""
    first = Workspace.objects.order_by("created_at", "pk").values_list("pk", flat=True).first()
    return first.hex[:8] if first else "0" * 8


def mark_of(batch: Batch, secret: str) -> str:
    """The token of one create: of which deployment and batch it is, and `secret`, a UUID in hex."""
    return f"{site()}-{batch.pk.hex[:12]}-{secret}"


def remembered(batch: Batch, lease: Lease) -> bool:
    """Whether the journal names a create of this READY batch that the ledger has forgotten; then it is to be looked for, not sent."""
    for token, provider_batch_id in journal.of_batch(batch).items():
        if token not in batch.past_tokens and provider_batch_id not in batch.past_tokens:
            _look_for(batch, lease, token, "our journal")
            return True
    return False


def _look_for(batch: Batch, lease: Lease, token: str, where: str) -> None:
    move(
        batch,
        lease,
        BatchState.UNKNOWN,
        f"Batch {batch.number}: {where} knows a create of it that the ledger has forgotten (restored from a backup?); looking for that one",
        submit_token=token,
        submitting_at=batch.submitting_at or batch.created_at,  # not now: that would be a sign of the ledger (_silent_since)
        n_absent=0,
        absent_at=None,
        next_look_at=timezone.now(),
        wait_reason="it was sent before, says " + where,
    )


def may_create(batch: Batch, lease: Lease, provider: Provider) -> bool:
    """Whether nothing at the provider speaks against sending the batch. After a silence the list is walked back to it, for batches of
    ours that the ledger does not know: those of batches that wait to be sent are adopted by them, any other holds the connection until
    an admin has set it aside. Whose they are their marks say; where a provider takes none, their length, and their rows once they have
    ended. A provider without a list is not asked."""
    connection = batch.connection
    since = _silent_since(connection)
    if since is None:
        return True
    ready = {each.pk: each for each in Batch.objects.filter(connection=connection, state=BatchState.READY).select_related("job")}
    is_marked = abilities_of(connection.kind).metadata
    try:
        found = _marked(connection, provider, since, ready) if is_marked else _alike(connection, provider, since, ready)
    except ProviderError as error:
        if not is_passing(error):
            return True
        lease.write(wait_reason=f"cannot ask the provider: {error.message}"[:500], n_errors=batch.n_errors + 1, next_look_at=soon(15.0))
        return False
    if not found:
        learned.learn(connection, lambda _: {KEY: timezone.now().isoformat()})
        return True
    strangers = [remote for remote, pk in found if pk is None]
    for remote, pk in found:
        if pk is not None and (each := ready.pop(pk, None)):
            token = remote.token or mark_of(each, uuid.uuid4().hex)
            _look_for(batch, lease, token, "the provider") if each.pk == batch.pk else _claim_and_look_for(each, token)
    if batch.state == BatchState.READY:  # another look before anything is created
        words = _words(strangers, is_marked) if strangers else "looking for batches that were sent before"
        lease.write(wait_reason=words[:500], next_look_at=soon(30.0 if strangers else 1.0))
    if strangers:
        Connection.objects.filter(pk=connection.pk).update(problem=_words(strangers, is_marked)[:500])
    return False


def _claim_and_look_for(batch: Batch, token: str) -> None:
    lease = claim(Batch, batch.pk, state=BatchState.READY)
    if lease is None:  # worked on right now; it comes here itself
        return
    try:
        _look_for(batch, lease, token, "the provider")
    except LostLease:
        pass
    finally:
        lease.release()


def _silent_since(connection: Connection) -> datetime | None:
    """When the ledger last knew all that was at the provider; None where that is so recent that nothing can have happened since."""
    last = Batch.objects.filter(connection=connection).aggregate(at=Max("submitting_at"))["at"] or connection.created_at
    connection.refresh_from_db(fields=["learned"])
    if looked := connection.learned.get(KEY):
        last = max(last, datetime.fromisoformat(looked))
    return last if timezone.now() - last > SILENCE else None


def _marked(connection: Connection, provider: Provider, since: datetime, ready: Ready) -> Found:
    """Batches with our mark made since then of which no batch, no past create and no admin's decision knows."""
    mark = f"{site()}-"
    found = [remote for remote in _unheard(connection, provider, since) if remote.token.startswith(mark)]
    heard = _heard({remote.token for remote in found})
    of_mark = {pk.hex[:12]: pk for pk in ready}
    return [(remote, of_mark.get(remote.token.split("-")[1])) for remote in found if remote.token not in heard]


def _heard(tokens: set[str]) -> set[str]:
    """Those tokens that the ledger has, on whatever connection: two may lead to one account."""
    if not tokens:
        return set()
    past = Batch.objects.exclude(past_tokens=[]).values_list("past_tokens", flat=True)
    return set(Batch.objects.filter(submit_token__in=tokens).values_list("submit_token", flat=True)) | tokens.intersection(
        *[{token for each in past for token in each}]
    )


def _alike(connection: Connection, provider: Provider, since: datetime, ready: Ready) -> Found:
    """Batches made since then that the ledger does not know, with as many requests as one that waits to be sent; but for those whose
    first row says that somebody else made them. One that has not ended says nothing yet."""
    sizes = {each.n_requests for each in ready.values()}
    of_token = {each.token: pk for pk, each in ready.items()}
    found: Found = []
    for remote in _unheard(connection, provider, since):
        if remote.n_requests not in sizes:
            continue
        first = _first_of(remote, provider)
        if first is None:
            found.append((remote, None))
        elif ours := OURS.fullmatch(first):
            found.append((remote, of_token.get(ours.group(1))))
    return found


def _first_of(remote: RemoteBatch, provider: Provider) -> str | None:
    """The id of its first row; None where it has not ended, or its results are not there."""
    try:
        return provider.first_custom_id(remote) if remote.ended else None
    except ProviderError as error:
        if error.status != 404:
            raise
        return None


def _unheard(connection: Connection, provider: Provider, since: datetime) -> list[RemoteBatch]:
    """Batches at the provider, made since then or a little before, whose ids the ledger does not have."""
    known = orphans.known_ids(connection) | orphans.ignored_ids(connection)
    remotes, _ = orphans.walk(provider, since - OVERLAP, MAX_PAGES)
    return [remote for remote in remotes if remote.id not in known and (remote.created_at is None or remote.created_at >= since - OVERLAP)]


def _words(strangers: list[RemoteBatch], is_marked: bool) -> str:
    there = formats.count(len(strangers), "batch", "batches")
    if not is_marked:
        return (
            f"the provider has {there} with as many requests as one that waits (first: {strangers[0].id}), made since the ledger's last "
            "sign, as after a restore from a backup. So that no row is paid twice, nothing is sent until they have ended and prove to be "
            "somebody else's, or an admin has looked at them on the connection's page and set them aside"
        )
    return (
        f"the provider has {there} of this batchui that the ledger does not know (first: {strangers[0].id}), as after a restore "
        "from a backup. So that no row is paid twice, nothing is sent "
        "until an admin has looked at them on the connection's page and set them aside"
    )
