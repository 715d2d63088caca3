"""A job: one dataset version × one prompt version × one model on one connection."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.db import models

from jobs.models.base import Identified, Leased, dollars, empty_dict
from jobs.models.connection import Connection
from jobs.models.dataset import DatasetVersion
from jobs.models.prompt import PromptVersion
from jobs.models.workspace import Workspace
from jobs.words import JobState, Lane, OutcomeKind


class Job(Identified, Leased):
    """`spec`, `sheet` and `estimate` are frozen at launch. The counters are those of the standings, written with each settled batch."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="jobs")
    name = models.CharField(max_length=200)
    dataset_version = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="jobs", null=True)
    prompt_version = models.ForeignKey(PromptVersion, on_delete=models.PROTECT, related_name="jobs", null=True)
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="jobs", null=True)
    model = models.CharField(max_length=200, blank=True)
    lane = models.CharField(max_length=8, default=Lane.BATCH)
    spec: models.JSONField = models.JSONField(default=empty_dict)  # RequestSpec as JSON
    sheet: models.JSONField = models.JSONField(default=empty_dict)  # PriceSheet as JSON
    estimate: models.JSONField = models.JSONField(default=empty_dict)
    draft: models.JSONField = models.JSONField(default=empty_dict)  # what the launch steps hold until the launch
    launch_token = models.CharField(max_length=64)
    max_attempts = models.PositiveSmallIntegerField(default=3)
    cap_usd = dollars(null=True, blank=True)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )  # over a cap
    wish: models.JSONField = models.JSONField(default=empty_dict)  # a rescue that waits until what runs is cancelled and collected

    state = models.CharField(max_length=24, default=JobState.DRAFT, db_index=True)
    needs = models.CharField(max_length=500, blank=True)  # what a person has to do, in words; "" when nothing
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="jobs")
    launched_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)

    n_rows = models.PositiveBigIntegerField(default=0)
    n_succeeded = models.PositiveBigIntegerField(default=0)
    n_invalid = models.PositiveBigIntegerField(default=0)
    n_failed = models.PositiveBigIntegerField(default=0)
    n_expired = models.PositiveBigIntegerField(default=0)
    n_cancelled = models.PositiveBigIntegerField(default=0)
    n_missing = models.PositiveBigIntegerField(default=0)
    paid_usd = dollars(default=Decimal(0))
    realtime_usd = dollars(default=Decimal(0))
    wasted_usd = dollars(default=Decimal(0))
    n_unpriced = models.PositiveBigIntegerField(default=0)  # paid rows whose price is unknown
    n_settled_rounds = models.PositiveIntegerField(default=0)  # names the file standings-<n>.parquet; 0 where there is none
    n_learned = models.PositiveSmallIntegerField(default=0)  # whether its tokens went into the calibration already
    version = models.PositiveBigIntegerField(default=0)  # grows with each change that a page shows

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "launch_token"], name="launch_once")]
        indexes = [models.Index(fields=["workspace", "-created_at"])]

    def __str__(self) -> str:
        return self.name

    @property
    def counts(self) -> dict[str, int]:
        """Standing → rows, pending included; their sum is `n_rows`, always."""
        known = {kind.value: getattr(self, f"n_{kind.value}") for kind in OutcomeKind}
        return {**known, "pending": self.n_rows - sum(known.values())}

    @property
    def n_done(self) -> int:
        return sum(getattr(self, f"n_{kind.value}") for kind in OutcomeKind)

    @property
    def n_unsuccessful(self) -> int:
        return self.n_done - self.n_succeeded

    @property
    def saved_usd(self) -> Decimal:
        return self.realtime_usd - self.paid_usd
