"""S46, S37: signing in says nothing of who there is, begins a new session, and nobody is pulled into a place that is not theirs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.test import Client

from jobs.engine.connections import save_connection
from jobs.engine.members import add_member, create_workspace
from jobs.errors import BadInput
from jobs.models import Connection, Job, Membership
from jobs.words import Role
from tests.jobs import make_dataset, make_prompt
from tests.security.test_matrix import BACKEND


def test_a_session_gets_a_new_key_at_sign_in(client: Client, people: Any) -> None:
    client.get("/sign-in/")
    session = client.session
    session["planted"] = "by somebody else"
    session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = str(session.session_key)
    before = session.session_key
    assert client.post("/sign-in/", {"username": "owner", "password": "ownerowner"}).status_code == 302
    assert client.session.session_key != before
    assert Client(headers={"cookie": f"{settings.SESSION_COOKIE_NAME}={before}"}).get("/").status_code == 302


def test_signing_out_ends_the_session_for_good(client: Client, people: Any) -> None:
    client.force_login(people.owner, backend=BACKEND)
    key = client.session.session_key
    client.post("/sign-out/")
    again = Client()
    again.cookies[settings.SESSION_COOKIE_NAME] = str(key)
    assert again.get("/")["Location"].startswith("/sign-in/")


def test_being_added_elsewhere_does_not_move_a_person(client: Client, people: Any) -> None:
    """Anyone may found a workspace and add anyone: what that person uploads next must not land there."""
    trap = create_workspace(people.outsider, "A first place")
    add_member(trap, people.outsider, "owner", Role.ADMIN)
    client.force_login(people.owner, backend=BACKEND)
    page = client.get("/datasets/upload/").content.decode()
    assert Membership.objects.filter(user=people.owner).count() == 2
    client.post("/launch/", {})
    assert client.get("/workspace/settings/").context["form"].initial["name"] == "Home"
    assert "Home" in page


def test_ids_in_a_form_are_those_of_the_own_workspace(client: Client, people: Any, sandbox: Any, data_folder: Any) -> None:
    """S37: an analyst elsewhere puts ids of this workspace into forms of theirs."""
    version, prompt = make_dataset(people.home, people.owner), make_prompt(people.home, people.owner)
    theirs, _ = save_connection(
        people.home, people.owner, name="C", kind="openai", base_url=sandbox.openai_url, key="sk-test-1234567890", by_operator=True
    )
    own = make_dataset(people.away, people.outsider)
    member = Membership.objects.get(user=people.outsider)
    member.role = Role.ANALYST
    member.save()
    client.force_login(people.outsider, backend=BACKEND)
    assert client.post("/launch/", {"dataset_version": version.pk}).status_code == 404
    assert client.post("/launch/", {"dataset_version": own.pk, "prompt": prompt.pk}).status_code == 404
    draft = Job.objects.create(workspace=people.away, name="D", dataset_version=own, launch_token="t", created_by=people.outsider)
    assert client.post(f"/launch/{draft.pk}/data/", {"dataset_version": version.pk}).status_code == 404
    assert client.post(f"/launch/{draft.pk}/prompt/", {"prompt_version": prompt.pk}).status_code == 404
    draft.prompt_version = make_prompt(people.away, people.outsider)
    draft.save()
    assert client.post(f"/launch/{draft.pk}/model/", {"pick": f"{theirs.pk}:gpt-6-luna", "connection": theirs.pk}).status_code in (404, 422)
    trial = client.post("/prompts/new/", {"act": "preview", "dataset": version.dataset_id, "kind": "generate", "user": "{{ text }}"})
    assert "charged twice" not in trial.content.decode()
    draft.refresh_from_db()
    assert (draft.connection_id, draft.dataset_version_id) == (None, own.pk)
    assert Connection.objects.filter(workspace=people.away).count() == 0


def test_a_membership_that_ends_ends_at_once(client: Client, people: Any) -> None:
    client.force_login(people.analyst, backend=BACKEND)
    assert client.get("/jobs/").status_code == 200
    Membership.objects.filter(user=people.analyst).delete()
    assert client.get("/jobs/").status_code == 404


def test_the_last_admin_stays(people: Any) -> None:
    from jobs.engine.members import change_role

    try:
        change_role(Membership.objects.get(user=people.owner), people.owner, Role.VIEWER)
        raised = False
    except BadInput:
        raised = True
    assert (raised, Membership.objects.get(user=people.owner).role) == (True, Role.ADMIN)
