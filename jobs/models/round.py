"""One pass of a job over a set of its rows, on one lane."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from jobs.models.base import Identified, empty_dict
from jobs.models.connection import Connection
from jobs.models.job import Job
from jobs.models.prompt import PromptVersion
from jobs.words import Lane, RoundReason, RoundState


class Round(Identified):
    """`spec`, `sheet` and `prompt_version` are those of the job unless it is a retry with changes. Frozen once made.

    `has_rows_file` says that its rows are those of `rows.parquet`; else they are all rows of the table.
    `plan_offset` counts the rows that are cut into batches (or failed in the template) so far.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="rounds")
    number = models.PositiveIntegerField()
    reason = models.CharField(max_length=12, default=RoundReason.FIRST)
    lane = models.CharField(max_length=8, default=Lane.BATCH)
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="rounds")
    prompt_version = models.ForeignKey(PromptVersion, on_delete=models.PROTECT, related_name="rounds")
    spec: models.JSONField = models.JSONField(default=empty_dict)
    sheet: models.JSONField = models.JSONField(default=empty_dict)
    changes: models.JSONField = models.JSONField(default=empty_dict)  # what differs from the job, in words
    replaced: models.JSONField = models.JSONField(default=empty_dict)  # standing kind → rows that this round takes back to pending
    has_rows_file = models.BooleanField(default=False)
    n_rows = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=12, default=RoundState.PLANNING, db_index=True)
    plan_offset = models.PositiveBigIntegerField(default=0)
    n_batches = models.PositiveIntegerField(default=0)
    token = models.CharField(max_length=64, blank=True)  # the form's one-time token: a double click makes one round
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "number"], name="round_once"),
            models.UniqueConstraint(fields=["job", "token"], condition=~models.Q(token=""), name="round_token_once"),
        ]
        ordering = ["number"]

    def __str__(self) -> str:
        return f"{self.job} round {self.number}"
