"""Each verb of OpenAI's manner, through the real SDK."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import httpx2
import openai
import pytest

from jobs.sandbox import Sandbox
from tests.sandbox.conftest import CHAT, request_lines, rows, submit


def test_file_goes_up_and_comes_down_byte_for_byte(oa: openai.OpenAI) -> None:
    data = b"x\r\n\r\n--y\n" * 300_000
    file = oa.files.create(file=("a.jsonl", io.BytesIO(data)), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600})
    assert (file.bytes, file.filename, file.purpose, file.expires_at) == (len(data), "a.jsonl", "batch", file.created_at + 3600)
    assert oa.files.retrieve(file.id) == file
    answer = oa.files.with_raw_response.content(file.id)
    assert (answer.headers["content-length"], answer.content) == (str(len(data)), data)
    assert oa.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        oa.files.content(file.id)


def test_files_are_listed_by_purpose_and_page(oa: openai.OpenAI) -> None:
    made = [oa.files.create(file=(f"{i}.jsonl", b"{}\n"), purpose="batch").id for i in range(3)]
    oa.files.create(file=("n.txt", b"n"), purpose="user_data")
    assert [f.id for f in oa.files.list(purpose="batch", limit=2)] == made[::-1]
    assert [f.id for f in oa.files.list(purpose="batch", order="asc", after=made[0]).data] == made[1:]


def test_file_that_is_not_jsonl_is_refused(oa: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        oa.files.create(file=("notes.txt", b"x"), purpose="batch")
    assert caught.value.body == {
        "message": "Invalid file format for Batch API. Must be .jsonl",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_batch_answers_every_row_out_of_order(oa: openai.OpenAI, ran: Any) -> None:
    batch, output, error = ran("gpt-6-luna", 12)
    found = rows(output)
    assert (batch.status, batch.error_file_id, error) == ("completed", None, b"")
    assert batch.request_counts.to_dict() == {"total": 12, "completed": 12, "failed": 0}
    assert sorted(found) == sorted(f"r{i}" for i in range(12))
    assert list(found) != sorted(found, key=lambda name: int(name[1:]))
    assert found["r3"]["response"]["body"]["choices"][0]["message"]["content"].startswith("About “Question number 3”: ")
    usage = [line["response"]["body"]["usage"] for line in found.values()]
    assert batch.usage.input_tokens == sum(u["prompt_tokens"] for u in usage)
    assert batch.usage.output_tokens == sum(u["completion_tokens"] for u in usage)
    assert oa.files.retrieve(batch.output_file_id).purpose == "batch_output"


def test_statuses_and_counts_follow_the_clock(sb: Sandbox, oa: openai.OpenAI) -> None:
    batch = submit(oa, request_lines(10), metadata={"intent": "x"})
    seen = [batch.status]
    for seconds in (400, 1450, 1400, 400):
        sb.control("advance", seconds=seconds)
        now = oa.batches.retrieve(batch.id)
        seen.append((now.status, now.request_counts.completed))
    assert seen == ["validating", ("in_progress", 0), ("in_progress", 5), ("finalizing", 10), ("completed", 10)]
    assert (now.metadata, now.expires_at - now.created_at) == ({"intent": "x"}, 86_400)


def test_batches_are_listed_newest_first_in_pages(oa: openai.OpenAI) -> None:
    made = [submit(oa, request_lines(1)).id for _ in range(5)]
    first = oa.batches.list(limit=2)
    assert ([b.id for b in first.data], first.has_more) == (made[:2:-1], True)
    assert [b.id for b in oa.batches.list(limit=2)] == made[::-1]
    with pytest.raises(openai.BadRequestError):
        oa.batches.list(limit=101)


def test_cancelled_batch_keeps_what_ran(sb: Sandbox, oa: openai.OpenAI) -> None:
    batch = submit(oa, request_lines(10))
    sb.control("advance", seconds=1800)
    assert oa.batches.cancel(batch.id).status == "cancelling"
    sb.control("settle")
    batch = oa.batches.retrieve(batch.id)
    output, error = (rows(oa.files.content(i).content) for i in (batch.output_file_id, batch.error_file_id))
    assert (batch.status, sorted([*output, *error])) == ("cancelled", sorted(f"r{i}" for i in range(10)))
    assert {line["error"]["code"] for line in error.values()} == {"batch_cancelled"}
    assert sorted(row["custom_id"] for row in sb.control("executed")) == sorted(output)
    with pytest.raises(openai.ConflictError):
        oa.batches.cancel(batch.id)


def test_batch_cancelled_while_validating_has_no_files(sb: Sandbox, oa: openai.OpenAI) -> None:
    batch = submit(oa, request_lines(3))
    oa.batches.cancel(batch.id)
    sb.control("settle")
    batch = oa.batches.retrieve(batch.id)
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("cancelled", None, None)


def test_expired_batch_says_so_of_each_row_that_did_not_run(sb: Sandbox, oa: openai.OpenAI) -> None:
    batch = submit(oa, request_lines(10))
    sb.control("end", batch=batch.id, status="expired", share=0.4)
    batch = oa.batches.retrieve(batch.id)
    error = rows(oa.files.content(batch.error_file_id).content)
    assert (batch.status, len(error), batch.request_counts.completed) == ("expired", 6, 4)
    assert {line["error"]["code"] for line in error.values()} == {"batch_expired"}


def _broken(change: dict[str, Any]) -> bytes:
    good = json.loads(request_lines(1))
    return json.dumps({k: v for k, v in (good | {"custom_id": "bad"} | change).items() if v is not None}).encode() + b"\n"


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b"{nope\n", "invalid_json_line", None),
        (b"\n", "invalid_json_line", None),
        (_broken({"custom_id": "r0"}), "duplicate_custom_id", "custom_id"),
        (_broken({"method": None}), "missing_required_parameter", "method"),
        (_broken({"url": "/v1/responses"}), "invalid_url", "url"),
        (_broken({"body": {"model": "gpt-6-sol", "messages": []}}), "mismatched_model", "body.model"),
        (_broken({"body": {"model": "gpt-1", "messages": []}}), "model_not_found", "body.model"),
        (_broken({"body": {"model": "gpt-6-luna", "stream": True}}), "streaming_unsupported", "body.stream"),
    ],
)
def test_bad_line_fails_the_whole_batch(sb: Sandbox, oa: openai.OpenAI, line: bytes, code: str, param: str | None) -> None:
    batch = submit(oa, request_lines(2) + line + request_lines(1))
    sb.control("end")
    batch = oa.batches.retrieve(batch.id)
    (entry,) = batch.errors.data
    assert (batch.status, entry.code, entry.param, entry.line) == ("failed", code, param, 3)
    assert (batch.request_counts.total, batch.output_file_id, sb.control("executed")) == (0, None, [])


def test_empty_file_and_bom_fail(sb: Sandbox, oa: openai.OpenAI) -> None:
    batches = [submit(oa, data) for data in (b"", b"\xef\xbb\xbf" + request_lines(1))]
    sb.control("end")
    assert [oa.batches.retrieve(b.id).errors.data[0].code for b in batches] == ["empty_file", "invalid_json_line"]  # type: ignore[union-attr,index]


def test_too_many_requests_fail(tmp_path: Any, http: httpx2.Client) -> None:
    with Sandbox(tmp_path / "small", seconds=3600, max_requests=3, max_bytes=2000) as sb:
        oa = openai.OpenAI(api_key="sk-t", base_url=sb.openai_url, http_client=http, max_retries=0)
        batch = submit(oa, request_lines(4))
        sb.control("end")
        assert oa.batches.retrieve(batch.id).status == "failed"
        with pytest.raises(openai.BadRequestError, match="File is too large"):
            submit(oa, request_lines(40))


def test_unknown_file_and_window_are_refused(oa: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Cannot find file file-x") as caught:
        oa.batches.create(input_file_id="file-x", endpoint=CHAT, completion_window="24h")
    assert caught.value.param == "file_id"
    with pytest.raises(openai.BadRequestError):
        oa.batches.create(input_file_id="file-x", endpoint=CHAT, completion_window="1h")  # type: ignore[arg-type]
    with pytest.raises(openai.NotFoundError):
        oa.batches.retrieve("batch_nothere")


def test_wrong_and_missing_keys_are_401(sb: Sandbox, oa: openai.OpenAI, http: httpx2.Client) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        oa.with_options(api_key="sk-wrong").models.list()
    assert caught.value.code == "invalid_api_key"
    assert http.get(sb.openai_url + "/models").status_code == 401


def test_chat_fills_the_schema_with_the_label_that_fits(oa: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": ["billing", "technical", "other"]}},
        "required": ["label"],
        "additionalProperties": False,
    }
    said = [
        oa.chat.completions.create(
            model="gpt-6-luna",
            messages=[{"role": "user", "content": text}],
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}},
        )
        .choices[0]
        .message.content
        for text in ("I want my money back, a refund please", "It crashes with an error at start")
    ]
    assert said == ['{"label":"billing"}', '{"label":"technical"}']


def test_responses_fill_the_schema_and_stop_at_the_limit(oa: openai.OpenAI) -> None:
    form: Any = {
        "format": {
            "type": "json_schema",
            "name": "x",
            "schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
        }
    }
    answer = oa.responses.create(model="gpt-6-luna", input="count", text=form)
    assert list(json.loads(answer.output_text)) == ["n"]
    short = oa.responses.create(model="gpt-6-luna", input="word " * 100, max_output_tokens=16)
    assert (short.status, short.incomplete_details.reason, short.usage.output_tokens) == ("incomplete", "max_output_tokens", 16)  # type: ignore[union-attr]
    with pytest.raises(openai.BadRequestError) as caught:
        oa.responses.create(model="gpt-6-luna", input="x", max_output_tokens=10)
    assert caught.value.code == "integer_below_min_value"


def test_chat_stops_at_the_limit_and_refuses_max_tokens(oa: openai.OpenAI) -> None:
    ask: Any = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "word " * 50}]}
    answer = oa.chat.completions.create(**ask, max_completion_tokens=5)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 5)  # type: ignore[union-attr]
    with pytest.raises(openai.BadRequestError) as caught:
        oa.chat.completions.create(**ask, max_tokens=5)
    assert caught.value.code == "unsupported_parameter"
    with pytest.raises(openai.NotFoundError):
        oa.chat.completions.create(**(ask | {"model": "gpt-1"}))


def test_same_request_same_answer(oa: openai.OpenAI) -> None:
    ask: Any = {"model": "sandbox-any", "messages": [{"role": "user", "content": "say it"}]}
    first, second = (oa.chat.completions.create(**ask) for _ in range(2))
    assert (first.choices, first.model) == (second.choices, "sandbox-any")


def test_long_shared_prefix_is_cached_the_second_time(oa: openai.OpenAI) -> None:
    ask: Any = {"model": "gpt-6-luna", "messages": [{"role": "system", "content": "rule " * 2000}, {"role": "user", "content": "x"}]}
    details = [oa.chat.completions.create(**ask).usage.prompt_tokens_details for _ in range(2)]  # type: ignore[union-attr]
    assert [(d.cached_tokens, d.cache_write_tokens) for d in details] == [(0, 2048), (2048, 0)]  # type: ignore[union-attr]


def test_embeddings_are_unit_vectors_in_either_encoding(oa: openai.OpenAI) -> None:
    ask: Any = {"model": "text-embedding-3-small", "input": ["one", "two"]}
    floats = oa.embeddings.create(**ask, encoding_format="float")
    packed = oa.embeddings.create(**ask)  # the SDK asks for base64 and decodes it
    assert [len(e.embedding) for e in floats.data] == [1536, 1536]
    assert math.isclose(sum(x * x for x in floats.data[0].embedding), 1, abs_tol=1e-5)
    assert floats.data[0].embedding != floats.data[1].embedding
    assert packed.data[1].embedding == pytest.approx(floats.data[1].embedding, abs=1e-6)
    assert len(oa.embeddings.create(**ask, dimensions=64).data[0].embedding) == 64


def test_embeddings_and_responses_run_in_batches(sb: Sandbox, oa: openai.OpenAI) -> None:
    def line(url: str, body: Any) -> bytes:
        return json.dumps({"custom_id": "r0", "method": "POST", "url": url, "body": body}).encode() + b"\n"

    bodies = {
        "/v1/embeddings": {"model": "text-embedding-3-small", "input": "a"},
        "/v1/responses": {"model": "gpt-6-luna", "input": "a"},
        "/v1/moderations": {"model": "omni-moderation-latest", "input": "a"},
    }
    made = {url: submit(oa, line(url, body), url) for url, body in bodies.items()}
    sb.control("end")
    got = {url: oa.files.content(oa.batches.retrieve(b.id).output_file_id or "").content for url, b in made.items()}
    answers = {url: json.loads(data)["response"]["body"] for url, data in got.items()}
    assert [len(answers["/v1/embeddings"]["data"][0]["embedding"]), answers["/v1/responses"]["object"]] == [1536, "response"]
    assert answers["/v1/moderations"]["results"][0]["flagged"] is False


def test_moderation_flags_harsh_words(oa: openai.OpenAI) -> None:
    assert [r.flagged for r in oa.moderations.create(input=["I will kill you", "good morning"]).results] == [True, False]


def test_models_are_listed_by_manner(oa: openai.OpenAI, sb: Sandbox, http: httpx2.Client) -> None:
    names = [m.id for m in oa.models.list()]
    assert {"gpt-6-luna", "text-embedding-3-small"} <= set(names)
    assert not [name for name in names if name.startswith("claude")]
    assert oa.models.retrieve("gpt-6-sol").id == "gpt-6-sol"


def test_output_files_expire(sb: Sandbox, oa: openai.OpenAI) -> None:
    batch = submit(oa, request_lines(1), output_expires_after={"anchor": "created_at", "seconds": 3600})
    sb.control("end")
    file_id = oa.batches.retrieve(batch.id).output_file_id or ""
    assert oa.files.retrieve(file_id).bytes == len(oa.files.content(file_id).content)
    sb.control("advance", seconds=3700)
    with pytest.raises(openai.NotFoundError):
        oa.files.content(file_id)
