"""Sample data: a table of support tickets and a prompt of our own writing, so that a first job is three clicks away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from jobs.engine import drafts, ingest
from jobs.engine.connections import test_connection
from jobs.engine.estimates import FLAKY, SMALL
from jobs.errors import BadInput
from jobs.models import Connection, DatasetVersion, Job, Prompt, PromptVersion, Workspace

TABLE = Path(__file__).with_name("support_tickets.csv")
DATASET = "Support tickets (sample)"
PROMPT = "Sort support tickets"
MAX_OUTPUT_TOKENS = 200
SYSTEM = """You sort the mail of a shop for furniture and lamps.

For each ticket give:
- category: what the ticket is mainly about. If it is about more than one thing, take what the person wants settled first.
- urgency: "now" where somebody may be hurt, robbed or locked out; "today" where money or a date is at stake; else "can wait".
- summary: one sentence in English that a colleague understands without reading the ticket.

A ticket may be in any language, and it may be empty; then the category is "other" and the summary says so.
"""
USER = """Ticket {{ ticket }}, by {{ channel }} on {{ received }}
Subject: {{ subject }}

{{ text }}
"""
CATEGORIES = ["delivery", "billing", "return", "product fault", "account", "website or app", "question", "other"]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "category": {"type": "string", "enum": CATEGORIES},
        "urgency": {"type": "string", "enum": ["now", "today", "can wait"]},
        "summary": {"type": "string", "description": "One sentence in English."},
    },
    "required": ["category", "urgency", "summary"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """What was made or found: the table, the prompt and a draft over both."""

    dataset_version: DatasetVersion
    prompt_version: PromptVersion
    draft: Job


def load(workspace: Workspace, user: User) -> Sample:
    """Sample table, prompt and a draft on the sandbox. Asked again, it finds what is there; a draft of this person is used again.

    Raises BadInput where the table cannot be read (no space, no worker process).
    """
    version = _dataset(workspace, user)
    prompt = _prompt(workspace, user, version)
    draft = drafts.open_over(workspace, user, version, prompt) or drafts.start(workspace, user, version, prompt)
    if draft.connection_id is None:
        connection = _connection(workspace)
        if connection is not None:
            seen = set(connection.models_seen)
            model = next((name for name in SMALL if name in seen), SMALL[connection.kind == "anthropic"])
            draft = drafts.choose_model(draft, connection, model + FLAKY * connection.is_sandbox, {})
    return Sample(version, prompt, draft)


def _dataset(workspace: Workspace, user: User) -> DatasetVersion:
    upload = ingest.receive(workspace, user, filename="support_tickets.csv", chunks=[TABLE.read_bytes()], dataset_name=DATASET)
    if upload.version is None:
        raise BadInput("The sample table could not be read.", str(upload.problem.get("message", "")))
    return upload.version


def _prompt(workspace: Workspace, user: User, version: DatasetVersion) -> PromptVersion:
    """The newest version of the sample prompt: a person may have gone on from ours."""
    with transaction.atomic():
        prompt, _ = Prompt.objects.get_or_create(
            workspace=workspace, name=PROMPT, defaults={"created_by_id": user.pk, "dataset_id": version.dataset_id}
        )
        found = prompt.latest()
        if found is None:
            found = PromptVersion.objects.create(
                prompt=prompt,
                number=1,
                system=SYSTEM,
                user=USER,
                schema=SCHEMA,
                params={"max_output_tokens": MAX_OUTPUT_TOKENS},
                note="Sample",
                created_by_id=user.pk,
            )
    return found


def _connection(workspace: Workspace) -> Connection | None:
    """The sandbox where there is one, else any connection; sandboxes are asked once which models they have."""
    usable = list(Connection.objects.filter(workspace=workspace, archived_at__isnull=True).order_by("-is_sandbox", "created_at"))
    for connection in usable:
        if connection.is_sandbox and not connection.models_seen:
            test_connection(connection)
    return usable[0] if usable else None
