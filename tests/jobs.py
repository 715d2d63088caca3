"""Jobs for tests: a table, a prompt, a connection to the sandbox, a launched job, driven to its end."""

from __future__ import annotations

import json
from typing import Any

from django.utils import timezone

from jobs.engine.connections import save_connection
from jobs.engine.drive import drive
from jobs.engine.ingest import receive
from jobs.engine.launch import Plan, launch, new_token
from jobs.models import Batch, Connection, DatasetVersion, Job, Prompt, PromptVersion, Workspace

SCHEMA = {
    "type": "object",
    "properties": {
        "intent": {"type": "string", "enum": ["billing", "bug", "question"]},
        "urgent": {"type": "boolean"},
        "summary": {"type": "string"},
        "score": {"type": "number"},
    },
    "required": ["intent", "urgent", "summary", "score"],
    "additionalProperties": False,
}
TEXTS = (
    "I was charged twice for billing in May",
    "The app crashes, a bug when I open settings",
    "A question: how do I export my data?",
    "مرحبا، لدي سؤال عن الفاتورة",
    "請問如何取消訂閱？ 謝謝",
    '=HYPERLINK("http://x.example","click")',
)


def table_bytes(n_rows: int) -> bytes:
    """A CSV of tickets: leading zeros, other scripts, a formula, an empty cell."""
    lines = ["ticket,text,note"]
    for i in range(n_rows):
        text = TEXTS[i % len(TEXTS)].replace('"', '""')
        lines.append(f'{i:05d},"{text}",{"" if i % 3 else f"note {i}"}')
    return ("\n".join(lines) + "\n").encode()


def make_dataset(workspace: Workspace, user: Any, n_rows: int = 24, name: str = "Tickets", content: bytes | None = None) -> DatasetVersion:
    """A ready version, read by the real reader."""
    upload = receive(workspace, user, filename=f"{name}.csv", chunks=[content or table_bytes(n_rows)], dataset_name=name)
    assert upload.version is not None, upload.problem
    return upload.version


def make_prompt(workspace: Workspace, user: Any, name: str = "Intents", schema: Any = SCHEMA, **params: Any) -> PromptVersion:
    prompt = Prompt.objects.create(workspace=workspace, name=name, created_by=user)
    return PromptVersion.objects.create(
        prompt=prompt,
        number=1,
        system="You sort support tickets.",
        user="Ticket {{ ticket }}: {{ text }}",
        schema=json.loads(json.dumps(schema)),
        params={"max_output_tokens": 200, **params},
        created_by=user,
    )


def make_connection(workspace: Workspace, user: Any, sandbox: Any, name: str = "Sandbox") -> Connection:
    """The sandbox in the manner of OpenAI."""
    url = sandbox.openai_url
    made, _ = save_connection(workspace, user, name=name, kind="openai", base_url=url, key="sk-test-1234567890", by_operator=True)
    Connection.objects.filter(pk=made.pk).update(is_sandbox=True)
    made.refresh_from_db()
    return made


def make_job(
    workspace: Workspace,
    user: Any,
    sandbox: Any,
    *,
    model: str = "gpt-6-luna",
    n_rows: int = 24,
    version: DatasetVersion | None = None,
    prompt: PromptVersion | None = None,
    connection: Connection | None = None,
    name: str = "Sort tickets",
    max_attempts: int = 1,
    settle: bool = True,
) -> Job:
    """A job on the sandbox; with `settle` driven to its end. Faults come by the model's name: `gpt-6-luna+errors=5%,missing=2`."""
    version = version or make_dataset(workspace, user, n_rows)
    prompt = prompt or PromptVersion.objects.filter(prompt__workspace=workspace).first() or make_prompt(workspace, user)
    connection = (
        connection or Connection.objects.filter(workspace=workspace, kind="openai").first() or make_connection(workspace, user, sandbox)
    )
    plan = Plan(workspace, version, prompt, connection, model, name=name, max_attempts=max_attempts, token=new_token())
    job = launch(plan, user)
    return settled(job) if settle else job


def settled(job: Job, seconds: float = 30) -> Job:
    """Drive the job to its end without its waits: whatever sleeps is due at once."""

    def wake(job: Job) -> None:
        now = timezone.now()
        Batch.objects.filter(job=job).update(next_look_at=now)
        Connection.objects.filter(batches__job=job).update(next_look_at=now)
        Job.objects.filter(pk=job.pk).update(next_look_at=now)

    return drive(job, poll_seconds=0.02, seconds=seconds, tick=wake)
