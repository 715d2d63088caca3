"""Lists, single batches, cancelling, downloads and ordinary calls, over real HTTP for every adapter."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.errors import ProviderError
from jobs.providers.base import Provider, RequestSpec
from jobs.words import Cause, OutcomeKind
from tests.contract.dialects import DIALECTS, Dialect
from tests.contract.wire import Asked, Reply, Wire

SPEC = RequestSpec("generate", "m", max_output_tokens=16)
DONE = {"status": "completed"}


@pytest.fixture(params=DIALECTS, ids=lambda d: d.kind)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    found: Dialect = request.param
    return found


@pytest.fixture
def provider(dialect: Dialect, wire: Wire) -> Iterator[Provider]:
    made = dialect.provider(wire)
    yield made
    made.close()


def test_get_reads_the_batch(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    wire.on("GET", f"{dialect.batches}/batch_1", Reply(dialect.batch(status="completed")))
    batch = provider.get("batch_1")
    assert (batch.id, batch.ended, batch.failed, batch.n_requests, batch.n_succeeded, batch.n_failed) == ("batch_1", True, False, 2, 2, 0)
    assert batch.created_at == datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert batch.ended_at == datetime(2026, 11, 21, 12, 5, tzinfo=UTC)
    assert batch.files == ({"results": "https://elsewhere.example/results"} if dialect.is_anthropic else {"output": "file-out"})


@pytest.mark.parametrize("status", ["in_progress", "finalizing", "cancelling", "brand_new", ""])
def test_a_status_that_is_not_known_is_no_end(status: str, dialect: Dialect, wire: Wire, provider: Provider) -> None:
    field = "processing_status" if dialect.is_anthropic else "status"
    wire.on("GET", f"{dialect.batches}/batch_1", Reply(dialect.batch() | {field: status}))
    assert provider.get("batch_1").ended is False


@pytest.mark.parametrize("status", ["partially_completed", "PartiallyCompleted", "SUCCEEDED", "canceled", "timeout_exceeded"])
def test_words_of_compatible_servers_for_an_end(status: str, wire: Wire) -> None:
    dialect = DIALECTS[2]
    wire.on("GET", f"{dialect.batches}/batch_1", Reply(dialect.batch() | {"status": status}))
    provider = dialect.provider(wire)
    assert provider.get("batch_1").ended is True
    provider.close()


def test_an_answer_about_another_batch_is_refused(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    wire.on("GET", f"{dialect.batches}/batch_1", Reply(dialect.batch("batch_2")))
    with pytest.raises(ProviderError) as caught:
        provider.get("batch_1")
    assert (caught.value.definite, caught.value.message) == (False, "Asked for batch batch_1, the provider answered with batch_2.")


def test_a_404_is_told_and_no_verdict(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    wire.on("GET", f"{dialect.batches}/batch_1", Reply(dialect.error("no such batch", "not_found_error"), status=404))
    with pytest.raises(ProviderError) as caught:
        provider.get("batch_1")
    assert (caught.value.status, caught.value.cause) == (404, Cause.INVALID_REQUEST)
    assert len(wire.asked) == 1


def test_a_batch_of_nulls_is_read(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    raw = dict.fromkeys(dialect.batch()) | {"id": "batch_1"}
    wire.on("GET", f"{dialect.batches}/batch_1", Reply(raw))
    batch = provider.get("batch_1")
    assert (batch.status, batch.ended, batch.files, batch.n_requests, batch.created_at, batch.errors) == ("", False, {}, None, None, ())


def test_list_pages_until_the_end(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    first = {"data": [dialect.batch("b3"), dialect.batch("b2")], "has_more": True, "last_id": "b2"}
    wire.on("GET", dialect.batches, Reply(first), Reply({"data": [dialect.batch("b1")], "has_more": False}))
    page = provider.list()
    assert ([b.id for b in page.batches], page.next) == (["b3", "b2"], "b2")
    page = provider.list(page.next)
    assert ([b.id for b in page.batches], page.next) == (["b1"], None)
    name = "after_id" if dialect.is_anthropic else "after"
    assert [a.path.split("?")[1] for a in wire.asked] == ["limit=100", f"limit=100&{name}=b2"]


@pytest.mark.parametrize(
    "answer",
    [
        {"data": [], "has_more": True},
        {"data": "none", "has_more": False},
        {"data": [{"object": "batch"}], "has_more": False},
        {"data": [None], "has_more": False},
        {"data": [{"id": "b2"}], "has_more": True, "last_id": "b2"},
    ],
)
def test_a_list_that_cannot_be_trusted_raises(answer: dict[str, object], dialect: Dialect, wire: Wire, provider: Provider) -> None:
    wire.on("GET", dialect.batches, Reply(answer))
    with pytest.raises(ProviderError) as caught:
        provider.list("b2")
    assert (caught.value.cause, caught.value.definite) == (Cause.PROVIDER_ERROR, False)


def test_cancel_is_one_post(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    wire.on("POST", f"{dialect.batches}/batch_1/cancel", Reply({"error": {"message": "x"}}, status=500), Reply(dialect.batch()))
    with pytest.raises(ProviderError):
        provider.cancel("batch_1")
    assert provider.cancel("batch_1").id == "batch_1"
    assert wire.count("POST") == 2


def test_download_brings_the_bytes_and_keeps_them(dialect: Dialect, wire: Wire, provider: Provider, tmp_path: Path) -> None:
    content = dialect.result_line("r1-1", "a\u2028b") + dialect.result_line("r1-0")
    dialect.results(wire, content)
    provider_batch = _ended(dialect, wire, provider)
    name = "results.jsonl" if dialect.is_anthropic else "output.jsonl"
    assert provider.download(provider_batch, tmp_path / "r") == [tmp_path / "r" / name]
    assert (tmp_path / "r" / name).read_bytes() == content
    assert [p.name for p in (tmp_path / "r").iterdir()] == [name]
    asked = len(wire.asked)
    assert provider.download(provider_batch, tmp_path / "r") == [tmp_path / "r" / name]
    assert len(wire.asked) == asked
    files = [a for a in wire.asked if a.path == dialect.results_path()]
    assert [a.headers["accept-encoding"] for a in files] == ["identity"]


def _ended(dialect: Dialect, wire: Wire, provider: Provider):  # type: ignore[no-untyped-def]
    wire.on("GET", f"{dialect.batches}/batch_1", Reply(dialect.batch(status="completed")))
    return provider.get("batch_1")


CUTS = {"content-length": {"cut": 40}, "close": {"cut": 40, "close_delimited": True}}


@pytest.mark.parametrize("how", CUTS)
def test_a_cut_download_leaves_nothing(how: str, dialect: Dialect, wire: Wire, provider: Provider, tmp_path: Path) -> None:
    dialect.results(wire, dialect.result_line(), **CUTS[how])
    batch = _ended(dialect, wire, provider)
    with pytest.raises(ProviderError) as caught:
        provider.download(batch, tmp_path)
    assert (caught.value.cause, caught.value.definite) == (Cause.PROVIDER_ERROR, False)
    assert list(tmp_path.iterdir()) == []


def parts(content: bytes, tag: str, first: int, each: int, asked: list[str], honest: bool = True) -> Callable[[Asked], Reply]:
    """A server whose connections break after so many bytes, and that gives the rest of the file on request."""

    def answer(request: Asked) -> Reply:
        asked.append(request.headers.get("range", ""))
        if not asked[-1]:
            return Reply(content, headers={"ETag": tag}, cut=first)
        at = int(asked[-1].removeprefix("bytes=").removesuffix("-"))
        assert request.headers["if-range"] == tag
        if not honest:
            return Reply(content[at - 1 :], 206, {"Content-Range": f"bytes {at - 1}-{len(content) - 1}/{len(content)}"})
        rest = content[at:]
        where = {"Content-Range": f"bytes {at}-{len(content) - 1}/{len(content)}"}
        return Reply(rest, 206, where, cut=each if len(rest) > each else None)

    return answer


def test_a_download_that_breaks_goes_on_where_it_ended(dialect: Dialect, wire: Wire, provider: Provider, tmp_path: Path) -> None:
    content = b"".join(dialect.result_line(f"r1-{i}") for i in range(5))
    dialect.results(wire, content)
    asked: list[str] = []
    wire.on("GET", dialect.results_path(), parts(content, '"v1"', 300, 200, asked))
    (path,) = provider.download(_ended(dialect, wire, provider), tmp_path)
    assert path.read_bytes() == content
    assert asked == ["", *(f"bytes={at}-" for at in range(300, len(content), 200))]


@pytest.mark.parametrize("tag", ['W/"v1"', ""])
def test_a_download_without_a_strong_tag_does_not_go_on(tag: str, dialect: Dialect, wire: Wire, provider: Provider, tmp_path: Path) -> None:
    content = dialect.result_line() * 3
    dialect.results(wire, content)
    asked: list[str] = []
    wire.on("GET", dialect.results_path(), parts(content, tag, 300, 200, asked))
    with pytest.raises(ProviderError):
        provider.download(_ended(dialect, wire, provider), tmp_path)
    assert (asked, list(tmp_path.iterdir())) == ([""], [])


def test_a_download_that_goes_on_elsewhere_is_refused(dialect: Dialect, wire: Wire, provider: Provider, tmp_path: Path) -> None:
    content = dialect.result_line() * 3
    dialect.results(wire, content)
    wire.on("GET", dialect.results_path(), parts(content, '"v1"', 300, 200, [], honest=False))
    with pytest.raises(ProviderError, match="at another place than was asked for"):
        provider.download(_ended(dialect, wire, provider), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changed_meanwhile_is_had_from_the_start(dialect: Dialect, wire: Wire, provider: Provider, tmp_path: Path) -> None:
    old, new = dialect.result_line("r1-0", "old") * 3, dialect.result_line("r1-0", "new") * 3
    dialect.results(wire, new)
    wire.on("GET", dialect.results_path(), Reply(old, headers={"ETag": '"v1"'}, cut=300), Reply(new, headers={"ETag": '"v2"'}))
    (path,) = provider.download(_ended(dialect, wire, provider), tmp_path)
    assert path.read_bytes() == new


def test_a_deflated_download_is_inflated_within_bounds(dialect: Dialect, wire: Wire, provider: Provider, tmp_path: Path) -> None:
    content = dialect.result_line()
    dialect.results(wire, content)
    wire.on("GET", dialect.results_path(), Reply(gzip.compress(content), headers={"Content-Encoding": "gzip"}))
    [path] = provider.download(_ended(dialect, wire, provider), tmp_path)
    assert path.read_bytes() == content


def test_a_bomb_is_stopped(dialect: Dialect, wire: Wire, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.providers.session.MAX_RESULT_BYTES", 2_000_000)
    dialect.results(wire, dialect.result_line())
    bomb = gzip.compress(b"0" * 20_000_000)
    wire.on("GET", dialect.results_path(), Reply(bomb, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(ProviderError) as caught:
        provider.download(_ended(dialect, wire, provider), tmp_path)
    assert (caught.value.code, list(tmp_path.iterdir())) == ("too_long", [])


def test_a_full_disk_is_not_the_providers_error(dialect: Dialect, wire: Wire, provider: Provider, tmp_path: Path) -> None:
    dialect.results(wire, dialect.result_line())
    batch = _ended(dialect, wire, provider)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError):
        provider.download(batch, tmp_path / "file" / "r")


def test_first_custom_id(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    dialect.results(wire, b"\n" + dialect.result_line("r7-3") + dialect.result_line("r7-4"))
    assert provider.first_custom_id(_ended(dialect, wire, provider)) == "r7-3"


def test_an_ordinary_call_gives_the_answer_and_its_line(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    wire.on("POST", dialect.call, Reply(dialect.called("fine\n")))
    line = provider.encoder(SPEC)("r1-0", "", "hi")
    answer, raw = provider.call(line, SPEC)
    assert (answer.custom_id, answer.kind, answer.text, answer.input_tokens) == ("r1-0", OutcomeKind.SUCCEEDED, "fine\n", 5)
    assert (provider.decode(raw, SPEC), raw.count(b"\n")) == (answer, 0)
    assert wire.asked[0].json == provider.body(line)
    assert len(wire.asked) == 1


def test_a_refused_row_is_an_answer(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    wire.on("POST", dialect.call, Reply(dialect.error("prompt is too long: 300000 tokens"), status=400))
    answer, raw = provider.call(provider.encoder(SPEC)("r1-0", "", "hi"), SPEC)
    assert (answer.custom_id, answer.kind, answer.cause, answer.billed) == ("r1-0", OutcomeKind.FAILED, Cause.CONTEXT_TOO_LONG, "unpaid")
    assert provider.decode(raw, SPEC) == answer


RAISED = [(429, Cause.RATE_LIMITED), (401, Cause.AUTH), (402, Cause.BILLING), (500, Cause.PROVIDER_ERROR)]


@pytest.mark.parametrize(("status", "cause"), RAISED)
def test_what_is_not_about_the_row_raises(status: int, cause: Cause, dialect: Dialect, wire: Wire, provider: Provider) -> None:
    wire.on("POST", dialect.call, Reply(dialect.error("no"), status=status))
    with pytest.raises(ProviderError) as caught:
        provider.call(provider.encoder(SPEC)("r1-0", "", "hi"), SPEC)
    assert (caught.value.cause, caught.value.definite, len(wire.asked)) == (cause, status < 500, 1)


def test_credit_used_up_is_not_about_the_row(wire: Wire) -> None:
    dialect = DIALECTS[1]
    provider = dialect.provider(wire)
    wire.on("POST", dialect.call, Reply(dialect.error("Your credit balance is too low to access the API."), status=400))
    with pytest.raises(ProviderError) as caught:
        provider.call(provider.encoder(SPEC)("r1-0", "", "hi"), SPEC)
    assert caught.value.cause is Cause.BILLING
    provider.close()


def test_models_and_test(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    wire.on("GET", dialect.models, Reply({"data": [{"id": "m-1"}, {"id": "m-2"}, {"no": "id"}], "has_more": False}))
    assert [m.id for m in provider.models()] == ["m-1", "m-2"]
    assert provider.test() == "It works: 2 models can be used."


FAILURES = {
    "key": (Reply({"error": {"message": "bad key", "code": "invalid_api_key"}}, status=401), "The provider did not accept the API key"),
    "page": (Reply(b"<!doctype html><p>hello", headers={"Content-Type": "text/html"}), "The server answered with a web page"),
    "redirect": (Reply(b"", status=302, headers={"Location": "/login"}), "The server wants to send us to another address"),
    "no json": (Reply(b"hello"), "The server's answer could not be read"),
    "dropped": (Reply(drop=True), "The connection broke before the whole answer was there."),
}


@pytest.mark.parametrize("name", FAILURES)
def test_test_says_what_is_wrong(name: str, dialect: Dialect, wire: Wire, provider: Provider) -> None:
    reply, words = FAILURES[name]
    wire.on("GET", dialect.models, reply)
    with pytest.raises(ProviderError) as caught:
        provider.test()
    assert caught.value.message[: len(words)] == words
    assert len(wire.asked) == 1


def test_test_says_that_nothing_listens(dialect: Dialect, wire: Wire) -> None:
    provider = dialect.provider(wire)
    wire.close()
    with pytest.raises(ProviderError) as caught:
        provider.test()
    assert caught.value.message == "The server refused the connection: nothing listens at that address and port."


def test_delete_takes_a_404_for_done(dialect: Dialect, wire: Wire, provider: Provider) -> None:
    batch = _ended(dialect, wire, provider)
    wire.on("DELETE", "/v1/files/file-in", Reply({"deleted": True}))
    provider.delete(batch)  # what is not routed answers 404
    gone = [f"{dialect.batches}/batch_1"] if dialect.is_anthropic else ["/v1/files/file-in", "/v1/files/file-out"]
    assert [a.path for a in wire.asked if a.method == "DELETE"] == gone


def test_both_files_come_and_an_empty_one_too(wire: Wire, tmp_path: Path) -> None:
    dialect = DIALECTS[2]
    provider = dialect.provider(wire)
    line = dialect.result_line()
    dialect.results(wire, line)
    wire.on("GET", "/v1/files/file-err/content", Reply(b""))  # no route for its length: some servers have none
    wire.on("GET", f"{dialect.batches}/batch_1", Reply(dialect.batch(status="completed", error_file_id="file-err")))
    paths = provider.download(provider.get("batch_1"), tmp_path)
    assert [(p.name, p.read_bytes()) for p in paths] == [("output.jsonl", line), ("error.jsonl", b"")]
    provider.close()


def test_a_create_inside_job_is_read(wire: Wire, tmp_path: Path) -> None:
    dialect = DIALECTS[2]
    provider = dialect.provider(wire)
    wire.on("POST", dialect.batches, Reply({"job": dialect.batch()}, status=201))
    created = provider.create(tmp_path / "x", file_id="file-in", token="t", kind="generate")  # type: ignore[arg-type]
    assert (created.batch.id, created.batch.status) == ("batch_1", "VALIDATING")
    provider.close()


def test_a_cancel_without_a_batch_asks_for_it(wire: Wire) -> None:
    dialect = DIALECTS[2]
    provider = dialect.provider(wire)
    wire.on("POST", f"{dialect.batches}/batch_1/cancel", Reply({}))
    wire.on("GET", f"{dialect.batches}/batch_1", Reply(dialect.batch(status="cancelled")))
    assert provider.cancel("batch_1").ended is True
    provider.close()
