"""A provider endpoint with its sealed key, and what an admin says of prices."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from jobs.models.base import Identified, Leased, Timed, empty_dict
from jobs.models.workspace import Workspace
from jobs.words import ProviderKind


class Connection(Identified, Leased):
    """`limits` overrides the provider's; `learned` is what its answers taught us (enqueued-token limits by model).

    The lease is the submit mutex where creates must go one at a time, `next_look_at` is when its batches are listed again.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="connections")
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=24, default=ProviderKind.OPENAI)
    base_url = models.CharField(max_length=500, blank=True)
    sealed_key = models.TextField(blank=True)
    key_hint = models.CharField(max_length=12, blank=True)  # "sk-…3f2a", all that is ever shown
    key_fingerprint = models.CharField(max_length=16, blank=True)
    limits: models.JSONField = models.JSONField(default=empty_dict)
    learned: models.JSONField = models.JSONField(default=empty_dict)
    is_sandbox = models.BooleanField(default=False)
    delete_remote_files = models.BooleanField(default=False)
    problem = models.CharField(max_length=500, blank=True)  # what is wrong now, in words; "" when well
    tested_at = models.DateTimeField(null=True, blank=True)
    test_result = models.CharField(max_length=500, blank=True)
    test_ok = models.BooleanField(null=True)
    models_seen: models.JSONField = models.JSONField(default=list)
    archived_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    last_create_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "name"], name="connection_name_once")]

    def __str__(self) -> str:
        return self.name


class Calibration(Timed):
    """What finished jobs taught about a model's token counts: observed ÷ estimated, before any correction."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="calibrations")
    kind = models.CharField(max_length=24)
    model = models.CharField(max_length=200)
    estimated_tokens = models.PositiveBigIntegerField(default=0)
    observed_tokens = models.PositiveBigIntegerField(default=0)
    n_jobs = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "kind", "model"], name="calibration_once")]


class PriceOverride(Timed):
    """What an admin says a model costs: `prices` as `jobs.costs.prices` takes overrides."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="price_overrides")
    kind = models.CharField(max_length=24)
    model = models.CharField(max_length=200)
    prices: models.JSONField = models.JSONField(default=empty_dict)
    note = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "kind", "model"], name="price_override_once")]
