"""The timeline of a job, as shown. Batches are numbered within their round, so the round is named where there is more than one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F, OuterRef, QuerySet, Subquery

from jobs.models import Event, Job, Round


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    tone: str
    icon: str
    text: str
    more: str
    at: datetime


EVENT_LOOKS = {
    "launched": ("active", "launch"),
    "round": ("active", "retry"),
    "round:settled": ("good", "check"),
    "cancel": ("off", "dash"),
    "planned": ("neutral", "layers"),
    "finished": ("good", "check"),
    "batch:settled": ("good", "check"),
    "batch:rejected": ("bad", "cross"),
    "batch:unknown": ("warn", "alert"),
    "batch:submitted": ("active", "half"),
    "batch:strays": ("warn", "alert"),
    "batch:twin": ("warn", "alert"),
    "pilot": ("active", "play"),
    "rescue": ("active", "retry"),
    "cap": ("neutral", "circle"),
    "approved": ("good", "check"),
}


SUCCEEDED = re.compile(r": [\d,]+ succeeded$")  # all of the batch
UNTRIED = re.compile(r": (?:[\d,]+ (?:cancelled|expired|succeeded)(?:, |$))+$")


def latest_events(job: Job, n: int) -> list[TimelineEvent]:
    """The newest events of a job, the last one first."""
    return [_shown(event) for event in _events(job)[:n]]


def events_page(job: Job, number: int = 1, per_page: int = 50) -> tuple[list[TimelineEvent], int]:
    """A page of the timeline, newest first, and how many events there are."""
    at = (number - 1) * per_page
    return [_shown(event) for event in _events(job)[at : at + per_page]], Event.objects.filter(job=job).count()


def _events(job: Job) -> QuerySet[Any]:
    """Each event with the round of its batch, and the number of the job's last round."""
    last = Round.objects.filter(job=OuterRef("job")).order_by("-number").values("number")[:1]
    known = Event.objects.filter(job=job).annotate(of_round=F("batch__round__number"), last_round=Subquery(last))
    return known.order_by("-created_at", "-id")


def _shown(event: Any) -> TimelineEvent:
    """An event with the look of its kind."""
    tone, icon = EVENT_LOOKS.get(event.kind, ("neutral", "circle"))
    if event.kind == "finished" and not event.text.startswith("Completed: all"):
        tone, icon = (
            ("off", "dash")
            if event.text.startswith("Cancelled")
            else ("warn", "alert")
            if event.text.startswith("Completed")
            else ("bad", "cross")
        )
    if event.kind == "batch:settled" and not SUCCEEDED.search(event.text):
        tone, icon = ("off", "dash") if UNTRIED.search(event.text) else ("warn", "alert")
    text = event.text
    if event.of_round and (event.last_round or 0) > 1:
        text = re.sub(r"^Batch (\d+)", rf"Batch \1 of round {event.of_round}", text)
    return TimelineEvent(tone, icon, text, "", event.created_at)
