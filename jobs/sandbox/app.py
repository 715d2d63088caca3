"""The sandbox behind its socket: routes, keys, faults and the log of what was asked and paid."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from jobs.sandbox import anthropic_answers, anthropic_wire, control, openai_answers, openai_wire, orders, wreck
from jobs.sandbox.answers import PromptCache
from jobs.sandbox.clockwork import Clockwork, Options
from jobs.sandbox.faults import LISTS, Armed
from jobs.sandbox.http import Reply, Request, json_reply
from jobs.sandbox.models import plain
from jobs.sandbox.openai_answers import Asked
from jobs.sandbox.runner import Once, digest_of
from jobs.sandbox.store import Doc, Store

Handler = Callable[["App", Request], Reply]
_ID = r"([^/]+)"
OPENAI_ROUTES: list[tuple[str, str, str, Handler]] = [
    ("POST", "/v1/files", "files.create", openai_wire.create_file),
    ("GET", "/v1/files", "files.list", openai_wire.list_files),
    ("GET", f"/v1/files/{_ID}", "files.get", openai_wire.get_file),
    ("DELETE", f"/v1/files/{_ID}", "files.delete", openai_wire.delete_file),
    ("GET", f"/v1/files/{_ID}/content", "files.content", openai_wire.file_content),
    ("POST", "/v1/batches", "batches.create", openai_wire.create_batch),
    ("GET", "/v1/batches", "batches.list", openai_wire.list_batches),
    ("GET", f"/v1/batches/{_ID}", "batches.get", openai_wire.get_batch),
    ("POST", f"/v1/batches/{_ID}/cancel", "batches.cancel", openai_wire.cancel_batch),
    ("GET", "/v1/models", "models.list", openai_wire.list_models),
    ("GET", f"/v1/models/{_ID}", "models.get", openai_wire.get_model),
    *[("POST", path, verb, openai_wire.direct) for verb, path in openai_wire.DIRECT.items()],
]
_BATCHES = "/v1/messages/batches"
ANTHROPIC_ROUTES: list[tuple[str, str, str, Handler]] = [
    ("POST", "/v1/messages", "messages", anthropic_wire.messages),
    ("POST", "/v1/messages/count_tokens", "count_tokens", anthropic_wire.count_tokens),
    ("POST", _BATCHES, "batches.create", anthropic_wire.create_batch),
    ("GET", _BATCHES, "batches.list", anthropic_wire.list_batches),
    ("GET", f"{_BATCHES}/{_ID}", "batches.get", anthropic_wire.get_batch),
    ("DELETE", f"{_BATCHES}/{_ID}", "batches.delete", anthropic_wire.delete_batch),
    ("POST", f"{_BATCHES}/{_ID}/cancel", "batches.cancel", anthropic_wire.cancel_batch),
    ("GET", f"{_BATCHES}/{_ID}/results", "batches.results", anthropic_wire.results),
    ("GET", "/v1/models", "models.list", anthropic_wire.list_models),
    ("GET", f"/v1/models/{_ID}", "models.get", anthropic_wire.get_model),
]
LOGGED = frozenset(("files.create", "batches.create", "batches.cancel", "messages", *openai_wire.DIRECT))


class App:
    """One sandbox. `handle` answers a request; `control` is what `/_control` calls."""

    def __init__(self, folder: Path, options: Options) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.options = options
        self.store = Store(folder)
        self.clock = Clockwork(self.store, options)
        self.armed = Armed(self.store)
        self.cache = PromptCache()
        self.once = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.recent: dict[str, deque[float]] = {}
        self.timers: list[threading.Timer] = []

    # ---- requests

    def route(self, request: Request) -> Handler | None:
        """The handler; notes verb, manner and path arguments on the request."""
        is_anthropic = "anthropic-version" in request.headers or request.path.startswith("/v1/messages")
        request.manner = "anthropic" if is_anthropic else "openai"
        for method, pattern, verb, handler in ANTHROPIC_ROUTES if is_anthropic else OPENAI_ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and method == request.method:
                request.verb, request.args = verb, match.groups()
                return handler
        return None

    def handle(self, request: Request) -> Reply:
        """The answer to a provider call, faults included."""
        handler = self.route(request)
        refusal = self._refused(request, handler)
        if refusal is None and handler is not None:
            model = self._model(request)
            fell = self.armed.take(request.verb, request.manner, model)
            request.lists = [fault for fault in fell if fault["fault"] in LISTS]
            request.note["faults"] = [fault["fault"] for fault in fell]
            reply = wreck.before(self, request, fell, lambda: self.answer(handler, request))
            if reply is None:
                reply = wreck.after(self, request, fell, self.answer(handler, request))
        else:
            reply = refusal or self.error(request, 404, f"Unknown request URL: {request.method} {request.path}.", "not_found_error")
        return self.sign(request, reply)

    def answer(self, handler: Handler, request: Request) -> Reply:
        """What the handler says, refusals in the manner's shape; logged."""
        try:
            reply = handler(self, request)
        except openai_answers.Refused as refusal:
            reply = json_reply(refusal.body, refusal.status)
        except anthropic_answers.Refused as refusal:
            reply = json_reply(anthropic_answers.error_body(refusal.kind, refusal.message, request.id), refusal.status)
        except ValueError as error:
            reply = self.error(request, 400, f"We could not parse the body of your request: {error}")
        self.calls[f"{request.manner} {request.verb}"] += 1
        if request.verb in LOGGED:
            entry = {"at": self.clock.now(), "verb": request.verb, "manner": request.manner, "status": reply.status, "id": request.id}
            self.store.log("calls", entry | {"body": self._body_hash(request), "n_bytes": request.n_bytes, **request.note})
        return reply

    def sign(self, request: Request, reply: Reply) -> Reply:
        """Add the headers that each manner sends."""
        if request.manner == "anthropic":
            reply.headers.setdefault("request-id", request.id)
        else:
            reply.headers.setdefault("x-request-id", request.id)
            reply.headers.setdefault("openai-version", "2020-10-01")
        return reply

    def error(self, request: Request, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None) -> Reply:
        """An error in the shape of the request's manner."""
        if request.manner == "anthropic":
            return json_reply(anthropic_answers.error_body(kind, message, request.id), status)
        kind = kind if kind in ("server_error", "insufficient_quota") else "invalid_request_error"
        return json_reply(openai_answers.error_body(kind, code, None, message), status)

    def _refused(self, request: Request, handler: Handler | None) -> Reply | None:
        key = request.key
        bad = not key or "wrong" in key or fingerprint(key) in self.store.setting("revoked", [])
        if bad and request.manner == "anthropic":
            return self.error(request, 401, "API key is invalid." if key else "x-api-key header is required", "authentication_error")
        if bad:
            message = "Incorrect API key provided." if key else "You didn't provide an API key."
            return self.error(request, 401, message, code="invalid_api_key" if key else None)
        if request.manner == "anthropic" and not request.headers.get("anthropic-version"):
            return self.error(request, 400, "anthropic-version: header is required")
        return None

    def _model(self, request: Request) -> str:
        head = request.raw
        if request.verb == "batches.create" and request.manner == "openai":
            file_id = re.search(rb'"input_file_id"\s*:\s*"([\w-]+)"', head)
            return openai_wire.first_model(self, file_id.group(1).decode()) if file_id else ""
        if request.spool is not None:
            with request.spool.open("rb") as file:
                head = file.read(1 << 16)
        match = re.search(rb'"model"\s*:\s*"([^"]+)"', head)
        return match.group(1).decode("utf-8", "replace") if match else ""

    def _body_hash(self, request: Request) -> str:
        state = hashlib.blake2b(request.raw, digest_size=16)
        if request.spool is not None:
            with request.spool.open("rb") as file:
                while chunk := file.read(1 << 20):
                    state.update(chunk)
        return state.hexdigest()

    # ---- what the handlers share

    def new_batch(self, batch_id: str, manner: str, model: str) -> Doc:
        """A batch that has not begun. The armed orders of its model are taken when it has an id and a model."""
        wanted = [orders.text_of(model)] if model else []
        if batch_id and model:
            wanted += self.armed.orders(manner, model)
        text = ",".join(filter(None, wanted))
        try:
            slow = orders.parse(text).get("slow")
        except orders.BadOrder as error:
            if manner == "openai":
                raise openai_answers.Refused(400, f"sandbox: {error}", "model", "model_not_found") from error
            raise anthropic_answers.Refused(f"sandbox: {error}") from error
        return {
            "id": batch_id,
            "manner": manner,
            "model": model,
            "orders": text,
            "created": self.clock.now(),
            "seconds": orders.seconds(slow) if slow else float(self.store.setting("seconds", self.options.seconds)),
            **dict.fromkeys(("validation", "result", "n_run", "end", "errors", "metadata", "output_file_id", "error_file_id", "force")),
            "times": {},
            "total": 0,
            "tokens": 0,
            "cancel": False,
            "version": "",
            "input_file_id": None,
        }

    def cancel(self, batch: Doc) -> None:
        """Ask for a cancellation: what has run by now stays run."""
        with self.store.lock:
            if not batch["cancel"] and batch["status"] in ("validating", "in_progress"):
                batch["cancel_share"] = self.clock.done_share(batch, self.clock.now()) if batch["status"] == "in_progress" else 0.0
                batch["cancel"] = True
                batch["times"]["cancelling_at"] = self.clock.now()
                self.store.put("batch", batch)
        self.clock.wake.set()

    def listed(self, manner: str, faults: list[dict[str, Any]]) -> list[str]:
        """Ids of batches newest first, unless `oldest` turns them round; those that a `lag` fault hides left out."""
        lag = max((float(fault.get("seconds", 5)) for fault in faults if fault["fault"] == "lag"), default=0.0)
        hidden = any(fault["fault"] == "hide" for fault in faults)
        young = self.clock.now() - lag
        with self.store.lock:
            docs = [doc for doc in self.store.batches.values() if doc["manner"] == manner]
        if not any(fault["fault"] == "oldest" for fault in faults):
            docs.reverse()
        return [] if hidden else [doc["id"] for doc in docs if not lag or doc["created"] <= young]

    def asked(self, request: Request, manner: str, model: str, body: Doc) -> Asked:
        """What a direct call's answer depends on, the row order that falls on it included."""
        digest = digest_of(body)
        wanted = orders.parse(",".join(filter(None, [orders.text_of(model), *self.armed.orders(manner, plain(model))])))
        fault = None
        if wanted.rows:
            with self.once:
                counter = f"direct {model}"
                index = int(self.store.setting(counter, 0))
                self.store.set(counter, index + 1)
                fault = wanted.draw(index, digest)
                if fault and wanted.get("once") is not None:
                    seen = Once(self.store.folder / "faulted.sqlite3")
                    fault = fault if seen.first(digest, request.id) else None
                    seen.close()
        slow = wanted.get("slow")
        if slow:
            self.clock.stopping.wait(orders.seconds(slow))
        return Asked(digest, int(self.clock.now()), self.cache, fault or "")

    def executed(self, request: Request, digest: bytes, status: int) -> None:
        """Note that a direct call ran, and that it is paid if it was answered."""
        self.store.log(
            "direct",
            {"batch": None, "custom_id": None, "request": request.id, "body": digest[:16].hex(), "status": status, "paid": status == 200},
        )

    def rate_limited(self, model: str) -> int | None:
        """Seconds to wait when the model's requests per minute (`rpm` by control) are used up, else None."""
        most = self.store.setting("rpm", {}).get(model)
        if most is None:
            return None
        with self.once:
            now, recent = time.monotonic(), self.recent.setdefault(model, deque())
            while recent and recent[0] < now - 60:
                recent.popleft()
            if len(recent) >= most:
                return max(1, int(recent[0] + 60 - now)) if recent else 60
            recent.append(now)
            return None

    def control(self, action: str, payload: dict[str, Any] | None = None) -> Any:
        """What `/_control/<action>` does. Raises ValueError for what does not exist."""
        return control.act(self, action, payload or {})

    def later(self, seconds: float, work: Callable[[], Any]) -> None:
        """Do something after a while, unless the sandbox stops first."""
        timer = threading.Timer(seconds, work)
        timer.daemon = True
        self.timers.append(timer)
        timer.start()

    def close(self) -> None:
        for timer in self.timers:
            timer.cancel()
        self.clock.stop()
        self.store.close()


def fingerprint(key: str) -> str:
    """How a key is remembered: never the key itself."""
    return hashlib.blake2b(key.encode(), digest_size=12, person=b"sandbox-key").hexdigest()


def dumps(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)
