"""The whole way of a batch with every adapter, against the sandbox, which was written from the wire facts and not from the adapters."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import ProviderError
from jobs.providers.base import Answer, Endpoint, Provider, RemoteBatch, RequestSpec
from jobs.providers.registry import limits_of, provider_for
from jobs.sandbox import Sandbox
from jobs.words import Cause, OutcomeKind, PromptKind

KINDS = ["openai", "anthropic", "openai-compatible"]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox"), seconds=0.1) as running:
        yield running


@pytest.fixture(params=KINDS)
def provider(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Provider]:
    url = sandbox.anthropic_url if request.param == "anthropic" else sandbox.openai_url
    made = provider_for(Endpoint(request.param, url, "sk-test-1", limits_of(request.param), allow_private=True, timeout=10))
    yield made
    made.close()


def model_of(provider: Provider, orders: str = "") -> str:
    kind = type(provider).__name__
    name = {"OpenAIProvider": "gpt-6-luna", "AnthropicProvider": "claude-haiku-4-5", "CompatibleProvider": "sandbox-small"}[kind]
    return f"{name}+{orders}" if orders else name


def submitted(provider: Provider, path: Path, spec: RequestSpec, n: int = 20) -> RemoteBatch:
    encode = provider.encoder(spec)
    path.write_bytes(b"".join(encode(f"r1-{i}", "You are brief.", f"Row {i}") for i in range(n)))
    file_id = provider.upload(path, f"{path.stem}.jsonl")
    created = provider.create(path, file_id=file_id, token=f"token-{path.stem}", kind=PromptKind(spec.kind))
    if file_id:
        assert (created.batch.input_file_id, created.batch.token) == (file_id, f"token-{path.stem}")
    return created.batch


def ended(provider: Provider, batch: RemoteBatch) -> RemoteBatch:
    pause = threading.Event()
    for _ in range(500):
        batch = provider.get(batch.id)
        if batch.ended:
            return batch
        pause.wait(0.02)
    raise AssertionError(f"{batch.id} did not end: {batch.status}")


def answers(provider: Provider, batch: RemoteBatch, folder: Path, spec: RequestSpec) -> list[Answer]:
    found = []
    for path in provider.download(batch, folder):
        found += [provider.decode(line, spec) for line in path.read_bytes().split(b"\n") if line.strip()]
    return found


def test_a_batch_there_and_back(provider: Provider, tmp_path: Path) -> None:
    spec = RequestSpec("generate", model_of(provider), max_output_tokens=64)
    made = submitted(provider, tmp_path / "requests.jsonl", spec)
    batch = ended(provider, made)
    found = answers(provider, batch, tmp_path / "results", spec)
    assert sorted(a.custom_id for a in found) == sorted(f"r1-{i}" for i in range(20))
    assert {(a.kind, a.billed) for a in found} == {(OutcomeKind.SUCCEEDED, "paid")}
    assert all(a.text and a.input_tokens > 0 and a.output_tokens > 0 for a in found)
    assert provider.first_custom_id(batch) in {a.custom_id for a in found}
    listed = {b.id: b for b in provider.list().batches}
    assert (listed[made.id].ended, listed[made.id].token) == (True, made.token)
    provider.delete(batch)


def test_rows_that_fail_say_why(provider: Provider, tmp_path: Path) -> None:
    orders = "errors=#1,ratelimit=#2,context=#3,cutoff=#4,refusal=#5,lost=#6,cancelled=#7,expired=#8,empty=#9,model_gone=#10"
    spec = RequestSpec("generate", model_of(provider, orders), max_output_tokens=64)
    batch = ended(provider, submitted(provider, tmp_path / "failing.jsonl", spec))
    found = {a.custom_id: (a.kind, a.cause, a.billed) for a in answers(provider, batch, tmp_path / "results", spec)}
    assert "r1-5" not in found
    assert {name: found.get(name) for name in ("r1-0", "r1-1", "r1-2", "r1-3", "r1-4", "r1-6", "r1-7", "r1-8", "r1-9", "r1-10")} == {
        "r1-0": (OutcomeKind.FAILED, Cause.PROVIDER_ERROR, "unpaid"),
        "r1-1": (OutcomeKind.FAILED, Cause.RATE_LIMITED, "unpaid"),
        "r1-2": (OutcomeKind.FAILED, Cause.CONTEXT_TOO_LONG, "unpaid"),
        "r1-3": (OutcomeKind.INVALID, Cause.CUT_OFF, "paid"),
        "r1-4": (OutcomeKind.INVALID, Cause.REFUSED, "paid"),
        "r1-6": (OutcomeKind.CANCELLED, Cause.CANCELLED, "unpaid"),
        "r1-7": (OutcomeKind.EXPIRED, Cause.EXPIRED, "unpaid"),
        "r1-8": (OutcomeKind.INVALID, Cause.EMPTY, "paid"),
        "r1-9": (OutcomeKind.FAILED, Cause.MODEL_GONE, "unpaid"),
        "r1-10": (OutcomeKind.SUCCEEDED, None, "paid"),
    }


def test_an_ordinary_call(provider: Provider) -> None:
    spec = RequestSpec("generate", model_of(provider), max_output_tokens=64)
    answer, raw = provider.call(provider.encoder(spec)("r1-0", "Be brief.", "Hello"), spec)
    assert (answer.custom_id, answer.kind, answer.billed) == ("r1-0", OutcomeKind.SUCCEEDED, "paid")
    assert provider.decode(raw, spec) == answer


def test_an_embedding_there_and_back(sandbox: Sandbox, tmp_path: Path) -> None:
    provider = provider_for(Endpoint("openai", sandbox.openai_url, "sk-test-1", limits_of("openai"), allow_private=True))
    spec = RequestSpec("embed", "text-embedding-3-small")
    batch = ended(provider, submitted(provider, tmp_path / "embed.jsonl", spec, 3))
    found = answers(provider, batch, tmp_path / "results", spec)
    assert [(a.kind, (a.text or "")[:1]) for a in found] == [(OutcomeKind.SUCCEEDED, "[")] * 3
    provider.close()


def test_it_works(provider: Provider) -> None:
    assert provider.test()[:9] == "It works:"


def test_an_unknown_batch_is_a_404(provider: Provider) -> None:
    with pytest.raises(ProviderError) as caught:
        provider.get("batch_none")
    assert caught.value.status == 404
