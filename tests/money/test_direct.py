"""The direct lane under kill -9: what was answered is never paid again."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jobs.sandbox import Sandbox
from tests.money.tools import executed_rows

ROOT = Path(__file__).resolve().parents[2]
N = 2_000


def command(data: Path, *args: str) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), *args]


def environment(data: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "batchui.settings",
        "BATCHUI_DATA": str(data),
        "DATABASE_URL": "",
        "BATCHUI_LEASE_SECONDS": "2",
        "KEY": "sk-test-1234567890",
    }


def answered(data: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in data.glob("rows/*/jobs/*/batches/*/results/answers.jsonl"))


@pytest.mark.slow
def test_two_kills_pay_no_row_twice(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    env = {k: v for k, v in environment(data).items() if k != "DATABASE_URL"}
    table, prompt, out = tmp_path / "in.csv", tmp_path / "prompt.txt", tmp_path / "out.csv"
    table.write_text("id,text\n" + "".join(f"{i:05d},ticket number {i}\n" for i in range(N)))
    prompt.write_text("Answer {{ text }}")
    with Sandbox(tmp_path / "sandbox", seconds=0.2) as sandbox:
        subprocess.run(command(data, "migrate", "-v0"), env=env, check=True)
        add = command(data, "add_connection", "sb", "--kind", "openai", "--base-url", sandbox.openai_url, "--key-env", "KEY")
        subprocess.run(add, env=env, check=True, capture_output=True)
        flags = [
            "--dataset",
            str(table),
            "--prompt",
            str(prompt),
            "--connection",
            "sb",
            "--model",
            "gpt-6-luna",
            "--param",
            "max_output_tokens=40",
        ]
        ends = ["--out", str(out), "--poll-seconds", "0.1"]
        errors = (tmp_path / "errors").open("w+")
        how: dict[str, Any] = {"env": env, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
        running = subprocess.Popen(command(data, "run_job", *flags, "--lane", "direct", *ends), **how)
        assert running.stdout is not None
        job_id = running.stdout.readline().split()[-1]
        for more in (300, 900):
            _kill_after(running, data, more, tmp_path / "errors")
            running = subprocess.Popen(command(data, "run_job", "--resume", job_id, *ends), **how)
        told, _ = running.communicate(timeout=120)
        rows = list(csv.DictReader(out.open(newline="", encoding="utf-8")))
        paid = executed_rows(sandbox)
    outcomes = Counter(row["_outcome"] for row in rows)
    assert [row["id"] for row in rows] == [f"{i:05d}" for i in range(N)]
    assert sum(outcomes.values()) == N
    assert set(outcomes) <= {"succeeded", "missing"}
    assert max(paid.values()) == 1
    # Only rows under way at a kill may be without their answer, and each says so.
    assert outcomes["missing"] <= 2 * 8
    assert {row["_cause"] for row in rows if row["_outcome"] == "missing"} <= {"no_answer"}
    assert running.returncode == (1 if outcomes["missing"] else 0), told


def _kill_after(running: Any, data: Path, n_answers: int, errors: Path) -> None:
    ends = time.monotonic() + 60
    while answered(data) < n_answers:
        assert running.poll() is None, errors.read_text()
        assert time.monotonic() < ends
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
