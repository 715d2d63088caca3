"""Logging: one line an event, with nothing in it that looks like a key and no control character."""

from __future__ import annotations

import logging
import re
import traceback
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied

HIDDEN = "[redacted]"
_PATTERNS = [
    re.compile(r"\b(?:sk|pk|rk|key)-[A-Za-z0-9_\-]{8,}"),
    re.compile(r"\bbui_[A-Za-z0-9_\-]{16,}"),
    re.compile(r"(?i)(\b(?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?)(?:(?:bearer|basic|token)\s+)?[^\s'\",;}]+"),
    re.compile(r"(?i)(\b(?:x-)?api[-_]?key['\"]?\s*[:=]\s*['\"]?)[^\s'\",;}&]+"),
    re.compile(r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=\-]{8,}"),
    re.compile(r"(://[^/\s:@]*:)[^@/\s]+(?=@)"),
    re.compile(r"(/sign-in/link/)[^/\s?\"']+"),
]
# C0 and C1 control characters and the Unicode line separators would let a value start a line of its own (S57).
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_live_secrets: set[str] = set()


def remember_secret(text: str) -> None:
    """From now on this process hides `text` in its logs, whatever it looks like. Short texts are left alone."""
    if len(text) >= 8:
        _live_secrets.add(text)


def redact(text: str) -> str:
    """`text` without anything that is, or looks like, a key."""
    for secret in _live_secrets:
        text = text.replace(secret, HIDDEN)
    for pattern in _PATTERNS:
        text = pattern.sub(lambda match: (match.group(1) if match.re.groups else "") + HIDDEN, text)
    return text


def clean(text: str, keep_lines: bool = False) -> str:
    """`text` redacted and without control characters; newlines become `\\n` unless kept (tracebacks)."""
    text = redact(text)
    if not keep_lines:
        text = text.replace("\n", "\\n")
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


class Clean(logging.Filter):
    """Cleans message and traceback of every record; put on each handler, because filters on loggers miss their children."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true; the record is changed in place."""
        record.msg = clean(record.getMessage())
        record.args = ()
        if record.exc_info and record.exc_info[0] is not None and issubclass(record.exc_info[0], PermissionDenied):
            record.exc_info = None  # who may not do something is told so: a line, and no traceback of ours
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = clean("".join(traceback.format_exception(*record.exc_info)).rstrip(), keep_lines=True)
            record.exc_info = None
        return True


class OneLine(logging.Formatter):
    """`time level logger message key=value`; as JSON when asked for."""

    def __init__(self, as_json: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
        self.as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """The line, with what is bound to the request or task."""
        bound = {key: clean(str(value)) for key, value in structlog.contextvars.get_contextvars().items()}
        if not self.as_json:
            extra = "".join(f" {key}={value}" for key, value in bound.items())
            head, newline, rest = super().format(record).partition("\n")
            return f"{head}{extra}{newline}{rest}"
        import orjson

        line: dict[str, Any] = {"at": self.formatTime(record, self.datefmt), "level": record.levelname.lower(), "logger": record.name}
        line |= {"event": record.getMessage(), **bound}
        if record.exc_text:
            line["traceback"] = record.exc_text
        return orjson.dumps(line).decode()


def configure(level: str, as_json: bool) -> dict[str, Any]:
    """The LOGGING setting. Also routes structlog through the standard library, so that every line passes the filter."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    # The SDKs and their transport log URLs and headers below WARNING.
    quiet = ("openai", "anthropic", "httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "asyncio")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"clean": {"()": Clean}},
        "formatters": {"line": {"()": OneLine, "as_json": as_json}},
        "handlers": {"console": {"class": "logging.StreamHandler", "filters": ["clean"], "formatter": "line"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # django-q and Django bring handlers of their own; one path for all, so that nothing goes round the filter.
            # It logs several lines a task at INFO, and the pump asks for several tasks a second.
            "django-q": {"handlers": ["console"], "level": "DEBUG" if level == "DEBUG" else "WARNING", "propagate": False},
            "django": {"handlers": ["console"], "level": level, "propagate": False},
            "django.server": {"handlers": ["console"], "level": level, "propagate": False},
            "axes": {"level": "WARNING"},
            **{name: {"level": "WARNING"} for name in quiet},
        },
    }
