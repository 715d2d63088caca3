"""A named prompt and its immutable versions."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from jobs.models.base import Identified, empty_dict
from jobs.models.dataset import Dataset
from jobs.models.workspace import Workspace
from jobs.words import PromptKind


class Prompt(Identified):
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="prompts")
    name = models.CharField(max_length=200)
    dataset = models.ForeignKey(
        Dataset, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )  # the one it was last edited against
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "name"], name="prompt_name_once")]

    def __str__(self) -> str:
        return self.name

    def latest(self) -> PromptVersion | None:
        return self.versions.order_by("-number").first()


class PromptVersion(Identified):
    """Immutable: templates, output schema (JSON Schema or null) and parameters (`max_output_tokens` and what the model takes)."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    kind = models.CharField(max_length=12, default=PromptKind.GENERATE)
    system = models.TextField(blank=True)
    user = models.TextField()
    schema: models.JSONField = models.JSONField(null=True, blank=True)
    params: models.JSONField = models.JSONField(default=empty_dict)
    note = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["prompt", "number"], name="prompt_version_once")]
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"{self.prompt.name} v{self.number}"
