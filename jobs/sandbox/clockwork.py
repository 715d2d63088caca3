"""The life of batches over time: which status comes when, and the rows run at the end of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from jobs.sandbox import orders, runner, validate
from jobs.sandbox.models import plain
from jobs.sandbox.store import Doc, Store, new_id

DAY = 86_400
LIVE = ("validating", "in_progress", "finalizing", "cancelling", "canceling")
INLINE_BYTES = 300_000  # a smaller input runs in a thread; a bigger one in a process of its own


@dataclass(frozen=True, slots=True)
class Options:
    """How the sandbox behaves where no order says otherwise."""

    seconds: float = 3.0  # a batch's whole time
    seed: int = 7
    enqueued_tokens: dict[str, int] = field(default_factory=dict)  # per plain model
    max_requests: int = 50_000
    max_bytes: int = 200_000_000
    anthropic_max_requests: int = 100_000
    anthropic_max_bytes: int = 256_000_000


class Clockwork:
    """Moves every live batch on. `tick` is safe to call from any thread; a background thread calls it."""

    def __init__(self, store: Store, options: Options) -> None:
        self.store, self.options = store, options
        self.busy: set[str] = set()
        self.pool = ThreadPoolExecutor(2, thread_name_prefix="sandbox-run")
        self.wake, self.stopping = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._loop, name="sandbox-clock", daemon=True)

    def now(self) -> float:
        """The provider's clock, unix seconds."""
        return time.time() + float(self.store.setting("offset", 0.0))

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self.wake.set()
        if self.thread.is_alive():
            self.thread.join(5)
        self.pool.shutdown(wait=True, cancel_futures=True)

    def _loop(self) -> None:
        while not self.stopping.is_set():
            self.tick()
            with self.store.lock:
                live = any(batch["status"] in LIVE for batch in self.store.batches.values())
            seconds = float(self.store.setting("seconds", self.options.seconds))
            self.wake.wait(min(max(seconds / 30, 0.01), 0.2) if live else 1.0)
            self.wake.clear()

    def tick(self) -> bool:
        """Move on what is due; whether anything moved."""
        moved = False
        with self.store.lock:
            now = self.now()
            for batch in list(self.store.batches.values()):
                if batch["status"] in LIVE and batch["id"] not in self.busy and self._step(batch, now):
                    self.store.put("batch", batch)
                    moved = True
        return moved

    def settle(self, timeout: float = 60.0) -> None:
        """Tick until nothing is due and nothing runs. Raises TimeoutError."""
        limit = time.monotonic() + timeout
        while True:
            with self.store.lock:  # as one look: a run that ends between two looks would pass for nothing to do
                if not self.tick() and not self.busy:
                    return
            if time.monotonic() > limit:
                raise TimeoutError("the sandbox did not settle")
            self.wake.wait(0.01)
            self.wake.clear()

    # ---- one batch

    def _step(self, batch: Doc, now: float) -> bool:
        wanted = orders.parse(batch["orders"])
        stuck = wanted.get("stuck")
        forced = batch.get("force") is not None
        if batch["status"] == "validating":
            if batch["validation"] is None:
                self._spawn(batch, self._validate)
                return True  # it may be done already
            due = forced or (now >= batch["created"] + 0.1 * batch["seconds"] and stuck != "validating")
            return self._validated(batch, wanted, now) if batch["cancel"] or due else False
        if batch["status"] == "in_progress":
            return self._progress(batch, wanted, now)
        if batch["result"] is None:
            self._spawn(batch, self._run)
            return True
        due = batch["end"] == "cancelled" or forced or (now >= batch["created"] + batch["seconds"] and stuck != "finalizing")
        if due or now >= batch["created"] + DAY:
            return self._finish(batch, wanted, now)
        return False

    def _validated(self, batch: Doc, wanted: orders.Orders, now: float) -> bool:
        verdict = batch["validation"]
        if batch["cancel"]:
            batch["status"], batch["times"]["cancelled_at"] = "cancelled", now
            return True
        errors = verdict.get("errors") or self._refused(batch, wanted)
        if errors:
            batch["status"], batch["times"]["failed_at"], batch["errors"] = "failed", now, errors
            return True
        batch["status"], batch["times"]["in_progress_at"] = "in_progress", now
        batch["total"], batch["tokens"] = verdict["total"], verdict["tokens"]
        return True

    def _refused(self, batch: Doc, wanted: orders.Orders) -> list[Doc] | None:
        """Batch-level errors of a batch whose lines are good."""
        model = plain(batch["model"])
        code = wanted.get("fail")
        limits = self.store.setting("enqueued_tokens", self.options.enqueued_tokens)
        limit: int | None = limits.get(model)
        if code is None and limit is not None:
            enqueued = sum(b["tokens"] for b in self.store.batches.values() if b["status"] in LIVE[1:] and plain(b["model"]) == model)
            code = "token_limit_exceeded" if enqueued + batch["validation"]["tokens"] > limit else None
        if code is None:
            return None
        message = f"The batch failed: {code or 'server_error'}."
        if code == "token_limit_exceeded":
            message = (
                f"Enqueued token limit reached for {model} in organization org-sandbox. Limit: {limit or 0:,} enqueued tokens. "
                "Please try again once some in_progress batches have been completed."
            )
        return [{"code": code or "server_error", "message": message, "param": None, "line": None}]

    def ends_at(self, batch: Doc) -> float:
        """When the rows are done, if nothing holds them up."""
        return float(batch["created"]) + 0.9 * float(batch["seconds"])

    def done_share(self, batch: Doc, now: float) -> float:
        """How much of a batch in progress has run by now."""
        began = float(batch["created"]) + 0.1 * float(batch["seconds"])
        return min(max((now - began) / max(self.ends_at(batch) - began, 0.001), 0.0), 1.0)

    def _progress(self, batch: Doc, wanted: orders.Orders, now: float) -> bool:
        force = batch.get("force")
        held = wanted.get("never") is not None or wanted.get("stuck") == "in_progress"
        end, share = "completed", 1.0
        if batch["cancel"]:
            end, share = "cancelled", batch["cancel_share"]
        elif force:
            end, share = force["status"], force["share"]
        elif now >= batch["created"] + DAY and (held or batch["seconds"] > DAY):
            end, share = "expired", 0.5
        elif held or now < self.ends_at(batch):
            return False
        elif wanted.get("expire") is not None:
            end, share = "expired", orders.share(wanted.get("expire") or "")
        elif wanted.get("cancel") is not None:
            end, share = "cancelled", orders.share(wanted.get("cancel") or "")
        batch["end"] = end
        batch["n_run"] = None if end == "completed" else int(share * batch["total"])
        batch["times"]["finalizing_at"] = now
        batch["status"] = "cancelling" if end == "cancelled" else "finalizing"
        if batch["result"] is None:
            self._spawn(batch, self._run)
        return True

    # ---- work outside the lock

    def _spawn(self, batch: Doc, work: Any) -> None:
        self.busy.add(batch["id"])
        future: Future[tuple[str, Any]] = self.pool.submit(work, dict(batch))
        future.add_done_callback(lambda done: self._worked(batch["id"], done))

    def _worked(self, batch_id: str, done: Future[tuple[str, Any]]) -> None:
        with self.store.lock:
            batch = self.store.batches.get(batch_id)
            if batch is not None and not done.cancelled() and not self.stopping.is_set():
                if done.exception() is None:
                    name, value = done.result()
                else:
                    name, value = "validation", _broken(done.exception())
                    batch["status"], batch["errors"] = "failed", value["errors"]
                batch[name] = value
                self.store.put("batch", batch)
            self.busy.discard(batch_id)
        self.wake.set()

    def _validate(self, batch: Doc) -> tuple[str, Any]:
        return "validation", validate.openai_file(
            self.store.file_path(batch["input_file_id"]), batch["endpoint"], self.options.max_requests
        )

    def _run(self, batch: Doc) -> tuple[str, Any]:
        folder = self.store.batch_folder(batch["id"])
        folder.mkdir(exist_ok=True)
        path = folder / "requests" if batch["manner"] == "anthropic" else self.store.file_path(batch["input_file_id"])
        plan = {
            **{name: batch[name] for name in ("manner", "endpoint", "version", "orders", "total", "n_run", "end")},
            "batch": batch["id"],
            "input": str(path),
            "folder": str(folder),
            "seed": self.options.seed,
            "now": int(self.now()),
            "faulted": str(self.store.folder / "faulted.sqlite3"),
        }
        if path.stat().st_size < INLINE_BYTES:
            return "result", runner.run(plan)
        root = str(Path(__file__).resolve().parents[2])
        done = subprocess.run(
            [sys.executable, "-c", "from jobs.sandbox.runner import main; main()"],
            input=orjson.dumps(plan),
            stdout=subprocess.PIPE,
            check=True,
            env={**os.environ, "PYTHONPATH": root},
        )
        return "result", orjson.loads(done.stdout)

    # ---- the end

    def _finish(self, batch: Doc, wanted: orders.Orders, now: float) -> bool:
        folder = self.store.batch_folder(batch["id"])
        if not (folder / "output").exists():
            batch["result"] = None  # killed between moving a file and noting it: run again, to the same end
            return False
        if batch["manner"] == "anthropic":
            batch["status"], batch["times"]["ended_at"] = "ended", now
            return True
        for name in ("output", "error"):
            part = folder / name
            if part.stat().st_size or (name == "error" and wanted.get("emptyerror") is not None):
                batch[f"{name}_file_id"] = self._keep(batch, name, part, now)
        batch["status"] = batch["end"]
        batch["times"][f"{batch['end']}_at"] = now
        return True

    def _keep(self, batch: Doc, name: str, part: Path, now: float) -> str:
        doc: Doc = {
            "id": new_id("file-", 22),
            "bytes": part.stat().st_size,
            "created": int(now),
            "expires": int(now) + (batch.get("expires_after") or 30 * DAY),
            "filename": f"{batch['id']}_{name}.jsonl",
            "purpose": "batch_output",
        }
        os.link(part, self.store.file_path(doc["id"]))
        self.store.put("file", doc)
        return str(doc["id"])


def _broken(error: BaseException | None) -> dict[str, Any]:
    """The sandbox itself failed at a batch: say so where a person looks, rather than hang."""
    return {"errors": [{"code": "server_error", "message": f"sandbox: {type(error).__name__}: {error}", "param": None, "line": None}]}
