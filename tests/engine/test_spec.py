"""What a request may cost is known from its spec: no parameter gets past the limit or the price."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.engine.spec import check_spec, spec_for
from jobs.errors import BadInput
from jobs.models import Connection, PromptVersion


@pytest.mark.parametrize(
    ("params", "changes", "most", "sent"),
    [
        ({"max_output_tokens": 100}, {}, 100, {}),
        ({"max_output_tokens": 100, "max_tokens": 5000}, {}, 5000, {"max_tokens": 5000}),
        ({"max_completion_tokens": 300, "temperature": 0}, {}, 300, {"max_completion_tokens": 300, "temperature": 0}),
        ({"max_tokens": 300}, {"max_output_tokens": 900}, 900, {"max_tokens": 900}),
        ({"max_tokens": 300}, {"max_tokens": 400}, 400, {"max_tokens": 400}),
        ({"max_tokens": "many"}, {}, None, {"max_tokens": "many"}),
        ({}, {}, None, {}),
    ],
)
def test_the_limit_by_its_own_name_is_the_limit(params: Any, changes: Any, most: int | None, sent: Any) -> None:
    spec = spec_for(PromptVersion(params=params), "m", changes=changes)
    assert (spec.max_output_tokens, spec.params) == (most, sent)


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("openai", {"service_tier": "priority"}),
        ("anthropic", {"service_tier": "auto"}),
        ("anthropic", {"speed": "fast"}),
        ("anthropic", {"inference_geo": "us"}),
        ("openai", {"n": 3}),
        ("openai-compatible", {"n": 2}),
    ],
)
def test_what_changes_the_price_unseen_is_refused(kind: str, params: Any) -> None:
    with pytest.raises(BadInput, match="parameter"):
        check_spec(Connection(kind=kind), spec_for(PromptVersion(params={"max_output_tokens": 9, **params}), "m"))


@pytest.mark.parametrize("params", [{"n": 1}, {"service_tier": "on_demand"}])
def test_what_does_not_is_sent(params: Any) -> None:
    check_spec(Connection(kind="openai-compatible"), spec_for(PromptVersion(params=params), "m"))
