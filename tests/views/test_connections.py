"""Pages of connections: who sees and changes what, the key that is never shown, the test in words."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse

from batchui.seal import unseal
from jobs.engine.connections import test_connection as check_connection
from jobs.engine.remote import aad, seal_key
from jobs.models import AuditEntry, Connection
from tests.jobs import make_connection, make_job

BACKEND = "django.contrib.auth.backends.ModelBackend"
KEY = "sk-proj-0123456789abcd3f2a"


def form(sandbox: Any, **changes: Any) -> dict[str, Any]:
    return {"name": "Mine", "kind": "openai", "base_url": sandbox.openai_url, "key": KEY, **changes}


def test_add_seals_the_key_and_shows_its_end(as_owner: Any, people: Any, sandbox: Any) -> None:
    response = as_owner.post("/connections/new/", form(sandbox, limit_requests_per_batch="500", delete_remote_files="on", test="1"))
    made = Connection.objects.get(name="Mine")
    assert (response.status_code, response["Location"]) == (302, f"/connections/{made.pk}/")
    assert (made.key_hint, made.limits, made.delete_remote_files, made.test_ok) == ("sk-…3f2a", {"requests_per_batch": 500}, True, True)
    assert unseal(made.sealed_key, aad(made)) == KEY
    page = as_owner.get(response["Location"]).content.decode()
    assert "sk-…3f2a is kept" in page
    assert KEY not in page
    assert "Mine is saved. It works: 16 models can be used." in page
    assert list(AuditEntry.objects.values_list("action", "target")) == [("connection added", "Mine")]


def test_a_name_that_is_taken_is_refused_and_changes_nothing(as_owner: Any, people: Any, sandbox: Any) -> None:
    made = make_connection(people.home, people.owner, sandbox, "Mine")
    response = as_owner.post("/connections/new/", form(sandbox, key="sk-other-key-000000"))
    assert response.status_code == 422
    assert response.context["form"].errors == {"name": ["There is a connection “Mine” already. Choose another name."]}
    assert list(Connection.objects.values_list("pk", "sealed_key")) == [(made.pk, made.sealed_key)]


def test_another_address_needs_the_key_again(as_owner: Any, people: Any, sandbox: Any) -> None:
    made = make_connection(people.home, people.owner, sandbox, "Mine")
    Connection.objects.update(is_sandbox=False)
    response = as_owner.post(f"/connections/{made.pk}/", form(sandbox, base_url="http://127.0.0.1:9/v1", key=""))
    assert response.status_code == 422
    assert list(response.context["form"].errors) == ["key"]
    assert "the key must be entered again" in response.context["form"].errors["key"][0]
    made.refresh_from_db()
    assert made.base_url == sandbox.openai_url
    assert as_owner.post(f"/connections/{made.pk}/", form(sandbox, name="Renamed", key="")).status_code == 302
    assert Connection.objects.get().name == "Renamed"


def test_bad_input_is_422_with_words(as_owner: Any, people: Any, sandbox: Any, settings: Any) -> None:
    settings.ALLOW_PRIVATE_HOSTS = False
    bad = {
        "key": form(sandbox, base_url="", key=""),
        "base_url": form(sandbox, base_url="http://169.254.169.254/v1"),
        "limit_concurrency": form(sandbox, base_url="", limit_concurrency="0"),
        "kind": form(sandbox, base_url="", kind="gopher"),
    }
    got = {name: as_owner.post("/connections/new/", data) for name, data in bad.items()}
    assert {name: (r.status_code, list(r.context["form"].errors)) for name, r in got.items()} == {name: (422, [name]) for name in bad}
    assert not Connection.objects.exists()


def test_test_says_what_is_wrong_and_answers_the_part_that_asked(as_owner: Any, people: Any, sandbox: Any) -> None:
    made = make_connection(people.home, people.owner, sandbox, "Mine")
    as_owner.post(f"/connections/{made.pk}/", form(sandbox, key="sk-wrong-key-000000"))
    row = as_owner.post(f"/connections/{made.pk}/test/", headers={"HX-Request": "true", "HX-Target": f"connection-row-{made.pk}"})
    assert row.content.decode().count(f'id="connection-row-{made.pk}"') == 1
    assert "Does not work" in row.content.decode()
    assert "did not accept the API key" in row.content.decode()
    card = as_owner.post(f"/connections/{made.pk}/test/", headers={"HX-Request": "true", "HX-Target": "connection-test"})
    assert 'id="connection-test"' in card.content.decode()
    assert as_owner.post(f"/connections/{made.pk}/test/").status_code == 302
    made.refresh_from_db()
    assert (made.test_ok, made.problem == made.test_result) == (False, True)


def test_removed_connections_lose_their_key_and_free_their_name(as_owner: Any, people: Any, sandbox: Any, data_folder: Any) -> None:
    job = make_job(people.home, people.owner, sandbox, n_rows=6, settle=False)
    url = f"/connections/{job.connection_id}/"
    as_owner.post(f"{url}remove/")
    assert Connection.objects.get().archived_at is None  # its job is open
    type(job).objects.update(state="completed")
    job.batches.update(state="settled")
    job.rounds.update(state="settled")
    assert as_owner.post(f"{url}remove/")["Location"] == "/connections/"
    gone = Connection.objects.get()
    assert (gone.sealed_key, gone.key_hint, gone.archived_at is None) == ("", "", False)
    assert as_owner.get(url).status_code == 404
    assert as_owner.post("/connections/new/", form(sandbox, name="Sandbox")).status_code == 302


def test_viewers_see_no_form(client: Client, people: Any, sandbox: Any) -> None:
    made = make_connection(people.home, people.owner, sandbox, "Mine")
    client.force_login(people.viewer, backend=BACKEND)
    page = client.get(f"/connections/{made.pk}/").content.decode()
    assert ('<form class="form"' in page, "Test now" in page, "sk-…7890" in page) == (False, False, True)
    assert "Add connection" not in client.get("/connections/").content.decode()


def test_query_counts_do_not_grow(as_owner: Any, people: Any, sandbox: Any, django_assert_max_num_queries: Any) -> None:
    for name in "abc":
        make_connection(people.home, people.owner, sandbox, name)
    with django_assert_max_num_queries(8):
        as_owner.get("/connections/")
    with django_assert_max_num_queries(12):
        as_owner.get(f"/connections/{Connection.objects.first().pk}/")  # type: ignore[union-attr]


def test_an_address_that_lacks_its_scheme_or_its_version_is_told_so(as_owner: Any, people: Any, sandbox: Any, settings: Any) -> None:
    settings.ALLOW_PRIVATE_HOSTS = True
    bare = as_owner.post(reverse("connection-new"), form(sandbox, base_url="localhost:8000/v1"))
    assert "The base URL must start with https:// or http://." in bare.content.decode()
    settings.ALLOW_PRIVATE_HOSTS = False
    strict = as_owner.post(reverse("connection-new"), form(sandbox, base_url="localhost:8000/v1")).content.decode()
    assert "The base URL must start with https://." in strict
    settings.ALLOW_PRIVATE_HOSTS = True
    made = make_connection(people.home, people.owner, sandbox)
    ok, words = check_connection(made)
    assert (ok, "Is /v1 missing" in words) == (True, False)
    made.base_url = made.base_url.removesuffix("/v1")
    seal_key(made, KEY)  # a key is sealed for its address
    made.save()
    ok, words = check_connection(made)
    assert (ok, words.endswith("Is /v1 missing at the end of the base URL?")) == (False, True)
