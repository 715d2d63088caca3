"""Give a batch up: a person's last resort against a provider that never ends a batch, or has forgotten it, and against answers of it
that are here and cannot be collected.

Its rows end as unanswered, with what was charged unknown, and are free; nothing goes again by itself. What the provider still does with
it is watched by the sweep and told on the timeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import islice

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from batchui.seal import SealBroken
from jobs import formats
from jobs.engine import audit_log, trouble, twins
from jobs.engine.decide import deciding, name_of, read, risk_of
from jobs.engine.lease import Lease
from jobs.engine.log import note
from jobs.engine.pump import nudge
from jobs.engine.reject import close_unanswered
from jobs.engine.remote import calling
from jobs.engine.windows import is_overdue, windows_of
from jobs.errors import BadInput, ProviderError
from jobs.models import Batch, Job
from jobs.providers.base import Provider
from jobs.words import UNDECIDED, BatchState, Lane

STATES = [BatchState.SUBMITTED, BatchState.ENDED, BatchState.FETCHED, *UNDECIDED]
OVER = [BatchState.ENDED, BatchState.FETCHED]  # nothing can be stopped there any more, nor run
GIVEN_UP, ENDED = "batch:given-up", "batch:given-up-ended"
MANY_ERRORS = 5  # looks in a row that failed


def reason_of(batch: Batch, now: datetime | None = None) -> str:
    """Why it is fair to give the batch up now, as a sentence; "" where waiting is right. No call, no query beyond the batch's own."""
    now = now or timezone.now()
    patience = timedelta(seconds=settings.PATIENCE_SECONDS)
    if batch.state == BatchState.FETCHED:  # what it says itself is trouble of ours, not a wait for a second look at the answer
        is_stuck = batch.n_errors >= MANY_ERRORS and batch.problem and batch.wait_reason == batch.problem[:500]
        words = f"Its answers are here and cannot be collected: {batch.problem}."
        return words if is_stuck and _past(batch.ended_at, patience, now) else ""
    if batch.state not in STATES or batch.round.lane != Lane.BATCH:
        return ""
    if batch.state in UNDECIDED:
        window = timedelta(seconds=windows_of(batch.connection).absence)
        return "It could neither be found at the provider nor proved absent." if _past(batch.submitting_at, window + patience, now) else ""
    if _past(batch.cancel_sent_at, patience, now):
        return "The provider was asked to cancel it, and has not ended it."
    if batch.n_errors >= MANY_ERRORS and _past(batch.ended_at or batch.submitted_at, patience, now):
        is_ended = batch.state == BatchState.ENDED
        return f"Its results cannot be fetched: {batch.problem}" if is_ended and batch.problem else "The provider cannot be asked about it."
    if batch.cancel_sent_at:
        return ""
    return "The provider is past its own time limit." if batch.state == BatchState.SUBMITTED and is_overdue(batch, now) else ""


def _past(since: datetime | None, wait: timedelta, now: datetime) -> bool:
    return since is not None and now > since + wait


def stuck_of(job: Job) -> list[tuple[Batch, str]]:
    """Batches of a job that may be given up now, the first twenty, each with its reason. One query."""
    open_ones = Batch.objects.filter(job=job, state__in=STATES).select_related("round", "connection")
    found = ((batch, reason_of(batch)) for batch in open_ones.order_by("round__number", "number"))
    return list(islice(((batch, reason) for batch, reason in found if reason), 20))


def risk_in_words(batch: Batch) -> str:
    """What a person is told before the button."""
    risk = risk_of(batch)
    most = f"up to {formats.usd(risk)}" if risk is not None else "an amount that is not known"
    rows = formats.count(batch.n_requests, "row")
    if batch.state in OVER:
        return f"What was answered of its {rows} was billed, {most}, and is lost to the job: rows that you send again are paid again."
    return (
        f"The provider may have answered some of its {rows}, or may still answer them, and bill {most} for that. "
        "Those answers are lost: rows that you send again afterwards are paid again."
    )


def give_up(batch: Batch, user: User | None) -> Batch:
    """Close the batch without answers. The provider is asked one last time: where it has ended, its answers are collected instead.
    Raises BadInput where it is not fair to give it up, or where the batch has moved on."""
    with deciding(batch, STATES) as (batch, lease), _in_words():
        if not (reason := reason_of(batch)):
            raise BadInput("This batch cannot be given up: it is still within its time.")
        if batch.provider_batch_id and batch.state not in OVER:
            _ask_once_more(batch, lease)
        text = f"Batch {batch.number}: given up by {name_of(user)}. {reason} What the provider may have charged for it is not known"
        with transaction.atomic():
            if batch.submit_token and not batch.provider_batch_id:  # found late, the sweep says so
                lease.write(past_tokens=[*batch.past_tokens, batch.submit_token])
            close_unanswered(batch, lease, "The batch was given up: the provider never brought an answer for this row.")
            note(batch.job, GIVEN_UP, text, batch, provider_batch_id=batch.provider_batch_id)
            risk = risk_of(batch)
            audit_log.write(batch.job.workspace, user, "batch given up", str(batch), risk_usd=str(risk) if risk is not None else None)
    return read(batch)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:  # a full disk takes no outcomes either
        raise BadInput(f"The batch cannot be given up at the moment: {trouble.words_of(error)}.") from error


def _ask_once_more(batch: Batch, lease: Lease) -> None:
    """Tell the provider to stop, and see whether it has ended after all."""
    asked = False
    try:
        with lease.kept(), calling(batch.connection) as provider:
            if not batch.cancel_sent_at and not batch.provisional:
                with suppress(ProviderError):
                    provider.cancel(batch.provider_batch_id)
                    asked = True
            remote = provider.get(batch.provider_batch_id)
    except (ProviderError, SealBroken):
        return
    if asked:
        lease.write(cancel_requested_at=timezone.now(), cancel_sent_at=timezone.now())
    if remote.ended and batch.state == BatchState.SUBMITTED:
        lease.write(next_look_at=timezone.now())
        nudge("connection", batch.connection_id)
        raise BadInput("The provider has ended the batch meanwhile; its answers are being collected.", "Nothing was given up.")
    if asked:
        raise BadInput("The provider was asked only now to stop the batch, and took it.", "Give it some minutes. Nothing was given up.")


def _stop_late(batch: Batch, provider: Provider) -> None:
    """Pass the cancel on that could not be passed on when the batch was given up; if it cannot be now, at the next sweep."""
    if words := twins.ask_to_cancel(provider, batch.provider_batch_id):
        Batch.objects.filter(pk=batch.pk).update(cancel_sent_at=timezone.now())
        note(batch.job, "batch:cancel", f"Batch {batch.number}, given up before: {words}", batch)


def follow_given_up(batches: Iterable[Batch], provider: Provider) -> None:
    """Stop given-up batches that could not be told to stop before, and say what became of each at the provider, once it has ended there."""
    batches = list(batches)
    for batch in batches:
        if batch.provider_batch_id and not batch.cancel_sent_at and not batch.provisional:
            _stop_late(batch, provider)
    for batch, remote in twins.newly_ended(batches, provider, GIVEN_UP, ENDED):
        n = remote.n_succeeded or 0
        text = f"Batch {batch.number}, given up before, has ended at the provider after all: {n:,} of its rows were answered and billed"
        note(batch.job, ENDED, text, batch, provider_batch_id=remote.id, n_succeeded=n)
