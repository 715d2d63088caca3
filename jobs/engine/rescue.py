"""Rescue: the rest of an expired or slow job in real time. What runs is cancelled and collected first, so no row is paid twice."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from jobs.costs.prices import PriceSheet
from jobs.engine import audit_log
from jobs.engine.lease import Lease, LostLease
from jobs.engine.log import note
from jobs.engine.pump import nudge
from jobs.engine.retry import Changes, add_round, claim_job, settings_of
from jobs.engine.still import hold_as_read, hold_still
from jobs.engine.view import standing_of
from jobs.errors import BadInput
from jobs.models import Batch, Job, Round
from jobs.rows.choose import Wanted, choose
from jobs.words import CLOSED, Cause, JobState, Lane, OutcomeKind, RoundReason

# Missing rows would be sent again anyway, as their cause passes by itself; but not those that may have been answered and charged.
KINDS = (OutcomeKind.EXPIRED.value, OutcomeKind.CANCELLED.value, OutcomeKind.MISSING.value)
CAUSES = (Cause.EXPIRED.value, Cause.CANCELLED.value, Cause.MISSING.value)


MOST_REMEMBERED = 256
_unanswered: dict[tuple[object, ...], int] = {}


@dataclass(frozen=True, slots=True)
class Offer:
    """What a rescue would do: rows that are not answered, and what they cost in real time and would cost on the job's own lane.
    `n_open` of the rows are still on their way there, and would be paid for without a rescue too."""

    rows: int
    realtime: Decimal | None
    batch: Decimal | None
    n_open: int = 0

    @property
    def more(self) -> Decimal | None:
        """What is paid more than without the rescue."""
        if self.realtime is None or self.batch is None:
            return None
        return self.realtime - (self.batch * self.n_open / self.rows if self.rows else Decimal(0))


def offer(job: Job) -> Offer:
    """Rows that a rescue would finish now, priced by what answered rows of this job took; the estimate's middle where none did."""
    if job.launched_at is None:  # a draft that was put away: what was not tried is nobody's wish, and no prices are frozen
        return Offer(0, None, None)
    open_rows = job.n_rows - job.n_done
    rows = open_rows + job.n_expired + job.n_cancelled + job.n_missing
    if job.n_missing:
        rows -= _n_unanswered(job)
    per_row = _per_row(job)
    if per_row is None:
        return Offer(rows, None, None, open_rows)
    return Offer(rows, per_row[0] * rows, per_row[1] * rows, open_rows)


def _n_unanswered(job: Job) -> int:
    """Rows whose answer was lost, which only a person sends again; counted once for each way that the job's rows stand."""
    key = (job.pk, job.n_settled_rounds, *job.counts.values())
    if key not in _unanswered:
        if len(_unanswered) >= MOST_REMEMBERED:
            _unanswered.clear()
        try:
            _unanswered[key] = len(choose(standing_of(job).files, Wanted(causes=(Cause.NO_ANSWER.value,))).rows)
        except OSError:  # a page is no place to find out that files are gone; the audit says so
            return 0
    return _unanswered[key]


def _per_row(job: Job) -> tuple[Decimal, Decimal] | None:
    sheet = PriceSheet.from_json(job.sheet)
    if not sheet.tiers(Lane.DIRECT):
        return None
    answered = job.n_succeeded + job.n_invalid
    if answered and not job.n_unpriced:
        return job.realtime_usd / answered, job.paid_usd / answered
    lanes = job.estimate.get("lanes", {}) if job.estimate else {}
    ends = [lanes.get(lane, {}).get(end) for lane in (Lane.DIRECT.value, job.lane) for end in ("low", "high")]
    if not job.n_rows or any(end is None for end in ends):
        return None
    low, high, low_own, high_own = (Decimal(end) for end in ends)
    return (low + high) / 2 / job.n_rows, (low_own + high_own) / 2 / job.n_rows


def rescue(job: Job, user: User | None, *, token: str) -> None:
    """Ask for the rest in real time. Batches at the provider are cancelled first; their end starts the round. Twice is once."""
    if Round.objects.filter(job=job, token=token).exists():
        return
    lease = claim_job(job)
    try:
        job.refresh_from_db()
        if Round.objects.filter(job=job, token=token).exists():  # fulfilled since
            return
        if job.launched_at is None:
            raise BadInput("This job was never launched, so there is nothing left to finish.")
        if job.state in (JobState.DRAFT, JobState.CANCELLING):
            raise BadInput("This job cannot be rescued now.")
        if job.wish:
            return
        if job.lane != Lane.BATCH and not JobState(job.state).terminal:
            raise BadInput("This job runs in real time already.")
        if not offer(job).rows:
            raise BadInput("Every row has its answer; there is nothing left to finish.")
        settings = settings_of(job, Changes(lane=Lane.DIRECT))  # refused now, not when all is cancelled
        with transaction.atomic():
            now = timezone.now()
            hold_as_read(settings["connection"])
            hold_still(job)
            state = JobState.RUNNING if JobState(job.state).terminal else job.state
            lease.write(
                {"state": job.state},  # a cancel that came since wins
                wish={"rescue": token, "user": user.pk if user else None},
                state=state,
                finished_at=None,
                cancel_requested_at=None,
                next_look_at=now,
            )
            running = Batch.objects.filter(job=job).exclude(state__in=CLOSED)
            running.update(cancel_requested_at=now, next_look_at=now)
            note(job, "rescue", "Rescue: what runs is cancelled, what it finished is kept, and the rest is finished in real time")
            audit_log.write(job.workspace, user, "rescue", job.name, rows=offer(job).rows)
            transaction.on_commit(lambda: nudge("job", job.pk))
    except LostLease as error:
        raise BadInput("The job has changed meanwhile.", "Look at it again.") from error
    finally:
        lease.release(timezone.now())


def fulfil(job: Job, lease: Lease) -> bool:
    """All batches are closed: send what a rescue was asked for. True if a round was made."""
    wish = dict(job.wish)
    if not wish:
        return False
    done = Round.objects.filter(job=job, token=wish["rescue"]).exists()  # a wish that outlived its round would stop the job for ever
    chosen = choose(standing_of(job).files, Wanted(kinds=KINDS, causes=CAUSES))
    with transaction.atomic():
        lease.write(wish={})
        if len(chosen.rows) and not done:
            settings = settings_of(job, Changes(lane=Lane.DIRECT))
            user = User.objects.filter(pk=wish.get("user") or 0).first()
            add_round(job, lease, chosen, reason=RoundReason.RESCUE, user=user, token=wish["rescue"], **settings)
    job.wish = {}
    return bool(len(chosen.rows)) and not done
