"""People act on what others changed since it was read: drafts that were launched or thrown away, connections moved or removed."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from jobs.engine import decide, drafts, members, pilot
from jobs.engine.audit import audit_job
from jobs.engine.cancel import cancel
from jobs.engine.connections import remove_connection, save_connection
from jobs.engine.launch import Plan, launch, new_token
from jobs.engine.remote import endpoint_of
from jobs.engine.rescue import rescue
from jobs.engine.retry import Changes, retry
from jobs.errors import BadInput
from jobs.models import Connection, Job, Membership, Round
from jobs.rows.choose import Wanted
from jobs.views import launch as launch_view
from jobs.words import JobState, Role
from tests.engine.test_reconcile import lose
from tests.engine.test_stale import run
from tests.engine.world import KEY, batch_of, look
from tests.jobs import make_connection, make_dataset, make_job, make_prompt

pytestmark = pytest.mark.django_db(transaction=True)
TERMS = {"name": "J", "lane": "batch", "max_attempts": 1, "cap_usd": ""}


@pytest.fixture
def plan(people: Any, sandbox: Any, data_folder: Any) -> Plan:
    home, owner = people.home, people.owner
    return Plan(home, make_dataset(home, owner, 12), make_prompt(home, owner), make_connection(home, owner, sandbox), "gpt-6-luna")


@pytest.fixture
def draft(plan: Plan, people: Any) -> Job:
    draft = drafts.start(people.home, people.owner, plan.dataset_version, plan.prompt_version)
    return drafts.choose_model(draft, plan.connection, plan.model, {"max_output_tokens": 50})


def read(draft: Job) -> Job:
    """As a page has read it."""
    return Job.objects.select_related("workspace", "dataset_version", "prompt_version__prompt", "connection").get(pk=draft.pk)


def move(connection: Connection, people: Any, sandbox: Any) -> Connection:
    """To the other kind of provider, at an address of its own."""
    url, now = sandbox.anthropic_url, Connection.objects.get(pk=connection.pk)
    return save_connection(
        people.home, people.owner, name=now.name, kind="anthropic", base_url=url, key=KEY, connection=now, by_operator=True
    )[0]


# -- drafts


def test_a_page_that_counts_long_keeps_what_was_chosen_meanwhile(draft: Job) -> None:
    as_read = read(draft)
    drafts.choose_params(read(draft), {"max_output_tokens": 99})
    drafts.keep(as_read, counts={"key": "k"})
    draft.refresh_from_db()
    assert draft.draft == {"changes": {"max_output_tokens": 99}, "counts": {"key": "k"}}
    assert drafts.changes_of(as_read) == {"max_output_tokens": 99}


def test_a_draft_that_was_launched_meanwhile_is_not_called_thrown_away(
    plan: Plan, draft: Job, people: Any, as_owner: Any, monkeypatch: Any
) -> None:
    really = drafts.discard

    def launched_meanwhile(job: Job) -> None:
        launch(plan, people.owner, read(draft))
        really(job)

    monkeypatch.setattr(drafts, "discard", launched_meanwhile)
    answer = as_owner.post(reverse("launch-discard", args=[draft.pk]))
    draft.refresh_from_db()
    assert (draft.state, answer.headers["Location"]) == (JobState.QUEUED, reverse("job-detail", args=[draft.pk]))
    assert list(answer.wsgi_request._messages._queued_messages) == []


@pytest.mark.parametrize("act", ["launch", "try"])
def test_a_draft_that_was_thrown_away_meanwhile_is_said_to_be_gone(draft: Job, as_owner: Any, monkeypatch: Any, act: str) -> None:
    """Between the page's last look and the act."""
    really = drafts.plan_of

    def thrown_away_meanwhile(job: Job, *given: Any) -> Plan:
        found = really(job, *given)
        if given or act == "try":
            drafts.discard(read(draft))
        return found

    mark = drafts.mark_of(read(draft))
    monkeypatch.setattr(drafts, "plan_of", thrown_away_meanwhile)
    names = {"launch": "launch-go", "try": "launch-try"}
    answer = as_owner.post(reverse(names[act], args=[draft.pk]), {**TERMS, "mark": mark, "how": "first", "n": 3, "token": new_token()})
    assert (answer.status_code, answer.headers.get("Location")) == (302, reverse("job-list"))
    assert [str(each) for each in answer.wsgi_request._messages._queued_messages] == ["This draft was thrown away meanwhile."]


def test_a_launch_without_an_estimate_is_refused(plan: Plan, draft: Job, people: Any, as_owner: Any, monkeypatch: Any) -> None:
    """A try that ran when the costs were counted, and had ended when the launch looked: nothing was held against the caps."""
    pilot.start(draft, people.owner, plan, [0, 1, 2], token=new_token())
    run(draft)
    pilot.start(draft, people.owner, plan, [3, 4], token=new_token())
    really = launch_view._costs

    def costs(job: Job) -> dict[str, Any]:
        found = really(job)
        run(draft)
        return found

    monkeypatch.setattr(launch_view, "_costs", costs)
    answer = as_owner.post(reverse("launch-go", args=[draft.pk]), {**TERMS, "mark": drafts.mark_of(read(draft))})
    draft.refresh_from_db()
    assert (answer.status_code, draft.state) == (422, JobState.DRAFT)
    assert "A try is still running." in answer.content.decode()


def test_two_clicks_on_try_give_one_round(plan: Plan, draft: Job, people: Any, monkeypatch: Any) -> None:
    token, made = new_token(), list[Round]()

    def another_click(_: Plan) -> list[str]:
        if not made:
            made.append(Round())
            made[0] = pilot.start(read(draft), people.owner, plan, [0, 1], token=token)
        return []

    monkeypatch.setattr(pilot, "problems_of", another_click)
    assert pilot.start(read(draft), people.owner, plan, [0, 1], token=token) == made[0]
    assert draft.rounds.count() == 1


def test_the_books_of_a_draft_that_was_put_away_add_up(plan: Plan, draft: Job, people: Any) -> None:
    """Nine of its rows were never tried, and need no outcome."""
    pilot.start(draft, people.owner, plan, [0, 1, 2], token=new_token())
    run(draft)
    drafts.discard(read(draft))
    draft.refresh_from_db()
    assert (draft.state, draft.counts["pending"]) == (JobState.CANCELLED, 9)
    assert audit_job(draft) == []


# -- connections


@pytest.mark.parametrize("act", ["launch", "try", "retry", "rescue"])
@pytest.mark.parametrize("what", ["moved", "removed"])
def test_no_round_is_made_on_a_connection_that_is_another_by_now(
    plan: Plan, draft: Job, people: Any, sandbox: Any, act: str, what: str
) -> None:
    """Request lines, prices and estimate were those of the one that was read."""
    done = make_job(people.home, people.owner, sandbox, model="gpt-6-luna+errors=2", connection=plan.connection)
    done, draft = read(done), read(draft)
    plan = drafts.plan_of(draft)
    if what == "moved":
        move(plan.connection, people, sandbox)
    else:
        remove_connection(Connection.objects.get(pk=plan.connection.pk), people.owner)
    acts: dict[str, Any] = {
        "launch": lambda: launch(plan, people.owner, draft),
        "try": lambda: pilot.start(draft, people.owner, plan, [0, 1], token=new_token()),
        "retry": lambda: retry(done, people.owner, Wanted(), Changes(connection=draft.connection, model="gpt-6"), token=new_token()),
        "rescue": lambda: rescue(done, people.owner, token=new_token()),
    }
    n = Round.objects.count()
    if act == "rescue":
        Job.objects.filter(pk=done.pk).update(n_failed=0, n_expired=2)  # so that there is something to rescue
    with pytest.raises(BadInput, match=r"was changed meanwhile|was removed|another API now"):
        acts[act]()
    assert (Round.objects.count(), Job.objects.get(pk=draft.pk).state) == (n, JobState.DRAFT)
    assert Job.objects.get(pk=done.pk).state == done.state


def test_a_form_that_was_opened_before_the_address_changed_does_not_bring_it_back(people: Any, sandbox: Any, data_folder: Any) -> None:
    """Without a key of its own it would leave one that cannot be opened at the old address."""
    made = make_connection(people.home, people.owner, sandbox)
    as_read = Connection.objects.get(pk=made.pk)
    move(made, people, sandbox)
    given: dict[str, Any] = {"kind": as_read.kind, "base_url": as_read.base_url, "connection": as_read, "by_operator": True}
    with pytest.raises(BadInput, match="the key must be entered again"):
        save_connection(people.home, people.owner, name="Renamed", **given)
    made.refresh_from_db()
    assert (made.name, made.kind, endpoint_of(made).api_key) == ("Sandbox", "anthropic", KEY)


def test_a_connection_that_was_removed_meanwhile_is_not_given_a_key_again(people: Any, sandbox: Any, data_folder: Any) -> None:
    made = make_connection(people.home, people.owner, sandbox)
    as_read = Connection.objects.get(pk=made.pk)
    remove_connection(made, people.owner)
    given: dict[str, Any] = {"kind": as_read.kind, "base_url": as_read.base_url, "connection": as_read, "by_operator": True}
    with pytest.raises(BadInput, match="removed meanwhile"):
        save_connection(people.home, people.owner, name="Mine", key=KEY, **given)
    with pytest.raises(BadInput, match="removed already"):
        remove_connection(as_read, people.owner)
    as_read.refresh_from_db()
    assert (as_read.sealed_key, "(removed " in as_read.name) == ("", True)


# -- decisions


def test_a_batch_of_the_provider_that_another_one_took_meanwhile_is_refused_in_words(
    make: Any, sandbox: Any, people: Any, settings: Any, monkeypatch: Any
) -> None:
    settings.SANDBOX_ABSENCE_SECONDS = 600.0
    job = make(per_batch=3)
    first, second = look(batch_of(job, 1)), lose(job, sandbox, 2)
    monkeypatch.setattr(decide, "_why_not", lambda *_: "")  # as it was a moment before
    with pytest.raises(BadInput, match="is another batch of batchui already"):
        decide.adopt(second, people.owner, first.provider_batch_id)
    assert look(second).state == "submitted"


def test_a_batch_that_is_being_cancelled_is_not_sent_again(make: Any, sandbox: Any, people: Any, settings: Any) -> None:
    """It would be freed as never sent, and what the provider made of the first create would be nobody's."""
    settings.SANDBOX_ABSENCE_SECONDS = 600.0
    job = make()
    batch = lose(job, sandbox)
    cancel(Job.objects.get(pk=job.pk), people.owner)
    with pytest.raises(BadInput, match="is being cancelled"):
        decide.resubmit(batch, people.owner)
    assert look(batch).state == "submitted"  # found


def test_who_is_no_member_any_more_gets_no_role(people: Any) -> None:
    theirs = Membership.objects.get(user=people.viewer)
    as_read = Membership.objects.get(pk=theirs.pk)
    members.remove_member(theirs, people.owner)
    with pytest.raises(BadInput, match="is no member any more"):
        members.change_role(as_read, people.owner, Role.ANALYST)
    assert not Membership.objects.filter(user=people.viewer).exists()


# -- the pages of what was put away


@pytest.mark.parametrize("view", ["job-detail", "job-failures", "job-receipt", "job-rows", "job-batches", "job-timeline", "job-retry"])
def test_a_draft_that_was_put_away_has_its_pages(plan: Plan, draft: Job, people: Any, as_owner: Any, view: str) -> None:
    """It was never launched, so no prices and no spec are frozen on it."""
    pilot.start(draft, people.owner, plan, [0, 1, 2], token=new_token())
    run(draft)
    drafts.discard(read(draft))
    answer = as_owner.get(reverse(view, args=[draft.pk]))
    assert (answer.status_code, draft.name in answer.content.decode()) == (200, True)
