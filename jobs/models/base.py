"""What the ledger's tables share."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.utils import timezone


class Timed(models.Model):
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        abstract = True


class Identified(Timed):
    """Ids are UUIDs: they name folders and stand in URLs, and say nothing of how many there are."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)

    class Meta:
        abstract = True


class Leased(models.Model):
    """Work that one worker at a time may do: a compare-and-swap on token and deadline (`jobs.engine.lease`)."""

    lease_token = models.PositiveBigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    next_look_at = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        abstract = True


def empty_list() -> list[Any]:
    return []


def empty_dict() -> dict[str, Any]:
    return {}


def dollars(**extra: Any) -> models.DecimalField:
    """Dollars to 10⁻¹²: a row's cost is exact, and so is every sum of rows."""
    return models.DecimalField(max_digits=24, decimal_places=12, **extra)
