"""What the tests of home, job list and launch share: a connection, a table, a prompt, jobs in any state."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from jobs.engine import drafts, ingest
from jobs.engine.remote import seal_key
from jobs.models import Connection, DatasetVersion, Job, Prompt, PromptVersion

MODEL = "gpt-6-luna"
BACKEND = "django.contrib.auth.backends.ModelBackend"
TABLE = "id,text\n" + "\n".join(f"{n},Where is parcel {n}?" for n in range(40)) + "\n"
SCHEMA = {
    "type": "object",
    "properties": {"topic": {"type": "string", "enum": ["delivery", "other"]}},
    "required": ["topic"],
    "additionalProperties": False,
}


def login(client: Any, user: Any) -> None:
    client.force_login(user, backend=BACKEND)


def make_connection(
    workspace: Any, name: str = "Sandbox", url: str = "http://127.0.0.1:9/v1", kind: str = "openai", **fields: Any
) -> Connection:
    connection = Connection(
        workspace=workspace,
        name=name,
        kind=kind,
        base_url=url,
        is_sandbox=fields.pop("is_sandbox", True),
        models_seen=fields.pop("seen", [MODEL]),
        **fields,
    )
    seal_key(connection, "sk-test-0000000000")
    connection.save()
    return connection


def make_table(workspace: Any, user: Any, text: str = TABLE, name: str = "Tickets") -> DatasetVersion:
    upload = ingest.receive(workspace, user, filename="t.csv", chunks=[text.encode()], dataset_name=name)
    assert upload.version is not None
    return upload.version


def make_prompt(workspace: Any, user: str = "Sort: {{ text }}", name: str = "Sort", **fields: Any) -> PromptVersion:
    prompt, _ = Prompt.objects.get_or_create(workspace=workspace, name=name)
    fields.setdefault("params", {"max_output_tokens": 50})
    return PromptVersion.objects.create(prompt=prompt, number=prompt.versions.count() + 1, user=user, **fields)


def make_draft(people: Any, connection: Connection | None = None, user: str = "Sort: {{ text }}") -> Job:
    """A draft with everything chosen, of the analyst."""
    connection = connection or make_connection(people.home)
    draft = drafts.start(
        people.home, people.analyst, make_table(people.home, people.analyst), make_prompt(people.home, user, schema=SCHEMA)
    )
    return drafts.choose_model(draft, connection, MODEL, {})


def make_job(people: Any, connection: Connection, name: str, state: str, **fields: Any) -> Job:
    """A job as it would be in a state; its files are not there."""
    prompt = PromptVersion.objects.first() or make_prompt(people.home)
    fields.setdefault("created_by", people.owner)
    return Job.objects.create(
        workspace=people.home, name=name, state=state, connection=connection, prompt_version=prompt, model=fields.pop("model", MODEL),
        launch_token=name, n_rows=100, launched_at=fields.pop("launched_at", timezone.now()), **fields,
    )  # fmt: skip
