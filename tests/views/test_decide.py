"""A batch without a clear answer, decided on the page; and what else is at the provider, on the connection's page."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from jobs.models import AuditEntry, Batch
from tests.engine.test_reconcile import foreign, lose
from tests.engine.world import batch_of, creates, finish, kinds, look
from tests.engine.world import make as make_world

pytestmark = pytest.mark.django_db
BAD = (("analyst", 403), ("viewer", 403), ("outsider", 404))


@pytest.fixture(autouse=True)
def long_window(settings: Any) -> None:
    settings.SANDBOX_ABSENCE_SECONDS = 600.0


@pytest.fixture
def lost(people: Any, sandbox: Any, data_folder: Any) -> Batch:
    """Taken by the provider, whose answer was lost."""
    batch = lose(make_world(people, sandbox), sandbox)
    assert batch.state == "unknown"
    return batch


def decide_url(batch: Batch) -> str:
    return reverse("job-decide", args=[batch.job_id, batch.pk])


def test_the_job_page_leads_admins_to_the_decision(sign_in: Any, people: Any, lost: Batch) -> None:
    url = reverse("job-detail", args=[lost.job_id])
    assert decide_url(lost) in sign_in(people.owner).get(url).content.decode()
    html = sign_in(people.analyst).get(url).content.decode()
    assert decide_url(lost) not in html
    assert "An admin of the workspace can decide it by hand." in html


def test_a_candidate_is_found_and_adopted(as_owner: Any, people: Any, sandbox: Any, lost: Batch) -> None:
    there = sandbox.control("")["batches"][0]["id"]
    url = decide_url(lost)
    assert "Nobody has looked yet." in as_owner.get(url).content.decode()
    as_owner.post(url, {"act": "look"})
    html = as_owner.get(url).content.decode()
    assert f'value="{there}" checked' in html
    nothing = as_owner.post(url, {"act": "adopt"})
    assert (nothing.status_code, "Enter the provider&#x27;s id of the batch." in nothing.content.decode()) == (422, True)
    wrong = as_owner.post(url, {"act": "adopt", "chosen": there, "other": "batch_none"})
    assert (wrong.status_code, "could not be asked about batch_none" in wrong.content.decode()) == (422, True)
    assert as_owner.post(url, {"act": "adopt", "chosen": there})["Location"] == reverse("job-detail", args=[lost.job_id])
    lost.refresh_from_db()
    assert (lost.state, lost.provider_batch_id) == ("submitted", there)
    assert "needs no decision any more" in as_owner.get(url, follow=True).content.decode()
    job = finish(lost.job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 1)


def test_sending_again_wants_the_risk_typed(as_owner: Any, people: Any, sandbox: Any, data_folder: Any) -> None:
    job = make_world(people, sandbox)
    sandbox.control("arm", verb="batches.create", fault="drop_before")
    batch = look(batch_of(job))
    html = as_owner.get(decide_url(batch)).content.decode()
    assert "its 6 rows run twice and up to $0.00" in html
    assert "Send 6 rows again, risk up to $0.00" in html
    refused = as_owner.post(decide_url(batch), {"act": "again", "confirm": "yes"})
    assert (refused.status_code, "Nothing was sent." in refused.content.decode()) == (422, True)
    batch.refresh_from_db()
    assert batch.state == "unknown"
    assert as_owner.post(decide_url(batch), {"act": "again", "confirm": " Send again "}).status_code == 302
    assert AuditEntry.objects.get(action="batch sent again").user == people.owner
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 1)


@pytest.mark.parametrize(("person", "status"), BAD)
def test_who_may_not_decide(sign_in: Any, people: Any, lost: Batch, person: str, status: int) -> None:
    client = sign_in(getattr(people, person))
    assert client.get(decide_url(lost)).status_code == status
    assert client.post(decide_url(lost), {"act": "again", "confirm": "send again"}).status_code == status
    lost.refresh_from_db()
    assert lost.state == "unknown"


def test_orphans_are_listed_cancelled_and_set_aside(as_owner: Any, people: Any, sandbox: Any, data_folder: Any) -> None:
    job = make_world(people, sandbox, kind="anthropic", model="claude-haiku-4-5+slow=30s")
    look(batch_of(job))
    lost = look(batch_of(make_world(people, sandbox, model="claude-haiku-4-5+slow=30s", connection=job.connection)))
    strange, other = lost.provider_batch_id, foreign(sandbox, 2)
    lost.job.delete()  # what the ledger forgot
    page = reverse("connection-edit", args=[job.connection_id])
    assert "never looked" in as_owner.get(page).content.decode()
    as_owner.post(reverse("connection-orphans-look", args=[job.connection_id]))
    html = as_owner.get(page).content.decode()
    assert "2 batches at the provider are not known here." in html
    assert (strange in html, other in html) == (True, True)
    assert batch_of(job).provider_batch_id not in html
    refused = as_owner.post(
        reverse("connection-orphan-cancel", args=[job.connection_id]), {"batch": batch_of(job).provider_batch_id}, follow=True
    )
    assert "not in the list of the last look" in refused.content.decode()
    as_owner.post(reverse("connection-orphan-cancel", args=[job.connection_id]), {"batch": strange})
    as_owner.post(reverse("connection-orphan-ignore", args=[job.connection_id]), {"batch": other})
    states = {each["id"]: each["status"] for each in sandbox.control("")["batches"]}
    assert (states[strange], states[batch_of(job).provider_batch_id]) == ("ended", "in_progress")
    assert {each.orphan.id for each in as_owner.get(page).context["orphans"].lines} == {strange}
    actions = AuditEntry.objects.filter(action__startswith="orphan").order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["orphan cancelled", "orphan set aside"]


@pytest.mark.parametrize(("person", "status"), BAD)
@pytest.mark.parametrize("name", ["connection-orphans-look", "connection-orphan-cancel", "connection-orphan-ignore"])
def test_who_may_not_touch_orphans(sign_in: Any, people: Any, sandbox: Any, data_folder: Any, name: str, person: str, status: int) -> None:
    job = make_world(people, sandbox)
    client = sign_in(getattr(people, person))
    assert client.post(reverse(name, args=[job.connection_id]), {"batch": "batch_x"}).status_code == status
    if status == 403:
        assert client.get(reverse("connection-edit", args=[job.connection_id])).context["orphans"] is None
