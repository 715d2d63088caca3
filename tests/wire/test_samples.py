"""Samples of what the providers send: our own beside this file, recorded ones where the machine has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.providers import lines, remote
from jobs.providers.base import LineError, RemoteBatch, RequestSpec
from jobs.providers.registry import decoder_for
from jobs.words import Cause, OutcomeKind

HERE = Path(__file__).parent
SHARED = next((p for p in (HERE.parents[2] / "shared" / "wire", Path("/work/shared/wire")) if p.is_dir()), None)
SPEC = RequestSpec("generate", "m")
OK, INVALID, FAILED = OutcomeKind.SUCCEEDED, OutcomeKind.INVALID, OutcomeKind.FAILED


def jsonl(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().split(b"\n") if line]


def batch_of(provider: str, raw: Any) -> RemoteBatch:
    if provider == "anthropic":
        return remote.anthropic_batch(raw)
    return remote.openai_batch(raw, remote.COMPATIBLE_ENDS if provider == "compatible" else remote.OPENAI_ENDS)


def own(provider: str) -> list[RemoteBatch]:
    return [batch_of(provider, json.loads(line)) for line in jsonl(HERE / provider / "batches.jsonl")]


def test_own_batches_of_openai() -> None:
    said = "Enqueued token limit reached for gpt-6-luna. Limit: 900 enqueued tokens."
    twice = "The custom_id 'r1-2' was used before."
    assert [(b.id, b.status, b.ended, b.failed, b.token, b.files, b.n_requests, b.errors) for b in own("openai")] == [
        ("batch_t1", "validating", False, False, "tok", {}, 0, ()),
        ("batch_t2", "failed", True, True, "", {}, 0, (LineError("token_limit_exceeded", said, None, Cause.RATE_LIMITED, later=True),)),
        ("batch_t3", "failed", True, True, "", {}, None, (LineError("duplicate_custom_id", twice, 3, Cause.INVALID_REQUEST),)),
        ("batch_t4", "completed", True, False, "", {"error": "file-e"}, 9, ()),
        ("batch_t5", "expired", True, False, "", {"output": "file-g"}, 10, ()),
    ]


def test_own_batches_of_anthropic() -> None:
    found = [(b.id, b.status, b.ended, b.n_requests, b.n_succeeded, b.n_failed, list(b.files)) for b in own("anthropic")]
    assert found == [
        ("msgbatch_t1", "in_progress", False, 3, None, None, []),  # 0 until all has ended: not a count
        ("msgbatch_t2", "canceling", False, 3, None, None, []),
        ("msgbatch_t3", "ended", True, 3, 1, 1, ["results"]),
    ]
    assert [str(b.results_expire_at)[:10] for b in own("anthropic")] == ["2026-12-20"] * 3


def test_own_batches_of_compatible_servers() -> None:
    said = LineError("", "the input file does not exist", None, Cause.INVALID_REQUEST)
    assert [(b.id, b.ended, b.failed, b.files, b.n_requests, b.n_succeeded, b.errors) for b in own("compatible")] == [
        ("b1", True, False, {"output": "o"}, 2, 2, ()),
        ("b2", True, True, {}, None, None, (said,)),
        ("b3", False, False, {}, None, None, ()),
    ]


@pytest.mark.parametrize(
    ("provider", "causes"),
    [
        ("openai", [None, Cause.INVALID_REQUEST, Cause.EXPIRED]),
        ("anthropic", [None, Cause.MODEL_GONE, Cause.CANCELLED]),
        ("compatible", [None, Cause.INVALID_REQUEST, Cause.UNKNOWN]),
    ],
)
def test_own_results(provider: str, causes: list[Cause | None]) -> None:
    decode = decoder_for("openai-compatible" if provider == "compatible" else provider)
    answers = [decode(line, SPEC) for line in jsonl(HERE / provider / "results.jsonl")]
    assert [a.custom_id for a in answers] == ["r1-0", "r1-1", "r1-2"]
    assert [a.cause for a in answers] == causes
    first = answers[0]
    assert (first.kind, first.text, first.billed, first.output_tokens) == (OK, "Positive.", "paid", 3)
    assert [a.billed for a in answers[1:]] == ["unpaid", "unpaid"]


def recorded(pattern: str) -> list[Path]:
    if SHARED is None:
        pytest.skip("no recorded traffic on this machine (../shared/wire)")
    found = sorted(SHARED.glob(pattern))
    assert found
    return found


def provider_in(path: Path) -> str:
    return {"anthropic": "anthropic", "mistral": "compatible"}.get(path.name.split("-")[0], "openai")


# What the lines of a recorded file are, where they are not all plain successes.
UNUSUAL: dict[str, list[tuple[OutcomeKind, Cause | None]]] = {
    "anthropic-results--max_tokens-too-large.jsonl": [(FAILED, Cause.INVALID_REQUEST)],
    "anthropic-results--mixed.jsonl": [
        (OK, None),
        (FAILED, Cause.MODEL_GONE),
        (FAILED, Cause.INVALID_REQUEST),
        (OutcomeKind.CANCELLED, Cause.CANCELLED),
    ],
    "openai-error-file--batch_cancelled.jsonl": [(OutcomeKind.CANCELLED, Cause.CANCELLED), (OutcomeKind.EXPIRED, Cause.EXPIRED)],
    "openai-error-file--context_length_exceeded.jsonl": [(FAILED, Cause.CONTEXT_TOO_LONG)],
    "openai-error-file--insufficient_quota.jsonl": [(FAILED, Cause.BILLING)],
    "openai-error-file--integer_below_min_value.jsonl": [(FAILED, Cause.INVALID_REQUEST)],
    "openai--curator--openai__resubmission_batch_completion--output-2.jsonl": [(INVALID, Cause.CUT_OFF)],
}


def usage_in(data: dict[str, Any]) -> tuple[int, int]:
    """(prompt, answer) tokens that a recorded line names, found independently of the adapters."""
    if "result" in data:
        usage = data["result"].get("message", {}).get("usage", {})
    else:
        usage = ((data.get("response") or {}).get("body") or {}).get("usage", {})
    names = ("input_tokens", "prompt_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return sum(usage.get(name, 0) for name in names), usage.get("output_tokens", usage.get("completion_tokens", 0))


def test_recorded_result_lines() -> None:
    seen = 0
    for path in recorded("*/*.jsonl"):
        decode = decoder_for(provider_in(path))
        raw = [json.loads(line) for line in jsonl(path)]
        answers = [decode(line, SPEC) for line in jsonl(path)]
        assert [a.custom_id for a in answers] == [data["custom_id"] for data in raw], path.name
        expected = UNUSUAL.get(path.name)
        if expected is None:
            assert all((a.kind, a.cause, a.billed) == (OK, None, "paid") and a.text and a.model for a in answers), path.name
        else:
            assert [(a.kind, a.cause) for a in answers] == expected, path.name
        assert [(a.input_tokens, a.output_tokens) for a in answers] == [usage_in(data) for data in raw], path.name
        seen += len(answers)
    assert seen >= 30


def test_recorded_batches() -> None:
    seen = 0
    for path in recorded("recorded/*.json"):
        raw = json.loads(path.read_bytes())
        if not isinstance(raw, dict) or not (raw.get("object") == "batch" or raw.get("type") == "message_batch"):
            continue
        batch = batch_of(provider_in(path), raw)
        status = str(raw.get("processing_status") or raw["status"])
        ended = status.lower() in ("completed", "cancelled", "failed", "expired", "ended", "success")
        assert (batch.id, batch.status, batch.ended, batch.errors) == (raw["id"], status, ended, ()), path.name
        assert batch.created_at == lines.time_of(raw["created_at"]), path.name
        assert (batch.ended_at is None) == (not ended), path.name
        files = [raw.get(name) for name in ("output_file_id", "error_file_id", "output_file", "error_file", "results_url") if raw.get(name)]
        assert list(batch.files.values()) == files, path.name
        seen += 1
    assert seen >= 60


def test_recorded_lists() -> None:
    for path in recorded("recorded/*list.json"):
        raw = json.loads(path.read_bytes())
        found = [batch_of(provider_in(path), entry).id for entry in raw["data"]]
        assert found == [entry["id"] for entry in raw["data"]]
        assert found
