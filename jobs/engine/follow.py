"""Follow: one walk of a connection's list tells the state of many batches; what the list does not show is asked for by id."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from django.utils import timezone

from jobs.engine import left_behind, shelf, trouble, twins
from jobs.engine.headroom import headroom, learn, learn_tokens, token_limit
from jobs.engine.lease import Lease, LostLease, claim, surely
from jobs.engine.listing import Walked
from jobs.engine.log import move, note
from jobs.engine.reject import cut_smaller, free_unsent, reject_whole
from jobs.engine.remote import calling
from jobs.engine.windows import back_off, is_overdue, poll_interval, soon, time_limit
from jobs.errors import ProviderError
from jobs.models import Batch, Connection
from jobs.providers.base import LineError, Provider, RemoteBatch
from jobs.words import BatchState, Cause, remote_status

MAX_PAGES = 10
MAX_GETS = 5
NEARLY = timedelta(hours=4)  # before a batch expires
ALONE_TRIES = 4  # creates of a file that did not fit, though nothing else was enqueued
log = structlog.get_logger(__name__)
OF_THE_CONNECTION = (Cause.AUTH, Cause.BILLING, Cause.RATE_LIMITED, Cause.TIMEOUT)  # no use in asking on after these
# The words of all providers for a batch that is not over yet.
LIVE_WORDS = {
    "",
    "validating",
    "in_progress",
    "finalizing",
    "cancelling",
    "canceling",
    "queued",
    "pending",
    "running",
    "created",
    "processing",
}


def follow(connection: Connection) -> None:
    """Ask the provider of all submitted batches of the connection that are due, and note what it says."""
    waiting = list(
        Batch.objects.filter(connection=connection, state=BatchState.SUBMITTED)
        .select_related("job", "round", "connection")
        .order_by("submitted_at")
    )
    now = timezone.now()
    due = [batch for batch in waiting if batch.next_look_at is None or batch.next_look_at <= now]
    if not due:
        return
    known: dict[str, RemoteBatch] = {}
    try:
        with calling(connection) as provider:
            _cancel_wanted(due, provider)
            twins.cancel_twins(due, provider)
            trouble = _ask(due, provider, known)
    except ProviderError as error:
        trouble = error
    if trouble is not None:
        _say_trouble(connection, [batch for batch in due if batch.provider_batch_id not in known], trouble)
    else:
        Connection.objects.filter(pk=connection.pk).exclude(problem="").update(problem="")
    for batch in waiting:
        if remote := known.get(batch.provider_batch_id):
            _note_alone(batch, remote)


def _note_alone(batch: Batch, remote: RemoteBatch) -> None:
    """As `take_note`; trouble of our own with one batch is said on it and keeps no other from being followed."""
    try:
        take_note(batch, remote)
    except Exception as error:
        log.exception("what the provider said could not be noted", batch=str(batch.pk))
        words = trouble.words_of(error)
        surely(lambda: _say(batch, None, words))


def _ask(due: list[Batch], provider: Provider, known: dict[str, RemoteBatch]) -> ProviderError | None:
    """Have the provider tell of the batches: by its list where there are several, by id for a few that the list does not tell of. What it
    tells goes into `known`; the error that keeps from asking, if there is one."""
    error: ProviderError | None = None
    if len(due) > 1:
        error = _read_list(due, provider, known)
        if error is not None and error.cause in OF_THE_CONNECTION:
            return error
    missing = [batch for batch in due if batch.provider_batch_id not in known]
    for batch in missing[:MAX_GETS]:
        error = _get_one(batch, provider, known)
        if error is not None and error.cause in OF_THE_CONNECTION:
            return error
    # Those that neither the list nor the few gets told of are asked for next time.
    for batch in missing[MAX_GETS:]:
        Batch.objects.filter(pk=batch.pk, state=BatchState.SUBMITTED).update(next_look_at=soon(1.0))
    return None if known else error


def _read_list(due: list[Batch], provider: Provider, known: dict[str, RemoteBatch]) -> ProviderError | None:
    """Pages of the list, newest first, until all that are due were seen or are older than the page. A server that has no list, or one that
    cannot be read, is asked for each batch by its id instead."""
    wanted = {batch.provider_batch_id for batch in due}
    first = min((batch.submitting_at or batch.created_at) for batch in due) - timedelta(minutes=10)
    walked, cursor = Walked(), None
    for _ in range(MAX_PAGES):
        try:
            page = provider.list(cursor)
        except ProviderError as error:
            return error
        known |= {remote.id: remote for remote in page.batches}
        walked.add(page.batches)
        if wanted <= known.keys() or page.next is None or page.next == cursor or not page.batches or walked.is_past(first):
            break
        cursor = page.next
    return None


def _get_one(batch: Batch, provider: Provider, known: dict[str, RemoteBatch]) -> ProviderError | None:
    """Ask for one batch. An error that is about this one alone is said on it and keeps no other from being followed."""
    try:
        known[batch.provider_batch_id] = provider.get(batch.provider_batch_id)
        return None
    except ProviderError as error:
        if error.status != 404:
            _say(batch, error, f"cannot ask the provider: {error.message}")
            return error
        if shelf.is_over(batch) or left_behind.was_collected(batch):
            _forgotten(batch)
            return None
        # A 404 is no verdict: seen seconds after a create, and for batches of another project's key.
        age = timezone.now() - (batch.submitted_at or batch.created_at)
        words = "the provider does not know this batch at the moment; asking again" + (
            ". If the key was changed to one of another project, change it back" if age > timedelta(minutes=15) else ""
        )
        _say(batch, error, words, cap=300)
        return None


def _forgotten(batch: Batch) -> None:
    """Not known at the provider, and past the life of its results, or with them here: nothing can come of it any more. The collection
    says so of its rows."""
    lease = claim(Batch, batch.pk, state=BatchState.SUBMITTED, provider_batch_id=batch.provider_batch_id)
    if lease is None:
        return
    results = "are here already" if left_behind.was_collected(batch) else "would be gone by now"
    words = f"Batch {batch.number}: the provider does not know it any more, and its results {results}"
    try:
        move(batch, lease, BatchState.ENDED, words, wait_reason="", ended_at=timezone.now(), n_errors=0, next_look_at=timezone.now())
    except LostLease:
        pass
    finally:
        lease.release(timezone.now())


def _say(batch: Batch, error: ProviderError | None, words: str, cap: float = 120) -> None:
    """Why nothing is known of a submitted batch at the moment, and when it is asked for again."""
    at = back_off(batch.n_errors + 1, error.retry_after if error else None, cap=cap)
    Batch.objects.filter(pk=batch.pk, state=BatchState.SUBMITTED).update(
        wait_reason=words[:500], n_errors=batch.n_errors + 1, next_look_at=at
    )


def _cancel_wanted(due: list[Batch], provider: Provider) -> None:
    """Pass on the wish to cancel, once; the batch is followed to its end all the same, since what finished is paid for."""
    for batch in due:
        if not (batch.cancel_requested_at or batch.job.cancel_requested_at) or batch.cancel_sent_at:
            continue
        if batch.provisional:  # it may be somebody else's: what cannot be named is not cancelled, but followed to its end
            continue
        try:
            provider.cancel(batch.provider_batch_id)
            words = f"Batch {batch.number}: the provider was asked to cancel it"
        except ProviderError as error:
            if error.cause in OF_THE_CONNECTION:
                return
            if twins.is_passing(error):  # asked again at the next look; the others are followed all the same
                continue
            words = f"Batch {batch.number}: the provider did not take the cancel ({error.message}); following it to its end"
        batch.cancel_sent_at = timezone.now()
        Batch.objects.filter(pk=batch.pk).update(cancel_sent_at=batch.cancel_sent_at)
        note(batch.job, "batch:cancel", words, batch)


def _say_trouble(connection: Connection, due: list[Batch], error: ProviderError) -> None:
    """The provider cannot be asked: say so on the connection and on each batch, and try again later. Nothing is given up."""
    words = f"cannot ask the provider: {error.message}"
    if error.cause is Cause.AUTH:
        words = f"the key was not accepted; the batch goes on at the provider and is collected once the key works again ({error.message})"
    Connection.objects.filter(pk=connection.pk).update(problem=words[:500])
    for batch in due:
        _say(batch, error, words)
        shelf.warn(batch, error.message)


def take_note(batch: Batch, remote: RemoteBatch) -> None:
    """Write what the provider said of a batch. An end starts the collection; a refusal of the whole frees the rows."""
    # Not only SUBMITTED but as this very batch of the provider: it may have been held back and sent again since the provider was asked.
    lease = claim(Batch, batch.pk, state=BatchState.SUBMITTED, provider_batch_id=remote.id)
    if lease is None:
        return
    next_look_at = None
    try:
        if remote.failed:
            _refused_whole(batch, remote, lease)
        elif remote.ended:
            fields: dict[str, Any] = {
                "provider_status": remote.status[:60],
                "provider_counts": _counts(remote),
                "provider_raw": remote.raw,
                "wait_reason": "",
            }
            fields["expires_at"] = remote.expires_at or batch.expires_at
            fields["results_expire_at"] = remote.results_expire_at or batch.results_expire_at
            fields |= {"ended_at": timezone.now(), "n_errors": 0, "next_look_at": timezone.now()}
            move(batch, lease, BatchState.ENDED, f"Batch {batch.number}: {remote_status(remote.status)} at the provider", **fields)
        else:
            next_look_at = soon(poll_interval(batch, batch.connection.is_sandbox))
            _still_going(batch, remote, lease)
    except LostLease:
        pass
    finally:
        surely(lambda: lease.release(next_look_at))


def _still_going(batch: Batch, remote: RemoteBatch, lease: Lease) -> None:
    reason, now = "", timezone.now()
    if is_overdue(batch, now):
        reason = "the provider is past its own time limit; still asking. You can cancel it and send what is left again"
    elif now > time_limit(batch) - NEARLY:
        reason = "its time at the provider is nearly over; what has not run by then expires and is not charged"
    elif remote.status.lower() not in LIVE_WORDS:
        reason = f"the provider says “{remote.status[:60]}”, a word that batchui does not know; it counts as still running"
    elif batch.provisional and (batch.cancel_requested_at or batch.job.cancel_requested_at):
        reason = "cancel waits: whether this batch is ours is sure only when it has ended, and somebody else's must not be cancelled"
    elif (batch.cancel_requested_at or batch.job.cancel_requested_at) and not batch.cancel_sent_at:
        reason = "the provider has not taken the cancel yet; it is asked again at each look"
    changed = (remote.status, _counts(remote), reason) != (batch.provider_status, batch.provider_counts, batch.wait_reason)
    lease.write(
        provider_status=remote.status[:60],
        provider_counts=_counts(remote),
        expires_at=remote.expires_at or batch.expires_at,
        results_expire_at=remote.results_expire_at or batch.results_expire_at,
        wait_reason=reason,
        n_errors=0,
    )
    if changed and remote.status != batch.provider_status:
        note(batch.job, "batch:status", f"Batch {batch.number}: {remote_status(remote.status)} at the provider", batch)


def _counts(remote: RemoteBatch) -> dict[str, int]:
    counts = {"total": remote.n_requests, "succeeded": remote.n_succeeded, "failed": remote.n_failed}
    return {name: n for name, n in counts.items() if n is not None}


def _refused_whole(batch: Batch, remote: RemoteBatch, lease: Lease) -> None:
    """The provider took the file and then ran nothing of it."""
    errors = remote.errors or (
        LineError("", f"the provider failed the batch without saying why ({remote.status})", cause=Cause.PROVIDER_ERROR),
    )
    later = [error for error in errors if error.later]
    if later and (batch.cancel_requested_at or batch.job.cancel_requested_at):
        batch.provider_status = remote.status[:60]
        free_unsent(batch, lease)
        return
    if later:
        limit = learn(batch.connection, batch.model, later[0].message) or token_limit(batch.connection, batch.model)
        if limit is None or (batch.n_tokens <= limit and not _never_fits(batch, limit)):
            _send_later(batch, lease, later[0])
            return
    if batch.n_requests > 1 and any(error.smaller for error in errors):
        cut_smaller(batch, lease, errors[0].message, remote)
        return
    reject_whole(batch, lease, errors[0].cause, errors[0].message, errors=errors, remote=remote)


def _never_fits(batch: Batch, limit: int) -> bool:
    """Whether the batch is too large by the provider's count of tokens though not by ours: refused again and again with nothing of ours
    beside it. Then smaller files are cut from now on; but never tiny ones, since others may share the limit."""
    alone = headroom(batch.connection, batch.model).used <= batch.n_tokens
    if not alone or batch.n_submits < ALONE_TRIES or batch.n_requests == 1 or batch.n_tokens * 10 < limit:
        return False
    learn_tokens(batch.connection, batch.model, batch.n_tokens // 2)
    return True


def _send_later(batch: Batch, lease: Lease, error: LineError) -> None:
    """Back-pressure, not a failure: the same file goes again when there is room, and no attempt is counted."""
    move(
        batch,
        lease,
        BatchState.READY,
        f"Batch {batch.number}: held back, the provider's limit of enqueued tokens is reached",
        past_tokens=[*batch.past_tokens, batch.submit_token, batch.provider_batch_id],
        submit_token="",
        provider_batch_id="",
        provider_status="",
        submitted_at=None,
        wait_reason=f"waiting for headroom: {error.message}"[:500],
        next_look_at=back_off(batch.n_submits, cap=5.0 if batch.connection.is_sandbox else 300.0),
    )
