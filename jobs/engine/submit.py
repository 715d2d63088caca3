"""Submit: write-ahead, one create, and a look instead of a guess where the answer is lost (RELIABILITY 2.4)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any, Literal

import structlog
from django.db import transaction
from django.utils import timezone

from jobs import formats
from jobs.engine import asked, budget, crash, journal, restored
from jobs.engine.headroom import headroom, is_next, learn
from jobs.engine.lease import Lease, claim, default_seconds, surely
from jobs.engine.log import move
from jobs.engine.places import request_file
from jobs.engine.reject import cut_smaller, free_unsent, reject_whole
from jobs.engine.remote import calling, limits_for
from jobs.engine.request_file import make_whole
from jobs.engine.twins import note_twin
from jobs.engine.windows import LONGEST, back_off, soon, windows_of
from jobs.errors import ProviderError
from jobs.models import Batch, Connection, Job
from jobs.providers.base import Provider, RemoteBatch
from jobs.providers.errors import LATER
from jobs.providers.registry import abilities_of
from jobs.words import BatchState, Cause, PromptKind

UPLOAD_TRIES = 8
UPLOAD_AGAIN = 5  # failures after which the file is uploaded afresh
NEEDS_ACCOUNT = "The provider does not accept"
log = structlog.get_logger(__name__)


def submit(batch: Batch, lease: Lease) -> None:
    """One step of a READY batch: held back, uploaded and created, or freed. Never two creates for one mark."""
    if batch.cancel_requested_at or batch.job.cancel_requested_at:
        free_unsent(batch, lease)
        return
    with transaction.atomic():
        if reason := budget.why_hold(batch):
            hold(batch, lease, reason)
            return
    if moment := asked.until(batch.connection):
        lease.write(wait_reason=asked.words(moment), next_look_at=min(moment, soon(LONGEST)))
        return
    if reason := _why_wait(batch):
        lease.write(wait_reason=reason[:500], next_look_at=soon(2.0 if is_next(batch) else 15.0))
        return
    if restored.remembered(batch, lease):
        return
    make_whole(batch, lease)
    mutex = _create_mutex(batch)
    if mutex is False:  # held by another create, or one is being looked for
        lease.write(wait_reason="waiting its turn: this provider takes one new batch at a time", next_look_at=soon(1.0))
        return
    try:
        with lease.kept(), mutex.kept() if mutex else nullcontext(), calling(batch.connection) as provider:
            if restored.may_create(batch, lease, provider) and _upload(batch, lease, provider):
                _create(batch, lease, provider, mutex or None)
    finally:
        if mutex:
            surely(mutex.release)


def hold(batch: Batch, lease: Lease, reason: str) -> None:
    """Keep a batch back for a cap or a role, and ask a person; looked at again in a while, or when what holds it is changed."""
    lease.write(wait_reason=reason[:500], next_look_at=soon(30.0))
    needs = f"{budget.NEEDS}. Raise it, have an admin approve the job, or cancel. ({reason})" if budget.is_cap(reason) else reason
    Job.objects.filter(pk=batch.job_id).update(needs=needs[:500])


def _why_wait(batch: Batch) -> str:
    room = headroom(batch.connection, batch.model)
    if room.limit is not None and room.used and (not room.takes(batch.n_tokens) or not is_next(batch)):
        return room.words
    per_minute = limits_for(batch.connection).creates_per_minute
    minute_ago = timezone.now() - timedelta(seconds=60)
    recent = Batch.objects.filter(connection=batch.connection, submitting_at__gt=minute_ago).count()
    if per_minute and recent >= per_minute:
        made = formats.count(recent, "batch was", "batches were")
        return f"waiting: {made} created in the last minute, the limit of this connection is {per_minute}"
    return ""


def _create_mutex(batch: Batch) -> Lease | Literal[False] | None:
    """Where a lost create can only be found by time and count, creates go one at a time, and none while one is looked for."""
    if not abilities_of(batch.connection.kind).serial_creates:
        return None
    mutex = claim(Connection, batch.connection_id)
    if mutex is None:
        return False
    open_creates = Batch.objects.filter(connection=batch.connection, state__in=[BatchState.SUBMITTING, BatchState.UNKNOWN])
    if open_creates.exclude(pk=batch.pk).exists():
        mutex.release()
        return False
    return mutex


def _upload(batch: Batch, lease: Lease, provider: Provider) -> bool:
    """The request file at the provider, its id committed. An upload costs nothing: a lost one is looked for, else repeated."""
    if batch.upload_id:
        return True
    name = upload_name(batch)
    try:
        crash.point("before upload")
        known = _find_upload(batch, provider, name) if batch.n_errors and batch.n_errors < UPLOAD_AGAIN else None
        crash.during("in upload")
        upload_id = known or provider.upload(request_file(batch), name)
        crash.point("after upload")
    except ProviderError as error:
        _not_created(batch, lease, error, f"the request file could not be uploaded: {error.message}")
        return False
    if upload_id:
        lease.write(upload_id=upload_id)
        crash.point("after upload id")
        batch.upload_id = upload_id
    return True


def upload_name(batch: Batch) -> str:
    """The name of its request file at the provider."""
    return f"batchui-{batch.pk.hex}.jsonl"


def _find_upload(batch: Batch, provider: Provider, name: str) -> str | None:
    """The upload whose answer was lost. A server that lists no files is no reason to give up: what is uploaded twice costs nothing."""
    try:
        return provider.find_upload(name, batch.n_bytes)
    except ProviderError as error:
        if error.cause in (Cause.AUTH, Cause.BILLING, Cause.RATE_LIMITED):
            raise
        return None


def _create(batch: Batch, lease: Lease, provider: Provider, mutex: Lease | None) -> None:
    batch.submit_token = restored.mark_of(batch, uuid.uuid4().hex)
    marked = {"submit_token": batch.submit_token, "submitting_at": timezone.now(), "n_submits": batch.n_submits + 1, "wait_reason": ""}
    crash.point("before mark")
    with transaction.atomic():  # the cap is checked and the mark is made under one lock, so that batches cannot pass it together
        if reason := budget.why_hold(batch):
            hold(batch, lease, reason)
            return
        if mutex is not None:
            mutex.write()
        words = f"Batch {batch.number}: submitting {formats.count(batch.n_requests, 'row')}"
        # A cancel may have come during the upload; then LostLease, and the next look frees the rows.
        move(batch, lease, BatchState.SUBMITTING, words, where={"cancel_requested_at": None}, n_absent=0, absent_at=None, **marked)
        Job.objects.filter(pk=batch.job_id, needs__contains="held: ").update(needs="")
    crash.point("after mark")
    if not lease.holds(default_seconds() / 4):  # a machine that slept: nothing was sent, the look-up will prove it
        return
    try:
        crash.during("in create")
        created = provider.create(
            request_file(batch), file_id=batch.upload_id, token=batch.submit_token, kind=PromptKind(batch.round.prompt_version.kind)
        )
    except ProviderError as error:
        crash.point("after refusal")
        if not error.definite and not error.unsent:
            _unclear(batch, lease, error.message)
        else:
            _not_created(batch, lease, error, error.message)
        return
    crash.point("after answer")
    if not is_ours(batch, created.batch):
        _unclear(batch, lease, f"the answer to the create names another batch, {created.batch.id}")
        return
    try:
        journal.write(batch, created.batch.id, created.request_id)
    except OSError:  # the journal is for a ledger that fails; with both failing the look-up is left
        log.exception("the submit journal cannot be written", batch=str(batch.pk))
    crash.point("after journal")
    adopt(batch, lease, created.batch)


def _unclear(batch: Batch, lease: Lease, why: str) -> None:
    """Whether the provider made it is not known: nothing more is sent until that is."""
    move(
        batch,
        lease,
        BatchState.UNKNOWN,
        f"Batch {batch.number}: no clear answer to the create ({why}); looking for it at the provider",
        problem=why[:1000],
        wait_reason="the provider did not say whether it took the batch; looking for it there before anything else is sent",
        next_look_at=soon(min(windows_of(batch.connection).apart, 15.0)),
    )


def is_ours(batch: Batch, remote: RemoteBatch) -> bool:
    """Whether an answer can be about this batch: not what the ledger has as another one, nor of another file or token."""
    if remote.id in batch.past_tokens:
        return False
    if remote.input_file_id and batch.upload_id and remote.input_file_id != batch.upload_id:
        return False
    if remote.token and remote.token not in (batch.submit_token, *batch.past_tokens):
        return False
    return not Batch.objects.filter(connection=batch.connection_id, provider_batch_id=remote.id).exclude(pk=batch.pk).exists()


def adopt(
    batch: Batch, lease: Lease, remote: RemoteBatch, text: str = "", provisional: bool = False, twins: Sequence[RemoteBatch] = ()
) -> None:
    """The provider has it: commit its id and what is known of its times, and others of the same rows in the same moment."""
    with transaction.atomic():
        move(
            batch,
            lease,
            BatchState.SUBMITTED,
            text or f"Batch {batch.number}: taken by the provider as {remote.id}",
            provider_batch_id=remote.id,
            provider_status=remote.status[:60],
            provisional=provisional,
            submitted_at=timezone.now(),
            expires_at=remote.expires_at,
            results_expire_at=remote.results_expire_at or timezone.now() + timedelta(days=abilities_of(batch.connection.kind).result_days),
            wait_reason="",
            problem="",
            n_errors=0,
            next_look_at=soon(0.3),
        )
        for twin in twins:
            note_twin(batch, twin)
        Job.objects.filter(pk=batch.job_id, needs__startswith=NEEDS_ACCOUNT).update(needs="")
    crash.point("after submitted")


def _not_created(batch: Batch, lease: Lease, error: ProviderError, text: str) -> None:
    """Nothing was created: later again where that helps, else the rows get their outcome and are free."""
    if error.cause in (Cause.AUTH, Cause.BILLING) and Batch.objects.filter(job=batch.job_id, submitted_at__isnull=False).exists():
        _hold_for_account(batch, lease, error)
        return
    if error.code == "too_large" and batch.n_requests > 1:
        cut_smaller(batch, lease, error.message)
        return
    if error.code in LATER and _is_above_limit(batch, error):
        reject_whole(batch, lease, Cause.BATCH_REJECTED, text)
        return
    later = (
        error.cause in (Cause.RATE_LIMITED, Cause.PROVIDER_ERROR, Cause.TIMEOUT)
        or error.code == "file_not_visible"
        or not error.definite  # an upload without an answer
    )
    tries = batch.n_errors + 1
    if later and (error.cause is not Cause.INVALID_REQUEST or tries <= UPLOAD_TRIES):
        fields = {"n_errors": tries, "problem": error.message[:1000], "wait_reason": f"trying again soon: {text}"[:500]}
        at = back_off(tries, error.retry_after)
        if error.cause is Cause.RATE_LIMITED:
            asked.note(batch.connection, error.retry_after)
            if moment := asked.until(batch.connection):
                fields["wait_reason"] = f"{asked.words(moment)} ({text})"[:500]
        if error.code == "file_not_visible":
            at = soon(1.0)
            if tries == UPLOAD_AGAIN:  # gone for good: an upload expires, or somebody deleted it
                fields["upload_id"] = ""
        _keep_ready(batch, lease, at, text, fields)
        return
    reject_whole(batch, lease, error.cause, text)


def _is_above_limit(batch: Batch, error: ProviderError) -> bool:
    """Whether a refusal for enqueued tokens names a limit that this batch alone is above: then its rows go again in smaller files."""
    limit = learn(batch.connection, batch.model, error.message)
    return limit is not None and batch.n_tokens > limit and batch.n_requests > 1


def _keep_ready(batch: Batch, lease: Lease, at: datetime, text: str, fields: dict[str, Any]) -> None:
    """READY, whether the mark was made or not. `submitting_at` stays: it was a create, and creates are counted by the minute."""
    if batch.state == BatchState.READY:
        lease.write(next_look_at=at, **fields)
    else:
        move(batch, lease, BatchState.READY, f"Batch {batch.number}: not taken, {text}", next_look_at=at, **fields)


def _hold_for_account(batch: Batch, lease: Lease, error: ProviderError) -> None:
    """The key or the account stopped working in the middle of a job: nothing is wrong with the rows, so they wait for it."""
    tries, what = batch.n_errors + 1, "key" if error.cause is Cause.AUTH else "account"
    words = f"the provider does not accept the {what} now; what is not sent waits and goes on by itself once it does ({error.message})"
    at = back_off(min(tries, 4), cap=5.0 if batch.connection.is_sandbox else 60.0)
    _keep_ready(batch, lease, at, words, {"n_errors": tries, "problem": error.message[:1000], "wait_reason": words[:500]})
    Job.objects.filter(pk=batch.job_id).update(
        needs=f"{NEEDS_ACCOUNT} the {what} of this connection now. An admin can put that right. ({error.message})"[:500]
    )
    Connection.objects.filter(pk=batch.connection_id).update(problem=error.message[:500])
