"""What the tests of money share."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.utils import timezone

from jobs.engine import pilot
from jobs.engine.drive import step
from jobs.engine.launch import Plan, new_token
from jobs.models import Batch, Job
from jobs.words import RoundState


def try_rows(draft: Job, plan: Plan, rows: list[int]) -> None:
    """Run a pilot to its end."""
    pilot.start(draft, draft.created_by, plan, rows, token=new_token())
    for _ in range(200):
        Batch.objects.filter(job=draft).update(next_look_at=timezone.now())
        Job.objects.filter(pk=draft.pk).update(next_look_at=timezone.now())
        step(draft)
        if not draft.rounds.exclude(state=RoundState.SETTLED).exists():
            break
    step(draft)
    draft.refresh_from_db()


def executed_rows(sandbox: Any) -> Counter[str]:
    """How often the provider was paid for each request body; bodies of a batch and of an ordinary call are the same."""
    found = sandbox.control("executed")
    rows = found["executed"] if isinstance(found, dict) else found
    return Counter(row["body"] for row in rows if row["paid"])
