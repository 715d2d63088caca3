"""A queue that loses a tenth of its tasks, doubles a fifth and keeps some back; for the workers of the soak (`tools.soak_settings`)."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ


class Hostile(ORM):
    """django-q's queue in the database, with the faults that queues have."""

    def enqueue(self, task: str) -> Any:
        """The id of the last copy; an id of nothing where the task is lost."""
        found = 0
        for _ in range(random.choices((0, 1, 2), weights=(1, 7, 2))[0]):
            later = timedelta(seconds=random.choice((0, 0, 0, 1, 20)))
            found = OrmQ.objects.create(key=self.list_key or Conf.CLUSTER_NAME, payload=task, lock=timezone.now() + later).pk
        return found
