"""Creating a batch: exactly one POST, whatever happens, and a verdict only where there is one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import ProviderError
from jobs.providers.base import Provider, RequestSpec
from jobs.words import Cause, PromptKind
from tests.contract.dialects import DIALECTS, KEY, Dialect
from tests.contract.wire import Reply, Wire

SPEC = RequestSpec("generate", "m", max_output_tokens=16)


@pytest.fixture(params=DIALECTS, ids=lambda d: d.kind)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    found: Dialect = request.param
    return found


@pytest.fixture
def provider(dialect: Dialect, wire: Wire) -> Iterator[Provider]:
    made = dialect.provider(wire)
    yield made
    made.close()


@pytest.fixture
def requests(provider: Provider, tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    encode = provider.encoder(SPEC)
    path.write_bytes(encode("r1-0", "be brief", "a\u2028b") + encode("r1-1", "be brief", "c\nd"))
    return path


def create(provider: Provider, path: Path) -> object:
    return provider.create(path, file_id="file-in", token="token-1", kind=PromptKind.GENERATE)


def failed(provider: Provider, path: Path) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        create(provider, path)
    return caught.value


def test_create_is_one_post_that_says_all(dialect: Dialect, wire: Wire, provider: Provider, requests: Path) -> None:
    wire.on("POST", dialect.batches, Reply(dialect.batch(), headers={"x-request-id": "req_9", "request-id": "req_9"}))
    created = provider.create(requests, file_id="file-in", token="token-1", kind=PromptKind.GENERATE)
    assert [a.method for a in wire.asked] == ["POST"]
    assert (created.batch.id, created.batch.ended, created.request_id) == ("batch_1", False, "req_9")
    sent = wire.asked[0].json
    lines = [json.loads(line) for line in requests.read_bytes().split(b"\n")[:-1]]
    if dialect.is_anthropic:
        assert sent == {"requests": lines}
        assert wire.asked[0].headers["content-length"] == str(len(wire.asked[0].body))
        assert "transfer-encoding" not in wire.asked[0].headers
    else:
        expected = {"input_file_id": "file-in", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        assert sent == expected | {"metadata": {"batchui": "token-1"}}
        assert created.batch.token == "token-1"


def test_a_file_without_its_last_newline_is_the_same_create(dialect: Dialect, wire: Wire, provider: Provider, requests: Path) -> None:
    wire.on("POST", dialect.batches, Reply(dialect.batch()))
    create(provider, requests)
    requests.write_bytes(requests.read_bytes().rstrip(b"\n"))
    create(provider, requests)
    assert wire.asked[0].json == wire.asked[1].json


UNKNOWN = {
    "500": Reply({"error": {"message": "oops"}}, status=500),
    "502 page": Reply(b"<html>bad gateway</html>", status=502, headers={"Content-Type": "text/html"}),
    "400 page": Reply(b"<html>blocked</html>", status=400, headers={"Content-Type": "text/html"}),
    "529": Reply({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, status=529),
    "408": Reply({"error": {"message": "slow"}}, status=408),
    "409": Reply({"error": {"message": "conflict"}}, status=409),
    "425": Reply({"error": {"message": "early"}}, status=425),
    "dropped": Reply(drop=True),
    "cut": Reply({"id": "batch_1", "object": "batch", "status": "validating"}, cut=9),
    "200 page": Reply(b"<html>hello</html>"),
    "200 empty": Reply(b""),
    "200 error": Reply({"error": {"message": "something"}}),
    "200 no batch": Reply({"hello": 1}),
    "redirect": Reply(b"", status=307, headers={"Location": "/elsewhere"}),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_no_answer_is_unknown_after_one_post(name: str, dialect: Dialect, wire: Wire, provider: Provider, requests: Path) -> None:
    wire.on("POST", dialect.batches, UNKNOWN[name])
    error = failed(provider, requests)
    assert (error.definite, wire.count("POST"), len(wire.asked)) == (False, 1, 1)


def test_a_timeout_is_unknown_after_one_post(dialect: Dialect, wire: Wire, requests: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.providers.anthropic.UPLOAD_SECONDS", 0.2)
    provider = dialect.provider(wire, timeout=0.2)
    wire.on("POST", dialect.batches, Reply(dialect.batch(), delay=5))
    error = failed(provider, requests)
    assert (error.cause, error.definite, wire.count("POST")) == (Cause.TIMEOUT, False, 1)
    provider.close()


def test_a_slow_drip_ends_with_the_deadline(dialect: Dialect, wire: Wire, requests: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.providers.anthropic.UPLOAD_SECONDS", 0.3)
    provider = dialect.provider(wire, timeout=0.3)
    wire.on("POST", dialect.batches, Reply(dialect.batch(), drip=0.05))
    error = failed(provider, requests)
    assert (error.cause, error.definite, wire.count("POST")) == (Cause.TIMEOUT, False, 1)
    provider.close()


DEFINITE = {
    400: Cause.INVALID_REQUEST,
    401: Cause.AUTH,
    402: Cause.BILLING,
    403: Cause.AUTH,
    413: Cause.INVALID_REQUEST,
    422: Cause.INVALID_REQUEST,
    429: Cause.RATE_LIMITED,
}


@pytest.mark.parametrize("status", DEFINITE)
def test_a_refusal_is_definite(status: int, dialect: Dialect, wire: Wire, provider: Provider, requests: Path) -> None:
    wire.on("POST", dialect.batches, Reply(dialect.error("no"), status=status, headers={"Retry-After": "3600"}))
    error = failed(provider, requests)
    assert (error.definite, error.cause, error.status, error.retry_after) == (True, DEFINITE[status], status, 3600.0)
    assert wire.count("POST") == 1


def test_a_file_that_is_not_visible_yet_says_so(wire: Wire, tmp_path: Path) -> None:
    provider = DIALECTS[0].provider(wire)
    body = {"error": {"message": "Cannot find file file-in, or project p does not have access to it.", "param": "file_id", "code": None}}
    wire.on("POST", "/v1/batches", Reply(body, status=400))
    error = failed(provider, tmp_path / "none")
    assert (error.definite, error.code, error.status) == (True, "file_not_visible", 400)
    provider.close()


def test_a_key_is_never_in_an_error(dialect: Dialect, wire: Wire, provider: Provider, requests: Path) -> None:
    said = f"Incorrect API key provided: {KEY}. Or sk-proj-other0123456789 with bearer abcdefgh12345678?"
    wire.on("POST", dialect.batches, Reply(dialect.error(said, code="invalid_api_key"), status=401))
    error = failed(provider, requests)
    text = error.message + error.raw + error.code + repr(error)
    assert [part for part in (KEY, "sk-proj-other0123456789", "abcdefgh12345678") if part in text] == []
    assert error.message.startswith("The provider did not accept the API key (HTTP 401). It said: Incorrect API key provided: [key]")


def test_a_long_error_is_cut(dialect: Dialect, wire: Wire, provider: Provider, requests: Path) -> None:
    wire.on("POST", dialect.batches, Reply(dialect.error("ä" * 50_000), status=400))
    error = failed(provider, requests)
    assert len(error.message.encode()) <= 2000
    assert len(error.raw.encode()) <= 2000


def test_upload_streams_a_named_file_once(wire: Wire, requests: Path) -> None:
    provider = DIALECTS[0].provider(wire)
    wire.on("POST", "/v1/files", Reply({"id": "file-in", "object": "file"}))
    assert provider.upload(requests, "batchui-1") == "file-in"
    sent = wire.asked[0].body
    assert b'filename="batchui-1.jsonl"' in sent
    assert requests.read_bytes() in sent
    assert b'name="purpose"\r\n\r\nbatch\r\n' in sent
    wire.on("POST", "/v1/files", Reply({"error": {"message": "oops"}}, status=500))
    with pytest.raises(ProviderError):
        provider.upload(requests, "batchui-1")
    assert wire.count("POST") == 2
    provider.close()


def test_a_lost_upload_is_found_by_name_and_size(wire: Wire) -> None:
    provider = DIALECTS[0].provider(wire)
    first = {"data": [{"id": "f9", "filename": "other.jsonl", "bytes": 7}, {"id": "f8", "filename": "mine.jsonl", "bytes": 8}]}
    second = {"data": [{"id": "f7", "filename": "mine.jsonl", "bytes": 7}], "has_more": False}
    pages = [Reply(first | {"has_more": True, "last_id": "f8"}), Reply(second)]
    wire.on("GET", "/v1/files", *pages)
    assert provider.find_upload("mine", 7) == "f7"
    assert [a.path.split("?")[1] for a in wire.asked] == [
        "purpose=batch&limit=1000&order=desc",
        "purpose=batch&limit=1000&order=desc&after=f8",
    ]
    assert provider.find_upload("mine", 9) is None
    provider.close()
