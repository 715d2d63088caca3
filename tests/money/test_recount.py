"""Receipts against a recount from the raw answers: random rows, tiers, caches, lanes and rounds, read here line by line from what the
provider sent and priced with genai-prices itself; nothing of what is tested is used for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.engine import collect, tally
from jobs.engine.lease import claim
from jobs.engine.places import request_file, results_folder
from jobs.engine.receipts import receipt_of
from jobs.engine.spec import sheet_for, spec_to_json
from jobs.models import Batch, Job, Round
from jobs.providers.base import RequestSpec
from jobs.rows.cut import custom_id_of
from jobs.words import BatchState, Lane, RoundReason, RoundState
from tests.engine import world

pytestmark = pytest.mark.django_db(transaction=True)
CONTEXTS: dict[str, dict[str, str] | None] = {"batch": {"processing": "batch"}, "flex": {"service_tier": "flex"}, "direct": None}
INPUTS = (3, 900, 5_000, 100_000, 100_001, 272_000, 272_001, 800_000)
N = 6


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    """What came of a row: tokens as the provider counts them, or an error that costs nothing."""
    whole = draw(st.sampled_from(INPUTS))
    cached = draw(st.integers(0, whole))
    write = draw(st.integers(0, whole - cached))
    kind = draw(st.sampled_from(["answer", "answer", "answer", "cut", "error"]))
    return {
        "kind": kind,
        "whole": whole,
        "cached": cached,
        "write": write,
        "hour": draw(st.integers(0, write)),
        "out": draw(st.integers(1, 9_999)),
    }


rounds = st.lists(st.tuples(st.sampled_from(list(CONTEXTS)), st.lists(answers(), min_size=N, max_size=N)), min_size=1, max_size=3)


def openai_line(custom_id: str, row: dict[str, Any]) -> dict[str, Any]:
    if row["kind"] == "error":
        body: dict[str, Any] = {"error": {"message": "broken", "type": "server_error", "code": "server_error"}}
        return {"custom_id": custom_id, "response": {"status_code": 500, "request_id": "r", "body": body}, "error": None}
    finish = "length" if row["kind"] == "cut" else "stop"
    details = {"cached_tokens": row["cached"], "cache_write_tokens": row["write"]}
    usage = {"prompt_tokens": row["whole"], "completion_tokens": row["out"], "prompt_tokens_details": details}
    body = {"id": "c", "model": "gpt-6-luna", "choices": [{"message": {"content": "ok"}, "finish_reason": finish}], "usage": usage}
    return {"custom_id": custom_id, "response": {"status_code": 200, "request_id": "r", "body": body}, "error": None}


def anthropic_line(custom_id: str, row: dict[str, Any]) -> dict[str, Any]:
    if row["kind"] == "error":
        error = {"type": "error", "error": {"type": "api_error", "message": "broken"}}
        return {"custom_id": custom_id, "result": {"type": "errored", "error": error}}
    usage = {
        "input_tokens": row["whole"] - row["cached"] - row["write"],
        "cache_read_input_tokens": row["cached"],
        "cache_creation_input_tokens": row["write"],
        "cache_creation": {"ephemeral_5m_input_tokens": row["write"] - row["hour"], "ephemeral_1h_input_tokens": row["hour"]},
        "output_tokens": row["out"],
    }
    stop = "max_tokens" if row["kind"] == "cut" else "end_turn"
    message = {"id": "m", "model": "claude-haiku-5-5", "content": [{"type": "text", "text": "ok"}], "stop_reason": stop, "usage": usage}
    return {"custom_id": custom_id, "result": {"type": "succeeded", "message": {"type": "message", "role": "assistant", **message}}}


def recount(kind: str, model: str, lane: str, lines: list[bytes]) -> Decimal:
    """Dollars of a result file by genai-prices, a call for each paid line."""
    total = Decimal(0)
    for raw in lines:
        line = json.loads(raw)
        usage = (line["response"]["body"] if kind == "openai" else line["result"].get("message", {})).get("usage")
        if usage is None:
            continue
        if kind == "openai":
            details = usage["prompt_tokens_details"]
            counts = {"input_tokens": usage["prompt_tokens"], "cache_read_tokens": details["cached_tokens"]}
            counts |= {"cache_write_tokens": details["cache_write_tokens"], "output_tokens": usage["completion_tokens"]}
        else:
            written, read = usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]
            counts = {"input_tokens": usage["input_tokens"] + written + read, "cache_read_tokens": read, "cache_write_tokens": written}
            counts |= {
                "cache_write_1h_tokens": usage["cache_creation"]["ephemeral_1h_input_tokens"],
                "output_tokens": usage["output_tokens"],
            }
        when, context = datetime.now(UTC), CONTEXTS[lane]
        found = calc_price(TheirUsage(**counts), model, provider_id=kind, genai_request_timestamp=when, price_context=context)
        total += found.total_price
    return total


def settle_round(job: Job, number: int, lane: str, rows: list[dict[str, Any]]) -> list[bytes]:
    """A round whose answers are on our disk, collected as any other; the raw lines."""
    assert job.connection is not None
    assert job.prompt_version is not None
    spec = spec_to_json(RequestSpec("generate", job.model, 10_000, service_tier="flex" if lane == "flex" else ""))
    reason = RoundReason.FIRST if number == 1 else RoundReason.RETRY
    made = Round.objects.create(
        job=job, number=number, reason=reason, lane=Lane(lane), connection=job.connection, prompt_version=job.prompt_version, spec=spec,
        sheet=sheet_for(job.connection, job.model).to_json(), n_rows=N, state=RoundState.RUNNING,
    )  # fmt: skip
    batch = Batch.objects.create(
        job=job, round=made, connection=job.connection, number=1, model=job.model, token=f"t{job.pk.hex[:8]}{number}", n_requests=N,
        n_bytes=1, state=BatchState.FETCHED, provider_batch_id=f"b-{job.pk.hex}-{number}", submitted_at=timezone.now(),
    )  # fmt: skip
    ids = [custom_id_of(batch.token, row) for row in range(N)]
    request_file(batch).parent.mkdir(parents=True)
    request_file(batch).write_bytes(b"".join(json.dumps({"custom_id": each}).encode() + b"\n" for each in ids))
    line = openai_line if job.connection.kind == "openai" else anthropic_line
    raw = [json.dumps(line(each, row)).encode() for each, row in zip(ids, rows, strict=True)]
    results_folder(batch).mkdir(parents=True)
    (results_folder(batch) / "output.jsonl").write_bytes(b"\n".join(raw) + b"\n")
    lease = claim(Batch, batch.pk)
    assert lease is not None
    if number > 1:
        tally.take_back(job.pk, dict(Batch.objects.get(job=job, round__number=number - 1).outcomes))
    collect.collect(Batch.objects.select_related("job", "round", "connection").get(pk=batch.pk), lease)
    return raw


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["openai", "anthropic"]), rounds)
def test_a_receipt_equals_a_recount_from_the_raw_answers(
    people: Any, sandbox: Any, data_folder: Any, kind: str, given_rounds: list[tuple[str, list[dict[str, Any]]]]
) -> None:
    model = "gpt-6-luna" if kind == "openai" else "claude-haiku-5-5"
    job = world.make(people, sandbox, kind=kind, model=model, n_rows=N, planned=False)
    job.rounds.all().delete()
    paid = realtime = Decimal(0)
    for number, (wanted, rows) in enumerate(given_rounds, start=1):
        lane = "batch" if kind == "anthropic" and wanted == "flex" else wanted
        raw = settle_round(job, number, lane, rows)
        paid += recount(kind, model, lane, raw)
        realtime += recount(kind, model, "direct", raw)
    job.refresh_from_db()
    found = receipt_of(job)
    assert (found.paid.amount, found.realtime.amount) == (paid, realtime)
    assert sum((line.amount or Decimal(0) for line in found.lines), Decimal(0)) == paid
    assert sum((total.paid.amount or Decimal(0) for total in found.rounds), Decimal(0)) == paid
    assert abs(job.paid_usd - paid) < Decimal("1e-9")
    assert abs(job.realtime_usd - realtime) < Decimal("1e-9")
