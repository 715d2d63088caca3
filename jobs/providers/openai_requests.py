"""Request lines of OpenAI batch files. Pure functions; also for OpenAI-compatible servers."""

from __future__ import annotations

import re
from typing import Any

import orjson

from jobs.errors import BadInput
from jobs.providers import lines
from jobs.providers.base import Encoder, RequestSpec
from jobs.words import PromptKind

ENDPOINTS = {PromptKind.GENERATE: "/v1/chat/completions", PromptKind.EMBED: "/v1/embeddings", PromptKind.MODERATE: "/v1/moderations"}
_RESERVED = frozenset({"model", "messages", "input", "stream", "custom_id"})


def make_openai_encoder(spec: RequestSpec) -> Encoder:
    """As `make_encoder`, for OpenAI itself: its tiers have prices of their own, and flex has a lane."""
    lines.refuse_unpriced(spec.params, frozenset({"service_tier"}))
    return make_encoder(spec)


def make_encoder(spec: RequestSpec, limit_name: str = "max_completion_tokens") -> Encoder:
    """A function (custom_id, system, user) → one request line. All that is the same for each row is written once, here.

    Raises BadInput for what cannot be said to the API.
    """
    lines.refuse_reserved(spec.params, _RESERVED)
    lines.refuse_unpriced(spec.params, frozenset())
    kind = PromptKind(spec.kind)
    constant = orjson.dumps(_constant_body(spec, kind, limit_name))[:-1]
    head = b'","method":"POST","url":"' + ENDPOINTS[kind].encode() + b'","body":' + constant
    is_id, dumps = lines.CUSTOM_ID.fullmatch, orjson.dumps

    def encode_input(custom_id: str, system: str, user: str) -> bytes:
        if is_id(custom_id) is None:
            lines.check_id(custom_id)
        try:
            return b'{"custom_id":"%b%b,"input":%b}}\n' % (custom_id.encode(), head, dumps(user))
        except TypeError:
            return b'{"custom_id":"%b%b,"input":%b}}\n' % (custom_id.encode(), head, lines.dumps(user))

    if kind is not PromptKind.GENERATE:
        return encode_input

    middle = head + b',"messages":[{"role":"user","content":'
    last_system = ""

    def encode_chat(custom_id: str, system: str, user: str) -> bytes:
        nonlocal middle, last_system
        if is_id(custom_id) is None:
            lines.check_id(custom_id)
        if system != last_system:  # most prompts have one system text for all rows
            told = b'{"role":"system","content":' + lines.dumps(system) + b"}," if system else b""
            middle = head + b',"messages":[' + told + b'{"role":"user","content":'
            last_system = system
        try:
            return b'{"custom_id":"%b%b%b}]}}\n' % (custom_id.encode(), middle, dumps(user))
        except TypeError:
            return b'{"custom_id":"%b%b%b}]}}\n' % (custom_id.encode(), middle, lines.dumps(user))

    return encode_chat


def make_compatible_encoder(spec: RequestSpec) -> Encoder:
    """As `make_encoder`, with the name of the output limit that a compatible server most likely obeys.

    Servers that do not know `max_completion_tokens` refuse it (Mistral, 422) or, worse, drop it and write without end
    (ik_llama.cpp #2321); all know `max_tokens`. OpenAI's own models behind a gateway refuse `max_tokens`, by name at least.
    Who knows better gives either as a parameter, which wins.
    """
    return make_encoder(spec, "max_completion_tokens" if _OPENAI_MODEL.search(spec.model.lower()) else "max_tokens")


_OPENAI_MODEL = re.compile(r"(?:^|[/:])(?:o[1-9]|gpt-[5-9])")


def _constant_body(spec: RequestSpec, kind: PromptKind, limit_name: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": spec.model, **spec.params}
    if kind is PromptKind.GENERATE:
        if spec.max_output_tokens and not {"max_tokens", "max_completion_tokens"} & set(spec.params):
            body[limit_name] = spec.max_output_tokens
        if spec.schema:
            body["response_format"] = _response_format(spec.schema)
        if spec.service_tier:
            body["service_tier"] = spec.service_tier
    elif spec.schema:
        raise BadInput("An output schema fits prompts that generate text only.", "Take the schema away or change the kind of prompt.")
    return body


def _response_format(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type") != "object":
        raise BadInput("The output schema must describe an object.", 'Put the value into an object: {"type": "object", "properties": {…}}.')
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", str(schema.get("title") or "answer"))[:64] or "answer"
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": lines.strict_schema(schema)}}


def body_of(line: bytes) -> dict[str, Any]:
    body = orjson.loads(line)["body"]
    return dict(body)
