"""The ledger: one file per word."""

from jobs.models.batch import Batch, Event, Heartbeat
from jobs.models.connection import Calibration, Connection, PriceOverride
from jobs.models.dataset import Dataset, DatasetUpload, DatasetVersion
from jobs.models.job import Job
from jobs.models.prompt import Prompt, PromptVersion
from jobs.models.round import Round
from jobs.models.workspace import AuditEntry, Membership, Workspace

__all__ = [
    "AuditEntry",
    "Batch",
    "Calibration",
    "Connection",
    "Dataset",
    "DatasetUpload",
    "DatasetVersion",
    "Event",
    "Heartbeat",
    "Job",
    "Membership",
    "PriceOverride",
    "Prompt",
    "PromptVersion",
    "Round",
    "Workspace",
]
