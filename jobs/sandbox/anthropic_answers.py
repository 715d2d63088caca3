"""Anthropic's answers to one request: (status, body) of POST /v1/messages, and its token counts."""

from __future__ import annotations

import hashlib
from typing import Any

from jobs.sandbox import models
from jobs.sandbox.answers import say, tokens
from jobs.sandbox.openai_answers import Asked, content_text
from jobs.sandbox.orders import ERRORS

Body = dict[str, Any]
SAMPLING_GONE = "2026-10-21"  # from this version on temperature, top_p and top_k are refused
LEAST_CACHED = 1024  # tokens of the shortest prefix that is cached


class Refused(Exception):
    def __init__(self, message: str, status: int = 400, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


def error_body(kind: str, message: str, request_id: str | None = None) -> Body:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


def check(params: Body, version: str, counting: bool = False, in_batch: bool = False) -> None:
    """Refuse what the real API refuses. Raises Refused."""
    model = params.get("model")
    if not isinstance(model, str):
        raise Refused("model: Field required")
    if not models.known(model, "anthropic"):
        raise Refused(f"model: {model}", 404, "not_found_error")
    messages = params.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("messages: at least one message is required")
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise Refused(f"messages.{i}.role: Input should be 'user' or 'assistant'")
        if not content_text(message.get("content")).strip() and not isinstance(message.get("content"), list):
            raise Refused(f"messages.{i}: user messages must have non-empty content")
    if counting:
        return
    most = models.ANTHROPIC.get(models.plain(model), 64_000)
    limit = params.get("max_tokens")
    if limit is None:
        raise Refused("max_tokens: Field required")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise Refused("max_tokens: Input should be greater than or equal to 1")
    if limit > most:
        raise Refused(f"max_tokens: {limit} > {most}, which is the maximum allowed number of output tokens for {models.plain(model)}")
    if version >= SAMPLING_GONE:
        for name in ("temperature", "top_p", "top_k"):
            if name in params:
                raise Refused(f"{name}: Extra inputs are not permitted")
    if params.get("stream"):
        raise Refused("stream: not supported in a message batch" if in_batch else "stream: the sandbox does not stream")


def _blocks(params: Body) -> list[tuple[str, str]]:
    """(text, ttl or "") of each block of the prompt in order; ttl is "5m" or "1h" where the block closes a cached prefix."""
    out: list[tuple[str, str]] = []
    for content in [params.get("system") or "", *(message.get("content") for message in params["messages"])]:
        parts = [{"text": content}] if isinstance(content, str) else content if isinstance(content, list) else []
        for part in parts:
            if isinstance(part, dict):
                mark: Any = part.get("cache_control") or {}
                out.append((str(part.get("text", "")), str(mark.get("ttl", "5m")) if mark else ""))
    if params.get("cache_control") and out:
        text, _ = out[-1]
        out[-1] = (text, str(params["cache_control"].get("ttl", "5m")))
    return out


def count(params: Body) -> int:
    """Input tokens of a request."""
    return sum(tokens(text) for text, _ in _blocks(params)) + 3 * len(params["messages"]) + 3


def _usage(params: Body, asked: Asked) -> Body:
    """The input half of `usage`: what a cache mark closes is written once and read from then on."""
    total = count(params)
    state = hashlib.blake2b(str(params["model"]).encode(), digest_size=12)
    position = cached = 0
    writes = {"5m": 0, "1h": 0}
    for text, ttl in _blocks(params):
        state.update(text.encode("utf-8", "replace") + b"\0")
        position += tokens(text)
        if ttl and position >= LEAST_CACHED:
            if asked.cache.touch(state.digest() + ttl.encode()):
                cached, writes = position, {"5m": 0, "1h": 0}
            else:
                writes["1h" if ttl == "1h" else "5m"] += position - cached - sum(writes.values())
    written = sum(writes.values())
    return {
        "input_tokens": total - cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "cache_creation": {"ephemeral_5m_input_tokens": writes["5m"], "ephemeral_1h_input_tokens": writes["1h"]},
    }


def message(params: Body, asked: Asked) -> Body:
    """A `message`."""
    form = (params.get("output_config") or {}).get("format") or {}
    schema = form.get("schema") if form.get("type") == "json_schema" else None
    if form and not isinstance(schema, dict):
        raise Refused("output_config.format.schema: Field required")
    turns = params["messages"]
    last = next((m for m in reversed(turns) if m["role"] == "user"), turns[-1])
    if count(params) > models.CONTEXT_TOKENS:
        raise Refused(f"prompt is too long: {count(params)} tokens > {models.CONTEXT_TOKENS} maximum")
    fault = "refusal" if asked.fault == "filter" else asked.fault
    said = say(content_text(last.get("content")), schema, params["max_tokens"], asked.digest, fault)
    model = models.plain(params["model"])
    return {
        "id": "msg_01" + asked.digest[:11].hex(),
        "type": "message",
        "role": "assistant",
        "model": "claude-substitute" if fault == "wrong_model" else model,
        "content": [{"type": "text", "text": said.text}] if said.text else [],
        "stop_reason": {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal"}[said.finish],
        "stop_sequence": None,
        "usage": {
            **_usage(params, asked),
            "output_tokens": said.output_tokens,
            "service_tier": asked.tier,
            "inference_geo": "not_available",
        },
    }


def answer(params: Body, asked: Asked, version: str, in_batch: bool = False) -> tuple[int, Body]:
    """(status, body) of one request; the row fault of `asked` included."""
    if asked.fault in ERRORS:
        status, kind, text = ERRORS[asked.fault][1]
        return status, error_body(kind, text)
    try:
        check(params, version, in_batch=in_batch)
        return 200, message(params, asked)
    except Refused as refusal:
        return refusal.status, error_body(refusal.kind, refusal.message)
