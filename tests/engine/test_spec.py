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
        ({"max_output_tokens": 100, "max_tokens": -1}, {}, None, {"max_tokens": -1}),  # to llama.cpp and vLLM's kin: without end
        ({"max_completion_tokens": 300, "max_tokens": 0}, {}, None, {"max_completion_tokens": 300, "max_tokens": 0}),
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
        ("anthropic", {"inference_geo": None, "speed": "standard"}),
        ("openai", {"web_search_options": {}}),
        ("openai-compatible", {"web_search_options": {}}),
        ("openai-compatible", {"search_parameters": {"mode": "auto"}}),
        ("openai-compatible", {"plugins": [{"id": "web"}]}),
        ("openai-compatible", {"models": ["a", "b"]}),
        ("openai", {"modalities": ["text", "audio"]}),
        ("openai", {"prompt_cache_options": {"ttl": "12h"}}),
        ("openai", {"n": 3}),
        ("openai-compatible", {"n": 2}),
    ],
)
def test_what_changes_the_price_unseen_is_refused(kind: str, params: Any) -> None:
    with pytest.raises(BadInput, match="parameter"):
        check_spec(Connection(kind=kind), spec_for(PromptVersion(params={"max_output_tokens": 9, **params}), "m"))


TOOL = {"type": "function", "function": {"name": "sort", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("openai-compatible", {"n": 1}),
        ("openai-compatible", {"service_tier": "on_demand"}),
        ("openai", {"tools": [TOOL, {"type": "custom", "custom": {"name": "free"}}], "tool_choice": "none"}),
        ("openai-compatible", {"tools": [TOOL]}),
        ("openai", {"modalities": ["text"]}),
        ("openai", {"prompt_cache_options": {"mode": "explicit", "ttl": "30m"}}),
        (
            "anthropic",
            {"tools": [{"name": "sort", "input_schema": {"type": "object"}}, {"type": "custom", "name": "b", "input_schema": {}}]},
        ),
        ("anthropic", {"tools": [{"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}]}),
        ("anthropic", {"inference_geo": "global"}),
        ("anthropic", {"tools": "none"}),  # the provider's to refuse
    ],
)
def test_what_does_not_is_sent(kind: str, params: Any) -> None:
    spec = spec_for(PromptVersion(params={"max_output_tokens": 9, **params}), "m")
    assert spec.params == params
    check_spec(Connection(kind=kind), spec)


@pytest.mark.parametrize(
    ("kind", "tool"),
    [
        ("openai", {"type": "web_search"}),
        ("openai", {"type": "file_search", "vector_store_ids": ["vs_1"]}),
        ("openai", {"type": "code_interpreter", "container": {"type": "auto"}}),
        ("openai-compatible", {"type": "browser_search"}),
        ("anthropic", {"type": "web_search_20250305", "name": "web_search"}),
        ("anthropic", {"type": "web_fetch_20250910", "name": "web_fetch"}),
        ("anthropic", {"type": "code_execution_20250825", "name": "code_execution"}),
        ("anthropic", {"type": "mcp_toolset", "mcp_server_name": "files"}),
    ],
)
def test_a_tool_that_the_provider_runs_is_refused_by_name(kind: str, tool: Any) -> None:
    own = {"name": "sort", "input_schema": {"type": "object"}} if kind == "anthropic" else TOOL
    with pytest.raises(BadInput) as refused:
        check_spec(Connection(kind=kind), spec_for(PromptVersion(params={"max_output_tokens": 9, "tools": [own, tool]}), "m"))
    said = f"The tool “{tool['type']}” (number 2 in the parameter “tools”) is run by the provider, at a price that batchui does not count."
    assert (refused.value.message, refused.value.hint) == (said, "Take it out; functions of your own may stay.")
