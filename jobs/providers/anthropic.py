"""Anthropic Message Batches: one create carries all requests, one stream of results comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson

from jobs.errors import ProviderError
from jobs.providers import anthropic_lines, errors, lines, remote
from jobs.providers.base import Answer, Created, Encoder, ModelInfo, Models, Page, Paths, RemoteBatch, RequestSpec
from jobs.providers.session import CALL_SECONDS, UPLOAD_SECONDS, Session, part_of
from jobs.words import PromptKind

_BATCHES = "/v1/messages/batches"
_OPENING, _CLOSING = b'{"requests":[', b"]}"


class AnthropicProvider(Session):
    own_url = "https://api.anthropic.com"

    def sdk(self, base_url: str, http_client: httpx2.Client) -> Any:
        import anthropic  # 0.9 s and 39 MB: at the first call, not at import

        return anthropic.Anthropic(
            api_key=self.endpoint.api_key or "none",
            base_url=base_url,
            http_client=http_client,
            max_retries=0,
            webhook_key="",
            open_telemetry=False,
        )

    def encoder(self, spec: RequestSpec) -> Encoder:
        """A function (custom_id, system, user) → one request line."""
        return anthropic_lines.make_encoder(spec)

    def body(self, line: bytes) -> dict[str, Any]:
        """The body of an ordinary call out of a request line."""
        return anthropic_lines.body_of(line)

    def decode(self, line: bytes, spec: RequestSpec) -> Answer:
        """One line of the results; never raises."""
        return anthropic_lines.decode(line, spec)

    def upload(self, path: Path, name: str) -> str:
        """Nothing: the create carries the requests itself."""
        return ""

    def find_upload(self, name: str, n_bytes: int) -> str | None:
        return None

    def create(self, path: Path, *, file_id: str, token: str, kind: PromptKind) -> Created:
        """One POST with all requests, streamed from the file in constant memory with its length known beforehand."""
        size = path.stat().st_size
        headers = {"Content-Type": "application/json", "Content-Length": str(_body_size(path, size))}
        response = self.send("post", _BATCHES, content=_body(path), headers=headers, seconds=UPLOAD_SECONDS, timeout=UPLOAD_SECONDS)
        return Created(self._batch(self.parsed(response)), response.headers.get("request-id", ""))

    def _batch(self, raw: Any) -> RemoteBatch:
        return remote.anthropic_batch(raw, self.abilities.result_days)

    def list(self, cursor: str | None = None) -> Page:
        """One page of batches, newest first. All batches of the key's workspace are in it."""
        params: dict[str, Any] = {"limit": 100} | ({"after_id": cursor} if cursor else {})
        answer = self.parsed(self.send("get", _BATCHES, params=params))
        entries = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(entries, list):
            raise self.odd("The provider's list cannot be read.")
        batches = tuple(self._batch(entry) for entry in entries)
        if not answer.get("has_more"):
            return Page(batches, None)
        following = lines.text_of(answer.get("last_id")) or (batches[-1].id if batches else "")
        if not batches or following == cursor:  # absence is concluded from lists: one that stands still must not pass
            raise self.odd("The provider's list says that there is more, and does not move on.")
        return Page(batches, following)

    def get(self, batch_id: str) -> RemoteBatch:
        """One batch; ProviderError where the answer is about another one."""
        batch = self._batch(self.parsed(self.send("get", f"{_BATCHES}/{part_of(batch_id)}")))
        if batch.id != batch_id:
            raise self.odd(f"Asked for batch {batch_id}, the provider answered with {batch.id}.")
        return batch

    def _results_path(self, batch: RemoteBatch) -> str:
        """Always on the connection's own host: `results_url` may name another one, which would be sent the key."""
        return f"{_BATCHES}/{part_of(batch.id)}/results"

    def download(self, batch: RemoteBatch, folder: Path) -> Paths:
        """`results.jsonl`."""
        return [self.fetch(self._results_path(batch), folder / "results.jsonl")]

    def first_custom_id(self, batch: RemoteBatch) -> str | None:
        """The custom_id of the first result."""
        line = self.first_line(self._results_path(batch))
        return anthropic_lines.decode(line, RequestSpec(PromptKind.GENERATE, "")).custom_id or None if line else None

    def cancel(self, batch_id: str) -> RemoteBatch:
        """Ask for an end; the batch as it is then."""
        return self._batch(self.parsed(self.send("post", f"{_BATCHES}/{part_of(batch_id)}/cancel")))

    def delete(self, batch: RemoteBatch) -> None:
        """Delete the batch with its results. A 404 is done."""
        try:
            self.send("delete", f"{_BATCHES}/{part_of(batch.id)}")
        except ProviderError as exc:
            if exc.status != 404:
                raise

    def call(self, line: bytes, spec: RequestSpec) -> tuple[Answer, bytes]:
        """One ordinary call with the params of a request line."""
        request = orjson.loads(line)
        own = orjson.dumps(str(request["custom_id"]))
        try:
            response = self.send("post", "/v1/messages", body=request["params"], seconds=CALL_SECONDS, timeout=CALL_SECONDS)
            self.parsed(response)
            result = b'{"type":"succeeded","message":%b}' % lines.one_line(response.content)
        except ProviderError as exc:
            if not errors.is_about_row(exc):
                raise
            result = b'{"type":"errored","error":%b}' % errors.body_of(exc)
        raw = b'{"custom_id":%b,"result":%b}' % (own, result)
        return anthropic_lines.decode(raw, spec), raw

    def models(self) -> Models:
        """The models that the key may use."""
        answer = self.parsed(self.send("get", "/v1/models", params={"limit": 1000}))
        data = answer.get("data") if isinstance(answer, dict) else answer
        entries = [entry for entry in data or [] if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
        entries = [entry for entry in entries if len(entry["id"]) <= remote.MAX_ID]
        return [ModelInfo(lines.clean(entry["id"]), lines.maybe_count(entry.get("max_input_tokens"))) for entry in entries]

    def test(self) -> str:
        """One cheap call; a sentence that says it works."""
        found = self.models()
        return f"It works: {len(found):,} model{'' if len(found) == 1 else 's'} can be used."


def _ends_with_newline(path: Path, size: int) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, size - 1))
        return file.read(1) == b"\n"


def _body_size(path: Path, size: int) -> int:
    return len(_OPENING) + size - (1 if _ends_with_newline(path, size) else 0) + len(_CLOSING)


def _body(path: Path) -> Iterator[bytes]:
    """The request lines as one JSON array. A newline in the file stands only between lines: it becomes the comma."""
    size = path.stat().st_size
    left = size - (1 if _ends_with_newline(path, size) else 0)
    yield _OPENING
    with path.open("rb") as file:
        while left:
            chunk = file.read(min(left, 1 << 18))
            if not chunk:
                raise OSError(f"{path} became shorter while it was sent")
            left -= len(chunk)
            yield chunk.replace(b"\n", b",")
    yield _CLOSING
