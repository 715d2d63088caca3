"""Each verb of Anthropic's manner, through the real SDK."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest

from jobs.sandbox import Sandbox
from tests.sandbox.conftest import anthropic_requests

HI: Any = [{"role": "user", "content": "hi"}]


def _results(an: anthropic.Anthropic, batch_id: str) -> dict[str, Any]:
    return {row.custom_id: row.result for row in an.messages.batches.results(batch_id)}


def test_batch_counts_are_zero_until_it_has_ended(sb: Sandbox, an: anthropic.Anthropic) -> None:
    batch = an.messages.batches.create(requests=anthropic_requests(7))
    sb.control("advance", seconds=1800)
    during = an.messages.batches.retrieve(batch.id)
    assert (during.processing_status, during.results_url, during.request_counts.to_dict()) == (
        "in_progress",
        None,
        {"processing": 7, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    )
    sb.control("end")
    after = an.messages.batches.retrieve(batch.id)
    assert (after.processing_status, after.request_counts.succeeded, after.results_url) == (
        "ended",
        7,
        f"{sb.url}/v1/messages/batches/{batch.id}/results",
    )
    found = _results(an, batch.id)
    assert sorted(found) == [f"a{i}" for i in range(7)]
    assert list(found) != sorted(found)
    assert (found["a2"].type, found["a2"].message.usage.service_tier) == ("succeeded", "batch")


def test_results_before_the_end_are_404(sb: Sandbox, an: anthropic.Anthropic) -> None:
    batch = an.messages.batches.create(requests=anthropic_requests(1))
    with pytest.raises(anthropic.NotFoundError, match="has no available results"):
        an.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)


def test_cancelled_batch_mixes_succeeded_and_canceled(sb: Sandbox, an: anthropic.Anthropic) -> None:
    batch = an.messages.batches.create(requests=anthropic_requests(10))
    sb.control("advance", seconds=1620)
    assert an.messages.batches.cancel(batch.id).processing_status == "canceling"
    sb.control("settle")
    batch = an.messages.batches.retrieve(batch.id)
    counts = {kind: sum(r.type == kind for r in _results(an, batch.id).values()) for kind in ("succeeded", "canceled")}
    assert counts == {"succeeded": batch.request_counts.succeeded, "canceled": batch.request_counts.canceled}
    assert (batch.processing_status, sum(counts.values()), 0 < counts["succeeded"] < 10) == ("ended", 10, True)


def test_expired_batch_has_expired_rows(sb: Sandbox, an: anthropic.Anthropic) -> None:
    batch = an.messages.batches.create(requests=anthropic_requests(10))
    sb.control("end", status="expired", share=0.3)
    assert an.messages.batches.retrieve(batch.id).request_counts.to_dict() == {
        "processing": 0,
        "succeeded": 3,
        "errored": 0,
        "canceled": 0,
        "expired": 7,
    }


def test_list_pages_either_way(an: anthropic.Anthropic) -> None:
    made = [an.messages.batches.create(requests=anthropic_requests(1)).id for _ in range(5)]
    newest = made[::-1]
    assert [b.id for b in an.messages.batches.list(limit=2)] == newest
    assert [b.id for b in an.messages.batches.list(limit=2, before_id=newest[3]).data] == newest[1:3]
    with pytest.raises(anthropic.BadRequestError):
        an.messages.batches.list(limit=1001)


def test_only_an_ended_batch_is_deleted(sb: Sandbox, an: anthropic.Anthropic) -> None:
    batch = an.messages.batches.create(requests=anthropic_requests(1))
    with pytest.raises(anthropic.BadRequestError):
        an.messages.batches.delete(batch.id)
    sb.control("end")
    assert an.messages.batches.delete(batch.id).type == "message_batch_deleted"
    assert [row["custom_id"] for row in sb.control("executed")] == ["a0"]  # what was paid stays known
    with pytest.raises(anthropic.NotFoundError):
        an.messages.batches.retrieve(batch.id)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "requests: List should have at least 1 item"),
        ([{"custom_id": "a b", "params": {}}], "requests.0.custom_id: String should match pattern"),
        ([{"custom_id": "x" * 65, "params": {}}], "requests.0.custom_id: String should match pattern"),
        (anthropic_requests(1) * 2, "requests.1.custom_id: custom_id must be unique"),
        ([{"custom_id": "a"}], "requests.0.params: Field required"),
    ],
)
def test_bad_create_is_refused_whole(sb: Sandbox, an: anthropic.Anthropic, requests: Any, message: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=message):
        an.messages.batches.create(requests=requests)
    assert sb.control()["batches"] == []


def test_bad_params_show_up_as_errored_rows(sb: Sandbox, an: anthropic.Anthropic) -> None:
    requests = anthropic_requests(1) + [
        {"custom_id": name, "params": {"model": "claude-haiku-4-5", "messages": HI, **params}}
        for name, params in {"warm": {"max_tokens": 5, "temperature": 1}, "endless": {}, "long": {"max_tokens": 10**6}}.items()
    ]
    requests.append({"custom_id": "who", "params": {"model": "claude-0", "max_tokens": 5, "messages": HI}})
    batch = an.messages.batches.create(requests=requests)
    sb.control("end")
    found = _results(an, batch.id)
    assert {k: r.error.error.message for k, r in found.items() if r.type == "errored"} == {
        "warm": "temperature: Extra inputs are not permitted",
        "endless": "max_tokens: Field required",
        "long": "max_tokens: 1000000 > 64000, which is the maximum allowed number of output tokens for claude-haiku-4-5",
        "who": "model: claude-0",
    }
    assert (found["who"].error.error.type, found["a0"].type) == ("not_found_error", "succeeded")


def test_chunked_create_of_a_stream(sb: Sandbox, http: httpx2.Client) -> None:
    body = json.dumps({"note": [1], "requests": anthropic_requests(3000)}, indent=1).encode()
    pieces = (body[i : i + 7000] for i in range(0, len(body), 7000))
    headers = {"authorization": "Bearer sk-t", "anthropic-version": "2026-10-21", "content-type": "application/json"}
    answer = http.post(sb.url + "/v1/messages/batches", content=pieces, headers=headers)
    assert (answer.status_code, answer.json()["request_counts"]["processing"]) == (200, 3000)


def test_too_big_is_413(tmp_path: Any, http: httpx2.Client) -> None:
    with Sandbox(tmp_path / "small", seconds=3600, anthropic_max_requests=3, anthropic_max_bytes=5000) as sb:
        an = anthropic.Anthropic(api_key="sk-t", base_url=sb.anthropic_url, http_client=http, max_retries=0)
        for requests in (anthropic_requests(4), anthropic_requests(1, system="x" * 6000)):
            with pytest.raises(anthropic.APIStatusError) as caught:
                an.messages.batches.create(requests=requests)
            assert caught.value.status_code == 413


def test_message_answers_and_counts(an: anthropic.Anthropic) -> None:
    answer = an.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=HI)
    assert (answer.stop_reason, answer.model, answer.usage.service_tier) == ("end_turn", "claude-haiku-4-5", "standard")
    assert an.messages.count_tokens(model="claude-haiku-4-5", messages=HI).input_tokens == answer.usage.input_tokens
    short = an.messages.create(model="claude-haiku-4-5", max_tokens=2, messages=HI)
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 2)


def test_message_fills_the_schema(an: anthropic.Anthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"mood": {"enum": ["positive", "negative"]}},
        "required": ["mood"],
        "additionalProperties": False,
    }
    moods = [
        an.messages.create(
            model="claude-haiku-4-5",
            max_tokens=50,
            messages=[{"role": "user", "content": text}],
            output_config={"format": {"type": "json_schema", "schema": schema}},
        )
        .content[0]
        .text  # type: ignore[union-attr]
        for text in ("I love this, thanks", "terrible, I hate it")
    ]
    assert moods == ['{"mood":"positive"}', '{"mood":"negative"}']


def test_sampling_is_refused_since_october(an: anthropic.Anthropic) -> None:
    ask: Any = {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": HI, "extra_body": {"temperature": 0.5}}
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        an.messages.create(**ask)
    assert an.messages.create(**ask, extra_headers={"anthropic-version": "2023-06-01"}).role == "assistant"


@pytest.mark.parametrize(("ttl", "field"), [("5m", "ephemeral_5m_input_tokens"), ("1h", "ephemeral_1h_input_tokens")])
def test_marked_prefix_is_written_once_then_read(an: anthropic.Anthropic, ttl: Any, field: str) -> None:
    system: Any = [{"type": "text", "text": "rule " * 1000, "cache_control": {"type": "ephemeral", "ttl": ttl}}]
    first, second = (an.messages.create(model="claude-haiku-4-5", max_tokens=5, system=system, messages=HI).usage for _ in range(2))
    assert (getattr(first.cache_creation, field), first.cache_read_input_tokens, first.input_tokens) == (1250, 0, 7)
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens, second.input_tokens) == (0, 1250, 7)


def test_keys_in_either_header_and_the_401(sb: Sandbox, an: anthropic.Anthropic, http: httpx2.Client) -> None:
    with pytest.raises(anthropic.AuthenticationError, match="API key is invalid"):
        an.with_options(api_key="sk-wrong").models.list()
    answer = http.get(sb.url + "/v1/models", headers={"x-api-key": "sk-x", "anthropic-version": "2026-10-21"})
    assert (answer.status_code, answer.headers["request-id"][:4]) == (200, "req_")


def test_models_are_anthropics(an: anthropic.Anthropic) -> None:
    names = [m.id for m in an.models.list()]
    assert "claude-haiku-4-5" in names
    assert not [name for name in names if name.startswith("gpt")]
    assert an.models.retrieve("claude-opus-5-5").capabilities.batch.supported  # type: ignore[union-attr]


def test_results_are_gone_29_days_after_the_creation(sb: Sandbox, an: anthropic.Anthropic) -> None:
    batch = an.messages.batches.create(requests=anthropic_requests(1))
    sb.control("end")
    sb.control("advance", seconds=29 * 86_400 + 1)
    gone = an.messages.batches.retrieve(batch.id)
    assert (gone.results_url, gone.archived_at is not None) == (None, True)
