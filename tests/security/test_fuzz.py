"""S35, S36: whatever stands in an address, a page answers in words and never breaks (filters, sorting, pages, ids)."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.security.test_matrix import BACKEND, RULES
from tests.security.world import World, build

NAMES = (  # noqa: SIM905 - sixty names
    "q page sort state model owner dataset kind cause round field value after version tab across from to period by table prompt connection "
    "show now live mark row all archived action seen formulas answer.intent answer. person max_output_tokens temperature other pick name "
    "encoding delimiter quote header next jobs places with a b"
).split()
VALUES = [
    "²", "-1", "9" * 30, "9" * 5000, "\0", "' OR 1=1 --", "created_by__password", "../../../etc/passwd", "\u202e\U0010ffff",
    "(a+)+$", "NaN",
]  # fmt: skip

SLOW = {"job-row-prompt", "launch-model", "launch-try", "launch-review"}  # each counts tokens or starts a child
LATE = {
    "job-list": ("page", "q", "sort", "live"), "job-rows": ("page", "after", "round", "q", "answer.intent"),
    "job-download": ("round", "q", "answer."),
    "job-row": ("round", "q"), "dataset-detail": ("page", "version", "across", "q"), "dataset-list": ("page", "q", "sort"),
    "prompt-list": ("page", "q", "sort"), "prompt-compare": ("from", "to"),
    "costs": ("page", "sort", "model"), "workspace-log": ("page", "action"),
    "price-list": ("kind", "model"), "compare": ("jobs", "page"),
}  # fmt: skip


@pytest.fixture
def world(people: Any, sandbox: Any, data_folder: Any) -> World:
    return build(people, sandbox)


def test_no_query_string_breaks_a_page(world: World, people: Any) -> None:
    """All names with the one value; then one name alone, since a value that is refused early hides what comes after it."""
    client = Client(raise_request_exception=False)
    client.force_login(people.owner, backend=BACKEND)
    found = []
    for name, (get, _) in RULES.items():
        if get is None or name in SLOW:
            continue
        queries: list[dict[str, Any]] = [dict.fromkeys(NAMES, value) for value in VALUES]
        queries += [{each: value} for each in LATE.get(name, ()) for value in VALUES]
        for query in queries:
            response = client.get(world.url(name), query, headers={"HX-Request": "true"} if len(query) % 2 else {})
            if response.status_code >= 500:
                found.append((name, next(iter(query)) if len(query) == 1 else "all", next(iter(query.values()))[:30]))
    assert found == []


def test_no_id_of_a_row_breaks_its_page(world: World, people: Any) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(people.owner, backend=BACKEND)
    urls = [f"/jobs/{world.job.pk}/rows/{number}/{part}" for number in ("12", "9" * 12, "9" * 30, "9" * 5000) for part in ("", "prompt/")]
    assert {client.get(url).status_code for url in urls} == {404}
    assert client.get(f"/jobs/{world.job.pk}/rows/11/").status_code == 200
