"""A workspace after a week of work, jobs in every state, on a sandbox: for pictures and tests of the screens, never from the UI."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db.models import F
from django.utils import timezone

from jobs.engine import drafts, estimates, ingest, prompts, samples
from jobs.engine.cancel import cancel
from jobs.engine.connections import save_connection, test_connection
from jobs.engine.drive import step
from jobs.engine.launch import Plan, launch, new_token
from jobs.engine.retry import Changes, Wanted, retry
from jobs.formats import usd_range
from jobs.models import Batch, Connection, DatasetVersion, Event, Job, PromptVersion, Round, Workspace
from jobs.words import BatchState, JobState

# Arms orders (docs/sandbox.md) for the next `times` batches of a model: order(orders, model, times).
Order = Callable[[str, str, int], None]
LONG = "Rückmeldungen der Kundschaft aus allen Filialen, Oktober und November, mit Übersetzung, Einordnung und Vorschlag für die Antwort"
REVIEWS = (
    ("A-0007", "I was charged twice for my order of May 2, please refund one of the two payments as soon as you can.", "4.5"),
    ("A-0008", "مرحبا، وصلني المصباح مكسورًا وأريد استرداد المبلغ من فضلكم.", "1"),
    ("A-0009", "請問如何取消訂閱？昨天已經寫過一次信了，謝謝。", "3"),
    ("A-0010", "Love the new chair!\nThe delivery was on time, and the two people who carried it up were kind.", "5"),
    ("A-0011", '=HYPERLINK("http://x.example","click")', ""),
    ("A-0012", "It crashes. " * 60, "2"),
    ("A-0013", "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2, "3"),
)


@dataclass(frozen=True, slots=True)
class Demo:
    """What was made; `jobs` by state: running, waiting, capped, unclear, done, failures, retried, cancelled, failed, draft, long."""

    connection: Connection
    dataset_version: DatasetVersion
    prompt_version: PromptVersion
    jobs: dict[str, Job]


class _Maker:
    def __init__(self, workspace: Workspace, user: User, connection: Connection, order: Order) -> None:
        self.workspace, self.user, self.connection, self.order = workspace, user, connection, order
        self.sample = samples.load(workspace, user)

    def launch(self, name: str, orders: str = "", *, times: int = 9, model: str = "gpt-6-luna", **other: Any) -> Job:
        """A launched job whose first `times` batches carry the orders."""
        version, prompt = other.pop("version", self.sample.dataset_version), other.pop("prompt", self.sample.prompt_version)
        if orders:
            self.order(orders, model, times)
        connection = other.pop("connection", self.connection)
        found, _ = estimates.estimate_for(estimates.sample_of(version, prompt, 20), prompt, connection, model, 200)
        lane = found.lanes["batch"]
        told = {**found.to_json(), "words": usd_range(lane.low, lane.high) if lane.low is not None else ""}
        plan = Plan(self.workspace, version, prompt, connection, model, name=name, estimate=told, token=new_token(), **other)
        return launch(plan, self.user)


def fill(workspace: Workspace, user: User, url: str, order: Order) -> Demo:
    """Make all of it on the sandbox at `url` (the root); takes some seconds. `order` must reach that sandbox."""
    narrow = _connection(workspace, user, "OpenAI, tier 1", f"{url}/v1", requests_per_batch=20)
    maker = _Maker(workspace, user, narrow, order)
    made: dict[str, Job] = {}
    made["done"] = _back(settle(maker.launch("Sort support tickets, week 45", model="gpt-6.1-terra")), 8)
    failing = "errors=2,badschema=3,cutoff=2,refusal=1,missing=1"
    made["retried"] = settle(maker.launch("Sort support tickets, week 46", failing, times=1, max_attempts=1))
    retry(made["retried"], user, Wanted(), Changes(), token=new_token())
    made["retried"] = _back(settle(made["retried"]), 5)
    made["failures"] = _back(settle(maker.launch("Sort support tickets, week 47", failing, times=2, model="gpt-6-sol", max_attempts=1)), 2)
    made["long"] = _back(settle(maker.launch(LONG, version=_reviews(workspace, user), prompt=_second_prompt(workspace, user))), 1)
    made["failed"] = settle(maker.launch("Translate the catalogue", "model_gone", model="gpt-5.5", max_attempts=1))
    made["cancelled"] = _drive(maker.launch("Sort returns", "never", model="gpt-5.4", times=2), lambda job: _sent(job) == 3)
    cancel(made["cancelled"], user)
    made["cancelled"] = settle(made["cancelled"])
    made["running"] = _drive(
        maker.launch("Sort support tickets, week 48", "never", model="gpt-6.2-sol", times=2), lambda job: job.n_done > 0
    )
    tight = _connection(workspace, user, "OpenAI, second account", f"{url}/v1", requests_per_batch=20, enqueued_tokens=8000)
    waiting = maker.launch("Sort old tickets", "never", model="gpt-6-astra", connection=tight)
    made["waiting"] = _drive(waiting, lambda job: job.batches.filter(wait_reason__contains="headroom").exists())
    capped = maker.launch("Sort the whole archive", model="gpt-6.1-sol")
    Job.objects.filter(pk=capped.pk).update(cap_usd=Decimal("0.01"))
    made["capped"] = _drive(capped, lambda job: bool(job.needs))
    made["unclear"] = _lose(_drive(maker.launch("Sort chats", model="gpt-6-luna"), lambda job: job.batches.exists()))
    draft = drafts.start(workspace, user, maker.sample.dataset_version, maker.sample.prompt_version)
    made["draft"] = drafts.choose_model(draft, narrow, "gpt-6-luna", {})
    return Demo(narrow, maker.sample.dataset_version, maker.sample.prompt_version, made)


def settle(job: Job) -> Job:
    return _drive(job, lambda job: JobState(job.state).terminal)


def _drive(job: Job, done: Callable[[Job], bool], seconds: float = 40) -> Job:
    """Work on the job, with none of its waits, until `done`. Raises TimeoutError."""
    ends = time.monotonic() + seconds
    while True:
        step(job)
        job.refresh_from_db()
        if done(job):
            return job
        if time.monotonic() > ends:
            looks = list(job.batches.values_list("state", "problem", "wait_reason"))
            raise TimeoutError(f"{job.name} stays {job.state}: {job.needs or looks}")
        now = timezone.now()
        Batch.objects.filter(job=job).update(next_look_at=now)
        Connection.objects.filter(batches__job=job).update(next_look_at=now)
        Job.objects.filter(pk=job.pk).update(next_look_at=now)
        time.sleep(0.05)


def _sent(job: Job) -> int:
    return job.batches.filter(state="submitted").count()


def _back(job: Job, days: int) -> Job:
    """Let it have happened so many days ago."""
    ago = timedelta(days=days, hours=2)
    Job.objects.filter(pk=job.pk).update(**_earlier(ago, "created_at", "launched_at", "finished_at"))
    Round.objects.filter(job=job).update(**_earlier(ago, "created_at"))
    Batch.objects.filter(job=job).update(**_earlier(ago, "created_at", "submitted_at", "ended_at", "settled_at", "expires_at"))
    Event.objects.filter(job=job).update(**_earlier(ago, "created_at"))
    job.refresh_from_db()
    return job


def _lose(job: Job) -> Job:
    """Let the first batch be one whose create had no clear answer: the provider has none of it, which only a look can tell."""
    words = "the provider did not say whether it took the batch; looking for it there before anything else is sent"
    marks = {"submit_token": new_token()[:32], "submitting_at": timezone.now(), "n_submits": 1, "wait_reason": words}
    Batch.objects.filter(job=job, number=1).update(state=BatchState.UNKNOWN, problem="The connection broke.", **marks)
    return job


def _earlier(ago: timedelta, *names: str) -> dict[str, Any]:
    return {name: F(name) - ago for name in names}


def _connection(workspace: Workspace, user: User, name: str, url: str, **limits: int) -> Connection:
    made, _ = save_connection(
        workspace, user, name=name, kind="openai", base_url=url, key="sk-demo-1234567890", limits=limits, by_operator=True
    )
    Connection.objects.filter(pk=made.pk).update(is_sandbox=True)
    made.refresh_from_db()
    test_connection(made)
    return made


def _reviews(workspace: Workspace, user: User) -> DatasetVersion:
    """A table with other scripts, long words, long texts and wide headers."""
    lines = [json.dumps({"Order number": a, "What the customer wrote to us in full": b, "Stars": c}) for a, b, c in REVIEWS]
    content = "\n".join(lines).encode()
    upload = ingest.receive(workspace, user, filename="reviews.jsonl", chunks=[content], dataset_name=f"{LONG[:60]} (reviews)")
    assert upload.version is not None, upload.problem
    return upload.version


def _second_prompt(workspace: Workspace, user: User) -> PromptVersion:
    schema = {
        "type": "object",
        "properties": {
            "sentiment": {"type": "string", "enum": ["positive", "mixed", "negative"]},
            "needs_answer": {"type": "boolean"},
            "stars_that_fit": {"type": "number"},
            "suggested_answer_in_english": {"type": "string"},
        },
        "required": ["sentiment", "needs_answer", "stars_that_fit", "suggested_answer_in_english"],
        "additionalProperties": False,
    }
    text = "Order {{ order_number }}, {{ stars }} stars:\n{{ what_the_customer_wrote_to_us_in_full }}"
    content = prompts.Content("generate", "You read reviews of a shop.", text, schema, {"max_output_tokens": 300})
    first = prompts.create(workspace, user, "Read reviews", content).version
    changed = prompts.Content("generate", "You read reviews of a shop. Be brief.", text, schema, {"max_output_tokens": 300})
    prompts.save_version(first.prompt, user, changed, note="Shorter answers")
    return first
