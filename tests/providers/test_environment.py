"""Nothing of the machine's environment reaches a provider."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import wire as wire
from tests.contract.dialects import DIALECTS, KEY, Dialect
from tests.contract.wire import Reply, Wire

LEAKS = {
    "OPENAI_API_KEY": "leak-1",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/leak-2",
    "OPENAI_ORG_ID": "leak-3",
    "OPENAI_PROJECT_ID": "leak-4",
    "OPENAI_ADMIN_KEY": "leak-5",
    "OPENAI_CUSTOM_HEADERS": "x-leak: leak-6\nAuthorization: leak-7",
    "ANTHROPIC_API_KEY": "leak-8",
    "ANTHROPIC_AUTH_TOKEN": "leak-9",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:9/leak-10",
    "ANTHROPIC_CUSTOM_HEADERS": "x-leak: leak-11\nAuthorization: leak-12",
    "ANTHROPIC_PROFILE": "leak-13",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
    "SSL_CERT_FILE": "/nonexistent",
}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.kind)
def test_the_environment_changes_nothing(dialect: Dialect, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LEAKS.items():
        monkeypatch.setenv(name, value)
    provider = dialect.provider(wire)
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"{}\n")
    wire.on("GET", dialect.models, Reply({"data": []}))
    wire.on("POST", dialect.batches, Reply(dialect.batch()))
    wire.on("POST", "/v1/files", Reply({"id": "f"}))
    wire.on("GET", dialect.results_path(), Reply(dialect.result_line()))
    wire.on("GET", "/v1/files/file-out", Reply({"id": "file-out"}))
    provider.models()
    provider.upload(path, "r")
    provider.download(provider.create(path, file_id="f", token="t", kind="generate").batch, tmp_path)  # type: ignore[arg-type]
    provider.close()
    seen = "".join(f"{name}: {value}\n" for asked in wire.asked for name, value in asked.headers.items())
    assert "leak" not in seen
    assert {asked.headers["authorization"] for asked in wire.asked} == {f"Bearer {KEY}"}
    assert {asked.headers["accept-encoding"] for asked in wire.asked} == {"identity"}


def test_the_registry_imports_no_sdk() -> None:
    code = (
        "import sys; from jobs.providers.registry import *; from jobs.providers.base import RequestSpec;"
        "encoder_for('openai', RequestSpec('generate', 'm')); decoder_for('anthropic'); limits_of('openai'); abilities_of('openai');"
        "print([n for n in ('openai', 'anthropic', 'httpx2', 'pydantic', 'django') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
