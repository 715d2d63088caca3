"""Cancel: nothing more is sent, what runs is asked to stop and followed to its end, and what finished is kept and billed."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from jobs.engine import audit_log
from jobs.engine.log import note
from jobs.engine.pump import LIVE_JOBS, nudge
from jobs.models import Batch, Job
from jobs.words import CLOSED, JobState


def cancel(job: Job, user: User | None) -> bool:
    """Ask for the end of a job; False where there is nothing left to cancel. Asking twice does no harm."""
    now = timezone.now()
    with transaction.atomic():
        asked = Job.objects.filter(pk=job.pk, state__in=LIVE_JOBS, cancel_requested_at__isnull=True).update(
            cancel_requested_at=now, state=JobState.CANCELLING, needs="", next_look_at=now
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
