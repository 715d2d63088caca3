"""S37, S22: every address × every person × GET and POST. An address without an entry here fails."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from jobs.words import Role
from tests.security.world import World, addresses, build

V, A, X = Role.VIEWER, Role.ANALYST, Role.ADMIN
NO = None  # the method is not taken
BACKEND = "django.contrib.auth.backends.ModelBackend"

# name → (least role for GET, least role for POST)
RULES: dict[str, tuple[Role | None, Role | None]] = {
    "home": (V, NO),
    "launch-sample": (NO, A),
    "dataset-list": (V, NO),
    "dataset-upload": (A, A),
    "upload-detail": (V, NO),
    "dataset-file": (V, NO),
    "dataset-detail": (V, NO),
    "dataset-reading": (A, A),
    "dataset-settings": (A, A),
    "dataset-archive": (NO, A),
    "prompt-list": (V, NO),
    "prompt-new": (A, A),
    "prompt-detail": (V, NO),
    "prompt-edit": (A, A),
    "prompt-compare": (V, NO),
    "prompt-settings": (A, A),
    "prompt-archive": (NO, A),
    "launch-new": (A, A),
    "launch-like": (NO, A),
    "launch": (A, NO),
    "launch-data": (A, A),
    "launch-prompt": (A, A),
    "launch-model": (A, A),
    "launch-try": (A, A),
    "launch-review": (A, A),
    "launch-fixed-first": (NO, A),
    "launch-go": (NO, A),
    "launch-discard": (NO, A),
    "job-list": (V, NO),
    "job-detail": (V, NO),
    "job-batches": (V, NO),
    "job-timeline": (V, NO),
    "job-cancel": (NO, A),
    "job-rescue": (NO, A),
    "job-cap": (NO, A),
    "job-approve": (NO, X),
    "job-decide": (X, X),
    "job-give-up": (X, X),
    "job-failures": (V, NO),
    "job-retry": (A, A),
    "job-rows": (V, NO),
    "job-charts": (V, NO),
    "job-row": (V, NO),
    "job-row-prompt": (V, NO),
    "job-download": (V, NO),
    "job-receipt": (V, NO),
    "job-receipt-json": (V, NO),
    "job-receipt-csv": (V, NO),
    "costs": (V, NO),
    "costs-csv": (V, NO),
    "compare": (V, NO),
    "report-quality": (V, NO),
    "report-quality-csv": (V, NO),
    "batch-advice": (V, V),
    "connection-list": (V, NO),
    "connection-new": (X, X),
    "connection-edit": (V, X),
    "connection-test": (NO, X),
    "connection-remove": (NO, X),
    "connection-orphans-look": (NO, X),
    "connection-orphan-cancel": (NO, X),
    "connection-orphan-ignore": (NO, X),
    "workspace-detail": (V, NO),
    "workspace-settings": (V, NO),
    "workspace-save": (NO, X),
    "workspace-new": (NO, V),
    "workspace-switch": (NO, V),
    "workspace-zone": (NO, V),
    "workspace-log": (X, NO),
    "member-add": (NO, X),
    "member-role": (NO, X),
    "member-remove": (NO, X),
    "member-link": (NO, X),
    "price-list": (V, NO),
    "price-save": (NO, X),
    "price-remove": (NO, X),
}
# Not of a workspace; their own tests say who may: tests/ops, tests/browser/test_styleguide.py, tests/views/test_workspace.py.
OPEN = {"healthz", "signin", "signin-link", "signout", "password", "theme", "styleguide", "workspace-join"}
ROLES = {"viewer": V, "analyst": A, "owner": X}


def test_every_address_has_its_rule() -> None:
    names = {name for name, _ in addresses()}
    assert names == RULES.keys() | OPEN


@pytest.fixture
def world(people: Any, sandbox: Any, data_folder: Any) -> World:
    return build(people, sandbox)


def answer(client: Client, method: str, world: World, name: str) -> str:
    """What came back, as a word; nothing that it changed in the ledger stays."""
    given = {"workspace": "00000000-0000-0000-0000-000000000000"} if method == "post" else {}
    with transaction.atomic():
        response = getattr(client, method)(world.url(name), given)
        transaction.set_rollback(True)
    if response.status_code == 302 and response["Location"].startswith("/sign-in/"):
        return "sign in"
    if method == "get" and RULES[name][0] is NO and response.status_code == 302:
        return "led back"
    if response.status_code in (403, 404, 405):
        return str(response.status_code)
    return "ok" if response.status_code < 500 and response.status_code != 401 else f"broken: {response.status_code}"


def expected(rule: Role | None, person: str, of_object: bool, method: str) -> str:
    if rule is None:  # the page that a GET is led to has a rule of its own
        return "led back" if method == "get" else "405"
    if person == "anonymous":
        return "sign in"
    if person == "outsider":  # an admin of another workspace: sees lists of the own, and nothing of this one
        return "404" if of_object else "ok"
    return "ok" if ROLES[person].may(rule) else "403"


def test_every_address_for_every_person(world: World, people: Any) -> None:
    wrong = {}
    for person in ("anonymous", "outsider", *ROLES):
        client = Client()
        if person != "anonymous":
            client.force_login(getattr(people, person), backend=BACKEND)
        for name, rules in RULES.items():
            for method, rule in zip(("get", "post"), rules, strict=True):
                wanted, got = expected(rule, person, name in world.args, method), answer(client, method, world, name)
                if name == "workspace-switch" and wanted == "ok":
                    wanted = "404"  # the workspace in the form is nobody's
                if got != wanted:
                    wrong[f"{person}: {method} {name}"] = (got, "wanted", wanted)
    assert wrong == {}


def test_every_post_needs_the_token(world: World, people: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.owner, backend=BACKEND)
    open_posts = {"signin", "signout", "password", "theme", "workspace-join"}
    names = sorted({name for name, (_, post) in RULES.items() if post is not None} | open_posts)
    got = {name: client.post(world.url(name), {"workspace": "x"}).status_code for name in names}
    assert got == dict.fromkeys(names, 403)
