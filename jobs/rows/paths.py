"""Where each file of a deployment stands. Names are our own ids, never a name that a person gave."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
_SUFFIX = re.compile(r"[a-z0-9]{1,10}(\.[a-z0-9]{1,10})?\Z")


def _id(value: object) -> str:
    text = str(value)
    if not _ID.match(text):
        raise ValueError(f"not an id: {text!r}")
    return text


@dataclass(frozen=True, slots=True)
class Paths:
    """All paths below one data folder. Ids are ints or hex; anything else is a ValueError. Nothing is created here."""

    data: Path

    def workspace(self, workspace: object) -> Path:
        return self.data / "rows" / _id(workspace)

    def dataset(self, workspace: object, version: object) -> Path:
        """The folder of one dataset version."""
        return self.workspace(workspace) / "datasets" / _id(version)

    def source(self, workspace: object, version: object, suffix: str) -> Path:
        """The upload, byte for byte; `suffix` without its dot, for instance `csv` or `csv.gz`."""
        if not _SUFFIX.match(suffix):
            raise ValueError(f"not a suffix: {suffix!r}")
        return self.dataset(workspace, version) / f"source.{suffix}"

    def table(self, workspace: object, version: object) -> Path:
        return self.dataset(workspace, version) / "table.parquet"

    def job(self, workspace: object, job: object) -> Path:
        return self.workspace(workspace) / "jobs" / _id(job)

    def round_rows(self, workspace: object, job: object, number: int) -> Path:
        """The rows of a round, where it is not all."""
        return self.job(workspace, job) / "rounds" / _id(number) / "rows.parquet"

    def batch(self, workspace: object, job: object, batch: object) -> Path:
        return self.job(workspace, job) / "batches" / _id(batch)

    def requests(self, workspace: object, job: object, batch: object) -> Path:
        return self.batch(workspace, job, batch) / "requests.jsonl"

    def results(self, workspace: object, job: object, batch: object) -> Path:
        """The folder of what the provider answered."""
        return self.batch(workspace, job, batch) / "results"

    def outcomes(self, workspace: object, job: object, batch: object) -> Path:
        return self.batch(workspace, job, batch) / "outcomes.parquet"

    def standings(self, workspace: object, job: object, number: int) -> Path:
        return self.job(workspace, job) / f"standings-{_id(number)}.parquet"

    def journal(self) -> Path:
        return self.data / "journal" / "submit.ndjson"
