"""Several people and workers act in the same moment on the same jobs, drafts and connections: nobody is thrown out, whoever was told
that it is done finds it done, and the books add up.

BATCHUI_SEED=n plays one history, BATCHUI_NIGHT=1 many, from BATCHUI_FIRST_SEED on.
"""

from __future__ import annotations

import importlib
import json
import os
import traceback
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from jobs.engine import advance, budget, plan, preview, sweep
from jobs.engine.audit import audit_job
from jobs.engine.remote import endpoint_of
from jobs.models import Batch, Connection, Event, Job, PromptVersion, Round
from jobs.words import JobState, Lane, RoundState
from tests.concurrency.acts import Place
from tests.concurrency.crowd import Crowd, Said, make_boss

pytestmark = [pytest.mark.serial, pytest.mark.django_db(transaction=True)]
FIRST, NIGHT = int(os.environ.get("BATCHUI_FIRST_SEED", "1")), bool(os.environ.get("BATCHUI_NIGHT"))


def seeds(n: int) -> list[int]:
    """`n` of them, or the one that is asked for."""
    return [int(os.environ["BATCHUI_SEED"])] if os.environ.get("BATCHUI_SEED") else list(range(FIRST, FIRST + (200 if NIGHT else n)))


N_ROUNDS = 8


class Recorder:
    """Stands for the log of a worker: what it says is a traceback that must not be there."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def exception(self, *_: Any, **about: Any) -> None:
        self.told.append(f"a worker, {about}: {traceback.format_exc()}")


def in_process(module: str, request: dict[str, Any], **_: Any) -> Any:
    """What a child process would answer, without its start."""
    return importlib.import_module(module).answer(json.loads(json.dumps(request)))


@pytest.fixture
def log(monkeypatch: Any, settings: Any) -> Recorder:
    """Quick children, and the workers' log."""
    recorder = Recorder()
    monkeypatch.setattr(preview, "run_child", in_process)
    monkeypatch.setattr(plan, "stream_child", in_process)
    monkeypatch.setattr(advance, "log", recorder)
    monkeypatch.setattr(sweep, "log", recorder)
    settings.SANDBOX_ABSENCE_SECONDS, settings.PATIENCE_SECONDS = 0.2, 0.0
    return recorder


@pytest.fixture
def moved(monkeypatch: Any) -> list[str]:
    """Batches that a worker had in hand while their connection was another than the one that they were launched on."""
    seen: dict[Any, tuple[str, str]] = {}
    wrong: list[str] = []
    really = advance._step

    def step(batch: Batch, lease: Any) -> None:
        now = (batch.connection.kind, batch.connection.base_url)
        if seen.setdefault(batch.pk, now) != now or batch.round.sheet["provider"] != batch.connection.kind:
            wrong.append(f"batch {batch.pk} was made for {batch.round.sheet['provider']} on {seen[batch.pk]}, and is worked on at {now}")
        really(batch, lease)

    monkeypatch.setattr(advance, "_step", step)
    return wrong


def play(people: Any, sandbox: Any, settings: Any, log: Recorder, moved: list[str], seed: int) -> None:
    settings.SANDBOX_PORT = sandbox.server.server_address[1]
    make_boss(people)
    place = Place(people, sandbox)
    sandbox.control("arm", verb="batches.create", fault="drop_after", share=0.2, times=0)
    crowd = Crowd(place, seed)
    crowd.live(N_ROUNDS)
    problems = [*crowd.broken, *log.told, *moved, *promises(crowd.said), *books(sandbox, crowd.said)]
    if problems:
        history = "\n".join(f"{s.began:.3f}-{s.ended:.3f} {s.who} {s.act} {s.target} {s.wanted} {s.status} {s.words}" for s in crowd.said)
        pytest.fail(f"BATCHUI_SEED={seed}\n" + "\n\n".join(problems) + f"\n\n{history}", pytrace=False)


def standing(said: list[Said]) -> list[Said]:
    """Of those who set the same thing, the ones whose word may be the last: nobody began to set it after they had been answered."""
    return [each for each in said if not any(other.began > each.ended for other in said)]


def told(said: list[Said], act: str, words: str) -> list[Said]:
    return [each for each in said if each.act == act and any(words in each_words for each_words in each.words)]


def promises(said: list[Said]) -> Iterator[str]:
    """What somebody was told to be done and is not."""
    for job in Job.objects.all():
        mine = [each for each in said if each.target == job.pk]
        yield from (f"{job.pk} ({job.state}): {words}" for words in _launched(job, mine))
        yield from (f"{job.pk} ({job.state}): {words}" for words in _asked(job, mine))
    for each in told(said, "discard", "is discarded"):
        job = Job.objects.filter(pk=each.target).first()
        if job is not None and (job.launched_at is not None or job.state not in (JobState.CANCELLED, JobState.CANCELLING)):
            yield f"{job.pk} is {job.state} though it was discarded"
    for each in told(said, "save_prompt", "Saved as version"):
        if not PromptVersion.objects.filter(user=each.wanted["text"]).exists():
            yield f"no version has the text {each.wanted['text']}"
    for kept in Connection.objects.all():
        yield from (f"connection {kept.pk}: {words}" for words in _connection(kept, said))


def _launched(job: Job, said: list[Said]) -> Iterator[str]:
    if job.launched_at is None:
        chosen = [each for each in said if each.act == "choose_model" and each.status == 302]
        now = (job.connection_id, job.model, job.draft.get("changes", {}).get("max_output_tokens"))
        dropped = [each for each in said if each.act in ("choose_prompt", "save_prompt") and each.status == 302]
        last = [each.wanted["chosen"] for each in standing(chosen)]
        if last and job.state == JobState.DRAFT and now not in last and not (now[2] is None and dropped):
            yield f"it has {now}, chosen was {last}"
        return
    goes = [each.wanted["what"] for each in said if each.act == "go" and each.status == 302]
    if (job.dataset_version_id, job.prompt_version_id, job.connection_id, job.model) not in goes:
        yield "launched as nobody had seen it"
    if not job.estimate:
        yield "launched without an estimate"


def _asked(job: Job, said: list[Said]) -> Iterator[str]:
    cancels = told(said, "cancel", "Cancelling")
    rounds, again = set(job.rounds.values_list("token", flat=True)), told(said, "retry", "has started")
    rescues = told(said, "rescue", "cancelled and collected first")
    revived = any(other.ended > min(each.began for each in cancels) for other in [*again, *rescues]) if cancels else True
    if job.state != JobState.CANCELLED and not revived:
        yield "it was cancelled"
    yield from (
        f"{each.wanted} was answered with success, and there is no such round" for each in again if each.wanted["token"] not in rounds
    )
    tries = [each for each in said if each.act == "try_rows" and each.status == 302 and "/try/" in each.location]
    yield from (
        f"{each.wanted} was answered with success, and there is no such try" for each in tries if each.wanted["token"] not in rounds
    )
    if rescues and not job.rounds.filter(reason="rescue").exists() and not cancels and job.n_expired + job.n_cancelled + job.n_missing:
        yield "its rescue never came"
    if told(said, "approve", "Approved") and job.approved_by_id is None:
        yield "it was approved"
    if job.wish:
        yield f"a wish is left: {job.wish}"


def _connection(kept: Connection, said: list[Said]) -> Iterator[str]:
    mine = [each for each in told(said, "save_connection", "is saved") if each.wanted["connection"] == kept.pk]
    removed = [each for each in told(said, "remove_connection", "is removed") if each.wanted["removed"] == kept.pk]
    if removed:
        if kept.archived_at is None or kept.sealed_key or "(removed " not in kept.name:
            yield f"it was removed, and is {kept.name}, {kept.archived_at}, with a key: {bool(kept.sealed_key)}"
        elif late := Round.objects.filter(connection=kept, created_at__gt=kept.archived_at).count():
            yield f"{late} rounds were made on it after it was removed"
        return
    try:
        endpoint_of(kept)
    except Exception as error:
        yield f"its key does not open: {error!r}"
    now = (kept.name, kept.kind, kept.base_url, kept.limits.get("creates_per_minute"))
    if mine and now not in [each.wanted["saved"] for each in standing(mine)]:
        yield f"it is {now}, saved was {[each.wanted['saved'] for each in standing(mine)]}"


def books(sandbox: Any, said: list[Said]) -> Iterator[str]:
    """What does not add up once all has ended."""
    yield from (str(finding) for job in Job.objects.all() for finding in audit_job(job))
    out = StringIO()
    try:
        call_command("audit", stdout=out)
    except SystemExit:
        yield out.getvalue()
    for job in Job.objects.all():
        if sum(job.counts.values()) != job.n_rows or min(job.counts.values()) < 0:
            yield f"{job.pk}: {job.counts} of {job.n_rows}"
        if job.rounds.exclude(state=RoundState.SETTLED).exists():
            yield f"{job.pk} is {job.state} with a round that is not settled"
    for home in {job.workspace for job in Job.objects.select_related("workspace")}:
        if (budget.in_flight(home), budget.committed(home)) != (0, 0):
            yield f"reserved: {budget.in_flight(home)} in flight, {budget.committed(home)} promised"
        paid = sum((job.paid_usd for job in Job.objects.filter(workspace=home)), Decimal(0))
        if budget.spent_this_month(home) != paid:
            yield f"{budget.spent_this_month(home)} spent this month, the jobs paid {paid}"
    for model in (Job, Batch, Connection):
        if model.objects.filter(lease_until__gt=timezone.now()).exists():
            yield f"a {model.__name__} is still held"
    yield from _provider(sandbox, said)


def _provider(sandbox: Any, said: list[Said]) -> Iterator[str]:
    """What the provider made and ran, against the ledger."""
    made = Counter(call["batch"] for call in sandbox.control("calls", verb="batches.create"))
    known = set(Batch.objects.exclude(provider_batch_id="").values_list("provider_batch_id", flat=True))
    past = {token for tokens in Batch.objects.values_list("past_tokens", flat=True) for token in tokens}
    twins = {event.data.get("provider_batch_id") for event in Event.objects.exclude(data={})}
    # A person let go of these, and was told the risk.
    n_let_go = Event.objects.filter(kind="batch:given-up").count() + len([each for each in said if "again" in each.wanted])
    unknown = [name for name in made if name not in known | past | twins]
    if len(unknown) > n_let_go:
        yield f"not in the ledger: {unknown}"
    yield from (f"batch {name} was made {n} times" for name, n in made.items() if n > 1)
    ran = [row for row in sandbox.control("executed") if row["paid"]]
    again = {each.wanted["again"] for each in said if each.act == "decide" and "again" in each.wanted and each.status == 302}
    rows = Counter(row["custom_id"] for row in ran if row["custom_id"] and row["custom_id"].rpartition("-")[0] not in again)
    yield from (f"row {custom_id} was paid {n} times" for custom_id, n in rows.items() if n > 1)
    direct = Batch.objects.exclude(round__lane=Lane.BATCH)
    answered = sum(n for each in direct for kind, n in each.outcomes.items() if kind in ("succeeded", "invalid", "missing"))
    n_ran = sum(1 for row in ran if not row["custom_id"])
    if n_ran > answered:
        yield f"{n_ran} ordinary calls were paid, {answered} rows have such an answer"


@pytest.mark.parametrize("seed", seeds(1))
def test_people_on_sqlite(people: Any, sandbox: Any, data_folder: Path, settings: Any, log: Recorder, moved: list[str], seed: int) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("on PostgreSQL the other test does the same")
    play(people, sandbox, settings, log, moved, seed)


@pytest.mark.postgres
@pytest.mark.parametrize("seed", seeds(2))
def test_people_on_postgres(
    people: Any, sandbox: Any, data_folder: Path, settings: Any, log: Recorder, moved: list[str], seed: int
) -> None:
    play(people, sandbox, settings, log, moved, seed)
