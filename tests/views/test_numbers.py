"""Amounts are typed as text: a comma is refused in words, never dropped or guessed about."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from jobs.forms.acts import CapForm
from jobs.forms.workspace import WorkspaceForm
from tests.views.launching import make_draft

COMMA = ["Write it without a comma: decimals stand after a point, as in 0.05."]


@pytest.mark.parametrize("typed", ["0,05", "1,000", "1.000,50"])
def test_a_comma_is_refused_and_not_guessed_about(typed: str) -> None:
    assert CapForm({"cap_usd": typed}).errors == {"cap_usd": COMMA}
    assert WorkspaceForm({"name": "x", "monthly_cap_usd": typed}).errors == {"monthly_cap_usd": COMMA}


def test_a_point_is_taken() -> None:
    form = CapForm({"cap_usd": " 0.05 "})
    assert form.is_valid()
    assert str(form.cleaned_data["cap_usd"]) == "0.05"


@pytest.mark.django_db(transaction=True)
def test_the_browser_sends_what_was_typed(as_owner: Any, people: Any, data_folder: Any) -> None:
    page = as_owner.get(reverse("launch-review", args=[make_draft(people).pk])).content.decode()
    box = page[page.index('name="cap_usd"') - 80 : page.index('name="cap_usd"') + 120]
    assert 'type="text"' in box
    assert 'inputmode="decimal"' in box
