"""Signing in by link and by password, and the headers and limits around it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.test import Client

from batchui import link

pytestmark = pytest.mark.django_db
REFUSED = "That link was used already, is too old, or was opened on another machine. Start batchui again for a new one."


def who(client: Client) -> str | None:
    return client.session.get("_auth_user_id")


def test_a_link_signs_in_once(client: Client, people: Any, data_folder: Path) -> None:
    path = link.make(people.owner.pk)
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Location"], who(client)) == (302, "/", str(people.owner.pk))
    second = Client()
    page = second.get(path, follow=True)
    assert who(second) is None
    assert [str(message) for message in page.context["messages"]] == [REFUSED]


@pytest.mark.parametrize("extra", [{"REMOTE_ADDR": "10.1.2.3"}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, {"HTTP_FORWARDED": "for=127.0.0.1"}])
def test_a_link_from_elsewhere_is_refused_and_stays_unused(client: Client, people: Any, data_folder: Path, extra: dict[str, str]) -> None:
    path = link.make(people.owner.pk)
    client.get(path, **extra)
    assert who(client) is None
    client.get(path)
    assert who(client) == str(people.owner.pk)


def test_an_old_or_false_link_is_refused(people: Any, data_folder: Path, settings: Any) -> None:
    token = link.make(people.owner.pk).split("/")[-2]
    assert link.use(token[:-2] + "xx") is None
    with time_machine.travel(time.time() + settings.SIGN_IN_LINK_SECONDS + 5):
        assert link.use(token) is None
    assert link.use(token) == people.owner.pk


def test_password_sign_in_and_lock_out(client: Client, people: Any) -> None:
    for _ in range(4):
        page = client.post("/sign-in/", {"username": "owner", "password": "wrong"})
        assert page.status_code == 422
        assert "The name or the password is not right." in page.content.decode()
    assert client.post("/sign-in/", {"username": "owner", "password": "wrong"}).status_code == 429
    assert client.post("/sign-in/", {"username": "owner", "password": "ownerowner"}).status_code == 429
    assert who(client) is None
    client.post("/sign-in/", {"username": "viewer", "password": "viewerviewer"})
    assert who(client) == str(people.viewer.pk)


def test_the_same_words_for_a_wrong_name(client: Client, people: Any) -> None:
    pages = [client.post("/sign-in/", {"username": name, "password": "wrong-one"}).content.decode() for name in ("owner", "nobody")]
    messages = [page.split('role="alert">')[1].split("<")[0] for page in pages]
    assert messages == ["The name or the password is not right."] * 2


@pytest.mark.parametrize(("asked", "sent"), [("/password/", "/password/"), ("//evil.example/", "/"), ("https://evil.example/", "/")])
def test_next_stays_on_this_site(client: Client, people: Any, asked: str, sent: str) -> None:
    answer = client.post("/sign-in/", {"username": "owner", "password": "ownerowner", "next": asked})
    assert (answer.status_code, answer.headers["Location"]) == (302, sent)


def test_setting_a_password(as_owner: Client, people: Any) -> None:
    new = {"new_password1": "a longer phrase", "new_password2": "a longer phrase"}
    assert as_owner.post("/password/", {**new, "old_password": "wrong"}).status_code == 422
    assert as_owner.post("/password/", {**new, "old_password": "ownerowner"}).status_code == 302
    people.owner.refresh_from_db()
    assert people.owner.check_password("a longer phrase")
    assert who(as_owner) == str(people.owner.pk)


def test_a_first_password_needs_no_old_one(as_owner: Client, people: Any) -> None:
    people.owner.set_unusable_password()
    people.owner.save()
    as_owner.force_login(people.owner, backend="django.contrib.auth.backends.ModelBackend")
    as_owner.post("/password/", {"new_password1": "a longer phrase", "new_password2": "a longer phrase"})
    people.owner.refresh_from_db()
    assert people.owner.check_password("a longer phrase")


def test_changes_need_the_csrf_token(people: Any) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(people.owner, backend="django.contrib.auth.backends.ModelBackend")
    assert {path: strict.post(path).status_code for path in ("/sign-in/", "/sign-out/", "/password/")} == {
        "/sign-in/": 403,
        "/sign-out/": 403,
        "/password/": 403,
    }


def test_headers(as_owner: Client) -> None:
    headers = as_owner.get("/password/").headers
    assert {name: headers[name] for name in EXPECTED} == EXPECTED
    assert sorted(part.strip() for part in headers["Content-Security-Policy"].split(";")) == sorted(CSP)
    assert "no-store" in headers["Cache-Control"]
    assert {part.strip() for part in headers["Vary"].split(",")} == {"Cookie", "HX-Request"}


EXPECTED = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
CSP = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "font-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "object-src 'none'",
]


@pytest.mark.parametrize(("pauses", "signed_in"), [([3500, 3500], True), ([3700], False), ([3500] * 13, False)])
def test_sessions_end(people: Any, pauses: list[int], signed_in: bool) -> None:
    """One hour without use ends a session, twelve hours end it in any case."""
    client = Client()
    now = time.time()
    with time_machine.travel(now, tick=False) as clock:
        client.force_login(people.owner, backend="django.contrib.auth.backends.ModelBackend")
        assert client.get("/password/").status_code == 200
        for pause in pauses:
            clock.shift(pause)
            status = client.get("/password/").status_code
        assert status == (200 if signed_in else 302)
