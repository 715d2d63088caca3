"""Folders of batches that the ledger does not know, as after a restore from a backup: paid answers in them are taken, never thrown away."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.engine import left_behind, places
from jobs.engine.advance import advance_job
from jobs.engine.audit import audit_job, unknown_jobs
from jobs.engine.retry import retry
from jobs.models import Connection, Job, PromptVersion
from jobs.rows.choose import Wanted
from tests.engine.test_restored import copy, forget_the_journal, put_back
from tests.engine.world import batch_of, creates, finish, hurry, kinds, look, plan_here, texts

pytestmark = pytest.mark.django_db


def direct(make: Any, **fields: Any) -> Job:
    job: Job = make(planned=False, **fields)
    job.rounds.update(lane="direct")
    return job


def really_plan(job: Job) -> None:
    """By the child process, with all that the planner does before it."""
    hurry(job)
    advance_job(str(job.pk))
    assert job.batches.exists()


def asked(sandbox: Any) -> list[str]:
    return sorted(row["body"] for row in sandbox.control("executed") if row["paid"])


def test_rows_that_were_answered_after_the_backup_are_not_asked_again(make: Any, sandbox: Any) -> None:
    job = direct(make)
    before = copy()
    job = finish(job, sandbox)
    assert (kinds(job), len(asked(sandbox))) == ({"succeeded": 6}, 6)
    paid, there = job.paid_usd, batch_of(job).pk
    put_back(before)
    really_plan(job)
    job = finish(Job.objects.get(pk=job.pk), sandbox)
    assert (job.state, kinds(job), job.paid_usd, batch_of(job).pk) == ("completed", {"succeeded": 6}, paid, there)
    assert len(asked(sandbox)) == 6


def test_rows_that_were_not_answered_yet_are_sent_and_no_others(make: Any, connect: Any, sandbox: Any) -> None:
    job = direct(make, connection=connect(limits={"concurrency": 1}))
    before = copy()
    plan_here(job)
    sandbox.control("arm", verb="chat", fault="status", status=429, retry_after=600, skip=4)
    assert (look(batch_of(job)).state, len(asked(sandbox))) == ("ready", 4)
    sandbox.control("disarm")
    put_back(before)
    job = finish(job, sandbox)
    assert (kinds(job), len(asked(sandbox)), len(set(asked(sandbox)))) == ({"succeeded": 6}, 6, 6)
    assert audit_job(job) == []


@pytest.mark.parametrize("has_journal", [True, False])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_batches_that_were_cut_and_sent_after_the_backup_are_found_again(make: Any, sandbox: Any, kind: str, has_journal: bool) -> None:
    """Their folders say which they were: no admin is needed to set them aside, and nothing is paid again."""
    job = make(kind=kind, per_batch=3, planned=False)
    before = copy()
    plan_here(job)
    job = finish(job, sandbox)
    there = list(job.batches.order_by("number").values_list("pk", "provider_batch_id"))
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 2)
    put_back(before)
    if not has_journal:
        forget_the_journal()
    job = finish(job, sandbox)
    assert (job.state, kinds(job), creates(sandbox)) == ("completed", {"succeeded": 6}, 2)
    assert list(job.batches.order_by("number").values_list("pk", "provider_batch_id")) == there
    assert audit_job(job) == []


def test_a_retry_after_the_backup_is_not_paid_again(make: Any, sandbox: Any) -> None:
    """Rounds of the same first row: each takes the request file that is its own."""
    job = direct(make, model="gpt-6-luna+invalid=2")
    before = copy()
    plan_here(job)
    job = finish(job, sandbox)
    first = kinds(job)
    retry(job, None, Wanted(), token="again")
    job = finish(job, sandbox)
    last, n_asked = kinds(job), len(sandbox.control("calls", verb="chat"))
    put_back(before)
    job = finish(job, sandbox)
    assert (kinds(job), len(texts(job, left_behind.KEPT))) == (first, 1)
    retry(job, None, Wanted(), token="again")
    job = finish(job, sandbox)
    assert (kinds(job), len(sandbox.control("calls", verb="chat"))) == (last, n_asked)
    assert audit_job(job) == []


def test_rows_whose_template_fails_do_not_hide_what_was_answered(make: Any, sandbox: Any) -> None:
    job = direct(make)
    PromptVersion.objects.filter(pk=job.prompt_version_id).update(user="{{ 1 // (text|length - 10) }}{{ text }}")
    before = copy()
    plan_here(job)
    job = finish(job, sandbox)
    assert (kinds(job), len(asked(sandbox))) == ({"succeeded": 2, "failed": 4}, 2)
    put_back(before)
    job = finish(job, sandbox)
    assert (kinds(job), len(asked(sandbox))) == ({"succeeded": 2, "failed": 4}, 2)


def test_limits_that_changed_do_not_hide_what_was_answered(make: Any, sandbox: Any) -> None:
    job = make(planned=False)
    before = copy()
    plan_here(job)
    job = finish(job, sandbox)
    put_back(before)
    Connection.objects.filter(pk=job.connection_id).update(limits={"requests_per_batch": 4})
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox), job.batches.count()) == ({"succeeded": 6}, 1, 1)


def test_answers_to_another_prompt_are_kept_and_said(make: Any, sandbox: Any) -> None:
    job = direct(make)
    before = copy()
    plan_here(job)
    job = finish(job, sandbox)
    there = places.results_folder(batch_of(job))
    answers = (there / "answers.jsonl").read_bytes()
    put_back(before)
    PromptVersion.objects.filter(pk=job.prompt_version_id).update(user="And now: {{ text }}")
    really_plan(job)
    job = finish(job, sandbox)
    assert (job.state, kinds(job), len(set(asked(sandbox)))) == ("completed", {"succeeded": 6}, 12)
    assert (there / "answers.jsonl").read_bytes() == answers
    name = there.parent.name
    assert texts(job, left_behind.KEPT) == [
        f"The folder batches/{name} holds answers, which may be paid for, of a batch that the ledger does not know, as after a restore "
        "from a backup. It is kept; a round over the same rows with the same prompt and settings takes them"
    ]
    assert [(each.where, each.text) for each in audit_job(job)] == [("folder", f"answers of a batch that the ledger does not know: {name}")]


def test_answers_of_a_job_that_the_ledger_does_not_know_are_found_by_the_audit(make: Any, sandbox: Any) -> None:
    job = direct(make)
    plan_here(job)
    job = finish(job, sandbox)
    make()
    assert unknown_jobs() == []
    name = job.pk.hex
    job.delete()
    assert [str(each) for each in unknown_jobs()] == [f"job {name}, folder: holds answers, and the ledger does not know the job"]


@pytest.mark.parametrize("known", ["job", "batches", "submits"])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_results_that_are_deleted_at_the_provider_are_taken_from_the_disk(
    make: Any, connect: Any, sandbox: Any, kind: str, known: str
) -> None:
    """Whatever the backup knows of them."""
    connection = connect(kind, limits={"requests_per_batch": 3}, delete_remote_files=True)
    job = make(planned=False, connection=connection)
    before = copy()
    plan_here(job)
    before = before if known == "job" else copy()
    for batch in job.batches.all() if known == "submits" else ():
        look(batch)
        before = copy()
    job = finish(job, sandbox)
    paid = job.paid_usd
    put_back(before)
    job = finish(job, sandbox)
    assert (job.state, kinds(job), job.paid_usd, creates(sandbox)) == ("completed", {"succeeded": 6}, paid, 2)
    assert audit_job(job) == []
