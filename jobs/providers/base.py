"""The seam to the outside: what batchui asks of a provider, as plain data. No Django, no prices, no retries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from jobs.providers.room import Room
from jobs.words import Cause, OutcomeKind, PromptKind


@dataclass(frozen=True, slots=True)
class Limits:
    """What fits in one batch, and what a connection may have enqueued. `None` is unlimited or unknown."""

    requests_per_batch: int = 50_000
    bytes_per_batch: int = 200_000_000
    enqueued_tokens: int | None = None
    creates_per_minute: int = 30
    concurrency: int = 8  # direct and flex lanes
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a kind of provider can do, as data."""

    batch: bool = True
    flex: bool = False
    structured_output: bool = True
    metadata: bool = True  # a create can carry our token
    serial_creates: bool = False  # creates must go one at a time, for a lost answer to be found
    embeddings: bool = True
    result_days: int = 30
    results_from: str = "end"  # "end" | "creation": what the shelf life counts from


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and as whom to call. `repr` never shows the key."""

    kind: str
    base_url: str  # OpenAI kinds: includes /v1; Anthropic: root. "" is the provider's own
    api_key: str = field(repr=False)
    limits: Limits = Limits()
    allow_private: bool = False  # loopback and private hosts, as the deployment allows
    timeout: float = 60.0  # seconds for small calls


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """All of a request but the row: the same for each line of a round."""

    kind: str  # PromptKind
    model: str
    max_output_tokens: int | None = None
    schema: dict[str, Any] | None = None  # JSON Schema of the answer
    params: dict[str, Any] = field(default_factory=dict)  # what else the model takes, verbatim (temperature, effort …)
    cache_prefix: bool = False
    service_tier: str = ""  # "flex" on the flex lane


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """What a provider says of one batch."""

    id: str
    status: str  # the provider's word, verbatim
    ended: bool
    failed: bool = False  # ended without having run anything
    created_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    results_expire_at: datetime | None = None
    input_file_id: str = ""
    token: str = ""  # our submit token, if the provider gives it back
    n_requests: int | None = None  # as the provider counts; a cross-check, never the truth
    n_succeeded: int | None = None
    n_failed: int | None = None
    files: dict[str, str] = field(default_factory=dict)  # name → id or URL: "output", "error", "results"
    errors: tuple[LineError, ...] = ()
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LineError:
    """Why a batch was refused as a whole; `line` is 1-based in the request file."""

    code: str
    message: str
    line: int | None = None
    cause: Cause = Cause.INVALID_REQUEST
    later: bool = False  # the same file may be sent again later (token_limit_exceeded)
    shared: bool = False  # about what all lines have alike (the model, the URL …), whichever line it names
    smaller: bool = False  # the file was too long: its rows go again in shorter ones


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a provider's list of batches, newest first. `next` is the cursor, None at the end."""

    batches: tuple[RemoteBatch, ...]
    next: str | None


@dataclass(slots=True)
class Answer:
    """One decoded result line. `input_tokens` is the whole prompt, cache reads and writes included."""

    custom_id: str
    kind: OutcomeKind
    cause: Cause | None = None
    message: str = ""
    text: str | None = None  # the answer; an embedding is a JSON list
    finish: str = ""
    model: str = ""
    request_id: str = ""
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    billed: str = "unpaid"  # "paid" | "unpaid" | "unknown"


@dataclass(frozen=True, slots=True)
class Created:
    """The answer to a create."""

    batch: RemoteBatch
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    id: str
    context_window: int | None = None


# `Provider.list` hides the builtin inside the class.
Paths = list[Path]
Models = list[ModelInfo]

Encoder = Callable[[str, str, str], bytes]  # (custom_id, system, user) → one request line, newline included
# A chat answer that ended by itself and is paid, as nearly all are: custom_id, text, model, request_id; then input (the whole prompt),
# cached, cache-written, output and reasoning tokens. An Answer of these costs as much as reading the line.
Plain = tuple[str, str, str, str, int, int, int, int, int]


class Provider(Protocol):
    """One provider behind few verbs. Every verb raises ProviderError with one Cause, and nothing else.

    Construct with an Endpoint; hold no state between calls but the HTTP client. `close()` ends it.
    """

    limits: Limits
    abilities: Abilities
    ahead: float  # seconds that our clock is ahead of the provider's, by its last answer
    room: Room | None  # what is left of the limits a minute, by its last answer; None where it does not say

    def __init__(self, endpoint: Endpoint) -> None: ...

    def encoder(self, spec: RequestSpec) -> Encoder:
        """A function that writes one line of a request file. Pure: needs neither key nor network."""

    def body(self, line: bytes) -> dict[str, Any]:
        """The body of an ordinary call out of a request line (direct and flex lanes, and the row page)."""

    def upload(self, path: Path, name: str) -> str:
        """Bring the request file there; its id. "" where the create carries the requests itself."""

    def find_upload(self, name: str, n_bytes: int) -> str | None:
        """The id of an upload by its file name, when the answer to it was lost."""

    def create(self, path: Path, *, file_id: str, token: str, kind: PromptKind) -> Created:
        """Create the batch: exactly one HTTP request, no retries, no redirects."""

    def list(self, cursor: str | None = None) -> Page:
        """One page of batches, newest first."""

    def get(self, batch_id: str) -> RemoteBatch:
        """One batch. A 404 raises with status 404; it is no verdict."""

    def download(self, batch: RemoteBatch, folder: Path) -> Paths:
        """Stream each result file to `folder`, fsynced and renamed when whole; their paths, answers first. Bounded in bytes.

        A file that is already there is kept. A cut download raises; nothing is left but what is whole.
        """

    def decode(self, line: bytes, spec: RequestSpec) -> Answer:
        """One line of a result file. Never raises: what is not understood is an Answer that says so.

        A line that is no JSON object has custom_id "" and cause UNREADABLE.
        """

    def first_custom_id(self, batch: RemoteBatch) -> str | None:
        """The custom_id of one result of an ended batch, to confirm whose it is; None if there is none."""

    def cancel(self, batch_id: str) -> RemoteBatch: ...

    def delete(self, batch: RemoteBatch) -> None:
        """Delete input and result files at the provider. A 404 is done."""

    def call(self, line: bytes, spec: RequestSpec) -> tuple[Answer, bytes]:
        """One ordinary call with the body of a request line: the Answer and the raw line to keep. One HTTP request.

        The raw line has the shape of a result line, so `decode` reads it again. An answer that is about the row itself (200, and
        400, 404, 413, 422 with an error) is an Answer. All else raises: key, credit, rate limit, 5xx, timeouts, broken connections.
        """

    def models(self) -> Models: ...

    def test(self) -> str:
        """One cheap call; a sentence that says it works."""

    def close(self) -> None: ...


def split_lines(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines of a byte stream with their offsets, cut at 0x0A alone (U+2028 is legal inside JSON). No newline included."""
    offset, rest = 0, b""
    for chunk in chunks:
        rest += chunk
        *whole, rest = rest.split(b"\n")
        for line in whole:
            yield offset, line
            offset += len(line) + 1
    if rest:
        yield offset, rest
