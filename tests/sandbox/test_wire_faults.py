"""Each fault that is armed through control: what the caller sees, and what happened all the same."""

from __future__ import annotations

import socket
import time
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from jobs.sandbox import Sandbox
from tests.sandbox.conftest import CHAT, anthropic_requests, request_lines, submit

STATUSES = [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529]


def _upload(oa: openai.OpenAI) -> str:
    return oa.files.create(file=("a.jsonl", request_lines(1)), purpose="batch").id


def _create(oa: openai.OpenAI, file_id: str, timeout: float = 10) -> Any:
    return oa.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h", timeout=timeout)


def _n_batches(sb: Sandbox) -> int:
    return len(sb.control()["batches"])


@pytest.mark.parametrize("status", STATUSES)
def test_status_instead_of_a_create(sb: Sandbox, oa: openai.OpenAI, an: anthropic.Anthropic, status: int) -> None:
    file_id = _upload(oa)
    sb.control("arm", verb="batches.create", fault="status", status=status, times=2, retry_after=3600)
    with pytest.raises(openai.APIStatusError) as caught:
        _create(oa, file_id)
    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (status, "3600")
    with pytest.raises(anthropic.APIStatusError) as refused:
        an.messages.batches.create(requests=anthropic_requests(1))
    assert (refused.value.status_code, refused.value.body["type"]) == (status, "error")  # type: ignore[index,call-overload]
    assert _n_batches(sb) == 0
    assert _create(oa, file_id).status == "validating"


def test_page_of_a_proxy(sb: Sandbox, oa: openai.OpenAI) -> None:
    sb.control("arm", verb="batches.list", fault="status", status=520)
    with pytest.raises(openai.APIStatusError) as caught:
        oa.batches.list()
    assert (caught.value.status_code, caught.value.response.headers["content-type"]) == (520, "text/html")


def test_file_not_found_once(sb: Sandbox, oa: openai.OpenAI) -> None:
    file_id = _upload(oa)
    sb.control("arm", verb="batches.create", fault="status", status=400, message=f"Cannot find file {file_id}", param="file_id")
    with pytest.raises(openai.BadRequestError, match="Cannot find file") as caught:
        _create(oa, file_id)
    assert caught.value.param == "file_id"
    assert _create(oa, file_id).input_file_id == file_id


def test_hang_past_the_timeout_yet_create(sb: Sandbox, oa: openai.OpenAI) -> None:
    file_id = _upload(oa)
    sb.control("arm", verb="batches.create", fault="hang", seconds=5)
    with pytest.raises(openai.APITimeoutError):
        _create(oa, file_id, timeout=0.3)
    assert [b.input_file_id for b in oa.batches.list()] == [file_id]


@pytest.mark.parametrize(
    ("fault", "error", "created"),
    [
        ({"fault": "status_after", "status": 500}, openai.InternalServerError, 1),
        ({"fault": "drop_after"}, openai.APIConnectionError, 1),
        ({"fault": "drop_before"}, openai.APIConnectionError, 0),
        ({"fault": "hang_before", "seconds": 0.05}, openai.APIConnectionError, 0),
    ],
)
def test_answer_lost_after_or_before_the_create(sb: Sandbox, oa: openai.OpenAI, fault: Any, error: Any, created: int) -> None:
    file_id = _upload(oa)
    sb.control("arm", verb="batches.create", **fault)
    with pytest.raises(error):
        _create(oa, file_id)
    assert _n_batches(sb) == created
    assert len(sb.control("calls", verb="batches.create")) == created


def test_late_commit(sb: Sandbox, oa: openai.OpenAI, an: anthropic.Anthropic) -> None:
    file_id = _upload(oa)
    sb.control("arm", verb="batches.create", fault="late", seconds=0.3, times=2)
    with pytest.raises(openai.APIConnectionError):
        _create(oa, file_id)
    with pytest.raises(anthropic.APIConnectionError):
        an.messages.batches.create(requests=anthropic_requests(2))
    assert _n_batches(sb) == 0
    limit = time.monotonic() + 10
    while _n_batches(sb) < 2 and time.monotonic() < limit:
        sb.control("settle")
    assert [b["total"] for b in sb.control()["batches"] if b["manner"] == "anthropic"] == [2]


def test_sdk_retries_create_again_and_the_log_tells(sb: Sandbox, oa: openai.OpenAI) -> None:
    file_id = _upload(oa)
    sb.control("arm", verb="batches.create", fault="drop_after")
    _create(oa.with_options(max_retries=1), file_id)
    made = sb.control("calls", verb="batches.create")
    assert (len(made), len({c["body"] for c in made}), len({c["batch"] for c in made})) == (2, 1, 2)


def test_redirect_empty_garbage_and_html(sb: Sandbox, oa: openai.OpenAI, http: httpx2.Client) -> None:
    file_id = _upload(oa)
    body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    seen = []
    for fault in ("redirect", "empty", "garbage", "html"):
        sb.control("arm", verb="batches.create", fault=fault)
        answer = http.post(sb.openai_url + "/batches", json=body, headers={"authorization": "Bearer sk-t"}, follow_redirects=False)
        seen.append((answer.status_code, answer.content[:6], _n_batches(sb)))
    assert seen == [(307, b"", 0), (200, b"", 1), (200, b'{"id":', 2), (200, b"<html>", 3)]


def test_gzip_bomb(sb: Sandbox, http: httpx2.Client) -> None:
    sb.control("arm", verb="models.list", fault="gzip_bomb", mb=20)
    with http.stream("GET", sb.openai_url + "/models", headers={"authorization": "Bearer sk-t"}) as answer:
        assert (int(answer.headers["content-length"]) < 50_000, sum(map(len, answer.iter_bytes()))) == (True, 20 << 20)


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_download_cut_in_mid_line_is_noticed(sb: Sandbox, oa: openai.OpenAI, ran: Any, how: str) -> None:
    batch, whole, _ = ran("gpt-6-luna")
    sb.control("arm", verb="files.content", fault="cut", keep=0.5, how=how)
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
        oa.files.content(batch.output_file_id)
    assert oa.files.content(batch.output_file_id).content == whole


def test_download_that_ends_by_closing_is_silently_short(sb: Sandbox, oa: openai.OpenAI, ran: Any) -> None:
    batch, whole, _ = ran("gpt-6-luna")
    sb.control("arm", verb="files.content", fault="cut", bytes=100, how="close")
    assert oa.files.content(batch.output_file_id).content == whole[:100]


def test_slow_drip_arrives_whole(sb: Sandbox, oa: openai.OpenAI, ran: Any) -> None:
    batch, whole, _ = ran("gpt-6-luna")
    sb.control("arm", verb="files.content", fault="drip", seconds=0.001)
    assert oa.files.content(batch.output_file_id).content == whole


def test_list_lags_hides_and_is_truncated(sb: Sandbox, oa: openai.OpenAI) -> None:
    made = [submit(oa, request_lines(1)).id for _ in range(3)]
    number = sb.control("arm", verb="batches.list", fault="lag", seconds=60)["id"]
    assert [b.id for b in oa.batches.list()] == []
    sb.control("advance", seconds=61)
    assert [b.id for b in oa.batches.list()] == made[::-1]
    sb.control("disarm", id=number)
    number = sb.control("arm", verb="batches.list", fault="truncate", n=1)["id"]
    page = oa.batches.list()
    assert ([b.id for b in page.data], page.has_more) == (made[:1:-1], False)
    sb.control("disarm", id=number)
    sb.control("arm", verb="batches.list", fault="hide", times=1)
    assert [len(oa.batches.list().data) for _ in range(2)] == [0, 3]


def test_list_of_one_a_page_repeated_ids_and_aliens(sb: Sandbox, oa: openai.OpenAI, an: anthropic.Anthropic) -> None:
    made = [submit(oa, request_lines(1)).id for _ in range(3)]
    sb.control("arm", verb="batches.list", fault="page", n=1)
    page = oa.batches.list(limit=100)
    assert (len(page.data), page.has_more, [b.id for b in page]) == (1, True, made[::-1])
    sb.control("disarm")
    sb.control("arm", verb="batches.list", fault="alien", n=2)
    assert [(b.id[:11], b.metadata) for b in oa.batches.list().data[:2]] == [("batch_alien", None)] * 2
    assert [b.id[:16] for b in an.messages.batches.list().data] == ["msgbatch_01alien"] * 2
    sb.control("disarm")
    sb.control("arm", verb="batches.list", fault="repeat")
    pages = [oa.batches.list(limit=2, after=after) for after in (openai.omit, made[1])]
    assert [([b.id for b in p.data], p.has_more) for p in pages] == [(made[:0:-1], True)] * 2
    sb.control("disarm")
    sb.control("arm", verb="batches.list", fault="oldest")
    assert [b.id for b in oa.batches.list(limit=2)] == made


def test_404_that_flaps(sb: Sandbox, oa: openai.OpenAI) -> None:
    batch = submit(oa, request_lines(1))
    sb.control("arm", verb="batches.get", fault="status", status=404, every=2, times=0)
    seen = []
    for _ in range(4):
        try:
            seen.append(oa.batches.retrieve(batch.id).id == batch.id)
        except openai.NotFoundError:
            seen.append(False)
    assert seen == [True, False, True, False]


def test_another_batchs_id_and_host(sb: Sandbox, oa: openai.OpenAI, an: anthropic.Anthropic) -> None:
    batch = submit(oa, request_lines(1))
    sb.control("arm", verb="batches.get", fault="merge", merge={"id": "batch_other"}, manner="openai")
    assert oa.batches.retrieve(batch.id).id == "batch_other"
    other = an.messages.batches.create(requests=anthropic_requests(1))
    sb.control("arm", verb="batches.get", fault="merge", merge={"results_url": "http://127.0.0.1:9/x"}, manner="anthropic")
    assert an.messages.batches.retrieve(other.id).results_url == "http://127.0.0.1:9/x"


def test_faults_match_model_skip_and_nth(sb: Sandbox, oa: openai.OpenAI) -> None:
    sb.control("arm", verb="chat", fault="status", status=503, model="gpt-6-s*", skip=1)
    seen = []
    for model in ("gpt-6-luna", "gpt-6-sol", "gpt-6-sol", "gpt-6-sol"):
        try:
            oa.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
            seen.append(200)
        except openai.APIStatusError as error:
            seen.append(error.status_code)
    assert seen == [200, 200, 503, 200]


def test_armed_orders_fall_on_the_next_batches(sb: Sandbox, oa: openai.OpenAI) -> None:
    sb.control("arm", orders="fail=token_limit_exceeded", model="gpt-6-luna", times=1)
    made = [submit(oa, request_lines(1)).id for _ in range(2)]
    sb.control("end")
    assert [oa.batches.retrieve(i).status for i in made] == ["failed", "completed"]


def test_revoked_key_and_its_return(sb: Sandbox, oa: openai.OpenAI) -> None:
    batch = submit(oa, request_lines(1))
    sb.control("revoke", key="sk-test")
    with pytest.raises(openai.AuthenticationError):
        oa.batches.retrieve(batch.id)
    sb.control("restore")
    assert oa.batches.retrieve(batch.id).id == batch.id


def test_rate_limit(sb: Sandbox, oa: openai.OpenAI, an: anthropic.Anthropic) -> None:
    sb.control("set", rpm={"gpt-6-luna": 2, "claude-haiku-4-5": 0})
    ask: Any = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "x"}]}
    for _ in range(2):
        oa.chat.completions.create(**ask)
    with pytest.raises(openai.RateLimitError) as caught:
        oa.chat.completions.create(**ask)
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 60
    with pytest.raises(anthropic.RateLimitError):
        an.messages.create(model="claude-haiku-4-5", max_tokens=5, messages=[{"role": "user", "content": "x"}])


def test_control_over_http_says_what_it_does_not_know(sb: Sandbox, http: httpx2.Client) -> None:
    assert http.post(sb.url + "/_control/nothing", json={}).status_code == 400
    assert http.post(sb.url + "/_control/arm", json={"fault": "nothing"}).status_code == 400
    assert http.post(sb.url + "/_control/arm", json={"verb": "models.list", "fault": "empty"}).json() == {"id": 1}
    assert [f["fault"] for f in http.get(sb.url + "/_control").json()["faults"]] == ["empty"]
    http.post(sb.url + "/_control/reset")
    assert http.get(sb.url + "/_control").json()["faults"] == []


def test_listens_on_loopback_alone_and_keeps_no_key(sb: Sandbox, oa: openai.OpenAI, tmp_path: Any) -> None:
    secret = "sk-canary-5731"
    oa.with_options(api_key=secret).chat.completions.create(model="gpt-6-luna", messages=[{"role": "user", "content": "x"}])
    sb.control("revoke", key=secret)
    assert sb.server.socket.getsockname()[0] == "127.0.0.1"
    assert sb.server.socket.family == socket.AF_INET
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
