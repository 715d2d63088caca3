"""What an armed wire fault does to a call: before it is carried out, or to its answer."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from jobs.sandbox.faults import AFTER, BEFORE
from jobs.sandbox.http import Reply, Request

if TYPE_CHECKING:
    from jobs.sandbox.app import App

HTML = b"<html><head><title>520: Web server is returning an unknown error</title></head><body>cloudflare</body></html>"
# Status → (OpenAI code, Anthropic type, message)
STATUSES: dict[int, tuple[str | None, str, str]] = {
    400: ("invalid_value", "invalid_request_error", "The request is not valid."),
    401: ("invalid_api_key", "authentication_error", "API key is invalid."),
    402: ("billing_hard_limit_reached", "billing_error", "Billing hard limit has been reached."),
    403: ("not_available_for_plan", "permission_error", "Your plan does not include this."),
    404: (None, "not_found_error", "Not found."),
    408: (None, "timeout_error", "Request timed out."),
    409: ("conflict", "conflict_error", "Conflict."),
    413: (None, "request_too_large", "Request exceeds the maximum size."),
    422: ("unprocessable", "invalid_request_error", "Unprocessable."),
    429: ("rate_limit_exceeded", "rate_limit_error", "Rate limit reached. Please try again later."),
    500: ("server_error", "api_error", "The server had an error while processing your request."),
    502: ("server_error", "api_error", "Bad gateway."),
    503: ("server_overloaded", "overloaded_error", "The engine is currently overloaded."),
    504: ("server_error", "timeout_error", "Gateway timeout."),
    529: ("server_overloaded", "overloaded_error", "Overloaded"),
}


def status_reply(app: App, request: Request, fault: dict[str, Any]) -> Reply:
    """An HTTP error in the manner's shape; 520 (or `html`) is a proxy's page."""
    status = int(fault.get("status", 500))
    if fault.get("html") or status not in STATUSES:
        return Reply(status, HTML, {"Content-Type": "text/html"})
    code, kind, message = STATUSES[status]
    kind = fault.get("type", kind if request.manner == "anthropic" else "server_error" if status >= 500 else "invalid_request_error")
    reply = app.error(request, status, fault.get("message", message), kind, fault.get("code", code))
    if "param" in fault and request.manner == "openai":
        body = orjson.loads(reply.body)
        body["error"]["param"] = fault["param"]
        reply.body = orjson.dumps(body)
    if "retry_after" in fault:
        reply.headers["Retry-After"] = str(fault["retry_after"])
    return reply


def before(app: App, request: Request, fell: list[dict[str, Any]], carry_out: Callable[[], Reply]) -> Reply | None:
    """The answer of a fault that keeps the call from being carried out (now), or None."""
    fault = next((fault for fault in fell if fault["fault"] in BEFORE), None)
    if fault is None:
        return None
    name = fault["fault"]
    if name == "hang_before":
        app.clock.stopping.wait(float(fault.get("seconds", 5)))
        return None if fault.get("then") == "go" else Reply(drop=True)
    if name == "redirect":
        return Reply(307, b"", {"Location": str(fault.get("location", "http://127.0.0.1:9/v1/elsewhere"))})
    if name == "late":  # the caller hears nothing; the call is carried out all the same, later
        request.note["late"] = True
        app.later(float(fault.get("seconds", 1)), carry_out)
        return Reply(drop=True)
    if name == "drop_before":
        return Reply(drop=True)
    return status_reply(app, request, fault)


def after(app: App, request: Request, fell: list[dict[str, Any]], reply: Reply) -> Reply:
    """The answer as the faults leave it; the call has been carried out."""
    for fault in fell:
        if fault["fault"] in AFTER:
            reply = _spoil(app, request, fault, reply)
    return reply


def _spoil(app: App, request: Request, fault: dict[str, Any], reply: Reply) -> Reply:
    name = fault["fault"]
    if name == "hang":
        app.clock.stopping.wait(float(fault.get("seconds", 5)))
    elif name == "status_after":
        return status_reply(app, request, fault)
    elif name == "drop_after":
        return Reply(drop=True)
    elif name == "empty":
        return Reply(200, b"", {"Content-Type": "application/json"})
    elif name == "garbage":
        return Reply(200, b'{"id": "batch_', {"Content-Type": "application/json"})
    elif name == "html":
        return Reply(200, HTML, {"Content-Type": "text/html"})
    elif name == "gzip_bomb":
        bomb = gzip.compress(b" " * (int(fault.get("mb", 100)) << 20), 6)
        return Reply(200, bomb, {"Content-Type": "application/json", "Content-Encoding": "gzip"})
    elif name == "drip":
        reply.drip = float(fault.get("seconds", 0.05))
    elif name == "cut":
        size = reply.file.stat().st_size if reply.file else len(reply.body)
        reply.keep_bytes = int(fault["bytes"]) if "bytes" in fault else int(size * float(fault.get("keep", 0.5)))
        reply.cut = str(fault.get("how", "length"))
    elif name == "merge":
        reply.body = orjson.dumps({**orjson.loads(reply.body), **fault["merge"]})
    return reply
