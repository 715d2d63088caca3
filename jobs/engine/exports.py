"""From a job to what its query and its export read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.engine import places
from jobs.engine.view import standing_of
from jobs.models import Job
from jobs.rows.export import Export
from jobs.rows.query import RowFiles
from jobs.rows.schema import fields


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the answer that has a column of its own."""

    name: str
    type: str


def row_files(job: Job) -> RowFiles:
    """The files of the job's rows and their standings now."""
    assert job.dataset_version is not None
    standing = standing_of(job)
    keys = tuple(column["key"] for column in job.dataset_version.columns)
    return RowFiles(places.table_of(job.dataset_version), job.n_rows, keys, standing.base, standing.newer, standing.busy)


def answer_fields(job: Job) -> list[Field]:
    schema: dict[str, Any] | None = job.spec.get("schema")
    return [Field(name, type_) for name, type_ in fields(schema)] if schema else []


def export_of(job: Job, *, rows: Any = None, defuse: bool = True) -> Export:
    """Every row of the job once, or the given sorted rows."""
    assert job.dataset_version is not None
    return Export(row_files(job), job.dataset_version.columns, tuple(each.name for each in answer_fields(job)), rows, defuse)
