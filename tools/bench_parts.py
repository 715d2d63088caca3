"""The phases of one job, each to be run in a process of its own by `manage.py bench`, so that its time and its peak memory are its own."""

from __future__ import annotations

import csv
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone

from jobs.engine import collect, places, plan, settle
from jobs.engine.connections import save_connection
from jobs.engine.exports import export_of
from jobs.engine.ingest import receive
from jobs.engine.launch import Plan, launch, new_token
from jobs.engine.lease import Lease, claim
from jobs.models import Batch, Connection, DatasetVersion, Job, Membership, Prompt, PromptVersion, Round, Workspace
from jobs.rows.export import write_export
from jobs.rows.ingest import ingest
from jobs.words import BatchState, Role, RoundState
from tools import bench_bare

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
SYSTEM = "You sort support tickets."
MODEL = "gpt-6-luna"
WORDS = [
    "refund",
    "invoice",
    "crash",
    "login",
    "please",
    "änderung",
    "shipping",
    "the",
    "app",
    "since",
    "Tuesday",
    "我",
    "and",
    "again",
    "order",
]
ERRORS_EVERY = 20
Done = dict[str, Any]


def _timed(work: Callable[[], int]) -> Done:
    began, before = time.perf_counter(), _cpu()
    n = work()
    return {"rows": n, "seconds": time.perf_counter() - began, "cpu": _cpu() - before}


def _cpu() -> float:
    """Seconds of processor time of this process and of its children that have ended: what other work on the machine hardly changes."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def make(folder: Path, n_rows: int) -> Done:
    """The input, the tables of the database, a workspace with an admin, a prompt, a connection."""
    chance = random.Random(1)
    with (folder / "in.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["ticket", "text", "zip", "date", "note"])
        for i in range(n_rows):
            text = " ".join(chance.choices(WORDS, k=18)) + (f', he said "{i}"\nand left' if i % 10 == 0 else "")
            out.writerow([f"T{i:08d}", text, f"{i % 99999:05d}", "2026-01-02", "" if i % 3 else f"note {i}"])
    call_command("migrate", verbosity=0, interactive=False)
    workspace = Workspace.objects.create(name="Bench")
    user = User.objects.create_user("bench")
    Membership.objects.create(workspace=workspace, user=user, role=Role.ADMIN)
    prompt = Prompt.objects.create(workspace=workspace, name="Bench")
    content = {"system": SYSTEM, "user": "Ticket {{ ticket }}: {{ text }}", "schema": SCHEMA, "params": {"max_output_tokens": 200}}
    PromptVersion.objects.create(prompt=prompt, number=1, **content)
    save_connection(
        workspace, user, name="Bench", kind="openai", base_url="http://127.0.0.1:9/v1", key="sk-bench-1234567890", by_operator=True
    )
    return {"rows": n_rows, "seconds": 0.0}


def read(folder: Path, n_rows: int) -> Done:
    """Ingest alone: the file to a table."""
    return _timed(lambda: ingest(folder / "in.csv", folder / "read.parquet", filename="in.csv").n_rows)


def bare_read(folder: Path, n_rows: int) -> Done:
    return _timed(lambda: bench_bare.ingest(folder / "in.csv", folder / "bare.parquet"))


def upload(folder: Path, n_rows: int) -> Done:
    """The same as an upload: copied, read and profiled."""

    def work() -> int:
        taken = receive(
            Workspace.objects.get(), User.objects.get(), filename="in.csv", taken=folder / "in.csv", dataset_name="in", at_once=True
        )
        assert taken.version is not None, taken.problem
        return taken.version.n_rows

    return _timed(work)


def prepare(folder: Path, n_rows: int) -> Done:
    """Launch, and cut all rows into request files."""
    wanted = Plan(Workspace.objects.get(), DatasetVersion.objects.get(), PromptVersion.objects.get(), Connection.objects.get(), MODEL)
    wanted.token = new_token()
    job = launch(wanted, User.objects.get())

    def work() -> int:
        while True:
            lease = _lease(job)
            with lease.kept():
                moved = plan.plan(Job.objects.select_related("dataset_version", "connection").get(pk=job.pk), lease)
            lease.release(None)
            if not moved:
                return sum(Batch.objects.values_list("n_requests", flat=True))

    return _timed(work)


def _lease(thing: Job | Batch) -> Lease:
    lease = claim(type(thing), thing.pk)
    assert lease is not None
    return lease


def bare_prepare(folder: Path, n_rows: int) -> Done:
    wrapped = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
    spec = {"model": MODEL, "system": SYSTEM, "max_tokens": 200, "format": wrapped, "token": "0123456789abcdef"}
    table = places.table_of(DatasetVersion.objects.get())
    return _timed(lambda: bench_bare.prepare(table, folder / "bare.jsonl", spec))


def answer(folder: Path, n_rows: int) -> Done:
    """Stand in for the provider: results beside each request file."""
    n = 0
    for batch in _batches():
        n += bench_bare.answer(places.request_file(batch), places.results_folder(batch) / "output.jsonl", ERRORS_EVERY)
        state = {"state": BatchState.FETCHED, "provider_batch_id": f"batch_{batch.number}", "submitted_at": timezone.now()}
        Batch.objects.filter(pk=batch.pk).update(**state)
    return {"rows": n, "seconds": 0.0}


def _batches() -> list[Batch]:
    related = ("job", "job__dataset_version", "round", "round__prompt_version", "connection")
    return list(Batch.objects.select_related(*related).order_by("number"))


def collect_all(folder: Path, n_rows: int) -> Done:
    """Results to outcomes and counters, batch after batch."""

    def work() -> int:
        for batch in _batches():
            lease = _lease(batch)
            collect.collect(batch, lease)
            lease.release(None)
        return Job.objects.get().n_done

    return _timed(work)


def bare_collect(folder: Path, n_rows: int) -> Done:
    results = [places.results_folder(batch) / "output.jsonl" for batch in _batches()]
    return _timed(lambda: bench_bare.collect(results, folder))


def settle_all(folder: Path, n_rows: int) -> Done:
    """Merge the round into the standings, and end the job (its attempts are used up)."""
    Job.objects.update(max_attempts=1)
    job = Job.objects.get()

    def work() -> int:
        lease = _lease(job)
        with lease.kept():
            while settle.settle(job, lease):
                pass
        lease.release(None)
        return Job.objects.get().n_done

    done = _timed(work)
    assert Round.objects.get().state == RoundState.SETTLED
    return done


def export_csv(folder: Path, n_rows: int) -> Done:
    return _export(folder, "csv")


def export_jsonl(folder: Path, n_rows: int) -> Done:
    return _export(folder, "jsonl")


def export_parquet(folder: Path, n_rows: int) -> Done:
    return _export(folder, "parquet")


def _export(folder: Path, kind: str) -> Done:
    job = Job.objects.select_related("dataset_version").get()

    def work() -> int:
        write_export(export_of(job, defuse=False), kind, folder / f"out.{kind}")
        return job.n_rows

    return _timed(work)


def bare_export(folder: Path, n_rows: int) -> Done:
    job = Job.objects.select_related("dataset_version").get()
    standings = places.standings_file(job, job.n_settled_rounds)
    assert standings is not None
    assert job.dataset_version is not None
    table = places.table_of(job.dataset_version)
    return _timed(lambda: bench_bare.export(table, standings, folder / "bare.csv"))
