"""Runs the rows of a batch from its input file into its result files, in bounded memory.

Pure but for files, so that a big batch runs in a child process: `main` reads a plan as JSON from stdin and prints what
came of it. Run again after a crash it writes the same.
"""

from __future__ import annotations

import gc
import hashlib
import random
import sqlite3
import sys
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from jobs.sandbox import anthropic_answers, openai_answers, orders
from jobs.sandbox.answers import LONE, PromptCache
from jobs.sandbox.openai_answers import Asked

_NOT_RUN = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}
_EXTRA = {"nan": b"NaN", "bigint": b"9" * 5000, "deep": b"[" * 100_000 + b"]" * 100_000}
UNPAID_LINES = ("lost", "expired", "cancelled", "status0")


def digest_of(body: Any) -> bytes:
    """The hash that decides a row's answer and its faults."""
    return hashlib.blake2b(orjson.dumps(body, option=orjson.OPT_SORT_KEYS), digest_size=32).digest()


class Once:
    """Remembers which bodies had their fault, so that the same body succeeds in a later batch."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, timeout=60)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("CREATE TABLE IF NOT EXISTS faulted(digest BLOB PRIMARY KEY, attempt TEXT) WITHOUT ROWID")

    def first(self, digest: bytes, attempt: str) -> bool:
        """Whether `attempt` is the first one in which the body's fault falls."""
        self.db.execute("INSERT OR IGNORE INTO faulted VALUES(?, ?)", (digest, attempt))
        return bool(self.db.execute("SELECT attempt FROM faulted WHERE digest = ?", (digest,)).fetchone()[0] == attempt)

    def close(self) -> None:
        self.db.commit()
        self.db.close()


def damage(line: bytes, fault: str | None) -> bytes:
    """The oddities that no JSON encoder writes."""
    if fault in _EXTRA:
        line = line.replace(b'"usage":{', b'"usage":{"odd":' + _EXTRA[fault] + b",", 1)
    return line.replace(LONE.encode(), b"\\ud83d") if fault == "surrogate" else line


@dataclass(slots=True)
class Tally:
    """What came of a run."""

    succeeded: int = 0
    failed: int = 0
    not_run: int = 0
    usage: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("input", "cached", "output", "reasoning"), 0))

    def spend(self, usage: dict[str, Any]) -> None:
        """Add an OpenAI usage object, of chat or of responses or of embeddings."""
        details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
        thought = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
        self.usage["input"] += usage.get("prompt_tokens", usage.get("input_tokens", 0))
        self.usage["cached"] += details.get("cached_tokens", 0)
        self.usage["output"] += usage.get("completion_tokens", usage.get("output_tokens", 0))
        self.usage["reasoning"] += thought.get("reasoning_tokens", 0)


class Run:
    """One execution of a batch's rows."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.manner: str = plan["manner"]
        self.orders = orders.parse(plan["orders"])
        self.folder = Path(plan["folder"])
        self.once = Once(Path(plan["faulted"])) if self.orders.get("once") is not None else None
        self.cache, self.tally = PromptCache(), Tally()
        self.newline = b"\r\n" if self.orders.get("crlf") is not None else b"\n"
        self.broke_from = self._broke_from()

    def _broke_from(self) -> int | None:
        value = self.orders.get("broke")
        return None if value is None else int(orders.share(value) * self.plan["total"])

    def fault(self, index: int, position: int, digest: bytes) -> str | None:
        """The row order that falls on a row: `index` in the input file, `position` in the order of execution."""
        if self.broke_from is not None and position >= self.broke_from:
            return "credit"
        name = self.orders.draw(index, digest)
        if name and self.once and not self.once.first(digest, self.plan["batch"]):
            return None
        return name

    def openai_row(self, item: dict[str, Any], digest: bytes, fault: str | None) -> tuple[int, bytes]:
        """(status, line): 200 goes to the output file; 0 did not run."""
        custom_id, request = item["custom_id"], "batch_req_" + digest[:16].hex()
        if fault in _NOT_RUN:
            code, message = _NOT_RUN[fault]
            return 0, orjson.dumps({"id": request, "custom_id": custom_id, "response": None, "error": {"code": code, "message": message}})
        if fault in ("status0", "unknowntype"):
            response = {"status_code": 0, "request_id": "", "body": None} if fault == "status0" else None
            line = {"id": request, "custom_id": custom_id, "response": response, "error": None}
            return 0 if fault == "status0" else 200, orjson.dumps(line)
        asked = Asked(digest, self.plan["now"], self.cache, fault or "")
        status, body = openai_answers.answer(self.plan["endpoint"], item["body"], asked)
        if status == 200:
            self.tally.spend(body.get("usage") or {})
        response = {"status_code": status, "request_id": digest[16:32].hex(), "body": body}
        return status, damage(orjson.dumps({"id": request, "custom_id": custom_id, "response": response, "error": None}), fault)

    def anthropic_row(self, item: dict[str, Any], digest: bytes, fault: str | None) -> tuple[int, bytes]:
        """(status, line): 0 did not run."""
        if fault in _NOT_RUN:
            return 0, orjson.dumps({"custom_id": item["custom_id"], "result": {"type": "canceled" if fault == "cancelled" else fault}})
        if fault == "unknowntype":
            return 200, orjson.dumps({"custom_id": item["custom_id"], "result": {"type": "brand_new", "detail": "not in any SDK"}})
        fault = "errors" if fault == "status0" else fault
        asked = Asked(digest, self.plan["now"], self.cache, fault or "", "batch")
        status, body = anthropic_answers.answer(item["params"], asked, self.plan["version"], in_batch=True)
        if status == 200:
            result = {"type": "succeeded", "message": body}
        else:
            body["error"]["details"] = {"error_visibility": "user_facing"}
            result = {"type": "errored", "error": body}
        return status, damage(orjson.dumps({"custom_id": item["custom_id"], "result": result}), fault)

    def put(self, out: BinaryIO, line: bytes, fault: str | None) -> None:
        """Write one line with the damage ordered for it."""
        if fault in ("missing", "lost"):
            return
        end = self.newline
        if fault == "broken":
            line = line[: len(line) // 2]
        elif fault == "duplicate":
            line = line + end + line
        elif fault == "conflict":
            line = (
                line
                + end
                + line.replace(b'"id":"', b'"id":"other-', 1)
                .replace(b'"content":"', b'"content":"No: ')
                .replace(b'"text":"', b'"text":"No: ')
            )
        elif fault == "stray":
            head, _, tail = line.partition(b'"custom_id":"')
            line = line + end + head + b'"custom_id":"stray-' + tail
        elif fault == "blank":
            end += self.newline
        elif fault == "glued":
            end = b""
        out.write(line + end)

    def run(self) -> dict[str, Any]:
        """Execute; what came of it: counts, usage, and which of the result files have lines."""
        offsets = _offsets(Path(self.plan["input"]))
        order = list(range(len(offsets) - 1))
        if self.orders.get("noshuffle") is None:
            random.Random(f"{self.plan['seed']}:{len(order)}").shuffle(order)
        n_run = len(order) if self.plan["n_run"] is None else self.plan["n_run"]
        names = ("output", "error", "executed")
        key = "body" if self.manner == "openai" else "params"
        row = self.openai_row if self.manner == "openai" else self.anthropic_row
        with (
            Path(self.plan["input"]).open("rb") as source,
            (self.folder / "output.part").open("wb") as output,
            (self.folder / "error.part").open("wb") as error,
            (self.folder / "executed.part").open("wb") as executed,
        ):
            if self.orders.get("bom") is not None:
                output.write(b"\xef\xbb\xbf")
            for position, index in enumerate(order):
                source.seek(offsets[index])
                item = orjson.loads(source.read(offsets[index + 1] - offsets[index]))
                digest = digest_of(item[key])
                fault = self.fault(index, position, digest) if position < n_run else self.plan["end"]
                status, line = row(item, digest, fault)
                ran = fault not in UNPAID_LINES
                self.tally.succeeded += status == 200
                self.tally.failed += ran and status != 200
                self.tally.not_run += not ran
                self.put(output if status == 200 or self.manner == "anthropic" else error, line, fault)
                if ran:
                    executed.write(f"{item['custom_id']}\t{digest[:16].hex()}\t{status}\n".encode())
        if self.once:
            self.once.close()
        self._finish(names)
        return {"succeeded": self.tally.succeeded, "failed": self.tally.failed, "not_run": self.tally.not_run, "usage": self.tally.usage}

    def _finish(self, names: tuple[str, ...]) -> None:
        for name in names:
            part = self.folder / f"{name}.part"
            if self.orders.get("notail") is not None and name == "output" and part.stat().st_size:
                with part.open("r+b") as file:
                    file.truncate(part.stat().st_size - len(self.newline))
            part.replace(self.folder / name)


def _offsets(path: Path) -> array[int]:
    """Where each line of a file begins, and where the file ends."""
    offsets = array("Q", [0])
    with path.open("rb") as lines:
        for line in lines:
            offsets.append(offsets[-1] + len(line))
    return offsets


def run(plan: dict[str, Any]) -> dict[str, Any]:
    """Execute a plan: manner, batch, endpoint, version, input, folder, orders, total, n_run, end, seed, now, faulted."""
    return Run(plan).run()


def main() -> None:
    """Run the plan that comes on stdin."""
    gc.disable()  # nothing here is cyclic, and it is a quarter of the time
    sys.stdout.buffer.write(orjson.dumps(run(orjson.loads(sys.stdin.buffer.read()))))
