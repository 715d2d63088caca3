"""What a person changes about a dataset. Its versions never change."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from jobs.engine.audit_log import write
from jobs.errors import BadInput
from jobs.models import Dataset


def rename(dataset: Dataset, name: str, user: User | None) -> None:
    """Give a dataset another name. Raises BadInput where the workspace has one of that name."""
    name = name.strip()
    if not name:
        raise BadInput("A dataset needs a name.")
    if name == dataset.name:
        return
    old = dataset.name
    try:
        with transaction.atomic():
            dataset.name = name[:200]
            dataset.save(update_fields=["name"])
            write(dataset.workspace, user, "dataset renamed", dataset.name, before=old)
    except IntegrityError as error:
        dataset.name = old
        raise BadInput(f"There is a dataset named “{name}” already.", "Choose another name.") from error


def set_archived(dataset: Dataset, archived: bool, user: User | None) -> None:
    """Take a dataset out of the lists, or bring it back. Nothing is deleted; jobs that use it go on."""
    if archived == bool(dataset.archived_at):
        return
    dataset.archived_at = timezone.now() if archived else None
    dataset.save(update_fields=["archived_at"])
    write(dataset.workspace, user, "dataset archived" if archived else "dataset brought back", dataset.name)
