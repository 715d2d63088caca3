"""What people do in `test_people`, each through its page: an act posts a form and gives what it wanted, and the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from jobs.engine import drafts, give_up
from jobs.errors import BadInput
from jobs.models import Batch, Connection, Job, Membership, PromptVersion, Workspace
from jobs.words import UNDECIDED, JobState, Role
from tests.engine import world

ORDERS = ("+slow=1s", "+errors=2,once")  # what takes as long as a person needs to act on it, and what there is to retry
MODELS = {kind: [name + orders for orders in ORDERS] for kind, name in (("openai", "gpt-6-luna"), ("anthropic", "claude-haiku-4-5"))}
Asked = tuple[dict[str, Any], Any] | None
Act = Callable[["Place", Client, UUID, int], Asked]


@dataclass
class Place:
    """A workspace with two connections to the sandbox, two tables and a prompt."""

    people: Any
    sandbox: Any

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.tables = [world.make_version(self.people, n) for n in (12, 7)]
        self.connections = [world.connect(self.people, self.sandbox, kind) for kind in ("openai", "anthropic")]
        Connection.objects.update(limits={"requests_per_batch": 4, "creates_per_minute": 100_000})
        job = world.make(self.people, self.sandbox, connection=self.connections[0], planned=False, n_rows=3)
        self.prompt = job.prompt_version.prompt
        job.delete()

    def client(self, who: str) -> Client:
        client = Client(raise_request_exception=False)
        client.force_login(User.objects.get(username=who), backend="django.contrib.auth.backends.ModelBackend")
        return client

    def new_draft(self, number: int) -> Job:
        """A draft that has everything chosen."""
        user = self.people.owner if number % 2 else self.people.analyst
        draft = drafts.start(self.people.home, user, self.tables[0], PromptVersion.objects.filter(prompt=self.prompt).latest("number"))
        connection = Connection.objects.get(pk=self.connections[number % 2].pk)
        return drafts.choose_model(draft, connection, MODELS[connection.kind][number // 2 % 2], {"max_output_tokens": 50})

    def calm(self) -> None:
        """Nothing waits for a person any more."""
        Workspace.objects.update(monthly_cap_usd=None)
        Membership.objects.filter(user=self.people.analyst).update(role=Role.ANALYST)
        for pk in Job.objects.values_list("pk", flat=True):
            Job.objects.filter(pk=pk).update(cap_usd=None)
        self.sandbox.control("disarm")

    def decide(self) -> None:
        """Give up what only a person can decide."""
        for batch in Batch.objects.filter(state__in=UNDECIDED, wait_reason__contains="decide here").select_related("round", "connection"):
            try:
                give_up.give_up(batch, self.people.owner)
            except BadInput:
                continue


def post(client: Client, view: str, /, *args: Any, **data: Any) -> HttpResponse:
    return client.post(reverse(view, args=args), {key: value for key, value in data.items() if value is not None})


# -- on a draft


def go(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    """Launch what is chosen now."""
    draft = Job.objects.get(pk=pk)
    wanted = {"what": _what(draft), "tokens": drafts.changes_of(draft).get("max_output_tokens")}
    lane = "direct" if n % 3 == 0 else "batch"
    cap = "0.0001" if n % 7 == 0 else ""
    terms = {"name": f"Job {n}", "lane": lane, "max_attempts": 1 + n % 2, "cap_usd": cap, "approve": "1" if n % 5 == 0 else None}
    return wanted, post(client, "launch-go", pk, mark=drafts.mark_of(draft), unpriced="1", **terms)


def _what(job: Job) -> tuple[Any, ...]:
    return (job.dataset_version_id, job.prompt_version_id, job.connection_id, job.model)


def try_rows(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    token = f"try-{n % 2}-{pk.hex}" if n % 2 else f"try-{n}-{pk.hex}"
    return {"token": token}, post(client, "launch-try", pk, token=token, n=3, how="first", seed=1)


def stop_try(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    return {}, post(client, "launch-try", pk, stop="1")


def discard(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    return {"gone": True}, post(client, "launch-discard", pk)


def choose_model(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    """Another model, with a limit that tells this choice from every other."""
    connection = Connection.objects.get(pk=place.connections[n % 2].pk)
    model = MODELS[connection.kind][n // 2 % 2]
    wanted = {"chosen": (connection.pk, model, 40 + n)}
    return wanted, post(client, "launch-model", pk, pick=f"{connection.pk}:{model}", max_output_tokens=40 + n)


def choose_data(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    table = place.tables[n % 2]
    return {"table": table.pk}, post(client, "launch-data", pk, dataset_version=str(table.pk))


def choose_prompt(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    versions = list(PromptVersion.objects.filter(prompt=place.prompt))
    return {"prompt": True}, post(client, "launch-prompt", pk, prompt_version=str(versions[n % len(versions)].pk))


def terms(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    return {"cap": 1 + n}, post(client, "launch-review", pk, name=f"Draft {n}", lane="batch", max_attempts=2, cap_usd=1 + n)


def read_draft(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    """A page that counts, and keeps what it counted with the draft."""
    name = ("launch-review", "launch-model", "launch-try")[n % 3]
    return {}, client.get(reverse(name, args=[pk]), {"now": "1"})


# -- on a job


def cancel(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    return {"cancel": True}, post(client, "job-cancel", pk)


def retry(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    token = f"retry-{n % 2 * n:08}-{pk.hex}"  # half of them from one and the same page
    job = Job.objects.get(pk=pk)
    changes: dict[str, Any] = {}
    if n % 3 == 0:
        connection = Connection.objects.get(pk=place.connections[n // 3 % 2].pk)
        changes = {"model": MODELS[connection.kind][0], "connection": str(connection.pk), "prompt_version": str(job.prompt_version_id)}
    return {"token": token}, post(client, "job-retry", pk, token=token, **changes)


def rescue(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    token = f"rescue-{n % 2 * n:08}-{pk.hex}"
    return {"rescue": token}, post(client, "job-rescue", pk, token=token)


def raise_cap(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    return {"cap": 1 + n}, post(client, "job-cap", pk, cap_usd=1 + n)


def approve(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    return {"approve": True}, post(client, "job-approve", pk)


def decide(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    """What becomes of a batch of which the provider said nothing clear, or that is not over yet."""
    open_ones = list(Batch.objects.filter(job=pk, state__in=[*UNDECIDED, "submitted"]))
    if not open_ones:
        return None
    batch = open_ones[n % len(open_ones)]
    if batch.state == "submitted" or n % 4 == 0:
        return {}, post(client, "job-give-up", pk, batch.pk, confirm="give up")
    if n % 4 == 1:
        return {"again": batch.token}, post(client, "job-decide", pk, batch.pk, act="again", confirm="send again")
    there = [each["id"] for each in place.sandbox.control("")["batches"]]
    return {}, post(client, "job-decide", pk, batch.pk, act="adopt", other=there[n % len(there)] if there else "batch_none", chosen="")


def like(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    return {}, post(client, "launch-like", pk)


def read_job(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    name = ("job-detail", "job-failures", "job-receipt", "job-rows")[n % 4]
    return {}, client.get(reverse(name, args=[pk]))


# -- on what belongs to all


def save_connection(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    """Another name; sometimes another key, sometimes another address and kind."""
    old = Connection.objects.get(pk=place.connections[n % 2].pk)
    kind, url, key = old.kind, old.base_url, ""
    if n % 3 == 0:
        kind, url = ("openai", place.sandbox.openai_url) if old.kind == "anthropic" else ("anthropic", place.sandbox.anthropic_url)
    if n % 3 != 1:
        key = f"sk-test-{n:010}"
    name = f"{n % 5}" if n % 4 == 0 else f"Connection {n}"
    fields = {"limit_requests_per_batch": 4, "limit_creates_per_minute": 100_000 + n}
    wanted = {"connection": old.pk, "saved": (name, kind, url, 100_000 + n), "key": key}
    return wanted, post(client, "connection-edit", old.pk, name=name, kind=kind, base_url=url, key=key, **fields)


def test_connection(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    return {}, post(client, "connection-test", place.connections[n % 2].pk)


def remove_connection(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    """Whoever removes one adds another in its place."""
    old = place.connections[n % 2]
    asked = {"removed": old.pk}, post(client, "connection-remove", old.pk)
    with place.lock:
        if place.connections[n % 2] == old and Connection.objects.filter(pk=old.pk, archived_at__isnull=False).exists():
            place.connections[n % 2] = world.connect(place.people, place.sandbox, "openai", name=f"New {n}", limits=old.limits)
    return asked


def look_for_orphans(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    return {}, post(client, "connection-orphans-look", place.connections[n % 2].pk)


def save_prompt(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    """A new version, for the draft if it is one."""
    is_draft = Job.objects.filter(pk=pk, state=JobState.DRAFT).exists()
    path = reverse("prompt-edit", args=[place.prompt.pk]) + (f"?draft={pk}" if is_draft and n % 2 else "")
    text = f"{{{{ text }}}} {n}"
    return {"text": text}, client.post(path, {"kind": "generate", "system": "", "user": text, "max_output_tokens": 60, "act": "save"})


def set_month_cap(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    cap = ("", "0.01", "1000")[n % 3]
    return {"month": cap}, post(client, "workspace-save", name=f"Home {n}", monthly_cap_usd=cap)


def set_role(place: Place, client: Client, pk: UUID, n: int) -> Asked:
    member = Membership.objects.get(workspace=place.people.home, user=place.people.analyst)
    return {}, post(client, "member-role", member.pk, role="analyst" if n % 5 else "viewer")


ON_DRAFTS: list[Act] = [go, go, go, try_rows, try_rows, stop_try, discard, choose_model, choose_model, choose_data, choose_prompt, terms]
ON_DRAFTS += [read_draft, read_draft]
ON_JOBS: list[Act] = [cancel, retry, retry, rescue, raise_cap, approve, decide, decide, like, read_job]
ANYWHERE: list[Act] = [save_connection, save_connection, test_connection, remove_connection, look_for_orphans]
ANYWHERE += [save_prompt, set_month_cap, set_role]
