"""Lines of Anthropic Message Batches: requests out, results in. Pure functions."""

from __future__ import annotations

from typing import Any

import orjson

from jobs.errors import BadInput
from jobs.providers import errors, lines
from jobs.providers.base import Answer, Encoder, RequestSpec
from jobs.words import Cause, OutcomeKind, PromptKind

DEFAULT_MAX_TOKENS = 1024
_RESERVED = frozenset({"model", "messages", "system", "stream"})
# Removed with anthropic-version 2026-10-21: a request that names one fails, inside a batch hours later.
_REMOVED = ("temperature", "top_p", "top_k")
# What structured output does not take (SDK 2.12, lib/_parse/_transform.py); the answer is checked against the whole schema here.
_UNSAID = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern"}
    | {"maxItems", "uniqueItems", "default", "examples", "minProperties", "maxProperties", "$schema", "$id"}
)
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_OK = OutcomeKind.SUCCEEDED
_INVALID = OutcomeKind.INVALID


def make_encoder(spec: RequestSpec) -> Encoder:
    """A function (custom_id, system, user) → one line `{"custom_id", "params"}`. Raises BadInput for what cannot be said to the API."""
    constant = orjson.dumps(_constant_params(spec))[:-1]
    tail = b',"cache_control":{"type":"ephemeral","ttl":"1h"}}]' if spec.cache_prefix else b""
    opening = b',"system":[{"type":"text","text":' if spec.cache_prefix else b',"system":'
    is_id, dumps = lines.CUSTOM_ID.fullmatch, orjson.dumps
    plain = b'","params":' + constant + b',"messages":[{"role":"user","content":'
    middle, last_system = plain, ""

    def encode(custom_id: str, system: str, user: str) -> bytes:
        nonlocal middle, last_system
        if is_id(custom_id) is None:
            lines.check_id(custom_id)
        if system != last_system:  # most prompts have one system text for all rows
            told = opening + lines.dumps(system) + tail if system else b""
            middle = b'","params":' + constant + told + b',"messages":[{"role":"user","content":'
            last_system = system
        try:
            return b'{"custom_id":"%b%b%b}]}}\n' % (custom_id.encode(), middle, dumps(user))
        except TypeError:
            return b'{"custom_id":"%b%b%b}]}}\n' % (custom_id.encode(), middle, lines.dumps(user))

    return encode


def _constant_params(spec: RequestSpec) -> dict[str, Any]:
    if spec.kind != PromptKind.GENERATE:
        raise BadInput("Anthropic has no embeddings and no moderation.", "Choose a connection of another provider.")
    if spec.service_tier == "flex":
        raise BadInput("Anthropic has no flex tier.", "Choose the batch lane or real time.")
    for name in _REMOVED:
        if name in spec.params:
            raise BadInput(f"Anthropic does not take the parameter “{name}” any more.", "Take it out of the parameters.")
    lines.refuse_reserved(spec.params, _RESERVED)
    lines.refuse_unpriced(spec.params, frozenset({"service_tier", "speed", "inference_geo"}))
    params: dict[str, Any] = {"model": spec.model, "max_tokens": spec.max_output_tokens or DEFAULT_MAX_TOKENS, **spec.params}
    if spec.schema:
        config = params.get("output_config")
        said = {"type": "json_schema", "schema": sayable(lines.strict_schema(spec.schema))}
        params["output_config"] = {**(config if isinstance(config, dict) else {}), "format": said}
    return params


def sayable(schema: Any) -> Any:
    """The schema without the constraints that the API refuses; each is told to the model in the description instead."""
    if isinstance(schema, list):
        return [sayable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    told: list[str] = []
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            kept[key] = {name: sayable(item) for name, item in value.items()}
        elif key in _UNSAID or (key == "minItems" and value not in (0, 1)) or (key == "format" and value not in _FORMATS):
            if not key.startswith("$"):
                told.append(f"{key}: {orjson.dumps(value).decode()}")
        elif key == "oneOf":
            kept["anyOf"] = sayable(value)
        elif key in ("enum", "const", "required", "type", "title", "description"):
            kept[key] = value
        else:
            kept[key] = sayable(value)
    if told:
        kept["description"] = " ".join(filter(None, [str(kept.get("description", "")), "{" + ", ".join(told) + "}"]))
    return kept


def body_of(line: bytes) -> dict[str, Any]:
    params = orjson.loads(line)["params"]
    return dict(params)


def decode(line: bytes, spec: RequestSpec) -> Answer:
    """One line of the results. Never raises."""
    try:
        answer = _plain(orjson.loads(line))
    except (ValueError, TypeError, KeyError, AttributeError):
        answer = None
    return answer or lines.safe_decode(line, read)


def _plain(data: dict[str, Any]) -> Answer | None:
    """What `read` says of an ordinary answer without cache writes, at half its price. None (or an error) for all others."""
    result = data["result"]
    message = result["message"]
    (block,) = message["content"]
    usage, text = message["usage"], block["text"]
    fresh, cached, answered = usage["input_tokens"], usage.get("cache_read_input_tokens") or 0, usage["output_tokens"]
    custom_id, model, message_id = data["custom_id"], message["model"], message["id"]
    if (
        result["type"] == "succeeded"
        and message["stop_reason"] == "end_turn"
        and block["type"] == "text"
        and type(text) is type(custom_id) is type(model) is type(message_id) is str
        and type(fresh) is type(cached) is type(answered) is int
        and fresh | cached
        and 0 <= fresh | cached | answered <= lines.MOST_TOKENS  # all bits set: none is below 0 or above
        and not (usage.get("cache_creation_input_tokens") or usage.get("output_tokens_details") or text.isspace())
        and not ("\0" in text or "\0" in custom_id)
        and text
    ):
        return Answer(custom_id, _OK, None, "", text, "end_turn", model, message_id, fresh + cached, cached, 0, 0, answered, 0, "paid")
    return None


def read(data: dict[str, Any]) -> Answer:
    """The Answer of a parsed result line."""
    custom_id = data.get("custom_id")
    if type(custom_id) is not str:
        custom_id = lines.text_of(custom_id)
    result = data.get("result")
    if type(result) is not dict:
        return Answer(custom_id, OutcomeKind.FAILED, Cause.UNKNOWN, "The line has no result.", billed="unknown")
    what = result.get("type")
    message = result.get("message")
    if what == "succeeded" and type(message) is dict:
        return _answered(custom_id, message)
    if what == "errored":
        return _errored(custom_id, result.get("error"))
    if what == "expired":
        return Answer(custom_id, OutcomeKind.EXPIRED, Cause.EXPIRED, "The batch's time was over before the request ran.")
    if what in ("canceled", "cancelled"):
        return Answer(custom_id, OutcomeKind.CANCELLED, Cause.CANCELLED, "The batch was cancelled before the request ran.")
    said = f"A result of type “{lines.text_of(what)[:80]}” is not known."
    return Answer(custom_id, OutcomeKind.FAILED, Cause.UNKNOWN, said, billed="unknown")


def _errored(custom_id: str, error: Any) -> Answer:
    code, codes, message = errors.error_parts(error)
    request_id = lines.text_of(error.get("request_id")) if isinstance(error, dict) else ""
    return Answer(custom_id, OutcomeKind.FAILED, errors.cause_of(None, codes, message), message or code, request_id=request_id)


def _answered(custom_id: str, message: dict[str, Any]) -> Answer:
    blocks = message.get("content") or []
    if len(blocks) == 1 and blocks[0].get("type") == "text":
        text = blocks[0].get("text")
    else:
        text = _joined(blocks)
    if type(text) is not str:
        text = lines.text_of(text)
    elif "\0" in text:
        text = lines.clean(text)
    stop = message.get("stop_reason")
    if stop == "end_turn" and text and not text.isspace():
        answer = Answer(custom_id, _OK, None, "", text, stop)
    else:
        answer = _judged(custom_id, text, lines.text_of(stop))
    model, usage = message.get("model"), message.get("usage")
    if type(model) is str:
        answer.model = model
    message_id = message.get("id")
    if type(message_id) is str:
        answer.request_id = message_id
    if type(usage) is dict and usage:
        _count(answer, usage)
        answer.billed = "paid" if answer.input_tokens else "unknown"  # each prompt has a token: a count of none tells nothing
    else:
        answer.billed = "unknown"
    return answer


def _joined(blocks: Any) -> str:
    """The text blocks as one (thinking is not the answer); where there is none, the input of a tool as JSON."""
    if isinstance(blocks, str):
        return blocks
    blocks = [block for block in blocks if isinstance(block, dict)]
    texts = [block["text"] for block in blocks if block.get("type") == "text" and isinstance(block.get("text"), str)]
    tools = [block.get("input") for block in blocks if block.get("type") == "tool_use"]
    return lines.clean("".join(texts)) or (lines.dumps(tools[0] if len(tools) == 1 else tools).decode() if tools else "")


_STOPS: dict[str, tuple[Cause, str]] = {
    "max_tokens": (Cause.CUT_OFF, "The answer reached the limit of output tokens."),
    "model_context_window_exceeded": (Cause.CONTEXT_TOO_LONG, "Prompt and answer filled the model's context window."),
    "refusal": (Cause.REFUSED, "The model declined to answer."),
    "pause_turn": (Cause.CUT_OFF, "The model paused in the middle of a long turn (pause_turn)."),
}


def _judged(custom_id: str, text: str, stop: str) -> Answer:
    if stop in _STOPS:
        cause, said = _STOPS[stop]
        return Answer(custom_id, _INVALID, cause, said, text, stop)
    if not text.strip():
        return Answer(custom_id, _INVALID, Cause.EMPTY, "The answer is empty.", text, stop)
    return Answer(custom_id, _OK, None, "", text, stop)


def _count(answer: Answer, usage: dict[str, Any]) -> None:
    """Anthropic's `input_tokens` leaves the cache out; ours is the whole prompt. Cache writes are split by how long they live."""
    count = lines.tokens_of
    fresh = count(usage.get("input_tokens"))
    read_, written = count(usage.get("cache_read_input_tokens")), count(usage.get("cache_creation_input_tokens"))
    answer.output_tokens = count(usage.get("output_tokens"))
    answer.cached_tokens = read_
    answer.input_tokens = fresh + read_ + written
    if written:
        split = usage.get("cache_creation")
        hour = count(split.get("ephemeral_1h_input_tokens")) if isinstance(split, dict) else 0
        answer.cache_write_1h_tokens = min(hour, written)
        answer.cache_write_tokens = written - answer.cache_write_1h_tokens
    details = usage.get("output_tokens_details")
    if type(details) is dict:
        answer.reasoning_tokens = count(details.get("thinking_tokens") or details.get("reasoning_tokens"))
