"""Reconcile: a batch without an answer is found, proved absent, or waited for; never guessed about."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.engine import crash, journal, twins
from jobs.engine.advance import advance_batch
from jobs.engine.cancel import cancel
from jobs.models import Batch, Event
from tests.engine.world import batch_of, batch_of_pk, creates, ended, finish, hurry, kinds, look, texts

pytestmark = pytest.mark.django_db


def lose(job: Any, sandbox: Any, number: int = 1, fault: str = "drop_after") -> Batch:
    """A batch whose create was carried out and whose answer was lost."""
    sandbox.control("arm", verb="batches.create", fault=fault)
    batch = look(batch_of(job, number))
    assert batch.state == "unknown"
    return batch


class Dead(BaseException):
    """The process ends here."""


def die_at(monkeypatch: Any, batch: Batch, name: str) -> Batch:
    """The worker of a batch dies at a named point, and its lease runs out."""

    def hook(at: str) -> None:
        if at == name:
            raise Dead

    hurry(batch.job)
    monkeypatch.setattr(crash, "hook", hook)
    with pytest.raises(Dead):
        advance_batch(str(batch.pk))
    monkeypatch.setattr(crash, "hook", None)
    Batch.objects.filter(pk=batch.pk).update(lease_until=None)
    return batch_of_pk(batch)


@pytest.mark.parametrize("fault", ["hide", "lag"])
def test_absence_from_a_list_that_lags_is_not_believed(make: Any, sandbox: Any, settings: Any, fault: str) -> None:
    settings.SANDBOX_ABSENCE_SECONDS = 60.0
    batch = lose(make(), sandbox)
    sandbox.control("arm", verb="batches.list", fault=fault, seconds=3600)
    batch = look(look(batch))
    assert (batch.state, batch.n_absent) == ("unknown", 0)
    assert batch.wait_reason.startswith("not found at the provider yet; it may still turn up")
    sandbox.control("disarm")
    assert (look(batch).state, creates(sandbox)) == ("submitted", 1)


def test_list_cut_short_is_not_believed(make: Any, sandbox: Any) -> None:
    """The list says that it ends, without a batch that must be on it: absence from it says nothing."""
    job = make(per_batch=3)
    first = look(batch_of(job, 1))
    second = lose(job, sandbox, 2)
    sandbox.control("arm", verb="batches.list", fault="hide")
    for _ in range(4):
        second = look(second)
    assert (second.state, creates(sandbox)) == ("unknown", 2)
    assert second.wait_reason == (
        f"the provider's list cannot be trusted (it leaves out {first.provider_batch_id}, which must be there), so nothing is sent again"
    )
    sandbox.control("disarm")
    assert (look(second).state, creates(sandbox)) == ("submitted", 2)


def test_list_that_repeats_itself_is_not_believed(make: Any, sandbox: Any) -> None:
    job = make(per_batch=2)
    look(batch_of(job, 1))
    look(batch_of(job, 2))
    sandbox.control("arm", verb="batches.create", fault="drop_before")
    third = look(batch_of(job, 3))
    sandbox.control("arm", verb="batches.list", fault="page", n=1)
    sandbox.control("arm", verb="batches.list", fault="repeat")
    for _ in range(4):
        third = look(third)
    assert (third.state, creates(sandbox)) == ("unknown", 2)
    assert "cannot" in third.wait_reason
    assert third.wait_reason in (
        "the provider's list cannot be trusted (it names a batch twice), so nothing is sent again",
        "cannot look for it: The provider's list does not move on.",
    )


@pytest.mark.parametrize("per_page", [1, 2])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_list_that_begins_with_the_oldest_is_walked_to_its_end(make: Any, sandbox: Any, kind: str, per_page: int) -> None:
    """Its first pages are all older than the mark, which says nothing of what comes after them."""
    earlier = make(kind=kind, per_batch=2)
    for number in (1, 2, 3):
        look(batch_of(earlier, number))
        sandbox.control("advance", seconds=1800)
    job = make(kind=kind, n_rows=7)
    batch = lose(job, sandbox)
    Batch.objects.filter(pk=batch.pk).update(submitting_at=timezone.now() + timedelta(seconds=4500))
    sandbox.control("arm", verb="batches.list", fault="page", n=per_page)
    sandbox.control("arm", verb="batches.list", fault="oldest")
    batch = look(batch)
    assert (batch.state, batch.provider_batch_id) == ("submitted", sandbox.control("")["batches"][-1]["id"])


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_found_among_other_peoples_batches_one_a_page(make: Any, sandbox: Any, kind: str) -> None:
    batch = lose(make(kind=kind), sandbox)
    sandbox.control("arm", verb="batches.list", fault="alien", n=3)
    sandbox.control("arm", verb="batches.list", fault="page", n=1)
    batch = look(batch)
    assert (batch.state, batch.provider_batch_id) == ("submitted", sandbox.control("")["batches"][0]["id"])


def test_provider_that_cannot_be_asked_says_so(make: Any, sandbox: Any) -> None:
    batch = lose(make(), sandbox)
    sandbox.control("arm", verb="batches.list", fault="status", status=503)
    batch = look(batch)
    assert (batch.state, batch.n_errors) == ("unknown", 1)
    assert batch.wait_reason.startswith("cannot look for it: The provider answered with an error (HTTP 503).")


DIED = ["after mark", "after answer", "after journal", "after submitted"]


@pytest.mark.parametrize("at", DIED)
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_worker_that_died_around_the_create(make: Any, sandbox: Any, settings: Any, monkeypatch: Any, kind: str, at: str) -> None:
    job = make(kind=kind)
    batch = die_at(monkeypatch, batch_of(job), at)
    assert batch.state == ("submitted" if at == "after submitted" else "submitting")
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 1)


def test_journal_is_read_before_the_provider_is_asked(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    job = make()
    batch = die_at(monkeypatch, batch_of(job), "after journal")
    sandbox.control("arm", verb="batches.list", fault="status", status=500, times=0)
    batch = look(batch)
    assert batch.state == "submitted"
    assert texts(job, "batch:submitted") == [f"Batch 1: found in our journal as {batch.provider_batch_id}"]


def test_journal_of_another_batch_is_not_believed(make: Any, sandbox: Any) -> None:
    job = make(per_batch=3)
    first = look(batch_of(job, 1))
    second = lose(job, sandbox, 2)
    journal.write(second, first.provider_batch_id)
    second = look(second)
    assert second.state == "submitted"
    assert second.provider_batch_id not in ("", first.provider_batch_id)


def test_second_batch_of_the_same_rows_is_cancelled_and_never_counted(make: Any, sandbox: Any) -> None:
    """A proxy that sends a create twice: the provider has two batches of one file."""
    import json
    import urllib.request

    job = make(model="gpt-6-luna+slow=30s")
    batch = lose(job, sandbox)
    made = sandbox.control("")["batches"][0]
    body = {"input_file_id": batch.upload_id, "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": made["metadata"]}
    request = urllib.request.Request(
        f"{sandbox.openai_url}/batches", json.dumps(body).encode(), {"Authorization": "Bearer k", "Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        twin = json.load(answer)["id"]
    sandbox.control("arm", verb="batches.cancel", fault="status", status=500)
    batch = look(batch)
    assert (batch.state, batch.provider_batch_id) == ("submitted", made["id"])
    assert twins.ids_of(batch.connection) == {twin}
    assert not Event.objects.filter(kind=twins.CANCELLED).exists()  # the provider could not be asked; it is asked again
    look(batch)
    assert texts(job, twins.CANCELLED) == [f"Batch 1: of the second batch {twin}, the provider was asked to cancel it"]
    job = finish(job, sandbox)
    assert kinds(job) == {"succeeded": 6}
    assert {b["id"]: b["status"] for b in sandbox.control("")["batches"]}[twin] == "cancelled"


def test_late_create_of_an_earlier_try_is_adopted_not_repeated(make: Any, sandbox: Any) -> None:
    job = make()
    batch = lose(job, sandbox)
    token = batch.submit_token
    sandbox.control("arm", verb="batches.list", fault="hide")
    batch = look(look(batch))
    assert (batch.state, batch.past_tokens) == ("ready", [token])
    sandbox.control("arm", verb="batches.create", fault="drop_before")
    batch = look(batch)
    sandbox.control("disarm")
    batch = look(batch)
    assert (batch.state, creates(sandbox)) == ("submitted", 1)


def test_cancel_of_one_that_is_looked_for(make: Any, sandbox: Any) -> None:
    job = make()
    sandbox.control("arm", verb="batches.create", fault="drop_before")
    batch = look(batch_of(job))
    cancel(job, None)
    batch = look(look(batch))
    assert (batch.state, batch.outcomes, creates(sandbox)) == ("rejected", {"cancelled": 6}, 0)


def test_anthropic_adoption_is_provisional_until_a_result_confirms_it(make: Any, sandbox: Any) -> None:
    job = make(kind="anthropic", model="claude-haiku-4-5+slow=30s")
    batch = look(lose(job, sandbox))
    assert (batch.state, batch.provisional) == ("submitted", True)
    cancel(job, None)
    batch = look(batch)
    assert batch.cancel_sent_at is None  # it might be somebody else's
    assert batch.wait_reason.startswith("cancel waits: whether this batch is ours is sure only when it has ended")
    job = finish(job, sandbox)
    assert (kinds(job), batch_of_pk(batch).provisional) == ({"succeeded": 6}, False)


def foreign(sandbox: Any, n: int, prefix: str = "other", model: str = "claude-haiku-4-5") -> str:
    """A batch of somebody else in the same workspace of the provider."""
    import json
    import urllib.request

    message = {"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": "x"}]}
    body = {"requests": [{"custom_id": f"{prefix}-{i}", "params": message} for i in range(n)]}
    request = urllib.request.Request(
        f"{sandbox.anthropic_url}/v1/messages/batches",
        json.dumps(body).encode(),
        {"x-api-key": "k", "anthropic-version": "2026-10-21", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["id"])


def test_anthropic_batch_of_somebody_else_is_refuted_and_looked_past(make: Any, sandbox: Any) -> None:
    job = make(kind="anthropic")
    sandbox.control("arm", verb="batches.create", fault="drop_before")
    batch = look(batch_of(job))
    other = foreign(sandbox, 6)
    batch = look(batch)
    assert (batch.state, batch.provider_batch_id, batch.provisional) == ("submitted", other, True)
    sandbox.control("advance", seconds=60)
    batch = look(look(batch))
    assert (batch.state, batch.provider_batch_id) == ("unknown", "")
    assert other in batch.past_tokens
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 2)  # theirs and ours


def test_anthropic_two_candidates_wait_until_one_can_be_told(make: Any, sandbox: Any) -> None:
    job = make(kind="anthropic")
    batch = lose(job, sandbox)
    ours = sandbox.control("")["batches"][0]["id"]
    foreign(sandbox, 6)
    batch = look(batch)
    assert batch.state == "unknown"
    assert batch.wait_reason == "2 batches at the provider could be this one; waiting until one of them ends and can be told"
    sandbox.control("advance", seconds=60)
    batch = look(batch)
    assert (batch.state, batch.provider_batch_id, batch.provisional) == ("submitted", ours, False)


def test_anthropic_other_length_is_nobodys(make: Any, sandbox: Any) -> None:
    job = make(kind="anthropic")
    sandbox.control("arm", verb="batches.create", fault="drop_before")
    batch = look(batch_of(job))
    foreign(sandbox, 5)
    assert look(batch).state == "unknown"


def test_clock_ahead_of_the_providers_still_finds_it(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    """Our mark says an hour later than the provider's clock: the batch looks too old to be it, and is it all the same."""
    from jobs.engine.reconcile import look as walk_list
    from jobs.engine.remote import calling
    from jobs.providers.session import Session

    job = make(kind="anthropic")
    batch = lose(job, sandbox)
    batch.submitting_at += timedelta(hours=1)
    checked = Session.checked

    def an_hour_ahead(self: Any, response: Any) -> Any:
        found = checked(self, response)
        assert abs(self.ahead) < 5
        self.ahead += 3600.0
        return found

    monkeypatch.setattr(Session, "checked", an_hour_ahead)
    with calling(batch.connection) as provider:
        assert [remote.id for remote in walk_list(batch, provider).found] == [sandbox.control("")["batches"][0]["id"]]


def test_token_limit_then_lost_answer_does_not_adopt_the_refused_one(make: Any, sandbox: Any) -> None:
    job = make()
    sandbox.control("arm", orders="fail=token_limit_exceeded", times=1)
    batch = ended(batch_of(job), sandbox)
    assert batch.state == "ready"
    refused = sandbox.control("")["batches"][0]["id"]
    batch = look(lose(job, sandbox))
    assert batch.state == "submitted"
    assert batch.provider_batch_id != refused
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 2)
