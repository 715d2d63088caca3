"""What a person decides on a job: who may, what the page says before and after, and that the engine did it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from jobs.engine import budget
from jobs.engine.drive import step
from jobs.engine.launch import new_token
from jobs.models import AuditEntry, Batch, Connection, Job
from jobs.queries.job import Usual, facts_of, time_of
from jobs.queries.job_acts import rescue_of
from tests.jobs import make_connection, make_job, settled

pytestmark = pytest.mark.django_db
PEOPLE = ("owner", "analyst", "viewer", "outsider")


def page_of(client: Any, job: Job) -> str:
    return str(client.get(reverse("job-detail", args=[job.pk])).content.decode())


@pytest.fixture
def running(people: Any, sandbox: Any, data_folder: Any) -> Job:
    """30 rows in 3 batches, cut and ready."""
    connection = make_connection(people.home, people.owner, sandbox)
    Connection.objects.filter(pk=connection.pk).update(limits={"requests_per_batch": 10})
    job = make_job(people.home, people.analyst, sandbox, n_rows=30, connection=Connection.objects.get(), settle=False)
    step(job)
    assert Batch.objects.filter(job=job, state="ready").count() == 3
    return job


def at_provider(job: Job, **fields: Any) -> None:
    """As if its batches were at the provider; without a call."""
    for batch in Batch.objects.filter(job=job):
        values = {"submitted_at": timezone.now(), "expires_at": timezone.now() + timedelta(hours=20), **fields}
        Batch.objects.filter(pk=batch.pk).update(state="submitted", provider_batch_id=f"batch_{batch.number}", **values)


def hold(job: Job) -> None:
    """Give it a cap with room for one batch, and let it find out."""
    first = Batch.objects.filter(job=job).order_by("number").first()
    assert first is not None
    assert first.reserve_usd is not None
    Job.objects.filter(pk=job.pk).update(cap_usd=first.reserve_usd / 2)
    for _ in range(2):
        Batch.objects.filter(job=job).update(next_look_at=timezone.now())
        step(job)
    job.refresh_from_db()
    assert job.needs.startswith(budget.NEEDS)


@pytest.mark.parametrize(("person", "status"), list(zip(PEOPLE, (302, 302, 403, 404), strict=True)))
def test_who_may_rescue(sign_in: Any, people: Any, job: Job, person: str, status: int) -> None:
    client = sign_in(getattr(people, person))
    token = new_token()
    for _ in range(2):
        assert client.post(reverse("job-rescue", args=[job.pk]), {"token": token}).status_code == status
    job.refresh_from_db()
    assert bool(job.wish) == (status == 302)
    assert AuditEntry.objects.filter(action="rescue").count() == (1 if status == 302 else 0)


def test_rescue_is_offered_for_what_was_lost_and_says_what_happens(as_owner: Any, people: Any, job: Job) -> None:
    """1 row was missing; the three failed ones are for a retry."""
    html = page_of(as_owner, job)
    assert "Finish the remaining row in real time for " in html
    assert "1 row was missing from the answer." in html
    assert "Rows that have an answer are left alone." in html
    as_owner.post(reverse("job-rescue", args=[job.pk]), {"token": new_token()})
    html = page_of(as_owner, job)
    assert "The rest will be finished in real time" in html
    assert "Finish the remaining row" not in html


def test_viewers_see_no_acts(sign_in: Any, people: Any, job: Job, running: Job) -> None:
    at_provider(running, expires_at=timezone.now() + timedelta(minutes=50))
    for each in (job, running):
        html = page_of(sign_in(people.viewer), each)
        assert "in real time for" not in html
        assert "rescue-job" not in html


def test_rescue_without_a_token_does_nothing(as_owner: Any, job: Job) -> None:
    answer = as_owner.post(reverse("job-rescue", args=[job.pk]), follow=True)
    assert "The form is not complete." in answer.content.decode()
    job.refresh_from_db()
    assert job.wish == {}


def test_a_running_job_can_be_finished_in_real_time(as_owner: Any, running: Job) -> None:
    at_provider(running)
    html = page_of(as_owner, running)
    assert "Finish in real time" in html
    assert "Not in time?" not in html
    assert "3 batches are cancelled first" in html
    assert "at most 30 rows, are sent in real time" in html
    at_provider(running, expires_at=timezone.now() + timedelta(minutes=50))
    html = page_of(as_owner, running)
    assert "The provider gives up on what is left in 49 min" in html
    at_provider(running, expires_at=timezone.now() - timedelta(minutes=1))
    assert "A batch is past the provider&#x27;s own time limit." in page_of(as_owner, running)


def test_running_longer_than_usual_is_a_reason(running: Job) -> None:
    at_provider(running, submitted_at=timezone.now() - timedelta(minutes=30))
    facts = facts_of(running)
    found = rescue_of(running, facts, 30, Decimal(2), Decimal(1), Decimal(1), Usual(300, 900, 12))
    assert found is not None
    assert found.why == "It takes longer than usual: 9 of 10 such batches here took at most 15 min."
    assert found.button == "Finish the remaining 30 rows in real time for about $1.00 more"
    quiet = rescue_of(running, facts, 30, None, None, None, Usual(3000, 9000, 12))
    assert quiet is not None
    assert (quiet.why, quiet.more) == ("", "")


def test_time_left_is_a_range_only_where_it_is_known(running: Job) -> None:
    at_provider(running, submitted_at=timezone.now() - timedelta(minutes=5))
    assert time_of(running, facts_of(running), None)[0] == "Ends by"
    label, value, note = time_of(running, facts_of(running), None, Usual(600, 1800, 7))
    assert (label, value) == ("Time left", "4 min – 24 min")
    assert note == "as is usual here: of 7 such batches half took at most 10 min, 9 in 10 at most 30 min"
    assert time_of(running, facts_of(running), None, Usual(60, 120, 7))[0] == "Ends by"
    Batch.objects.filter(job=running, number=3).update(state="ready")  # its end cannot be told before it is sent
    assert time_of(running, facts_of(running), None, Usual(600, 1800, 7))[0] == "Ends by"


def test_pace_of_this_workspace_is_on_the_page(as_owner: Any, people: Any, sandbox: Any, running: Job) -> None:
    done = make_job(people.home, people.owner, sandbox, n_rows=60, version=None, settle=False)
    step(done)
    now = timezone.now()
    Batch.objects.filter(job=done).update(state="settled", submitted_at=now - timedelta(hours=2), ended_at=now - timedelta(hours=1))
    at_provider(running)
    html = page_of(as_owner, running)
    assert "as is usual here: of 6 such batches half took at most 1 h" in html


def test_held_by_its_cap_the_page_says_so_and_an_analyst_raises_it(sign_in: Any, people: Any, running: Job) -> None:
    hold(running)
    client = sign_in(people.analyst)
    html = page_of(client, running)
    assert "A cap holds this job" in html
    assert "3 batches with 30 rows wait:" in html
    assert "Held: a cap keeps the next batches back until a person decides." in html
    assert "This job needs you" not in html
    assert "Approve going over the cap" not in html
    url = reverse("job-cap", args=[running.pk])
    assert "already." in client.post(url, {"cap_usd": "0.0001"}, follow=True).content.decode()
    assert "The cap was not raised" in client.post(url, {"cap_usd": "x"}, follow=True).content.decode()
    found = budget.held_of(running)
    assert found is not None
    assert found.enough is not None
    client.post(url, {"cap_usd": str(found.enough)})
    running.refresh_from_db()
    assert (running.cap_usd, running.needs) == (found.enough, "")
    assert AuditEntry.objects.get(action="cap raised").user == people.analyst
    assert running.events.get(kind="cap").text.endswith("by analyst")
    running = settled(running)
    assert (running.state, running.n_succeeded) == ("completed", 30)


def test_held_by_the_workspaces_cap_an_admin_approves(sign_in: Any, people: Any, running: Job) -> None:
    people.home.monthly_cap_usd = Decimal("0.000001")
    people.home.save()
    Batch.objects.filter(job=running).update(next_look_at=timezone.now())
    step(running)
    html = page_of(sign_in(people.analyst), running)
    assert "An admin can approve this job, or raise the workspace's cap." in html
    assert "New cap in dollars" not in html
    admin = sign_in(people.owner)
    assert "Approve going over the cap" in page_of(admin, running)
    url = reverse("job-approve", args=[running.pk])
    for _ in range(2):
        assert admin.post(url).status_code == 302
    running.refresh_from_db()
    assert (running.approved_by, running.needs) == (people.owner, "")
    assert AuditEntry.objects.filter(action="cap crossing approved").count() == 1
    assert settled(running).state == "completed"


@pytest.mark.parametrize(
    ("name", "allowed"), [("job-cap", ("owner", "analyst")), ("job-approve", ("owner",))], ids=["raise the cap", "approve"]
)
def test_who_may_let_a_cap_go(sign_in: Any, people: Any, running: Job, name: str, allowed: tuple[str, ...]) -> None:
    hold(running)
    for person in PEOPLE:
        if person not in allowed:
            status = sign_in(getattr(people, person)).post(reverse(name, args=[running.pk]), {"cap_usd": "9"}).status_code
            assert status == (404 if person == "outsider" else 403)
    running.refresh_from_db()
    assert (running.approved_by, running.cap_usd == Decimal(9)) == (None, False)
