"""A workspace with one of everything, and how to reach each address of the product in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from jobs.engine.launch import new_token
from jobs.engine.members import add_member, join_path
from jobs.engine.prices import save_price
from jobs.models import Batch, Connection, DatasetUpload, Event, Job
from jobs.words import Role
from tests.jobs import make_connection, make_dataset, make_job, make_prompt, table_bytes

MODEL = "gpt-6-luna+errors=2,badschema=2"


@dataclass
class World:
    """`args` maps an address's name to its arguments."""

    job: Job
    draft: Job
    connection: Connection
    args: dict[str, list[Any]] = field(default_factory=dict)

    def url(self, name: str) -> str:
        return reverse(name, args=self.args.get(name, []))


def build(people: Any, sandbox: Any, word: Any = lambda plain: plain, cells: bytes | None = None) -> World:
    """`word` makes each name that a person gives; `cells` is the table."""
    home, owner = people.home, people.owner
    connection = make_connection(home, owner, sandbox, word("Connection"))
    version = make_dataset(home, owner, name=word("Tickets"), content=cells or table_bytes(12))
    prompt = make_prompt(home, owner, word("Intents"))
    job = make_job(home, owner, sandbox, model=MODEL, version=version, prompt=prompt, connection=connection, name=word("Sort"))
    draft = Job.objects.create(workspace=home, name=word("Draft"), launch_token=new_token(), created_by=owner)
    price = save_price(home, owner, kind="openai", model=word("own-model"), prices={"input": "1", "output": "2"}, note=word("Note"))
    waiting, _ = add_member(home, owner, "newcomer", Role.VIEWER)
    upload = DatasetUpload.objects.filter(workspace=home).first()
    foul(job, draft, connection, word)
    by_pk = {
        "job-": [job.pk],
        "launch": [draft.pk],
        "dataset-": [version.dataset_id],
        "prompt-": [prompt.prompt_id],
        "connection-": [connection.pk],
        "member-": [waiting.pk],
        "price-": [price.pk],
    }
    special: dict[str, list[Any]] = {
        "upload-detail": [upload.pk if upload else None],
        "dataset-file": [version.pk],
        "launch-like": [job.pk],
        "job-row": [job.pk, 0],
        "job-decide": [job.pk, job.batches.values_list("pk", flat=True).first()],
        "job-give-up": [job.pk, job.batches.values_list("pk", flat=True).first()],
        "job-row-prompt": [job.pk, 0],
        "job-download": [job.pk, "csv"],
        "signin-link": ["none"],
        "workspace-join": join_path(waiting.user).strip("/").split("/")[1:],
    }
    args = {}
    for name, route in addresses():
        if "<" in route:
            args[name] = special.get(name) or next(ids for start, ids in by_pk.items() if name.startswith(start))
    return World(job, draft, connection, args)


def foul(job: Job, draft: Job, connection: Connection, word: Any) -> None:
    """What providers and the machinery say is foreign text too."""
    said = word("It said so")
    Connection.objects.filter(pk=connection.pk).update(problem=said, test_result=said, test_ok=False, tested_at=timezone.now())
    Connection.objects.filter(pk=connection.pk).update(learned={"enqueued_tokens": {word("m"): 5}}, models_seen=[word("m"), "gpt-6-luna"])
    Job.objects.filter(pk=job.pk).update(needs=said)
    Batch.objects.filter(job=job).update(problem=said, wait_reason=said, provider_status=said[:60])
    Event.objects.create(job=job, kind="note", text=said)


def addresses() -> Iterator[tuple[str, str]]:
    """Every (name, route) of the URL configuration."""

    def walk(patterns: Any, prefix: str) -> Iterator[tuple[str, str]]:
        for each in patterns:
            if isinstance(each, URLResolver):
                yield from walk(each.url_patterns, prefix + str(each.pattern))
            elif isinstance(each, URLPattern):
                yield each.name or "", prefix + str(each.pattern)

    yield from walk(get_resolver().url_patterns, "")
