"""The tokenizer takes 135 MB: every page that shows tokens has them counted in a child, and the web process never loads it."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from jobs.costs import tokens
from jobs.engine import caching
from tests.views.launching import make_connection, make_draft

pytestmark = pytest.mark.django_db(transaction=True)
RULES = "\n".join(f"{n}. A ticket about matter {n} belongs to drawer {n * 7}, unless it names drawer {n} itself." for n in range(80))


@pytest.fixture(autouse=True)
def _without_tokenizer(monkeypatch: Any) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} was loaded by the web process")

    tokens._counted.clear()
    monkeypatch.setattr(tokens, "_encoding", refuse)


def test_the_pages_of_a_launch(as_owner: Any, people: Any, data_folder: Any) -> None:
    draft = make_draft(people, make_connection(people.home), user=f"Ticket {{{{ text }}}}\n\n{RULES}")
    assert " tokens" in as_owner.get(reverse("launch-try", args=[draft.pk]) + "?now=1").content.decode()
    assert "$" in as_owner.get(reverse("launch-model", args=[draft.pk]) + "?now=1").content.decode()
    review = as_owner.get(reverse("launch-review", args=[draft.pk])).content.decode()
    assert "Launch 40 rows" in review
    assert "The fixed text could come first" in review
    assert as_owner.post(reverse("launch-fixed-first", args=[draft.pk])).status_code == 302


def test_the_prompt_editor(as_owner: Any, people: Any, data_folder: Any) -> None:
    draft = make_draft(people)
    assert draft.dataset_version
    said = {"act": "preview", "dataset": str(draft.dataset_version.dataset_id), "user": "Sort: {{ text }}", "row": "1"}
    response = as_owner.post(reverse("prompt-new"), said, headers={"HX-Request": "true"})
    page = response.content.decode()
    assert "Where is parcel 0?" in page
    assert 5 < response.context["trial"].tokens < 40


def test_a_proposal_is_an_advice_and_no_reason_to_fail(as_owner: Any, people: Any, data_folder: Any, monkeypatch: Any) -> None:
    draft = make_draft(people, make_connection(people.home), user=f"Ticket {{{{ text }}}}\n\n{RULES}")
    monkeypatch.setattr(caching, "count_apart", lambda texts: (_ for _ in ()).throw(caching.ChildDied("memory")))
    page = as_owner.get(reverse("launch-review", args=[draft.pk]))
    assert page.status_code == 200
    assert "could come first" not in page.content.decode()
