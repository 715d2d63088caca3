"""Where the files of the ledger's objects stand."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from django.conf import settings

from jobs.models import Batch, DatasetUpload, DatasetVersion, Job, Round
from jobs.rows.paths import Paths


def paths() -> Paths:
    return Paths(Path(settings.DATA))


def version_folder(workspace_id: UUID, version_id: UUID) -> Path:
    return paths().dataset(workspace_id.hex, version_id.hex)


def table_of(version: DatasetVersion) -> Path:
    return paths().table(version.dataset.workspace_id.hex, version.pk.hex)


def upload_source(upload: DatasetUpload) -> Path:
    return paths().workspace(upload.workspace_id.hex) / "uploads" / upload.pk.hex


def job_folder(job: Job) -> Path:
    return paths().job(job.workspace_id.hex, job.pk.hex)


def batch_folder(job: Job, batch_id: UUID) -> Path:
    return paths().batch(job.workspace_id.hex, job.pk.hex, batch_id.hex)


def request_file(batch: Batch) -> Path:
    return batch_folder(batch.job, batch.pk) / "requests.jsonl"


def results_folder(batch: Batch) -> Path:
    return batch_folder(batch.job, batch.pk) / "results"


def outcomes_file(batch: Batch) -> Path:
    return batch_folder(batch.job, batch.pk) / "outcomes.parquet"


def rows_file(round_: Round) -> Path | None:
    """The rows of a round; None where it is all rows."""
    if not round_.has_rows_file:
        return None
    return new_rows_file(round_.job, round_.number)


def new_rows_file(job: Job, number: int) -> Path:
    return paths().round_rows(job.workspace_id.hex, job.pk.hex, number)


def standings_file(job: Job, n_settled: int) -> Path | None:
    """The standings after `n_settled` rounds; None where no round is settled."""
    return paths().standings(job.workspace_id.hex, job.pk.hex, n_settled) if n_settled > 0 else None
