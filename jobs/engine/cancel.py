"""Cancel: nothing more is sent, what runs is asked to stop and followed to its end, and what finished is kept and billed."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from jobs.engine import audit_log
from jobs.engine.log import note
from jobs.engine.plan import cancel_rest
from jobs.engine.pump import LIVE_JOBS, nudge
from jobs.engine.retry import claim_job
from jobs.engine.still import hold_still
from jobs.models import Batch, Job
from jobs.words import CLOSED, JobState, RoundState


def cancel(job: Job, user: User | None) -> bool:
    """Ask for the end of a job; False where there is nothing left to cancel. Asking twice does no harm."""
    now = timezone.now()
    with transaction.atomic():
        hold_still(job)
        asked = Job.objects.filter(pk=job.pk, state__in=LIVE_JOBS, cancel_requested_at__isnull=True).update(
            cancel_requested_at=now, state=JobState.CANCELLING, needs="", wish={}, next_look_at=now
        )
        if not asked:
            return False
        open_batches = Batch.objects.filter(job=job).exclude(state__in=CLOSED)
        open_batches.update(cancel_requested_at=now, next_look_at=now)
        note(job, "cancel", "Cancel requested: nothing more is sent, and what the provider has finished is kept")
        audit_log.write(job.workspace, user, "cancel", job.name)
        transaction.on_commit(lambda: nudge("job", job.pk))
    job.refresh_from_db()
    return True


def stop_try(draft: Job, user: User | None) -> bool:
    """Ask for the end of a try: rows that are not sent yet are not sent. The draft stays, with the answers that are there. False where
    there is nothing to stop. Raises BadInput where its rows are being cut at this very moment."""
    was_uncut, now = _stop_cutting(draft), timezone.now()
    with transaction.atomic():
        hold_still(draft)
        tries = Batch.objects.filter(job=draft, job__state=JobState.DRAFT, cancel_requested_at=None).exclude(state__in=CLOSED)
        if not tries.update(cancel_requested_at=now, next_look_at=now) and not was_uncut:
            return False
        note(draft, "cancel", "The try is stopped: nothing more of it is sent, and answers that are there are kept")
        audit_log.write(draft.workspace, user, "try stopped", draft.name)
        transaction.on_commit(lambda: nudge("job", draft.pk))
    return True


def _stop_cutting(draft: Job) -> bool:
    """Cancel the rows of a try that no batch has taken yet; whether there were any."""
    planning = draft.rounds.filter(state=RoundState.PLANNING, job__state=JobState.DRAFT).select_related("job", "connection")
    if not planning.exists():
        return False
    lease = claim_job(draft)
    try:
        round_ = planning.first()
        if round_ is None:  # cut meanwhile: its batch is stopped
            return False
        cancel_rest(round_, lease)
        return True
    finally:
        lease.release(timezone.now())


def end_draft(draft: Job) -> None:
    """Put a draft away whose rows were tried: cancelled, once nothing of it runs any more."""
    now = timezone.now()
    with transaction.atomic():
        hold_still(draft)
        mine = Job.objects.filter(pk=draft.pk, state=JobState.DRAFT)
        if not draft.rounds.exclude(state=RoundState.SETTLED).exists():
            mine.update(state=JobState.CANCELLED, finished_at=now, version=F("version") + 1)
        elif mine.update(state=JobState.CANCELLING, cancel_requested_at=now, next_look_at=now, version=F("version") + 1):
            Batch.objects.filter(job=draft).exclude(state__in=CLOSED).update(cancel_requested_at=now, next_look_at=now)
            transaction.on_commit(lambda: nudge("job", draft.pk))
