"""A sandbox of its own for each test, and the real SDKs pointed at it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from jobs.sandbox import Sandbox

CHAT = "/v1/chat/completions"


@pytest.fixture
def sb(tmp_path: Path) -> Iterator[Sandbox]:
    """Batches take an hour of the provider's clock, so nothing ends but by `control`."""
    with Sandbox(tmp_path / "sandbox", seconds=3600) as sandbox:
        yield sandbox


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(trust_env=False) as client:
        yield client


@pytest.fixture
def oa(sb: Sandbox, http: httpx2.Client) -> openai.OpenAI:
    return openai.OpenAI(api_key="sk-test", base_url=sb.openai_url, http_client=http, max_retries=0, timeout=10)


@pytest.fixture
def an(sb: Sandbox, http: httpx2.Client) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="sk-ant-test", base_url=sb.anthropic_url, http_client=http, max_retries=0, timeout=10)


def request_lines(n: int, model: str = "gpt-6-luna", **extra: Any) -> bytes:
    """A chat request file of n lines, r0 … ; each asks something of its own."""
    lines = []
    for i in range(n):
        body = {"model": model, "messages": [{"role": "user", "content": f"Question number {i}"}], **extra}
        lines.append(json.dumps({"custom_id": f"r{i}", "method": "POST", "url": CHAT, "body": body}).encode() + b"\n")
    return b"".join(lines)


def submit(oa: openai.OpenAI, data: bytes, endpoint: str = CHAT, **more: Any) -> Any:
    """Upload and create; the batch."""
    file = oa.files.create(file=("requests.jsonl", io.BytesIO(data)), purpose="batch")
    return oa.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)  # type: ignore[arg-type]


@pytest.fixture
def ran(sb: Sandbox, oa: openai.OpenAI) -> Callable[..., tuple[Any, bytes, bytes]]:
    """Run n rows on a model to the end: (batch, output file, error file)."""

    def run(model: str, n: int = 6, **extra: Any) -> tuple[Any, bytes, bytes]:
        batch = submit(oa, request_lines(n, model, **extra))
        sb.control("end", batch=batch.id)
        batch = oa.batches.retrieve(batch.id)
        return batch, *[oa.files.content(file_id).content if file_id else b"" for file_id in (batch.output_file_id, batch.error_file_id)]

    return run


def rows(data: bytes) -> dict[str, Any]:
    """custom_id → line of a whole result file."""
    return {line["custom_id"]: line for line in map(json.loads, data.split(b"\n")[:-1])}


def anthropic_requests(n: int, model: str = "claude-haiku-4-5", **params: Any) -> list[Any]:
    return [
        {
            "custom_id": f"a{i}",
            "params": {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": f"Question {i}"}], **params},
        }
        for i in range(n)
    ]
