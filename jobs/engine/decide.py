"""A person's decision about a batch that the look-up cannot decide: adopt what is at the provider, or send it again and bear the risk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from jobs import formats
from jobs.engine import audit_log
from jobs.engine.lease import Lease, LostLease, claim
from jobs.engine.log import move
from jobs.engine.pump import nudge
from jobs.engine.remote import calling
from jobs.engine.submit import adopt as take
from jobs.engine.submit import is_ours
from jobs.errors import BadInput, ProviderError
from jobs.models import Batch
from jobs.providers.base import RemoteBatch
from jobs.providers.registry import abilities_of
from jobs.words import UNDECIDED, BatchState


@contextmanager
def deciding(batch: Batch, states: Iterable[BatchState]) -> Iterator[tuple[Batch, Lease]]:
    """The batch as it is now, held by its lease while a person's decision is carried out. Raises BadInput where it is in none of
    `states`, is being worked on, or moves on meanwhile."""
    lease = claim(Batch, batch.pk, state__in=states)
    if lease is None:
        raise BadInput("The batch is being worked on right now, or it has moved on.", "Load the page again in a moment.")
    try:
        yield read(batch), lease
    except LostLease:
        raise BadInput("The batch has moved on meanwhile.", "Load the page again.") from None
    finally:
        lease.release()


def read(batch: Batch) -> Batch:
    """The batch as the ledger has it now, with what words about it need."""
    return Batch.objects.select_related("job", "job__workspace", "round", "connection").get(pk=batch.pk)


def name_of(user: User | None) -> str:
    """Who decided: a person of the pages, or whoever has the command line."""
    return user.get_username() if user is not None else "the operator"


def risk_of(batch: Batch) -> Decimal | None:
    """Dollars that sending it again may cost in vain: all that the batch can cost, if the first create was carried out after all.
    None where the price or the length of the answers has no known bound."""
    return batch.reserve_usd


def risk_in_words(batch: Batch) -> str:
    """What a person is told before the button."""
    risk = risk_of(batch)
    most = (
        f"up to {formats.usd(risk)}" if risk is not None else "an amount that is not known, since its price or answer length has no bound"
    )
    rows = formats.count(batch.n_requests, "row runs", "rows run")
    return (
        f"If the provider took the batch after all, its {rows} twice and {most} is paid twice. "
        "Check at the provider that it is not there before you send it again."
    )


def adopt(batch: Batch, user: User | None, provider_batch_id: str) -> Batch:
    """Take the named batch of the provider as this one. Raises BadInput where it cannot be, or where the provider cannot be asked."""
    wanted = provider_batch_id.strip()
    if not wanted:
        raise BadInput("Enter the provider's id of the batch.")
    with deciding(batch, UNDECIDED) as (batch, lease):
        try:
            with calling(batch.connection) as provider:
                remote = provider.get(wanted)
                first = provider.first_custom_id(remote) if remote.ended else None
        except ProviderError as error:
            raise BadInput(f"The provider could not be asked about {wanted}: {error.message}") from error
        if problem := _why_not(batch, remote, first):
            raise BadInput(problem)
        is_certain = first is not None or not abilities_of(batch.connection.kind).serial_creates
        try:
            with transaction.atomic():
                take(batch, lease, remote, f"Batch {batch.number}: adopted as {remote.id} by {name_of(user)}", provisional=not is_certain)
                audit_log.write(batch.job.workspace, user, "batch adopted", str(batch), provider_batch_id=remote.id)
                transaction.on_commit(lambda: nudge("connection", batch.connection_id))
        except IntegrityError as error:  # taken by another batch in this moment
            raise BadInput(f"{remote.id} is another batch of batchui already.") from error
    return read(batch)


def _why_not(batch: Batch, remote: RemoteBatch, first: str | None) -> str:
    """Why the provider's batch cannot be ours, in words."""
    if Batch.objects.filter(connection=batch.connection, provider_batch_id=remote.id).exclude(pk=batch.pk).exists():
        return f"{remote.id} is another batch of batchui already."
    if not is_ours(batch, remote):
        return f"{remote.id} was made of another file, or is known not to be this batch."
    if remote.n_requests and remote.n_requests != batch.n_requests:
        return f"{remote.id} has {remote.n_requests:,} requests, this batch has {batch.n_requests:,} rows."
    if first is not None and not first.startswith(f"{batch.token}-"):
        return f"The results of {remote.id} are of other rows."
    return ""


def resubmit(batch: Batch, user: User | None) -> Batch:
    """Send it again without knowing whether the first create was carried out. `risk_of` says what that may cost; both are recorded. Raises
    BadInput where it is to be cancelled: then it would not be sent, and not be looked for any more."""
    with deciding(batch, UNDECIDED) as (batch, lease):
        if batch.cancel_requested_at or batch.job.cancel_requested_at:
            raise BadInput("It is being cancelled, so it is not sent again.", "It is looked for until it is found or proved absent.")
        risk = risk_of(batch)
        told = formats.usd(risk) if risk is not None else "an unknown amount"
        with transaction.atomic():
            move(
                batch,
                lease,
                BatchState.READY,
                f"Batch {batch.number}: sent again by {name_of(user)}, who accepts that {told} may be paid twice",
                where={"cancel_requested_at": None},
                past_tokens=[*batch.past_tokens, *([batch.submit_token] if batch.submit_token else [])],
                submit_token="",
                n_absent=0,
                absent_at=None,
                wait_reason="",
                next_look_at=timezone.now(),
            )
            audit_log.write(batch.job.workspace, user, "batch sent again", str(batch), risk_usd=str(risk) if risk is not None else None)
            transaction.on_commit(lambda: nudge("batch", batch.pk))
    return read(batch)
