"""A named table and its immutable versions."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from jobs.models.base import Identified, empty_dict, empty_list
from jobs.models.workspace import Workspace


class Dataset(Identified):
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="datasets")
    name = models.CharField(max_length=200)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "name"], name="dataset_name_once")]

    def __str__(self) -> str:
        return self.name

    def latest(self) -> DatasetVersion | None:
        return self.versions.filter(state=DatasetVersion.READY).order_by("-number").first()


class DatasetVersion(Identified):
    """One immutable table: `columns` and `reading` as `jobs.rows.ingest` gives them, `path` relative to the rows folder.

    While `reading`, only the source file is there; a version that cannot be read is deleted and its reason kept in `DatasetUpload`.
    """

    READING, READY = "reading", "ready"

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=12, default=READY)
    sha256 = models.CharField(max_length=64)
    filename = models.CharField(max_length=255)
    n_bytes = models.PositiveBigIntegerField(default=0)
    n_rows = models.PositiveBigIntegerField(default=0)
    columns: models.JSONField = models.JSONField(default=empty_list)
    reading: models.JSONField = models.JSONField(default=empty_dict)
    notes: models.JSONField = models.JSONField(default=empty_list)
    profile: models.JSONField = models.JSONField(default=empty_list)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="dataset_version_once")]
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"{self.dataset.name} v{self.number}"

    @property
    def variables(self) -> list[str]:
        return [column["variable"] for column in self.columns]


class DatasetUpload(Identified):
    """A file that a person sent, until it is a version or refused. `problem` is what `BadTable` said, as JSON."""

    RECEIVED, READING, DONE, REFUSED = "received", "reading", "done", "refused"

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="uploads")
    dataset_name = models.CharField(max_length=200)
    filename = models.CharField(max_length=255)
    n_bytes = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=12, default=RECEIVED)
    reading: models.JSONField = models.JSONField(default=empty_dict)  # a corrected guess, or {}
    problem: models.JSONField = models.JSONField(default=empty_dict)
    version = models.ForeignKey(DatasetVersion, on_delete=models.SET_NULL, null=True, related_name="uploads")
    repeated = models.BooleanField(default=False)  # the same bytes were there already
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    next_look_at = models.DateTimeField(null=True, blank=True, db_index=True)
    n_attempts = models.PositiveSmallIntegerField(default=0)  # counted before the work, so that a file that kills its reader is given up
