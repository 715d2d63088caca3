"""OpenAI's endpoints: files, batches, direct calls, models."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jobs.sandbox import models, openai_answers, orders
from jobs.sandbox.clockwork import DAY, LIVE
from jobs.sandbox.http import NotMultipart, Reply, Request, file_reply, form, json_reply, page
from jobs.sandbox.openai_answers import Refused
from jobs.sandbox.runner import damage
from jobs.sandbox.store import Doc, new_id

if TYPE_CHECKING:
    from jobs.sandbox.app import App

BATCH_ENDPOINTS = frozenset(openai_answers.ENDPOINTS)
_TIMES = ["in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at"]
DIRECT = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "embeddings": "/v1/embeddings", "moderations": "/v1/moderations"}


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdigit() or not 1 <= int(text) <= most:
        raise Refused(400, f"Invalid '{name}': expected an integer between 1 and {most}.", name, "integer_out_of_range")
    return int(text)


# ---- files


def file_object(doc: Doc) -> Doc:
    return {
        "id": doc["id"],
        "object": "file",
        "bytes": doc["bytes"],
        "created_at": doc["created"],
        "expires_at": doc["expires"],
        "filename": doc["filename"],
        "purpose": doc["purpose"],
        "status": "processed",
        "status_details": None,
    }


def _expiry(anchor: str | None, seconds: Any) -> int | None:
    if seconds is None:
        return None
    if anchor != "created_at" or not str(seconds).isdigit() or not 3600 <= int(seconds) <= 2_592_000:
        raise Refused(400, "Invalid 'expires_after': anchor created_at, 3600 to 2592000 seconds.", "expires_after")
    return int(seconds)


def create_file(app: App, request: Request) -> Reply:
    file_id = new_id("file-", 22)
    path = app.store.file_path(file_id)
    try:
        fields, name = form(request, path)
    except NotMultipart as error:
        raise Refused(400, f"Invalid form: {error}", "file") from error
    purpose = fields.get("purpose")
    try:
        if name is None or not purpose:
            raise Refused(
                400, "Missing required parameter: 'file' or 'purpose'.", "file" if purpose else "purpose", "missing_required_parameter"
            )
        if purpose == "batch" and not name.endswith(".jsonl"):
            raise Refused(400, "Invalid file format for Batch API. Must be .jsonl")
        size = path.stat().st_size
        if purpose == "batch" and size > app.options.max_bytes:
            raise Refused(400, f"File is too large: {size} bytes, at most {app.options.max_bytes} for a batch.", "file")
        life = _expiry(fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]"))
    except Refused:
        path.unlink(missing_ok=True)
        raise
    now = int(app.clock.now())
    expires = now + (life or 30 * DAY) if purpose == "batch" or life else None
    doc = {"id": file_id, "bytes": size, "created": now, "expires": expires, "filename": name, "purpose": purpose}
    app.store.put("file", doc)
    request.note |= {"file": file_id, "filename": name, "bytes": size}
    return json_reply(file_object(doc))


def _file(app: App, file_id: str) -> Doc:
    doc = app.store.files.get(file_id)
    if doc is None or (doc["expires"] and doc["expires"] < app.clock.now()):
        raise Refused(404, f"No such File object: {file_id}", "id")
    return doc


def list_files(app: App, request: Request) -> Reply:
    purpose = request.query.get("purpose")
    docs = [doc for doc in app.store.files.values() if not purpose or doc["purpose"] == purpose]
    if request.query.get("order", "desc") == "desc":
        docs.reverse()
    limit = _number(request, "limit", 10_000, 10_000)
    ids, more = page([doc["id"] for doc in docs], limit, request.query.get("after"), faults=request.lists)
    return json_reply(_list([file_object(app.store.files[key]) for key in ids], more))


def get_file(app: App, request: Request) -> Reply:
    return json_reply(file_object(_file(app, request.args[0])))


def file_content(app: App, request: Request) -> Reply:
    doc = _file(app, request.args[0])
    return file_reply(app.store.file_path(doc["id"]), "application/octet-stream")


def delete_file(app: App, request: Request) -> Reply:
    doc = _file(app, request.args[0])
    app.store.drop("file", doc["id"])
    app.store.file_path(doc["id"]).unlink(missing_ok=True)
    return json_reply({"id": doc["id"], "object": "file", "deleted": True})


def _list(data: list[Doc], more: bool) -> Doc:
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }


# ---- batches


def _counts(app: App, batch: Doc, wanted: orders.Orders) -> Doc:
    how, total = wanted.get("counts"), batch["total"]
    result = batch["result"]
    if how == "zero" or batch["status"] == "validating":
        return {"total": 0, "completed": 0, "failed": 0}
    if result is None:
        done = int(app.clock.done_share(batch, app.clock.now()) * total) if batch["status"] == "in_progress" else total
        counts = {"total": total, "completed": done, "failed": 0}
    else:
        counts = {"total": total, "completed": result["succeeded"], "failed": result["failed"]}
    if how == "wrong":
        return {"total": max(total - 1, 0), "completed": counts["completed"] + 7, "failed": 0}
    return counts | ({"completed": 0} if how == "fallback" and batch["status"] == "cancelled" else {})


def batch_object(app: App, batch: Doc) -> Doc:
    """What a GET says of a batch."""
    wanted, status = orders.parse(batch["orders"]), batch["status"]
    if wanted.get("status") is not None and status in LIVE:
        status = wanted.get("status") or "paused"
    used = (batch["result"] or {}).get("usage") or {"input": 0, "cached": 0, "output": 0, "reasoning": 0}
    none = "" if wanted.get("ids") == "empty" else None
    done = batch["status"] not in LIVE
    times = {name: int(batch["times"][name]) if batch["times"].get(name) else None for name in _TIMES}
    return {
        "id": batch["id"],
        "object": "batch",
        "endpoint": batch["endpoint"],
        "model": models.plain(batch["model"]) if batch["times"].get("in_progress_at") else None,
        "errors": {"object": "list", "data": batch["errors"]} if batch["errors"] else None,
        "input_file_id": batch["input_file_id"],
        "completion_window": "24h",
        "status": status,
        "output_file_id": (batch["output_file_id"] or none) if done else None,
        "error_file_id": (batch["error_file_id"] or none) if done else None,
        "created_at": int(batch["created"]),
        **times,
        "expires_at": int(batch["created"]) + DAY,
        "request_counts": _counts(app, batch, wanted),
        "usage": {
            "input_tokens": used["input"],
            "input_tokens_details": {"cached_tokens": used["cached"]},
            "output_tokens": used["output"],
            "output_tokens_details": {"reasoning_tokens": used["reasoning"]},
            "total_tokens": used["input"] + used["output"],
        },
        "metadata": batch["metadata"],
    }


def _metadata(given: Any) -> dict[str, str] | None:
    if given is None:
        return None
    fits = isinstance(given, dict) and len(given) <= 16
    if not fits or not all(isinstance(v, str) and len(k) <= 64 and len(v) <= 512 for k, v in given.items()):
        raise Refused(400, "Invalid 'metadata': at most 16 pairs of strings, keys to 64 and values to 512 characters.", "metadata")
    return dict(given)


def first_model(app: App, file_id: str) -> str:
    """The model of a file's first line, "" where there is none."""
    path = app.store.file_path(file_id)
    if not re.fullmatch(r"[\w-]+", file_id) or not path.exists():
        return ""
    with path.open("rb") as file:
        match = re.search(rb'"model"\s*:\s*"([^"]+)"', file.readline())
    return match.group(1).decode("utf-8", "replace") if match else ""


def create_batch(app: App, request: Request) -> Reply:
    body = request.json()
    for name in ("input_file_id", "endpoint", "completion_window"):
        if not isinstance(body.get(name), str):
            raise Refused(400, f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    if body["endpoint"] not in BATCH_ENDPOINTS:
        raise Refused(400, f"Invalid value: '{body['endpoint']}'.", "endpoint", "invalid_value")
    if body["completion_window"] != "24h":
        raise Refused(400, "Invalid value for 'completion_window': expected '24h'.", "completion_window", "invalid_value")
    file_id = body["input_file_id"]
    if app.store.files.get(file_id, {}).get("purpose") != "batch":
        raise Refused(400, f"Cannot find file {file_id}, or project proj_sandbox does not have access to it.", "file_id")
    after = body.get("output_expires_after") or {}
    life = _expiry(after.get("anchor"), after.get("seconds"))
    batch = app.new_batch(new_id("batch_", 32), "openai", first_model(app, file_id))
    batch |= {
        "endpoint": body["endpoint"],
        "input_file_id": file_id,
        "status": "validating",
        "metadata": _metadata(body.get("metadata")),
        "expires_after": life,
    }
    app.store.put("batch", batch)
    app.clock.wake.set()
    request.note |= {"batch": batch["id"], "file": file_id}
    return json_reply(batch_object(app, batch))


def _batch(app: App, request: Request) -> Doc:
    batch = app.store.batches.get(request.args[0])
    if batch is None or batch["manner"] != "openai":
        raise Refused(404, f"No batch found with id '{request.args[0]}'.", None)
    return batch


def list_batches(app: App, request: Request) -> Reply:
    limit = _number(request, "limit", 20, 100)
    ids = app.listed("openai", request.lists)
    shown, more = page(ids, limit, request.query.get("after"), faults=request.lists)
    data = [batch_object(app, app.store.batches[key]) for key in shown if key in app.store.batches]
    return json_reply(_list(aliens(app, request, data), more))


def aliens(app: App, request: Request, data: list[Doc]) -> list[Doc]:
    """The page with batches of somebody else in front, as a fault orders."""
    n = sum(int(fault.get("n", 1)) for fault in request.lists if fault["fault"] == "alien")
    blank = app.new_batch("", "openai", "gpt-6-luna") | {
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-alien",
        "status": "completed",
    }
    return [batch_object(app, {**blank, "id": f"batch_alien{i:027}"}) for i in range(n)] + data


def get_batch(app: App, request: Request) -> Reply:
    return json_reply(batch_object(app, _batch(app, request)))


def cancel_batch(app: App, request: Request) -> Reply:
    batch = _batch(app, request)
    if batch["status"] not in ("validating", "in_progress", "finalizing", "cancelling"):
        raise Refused(409, f"Cannot cancel a batch with status '{batch['status']}'.", None)
    app.cancel(batch)
    shown = batch_object(app, batch)
    return json_reply(shown if batch["status"] == "finalizing" else {**shown, "status": "cancelling"})


# ---- direct calls and models


def direct(app: App, request: Request) -> Reply:
    endpoint = DIRECT[request.verb]
    try:
        body = request.json()
    except ValueError as error:
        raise Refused(400, "We could not parse the JSON body of your request.") from error
    if not isinstance(body, dict):
        raise Refused(400, "We could not parse the JSON body of your request.")
    model = str(body.setdefault("model", "omni-moderation-latest") if request.verb == "moderations" else body.get("model", ""))
    wait = app.rate_limited(models.plain(model))
    if wait is not None:
        message = f"Rate limit reached for {models.plain(model)} on requests per min (RPM). Please try again later."
        headers = {"Retry-After": str(wait), "x-ratelimit-remaining-requests": "0"}
        return json_reply(openai_answers.error_body("requests", "rate_limit_exceeded", None, message), 429, headers)
    asked = app.asked(request, "openai", model, body)
    tier = body.get("service_tier")
    asked.tier = {"flex": "flex", "priority": "priority", "fast": "priority"}.get(str(tier), "default")
    if asked.fault == "resource" and tier != "flex":
        asked.fault = ""
    status, answer = openai_answers.answer(endpoint, body, asked)
    app.executed(request, asked.digest, status)
    reply = json_reply(answer, status)
    reply.body = damage(reply.body, asked.fault)
    return reply


def list_models(app: App, request: Request) -> Reply:
    return json_reply({"object": "list", "data": [_model(name) for name in models.OPENAI]})


def get_model(app: App, request: Request) -> Reply:
    if not models.known(request.args[0], "openai"):
        raise Refused(404, f"The model '{request.args[0]}' does not exist", "model", "model_not_found")
    return json_reply(_model(request.args[0]))


def _model(name: str) -> Doc:
    return {"id": models.plain(name), "object": "model", "created": 1_790_000_000, "owned_by": "sandbox", "shutdown_date": None}
