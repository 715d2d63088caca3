"""Each fault of rows, of result files and of a batch's life, by the model's name."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import orjson
import pytest

from jobs.sandbox import Sandbox
from jobs.sandbox.orders import ERRORS
from tests.sandbox.conftest import anthropic_requests, request_lines, rows, submit


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_error_rows_go_to_the_error_file_unpaid(sb: Sandbox, ran: Any, name: str) -> None:
    status, kind, code, _, _ = ERRORS[name][0]
    batch, output, error = ran(f"gpt-6-luna+{name}=2")
    found = rows(error)
    assert sorted(found) == ["r0", "r1"]
    assert [
        (r["response"]["status_code"], r["response"]["body"]["error"]["type"], r["response"]["body"]["error"]["code"], r["error"])
        for r in found.values()
    ] == [(status, kind, code, None)] * 2
    assert batch.request_counts.to_dict() == {"total": 6, "completed": 4, "failed": 2}
    assert sorted(r["custom_id"] for r in sb.control("executed") if not r["paid"]) == ["r0", "r1"]
    assert sorted(rows(output)) == ["r2", "r3", "r4", "r5"]


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_error_rows_are_nested_twice_at_anthropic(sb: Sandbox, an: anthropic.Anthropic, name: str) -> None:
    batch = an.messages.batches.create(requests=anthropic_requests(3, f"claude-haiku-4-5+{name}=1"))
    sb.control("end")
    found: Any = {r.custom_id: r.result for r in an.messages.batches.results(batch.id)}
    assert (found["a0"].error.error.type, found["a0"].error.error.message) == ERRORS[name][1][1:]
    assert an.messages.batches.retrieve(batch.id).request_counts.errored == 1


def test_every_row_failed_is_completed_without_output(ran: Any) -> None:
    batch, _, error = ran("gpt-6-luna+invalid")
    assert (batch.status, batch.output_file_id, len(rows(error))) == ("completed", None, 6)


def test_same_body_fails_again_unless_once_is_ordered(ran: Any) -> None:
    assert [len(rows(ran("gpt-6-luna+errors=40%", 20)[2])) for _ in range(2)] == [n := len(rows(ran("gpt-6-luna+errors=40%", 20)[2]))] * 2
    assert n > 0
    first, second = (ran("gpt-6-luna+errors=50%,once", 20) for _ in range(2))
    assert (len(rows(first[2])) > 0, second[2], len(rows(second[1]))) == (True, b"", 20)


def _content(line: Any) -> Any:
    return line["response"]["body"]["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("name", "finish", "content", "refusal"),
    [
        ("filter", "content_filter", "", None),
        ("refusal", "stop", None, "I can't help with that."),
        ("empty", "stop", "", None),
    ],
)
def test_answers_that_are_none(ran: Any, name: str, finish: str, content: Any, refusal: Any) -> None:
    line = rows(ran(f"gpt-6-luna+{name}=1")[1])["r0"]
    choice = line["response"]["body"]["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"], choice["message"]["refusal"]) == (finish, content, refusal)


def test_cut_off_answer(ran: Any) -> None:
    body = rows(ran("gpt-6-luna+cutoff=1")[1])["r0"]["response"]["body"]
    assert (body["choices"][0]["finish_reason"], body["usage"]["completion_tokens"] > 0) == ("length", True)


def test_answers_that_do_not_fit_the_schema(ran: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    found = rows(ran("gpt-6-luna+badschema=1,notjson=1", response_format=form)[1])
    assert "a" not in json.loads(_content(found["r0"]))
    with pytest.raises(json.JSONDecodeError):
        json.loads(_content(found["r1"]))
    assert list(json.loads(_content(found["r2"]))) == ["a"]


def test_odd_characters(ran: Any) -> None:
    _, output, _ = ran("gpt-6-luna+nul=1,u2028=1,u0085=1,surrogate=1")
    found = rows(output)
    assert ["\x00" in _content(found["r0"]), "\u2028" in _content(found["r1"]), "\u0085" in _content(found["r2"])] == [True] * 3
    assert "\u2028".encode() in output  # raw, not escaped
    assert _content(found["r3"]).endswith("\ud83d")
    assert len(output.decode().splitlines()) > 6


def test_odd_json(ran: Any) -> None:
    _, output, _ = ran("gpt-6-luna+nan=1,bigint=1,deep=1")
    lines = {line.split(b'"custom_id":"')[1][:2]: line for line in output.split(b"\n")[:-1]}
    assert (b":NaN," in lines[b"r0"], b"9" * 5000 in lines[b"r1"], b"[" * 100_000 in lines[b"r2"]) == (True, True, True)
    for name in (b"r0", b"r2"):
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(lines[name])


def test_line_of_five_megabytes(ran: Any) -> None:
    _, output, _ = ran("gpt-6-luna+huge=1", 2)
    assert sorted(len(line) > 5_000_000 for line in output.split(b"\n")[:-1]) == [False, True]


def test_wrong_model_is_named(ran: Any) -> None:
    assert rows(ran("gpt-6-luna+wrong_model=1")[1])["r0"]["response"]["body"]["model"] == "gpt-substitute"


def test_missing_rows_were_paid_and_lost_rows_were_not(sb: Sandbox, ran: Any) -> None:
    batch, output, error = ran("gpt-6-luna+missing=1,lost=1")
    assert (sorted(rows(output)), error) == (["r2", "r3", "r4", "r5"], b"")
    assert sorted(r["custom_id"] for r in sb.control("executed", batch=batch.id)) == ["r0", "r2", "r3", "r4", "r5"]


def test_status_zero_expired_and_unknown_lines(ran: Any) -> None:
    _, output, error = ran("gpt-6-luna+status0=1,expired=1,cancelled=1,unknowntype=1")
    found = rows(error)
    assert found["r0"]["response"] == {"status_code": 0, "request_id": "", "body": None}
    assert [found[r]["error"]["code"] for r in ("r1", "r2")] == ["batch_expired", "batch_cancelled"]
    assert (rows(output)["r3"]["response"], rows(output)["r3"]["error"]) == (None, None)


def test_unknown_result_type_at_anthropic(sb: Sandbox, an: anthropic.Anthropic) -> None:
    batch = an.messages.batches.create(requests=anthropic_requests(1, "claude-haiku-4-5+unknowntype"))
    sb.control("end")
    raw = an.messages.batches.with_raw_response.retrieve(batch.id).parse()
    assert raw.request_counts.succeeded == 1
    assert [getattr(r.result, "type", None) for r in an.messages.batches.results(batch.id)] == ["brand_new"]


def test_lines_broken_doubled_contradicting_and_stray(ran: Any) -> None:
    _, output, _ = ran("gpt-6-luna+broken=1,duplicate=1,conflict=1,stray=1,blank=1", 7)
    good, bad = [], []
    for line in output.split(b"\n")[:-1]:
        try:
            good.append(json.loads(line))
        except json.JSONDecodeError:
            bad.append(line)
    ids = sorted(line["custom_id"] for line in good)
    assert ids == ["r1", "r1", "r2", "r2", "r3", "r4", "r5", "r6", "stray-r3"]
    assert [b'"custom_id":"r0"' in line for line in sorted(bad)] == [False, True]  # the blank line and the half one
    assert len({_content(line) for line in good if line["custom_id"] == "r1"}) == 1
    assert len({_content(line) for line in good if line["custom_id"] == "r2"}) == 2


def test_glued_lines(ran: Any) -> None:
    _, output, _ = ran("gpt-6-luna+glued=#1,noshuffle", 3)
    assert output.count(b"}{") == 1
    assert output.count(b"\n") == 2


def test_damage_of_the_whole_file(ran: Any) -> None:
    _, output, _ = ran("gpt-6-luna+crlf,bom,notail", 3)
    assert (output[:3], output.count(b"\r\n"), output[-1:]) == (b"\xef\xbb\xbf", 2, b"}")


def test_credit_runs_out_in_the_middle(sb: Sandbox, an: anthropic.Anthropic, ran: Any) -> None:
    _, output, error = ran("gpt-6-luna+broke=50%", 10)
    assert (len(rows(output)), {r["response"]["body"]["error"]["code"] for r in rows(error).values()}) == (5, {"insufficient_quota"})
    batch = an.messages.batches.create(requests=anthropic_requests(4, "claude-haiku-4-5+broke=50%"))
    sb.control("end")
    said = [r.result.error.error.message for r in an.messages.batches.results(batch.id) if r.result.type == "errored"]
    assert said == ["Your credit balance is too low to access the Anthropic API."] * 2


def test_batch_expires_or_is_cancelled_by_itself(sb: Sandbox, oa: openai.OpenAI) -> None:
    made = [submit(oa, request_lines(10, f"gpt-6-luna+{order}")).id for order in ("expire=30%", "cancel=20%,counts=fallback")]
    for seconds in (1000, 3000):
        sb.control("advance", seconds=seconds)
    expired, cancelled = map(oa.batches.retrieve, made)
    assert (expired.status, expired.request_counts.completed) == ("expired", 3)  # type: ignore[union-attr]
    assert (cancelled.status, cancelled.request_counts.completed) == ("cancelled", 0)  # type: ignore[union-attr]
    assert len(rows(oa.files.content(cancelled.output_file_id or "").content)) == 2


def test_never_ending_and_stuck_batches_end_after_a_day(sb: Sandbox, oa: openai.OpenAI) -> None:
    made = [submit(oa, request_lines(4, f"gpt-6-luna+{order}")).id for order in ("never", "stuck=validating", "stuck=finalizing")]
    for seconds in (1000, 20_000):
        sb.control("advance", seconds=seconds)
    assert [oa.batches.retrieve(i).status for i in made] == ["in_progress", "validating", "finalizing"]
    sb.control("advance", seconds=86_400)
    assert [oa.batches.retrieve(i).status for i in made] == ["expired", "validating", "completed"]


def test_failed_batch_with_a_code(sb: Sandbox, oa: openai.OpenAI) -> None:
    batch = submit(oa, request_lines(2, "gpt-6-luna+fail=billing_hard_limit_reached"))
    sb.control("advance", seconds=1000)
    batch = oa.batches.retrieve(batch.id)
    assert (batch.status, batch.errors.data[0].code, batch.output_file_id) == ("failed", "billing_hard_limit_reached", None)


def test_enqueued_tokens_are_limited_per_model(sb: Sandbox, oa: openai.OpenAI) -> None:
    sb.control("set", enqueued_tokens={"gpt-6-luna": 600})
    data = request_lines(10)
    first, second = submit(oa, data), submit(oa, data)
    other = submit(oa, request_lines(10, "gpt-6-sol"))
    sb.control("advance", seconds=1000)
    states = [oa.batches.retrieve(b.id) for b in (first, second, other)]
    assert [b.status for b in states] == ["in_progress", "failed", "in_progress"]
    assert (states[1].errors.data[0].code, "Limit: 600 enqueued tokens" in states[1].errors.data[0].message) == (
        "token_limit_exceeded",
        True,
    )  # type: ignore[union-attr,index,operator]
    sb.control("end")
    third = submit(oa, data)
    sb.control("end")
    assert oa.batches.retrieve(third.id).status == "completed"


def test_unknown_status_and_odd_counts_and_ids(sb: Sandbox, oa: openai.OpenAI, an: anthropic.Anthropic, ran: Any) -> None:
    batch = submit(oa, request_lines(2, "gpt-6-luna+status=paused"))
    other = an.messages.batches.create(requests=anthropic_requests(1, "claude-haiku-4-5+status=resting"))
    assert (oa.batches.retrieve(batch.id).status, an.messages.batches.retrieve(other.id).processing_status) == ("paused", "resting")
    zero, wrong, ids = (ran(f"gpt-6-luna+{order}")[0] for order in ("counts=zero", "counts=wrong", "ids=empty"))
    assert zero.request_counts.to_dict() == {"total": 0, "completed": 0, "failed": 0}
    assert wrong.request_counts.to_dict() == {"total": 5, "completed": 13, "failed": 0}
    assert (ids.error_file_id, bool(ids.output_file_id)) == ("", True)


def test_zero_byte_error_file(oa: openai.OpenAI, ran: Any) -> None:
    batch, _, error = ran("gpt-6-luna+emptyerror")
    assert (bool(batch.error_file_id), oa.files.retrieve(batch.error_file_id).bytes, error) == (True, 0, b"")


def test_direct_calls_take_row_orders_too(sb: Sandbox, oa: openai.OpenAI, an: anthropic.Anthropic) -> None:
    ask: Any = {"messages": [{"role": "user", "content": "hi"}]}
    with pytest.raises(openai.RateLimitError):
        oa.chat.completions.create(model="gpt-6-luna+ratelimit=1", **ask)
    assert oa.chat.completions.create(model="gpt-6-luna+ratelimit=1", **ask).model == "gpt-6-luna"
    with pytest.raises(anthropic.APIStatusError) as caught:
        an.messages.create(model="claude-haiku-4-5+overloaded", max_tokens=5, **ask)
    assert caught.value.status_code == 529
    assert [(r["status"], r["paid"]) for r in sb.control("executed")] == [(429, False), (200, True), (529, False)]


def test_flex_is_out_of_resources_where_default_is_not(oa: openai.OpenAI) -> None:
    ask: Any = {"model": "gpt-6-luna+resource", "messages": [{"role": "user", "content": "hi"}]}
    with pytest.raises(openai.RateLimitError) as caught:
        oa.chat.completions.create(**ask, service_tier="flex")
    assert caught.value.code == "resource_unavailable"
    assert oa.chat.completions.create(**ask).service_tier == "default"
    assert oa.chat.completions.create(**(ask | {"model": "gpt-6-luna"}), service_tier="flex").service_tier == "flex"


def test_unknown_order_is_said(oa: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="nonsense: no such order"):
        submit(oa, request_lines(1, "gpt-6-luna+nonsense"))
