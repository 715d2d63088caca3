"""Lines in both directions: what is written byte for byte, what is read field for field, and that nothing breaks the reader."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import BadInput
from jobs.providers import anthropic_lines, lines, openai_lines
from jobs.providers.base import Answer, RequestSpec
from jobs.providers.registry import decoder_for, encoder_for
from jobs.words import Cause, OutcomeKind

KINDS = ["openai", "anthropic", "openai-compatible"]
SPEC = RequestSpec("generate", "m", max_output_tokens=9)
SCHEMA = {"type": "object", "title": "My answer!", "properties": {"label": {"type": "string", "maxLength": 5}, "n": {"type": "integer"}}}
CLOSED = SCHEMA | {"additionalProperties": False, "required": ["label", "n"]}


def written(kind: str, spec: RequestSpec, system: str = "", user: str = "hi") -> dict[str, Any]:
    line = encoder_for(kind, spec)("r1-0", system, user)
    assert (line[-1:], line.count(b"\n")) == (b"\n", 1)
    found: dict[str, Any] = orjson.loads(line)
    return found


def test_openai_chat_line() -> None:
    spec = RequestSpec("generate", "m", 9, SCHEMA, {"temperature": 0, "reasoning_effort": "low"}, service_tier="flex")
    named = {"name": "My_answer_", "strict": True, "schema": CLOSED}
    assert written("openai", spec, "be brief", 'ä\u2028"\n') == {
        "custom_id": "r1-0",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "m",
            "temperature": 0,
            "reasoning_effort": "low",
            "max_completion_tokens": 9,
            "response_format": {"type": "json_schema", "json_schema": named},
            "service_tier": "flex",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": 'ä\u2028"\n'}],
        },
    }


def test_the_system_message_changes_and_goes() -> None:
    for kind in KINDS:
        encode = encoder_for(kind, SPEC)
        seen = [orjson.loads(encode("r", system, "x")) for system in ("a", "a", "", "b")]
        bodies = [line.get("body") or line["params"] for line in seen]
        told = [b.get("system") or (b["messages"][0]["content"] if len(b["messages"]) == 2 else None) for b in bodies]
        assert told == ["a", "a", None, "b"]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("mistral-large-4", "max_tokens"),
        ("openai/gpt-oss-120b", "max_tokens"),
        ("llama3:8b", "max_tokens"),
        ("gpt-6-luna", "max_completion_tokens"),
        ("openai/o4-mini", "max_completion_tokens"),
        ("openrouter/openai/gpt-5.5", "max_completion_tokens"),
    ],
)
def test_the_output_limit_has_the_name_that_a_server_obeys(model: str, name: str) -> None:
    body = written("openai-compatible", RequestSpec("generate", model, 9))["body"]
    assert {key: value for key, value in body.items() if key.startswith("max_")} == {name: 9}


def test_compatible_says_max_tokens_unless_told_otherwise() -> None:
    assert written("openai-compatible", SPEC)["body"]["max_tokens"] == 9
    spec = RequestSpec("generate", "m", 9, params={"max_completion_tokens": 7})
    body = written("openai-compatible", spec)["body"]
    assert (body["max_completion_tokens"], "max_tokens" in body) == (7, False)


@pytest.mark.parametrize(("kind", "url"), [("embed", "/v1/embeddings"), ("moderate", "/v1/moderations")])
def test_embedding_and_moderation_lines(kind: str, url: str) -> None:
    found = written("openai", RequestSpec(kind, "m", params={"dimensions": 8}), "ignored", "text")
    assert found == {"custom_id": "r1-0", "method": "POST", "url": url, "body": {"model": "m", "dimensions": 8, "input": "text"}}


def test_anthropic_line() -> None:
    spec = RequestSpec("generate", "m", None, SCHEMA, {"output_config": {"effort": "low"}}, cache_prefix=True)
    schema = {
        "type": "object",
        "title": "My answer!",
        "properties": {"label": {"type": "string", "description": "{maxLength: 5}"}, "n": {"type": "integer"}},
        "additionalProperties": False,
        "required": ["label", "n"],
    }
    assert written("anthropic", spec, "be brief") == {
        "custom_id": "r1-0",
        "params": {
            "model": "m",
            "max_tokens": 1024,
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": schema}},
            "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
            "messages": [{"role": "user", "content": "hi"}],
        },
    }


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_anthropic_refuses_what_it_no_longer_takes(name: str) -> None:
    with pytest.raises(BadInput) as caught:
        encoder_for("anthropic", RequestSpec("generate", "m", params={name: 1}))
    assert caught.value.message == f"Anthropic does not take the parameter “{name}” any more."


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("anthropic", RequestSpec("embed", "m")),
        ("anthropic", RequestSpec("generate", "m", service_tier="flex")),
        ("openai", RequestSpec("generate", "m", params={"messages": []})),
        ("openai", RequestSpec("generate", "m", params={"stream": True})),
        ("openai", RequestSpec("generate", "m", schema={"type": "array", "items": {}})),
        ("openai", RequestSpec("generate", "m", schema={"type": "object"})),
        ("openai", RequestSpec("embed", "m", schema=SCHEMA)),
        ("elsewhere", SPEC),
    ],
)
def test_what_cannot_be_said_is_refused(kind: str, spec: RequestSpec) -> None:
    with pytest.raises(BadInput):
        encoder_for(kind, spec)


@pytest.mark.parametrize("custom_id", ["", "a b", "ä", "a" * 65, "a\n", 'a"b'])
@pytest.mark.parametrize("kind", KINDS)
def test_an_id_that_no_provider_takes_is_refused(kind: str, custom_id: str) -> None:
    with pytest.raises(BadInput):
        encoder_for(kind, SPEC)(custom_id, "", "x")


@pytest.mark.parametrize("kind", KINDS)
@given(system=st.text(), user=st.text())
@settings(max_examples=60, deadline=None)
def test_any_text_survives_the_line(kind: str, system: str, user: str) -> None:
    line = encoder_for(kind, SPEC)("r1-0", system, user)
    assert line.count(b"\n") == 1
    parsed = orjson.loads(line)
    assert (parsed.get("body") or parsed["params"])["messages"][-1]["content"] == user


def test_lone_surrogates_do_not_stop_a_round() -> None:
    for kind in KINDS:
        parsed = orjson.loads(encoder_for(kind, SPEC)("r1-0", "s\ud800", "u\udfff"))
        assert (parsed.get("body") or parsed["params"])["messages"][-1]["content"] == "u\ufffd"


def test_strict_schema_closes_every_object_and_leaves_the_given_one() -> None:
    inner = {"type": ["object", "null"], "properties": {"b": {"$ref": "#/$defs/d"}}}
    given_ = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": inner}, "type": {"type": "string"}},
        "$defs": {"d": {"anyOf": [{"type": "object", "properties": {"x": {}}, "required": []}, {"type": "null"}]}},
    }
    before = json.dumps(given_)
    closed = {"additionalProperties": False}
    assert (
        lines.strict_schema(given_)
        == {
            "type": "object",
            "properties": {"a": {"type": "array", "items": inner | closed | {"required": ["b"]}}, "type": {"type": "string"}},
            "$defs": {"d": {"anyOf": [{"type": "object", "properties": {"x": {}}, "required": ["x"]} | closed, {"type": "null"}]}},
            "required": ["a", "type"],
        }
        | closed
    )
    assert json.dumps(given_) == before


def openai(body: Any = None, status: Any = 200, error: Any = None, **more: Any) -> bytes:
    response = {"status_code": status, "request_id": "q", "body": body}
    return json.dumps({"id": "b", "custom_id": "r1-0", "response": response, "error": error} | more).encode()


def chat(content: Any = "yes", finish: Any = "stop", usage: Any = None, **message: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 5, "completion_tokens": 2} if usage is None else usage
    return {"model": "m-1", "choices": [{"message": {"content": content, **message}, "finish_reason": finish}], "usage": usage}


def anthropic(result: Any) -> bytes:
    return json.dumps({"custom_id": "r1-0", "result": result}).encode()


def message(content: Any = "yes", stop: str = "end_turn", usage: Any = None) -> dict[str, Any]:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    usage = {"input_tokens": 5, "output_tokens": 2} if usage is None else usage
    return {"type": "succeeded", "message": {"id": "msg", "model": "m-1", "content": blocks, "stop_reason": stop, "usage": usage}}


def errored(kind: str, said: str, **more: Any) -> dict[str, Any]:
    return {"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": said} | more, "request_id": "q"}}


OK, INVALID, FAILED = OutcomeKind.SUCCEEDED, OutcomeKind.INVALID, OutcomeKind.FAILED
EXPIRED, CANCELLED = OutcomeKind.EXPIRED, OutcomeKind.CANCELLED
NEVER = {"code": "batch_expired", "message": "late"}
RESPONSES = {"object": "response", "status": "completed", "usage": {"input_tokens": 5, "output_tokens": 2}}
SAID = [{"type": "reasoning"}, {"type": "message", "content": [{"type": "output_text", "text": "yes"}]}]

# (provider, line, kind, cause, text, billed)
READ: dict[str, tuple[str, bytes, OutcomeKind, Cause | None, str | None, str]] = {
    "chat": ("openai", openai(chat()), OK, None, "yes", "paid"),
    "chat without error key": ("openai", openai(chat()).replace(b', "error": null', b""), OK, None, "yes", "paid"),
    "chat as a string": ("openai", openai(json.dumps(chat())), OK, None, "yes", "paid"),
    "chat without usage": ("openai", openai(chat(usage={})), OK, None, "yes", "unknown"),
    "chat in parts": ("openai", openai(chat([{"type": "thinking"}, {"type": "text", "text": "yes"}])), OK, None, "yes", "paid"),
    "chat without finish": ("openai", openai(chat(finish=None)), OK, None, "yes", "paid"),
    "tools": ("openai", openai(chat(None, "tool_calls", tool_calls=[{"id": "t"}])), OK, None, '[{"id":"t"}]', "paid"),
    "cut off": ("openai", openai(chat("ye", "length")), INVALID, Cause.CUT_OFF, "ye", "paid"),
    "cut off, nothing said": ("openai", openai(chat("", "length")), INVALID, Cause.CUT_OFF, "", "paid"),
    "filtered": ("openai", openai(chat("", "content_filter")), INVALID, Cause.CONTENT_FILTERED, "", "paid"),
    "refused": ("openai", openai(chat(None, refusal="No.")), INVALID, Cause.REFUSED, "No.", "paid"),
    "empty": ("openai", openai(chat(" \n")), INVALID, Cause.EMPTY, " \n", "paid"),
    "null content": ("openai", openai(chat(None)), INVALID, Cause.EMPTY, "", "paid"),
    "no choices": ("openai", openai({"choices": [], "usage": {"prompt_tokens": 5}}), INVALID, Cause.EMPTY, None, "paid"),
    "nul": ("openai", openai(chat("a\0b")), OK, None, "ab", "paid"),
    "surrogate": ("openai", openai(chat("a\ud800b")), OK, None, "a\ufffdb", "paid"),
    "nan": ("openai", openai(chat()).replace(b'"stop"', b'"stop", "logprobs": NaN'), OK, None, "yes", "paid"),
    "bom": ("openai", b"\xef\xbb\xbf" + openai(chat()), OK, None, "yes", "paid"),
    "responses": ("openai", openai(RESPONSES | {"output": SAID}), OK, None, "yes", "paid"),
    "responses, cut": (
        "openai",
        openai(RESPONSES | {"output": SAID, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}),
        INVALID,
        Cause.CUT_OFF,
        "yes",
        "paid",
    ),
    "embedding": ("openai", openai({"data": [{"embedding": [0.5, -1]}], "usage": {"prompt_tokens": 5}}), OK, None, "[0.5,-1]", "paid"),
    "embedding, base64": (
        "openai",
        openai({"data": [{"embedding": "AAAAPwAAgL8="}], "usage": {"prompt_tokens": 5}}),
        OK,
        None,
        "[0.5,-1.0]",
        "paid",
    ),
    "no embedding": ("openai", openai({"data": [], "usage": {"prompt_tokens": 5}}), INVALID, Cause.EMPTY, None, "paid"),
    "embedding of text": (
        "openai",
        openai({"data": [{"embedding": ["a"]}], "usage": {"prompt_tokens": 5}}),
        INVALID,
        Cause.UNKNOWN,
        '["a"]',
        "paid",
    ),
    "embedding of nulls": (
        "openai",
        openai({"data": [{"embedding": [None]}], "usage": {"prompt_tokens": 5}}),
        INVALID,
        Cause.UNKNOWN,
        "[null]",
        "paid",
    ),
    "usage of nulls": ("openai", openai(chat(usage={"prompt_tokens": None, "completion_tokens": None})), OK, None, "yes", "unknown"),
    "usage of zeros": ("openai", openai(chat(usage={"prompt_tokens": 0, "completion_tokens": 0})), OK, None, "yes", "unknown"),
    "usage below zero": ("openai", openai(chat(usage={"prompt_tokens": -5, "completion_tokens": 2})), OK, None, "yes", "unknown"),
    "usage in words": ("openai", openai(chat(usage={"prompt_tokens": "many", "completion_tokens": []})), OK, None, "yes", "unknown"),
    "usage as text": ("openai", openai(chat(usage={"prompt_tokens": "5", "completion_tokens": "2"})), OK, None, "yes", "paid"),
    "usage that is none": ("openai", openai(chat(usage="free")), OK, None, "yes", "unknown"),
    "moderation": ("openai", openai({"results": [{"flagged": False}]}), OK, None, '{"flagged":false}', "unpaid"),
    "expired": ("openai", openai(response=None, error=NEVER), EXPIRED, Cause.EXPIRED, None, "unpaid"),
    "cancelled": ("openai", openai(response=None, error={"code": "batch_cancelled"}), CANCELLED, Cause.CANCELLED, None, "unpaid"),
    "error as text": ("openai", openai(response=None, error="boom"), FAILED, Cause.UNKNOWN, None, "unpaid"),
    "blank": ("openai", openai(None, 0), FAILED, Cause.PROVIDER_ERROR, None, "unknown"),
    "blank, empty body": ("openai", openai({}, 0), FAILED, Cause.PROVIDER_ERROR, None, "unknown"),
    "neither": ("openai", openai(response=None), FAILED, Cause.PROVIDER_ERROR, None, "unknown"),
    "context": ("openai", openai({"error": {"code": "context_length_exceeded"}}, 400), FAILED, Cause.CONTEXT_TOO_LONG, None, "unpaid"),
    "quota": ("openai", openai({"error": {"code": "insufficient_quota"}}, 429), FAILED, Cause.BILLING, None, "unpaid"),
    "rate": ("openai", openai({"error": {"message": "slow down"}}, 429), FAILED, Cause.RATE_LIMITED, None, "unpaid"),
    "500": (
        "openai",
        openai({"error": {"message": "x", "type": "invalid_request_error"}}, 500),
        FAILED,
        Cause.PROVIDER_ERROR,
        None,
        "unpaid",
    ),
    "error as json text": (
        "openai",
        openai('{"message":"bad","type":"invalid_request"}', 400),
        FAILED,
        Cause.INVALID_REQUEST,
        None,
        "unpaid",
    ),
    "charged error": (
        "openai",
        openai({"error": {"code": "x"}, "usage": {"prompt_tokens": 5}}, 400),
        FAILED,
        Cause.INVALID_REQUEST,
        None,
        "unknown",
    ),
    "message": ("anthropic", anthropic(message()), OK, None, "yes", "paid"),
    "thinking": (
        "anthropic",
        anthropic(message([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}])),
        OK,
        None,
        "yes",
        "paid",
    ),
    "tool": ("anthropic", anthropic(message([{"type": "tool_use", "input": {"a": 1}}], "tool_use")), OK, None, '{"a":1}', "paid"),
    "max_tokens": ("anthropic", anthropic(message("ye", "max_tokens")), INVALID, Cause.CUT_OFF, "ye", "paid"),
    "refusal": ("anthropic", anthropic(message([], "refusal")), INVALID, Cause.REFUSED, "", "paid"),
    "window": ("anthropic", anthropic(message("ye", "model_context_window_exceeded")), INVALID, Cause.CONTEXT_TOO_LONG, "ye", "paid"),
    "pause": ("anthropic", anthropic(message("ye", "pause_turn")), INVALID, Cause.CUT_OFF, "ye", "paid"),
    "no text": ("anthropic", anthropic(message([])), INVALID, Cause.EMPTY, "", "paid"),
    "message with a usage of nulls": ("anthropic", anthropic(message(usage={"input_tokens": None})), OK, None, "yes", "unknown"),
    "message with a usage below zero": (
        "anthropic",
        anthropic(message(usage={"input_tokens": -5, "output_tokens": 2})),
        OK,
        None,
        "yes",
        "unknown",
    ),
    "message from the cache": (
        "anthropic",
        anthropic(message(usage={"input_tokens": 0, "cache_read_input_tokens": 9, "output_tokens": 2})),
        OK,
        None,
        "yes",
        "paid",
    ),
    "message without usage": ("anthropic", anthropic(message(usage={})), OK, None, "yes", "unknown"),
    "errored": ("anthropic", anthropic(errored("invalid_request_error", "bad")), FAILED, Cause.INVALID_REQUEST, None, "unpaid"),
    "credit": (
        "anthropic",
        anthropic(errored("invalid_request_error", "Your credit balance is too low")),
        FAILED,
        Cause.BILLING,
        None,
        "unpaid",
    ),
    "overloaded": ("anthropic", anthropic(errored("overloaded_error", "busy")), FAILED, Cause.RATE_LIMITED, None, "unpaid"),
    "on hold": (
        "anthropic",
        anthropic(errored("permission_error", "x", details={"error_code": "enforced_spend_limit_reached"})),
        FAILED,
        Cause.BILLING,
        None,
        "unpaid",
    ),
    "errored once": (
        "anthropic",
        anthropic({"type": "errored", "error": {"type": "api_error", "message": "x"}}),
        FAILED,
        Cause.PROVIDER_ERROR,
        None,
        "unpaid",
    ),
    "canceled": ("anthropic", anthropic({"type": "canceled"}), CANCELLED, Cause.CANCELLED, None, "unpaid"),
    "time over": ("anthropic", anthropic({"type": "expired"}), EXPIRED, Cause.EXPIRED, None, "unpaid"),
    "brand new": ("anthropic", anthropic({"type": "brand_new"}), FAILED, Cause.UNKNOWN, None, "unknown"),
    "no result": ("anthropic", anthropic(None), FAILED, Cause.UNKNOWN, None, "unknown"),
}


@pytest.mark.parametrize("name", READ)
def test_a_line_is_read(name: str) -> None:
    provider, line, kind, cause, text, billed = READ[name]
    answer = decoder_for(provider)(line, SPEC)
    assert (answer.custom_id, answer.kind, answer.cause, answer.text, answer.billed) == ("r1-0", kind, cause, text, billed)


@pytest.mark.parametrize("name", READ)
def test_the_short_way_says_what_the_long_way_says(name: str) -> None:
    provider, line, *_ = READ[name]
    module = anthropic_lines if provider == "anthropic" else openai_lines
    assert module.decode(line, SPEC) == lines.safe_decode(line, module.read)


def test_tokens_of_chat_with_all_details() -> None:
    usage = {
        "prompt_tokens": 2000,
        "completion_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 500},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    assert decoder_for("openai")(openai(chat(usage=usage)), SPEC) == Answer(
        "r1-0", OK, None, "", "yes", "stop", "m-1", "q", 2000, 1024, 500, 0, 30, 20, "paid"
    )


@pytest.mark.parametrize(("dimensions", "cause"), [(2, None), (3, Cause.SCHEMA_MISMATCH), (None, None)])
def test_embedding_of_another_length_than_was_asked_for(dimensions: int | None, cause: Cause | None) -> None:
    spec = RequestSpec("embed", "m", params={"dimensions": dimensions} if dimensions else {})
    answer = decoder_for("openai")(openai({"data": [{"embedding": [0.5, -1]}], "usage": {"prompt_tokens": 5}}), spec)
    assert (answer.cause, answer.text, answer.billed) == (cause, "[0.5,-1]", "paid")
    assert answer.message == ("The embedding has 2 numbers, and 3 were asked for." if cause else "")


def test_tokens_of_a_message_are_the_whole_prompt() -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 70,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 50},
        "output_tokens": 3,
    }
    assert decoder_for("anthropic")(anthropic(message(usage=usage)), SPEC) == Answer(
        "r1-0", OK, None, "", "yes", "end_turn", "m-1", "msg", 180, 100, 20, 50, 3, 0, "paid"
    )


@pytest.mark.parametrize(
    "line", [b"", b"not json", b"[1]", b"null", b'{"a":' * 100_000, b'{"custom_id":"r1-0","x":1' + b"0" * 5000 + b"}", b"\xff\xfe"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_object_is_unreadable(kind: str, line: bytes) -> None:
    answer = decoder_for(kind)(line, SPEC)
    assert (answer.custom_id, answer.kind, answer.cause, answer.billed) == ("", FAILED, Cause.UNREADABLE, "unknown")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PLACES = ["response", "body", "result", "message", "choices", "usage", "error", "content", "refusal", "finish_reason", "status_code"]
PLACES += ["prompt_tokens", "prompt_tokens_details", "cached_tokens", "completion_tokens", "reasoning_tokens", "model", "request_id"]
SEEDS = [line for provider, line, *_ in READ.values()]


@pytest.mark.parametrize("kind", KINDS)
@given(
    line=st.sampled_from(SEEDS),
    name=st.sampled_from(PLACES),
    value=values,
)
@settings(max_examples=300, deadline=None)
def test_the_reader_never_raises(kind: str, line: bytes, name: str, value: Any) -> None:
    """Any value in any place where an object or a list is expected."""

    def planted(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: value if key == name else planted(item) for key, item in node.items()}
        return [planted(item) for item in node] if isinstance(node, list) else node

    data = planted(lines.loads(line))
    answer = decoder_for(kind)(json.dumps(data).encode(), SPEC)
    module = anthropic_lines if kind == "anthropic" else openai_lines
    assert answer == lines.safe_decode(json.dumps(data).encode(), module.read)
    assert answer.custom_id == "r1-0"
    assert answer.kind in OutcomeKind
    assert (answer.cause is None) == (answer.kind is OK)
    assert all(type(n) is int and 0 <= n < 1 << 62 for n in (answer.input_tokens, answer.output_tokens, answer.cached_tokens))
    assert answer.text is None or "\0" not in answer.text


@given(st.binary(max_size=200), st.integers(0, 300))
@settings(max_examples=300, deadline=None)
def test_bytes_never_break_the_reader(junk: bytes, at: int) -> None:
    line = openai(chat())
    broken = line[:at] + junk + line[at:]
    assert decoder_for("openai")(broken, SPEC).kind in OutcomeKind


def test_split_glued() -> None:
    first, second = b'{"a":"}{\xe2\x80\xa8"}', b'{"b":[1,{}]}'
    assert lines.split_glued(first + second + b" " + first) == [first, second, first]
    assert lines.split_glued(b'{"a":1') == [b'{"a":1']
    assert lines.split_glued(b'{"a":1}junk') == [b'{"a":1}junk']
