"""What a contract test must know of each adapter: its paths and the shapes of its answers, composed for these tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.providers.base import Endpoint, Provider
from jobs.providers.registry import limits_of, provider_for
from tests.contract.wire import Reply, Wire

KEY = "sk-canary-0123456789abcdef"


@dataclass(frozen=True)
class Dialect:
    kind: str
    batches: str
    models: str
    call: str
    prefix: str = ""

    def provider(self, wire: Wire, timeout: float = 5.0, key: str = KEY) -> Provider:
        return provider_for(Endpoint(self.kind, wire.url + self.prefix, key, limits_of(self.kind), allow_private=True, timeout=timeout))

    @property
    def is_anthropic(self) -> bool:
        return self.kind == "anthropic"

    def batch(self, batch_id: str = "batch_1", status: str = "", **more: Any) -> dict[str, Any]:
        """A batch as a create answers it; `status` is OpenAI's word."""
        if self.is_anthropic:
            ended = status in ("completed", "cancelled", "expired")
            counts = {"processing": 0 if ended else 2, "succeeded": 2 if ended else 0, "errored": 0, "canceled": 0, "expired": 0}
            return {
                "id": batch_id,
                "type": "message_batch",
                "processing_status": "ended" if ended else "in_progress",
                "request_counts": counts,
                "created_at": "2026-11-21T12:00:00Z",
                "expires_at": "2026-11-22T12:00:00Z",
                "ended_at": "2026-11-21T12:05:00Z" if ended else None,
                "results_url": "https://elsewhere.example/results" if ended else None,
            } | more
        raw = {
            "id": batch_id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": "file-in",
            "status": status or "validating",
            "output_file_id": "file-out" if status == "completed" else None,
            "error_file_id": "",
            "created_at": 1795262400,
            "expires_at": 1795348800,
            "completed_at": 1795262700 if status == "completed" else None,
            "request_counts": {"total": 2, "completed": 2 if status == "completed" else 0, "failed": 0},
            "metadata": {"batchui": "token-1"},
        } | more
        if self.kind == "openai-compatible":
            raw["status"] = raw["status"].upper()
        return raw

    def results_path(self) -> str:
        return f"{self.batches}/batch_1/results" if self.is_anthropic else "/v1/files/file-out/content"

    def results(self, wire: Wire, content: bytes, **reply: Any) -> None:
        """The result file as the server gives it; OpenAI's also says how long it is."""
        wire.on("GET", self.results_path(), Reply(content, **reply))
        if not self.is_anthropic:
            wire.on("GET", "/v1/files/file-out", Reply({"id": "file-out", "object": "file", "bytes": len(content)}))

    def result_line(self, custom_id: str = "r1-0", text: str = "yes") -> bytes:
        if self.is_anthropic:
            return (
                b'{"custom_id":"%b","result":{"type":"succeeded","message":{"id":"msg_1","model":"m","content":[{"type":"text","text":"%b"}],'
                b'"stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":1}}}}\n' % (custom_id.encode(), text.encode())
            )
        return (
            b'{"id":"x","custom_id":"%b","response":{"status_code":200,"request_id":"q","body":{"model":"m","choices":[{"message":{"content":"%b"},'
            b'"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":1}}},"error":null}\n'
            % (custom_id.encode(), text.encode())
        )

    def called(self, text: str = "yes") -> dict[str, Any]:
        """The body of an ordinary call's answer."""
        if self.is_anthropic:
            usage = {"input_tokens": 5, "output_tokens": 1}
            return {"id": "msg_1", "model": "m", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        return {"id": "chatcmpl-1", "model": "m", "choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}

    def error(self, message: str, kind: str = "invalid_request_error", code: str | None = None) -> dict[str, Any]:
        if self.is_anthropic:
            return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}


DIALECTS = [
    Dialect("openai", "/v1/batches", "/v1/models", "/v1/chat/completions", "/v1"),
    Dialect("anthropic", "/v1/messages/batches", "/v1/models", "/v1/messages"),
    Dialect("openai-compatible", "/v1/batches", "/v1/models", "/v1/chat/completions", "/v1"),
]
