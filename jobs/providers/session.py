"""What both SDKs are used for: one HTTP request at a time, its raw answer, and a file streamed to disk. Nothing is ever retried here."""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx2

from jobs.errors import BadInput, ProviderError
from jobs.providers import errors, http, lines
from jobs.providers.base import Endpoint
from jobs.providers.registry import abilities_of
from jobs.providers.room import Room, room_of
from jobs.words import Cause

UPLOAD_SECONDS = 300.0  # 200 to 256 MB bodies
CALL_SECONDS = 600.0  # one ordinary call; flex waits longer
FLEX_SECONDS = 900.0
DOWNLOAD_SECONDS = 900.0
MAX_TRIES = 20  # of one download that breaks again and again, each time further on
MAX_RESULT_BYTES = 4_000_000_000  # where the provider does not say how long a file is
_KEY = re.compile(r"[\x21-\x7e]+")


def quiet_logs() -> None:
    """The SDKs and the HTTP client log headers and URLs below WARNING; OPENAI_LOG and its kin must not switch that on."""
    for name in ("openai", "anthropic", "httpx2", "httpcore2"):
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() < logging.WARNING:
            logger.setLevel(logging.WARNING)


@dataclass(slots=True)
class Got:
    """What a download has brought so far, and by what the server knows that it is still the same file."""

    file: BinaryIO
    size: int = 0
    has_length: bool = False
    tag: str = ""  # a strong ETag; without one, nothing says that what comes later belongs to what came before

    def asks(self) -> dict[str, str]:
        """Headers of a request for the rest."""
        return {"Range": f"bytes={self.size}-", "If-Range": self.tag} if self.size and self.tag else {}

    def begin(self, headers: Mapping[str, str]) -> None:
        """The server answers from the start."""
        self.file.seek(0)
        self.file.truncate()
        tag = headers.get("etag", "")
        self.size, self.tag = 0, tag if tag.startswith('"') else ""
        self.has_length = "content-length" in headers or "transfer-encoding" in headers

    def add(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self.size += len(chunk)

    def tail(self) -> bytes:
        """The last megabyte."""
        self.file.seek(max(0, self.size - 1_000_000))
        return self.file.read()


class Session:
    """The ground of an adapter: an SDK client made at first use, without any influence of the environment."""

    own_url = ""  # where the provider lives when the endpoint does not say
    ahead = 0.0  # seconds that our clock is ahead of the provider's, by the Date of its last answer
    room: Room | None = None

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.limits = endpoint.limits
        self.abilities = abilities_of(endpoint.kind)

    def sdk(self, base_url: str, http_client: httpx2.Client) -> Any:
        """A client of the provider's SDK."""
        raise NotImplementedError

    @cached_property
    def base_url(self) -> str:
        """Where to call; checked again, since a row of the ledger may have been changed past the form."""
        try:
            if not (self.endpoint.base_url or self.own_url):
                raise BadInput("This kind of connection needs a base URL.")
            return http.check_base_url(self.endpoint.base_url or self.own_url, self.endpoint.allow_private, look_up=False)
        except BadInput as exc:
            raise ProviderError(str(exc), cause=Cause.INVALID_REQUEST, definite=True) from None

    @cached_property
    def client(self) -> Any:
        if self.endpoint.api_key and _KEY.fullmatch(self.endpoint.api_key) is None:
            # Sent as it is it would be printed by the error about the header.
            raise ProviderError("The API key has characters that no key has.", cause=Cause.AUTH, definite=True)
        client = self.sdk(self.base_url, http.make_client(self.endpoint.allow_private, self.endpoint.timeout))
        client._custom_headers = {}  # *_CUSTOM_HEADERS of the environment; tests/providers/test_environment.py watches the name
        quiet_logs()
        return client

    def close(self) -> None:
        """End the HTTP client."""
        client = self.__dict__.pop("client", None)
        if client is not None:
            client.close()

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Whatever is raised inside leaves as a ProviderError without the key in it."""
        try:
            yield
        except (ProviderError, BadInput):
            raise
        except Exception as exc:  # noqa: BLE001 - whatever an SDK raises becomes the one error of the seam
            raise errors.from_exception(exc, self.endpoint.api_key) from None

    def send(self, method: str, path: str, *, seconds: float | None = None, timeout: float | None = None, **more: Any) -> httpx2.Response:
        """Exactly one HTTP request. `more`: body (JSON), content, params, headers. ProviderError for all that is not 2xx."""
        total = seconds or self.endpoint.timeout
        options: dict[str, Any] = {"max_retries": 0, "timeout": httpx2.Timeout(timeout or self.endpoint.timeout, connect=10.0)}
        options |= {name: more.pop(name) for name in ("params", "headers") if more.get(name)}
        with self.failing():
            verb = getattr(self.client, method)  # the SDK is imported before the clock runs
        with self.failing(), http.within(total):
            response: httpx2.Response = verb(path, cast_to=httpx2.Response, options=options, **more)
            return self.checked(response)

    def checked(self, response: httpx2.Response) -> httpx2.Response:
        self.room = room_of(response.headers) or self.room
        with suppress(TypeError, ValueError, IndexError):
            self.ahead = time.time() - parsedate_to_datetime(response.headers.get("date", "")).timestamp()
        if not 200 <= response.status_code < 300:  # the SDKs raise for 4xx and 5xx; what is left are redirects
            raise errors.from_response(response.status_code, response.headers, response.content, self.endpoint.api_key)
        return response

    def parsed(self, response: httpx2.Response) -> Any:
        """The JSON object or list of an answer; ProviderError (never definite) where it is none, or an error in a 200."""
        try:
            value = lines.loads(response.content)
        except ValueError:
            value = None
        if not isinstance(value, dict | list) or (isinstance(value, dict) and value.get("error") and not value.get("id")):
            raise errors.from_response(response.status_code, response.headers, response.content, self.endpoint.api_key)
        return value

    def odd(self, message: str) -> ProviderError:
        """The error of an answer that is well-formed and makes no sense."""
        return ProviderError(errors.scrub(message, self.endpoint.api_key), cause=Cause.PROVIDER_ERROR)

    @contextmanager
    def stream(self, path: str, max_bytes: int = MAX_RESULT_BYTES, headers: dict[str, str] | None = None) -> Iterator[httpx2.Response]:
        """The answer to a GET as it comes in; read it with `chunks`. A part of a file (206) only where `headers` ask for one."""
        options: dict[str, Any] = {"max_retries": 0, "timeout": httpx2.Timeout(self.endpoint.timeout, connect=10.0)}
        options["headers"] = {"Accept": "application/octet-stream, application/x-jsonl, */*"} | (headers or {})
        client = self.client
        with http.within(DOWNLOAD_SECONDS, max_bytes):
            with self.failing():
                response: httpx2.Response = client.get(path, cast_to=httpx2.Response, options=options, stream=True)
            try:
                if response.status_code != 200 and not (headers and response.status_code == 206):
                    with self.failing():
                        response.read()
                    self.checked(response)
                    raise self.odd(f"The provider answered with HTTP {response.status_code} in place of a file.")
                yield response
            finally:
                response.close()

    def chunks(self, response: httpx2.Response, size: int | None = None) -> Iterator[bytes]:
        """The bytes of a streamed answer, as they come or `size` at a time. Only what goes wrong on the wire is a ProviderError."""
        with self.failing():
            yield from response.iter_bytes(size)

    def fetch(self, path: str, target: Path, declared: int | None = None) -> Path:
        """Stream a result file to `target`: written beside, checked to be whole, fsynced, renamed. One that is there is kept."""
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two workers that fetch at once must never write into one file.
        part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        try:
            self._write(path, part, declared)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
        _sync_folder(target.parent)
        return target

    def _write(self, path: str, part: Path, declared: int | None) -> None:
        """The whole file to `part`. Where the connection breaks on the way, the rest is asked for, as long as each try brings some."""
        most = 2 * declared + 1_000_000 if declared else MAX_RESULT_BYTES
        until = time.monotonic() + DOWNLOAD_SECONDS
        with part.open("w+b") as file:
            got = Got(file)
            for _ in range(MAX_TRIES):
                before = got.size
                try:
                    self._pour(path, got, most)
                    break
                except ProviderError as error:
                    if error.status is not None or error.code or not got.tag or got.size <= before or time.monotonic() > until:
                        raise
            file.flush()
            os.fsync(file.fileno())
            if declared is not None and got.size != declared:
                raise self.odd(f"The download was cut: {got.size:,} of {declared:,} bytes came.")
            if declared is None and not got.has_length and not _ends_whole(got.tail()):
                raise self.odd(f"The download was cut after {got.size:,} bytes, in the middle of a line.")

    def _pour(self, path: str, got: Got, most: int) -> None:
        """One GET into the file: from where it ends, if the server goes on there in the very same answer, else from the start."""
        with self.stream(path, most, got.asks()) as response:
            if response.status_code != 206:
                got.begin(response.headers)
            elif not response.headers.get("content-range", "").startswith(f"bytes {got.size}-"):
                raise self.odd("The provider went on with a file at another place than was asked for.")
            for chunk in self.chunks(response):  # as they come: what is held back would be lost when the connection breaks
                got.add(chunk)

    def first_line(self, path: str) -> bytes:
        """The first line of a result file that is not blank, without fetching the rest; b"" if there is none."""
        seen = b""
        with self.stream(path) as response:
            for chunk in self.chunks(response, 1 << 16):
                seen = (seen + chunk).lstrip()
                if b"\n" in seen or len(seen) > http.MAX_SMALL:
                    break
        return seen.partition(b"\n")[0].strip()


def _ends_whole(tail: bytes) -> bool:
    """Whether a file whose length nobody told ends with a whole line."""
    if not tail or tail.endswith(b"\n"):
        return True
    try:
        lines.loads(tail.rpartition(b"\n")[2])
    except ValueError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def part_of(identifier: str) -> str:
    """An id as one part of a path. BadInput never comes from a provider's id, so an empty one is a ProviderError."""
    if not identifier:
        raise ProviderError("An id was expected and is empty.", cause=Cause.PROVIDER_ERROR)
    return quote(identifier, safe="")
