"""A job on the sandbox with its batches cut in this very process, and the engine's steps one by one."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from django.utils import timezone

from jobs.engine import places, plan, render_child
from jobs.engine.advance import advance, advance_batch, advance_job
from jobs.engine.connections import save_connection
from jobs.engine.lease import claim
from jobs.engine.pump import due
from jobs.engine.spec import sheet_for, spec_for, spec_to_json
from jobs.models import Batch, Connection, Dataset, DatasetVersion, Event, Job, Prompt, PromptVersion, Round
from jobs.words import JobState, RoundState

KEY = "sk-test-1234567890"
LABELS = ["billing", "bug", "question"]
SCHEMA = {
    "type": "object",
    "properties": {"intent": {"type": "string", "enum": LABELS}},
    "required": ["intent"],
    "additionalProperties": False,
}


def connect(people: Any, sandbox: Any, kind: str = "openai", **fields: Any) -> Connection:
    """A connection to the sandbox in the manner of `kind`; `fields` are set as they are."""
    url = sandbox.anthropic_url if kind == "anthropic" else sandbox.openai_url
    made, _ = save_connection(
        people.home, people.owner, name=f"{kind} {Connection.objects.count()}", kind=kind, base_url=url, key=KEY, by_operator=True
    )
    Connection.objects.filter(pk=made.pk).update(is_sandbox=True, **fields)
    made.refresh_from_db()
    return made


def make_version(people: Any, n_rows: int, pad: int = 0) -> DatasetVersion:
    dataset = Dataset.objects.create(workspace=people.home, name=f"Table {Dataset.objects.count()}")
    columns = [{"key": "c0", "name": "text", "variable": "text", "type": "text"}]
    version = DatasetVersion.objects.create(dataset=dataset, number=1, sha256="0" * 64, filename="t.csv", n_rows=n_rows, columns=columns)
    table = places.table_of(version)
    table.parent.mkdir(parents=True)
    words = ["a refund", "a crash", "how do I"]
    pq.write_table(
        pa.table({"_row": pa.array(range(n_rows), pa.int64()), "c0": [f"{words[i % 3]} {i}{' and so on' * pad}" for i in range(n_rows)]}),
        table,
    )
    return version


def make(
    people: Any,
    sandbox: Any,
    *,
    kind: str = "openai",
    model: str = "",
    n_rows: int = 6,
    per_batch: int = 100,
    max_attempts: int = 1,
    schema: Any = None,
    connection: Connection | None = None,
    planned: bool = True,
    pad: int = 0,
) -> Job:
    """A launched job; with `planned` its first round is cut into batches, none of them sent."""
    connection = connection or connect(people, sandbox, kind, limits={"requests_per_batch": per_batch})
    model = model or ("claude-haiku-4-5" if connection.kind == "anthropic" else "gpt-6-luna")
    prompt = Prompt.objects.create(workspace=people.home, name=f"Prompt {Prompt.objects.count()}")
    version = PromptVersion.objects.create(
        prompt=prompt, number=1, user="{{ text }}", system="", schema=schema, params={"max_output_tokens": 100}
    )
    spec, sheet = spec_to_json(spec_for(version, model)), sheet_for(connection, model).to_json()
    table = make_version(people, n_rows, pad)
    job = Job.objects.create(
        workspace=people.home, name="J", dataset_version=table, prompt_version=version, connection=connection, model=model, spec=spec,
        sheet=sheet, max_attempts=max_attempts, state=JobState.QUEUED, launched_at=timezone.now(), next_look_at=timezone.now(),
        n_rows=n_rows, launch_token=f"t{Job.objects.count()}", created_by=people.owner,
    )  # fmt: skip
    Round.objects.create(
        job=job, number=1, lane="batch", connection=connection, prompt_version=version, spec=spec, sheet=sheet, n_rows=n_rows
    )
    if planned:
        plan_here(job)
    return job


def plan_here(job: Job) -> None:
    """Cut every round that is to be planned, without the child process."""
    lease = claim(Job, job.pk)
    assert lease is not None
    for round_ in job.rounds.select_related("prompt_version", "connection", "job").filter(state=RoundState.PLANNING):
        for piece in render_child.answer(plan._request(round_)):
            plan._add(round_, piece, lease)
    lease.release()
    job.refresh_from_db()


def batch_of(job: Job, number: int = 1) -> Batch:
    return Batch.objects.select_related("job", "round", "connection").order_by("round__number", "number").filter(job=job)[number - 1]


def hurry(job: Job) -> None:
    """Everything is due now: a test does not wait for a back-off."""
    Batch.objects.filter(job=job).update(next_look_at=None)
    Connection.objects.filter(batches__job=job).update(next_look_at=None)
    Job.objects.filter(pk=job.pk).update(next_look_at=timezone.now())


def look(batch: Batch) -> Batch:
    """One step of a batch, and the batch after it."""
    hurry(batch.job)
    if batch.state == "submitted":
        advance("connection", str(batch.connection_id))
    else:
        advance_batch(str(batch.pk))
    return batch_of_pk(batch)


def batch_of_pk(batch: Batch) -> Batch:
    return Batch.objects.select_related("job", "round", "connection").get(pk=batch.pk)


def ended(batch: Batch, sandbox: Any) -> Batch:
    """Submitted, ended at the provider and known to be so."""
    batch = look(batch)
    assert batch.state == "submitted", (batch.state, batch.problem)
    sandbox.control("advance", seconds=60)
    return look(batch)


def settled(batch: Batch, sandbox: Any) -> Batch:
    return look(ended(batch, sandbox))


def tick(job: Job, sandbox: Any) -> None:
    """Everything that is due, once. Rounds are planned here, not in a child."""
    hurry(job)
    for kind, each in list(due(job=job)):
        if kind == "job" and job.rounds.filter(state=RoundState.PLANNING).exists():
            plan_here(job)
        else:
            advance(kind, str(each.pk))
    sandbox.control("advance", seconds=60)


def finish(job: Job, sandbox: Any, most: int = 40) -> Job:
    for _ in range(most):
        tick(job, sandbox)
        job.refresh_from_db()
        if JobState(job.state).terminal:
            return job
    told = list(job.batches.values_list("state", "wait_reason", "problem"))
    raise AssertionError(f"the job does not end: {job.state} {job.needs} {told}")


def settle_job(job: Job) -> Job:
    for _ in range(6):
        advance_job(str(job.pk))
    job.refresh_from_db()
    return job


def creates(sandbox: Any) -> int:
    """How many batches the provider made."""
    return len(sandbox.control("calls", verb="batches.create"))


def texts(job: Job, kind: str = "") -> list[str]:
    return list(Event.objects.filter(job=job, kind__startswith=kind).values_list("text", flat=True))


def kinds(job: Job) -> dict[str, int]:
    return {name: n for name, n in job.counts.items() if n}
