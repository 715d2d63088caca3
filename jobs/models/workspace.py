"""A team, its members, and what a person prefers."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from jobs.models.base import Identified, Timed, dollars
from jobs.words import Role


class Workspace(Identified):
    name = models.CharField(max_length=120)
    monthly_cap_usd = dollars(null=True, blank=True)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Membership", related_name="workspaces")

    def __str__(self) -> str:
        return self.name


class Membership(Timed):
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, default=Role.ANALYST)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "user"], name="one_membership")]

    def may(self, needed: Role) -> bool:
        return Role(self.role).may(needed)


class AuditEntry(Timed):
    """Who did what that costs money or opens doors; append-only, without prompt text or secrets."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="audit_entries")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=200, blank=True)
    detail = models.JSONField(default=dict)
    ip = models.GenericIPAddressField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name_plural = "audit entries"
