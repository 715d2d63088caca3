"""What is on disk outlives the process, kill -9 included; a big batch runs in a process of its own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai

from jobs.sandbox import Sandbox
from tests.sandbox.conftest import CHAT, request_lines, rows, submit


@contextmanager
def _program(data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "jobs.sandbox", "--port", "0", "--data", str(data), "--seconds", "3600"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()[2]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def _control(url: str, action: str, **payload: Any) -> Any:
    request = urllib.request.Request(f"{url}/_control/{action}", json.dumps(payload).encode())
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.load(answer)


def test_batches_go_on_after_kill_9(tmp_path: Path, http: httpx2.Client) -> None:
    with _program(tmp_path) as (process, url):
        oa = openai.OpenAI(api_key="sk-t", base_url=url + "/v1", http_client=http, max_retries=0)
        batch = submit(oa, request_lines(5), metadata={"intent": "i"})
        _control(url, "advance", seconds=1000)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with _program(tmp_path) as (process, url):
        oa = openai.OpenAI(api_key="sk-t", base_url=url + "/v1", http_client=http, max_retries=0)
        found = oa.batches.retrieve(batch.id)
        assert (found.status, found.metadata, found.created_at) == ("in_progress", {"intent": "i"}, batch.created_at)
        _control(url, "end")
        done = oa.batches.retrieve(batch.id)
        assert sorted(rows(oa.files.content(done.output_file_id or "").content)) == [f"r{i}" for i in range(5)]
        assert [call["batch"] for call in _control(url, "calls", verb="batches.create")] == [batch.id]
        process.terminate()
        assert process.wait(10) == 0


def test_restart_in_process_keeps_logs_and_faults(tmp_path: Path, http: httpx2.Client) -> None:
    with Sandbox(tmp_path, seconds=3600) as sb:
        oa = openai.OpenAI(api_key="sk-t", base_url=sb.openai_url, http_client=http, max_retries=0)
        batch = submit(oa, request_lines(3, "gpt-6-luna+errors=1"))
        sb.control("end")
        sb.control("arm", verb="batches.list", fault="page", n=1)
        before = sb.control("executed")
    with Sandbox(tmp_path, seconds=3600) as sb:
        oa = openai.OpenAI(api_key="sk-t", base_url=sb.openai_url, http_client=http, max_retries=0)
        assert (oa.batches.retrieve(batch.id).status, sb.control("executed"), len(sb.control()["faults"])) == ("completed", before, 1)


def test_big_batch_runs_in_a_process_of_its_own(sb: Sandbox, oa: openai.OpenAI) -> None:
    data = request_lines(5000, "gpt-6-luna+errors=5%,missing=2%")
    file = oa.files.create(file=("big.jsonl", io.BytesIO(data)), purpose="batch")
    batch = oa.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    sb.control("end")
    done = oa.batches.retrieve(batch.id)
    output, error = (rows(oa.files.content(i or "").content) for i in (done.output_file_id, done.error_file_id))
    executed = sb.control("executed", batch=batch.id)
    assert len({row["custom_id"] for row in executed}) == len(executed) == 5000
    assert {row["custom_id"] for row in executed if not row["paid"]} == set(error)
    missing = {f"r{i}" for i in range(5000)} - set(output) - set(error)
    assert 50 < len(missing) < 160
    assert missing < {row["custom_id"] for row in executed if row["paid"]}
