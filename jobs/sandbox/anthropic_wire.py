"""Anthropic's endpoints: messages, message batches, token counts, models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jobs.sandbox import anthropic_answers, models, orders, validate
from jobs.sandbox.anthropic_answers import Refused, error_body
from jobs.sandbox.clockwork import DAY, LIVE
from jobs.sandbox.http import Reply, Request, file_reply, json_reply, page
from jobs.sandbox.runner import damage
from jobs.sandbox.store import Doc, new_id

if TYPE_CHECKING:
    from jobs.sandbox.app import App

RESULT_DAYS = 29  # from the creation


def stamp(at: float | None) -> str | None:
    """RFC 3339, as the API writes it."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def batch_object(app: App, batch: Doc, base: str) -> Doc:
    """What a GET says of a batch: counts stay zero until it has ended."""
    wanted, status, total = orders.parse(batch["orders"]), batch["status"], batch["total"]
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    ended = status == "ended"
    if ended:
        result = batch["result"]
        counts |= {"succeeded": result["succeeded"], "errored": result["failed"]}
        counts["expired" if batch["end"] == "expired" else "canceled"] += result["not_run"]
        counts = counts if wanted.get("counts") != "zero" else dict.fromkeys(counts, 0)
    else:
        counts["processing"] = total
        status = "canceling" if batch["cancel"] or status == "cancelling" else "in_progress"
        status = wanted.get("status") or "paused" if wanted.get("status") is not None else status
    if wanted.get("counts") == "wrong":
        counts["succeeded"] += 7
    archived = batch["created"] + RESULT_DAYS * DAY
    gone = app.clock.now() > archived
    return {
        "id": batch["id"],
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts,
        "ended_at": stamp(batch["times"].get("ended_at")),
        "created_at": stamp(batch["created"]),
        "expires_at": stamp(batch["created"] + DAY),
        "archived_at": stamp(archived) if gone else None,
        "cancel_initiated_at": stamp(batch["times"].get("cancelling_at")),
        "results_url": f"{base}/v1/messages/batches/{batch['id']}/results" if ended and not gone else None,
    }


def create_batch(app: App, request: Request) -> Reply:
    if request.spool is None or request.n_bytes > app.options.anthropic_max_bytes:
        raise Refused("Request exceeds the maximum size", 413, "request_too_large")
    batch = app.new_batch(new_id("msgbatch_01", 22), "anthropic", "")
    folder = app.store.batch_folder(batch["id"])
    folder.mkdir()
    try:
        checked = validate.anthropic_body(request.spool, folder / "requests", app.options.anthropic_max_requests)
    except validate.BadBody as bad:
        raise Refused(str(bad)) from bad
    if "too_large" in checked:
        raise Refused(f"requests: at most {app.options.anthropic_max_requests} items", 413, "request_too_large")
    batch = app.new_batch(batch["id"], "anthropic", checked["model"]) | {
        "endpoint": "/v1/messages",
        "version": request.headers.get("anthropic-version", ""),
        "status": "in_progress",
        "validation": checked,
        "total": checked["total"],
        "tokens": checked["tokens"],
    }
    app.store.put("batch", batch)
    app.clock.wake.set()
    request.note |= {"batch": batch["id"], "rows": checked["total"]}
    return json_reply(batch_object(app, batch, request.base))


def _batch(app: App, request: Request) -> Doc:
    batch = app.store.batches.get(request.args[0])
    if batch is None or batch["manner"] != "anthropic":
        raise Refused(f"Message Batch {request.args[0]} not found.", 404, "not_found_error")
    return batch


def list_batches(app: App, request: Request) -> Reply:
    text = request.query.get("limit", "20")
    if not text.isdigit() or not 1 <= int(text) <= 1000:
        raise Refused("limit: Input should be between 1 and 1000")
    ids = app.listed("anthropic", request.lists)
    shown, more = page(ids, int(text), request.query.get("after_id"), request.query.get("before_id"), request.lists)
    data = [batch_object(app, app.store.batches[key], request.base) for key in shown if key in app.store.batches]
    n_alien = sum(int(fault.get("n", 1)) for fault in request.lists if fault["fault"] == "alien")
    blank = app.new_batch("", "anthropic", "") | {"total": 3, "status": "in_progress"}
    data = [batch_object(app, {**blank, "id": f"msgbatch_01alien{i:017}"}, request.base) for i in range(n_alien)] + data
    return json_reply(
        {"data": data, "has_more": more, "first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    )


def get_batch(app: App, request: Request) -> Reply:
    return json_reply(batch_object(app, _batch(app, request), request.base))


def cancel_batch(app: App, request: Request) -> Reply:
    batch = _batch(app, request)
    if batch["status"] not in LIVE:
        raise Refused(f"Message Batch {batch['id']} has already ended and cannot be canceled.", 409, "conflict_error")
    app.cancel(batch)
    return json_reply(batch_object(app, batch, request.base))


def delete_batch(app: App, request: Request) -> Reply:
    batch = _batch(app, request)
    if batch["status"] in LIVE:
        raise Refused(f"Message Batch {batch['id']} cannot be deleted while it is in progress.")
    app.store.drop("batch", batch["id"])
    return json_reply({"id": batch["id"], "type": "message_batch_deleted"})


def results(app: App, request: Request) -> Reply:
    batch = _batch(app, request)
    if batch["status"] != "ended" or app.clock.now() > batch["created"] + RESULT_DAYS * DAY:
        raise Refused(f"Message Batch {batch['id']} has no available results.", 404, "not_found_error")
    return file_reply(app.store.batch_folder(batch["id"]) / "output", "application/x-jsonl")


def _body(request: Request) -> Doc:
    try:
        body = request.json()
    except ValueError as error:
        raise Refused("The request body is not valid JSON.") from error
    if not isinstance(body, dict):
        raise Refused("The request body is not a JSON object.")
    return body


def messages(app: App, request: Request) -> Reply:
    body = _body(request)
    model = str(body.get("model", ""))
    wait = app.rate_limited(models.plain(model))
    if wait is not None:
        message = "This request would exceed your organization's rate limit."
        return json_reply(error_body("rate_limit_error", message, request.id), 429, {"retry-after": str(wait)})
    asked = app.asked(request, "anthropic", model, body)
    asked.tier = "standard"
    status, answer = anthropic_answers.answer(body, asked, request.headers.get("anthropic-version", ""))
    app.executed(request, asked.digest, status)
    reply = json_reply(answer if status == 200 else {**answer, "request_id": request.id}, status)
    reply.body = damage(reply.body, asked.fault)
    return reply


def count_tokens(app: App, request: Request) -> Reply:
    body = _body(request)
    anthropic_answers.check(body, request.headers.get("anthropic-version", ""), counting=True)
    return json_reply({"input_tokens": anthropic_answers.count(body)})


def list_models(app: App, request: Request) -> Reply:
    data = [_model(name) for name in models.ANTHROPIC]
    return json_reply({"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]})


def get_model(app: App, request: Request) -> Reply:
    if not models.known(request.args[0], "anthropic"):
        raise Refused(f"model: {request.args[0]}", 404, "not_found_error")
    return json_reply(_model(request.args[0]))


def _model(name: str) -> Doc:
    yes = {"supported": True}
    return {
        "id": models.plain(name),
        "type": "model",
        "display_name": models.plain(name).replace("-", " ").title(),
        "created_at": "2026-09-01T00:00:00Z",
        "deprecated_at": None,
        "retires_at": None,
        "lifecycle": "active",
        "line": None,
        "max_input_tokens": models.CONTEXT_TOKENS,
        "max_tokens": models.ANTHROPIC.get(models.plain(name), 64_000),
        "capabilities": {"batch": yes, "structured_outputs": yes},
    }
