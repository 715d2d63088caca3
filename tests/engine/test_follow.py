"""Follow: what the provider says of batches, in words, whatever it says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.engine import follow
from jobs.engine.follow import take_note
from jobs.engine.remote import calling
from jobs.models import Batch, Connection
from jobs.providers.base import LineError, RemoteBatch
from jobs.words import Cause
from tests.engine.world import batch_of, batch_of_pk, creates, ended, finish, hurry, kinds, look, texts

pytestmark = pytest.mark.django_db


def test_unknown_status_is_not_an_end(make: Any, sandbox: Any) -> None:
    batch = look(look(batch_of(make(model="gpt-6-luna+status=pondering,never"))))
    assert (batch.state, batch.provider_status) == ("submitted", "pondering")
    assert batch.wait_reason == "the provider says “pondering”, a word that batchui does not know; it counts as still running"


def test_batch_that_never_ends_says_so_and_can_be_cancelled(make: Any, sandbox: Any) -> None:
    from jobs.engine.cancel import cancel

    job = make(model="gpt-6-luna+stuck=validating")
    batch = look(look(batch_of(job)))
    Batch.objects.filter(pk=batch.pk).update(expires_at=timezone.now() - timedelta(hours=1))
    sandbox.control("arm", verb="batches.get", fault="merge", merge={"expires_at": None})
    batch = look(batch_of_pk(batch))
    assert batch.state == "submitted"
    assert batch.wait_reason == "the provider is past its own time limit; still asking. You can cancel it and send what is left again"
    cancel(job, None)
    job = finish(job, sandbox)
    assert (job.state, sum(kinds(job).values()), kinds(job).get("succeeded", 0)) == ("cancelled", 6, 0)


def test_batch_that_is_about_to_expire_says_so(make: Any, sandbox: Any) -> None:
    batch = look(look(batch_of(make(model="gpt-6-luna+never"))))
    assert batch.wait_reason == ""
    Batch.objects.filter(pk=batch.pk).update(expires_at=timezone.now() + timedelta(hours=3))
    sandbox.control("arm", verb="batches.get", fault="merge", merge={"expires_at": None})
    batch = look(batch_of_pk(batch))
    assert batch.wait_reason == "its time at the provider is nearly over; what has not run by then expires and is not charged"


def test_token_limit_is_back_pressure_and_costs_no_attempt(make: Any, sandbox: Any) -> None:
    job = make(per_batch=3, pad=300, model="gpt-6-luna+slow=30s")
    limit = max(job.batches.values_list("n_tokens", flat=True))
    sandbox.control("set", enqueued_tokens={"gpt-6-luna": limit})
    first, second = look(batch_of(job, 1)), look(batch_of(job, 2))
    assert (first.state, second.state) == ("submitted", "submitted")
    sandbox.control("advance", seconds=5)
    look(first)
    held = [batch for batch in (batch_of(job, 1), batch_of(job, 2)) if batch.state == "ready"]
    assert len(held) == 1
    (batch,) = held
    assert batch.next_look_at > timezone.now()  # it does not go again at once
    assert batch.wait_reason.startswith("waiting for headroom: ")
    assert Connection.objects.get(pk=job.connection_id).learned == {"enqueued_tokens": {job.model: limit}}
    upload = batch.upload_id
    job = finish(job, sandbox)
    assert kinds(job) == {"succeeded": 6}
    assert (batch_of_pk(batch).upload_id, batch_of_pk(batch).n_submits) == (upload, 2)
    assert job.rounds.count() == 1


def test_batch_larger_than_the_token_limit_is_cut_smaller_and_costs_no_attempt(make: Any, sandbox: Any) -> None:
    job = make(n_rows=12)
    n_tokens = batch_of(job).n_tokens
    sandbox.control("set", enqueued_tokens={"gpt-6-luna": n_tokens // 3})
    job = finish(job, sandbox)
    assert kinds(job) == {"succeeded": 12}
    sizes = list(job.batches.filter(round__number=2).values_list("n_tokens", flat=True))
    assert len(sizes) > 2
    assert max(sizes) <= n_tokens // 3
    assert creates(sandbox) < 20


def test_answer_about_an_earlier_submit_does_not_touch_the_new_one(make: Any, sandbox: Any) -> None:
    """Two walks at once: the slower one still has the refusal of a batch that was sent again meanwhile."""
    job = make()
    sandbox.control("arm", orders="fail=token_limit_exceeded", times=1)
    before = look(batch_of(job))
    refused = RemoteBatch(
        before.provider_batch_id, "failed", ended=True, failed=True, errors=(LineError("token_limit_exceeded", "…", later=True),)
    )
    sandbox.control("advance", seconds=60)
    batch = look(look(before))
    assert (batch.state, creates(sandbox)) == ("submitted", 2)
    take_note(before, refused)
    after = batch_of_pk(batch)
    assert (after.state, after.provider_batch_id) == ("submitted", batch.provider_batch_id)


def test_404_is_no_verdict(make: Any, sandbox: Any) -> None:
    job = make()
    batch = look(batch_of(job))
    sandbox.control("arm", verb="batches.get", fault="status", status=404)
    batch = look(batch)
    assert (batch.state, batch.n_errors) == ("submitted", 1)
    assert batch.wait_reason == "the provider does not know this batch at the moment; asking again"
    Batch.objects.filter(pk=batch.pk).update(submitted_at=timezone.now() - timedelta(hours=1))
    sandbox.control("arm", verb="batches.get", fault="status", status=404)
    assert look(batch_of_pk(batch)).wait_reason.endswith("If the key was changed to one of another project, change it back")
    assert kinds(finish(job, sandbox)) == {"succeeded": 6}


def test_batch_that_is_forgotten_past_its_shelf_life_ends_without_an_answer(make: Any, sandbox: Any) -> None:
    """Nobody can ever fetch it; its rows were perhaps paid, so only a person sends them again."""
    job = make(max_attempts=3)
    batch = look(batch_of(job))
    sandbox.control("arm", verb="batches.get", fault="status", status=404, times=0)
    past = {"results_expire_at": timezone.now() - timedelta(hours=1), "submitted_at": timezone.now() - timedelta(days=30)}
    Batch.objects.filter(pk=batch.pk).update(**past)
    job = finish(job, sandbox)
    assert (job.state, kinds(job), creates(sandbox)) == ("failed", {"missing": 6}, 1)
    assert "Batch 1: the provider does not know it any more, and its results would be gone by now" in texts(job, "batch:ended")


TROUBLE = [
    ({"fault": "status", "status": 503}, "cannot ask the provider: The provider answered with an error (HTTP 503)."),
    ({"fault": "html"}, "cannot ask the provider: The server answered with a web page (HTTP 200), not as an API."),
    ({"fault": "drop_before"}, "cannot ask the provider: The connection broke before the whole answer was there."),
    ({"fault": "empty"}, "cannot ask the provider: The server's answer could not be read as that of this API (HTTP 200)."),
    ({"fault": "merge", "merge": {"id": "batch_of_somebody"}}, "cannot ask the provider: Asked for batch "),
    ({"fault": "status", "status": 429, "retry_after": 600}, "cannot ask the provider: The provider asks us to wait (HTTP 429)."),
]


@pytest.mark.parametrize(("fault", "words"), TROUBLE, ids=lambda each: each["fault"] if isinstance(each, dict) else "")
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_trouble_is_said_and_passes(make: Any, sandbox: Any, kind: str, fault: Any, words: str) -> None:
    job = make(kind=kind)
    batch = look(batch_of(job))
    sandbox.control("arm", verb="batches.get", **fault)
    before = timezone.now()
    batch = look(batch)
    assert (batch.state, batch.wait_reason[: len(words)]) == ("submitted", words)
    if "retry_after" in fault:
        assert (batch.next_look_at - before).total_seconds() >= 599
    assert Connection.objects.get(pk=job.connection_id).problem.startswith(words)
    batch = look(batch)
    assert (batch.wait_reason, batch.n_errors) == ("", 0)
    assert Connection.objects.get(pk=job.connection_id).problem == ""


def test_one_list_tells_of_many(make: Any, sandbox: Any) -> None:
    job = make(n_rows=8, per_batch=1)
    for number in range(1, 9):
        look(batch_of(job, number))
    sandbox.control("advance", seconds=60)
    before = sandbox.control("")["calls"]
    hurry(job)
    look(batch_of(job, 1))
    after = sandbox.control("")["calls"]
    assert {verb: n - before.get(verb, 0) for verb, n in after.items() if n != before.get(verb, 0)} == {"openai batches.list": 1}
    assert set(job.batches.values_list("state", flat=True)) == {"ended"}


def test_batches_that_the_list_hides_are_asked_for_by_id(make: Any, sandbox: Any) -> None:
    job = make(n_rows=8, per_batch=1)
    for number in range(1, 9):
        look(batch_of(job, number))
    sandbox.control("advance", seconds=60)
    sandbox.control("arm", verb="batches.list", fault="hide")
    for _ in range(2):
        look(batch_of(job, 8))
    assert list(job.batches.values_list("state", flat=True)) == ["ended"] * 8


@pytest.mark.parametrize("fault", [{"fault": "status", "status": 404}, {"fault": "merge", "merge": {"data": [{"id": None}]}}], ids=str)
def test_server_without_a_list_is_asked_by_id(make: Any, sandbox: Any, fault: Any) -> None:
    job = make(n_rows=3, per_batch=1)
    for number in (1, 2, 3):
        look(batch_of(job, number))
    sandbox.control("advance", seconds=60)
    sandbox.control("arm", verb="batches.list", times=0, **fault)
    hurry(job)
    look(batch_of(job, 1))
    assert list(job.batches.values_list("state", flat=True)) == ["ended"] * 3
    assert Connection.objects.get(pk=job.connection_id).problem == ""


def test_batch_that_cannot_be_asked_for_keeps_no_other_from_ending(make: Any, sandbox: Any) -> None:
    job = make(n_rows=3, per_batch=1)
    for number in (1, 2, 3):
        look(batch_of(job, number))
    sandbox.control("advance", seconds=60)
    sandbox.control("arm", verb="batches.list", fault="truncate", n=2)  # the first one is not on it
    sandbox.control("arm", verb="batches.get", fault="status", status=500, times=0)
    look(batch_of(job, 3))
    assert list(job.batches.order_by("number").values_list("state", flat=True)) == ["submitted", "ended", "ended"]
    first = batch_of(job, 1)
    assert (first.n_errors, first.wait_reason[:57]) == (1, "cannot ask the provider: The provider answered with an er")
    sandbox.control("disarm")
    assert kinds(finish(job, sandbox)) == {"succeeded": 3}


def test_refused_whole_names_the_line_and_frees_the_others(make: Any, sandbox: Any) -> None:
    job = make(max_attempts=1)
    batch = look(batch_of(job))
    errors = (LineError("invalid_json_line", "Line 2 is not JSON.", line=2, cause=Cause.INVALID_REQUEST),)
    take_note(batch, RemoteBatch(batch.provider_batch_id, "failed", ended=True, failed=True, errors=errors))
    batch = batch_of_pk(batch)
    assert (batch.state, batch.outcomes, batch.paid_usd) == ("rejected", {"failed": 6}, 0)
    job = finish(job, sandbox)  # the five others go again although one attempt is all that the job allows: they were never tried
    assert kinds(job) == {"succeeded": 5, "failed": 1}


@pytest.mark.parametrize("code", ["billing_hard_limit_reached", "empty_file", "server_error"])
def test_batch_that_failed_after_validation_says_why(make: Any, sandbox: Any, code: str) -> None:
    batch = ended(batch_of(make(model=f"gpt-6-luna+fail={code}")), sandbox)
    assert (batch.state, batch.outcomes, batch.paid_usd) == ("rejected", {"failed": 6}, 0)
    assert batch.problem != ""


def test_status_in_between_is_on_the_timeline(make: Any, sandbox: Any) -> None:
    job = make(model="gpt-6-luna+stuck=finalizing")
    batch = look(batch_of(job))
    sandbox.control("advance", seconds=60)
    look(batch)
    assert texts(job, "batch:status") == ["Batch 1: finishing at the provider"]


def test_key_that_cannot_be_unsealed_is_said(make: Any, sandbox: Any) -> None:
    job = make()
    batch = look(batch_of(job))
    Connection.objects.filter(pk=job.connection_id).update(sealed_key="v1.garbage")
    batch = look(batch_of_pk(batch))
    assert batch.state == "submitted"
    assert batch.wait_reason.startswith("cannot ask the provider: ")
    assert Connection.objects.get(pk=job.connection_id).problem.startswith("cannot ask the provider: ")


def test_calls_never_list_more_than_ten_pages(make: Any, sandbox: Any) -> None:
    job = make(n_rows=2, per_batch=1)
    look(batch_of(job, 1))
    look(batch_of(job, 2))
    sandbox.control("arm", verb="batches.list", fault="alien", n=3000)
    sandbox.control("arm", verb="batches.list", fault="page", n=100)
    before = sandbox.control("")["calls"].get("openai batches.list", 0)
    hurry(job)
    look(batch_of(job, 1))
    assert sandbox.control("")["calls"]["openai batches.list"] - before <= 10
    with calling(job.connection) as provider:
        assert provider.get(batch_of(job, 1).provider_batch_id).id == batch_of(job, 1).provider_batch_id


def test_trouble_of_ours_with_one_batch_keeps_no_other_from_being_followed(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    job = make(per_batch=2)
    first, second, third = (look(batch_of(job, number + 1)) for number in range(3))
    sandbox.control("advance", seconds=60)
    whole = follow.take_note

    def broken(batch: Any, remote: Any) -> None:
        if batch.pk == second.pk:
            raise OSError(5, "Input/output error")
        whole(batch, remote)

    monkeypatch.setattr(follow, "take_note", broken)
    look(first)
    words = "the storage failed; it is tried again (Input/output error)"
    found = [(each.state, each.wait_reason) for each in map(batch_of_pk, (first, second, third))]
    assert found == [("ended", ""), ("submitted", words), ("ended", "")]
    monkeypatch.undo()
    assert kinds(finish(job, sandbox)) == {"succeeded": 6}
