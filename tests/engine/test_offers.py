"""What a draft is offered is estimated for the requests that would be sent."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.engine import drafts, offers
from jobs.engine.spec import spec_for
from tests.jobs import make_connection, make_dataset, make_prompt

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("own", "most"),
    [({}, 200), ({"max_tokens": 5000}, 5000), ({"max_completion_tokens": 50}, 50), ({"max_tokens": -1}, None)],
)
def test_the_estimate_goes_by_the_limit_that_is_sent(people: Any, sandbox: Any, data_folder: Any, own: Any, most: int | None) -> None:
    """By the provider's own name as well: 200 beside it is not sent."""
    home, owner = people.home, people.owner
    draft = drafts.start(home, owner, make_dataset(home, owner, 30), make_prompt(home, owner, schema=None, **own))
    draft = drafts.choose_model(draft, make_connection(home, owner, sandbox), "gpt-6-luna", {})
    assert draft.prompt_version is not None
    assert spec_for(draft.prompt_version, draft.model).max_output_tokens == most
    assert offers.estimate_of(draft).output_high == (None if most is None else 30 * most)
