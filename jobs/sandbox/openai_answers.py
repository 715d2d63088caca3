"""OpenAI's answers to one request: (status, body) for chat completions, responses, embeddings and moderations."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.sandbox import models
from jobs.sandbox.answers import PromptCache, Said, embedding, packed, say, tokens
from jobs.sandbox.orders import ERRORS

Body = dict[str, Any]
_REASONING = {"minimal": 0, "low": 16, "medium": 64, "high": 256, "xhigh": 512, "max": 1024}
_CATEGORIES = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
]
_HARSH = re.compile(r"\b(kill|attack|hate|die|bomb|stab)\w*", re.IGNORECASE)


@dataclass(slots=True)
class Asked:
    """What an answer depends on beside the body."""

    digest: bytes  # of the body
    now: int  # unix seconds
    cache: PromptCache
    fault: str = ""  # a name of orders.ERRORS or orders.ANSWERS
    tier: str = "default"


class Refused(Exception):
    """The API does not take this request."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None, kind: str = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.code, self.param, self.message = status, kind, code, param, message

    @property
    def body(self) -> Body:
        return error_body(self.kind, self.code, self.param, self.message)


def error_body(kind: str, code: str | None, param: str | None, message: str) -> Body:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def content_text(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict) and "text" in part)
    return ""


def _chosen(said: Said, fault: str, model: str) -> str:
    return "gpt-substitute" if fault == "wrong_model" else model


def _usage(prompt: str, n_messages: int, said: Said, asked: Asked, model: str) -> tuple[int, int, int]:
    """(prompt tokens, cached, written)"""
    raw = prompt.encode("utf-8", "replace")
    read, written = asked.cache.blocks(raw, model)
    return tokens(raw) + 3 * n_messages + 3, read, written if models.writes_cache_at_a_price(model) else 0


def _limit(body: Body, *names: str) -> int | None:
    for name in names:
        value = body.get(name)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool):
                raise Refused(400, f"Invalid type for '{name}': expected an integer.", name, "invalid_type")
            least = 16 if name == "max_output_tokens" else 1
            if value < least:
                message = f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead."
                raise Refused(400, message, name, "integer_below_min_value")
            return value
    return None


def _too_long(prompt_tokens: int, param: str) -> None:
    if prompt_tokens > models.CONTEXT_TOKENS * 2:
        message = f"Your input exceeds the context window of this model ({models.CONTEXT_TOKENS * 2} tokens)."
        raise Refused(400, message, param, "context_length_exceeded")


def chat(body: Body, asked: Asked) -> Body:
    """A `chat.completion`."""
    model, messages = models.plain(body["model"]), body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise Refused(400, "Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    if "max_tokens" in body and models.refuses_max_tokens(model):
        message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        raise Refused(400, message, "max_tokens", "unsupported_parameter")
    texts = [content_text(message.get("content")) for message in messages]
    last = next((t for t, m in zip(reversed(texts), reversed(messages), strict=True) if m.get("role") == "user"), texts[-1])
    form = body.get("response_format") or {}
    schema = (form.get("json_schema") or {}).get("schema") if form.get("type") == "json_schema" else None
    if form.get("type") == "json_schema" and not isinstance(schema, dict):
        raise Refused(400, "Missing required parameter: 'response_format.json_schema.schema'.", "response_format.json_schema.schema")
    limit = _limit(body, "max_completion_tokens", "max_tokens")
    reasoning = _REASONING.get(str(body.get("reasoning_effort")), 0)
    said = say(last, schema, limit, asked.digest, asked.fault, form.get("type") == "json_object", reasoning)
    n_prompt, read, written = _usage("\n".join(texts), len(messages), said, asked, model)
    _too_long(n_prompt, "messages")
    finish = {"filter": "content_filter", "refusal": "stop"}.get(said.finish, said.finish)
    refusal = said.text if said.finish == "refusal" else None
    content = None if refusal else said.text
    usage = {
        "prompt_tokens": n_prompt,
        "completion_tokens": said.output_tokens,
        "total_tokens": n_prompt + said.output_tokens,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": said.reasoning_tokens, "audio_tokens": 0},
    }
    return {
        "id": "chatcmpl-" + asked.digest[:15].hex(),
        "object": "chat.completion",
        "created": asked.now,
        "model": _chosen(said, asked.fault, model),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": refusal, "annotations": []},
                "logprobs": None,
                "finish_reason": finish,
            }
        ],
        "usage": usage,
        "service_tier": asked.tier,
        "system_fingerprint": None,
    }


def _input_texts(given: Any) -> list[tuple[str, str]]:
    """(role, text) of a Responses input."""
    if isinstance(given, str):
        return [("user", given)]
    if isinstance(given, list) and given and all(isinstance(item, dict) for item in given):
        return [(str(item.get("role", "user")), content_text(item.get("content"))) for item in given]
    raise Refused(400, "Missing required parameter: 'input'.", "input", "missing_required_parameter")


def respond(body: Body, asked: Asked) -> Body:
    """A `response`."""
    model, turns = models.plain(body["model"]), _input_texts(body.get("input"))
    form = (body.get("text") or {}).get("format") or {}
    schema = form.get("schema") if form.get("type") == "json_schema" else None
    if form.get("type") == "json_schema" and not isinstance(schema, dict):
        raise Refused(400, "Missing required parameter: 'text.format.schema'.", "text.format.schema", "missing_required_parameter")
    limit = _limit(body, "max_output_tokens")
    reasoning = _REASONING.get(str((body.get("reasoning") or {}).get("effort")), 0)
    last = next((text for role, text in reversed(turns) if role == "user"), turns[-1][1])
    said = say(last, schema, limit, asked.digest, asked.fault, form.get("type") == "json_object", reasoning)
    instructions = str(body.get("instructions") or "")
    n_prompt, read, written = _usage(instructions + "\n".join(t for _, t in turns), len(turns), said, asked, model)
    _too_long(n_prompt, "input")
    name = asked.digest[:25].hex()
    part = {"type": "refusal", "refusal": said.text} if said.finish == "refusal" else _text_part(said.text)
    halted = {"length": "max_output_tokens", "filter": "content_filter"}.get(said.finish)
    message = {
        "id": "msg_" + name,
        "type": "message",
        "status": "incomplete" if halted else "completed",
        "role": "assistant",
        "content": [part] if said.text or not halted else [],
    }
    thought = [{"id": "rs_" + name, "type": "reasoning", "summary": []}] if said.reasoning_tokens else []
    return {
        "id": "resp_" + name,
        "object": "response",
        "created_at": asked.now,
        "status": "incomplete" if halted else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": halted} if halted else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": limit,
        "model": _chosen(said, asked.fault, model),
        "output": [*thought, message] if message["content"] else thought,
        "parallel_tool_calls": True,
        "service_tier": asked.tier,
        "text": {"format": form or {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": n_prompt,
            "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
            "output_tokens": said.output_tokens,
            "output_tokens_details": {"reasoning_tokens": said.reasoning_tokens},
            "total_tokens": n_prompt + said.output_tokens,
        },
        "metadata": {},
    }


def _text_part(text: str) -> Body:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def inputs_of(body: Body) -> list[str]:
    """The texts of an embeddings or moderations request."""
    given = body.get("input")
    items = given if isinstance(given, list) else [given]
    if items and all(isinstance(item, int) for item in items):
        items = [items]  # one input given as token ids
    texts = [
        item if isinstance(item, str) else content_text([item]) if isinstance(item, dict) else str(item)
        for item in items
        if item is not None
    ]
    if not texts or not all(texts):
        raise Refused(400, "'$.input' is invalid: it must be a non-empty string or a list of them.", None)
    return texts


def embed(body: Body, asked: Asked) -> Body:
    """An embedding list."""
    model, texts = models.plain(body["model"]), inputs_of(body)
    most = models.DIMENSIONS.get(model, 256)
    dimensions = body.get("dimensions", most)
    if not isinstance(dimensions, int) or not 1 <= dimensions <= max(most, 256):
        raise Refused(400, f"Invalid value for 'dimensions': must be between 1 and {most}.", "dimensions")
    if any(tokens(text) > 8_192 for text in texts):
        raise Refused(400, "This model's maximum context length is 8192 tokens.", "input", "context_length_exceeded")
    vectors = [embedding(text, dimensions, model) for text in texts]
    as_base64 = body.get("encoding_format") == "base64"
    rows = [
        {"object": "embedding", "index": i, "embedding": base64.b64encode(packed(v)).decode() if as_base64 else v}
        for i, v in enumerate(vectors)
    ]
    used = sum(map(tokens, texts))
    return {"object": "list", "data": rows, "model": model, "usage": {"prompt_tokens": used, "total_tokens": used}}


def moderate(body: Body, asked: Asked) -> Body:
    """A moderation answer: harsh words flag violence, nothing else is flagged."""
    results = []
    for text in inputs_of(body):
        harsh = bool(_HARSH.search(text))
        scores = dict.fromkeys(_CATEGORIES, 0.0001) | ({"violence": 0.9} if harsh else {})
        results.append(
            {
                "flagged": harsh,
                "categories": {name: scores[name] > 0.5 for name in _CATEGORIES},
                "category_scores": scores,
                "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
            }
        )
    return {
        "id": "modr-" + asked.digest[:12].hex(),
        "model": models.plain(str(body.get("model", "omni-moderation-latest"))),
        "results": results,
    }


ENDPOINTS: dict[str, Callable[[Body, Asked], Body]] = {
    "/v1/chat/completions": chat,
    "/v1/responses": respond,
    "/v1/embeddings": embed,
    "/v1/moderations": moderate,
}


def answer(endpoint: str, body: Body, asked: Asked) -> tuple[int, Body]:
    """(status, body) of one request at an endpoint; the row fault of `asked` included."""
    if asked.fault in ERRORS:
        status, kind, code, param, message = ERRORS[asked.fault][0]
        return status, error_body(kind, code, param, message)
    try:
        if body.get("stream"):
            raise Refused(400, "The sandbox does not stream.", "stream", "streaming_unsupported")
        if not models.known(body.get("model"), "openai"):
            message = f"The model `{body.get('model')}` does not exist or you do not have access to it."
            raise Refused(404, message, "model", "model_not_found")
        return 200, ENDPOINTS[endpoint](body, asked)
    except Refused as refusal:
        return refusal.status, refusal.body
