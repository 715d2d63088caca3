"""Features that meet: a cancel while rows are cut, a retry beside a rescue, two connections to one account …"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.engine import give_up, orphans, plan, rescue, sweep
from jobs.engine.cancel import cancel
from jobs.engine.connections import remove_connection, save_connection
from jobs.engine.launch import new_token
from jobs.engine.lease import claim
from jobs.engine.render_child import answer
from jobs.engine.retry import Changes, retry
from jobs.errors import BadInput
from jobs.models import Batch, Connection, Job
from jobs.rows.choose import Wanted
from jobs.words import JobState, Lane
from tests.engine.test_collect import _download, by_cause
from tests.engine.test_reconcile import lose
from tests.engine.world import batch_of, batch_of_pk, creates, ended, finish, kinds, look, plan_here, texts, tick

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("lane", ["batch", "direct"])
def test_cancel_between_two_files_of_the_planner(make: Any, sandbox: Any, monkeypatch: Any, lane: str) -> None:
    """The planner works while the cancel comes, so the second batch is made after it and bears no mark of it."""
    monkeypatch.setattr(plan, "DIRECT_ROWS", 3)
    job = make(per_batch=3, planned=False)
    job.rounds.update(lane=lane)
    lease = claim(Job, job.pk)
    assert lease is not None
    round_ = job.rounds.select_related("prompt_version", "connection", "job").get()
    for i, piece in enumerate(answer(plan._request(round_))):
        if i == 1:
            cancel(job, None)
        plan._add(round_, piece, lease)
    lease.release()
    assert [batch.cancel_requested_at is not None for batch in job.batches.order_by("number")] == [True, False]
    job = finish(job, sandbox)
    assert (job.state, kinds(job), sandbox.control("executed")) == ("cancelled", {"cancelled": 6}, [])


def test_cancel_takes_back_a_rescue_that_waits(make: Any, sandbox: Any, people: Any) -> None:
    """What was wished before the cancel is not done after it, and stands in the way of nothing."""
    job = make(model="gpt-6-luna+slow=30s")
    look(batch_of(job))
    rescue.rescue(job, people.owner, token="r1")
    cancel(job, people.owner)
    job = finish(job, sandbox)
    assert (job.state, kinds(job), job.wish, job.rounds.count()) == ("cancelled", {"cancelled": 6}, {}, 1)
    retry(job, people.owner, Wanted(), token=new_token())
    job = finish(job, sandbox)
    assert (job.state, kinds(job), creates(sandbox)) == ("completed", {"succeeded": 6}, 2)
    assert list(job.rounds.values_list("lane", flat=True)) == ["batch", "batch"]


def test_no_retry_while_a_rescue_waits(make: Any, sandbox: Any, people: Any) -> None:
    """Its rows would not be sent as the person asked, but by the rescue, in real time."""
    job = make(per_batch=3, model="gpt-6-luna+slow=3s")
    look(batch_of(job, 1))
    rescue.rescue(job, people.owner, token="r1")
    look(batch_of(job, 2))
    assert Batch.objects.get(job=job, number=2).outcomes == {"cancelled": 3}
    with pytest.raises(BadInput, match="finished in real time"):
        retry(job, people.owner, Wanted(), Changes(model="gpt-6-sol"), token=new_token())
    job = finish(job, sandbox)
    assert (kinds(job), job.rounds.count()) == ({"succeeded": 6}, 2)


def test_what_goes_again_by_itself_goes_as_it_was_sent(make: Any, sandbox: Any, people: Any) -> None:
    """A person sends three rows to a dearer model in real time; the rows that expire meanwhile go again as they were."""
    job = make(per_batch=3, max_attempts=2, model="gpt-6-luna+slow=30s")
    first, second = look(batch_of(job, 1)), look(batch_of(job, 2))
    sandbox.control("end", batch=first.provider_batch_id, status="cancelled", share=0.0)
    for _ in range(3):
        first = look(first)
    assert first.outcomes == {"cancelled": 3}
    retry(job, people.owner, Wanted(), Changes(model="gpt-6-sol", lane=Lane.DIRECT), token=new_token())
    plan_here(job)
    sandbox.control("end", batch=second.provider_batch_id, status="expired", share=0.0)
    for _ in range(12):
        tick(job, sandbox)
    job.refresh_from_db()
    told = list(job.rounds.order_by("number").values_list("reason", "lane", "spec__model", "n_rows"))
    assert told == [
        ("first", "batch", "gpt-6-luna+slow=30s", 6),
        ("retry", "direct", "gpt-6-sol", 3),
        ("auto_retry", "batch", "gpt-6-luna+slow=30s", 3),
    ]


def test_what_was_given_up_unasked_is_cancelled_later(make: Any, sandbox: Any, people: Any) -> None:
    """The provider could not be reached when the batch was given up, so it was never told to stop; it still runs, and is paid."""
    job = make(model="gpt-6-luna+slow=30s")
    batch = look(batch_of(job))
    sandbox.control("arm", verb="*", fault="status", status=500, times=0)
    for _ in range(give_up.MANY_ERRORS):
        batch = look(batch)
    Batch.objects.filter(pk=batch.pk).update(submitted_at=timezone.now() - timedelta(hours=3))
    assert give_up.give_up(batch_of_pk(batch), people.owner).state == "settled"
    sandbox.control("disarm")
    sweep.sweep()
    assert [each["live"] for each in sandbox.control("")["batches"]] == [False]
    assert texts(job, "batch:cancel") == ["Batch 1, given up before: the provider was asked to cancel it"]
    sweep.sweep()
    assert len(texts(job, "batch:cancel")) == 1


def prove_absent(job: Job, sandbox: Any) -> Batch:
    """A create whose answer is lost, and which the list hides until it counts as absent."""
    batch = lose(job, sandbox)
    sandbox.control("arm", verb="batches.list", fault="hide", times=0)
    while batch.state == "unknown":
        batch = look(batch)
    return batch


def test_late_create_of_a_batch_that_waits_is_adopted(make: Any, sandbox: Any) -> None:
    """Proved absent, then held back; before it is sent again its first create turns up: it is taken, not cancelled and paid twice."""
    job = make()
    batch = prove_absent(job, sandbox)
    assert (batch.state, len(batch.past_tokens), creates(sandbox)) == ("ready", 1, 1)
    sandbox.control("disarm")
    sweep.sweep()
    assert texts(job, "batch:late") == []
    job = finish(job, sandbox)
    assert (job.state, kinds(job), creates(sandbox)) == ("completed", {"succeeded": 6}, 1)


def test_what_turned_up_once_is_not_absent_by_one_look(make: Any, sandbox: Any) -> None:
    """The looks that proved it absent before it turned up prove nothing any more."""
    job = make()
    batch = prove_absent(job, sandbox)
    sandbox.control("disarm")
    sweep.sweep()
    assert batch_of_pk(batch).state == "unknown"
    sandbox.control("arm", verb="batches.list", fault="hide", times=1)
    assert look(batch).state == "unknown"
    job = finish(job, sandbox)
    assert (job.state, kinds(job), creates(sandbox)) == ("completed", {"succeeded": 6}, 1)


def test_a_clock_that_went_back_between_two_looks_makes_no_hurry(make: Any, sandbox: Any, settings: Any) -> None:
    """The second look is put off by what lies between two looks, not until the clock is there again: so far ahead counts as due always."""
    settings.SANDBOX_ABSENCE_SECONDS = 60.0
    batch = lose(make(), sandbox)
    sandbox.control("arm", verb="batches.list", fault="hide")
    now = timezone.now()
    Batch.objects.update(n_absent=1, absent_at=now + timedelta(hours=3), submitting_at=now - timedelta(hours=1))
    batch = look(batch)
    assert (batch.state, batch.next_look_at < now + timedelta(seconds=60)) == ("unknown", True)


def test_one_connection_that_cannot_be_opened_keeps_no_other_from_the_sweep(make: Any, connect: Any, sandbox: Any, people: Any) -> None:
    broken = make()
    look(batch_of(broken))
    Connection.objects.filter(pk=broken.connection_id).update(sealed_key="0:of another deployment")
    job = make(model="gpt-6-luna+never")
    batch = look(batch_of(job))
    Batch.objects.filter(pk=batch.pk).update(cancel_sent_at=timezone.now() - timedelta(hours=3))
    give_up.give_up(batch_of_pk(batch), people.owner)
    sandbox.control("end", status="completed", share=1.0)
    sweep.sweep()
    assert len(texts(job, give_up.ENDED)) == 1


def test_real_time_takes_no_turn_of_the_batch_lane(make: Any, connect: Any, sandbox: Any) -> None:
    """A batch of ordinary calls stays `ready` while it is worked on; it needs no headroom and keeps none from others."""
    connection = connect(limits={"requests_per_batch": 3, "enqueued_tokens": 100_000})
    direct = make(connection=connection, planned=False)
    direct.rounds.update(lane="direct")
    plan_here(direct)
    job = make(connection=connection)
    assert look(batch_of(job, 1)).state == "submitted"
    second = look(batch_of(job, 2))
    assert (second.state, second.wait_reason) == ("submitted", "")


def test_a_job_that_is_being_cut_keeps_its_address(make: Any, connect: Any, sandbox: Any, people: Any) -> None:
    """No batch is there yet; its prices and request lines are those of the kind it was launched on."""
    job = make(planned=False)
    connection = job.connection
    with pytest.raises(BadInput, match="still open"):
        save_connection(
            people.home, people.owner, name=connection.name, kind="anthropic", base_url=sandbox.anthropic_url, key="sk-other-123456",
            connection=connection, by_operator=True,
        )  # fmt: skip
    other = connect(name="other")
    retried = finish(make(connection=connection), sandbox)
    assert retried.prompt_version
    retried.rounds.create(
        number=2, reason="retry", lane="batch", connection=other, prompt_version=retried.prompt_version, spec=retried.spec,
        sheet=retried.sheet, n_rows=0, token="x",
    )  # fmt: skip
    with pytest.raises(BadInput, match="still open"):
        remove_connection(other, people.owner)


def new_key(job: Job, people: Any) -> None:
    """The admin enters another key for the connection."""
    assert job.connection
    connection = Connection.objects.get(pk=job.connection.pk)
    save_connection(
        people.home, people.owner, name=connection.name, kind=connection.kind, base_url=connection.base_url, key="sk-other-1234567890",
        connection=connection, by_operator=True,
    )  # fmt: skip


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_not_found_with_a_key_of_another_project_proves_nothing(make: Any, sandbox: Any, people: Any, kind: str, cancelled: bool) -> None:
    job = make(kind=kind)
    batch = lose(job, sandbox)
    new_key(job, people)
    sandbox.control("arm", verb="batches.list", fault="hide", times=0)  # what another project shows
    sandbox.control("arm", verb="files.list", fault="status", status=404, times=0)
    if cancelled:
        cancel(job, people.owner)
    for _ in range(5):
        batch = look(batch)
    assert (batch.state, batch.n_absent, creates(sandbox)) == ("unknown", 0, 1)
    assert batch.wait_reason.startswith(
        "the API key was changed since it was sent, and nothing shows that the new one is of the same project"
    )
    sandbox.control("disarm")  # the old project's key is back
    assert look(batch).state == "submitted"


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_new_key_of_the_same_project_finds_what_the_old_one_made(make: Any, sandbox: Any, people: Any, kind: str) -> None:
    job = make(kind=kind, per_batch=3)
    if kind == "anthropic":  # there an earlier batch shows it, else the uploaded file
        look(batch_of(job, 1))
    sandbox.control("arm", verb="batches.create", fault="drop_before")
    batch = look(batch_of(job, 2))
    assert batch.state == "unknown"
    new_key(job, people)
    job = finish(job, sandbox)
    assert (job.state, kinds(job), creates(sandbox)) == ("completed", {"succeeded": 6}, 2)


def test_what_another_connection_of_the_same_account_made_is_no_candidate(make: Any, sandbox: Any) -> None:
    """Two workspaces with one key of Anthropic: equal in time and number, and the ledger knows whose it is."""
    first = look(batch_of(make(kind="anthropic")))
    job = make(kind="anthropic")
    sandbox.control("arm", verb="batches.create", fault="drop_before")
    batch = look(batch_of(job))
    assert batch.state == "unknown"
    while batch.state == "unknown":
        batch = look(batch)
    assert (batch.state, batch.provisional, len(batch.past_tokens)) == ("ready", False, 1)
    assert look(batch).provider_batch_id not in ("", first.provider_batch_id)


def test_answer_that_lacks_rows_is_believed_at_last_though_the_key_cannot_be_opened(make: Any, sandbox: Any) -> None:
    """The seal key is lost: what is here is all that will ever come, and a cancelled job must end."""
    job = make(max_attempts=2)
    batch = ended(batch_of(job), sandbox)
    whole = _download(batch)
    sandbox.control("arm", verb="files.get", fault="status", status=404)
    sandbox.control("arm", verb="files.content", fault="cut", bytes=whole.index(b"\n", len(whole) // 2) + 1, how="close")
    sandbox.control("arm", verb="batches.get", fault="status", status=401, skip=1)
    batch = look(batch)
    Connection.objects.filter(pk=batch.connection_id).update(sealed_key="0:of another deployment")
    for _ in range(6):
        batch = look(batch)
    assert batch.state == "fetched"
    cancel(job, None)
    batch = look(batch)
    n = batch.outcomes["succeeded"]
    assert (batch.state, batch.outcomes) == ("settled", {"succeeded": n, "missing": 6 - n})


@pytest.mark.parametrize("cancelled", [False, True])
def test_answer_that_lacks_rows_is_not_believed_while_the_key_is_refused(make: Any, sandbox: Any, cancelled: bool) -> None:
    """Cut between two lines it looks whole; the key stops working before it can be fetched once more. Its rows would be paid again."""
    job = make(max_attempts=2)
    batch = ended(batch_of(job), sandbox)
    whole = _download(batch)
    sandbox.control("arm", verb="files.get", fault="status", status=404)  # nobody tells the length
    sandbox.control("arm", verb="files.content", fault="cut", bytes=whole.index(b"\n", len(whole) // 2) + 1, how="close")
    sandbox.control("arm", verb="batches.get", fault="status", status=401, skip=1, times=0)
    for _ in range(8):
        batch = look(batch)
    assert (batch.state, batch.n_errors) == ("fetched", 8)
    assert "fetching it once more before that is believed: The provider did not accept the API key" in batch.wait_reason
    if cancelled:  # nothing of it goes again by itself, so its end need not wait for a second answer
        cancel(job, None)
        batch = look(batch)
        n = batch.outcomes["succeeded"]
        assert (batch.state, batch.outcomes) == ("settled", {"succeeded": n, "missing": 6 - n})
        return
    sandbox.control("disarm")
    for _ in range(3):
        batch = look(batch)
    assert (batch.state, by_cause(batch), job.rounds.count(), creates(sandbox)) == ("settled", {"succeeded": 6}, 1, 1)


def test_a_draft_is_launched_and_nothing_else(make: Any, people: Any) -> None:
    """One that was tried and thrown away stays in the list; its rows were never meant to be sent."""
    job = make(planned=False)
    for state in ("draft", "cancelled"):
        Job.objects.filter(pk=job.pk).update(state=state, launched_at=None)
        with pytest.raises(BadInput, match="never launched"):
            retry(job, people.owner, Wanted(), token=new_token())
        with pytest.raises(BadInput, match="never launched"):
            rescue.rescue(job, people.owner, token="r")
    job.refresh_from_db()
    assert (job.state, job.wish, job.rounds.count()) == ("cancelled", {}, 1)


def test_rescue_leaves_rows_that_may_have_been_charged_to_a_person(make: Any, sandbox: Any, people: Any) -> None:
    """The provider does not carry the cancel of a rescue out, and its batch is given up: it may still answer and bill those rows."""
    job = make(per_batch=3, model="gpt-6-luna+never")
    first, second = look(batch_of(job, 1)), look(batch_of(job, 2))
    rescue.rescue(job, people.owner, token="r1")
    sandbox.control("arm", verb="batches.cancel", fault="status", status=400, times=0)
    first = look(first)
    Batch.objects.filter(job=job).update(cancel_sent_at=timezone.now() - timedelta(hours=3))
    give_up.give_up(batch_of_pk(first), people.owner)
    sandbox.control("end", batch=second.provider_batch_id, status="cancelled", share=0.0)
    job = finish(job, sandbox)
    assert (kinds(job), job.rounds.count()) == ({"succeeded": 3, "missing": 3}, 2)
    assert rescue.offer(job).rows == 0
    with pytest.raises(BadInput, match="nothing left to finish"):
        rescue.rescue(job, people.owner, token="r2")
    retry(job, people.owner, Wanted(), token=new_token())
    job.refresh_from_db()
    assert job.counts["pending"] == 3


def test_nothing_goes_to_a_connection_that_was_removed(make: Any, connect: Any, sandbox: Any, people: Any) -> None:
    """Its key is destroyed: what is sent there would wait for ever for an admin who cannot put it right."""
    job = finish(make(model="gpt-6-luna+expired=2"), sandbox)
    assert job.connection
    remove_connection(job.connection, people.owner)
    with pytest.raises(BadInput, match="was removed"):
        retry(job, people.owner, Wanted(), token=new_token())
    with pytest.raises(BadInput, match="was removed"):
        rescue.rescue(job, people.owner, token="r")
    job = Job.objects.get(pk=job.pk)
    assert (JobState(job.state).terminal, job.wish, job.rounds.count()) == (True, {}, 1)
    other = connect(limits={"requests_per_batch": 100})
    retry(job, people.owner, Wanted(), Changes(connection=other, model="gpt-6-luna"), token=new_token())
    plan_here(job)
    assert look(batch_of(job, 2)).state == "submitted"


def test_a_lost_create_is_no_orphan_of_another_connection(make: Any, sandbox: Any) -> None:
    """Another workspace with the same key must not be offered to cancel what this one looks for and pays."""
    mine, theirs = make(), make()
    lost = lose(mine, sandbox)
    assert mine.connection
    assert theirs.connection
    assert [each.could_be for each in orphans.look(mine.connection).found] == [(str(lost.pk),)]
    assert orphans.look(theirs.connection).found == ()
