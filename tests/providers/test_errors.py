"""One ProviderError for all that goes wrong: the verdict, the cause, the wait, and no key in it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jobs.providers import errors
from jobs.words import Cause

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", None),
        ("5", 5.0),
        ("0", 1.0),
        ("0.2", 1.0),
        ("-3", 1.0),
        ("604800", 86400.0),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 1.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 82800.0),
        ("soon", None),
        ("nan", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert errors.retry_after({"retry-after": value}, NOW) == seconds


def test_only_a_4xx_but_three_is_definite() -> None:
    assert [s for s in (None, 200, 301, 400, 401, 402, 403, 404, 408, 409, 413, 422, 425, 429, 500, 503, 529) if errors.definite(s)] == [
        *(400, 401, 402, 403, 404, 413, 422, 429)
    ]


@pytest.mark.parametrize(
    ("status", "codes", "message", "cause"),
    [
        (429, ("insufficient_quota",), "", Cause.BILLING),
        (429, ("rate_limit_error",), "This would exceed your rate limit", Cause.RATE_LIMITED),
        (400, ("invalid_request_error",), "Your credit balance is too low", Cause.BILLING),
        (400, (), "This model's maximum context length is 128000 tokens", Cause.CONTEXT_TOO_LONG),
        (404, ("model_not_found",), "", Cause.MODEL_GONE),
        (400, ("invalid_request_error",), "The model `x` does not exist", Cause.MODEL_GONE),
        (None, ("overloaded_error",), "", Cause.RATE_LIMITED),
        (None, ("model_mismatch",), "", Cause.INVALID_REQUEST),
        (None, (), "who knows", Cause.UNKNOWN),
        (418, (), "", Cause.INVALID_REQUEST),
        (504, (), "", Cause.TIMEOUT),
        (400, ("invalid_prompt", "invalid_request_error"), "Your prompt was flagged", Cause.CONTENT_FILTERED),
        (400, ("billing_hard_limit_reached",), "Billing hard limit has been reached", Cause.BILLING),
        (400, ("invalid_request_error",), "temperature: Extra inputs are not permitted", Cause.INVALID_REQUEST),
        (520, ("invalid_request_error",), "your credit balance is too low", Cause.PROVIDER_ERROR),
        (0, (), "", Cause.PROVIDER_ERROR),
    ],
)
def test_cause_of(status: int | None, codes: tuple[str, ...], message: str, cause: Cause) -> None:
    assert errors.cause_of(status, codes, message) is cause


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": {"message": "m", "code": "c", "type": "t"}}, "c", "m"),
        ({"type": "error", "error": {"type": "t", "message": "m"}}, "t", "m"),
        ({"error": {"type": "error", "error": {"type": "t", "message": "m"}}}, "t", "m"),
        ({"error": "just words"}, "", "just words"),
        ({"message": "m", "type": "t"}, "t", "m"),
        ({"detail": "Invalid API Key"}, "", "Invalid API Key"),
        ('{"message":"m","code":7}', "7", "m"),
        ("plain", "", "plain"),
        (None, "", ""),
        ([1], "", "[1]"),
    ],
)
def test_error_parts(body: object, code: str, message: str) -> None:
    found = errors.error_parts(body)
    assert (found[0], found[2]) == (code, message)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key sk-abc123DEF456 used", "key [key] used"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [key]"),
        ("own hunter2hunter2 here", "own [key] here"),
        ("a\0b\ud800", "ab\ufffd"),
        ("task-force and risk-free", "task-force and risk-free"),
    ],
)
def test_scrub(text: str, shown: str) -> None:
    assert errors.scrub(text, "hunter2hunter2") == shown


def test_scrubbed_text_is_at_most_2000_bytes() -> None:
    assert len(errors.scrub("ä" * 5000).encode()) == 2000


@pytest.mark.parametrize(
    ("code", "cause", "param", "shared"),
    [
        ("invalid_json_line", Cause.INVALID_REQUEST, None, False),
        ("duplicate_custom_id", Cause.INVALID_REQUEST, "custom_id", False),
        ("missing_required_parameter", Cause.INVALID_REQUEST, "body.messages.0.content", False),
        ("missing_required_parameter", Cause.INVALID_REQUEST, "body", False),
        ("missing_required_parameter", Cause.INVALID_REQUEST, "body.max_tokens", True),
        ("invalid_request", Cause.INVALID_REQUEST, "url", True),
        ("invalid_url", Cause.INVALID_REQUEST, None, True),
        ("MODEL_NOT_FOUND", Cause.MODEL_GONE, None, True),
        ("billing_hard_limit_reached", Cause.BILLING, None, True),
    ],
)
def test_what_all_lines_have_alike(code: str, cause: Cause, param: str | None, shared: bool) -> None:
    assert errors.is_shared(code, cause, param) is shared


@pytest.mark.parametrize(
    ("status", "codes", "message", "too_large"),
    [
        (413, (), "", True),
        (400, (), "File is too large", True),
        (400, (), "The uploaded file is too large for the Batch API (max 209715200 bytes)", True),
        (400, ("too_many_tasks",), "", True),
        (None, (), "This batch exceeds the maximum of 50000 requests", True),
        (400, ("invalid_request_error",), "prompt is too long: 210000 tokens > 200000 maximum", False),
        (400, ("invalid_file_format",), "Invalid file format for Batch API. Must be .jsonl", False),
        (429, ("rate_limit_exceeded",), "The batch exceeds the rate limit of requests", False),
        (500, (), "file too large", False),
    ],
)
def test_too_large(status: int | None, codes: tuple[str, ...], message: str, too_large: bool) -> None:
    assert errors.is_too_large(status, codes, message) is too_large
