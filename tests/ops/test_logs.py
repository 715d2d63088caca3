"""No key and no control character gets through a log handler."""

from __future__ import annotations

import io
import logging
import logging.config
from collections.abc import Iterator

import pytest
from django.core.exceptions import PermissionDenied

from batchui import logs


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key sk-proj-abcDEF123456 used", "key [redacted] used"),
        ("sk-ant-api03-abc_DEF-123456", "[redacted]"),
        ("Authorization: Bearer abc.def.ghi, next", "Authorization: [redacted], next"),
        ("{'authorization': 'Basic dXNlcjpwYXNz'}", "{'authorization': '[redacted]'}"),
        ("x-api-key: 12345abc", "x-api-key: [redacted]"),
        ("GET /v1?api_key=12345abc&page=2", "GET /v1?api_key=[redacted]&page=2"),
        ("postgres://me:hunter22@db/x", "postgres://me:[redacted]@db/x"),
        ("GET /sign-in/link/abc:def:ghi/ 302", "GET /sign-in/link/[redacted]/ 302"),
        ("a risk-taking task-force at 10:30", "a risk-taking task-force at 10:30"),
    ],
)
def test_redact(text: str, shown: str) -> None:
    assert logs.redact(text) == shown


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(logs.Clean())
    handler.setFormatter(logs.OneLine())
    logger = logging.getLogger("tests.logs")
    logger.addHandler(handler)
    yield out
    logger.removeHandler(handler)


def test_a_value_cannot_start_a_line_of_its_own(stream: io.StringIO) -> None:
    logging.getLogger("tests.logs").warning("name %s", "x\n2026-01-01 ERROR forged\x1b[2J\u2028end")
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("name x\\n2026-01-01 ERROR forged\\x1b[2J\\x2028end\n")


def test_tracebacks_are_redacted(stream: io.StringIO) -> None:
    try:
        raise ValueError("bad header sk-live-0123456789abcdef")
    except ValueError:
        logging.getLogger("tests.logs").exception("call failed")
    assert "sk-live" not in stream.getvalue()
    assert "ValueError: bad header [redacted]" in stream.getvalue()


def test_a_refusal_is_one_line_without_a_traceback(stream: io.StringIO) -> None:
    try:
        raise PermissionDenied
    except PermissionDenied:
        logging.getLogger("tests.logs").warning("Forbidden (Permission denied): %s", "/launch/", exc_info=True)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("Forbidden (Permission denied): /launch/\n")


def test_every_handler_cleans_and_the_sdks_are_quiet() -> None:
    config = logs.configure("DEBUG", as_json=False)
    assert [handler["filters"] for handler in config["handlers"].values()] == [["clean"]]
    assert {name: config["loggers"][name]["level"] for name in ("openai", "anthropic", "httpx2", "httpcore2")} == {
        "openai": "WARNING",
        "anthropic": "WARNING",
        "httpx2": "WARNING",
        "httpcore2": "WARNING",
    }
