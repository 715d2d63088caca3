"""S9, S15: a server that means harm, or echoes our key: bounded in bytes, time and numbers, and nothing of the key is kept."""

from __future__ import annotations

import gzip
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from jobs.errors import ProviderError
from jobs.providers import http
from jobs.providers.base import Provider, RequestSpec
from jobs.words import Cause
from tests.contract.dialects import DIALECTS, KEY, Dialect
from tests.contract.wire import Reply, Wire

SPEC = RequestSpec("generate", "m", max_output_tokens=16)
Verb = Callable[[Provider], Any]
SMALL: dict[str, Verb] = {"list": lambda p: p.list(), "get": lambda p: p.get("batch_1"), "models": lambda p: p.models()}


@pytest.fixture(params=DIALECTS, ids=lambda d: d.kind)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    found: Dialect = request.param
    return found


@pytest.fixture
def provider(dialect: Dialect, wire: Wire) -> Iterator[Provider]:
    made = dialect.provider(wire)
    yield made
    made.close()


def path_of(dialect: Dialect, verb: str) -> str:
    return {"list": dialect.batches, "get": f"{dialect.batches}/batch_1", "models": dialect.models}[verb]


def refused(verb: Verb, provider: Provider) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        verb(provider)
    assert not caught.value.definite
    return caught.value


@pytest.mark.parametrize("verb", SMALL)
def test_a_gzip_bomb_is_cut_off(verb: str, dialect: Dialect, wire: Wire, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http.Bounds, "__init__", _bounds_of(1_000_000))
    bomb = gzip.compress(b'{"data":"' + b"0" * 5_000_000)
    wire.on("GET", path_of(dialect, verb), Reply(bomb, headers={"Content-Encoding": "gzip"}))
    assert refused(SMALL[verb], provider).code == "too_long"


@pytest.mark.parametrize("verb", SMALL)
def test_a_stream_without_end_is_cut_off(
    verb: str, dialect: Dialect, wire: Wire, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http.Bounds, "__init__", _bounds_of(100_000))
    wire.on("GET", path_of(dialect, verb), Reply(b" " * 3_000_000, close_delimited=True))
    assert refused(SMALL[verb], provider).code == "too_long"


def _bounds_of(most: int) -> Callable[..., None]:
    """Smaller bounds, so that the test needs no 64 MB."""

    def init(self: http.Bounds, until: float | None = None, max_bytes: int = most) -> None:
        object.__setattr__(self, "until", until)
        object.__setattr__(self, "max_bytes", min(max_bytes, most))

    return init


@pytest.mark.parametrize("verb", SMALL)
def test_a_slow_drip_ends_with_the_deadline(verb: str, dialect: Dialect, wire: Wire) -> None:
    provider = dialect.provider(wire, timeout=0.25)
    wire.on("GET", path_of(dialect, verb), Reply(dialect.batch(), drip=0.05))
    assert refused(SMALL[verb], provider).cause is Cause.TIMEOUT
    provider.close()


def test_a_dripping_download_ends_with_the_deadline_and_leaves_nothing(
    dialect: Dialect, wire: Wire, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.providers.session.DOWNLOAD_SECONDS", 0.25)
    dialect.results(wire, dialect.result_line(), drip=0.02)
    wire.on("GET", f"{dialect.batches}/batch_1", Reply(dialect.batch(status="completed")))
    assert refused(lambda p: p.download(p.get("batch_1"), tmp_path), provider).cause is Cause.TIMEOUT
    assert list(tmp_path.iterdir()) == []


def test_headers_without_end_are_refused(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    wire.on("GET", dialect.models, Reply({"data": []}, headers={"X-Long": "a" * 2_000_000}))
    assert refused(lambda p: p.models(), provider).cause is Cause.PROVIDER_ERROR


def test_json_that_is_deep_is_no_crash(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    for verb, call in SMALL.items():
        wire.on("GET", path_of(dialect, verb), Reply(b"[" * 200_000))
        assert refused(call, provider).cause is Cause.PROVIDER_ERROR


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int, dialect: Dialect, wire: Wire, provider: Provider) -> None:
    wire.on("GET", dialect.models, Reply(b"", status=status, headers={"Location": f"{wire.url}/elsewhere"}))
    assert "is not followed" in refused(lambda p: p.models(), provider).message
    assert wire.count("GET", "/elsewhere") == 0


ECHO = {
    "error body": Reply(
        {"error": {"message": f"Incorrect API key provided: {KEY}", "code": KEY, "type": "invalid_request_error"}}, status=401
    ),
    "bare text": Reply(f"bad key {KEY}".encode(), status=500),
    "page": Reply(f"<html>{KEY}</html>".encode(), status=502),
    "error in a 200": Reply({"error": {"message": f"header was Bearer {KEY}"}}),
    "no list": Reply({"key": KEY, "data": "none"}),
    "batch with another id": Reply({"id": KEY, "status": "completed", "processing_status": "ended"}),
}


@pytest.mark.parametrize("how", ECHO)
def test_an_echoed_key_is_not_kept(how: str, dialect: Dialect, wire: Wire, provider: Provider) -> None:
    for verb, call in SMALL.items():
        wire.on("GET", path_of(dialect, verb), ECHO[how])
        error = raised(call, provider)
        if error is None:
            continue  # not each verb minds each answer
        told = f"{error} {error.code} {error.raw} {error!r} {''.join(traceback.format_exception(error))}"
        assert KEY not in told, (how, verb)
        assert len(error.raw) <= 2000


def raised(verb: Verb, provider: Provider) -> ProviderError | None:
    try:
        verb(provider)
    except ProviderError as error:
        return error
    return None


def test_tokens_beyond_reason_are_nonsense(dialect: Dialect, provider: Provider) -> None:
    huge = 4_000_000_000_000_000_000
    line = dialect.result_line()
    for small in (b":5,", b":1}"):
        line = line.replace(small, small[:1] + str(huge).encode() + small[-1:])
    assert str(huge).encode() in line
    answer = provider.decode(line, SPEC)
    assert (answer.text, answer.input_tokens, answer.output_tokens) == ("yes", 0, 0)


def test_ids_and_answers_that_fit_no_column_are_refused(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    wire.on("GET", dialect.batches, Reply({"data": [dialect.batch("b" * 5000)], "has_more": False}))
    assert "is not a batch" in refused(lambda p: p.list(), provider).message
    wire.on("GET", dialect.models, Reply({"data": [{"id": "m" * 5000}, {"id": "m\0n"}], "has_more": False}))
    assert [model.id for model in provider.models()] == ["mn"]
    wire.on("GET", f"{dialect.batches}/batch_1", Reply(dialect.batch(note="x" * 100_000)))
    assert provider.get("batch_1").raw == {}
    wire.on("GET", f"{dialect.batches}/batch_1", Reply(dialect.batch(note={"a\0": ["b\0"]})))
    kept = provider.get("batch_1").raw
    assert (kept["note"], b"\\u0000" in orjson.dumps(kept)) == ({"a": ["b"]}, False)
