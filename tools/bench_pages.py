"""Pages of the prepared job at the server, and how often a provider is asked with a thousand batches in flight."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobs.engine.connections import save_connection
from jobs.engine.follow import follow
from jobs.engine.remote import calling
from jobs.models import Batch, Connection, Job, Workspace
from jobs.sandbox import Sandbox
from jobs.words import BatchState, PromptKind

TIMES = 24
IN_FLIGHT = 1_000


def pages(folder: Path, n_rows: int) -> dict[str, Any]:
    """Milliseconds of each page: the first look (nothing remembered yet), the median and the 95th percentile of all looks; and of
    processor time, which other work on the machine hardly changes, the first and the 95th percentile."""
    client, job = Client(), Job.objects.get()
    client.force_login(User.objects.get(), backend="django.contrib.auth.backends.ModelBackend")
    rows = reverse("job-rows", args=[job.pk])
    last = -(-job.n_rows // 50)
    looks: dict[str, list[str]] = {
        "job": [reverse("job-detail", args=[job.pk])],
        "job list": [reverse("job-list")],
        "batches": [reverse("job-batches", args=[job.pk])],
        "failures by cause": [reverse("job-failures", args=[job.pk])],
        "receipt": [reverse("job-receipt", args=[job.pk])],
        "rows, first page": [rows],
        "rows, last page": [f"{rows}?page={last}"],
        "rows, any page": [f"{rows}?page={random.Random(i).randint(1, last)}" for i in range(TIMES)],
        "rows of a kind": [f"{rows}?kind=failed&page={1 + i}" for i in range(TIMES)],
        "rows of a cause": [f"{rows}?cause=provider_error&page={1 + i}" for i in range(TIMES)],
        "rows by an answer's value": [f"{rows}?answer.intent={label}" for label in ("billing", "bug", "question")],
        "charts": [reverse("job-charts", args=[job.pk])],
        "one row": [reverse("job-row", args=[job.pk, random.Random(i).randrange(job.n_rows)]) for i in range(TIMES)],
        "search, first page": [f"{rows}?q=number {random.Random(i).randrange(job.n_rows)}" for i in range(TIMES)],
    }
    client.get(looks["job"][0])  # imports and templates, once per process
    return {"pages": {name: _looked(client, addresses) for name, addresses in looks.items()}}


def _looked(client: Client, addresses: list[str]) -> dict[str, Any]:
    taken, spent = [], []
    for i in range(TIMES):
        began, before = time.perf_counter(), time.process_time()
        answer = client.get(addresses[i % len(addresses)])
        if answer.status_code != 200:
            raise ValueError(f"{addresses[i % len(addresses)]} answered {answer.status_code}")
        b"".join(answer) if answer.streaming else answer.content
        taken.append((time.perf_counter() - began) * 1000)
        spent.append((time.process_time() - before) * 1000)
    return {"first": taken[0], "p50": _share(taken, 0.5), "p95": _share(taken, 0.95), "cpu_first": spent[0], "cpu_p95": _share(spent, 0.95)}


def _share(values: list[float], share: float) -> float:
    """The value that so many of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def polls(folder: Path, n_rows: int) -> dict[str, Any]:
    """Calls to the provider for one look at a thousand batches that are under way there."""
    job, workspace = Job.objects.get(), Workspace.objects.get()
    with Sandbox(folder / "sandbox", seconds=3600) as sandbox:
        connection, _ = save_connection(
            workspace, None, name="Polls", kind="openai", base_url=sandbox.openai_url, key="sk-bench-1234567890", by_operator=True
        )
        _submit_all(connection, job, folder)
        before = dict(sandbox.control("")["calls"])
        began = time.perf_counter()
        follow(Connection.objects.get(pk=connection.pk))
        seconds = time.perf_counter() - began
        after = sandbox.control("")["calls"]
        calls = {verb: n - before.get(verb, 0) for verb, n in after.items() if n != before.get(verb, 0)}
    return {"in_flight": IN_FLIGHT, "calls": calls, "seconds": seconds}


def _submit_all(connection: Connection, job: Job, folder: Path) -> None:
    body = b'{"model":"gpt-6-luna","messages":[{"role":"user","content":"hi"}]}'
    line = b'{"custom_id":"x-0","method":"POST","url":"/v1/chat/completions","body":%b}\n' % body
    path = folder / "one.jsonl"
    path.write_bytes(line)
    round_ = job.rounds.get()
    with calling(connection) as provider:
        file_id = provider.upload(path, "one.jsonl")
        for i in range(IN_FLIGHT):
            made = provider.create(path, file_id=file_id, token=f"t{i}", kind=PromptKind.GENERATE).batch
            now = timezone.now()
            Batch.objects.create(
                job=job, round=round_, connection=connection, number=1_000_000 + i, model="gpt-6-luna", token=f"poll{i}", n_requests=1,
                n_bytes=len(line), state=BatchState.SUBMITTED, provider_batch_id=made.id, submitted_at=now, submitting_at=now,
            )  # fmt: skip
