"""One request file of a round and, on the batch lane, one provider batch."""

from __future__ import annotations

from decimal import Decimal

from django.db import models

from jobs.models.base import Identified, Leased, Timed, dollars, empty_dict, empty_list
from jobs.models.connection import Connection
from jobs.models.job import Job
from jobs.models.round import Round
from jobs.words import BatchState


class Batch(Identified, Leased):
    """`token` stands in each custom_id and is the same for every try at the same file; `submit_token` marks one create.

    `job` and `connection` repeat what the round knows, so that what is due is found by an index.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="batches")
    round = models.ForeignKey(Round, on_delete=models.CASCADE, related_name="batches")
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="batches")
    number = models.PositiveIntegerField()
    model = models.CharField(max_length=200)
    token = models.CharField(max_length=32, unique=True)
    state = models.CharField(max_length=12, default=BatchState.READY, db_index=True)

    n_requests = models.PositiveIntegerField()
    n_bytes = models.PositiveBigIntegerField()
    n_tokens = models.PositiveBigIntegerField(default=0)  # estimated prompt tokens, what an enqueued-token limit counts
    reserve_usd = dollars(null=True, blank=True)  # the most that it can cost; null where the price is unknown
    first_row = models.PositiveBigIntegerField(default=0)
    last_row = models.PositiveBigIntegerField(default=0)

    upload_id = models.CharField(max_length=200, blank=True)
    submit_token = models.CharField(max_length=64, blank=True, db_index=True)
    past_tokens: models.JSONField = models.JSONField(default=empty_list)  # creates that proved absent
    submitting_at = models.DateTimeField(null=True, blank=True)
    n_submits = models.PositiveIntegerField(default=0)
    n_absent = models.PositiveSmallIntegerField(default=0)  # complete walks past the window that did not find it
    absent_at = models.DateTimeField(null=True, blank=True)
    provider_batch_id = models.CharField(max_length=200, blank=True)
    provisional = models.BooleanField(default=False)  # adopted by window and count; its first custom_id confirms it
    provider_status = models.CharField(max_length=60, blank=True)
    provider_counts: models.JSONField = models.JSONField(default=empty_dict)
    provider_raw: models.JSONField = models.JSONField(default=empty_dict)
    submitted_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    results_expire_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_sent_at = models.DateTimeField(null=True, blank=True)

    wait_reason = models.CharField(max_length=500, blank=True)  # why it is not moving, in words
    problem = models.CharField(max_length=1000, blank=True)  # what went wrong last, in words
    n_errors = models.PositiveIntegerField(default=0)  # calls in a row that failed; sets the back-off

    outcomes: models.JSONField = models.JSONField(default=empty_dict)  # counts by kind, once settled
    strays: models.JSONField = models.JSONField(default=empty_dict)  # lines unknown, doubled, broken
    paid_usd = dollars(default=Decimal(0))
    realtime_usd = dollars(default=Decimal(0))
    usage: models.JSONField = models.JSONField(default=empty_dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["round", "number"], name="batch_once"),
            models.UniqueConstraint(
                fields=["connection", "provider_batch_id"], condition=~models.Q(provider_batch_id=""), name="provider_batch_once"
            ),
            models.CheckConstraint(
                condition=~models.Q(state__in=["submitted", "ended", "fetched"]) | ~models.Q(provider_batch_id=""),
                name="submitted_has_id",
            ),
        ]
        indexes = [models.Index(fields=["state", "next_look_at"])]
        ordering = ["round__number", "number"]

    def __str__(self) -> str:
        return f"{self.job} batch {self.number}"

    @property
    def label(self) -> str:
        """How a person calls it: batches are numbered within their round, so the round is named where there is more than one."""
        return f"batch {self.number} of round {self.round.number}" if self.job.rounds.count() > 1 else f"batch {self.number}"

    @property
    def is_open(self) -> bool:
        return not BatchState(self.state).terminal


class Event(Timed):
    """The dated timeline of a job, and the log of every change of state; append-only."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, null=True, related_name="events")
    kind = models.CharField(max_length=40)  # "launched", "batch:submitted" …
    text = models.CharField(max_length=1000)
    data: models.JSONField = models.JSONField(default=empty_dict)

    class Meta:
        ordering = ["created_at", "id"]


class Heartbeat(models.Model):
    """When a part of the machinery last showed that it moves."""

    name = models.CharField(max_length=60, primary_key=True)
    at = models.DateTimeField()
    data: models.JSONField = models.JSONField(default=empty_dict)
