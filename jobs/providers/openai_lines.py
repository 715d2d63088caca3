"""Result lines of OpenAI batch files. Pure functions that never raise; also for OpenAI-compatible servers."""

from __future__ import annotations

import base64
from array import array
from functools import partial
from typing import Any

import msgspec
import orjson

from jobs.providers import errors, lines
from jobs.providers.base import Answer, Plain, RequestSpec
from jobs.words import Cause, OutcomeKind, PromptKind

_OK = OutcomeKind.SUCCEEDED
_INVALID = OutcomeKind.INVALID


def decode(line: bytes, spec: RequestSpec) -> Answer:
    """One line of an output or error file. Never raises."""
    found = plain(line)
    if found is None:
        return lines.safe_decode(line, read if spec.kind != PromptKind.EMBED else partial(read, dimensions=spec.params.get("dimensions")))
    custom_id, text, model, request_id, asked, cached, written, answered, reasoning = found
    return Answer(custom_id, _OK, None, "", text, "stop", model, request_id, asked, cached, written, 0, answered, reasoning, "paid")


class _Written(msgspec.Struct, gc=False):
    cached_tokens: int | None = 0
    cache_write_tokens: int | None = 0


class _Thought(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = 0


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Written | None = None
    completion_tokens_details: _Thought | None = None


class _Message(msgspec.Struct, gc=False):
    content: str
    refusal: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: str


class _Body(msgspec.Struct, gc=False):
    model: str
    choices: list[_Choice]
    usage: _Usage
    error: Any = None


class _Response(msgspec.Struct, gc=False):
    status_code: int
    request_id: str
    body: _Body


class _Line(msgspec.Struct, gc=False):
    """An ordinary chat answer: what is read of it, with its types. The rest is passed over, which halves the price of a line."""

    custom_id: str
    response: _Response


_loads = msgspec.json.Decoder(_Line).decode


def plain(line: bytes) -> Plain | None:
    """What `read` says of an ordinary chat answer, at a third of its price: nearly all lines are one. None for all others; never raises."""
    try:
        data = _loads(line)
        response = data.response
        body = response.body
        choice = body.choices[0]
    except (msgspec.DecodeError, ValueError, IndexError, RecursionError):
        return None
    text, custom_id, usage = choice.message.content, data.custom_id, body.usage
    asked, answered = usage.prompt_tokens, usage.completion_tokens
    cached = written = reasoning = 0
    if (of_asked := usage.prompt_tokens_details) is not None:
        cached, written = of_asked.cached_tokens or 0, of_asked.cache_write_tokens or 0
    if (of_answered := usage.completion_tokens_details) is not None:
        reasoning = of_answered.reasoning_tokens or 0
    if (
        response.status_code == 200
        and choice.finish_reason == "stop"
        and asked
        and 0 <= asked | answered | cached | written | reasoning <= lines.MOST_TOKENS  # all bits set: none is below 0 or above
        and not (choice.message.refusal or body.error or "\0" in text or "\0" in custom_id or text.isspace())
        and text
    ):
        return custom_id, text, body.model, response.request_id, asked, cached, written, answered, reasoning
    return None


def read(data: dict[str, Any], dimensions: Any = None) -> Answer:
    """The Answer of a parsed result line. `dimensions`: the length that was asked of embeddings."""
    custom_id = data.get("custom_id")
    if type(custom_id) is not str:
        custom_id = lines.text_of(custom_id)
    response = data.get("response")
    if type(response) is not dict or not response:
        return _not_run(custom_id, data.get("error"))
    body = response.get("body")
    if type(body) is str:
        body = _parsed(body)
    status = response.get("status_code", 200)
    request_id = response.get("request_id")
    if type(body) is dict and (status == 200 or status is None) and not body.get("error"):
        answer = _answered(custom_id, body, dimensions)
        if type(request_id) is str:
            answer.request_id = request_id
        return answer
    answer = _refused(custom_id, lines.maybe_count(status) or 0, body, data.get("error"))
    answer.request_id = lines.text_of(request_id)
    return answer


def _parsed(body: str) -> Any:
    try:
        return lines.loads(body.encode("utf-8", "replace"))
    except ValueError:
        return body


def _not_run(custom_id: str, error: Any) -> Answer:
    """A line without a response: the request never ran, or nothing is said of it."""
    if not error:
        return Answer(custom_id, OutcomeKind.FAILED, Cause.PROVIDER_ERROR, "The line has neither an answer nor an error.", billed="unknown")
    code, codes, message = errors.error_parts(error)
    cause = errors.cause_of(None, codes, message)
    kind = {Cause.EXPIRED: OutcomeKind.EXPIRED, Cause.CANCELLED: OutcomeKind.CANCELLED}.get(cause, OutcomeKind.FAILED)
    return Answer(custom_id, kind, cause, message or code)


def _refused(custom_id: str, status: int, body: Any, error: Any) -> Answer:
    """A request that ran and got no answer. Status 0 is a blank at the provider: whether it was billed is not known."""
    code, codes, message = errors.error_parts(body or error)
    cause = errors.cause_of(status, codes, message)
    if cause is Cause.UNKNOWN:
        cause = Cause.PROVIDER_ERROR
    known = status >= 400 or bool(codes)
    has_usage = type(body) is dict and bool(body.get("usage"))
    said = message or code or (f"HTTP {status}" if status else "The provider left this line blank.")
    answer = Answer(custom_id, OutcomeKind.FAILED, cause, said, billed="unpaid" if known and not has_usage else "unknown")
    if has_usage:
        _count(answer, body["usage"])
    return answer


def _answered(custom_id: str, body: dict[str, Any], dimensions: Any = None) -> Answer:
    choices = body.get("choices")
    if choices and type(choices) is list:
        answer = _chat(custom_id, choices[0])
    elif "output" in body or body.get("object") == "response":
        answer = _responses(custom_id, body)
    elif "data" in body:
        answer = _embedding(custom_id, body["data"], dimensions)
    elif "results" in body:
        results = body["results"]
        one = results[0] if isinstance(results, list) and len(results) == 1 else results
        answer = Answer(custom_id, _OK, text=lines.dumps(one).decode())
    else:
        answer = Answer(custom_id, _INVALID, Cause.EMPTY, "The answer has no choices.")
    model = body.get("model")
    if type(model) is str:
        answer.model = model
    usage = body.get("usage")
    if type(usage) is dict and usage:
        _count(answer, usage)
        answer.billed = "paid" if answer.input_tokens else "unknown"  # each prompt has a token: a count of none tells nothing
    elif "results" not in body:  # moderation is free and has no usage
        answer.billed = "unknown"
    return answer


def _chat(custom_id: str, choice: dict[str, Any]) -> Answer:
    message = choice.get("message") or {}
    text = message.get("content", choice.get("text"))
    if type(text) is not str:
        text = _joined(text, message)
    elif "\0" in text:
        text = lines.clean(text)
    finish = choice.get("finish_reason")
    if finish == "stop" and text and not text.isspace() and not message.get("refusal"):
        return Answer(custom_id, _OK, None, "", text, finish)
    return _judged(custom_id, text, lines.text_of(finish), lines.text_of(message.get("refusal")))


def _judged(custom_id: str, text: str, finish: str, refusal: str) -> Answer:
    if refusal:
        return Answer(custom_id, _INVALID, Cause.REFUSED, lines.message_of(refusal), text or refusal, finish)
    if finish == "content_filter":
        return Answer(custom_id, _INVALID, Cause.CONTENT_FILTERED, "The provider's filter stopped the answer.", text, finish)
    if finish in ("length", "max_tokens", "max_output_tokens"):
        return Answer(custom_id, _INVALID, Cause.CUT_OFF, "The answer reached the limit of output tokens.", text, finish)
    if not text.strip():
        return Answer(custom_id, _INVALID, Cause.EMPTY, "The answer is empty.", text, finish)
    return Answer(custom_id, _OK, None, "", text, finish)


def _joined(content: Any, message: dict[str, Any]) -> str:
    """Text of content parts (thinking left out), else the calls of tools as JSON, else ""."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") in ("text", "output_text")]
        return lines.clean("".join(part for part in parts if isinstance(part, str)))
    if content is None and message.get("tool_calls"):
        return lines.dumps(message["tool_calls"]).decode()
    return lines.text_of(content)


def _responses(custom_id: str, body: dict[str, Any]) -> Answer:
    """A body of the Responses API."""
    parts: list[dict[str, Any]] = []
    for item in body.get("output") or []:
        if isinstance(item, dict) and item.get("type") == "message" and isinstance(item.get("content"), list):
            parts += [part for part in item["content"] if isinstance(part, dict)]
    text = lines.clean("".join(part["text"] for part in parts if part.get("type") == "output_text" and isinstance(part.get("text"), str)))
    refusal = "".join(part["refusal"] for part in parts if part.get("type") == "refusal" and isinstance(part.get("refusal"), str))
    details = body.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else ""
    return _judged(custom_id, text, lines.text_of(reason or body.get("status")), refusal)


def _embedding(custom_id: str, data: Any, dimensions: Any = None) -> Answer:
    vectors = [_vector(item.get("embedding")) for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    if not vectors or not vectors[0]:
        return Answer(custom_id, _INVALID, Cause.EMPTY, "The answer has no embedding.")
    text = orjson.dumps(vectors[0] if len(vectors) == 1 else vectors).decode()
    if not all(type(vector) is list and set(map(type, vector)) <= {int, float} for vector in vectors):
        return Answer(custom_id, _INVALID, Cause.UNKNOWN, "The embedding is not a list of numbers.", text)
    if type(dimensions) is int and (lengths := {len(vector) for vector in vectors}) != {dimensions}:
        said = f"The embedding has {max(lengths):,} numbers, and {dimensions:,} were asked for."
        return Answer(custom_id, _INVALID, Cause.SCHEMA_MISMATCH, said, text)
    return Answer(custom_id, _OK, text=text)


def _vector(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    floats = array("f")  # base64 embeddings are little-endian 32-bit floats
    floats.frombytes(base64.b64decode(value))
    return floats.tolist()


def _count(answer: Answer, usage: dict[str, Any]) -> None:
    """Tokens of chat, embeddings and Responses usage. The prompt includes what was read from and written to the cache."""
    count = lines.tokens_of
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    answer.input_tokens = count(usage.get("prompt_tokens") or usage.get("input_tokens"))
    answer.output_tokens = count(usage.get("completion_tokens") or usage.get("output_tokens"))
    if type(details) is dict:
        answer.cached_tokens = count(details.get("cached_tokens"))
        answer.cache_write_tokens = count(details.get("cache_write_tokens"))
    details = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    if type(details) is dict:
        answer.reasoning_tokens = count(details.get("reasoning_tokens"))
