"""Submit: one create, and words for all that keeps a batch from going."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.engine import asked, headroom
from jobs.engine.advance import advance_batch
from jobs.engine.connections import save_connection
from jobs.engine.windows import soon
from jobs.errors import BadInput
from jobs.models import Batch, Connection, Job
from tests.engine.world import KEY, batch_of, batch_of_pk, creates, finish, hurry, kinds, look, settled, texts

pytestmark = pytest.mark.django_db
DIALECTS = ["openai", "anthropic"]


@pytest.mark.parametrize("kind", DIALECTS)
def test_submit_creates_once_and_names_it(make: Any, sandbox: Any, kind: str) -> None:
    batch = look(batch_of(make(kind=kind)))
    assert (batch.state, batch.n_submits, creates(sandbox)) == ("submitted", 1, 1)
    assert batch.provider_batch_id == sandbox.control("")["batches"][0]["id"]
    assert batch.results_expire_at > timezone.now()
    assert (batch.lease_until, batch.wait_reason, batch.problem) == (None, "", "")


LOST = [
    {"fault": "drop_after"},
    {"fault": "status_after", "status": 500},
    {"fault": "status_after", "status": 408},
    {"fault": "status_after", "status": 409},
    {"fault": "empty"},
    {"fault": "garbage"},
    {"fault": "html"},
    {"fault": "late", "seconds": 0.05},
]


@pytest.mark.parametrize("fault", LOST, ids=lambda f: f["fault"] + str(f.get("status", "")))
@pytest.mark.parametrize("kind", DIALECTS)
def test_lost_answer_is_looked_for_and_adopted(make: Any, sandbox: Any, settings: Any, kind: str, fault: Any) -> None:
    settings.SANDBOX_ABSENCE_SECONDS = 60.0
    job = make(kind=kind)
    sandbox.control("arm", verb="batches.create", **fault)
    batch = look(batch_of(job))
    assert batch.state == "unknown"
    assert batch.wait_reason == "the provider did not say whether it took the batch; looking for it there before anything else is sent"
    assert batch.problem != ""
    if fault["fault"] == "late":
        sandbox.control("settle")
        _until_created(sandbox)
    batch = look(batch)
    assert (batch.state, batch.provider_batch_id) == ("submitted", sandbox.control("")["batches"][0]["id"])
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 1)


def _until_created(sandbox: Any) -> None:
    for _ in range(200):
        if creates(sandbox):
            return
        sandbox.control("settle")
        timezone.now()
        import time

        time.sleep(0.01)  # the sandbox carries it out in a thread of its own
    raise AssertionError("the late create never came")


NOT_DONE = [
    {"fault": "drop_before"},
    {"fault": "redirect", "location": "http://127.0.0.1:9/"},
    {"fault": "status", "status": 520, "html": True},
]


@pytest.mark.parametrize("fault", NOT_DONE, ids=lambda f: f["fault"])
@pytest.mark.parametrize("kind", DIALECTS)
def test_create_that_was_not_done_goes_again_only_when_proved_absent(make: Any, sandbox: Any, settings: Any, kind: str, fault: Any) -> None:
    settings.SANDBOX_ABSENCE_SECONDS = 60.0
    job = make(kind=kind)
    sandbox.control("arm", verb="batches.create", **fault)
    batch = look(look(look(batch_of(job))))
    assert (batch.state, batch.n_submits) == ("unknown", 1)
    assert batch.wait_reason == "not found at the provider yet; it may still turn up, so nothing is sent again for about 1 min"
    settings.SANDBOX_ABSENCE_SECONDS = 0.0
    batch = look(batch)
    assert (batch.state, batch.n_absent) == ("unknown", 1)
    assert batch.wait_reason == "not found at the provider; one more look, then it is sent again"
    token = batch.submit_token
    batch = look(batch)
    assert (batch.state, batch.past_tokens) == ("ready", [token])
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 1)


def test_long_retry_after_is_kept_to(make: Any, sandbox: Any) -> None:
    """For hours, by all that the connection has to create; looked at every 15 minutes, without a call. A clock stepped back ends it."""
    sandbox.control("arm", verb="batches.create", fault="status", status=429, retry_after=7200)
    job, before = make(per_batch=3), timezone.now()
    batch = look(batch_of(job, 1))
    assert (batch.state, batch.n_errors, creates(sandbox)) == ("ready", 1, 0)
    assert 895 < (batch.next_look_at - before).total_seconds() < 910
    moment = asked.until(Connection.objects.get(pk=batch.connection.pk))
    assert moment is not None
    assert 7195 < (moment - before).total_seconds() < 7210
    said = f"the provider asked us to wait until {timezone.localtime(moment):%H:%M %Z on %d %B}; nothing is created before"
    assert batch.wait_reason.startswith(f"{said} (The provider asks us to wait (HTTP 429).")
    calls = sandbox.control("")["calls"]
    first, second = look(batch), look(batch_of(job, 2))
    assert [each.wait_reason for each in (first, second)] == [said, said]
    assert second.next_look_at - timezone.now() <= timedelta(minutes=15)
    assert sandbox.control("")["calls"] == calls
    ahead = {"at": (timezone.now() + timedelta(hours=1)).isoformat(), "until": moment.isoformat()}
    Connection.objects.filter(pk=batch.connection.pk).update(learned={asked.KEY: ahead})
    assert look(second).state == "submitted"


def test_a_new_key_waits_for_nothing(make: Any, sandbox: Any, people: Any) -> None:
    sandbox.control("arm", verb="batches.create", fault="status", status=429, retry_after=7200)
    batch = look(batch_of(make()))
    connection = Connection.objects.get(pk=batch.connection.pk)
    save_connection(
        people.home, people.owner, name=connection.name, kind=connection.kind, base_url=connection.base_url, key=KEY, connection=connection,
        by_operator=True,
    )  # fmt: skip
    assert look(batch).state == "submitted"


@pytest.mark.parametrize("kind", DIALECTS)
def test_key_that_never_worked_ends_the_job(make: Any, sandbox: Any, kind: str) -> None:
    job = make(kind=kind)
    sandbox.control("revoke", key=KEY)
    batch = look(batch_of(job))
    assert (batch.state, batch.outcomes) == ("rejected", {"failed": 6})
    assert "The provider did not accept the API key (HTTP 401)." in batch.problem


@pytest.mark.parametrize("kind", DIALECTS)
def test_key_revoked_mid_job_holds_the_rest_until_it_works(make: Any, sandbox: Any, kind: str) -> None:
    job = make(kind=kind, per_batch=3)
    first = look(batch_of(job, 1))
    sandbox.control("revoke", key=KEY)
    second = look(batch_of(job, 2))
    assert (first.state, second.state, creates(sandbox)) == ("submitted", "ready", 1)
    assert second.wait_reason.startswith("the provider does not accept the key now; what is not sent waits and goes on by itself")
    job.refresh_from_db()
    assert job.needs.startswith("The provider does not accept the key of this connection now. An admin can put that right.")
    first = look(first)
    assert first.state == "submitted"
    assert first.wait_reason.startswith(
        "the key was not accepted; the batch goes on at the provider and is collected once the key works again"
    )
    assert Connection.objects.get(pk=job.connection_id).problem != ""
    sandbox.control("restore")
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox), job.needs) == ({"succeeded": 6}, 2, "")
    assert Connection.objects.get(pk=job.connection_id).problem == ""


@pytest.mark.parametrize("fault", [{"status": 402}, {"status": 400, "code": "billing_hard_limit_reached"}], ids=str)
def test_account_without_credit_mid_job_holds_the_rest(make: Any, sandbox: Any, fault: Any) -> None:
    job = make(per_batch=3)
    look(batch_of(job, 1))
    sandbox.control("arm", verb="batches.create", fault="status", **fault)
    second = look(batch_of(job, 2))
    assert (second.state, creates(sandbox)) == ("ready", 1)
    assert second.wait_reason.startswith("the provider does not accept the account now; what is not sent waits and goes on by itself")
    job.refresh_from_db()
    assert job.needs.startswith("The provider does not accept the account of this connection now.")
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox), job.needs) == ({"succeeded": 6}, 2, "")


@pytest.mark.parametrize("kind", DIALECTS)
def test_new_key_lets_the_job_go_on_by_itself(make: Any, sandbox: Any, people: Any, kind: str) -> None:
    job = make(kind=kind, per_batch=3)
    first = look(batch_of(job, 1))
    sandbox.control("revoke", key=KEY)
    assert (look(first).state, look(batch_of(job, 2)).state) == ("submitted", "ready")
    Batch.objects.filter(job=job).update(next_look_at=soon(60))
    connection = Connection.objects.get(pk=job.connection_id)
    save_connection(
        people.home, people.owner, name=connection.name, kind=kind, base_url=connection.base_url, key="sk-new-1234567890",
        connection=connection, by_operator=True,
    )  # fmt: skip
    due_at = set(job.batches.values_list("next_look_at", flat=True))
    assert max(due_at) <= timezone.now()
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox), job.needs) == ({"succeeded": 6}, 2, "")


def test_batch_is_bound_to_its_connection(make: Any, sandbox: Any, people: Any) -> None:
    """What is at one provider is never asked for at another."""
    job = make()
    look(batch_of(job))
    held = Connection.objects.get(pk=job.connection_id)
    with pytest.raises(BadInput, match="so its address and kind cannot change now"):
        save_connection(
            people.home, people.owner, name=held.name, kind="openai-compatible", base_url=sandbox.openai_url, key=KEY, connection=held,
            by_operator=True,
        )  # fmt: skip


@pytest.mark.parametrize("kind", DIALECTS)
def test_file_too_large_is_cut_smaller_and_costs_no_attempt(make: Any, sandbox: Any, kind: str) -> None:
    job = make(kind=kind, n_rows=8)
    batch = batch_of(job)
    verb = "batches.create" if kind == "anthropic" else "files.create"
    sandbox.control("arm", verb=verb, fault="status", status=413)
    batch = look(batch)
    assert (batch.state, batch.outcomes) == ("rejected", {"failed": 8})
    most = batch.n_bytes // 2
    assert Connection.objects.get(pk=job.connection_id).learned == {"bytes_per_batch": most}
    Connection.objects.filter(pk=job.connection_id).update(learned={"bytes_per_batch": most + 1_000})  # the envelope's share
    job = finish(job, sandbox)
    assert kinds(job) == {"succeeded": 8}
    again = list(job.batches.filter(round__number=2))
    assert len(again) > 1
    assert all(each.n_bytes <= most for each in again)


def test_file_not_visible_yet_goes_again_with_the_same_file(make: Any, sandbox: Any) -> None:
    job = make()
    message = "Cannot find file file-1, or organization does not have access to it."
    sandbox.control("arm", verb="batches.create", fault="status", status=400, message=message, param="file_id", times=2)
    batch = look(batch_of(job))
    upload = batch.upload_id
    assert (batch.state, creates(sandbox)) == ("ready", 0)
    batch = look(look(batch))
    assert (batch.state, batch.upload_id, creates(sandbox)) == ("submitted", upload, 1)


def test_file_gone_for_good_is_uploaded_again(make: Any, sandbox: Any) -> None:
    job = make()
    message = "Cannot find file file-1, or organization does not have access to it."
    sandbox.control("arm", verb="batches.create", fault="status", status=400, message=message, param="file_id", times=5)
    batch = batch_of(job)
    for _ in range(6):
        batch = look(batch)
    assert (batch.state, len(sandbox.control("")["files"])) == ("submitted", 2)


@pytest.mark.parametrize("fault", [{"fault": "drop_after"}, {"fault": "status", "status": 503}, {"fault": "html"}], ids=str)
def test_lost_upload_is_found_or_repeated(make: Any, sandbox: Any, fault: Any) -> None:
    job = make()
    sandbox.control("arm", verb="files.create", **fault)
    batch = look(batch_of(job))
    assert (batch.state, batch.upload_id) == ("ready", "")
    assert batch.wait_reason.startswith("trying again soon: the request file could not be uploaded: ")
    batch = look(batch)
    assert batch.state == "submitted"
    assert len(sandbox.control("")["files"]) == 1


def test_lost_upload_at_a_server_that_lists_no_files_is_repeated(make: Any, sandbox: Any) -> None:
    job = make()
    sandbox.control("arm", verb="files.create", fault="drop_after")
    sandbox.control("arm", verb="files.list", fault="status", status=404, times=0)
    batch = look(look(batch_of(job)))
    assert (batch.state, len(sandbox.control("")["files"]), creates(sandbox)) == ("submitted", 2, 1)


@pytest.mark.parametrize(("share", "state"), [(2, "ready"), (0.5, "rejected")])
def test_token_limit_told_by_the_create_is_learned(make: Any, sandbox: Any, share: float, state: str) -> None:
    """Some servers say it at once. A batch that alone is above the limit would never be taken."""
    job = make(n_rows=12)
    batch = batch_of(job)
    limit = int(batch.n_tokens * share)
    message = f"Enqueued token limit reached. Limit: {limit:,} enqueued tokens."
    sandbox.control("arm", verb="batches.create", fault="status", status=400, code="token_limit_exceeded", message=message)
    batch = look(batch)
    assert (batch.state, Connection.objects.get(pk=job.connection_id).learned) == (state, {"enqueued_tokens": {job.model: limit}})
    job = finish(job, sandbox)
    assert (kinds(job), job.rounds.count()) == ({"succeeded": 12}, 1 if state == "ready" else 2)


def test_answer_that_names_another_batch_is_not_believed(make: Any, sandbox: Any, settings: Any) -> None:
    settings.SANDBOX_ABSENCE_SECONDS = 60.0
    job = make(per_batch=3)
    first = look(batch_of(job, 1))
    sandbox.control("arm", verb="batches.create", fault="merge", merge={"id": first.provider_batch_id})
    second = look(batch_of(job, 2))
    assert (second.state, second.provider_batch_id) == ("unknown", "")
    assert second.problem == f"the answer to the create names another batch, {first.provider_batch_id}"
    second = look(second)
    assert second.state == "submitted"
    assert second.provider_batch_id not in ("", first.provider_batch_id)
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 2)


def test_creates_per_minute_counts_refused_ones(make: Any, connect: Any, sandbox: Any) -> None:
    connection = connect(limits={"requests_per_batch": 2, "creates_per_minute": 2})
    job = make(connection=connection)
    sandbox.control("arm", verb="batches.create", fault="status", status=429)
    first, second, third = (look(batch_of(job, n)) for n in (1, 2, 3))
    assert (first.state, second.state, third.state) == ("ready", "submitted", "ready")
    assert third.wait_reason == "waiting: 2 batches were created in the last minute, the limit of this connection is 2"


def test_headroom_holds_back_in_words(make: Any, connect: Any, sandbox: Any) -> None:
    connection = connect(limits={"requests_per_batch": 3, "enqueued_tokens": 300})
    job = make(connection=connection)
    first, second = look(batch_of(job, 1)), look(batch_of(job, 2))
    assert (first.state, second.state) == ("submitted", "ready")
    assert re.fullmatch(r"waiting for headroom: \d+ of 300 tokens enqueued on gpt-6-luna", second.wait_reason)
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 2)


def test_headroom_goes_to_the_job_with_least_in_flight(make: Any, connect: Any, sandbox: Any) -> None:
    connection = connect(limits={"requests_per_batch": 2, "enqueued_tokens": 400})
    big, small = make(connection=connection, n_rows=8), make(connection=connection, n_rows=2)
    look(batch_of(big, 1))
    assert not headroom.is_next(batch_of(big, 2))
    assert headroom.is_next(batch_of(small, 1))
    # One that waits for something else does not keep the others.
    Batch.objects.filter(job=small).update(next_look_at=soon(600))
    assert headroom.is_next(batch_of(big, 2))


def test_what_a_cap_holds_back_keeps_no_headroom_from_other_jobs(make: Any, connect: Any) -> None:
    """Nothing of a held job is in flight, so it would be its turn for as long as nobody raises the cap."""
    connection = connect(limits={"requests_per_batch": 2, "enqueued_tokens": 400})
    held, other = make(connection=connection, n_rows=2), make(connection=connection, n_rows=4)
    Job.objects.filter(pk=held.pk).update(cap_usd="0.000001")
    assert look(batch_of(held, 1)).wait_reason.startswith("held: ")
    assert look(batch_of(other, 1)).state == "submitted"
    Batch.objects.filter(job=held).update(next_look_at=soon(5))  # soon looked at once more
    assert look(batch_of(other, 2)).state == "submitted"


def test_anthropic_creates_go_one_at_a_time(make: Any, sandbox: Any, settings: Any) -> None:
    settings.SANDBOX_ABSENCE_SECONDS = 60.0
    job = make(kind="anthropic", per_batch=3)
    sandbox.control("arm", verb="batches.create", fault="drop_after")
    first, second = look(batch_of(job, 1)), look(batch_of(job, 2))
    assert (first.state, second.state, creates(sandbox)) == ("unknown", "ready", 1)
    assert second.wait_reason == "waiting its turn: this provider takes one new batch at a time"
    assert Connection.objects.get(pk=job.connection_id).lease_until is None
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 2)


def test_cancel_during_the_upload_sends_nothing(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    from jobs.engine import crash
    from jobs.engine.cancel import cancel

    job = make()
    monkeypatch.setattr(crash, "hook", lambda name: cancel(Job.objects.get(pk=job.pk), None) if name == "before mark" else None)
    batch = look(batch_of(job))
    assert (batch.state, batch.lease_until, creates(sandbox)) == ("ready", None, 0)
    batch = look(batch)
    assert (batch.state, batch.outcomes) == ("rejected", {"cancelled": 6})


def test_submit_twice_is_harmless(make: Any, sandbox: Any) -> None:
    batch = batch_of(make())
    hurry(batch.job)
    advance_batch(str(batch.pk))
    advance_batch(str(batch.pk))
    assert (batch_of_pk(batch).state, creates(sandbox)) == ("submitted", 1)


def test_refused_request_frees_the_rows(make: Any, sandbox: Any) -> None:
    job = make()
    sandbox.control("arm", verb="batches.create", fault="status", status=400, message="no such endpoint", code="invalid_request")
    batch = look(batch_of(job))
    assert (batch.state, batch.outcomes, batch.paid_usd) == ("rejected", {"failed": 6}, 0)
    assert batch.problem == "The provider answered with an error (HTTP 400). It said: no such endpoint"


def test_settled_batch_names_its_rows(make: Any, sandbox: Any) -> None:
    job = make()
    batch = settled(batch_of(job), sandbox)
    assert (batch.state, batch.outcomes) == ("settled", {"succeeded": 6})
    assert texts(job, "batch:settled") == ["Batch 1: 6 succeeded"]
