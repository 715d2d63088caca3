"""Look for a batch whose create had no clear answer. Found: adopt. Proved absent: send again. Else: wait, and say so (RELIABILITY 2.5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from jobs.engine import journal, twins
from jobs.engine.lease import Lease
from jobs.engine.listing import Walked
from jobs.engine.log import move
from jobs.engine.reject import free_unsent
from jobs.engine.remote import KEY_CHANGED, calling
from jobs.engine.submit import adopt, is_ours, upload_name
from jobs.engine.windows import back_off, soon, windows_of
from jobs.errors import ProviderError
from jobs.models import Batch
from jobs.providers.base import Provider, RemoteBatch
from jobs.providers.registry import abilities_of
from jobs.words import BatchState, Lane

MAX_PAGES = 200
NEEDED_LOOKS = 2


@dataclass(slots=True)
class Walk:
    """What a walk through the provider's list found. Absence counts only if the walk was `complete`."""

    found: list[RemoteBatch] = field(default_factory=list)
    complete: bool = False
    oddity: str = ""


def reconcile(batch: Batch, lease: Lease) -> None:
    """One look for a batch in SUBMITTING (its worker died) or UNKNOWN."""
    if known := journal.read(batch):
        named = RemoteBatch(id=known, status="", ended=False)
        if is_ours(batch, named):
            adopt(batch, lease, named, f"Batch {batch.number}: found in our journal as {known}")
            return
    try:
        with calling(batch.connection) as provider:
            walk = look(batch, provider)
            if walk.found:
                _adopt_found(batch, lease, walk.found, provider)
                return
            if walk.complete:
                _absent(batch, lease, provider)
                return
    except ProviderError as error:
        _wait(batch, lease, f"cannot look for it: {error.message}", back_off(batch.n_errors + 1, error.retry_after, 60), batch.n_errors + 1)
        return
    _wait(batch, lease, f"the provider's list cannot be trusted ({walk.oddity}), so nothing is sent again", soon(60), batch.n_errors + 1)


def _absent(batch: Batch, lease: Lease, provider: Provider) -> None:
    """A complete walk did not find it. That proves nothing where the key may be one of another project since, with a list of its own."""
    changed = batch.connection.learned.get(KEY_CHANGED)
    if changed and batch.submitting_at and datetime.fromisoformat(changed) > batch.submitting_at and not _same_project(batch, provider):
        words = (
            "the API key was changed since it was sent, and nothing shows that the new one is of the same project, "
            "so that it is not found proves nothing and it is not sent again. Enter a key of the same project, or decide here"
        )
        _wait(batch, lease, words, soon(60), 0)
        return
    _not_there(batch, lease)


def _same_project(batch: Batch, provider: Provider) -> bool:
    """Whether the key that is used now sees what the one before it made: the latest batch from then, or this batch's uploaded file."""
    earlier = Batch.objects.filter(connection=batch.connection, round__lane=Lane.BATCH, submitted_at__lt=batch.submitting_at)
    last = earlier.exclude(provider_batch_id="").order_by("-submitted_at").first()
    try:
        if last is not None and provider.get(last.provider_batch_id).id == last.provider_batch_id:
            return True
    except ProviderError as error:
        if error.status != 404:
            raise
    try:
        return bool(batch.upload_id) and provider.find_upload(upload_name(batch), batch.n_bytes) is not None
    except ProviderError as error:
        if error.status != 404:
            raise
        return False


def _not_there(batch: Batch, lease: Lease) -> None:
    """A complete walk did not find it: believe that only after the window, and only the second time."""
    windows, now = windows_of(batch.connection), timezone.now()
    since = batch.submitting_at or now
    certain_at = since + timedelta(seconds=windows.absence)
    if now < certain_at:
        minutes = max(1, round((certain_at - now).total_seconds() / 60))
        words = f"not found at the provider yet; it may still turn up, so nothing is sent again for about {minutes} min"
        _wait(batch, lease, words, min(certain_at, soon(windows.apart)), 0)
        return
    if batch.n_absent + 1 < NEEDED_LOOKS:
        lease.write(
            n_absent=batch.n_absent + 1,
            absent_at=now,
            next_look_at=soon(windows.apart),
            wait_reason="not found at the provider; one more look, then it is sent again",
        )
        return
    if batch.absent_at and now < batch.absent_at + timedelta(seconds=windows.apart * 0.9):
        lease.write(next_look_at=min(batch.absent_at + timedelta(seconds=windows.apart), soon(windows.apart)))
        return
    if batch.cancel_requested_at or batch.job.cancel_requested_at:
        free_unsent(batch, lease)
        return
    move(
        batch,
        lease,
        BatchState.READY,
        f"Batch {batch.number}: proved absent at the provider, so it is sent again",
        past_tokens=[*batch.past_tokens, batch.submit_token],
        submit_token="",
        wait_reason="",
        next_look_at=now,
    )


def look(batch: Batch, provider: Provider) -> Walk:
    """Walk the list, newest first, past the moment of the mark; never trusting a list that repeats itself or stops short."""
    mark = batch.submitting_at or timezone.now()
    walk, walked, cursor = Walk(), Walked(), None
    seen: set[str] = set()
    for _ in range(MAX_PAGES):
        page = provider.list(cursor)
        # The list's times are by the provider's clock, the mark is by ours.
        oldest = mark - timedelta(seconds=windows_of(batch.connection).skew + max(0.0, provider.ahead))
        ids = [remote.id for remote in page.batches]
        if seen.intersection(ids) or len(set(ids)) != len(ids):
            walk.oddity = "it names a batch twice"
            return walk
        seen.update(ids)
        walk.found += [remote for remote in page.batches if _is_it(batch, remote, oldest)]
        if page.next is None:
            left_out = _should_be_there(batch, mark) - seen
            walk.complete = not left_out
            walk.oddity = f"it leaves out {min(left_out)}, which must be there" if left_out else ""
            return walk
        if not page.batches:
            walk.oddity = "an empty page says that more follow"
            return walk
        walked.add(page.batches)
        if walked.is_past(oldest):
            walk.complete = True
            return walk
        cursor = page.next
    walk.oddity = f"it did not end after {MAX_PAGES} pages"
    return walk


def _should_be_there(batch: Batch, mark: datetime) -> set[str]:
    """Ids that a whole list holds for sure: batches of the last day that the ledger knows. A list that ends without them was cut short."""
    known = Batch.objects.filter(connection=batch.connection, submitted_at__gt=mark - timedelta(days=1)).exclude(provider_batch_id="")
    if batch.connection.delete_remote_files:
        known = known.exclude(state=BatchState.SETTLED)
    return set(known.filter(round__lane=Lane.BATCH, provisional=False).values_list("provider_batch_id", flat=True))


def _is_it(batch: Batch, remote: RemoteBatch, oldest: datetime) -> bool:
    if remote.id in batch.past_tokens:  # known to be refused, or somebody else's
        return False
    if abilities_of(batch.connection.kind).serial_creates:
        return _could_be(batch, remote, oldest)
    tokens = {batch.submit_token, *batch.past_tokens} - {""}
    if remote.token:  # an earlier create that proved absent and turns up late is as good as this one
        return remote.token in tokens
    return bool(batch.upload_id) and remote.input_file_id == batch.upload_id


def _could_be(batch: Batch, remote: RemoteBatch, oldest: datetime) -> bool:
    """By time and count, where the provider takes no token of ours: an id the ledger does not know, made since the mark, as long as ours.
    Wide on purpose: a candidate too many is found out when it ends, one too few is paid twice."""
    if remote.created_at is None or remote.created_at < oldest:
        return False
    if remote.n_requests and remote.n_requests != batch.n_requests:
        return False
    if remote.id in twins.ids_of(batch.connection):
        return False
    where = {"connection__kind": batch.connection.kind, "connection__base_url": batch.connection.base_url}  # two may lead to one account
    return not Batch.objects.filter(**where, provider_batch_id=remote.id).exists()


def _adopt_found(batch: Batch, lease: Lease, found: list[RemoteBatch], provider: Provider) -> None:
    serial = abilities_of(batch.connection.kind).serial_creates
    is_certain = not serial
    if serial:
        verdicts = {remote.id: _confirmed(batch, remote, provider) for remote in found}
        sure = [remote for remote in found if verdicts[remote.id]]
        is_certain = bool(sure)
        found = sure or [remote for remote in found if verdicts[remote.id] is None]
        if not found:
            _absent(batch, lease, provider)
            return
    # The older one, but not one that was refused as a whole while another runs.
    place = {remote.id: i for i, remote in enumerate(found)}
    # Times may be whole seconds; the list is newest first, so of two in one second the latter is the older.
    found = sorted(found, key=lambda remote: (remote.failed, remote.created_at is None, remote.created_at, -place[remote.id]))
    if len(found) > 1 and not is_certain:
        _wait(
            batch,
            lease,
            f"{len(found)} batches at the provider could be this one; waiting until one of them ends and can be told",
            soon(30),
            0,
        )
        return
    text = f"Batch {batch.number}: found at the provider as {found[0].id}"
    adopt(batch, lease, found[0], text, provisional=not is_certain, twins=found[1:])
    twins.cancel_twins([batch], provider)


def _confirmed(batch: Batch, remote: RemoteBatch, provider: Provider) -> bool | None:
    """Whether the first result's custom_id is ours; None as long as there is no result to ask."""
    if not remote.ended:
        return None
    first = provider.first_custom_id(remote)
    return None if first is None else first.startswith(f"{batch.token}-")


def _wait(batch: Batch, lease: Lease, words: str, at: datetime, n_errors: int) -> None:
    """Stay unknown, say why, and remember when to look again."""
    fields: dict[str, Any] = {"wait_reason": words[:500], "next_look_at": at, "n_errors": n_errors}
    if batch.state == BatchState.SUBMITTING:
        move(batch, lease, BatchState.UNKNOWN, f"Batch {batch.number}: its worker stopped during the create; {words}", **fields)
    else:
        lease.write(**fields)
