"""kill -9 at every named point, in a real process; another one goes on: each batch made once, each row counted once, nothing left.

On the direct lane the rows under way at the kill may be without their answer; each says so, and none is sent again.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.books import recount, recount_direct

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Place:
    """A deployment of its own: data folder, database, sandbox."""

    folder: Path
    sandbox: Any
    env: dict[str, str]

    def run_job(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", "run_job", "--poll-seconds", "0.05", "--out", str(self.folder / "out.csv"), *arguments]
        return subprocess.run(command, cwd=ROOT, env={**self.env, **env}, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def template(tmp_path_factory: Any) -> Iterator[tuple[Path, Any]]:
    """A migrated database with a connection of each kind to one sandbox, made once."""
    from jobs.sandbox import Sandbox

    folder = tmp_path_factory.mktemp("template")
    data = folder / "data"
    data.mkdir()
    with Sandbox(folder / "sandbox", seconds=0.1) as sandbox:
        made = "from jobs.models import Workspace, Connection; Connection.objects.update(is_sandbox=True)"
        for command in (
            ["migrate", "-v0"],
            ["add_connection", "openai", "--kind", "openai", "--base-url", sandbox.openai_url, "--key-env", "KEY"],
            ["add_connection", "anthropic", "--kind", "anthropic", "--base-url", sandbox.anthropic_url, "--key-env", "KEY"],
            ["shell", "-c", made],
        ):
            subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=_env(data), check=True, timeout=120, capture_output=True)
        yield data, sandbox


def _env(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BATCHUI_", "DJANGO_", "DATABASE", "REDIS"))}
    windows = {"BATCHUI_LEASE_SECONDS": "1.5", "BATCHUI_SANDBOX_ABSENCE_SECONDS": "0.8", "BATCHUI_NUDGE": "0"}
    return {**kept, **windows, "BATCHUI_DATA": str(folder), "KEY": "sk-test-1234567890"}


@pytest.fixture
def place(tmp_path: Path, template: tuple[Path, Any]) -> Place:
    whole, sandbox = template
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    sandbox.control("reset")
    (tmp_path / "in.csv").write_text("text\n" + "".join(f"a refund {i}\n" for i in range(12)))
    (tmp_path / "prompt.txt").write_text("Sort: {{ text }}")
    return Place(tmp_path, sandbox, _env(data))


POINTS = [
    ("after cut", {}),
    ("before upload", {}),
    ("in upload", {"verb": "files.create", "fault": "hang", "seconds": 3}),
    ("after upload", {}),
    ("after upload id", {}),
    ("before mark", {}),
    ("after mark", {}),
    ("in create", {"verb": "batches.create", "fault": "hang", "seconds": 3}),
    ("in create", {"verb": "batches.create", "fault": "hang_before", "seconds": 3}),
    ("after refusal", {"verb": "batches.create", "fault": "status", "status": 429}),
    ("after answer", {}),
    ("after journal", {}),
    ("after submitted", {}),
    ("before download", {}),
    ("in download", {"verb": "files.content", "fault": "drip", "seconds": 0.3}),
    ("in download", {"verb": "batches.results", "fault": "drip", "seconds": 0.3}),
    ("after download", {}),
    ("after parquet", {}),
    ("before outcomes", {}),
    ("after outcomes", {}),
    ("after settled", {}),
    ("before merge", {}),
    ("after merge", {}),
    ("after round", {}),
    ("before round", {"orders": "errors=1,once", "times": 1}),
]
DIRECT = ["direct after sent", "in direct call", "direct after answer", "direct after line", "direct before fetched"]
ANTHROPIC = {"in create", "after mark", "after answer", "after submitted", "in download"}
# Each takes some seconds, so `make test` kills where the state of the world is another one; the night, and test_points, everywhere.
NIGHT = bool(os.environ.get("BATCHUI_NIGHT"))
BY_DAY = {
    "openai-after cut",
    "openai-after mark",
    "openai-in create-hang",
    "openai-after answer",
    "openai-in download-drip",
    "openai-before outcomes",
    "anthropic-in create-hang",
    "direct-in direct call",
}


def _cases() -> list[Any]:
    found = []
    for name, fault in POINTS:
        if fault.get("verb") not in ("batches.results",):
            found.append(pytest.param("openai", name, fault, id=f"openai-{name}{'-' + fault['fault'] if 'fault' in fault else ''}"))
        if name in ANTHROPIC and fault.get("verb") != "files.content":
            found.append(pytest.param("anthropic", name, fault, id=f"anthropic-{name}{'-' + fault['fault'] if fault else ''}"))
    found += [pytest.param("direct", name, {}, id=f"direct-{name}") for name in DIRECT]
    return [case for case in found if NIGHT or case.id in BY_DAY]


def test_every_named_point_is_in_the_list() -> None:
    named = set()
    for path in (ROOT / "jobs" / "engine").glob("*.py"):
        named |= set(re.findall(r'crash\.(?:point|during)\("([^"]+)"\)', path.read_text()))
    assert named == {name for name, _ in POINTS} | set(DIRECT)


@pytest.mark.parametrize(("kind", "name", "fault"), _cases())
def test_killed_and_gone_on(place: Place, kind: str, name: str, fault: dict[str, Any]) -> None:
    if fault:
        place.sandbox.control("arm", **fault)
    happened = place.folder / "crashed"
    model = "claude-haiku-4-5" if kind == "anthropic" else "gpt-6-luna"
    files = ["--dataset", str(place.folder / "in.csv"), "--prompt", str(place.folder / "prompt.txt")]
    options = ["--connection", "openai" if kind == "direct" else kind, "--model", model, "--param", "max_output_tokens=50"]
    options += ["--lane", "direct"] if kind == "direct" else []
    first = place.run_job(*files, *options, BATCHUI_CRASH_AT=name, BATCHUI_CRASH_ONCE=str(happened))
    assert happened.exists(), first.stderr[-2000:]
    assert first.returncode == -signal.SIGKILL, first.stderr[-2000:]
    job = re.search(r"Job ID (\S+)", first.stdout)
    assert job is not None
    second = place.run_job("--resume", job.group(1))
    if kind == "direct":
        recount_direct(place, n_rows=12, most_lost=8)
        return
    assert second.returncode == 0, second.stderr[-2000:]
    recount(place, n_rows=12, n_batches=2 if "orders" in fault else 1)
