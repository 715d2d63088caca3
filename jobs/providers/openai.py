"""OpenAI Batch: a file is uploaded, a batch made of it, and two files of results come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson

from jobs.errors import ProviderError
from jobs.providers import errors, http, lines, openai_lines, openai_requests, remote
from jobs.providers.base import Answer, Created, Encoder, ModelInfo, Models, Page, Paths, RemoteBatch, RequestSpec
from jobs.providers.registry import encoder_for
from jobs.providers.session import CALL_SECONDS, FLEX_SECONDS, UPLOAD_SECONDS, Session, part_of
from jobs.words import PromptKind

_MAX_FILE_PAGES = 100


class OpenAIProvider(Session):
    own_url = "https://api.openai.com/v1"
    ends = remote.OPENAI_ENDS
    result_days: int | None = 30

    def sdk(self, base_url: str, http_client: httpx2.Client) -> Any:
        import openai  # 0.4 s and 40 MB: at the first call, not at import

        client = openai.OpenAI(
            api_key=self.endpoint.api_key or "none",
            base_url=base_url,
            http_client=http_client,
            max_retries=0,
            organization="",
            project="",
            webhook_secret="",
        )
        client.organization = client.project = client.admin_api_key = None  # None at construction would mean: ask the environment
        return client

    def encoder(self, spec: RequestSpec) -> Encoder:
        """A function (custom_id, system, user) → one request line."""
        return encoder_for(self.endpoint.kind, spec)

    def body(self, line: bytes) -> dict[str, Any]:
        """The body of an ordinary call out of a request line."""
        return openai_requests.body_of(line)

    def decode(self, line: bytes, spec: RequestSpec) -> Answer:
        """One line of a result file; never raises."""
        return openai_lines.decode(line, spec)

    def upload(self, path: Path, name: str) -> str:
        """Stream the request file there; its id. A lost answer leaves a file that costs nothing (see `find_upload`)."""
        name = name if name.endswith(".jsonl") else f"{name}.jsonl"
        files = self.client.files  # not of with_options(): the copy would ask the environment again
        timeout = httpx2.Timeout(UPLOAD_SECONDS, connect=10.0)
        with path.open("rb") as file, self.failing(), http.within(UPLOAD_SECONDS):
            raw = files.with_raw_response.create(file=(name, file, "application/jsonl"), purpose="batch", timeout=timeout)
            answer = self.parsed(self.checked(raw.http_response))
        file_id = lines.text_of(answer.get("id")) if isinstance(answer, dict) else ""
        if not file_id or len(file_id) > remote.MAX_ID:
            raise self.odd("The provider took the file but gave it no id that can be used.")
        return file_id

    def find_upload(self, name: str, n_bytes: int) -> str | None:
        """The newest upload of that name and size; None after all pages were looked at."""
        name = name if name.endswith(".jsonl") else f"{name}.jsonl"
        params: dict[str, Any] = {"purpose": "batch", "limit": 1000, "order": "desc"}
        for _ in range(_MAX_FILE_PAGES):
            entries, params["after"] = self._entries(self.parsed(self.send("get", "/files", params=params)), 1000, params.get("after"))
            for entry in entries:
                if entry.get("filename") == name and lines.maybe_count(entry.get("bytes")) in (n_bytes, None):
                    return str(entry["id"])
            if params["after"] is None:
                return None
        return None

    def _entries(self, answer: Any, limit: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """The entries of a list and the next cursor. Raises where the list cannot be trusted: absence is concluded from it."""
        entries = answer if isinstance(answer, list) else answer.get("data")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) and entry.get("id") for entry in entries):
            raise self.odd("The provider's list cannot be read.")
        more = answer.get("has_more") if isinstance(answer, dict) else False
        if more is None:
            more = len(entries) >= limit
        if not more:
            return entries, None
        if not entries:
            raise self.odd("The provider's list says that there is more, and gives nothing.")
        following = str(answer.get("last_id") or entries[-1]["id"]) if isinstance(answer, dict) else ""
        if following == cursor:
            raise self.odd("The provider's list does not move on.")
        return entries, following

    def create(self, path: Path, *, file_id: str, token: str, kind: PromptKind) -> Created:
        """One POST /batches. Our token goes along as metadata."""
        body: dict[str, Any] = {
            "input_file_id": file_id,
            "endpoint": openai_requests.ENDPOINTS[PromptKind(kind)],
            "completion_window": "24h",
        }
        if self.abilities.metadata and token:
            body["metadata"] = {remote.METADATA_KEY: token}
        response = self.send("post", "/batches", body=body)
        batch = self._batch(self.parsed(response))
        return Created(batch, response.headers.get("x-request-id", ""))

    def _batch(self, raw: Any) -> RemoteBatch:
        return remote.openai_batch(raw, self.ends, self.result_days)

    def list(self, cursor: str | None = None) -> Page:
        """One page of batches, newest first."""
        params: dict[str, Any] = {"limit": 100} | ({"after": cursor} if cursor else {})
        entries, following = self._entries(self.parsed(self.send("get", "/batches", params=params)), 100, cursor)
        return Page(tuple(self._batch(entry) for entry in entries), following)

    def get(self, batch_id: str) -> RemoteBatch:
        """One batch; ProviderError where the answer is about another one."""
        batch = self._batch(self.parsed(self.send("get", f"/batches/{part_of(batch_id)}")))
        if batch.id != batch_id:
            raise self.odd(f"Asked for batch {batch_id}, the provider answered with {batch.id}.")
        return batch

    def download(self, batch: RemoteBatch, folder: Path) -> Paths:
        """`output.jsonl` and `error.jsonl`, as far as the batch has them."""
        found = []
        for name in ("output", "error"):
            file_id = batch.files.get(name)
            target = folder / f"{name}.jsonl"
            if file_id:
                declared = None if target.exists() else self._declared(file_id)
                found.append(self.fetch(f"/files/{part_of(file_id)}/content", target, declared))
        return found

    def _declared(self, file_id: str) -> int | None:
        """The length of a file as the provider says; None where it does not say."""
        try:
            entry = self.parsed(self.send("get", f"/files/{part_of(file_id)}"))
        except ProviderError as exc:
            if exc.status in (404, 405, 501):  # some compatible servers have the content only
                return None
            raise
        return lines.maybe_count(entry.get("bytes")) if isinstance(entry, dict) else None

    def first_custom_id(self, batch: RemoteBatch) -> str | None:
        """The custom_id of the first line of the output file, else of the error file."""
        for file_id in batch.files.values():
            line = self.first_line(f"/files/{part_of(file_id)}/content")
            if line:
                return openai_lines.decode(line, RequestSpec(PromptKind.GENERATE, "")).custom_id or None
        return None

    def cancel(self, batch_id: str) -> RemoteBatch:
        """Ask for an end; the batch as it is then."""
        return self._batch(self.parsed(self.send("post", self.cancel_path(batch_id))))

    def cancel_path(self, batch_id: str) -> str:
        return f"/batches/{part_of(batch_id)}/cancel"

    def delete(self, batch: RemoteBatch) -> None:
        """Delete the input and result files; batches themselves cannot be deleted."""
        for file_id in filter(None, (batch.input_file_id, *batch.files.values())):
            try:
                self.send("delete", f"/files/{part_of(file_id)}")
            except ProviderError as exc:
                if exc.status != 404:
                    raise

    def call(self, line: bytes, spec: RequestSpec) -> tuple[Answer, bytes]:
        """One ordinary call with the body of a request line."""
        request = orjson.loads(line)
        custom_id, url = str(request["custom_id"]), str(request["url"])
        seconds = FLEX_SECONDS if spec.service_tier == "flex" else CALL_SECONDS
        try:
            response = self.send("post", url.removeprefix("/v1"), body=request["body"], seconds=seconds, timeout=seconds)
            self.parsed(response)
            status, raw, request_id = response.status_code, response.content, response.headers.get("x-request-id", "")
        except ProviderError as exc:
            if not errors.is_about_row(exc):
                raise
            status, raw, request_id = exc.status or 400, errors.body_of(exc), ""
        wrapped = wrap(custom_id, status, request_id, raw)
        return openai_lines.decode(wrapped, spec), wrapped

    def models(self) -> Models:
        """The models that the key may use."""
        answer = self.parsed(self.send("get", "/models"))
        return list(_models(answer if isinstance(answer, list) else answer.get("data")))

    def test(self) -> str:
        """One cheap call; a sentence that says it works."""
        found = self.models()
        return f"It works: {len(found):,} model{'' if len(found) == 1 else 's'} can be used."


def wrap(custom_id: str, status: int, request_id: str, body: bytes) -> bytes:
    """A result line around the body of an ordinary answer."""
    parts = (orjson.dumps(custom_id), status, orjson.dumps(request_id), lines.one_line(body))
    return b'{"custom_id":%b,"response":{"status_code":%d,"request_id":%b,"body":%b},"error":null}' % parts


def _models(data: Any) -> Iterator[ModelInfo]:
    for entry in data if isinstance(data, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("id"), str) and len(entry["id"]) <= remote.MAX_ID:
            window = next((entry[name] for name in ("context_window", "context_length", "max_model_len") if entry.get(name)), None)
            yield ModelInfo(lines.clean(entry["id"]), lines.maybe_count(window))
