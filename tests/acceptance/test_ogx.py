"""run_job against a server that is not ours, in both manners: its answers differ from the real APIs', and the rows come out right."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.sandbox import Sandbox
from tests.acceptance.ogx import NotHere, free_port, installed, serving
from tests.headless.tool import Headless, job_id_of, read_csv

pytestmark = pytest.mark.ogx
N = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Headless, Sandbox]]:
    try:
        installed()
    except NotHere as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("ogx")
    tool = Headless(folder)
    tool.write("in.csv", "id,text\n" + "".join(f'{i:05d},"the app ""crashes""\näöü {i}"\n' for i in range(N)))
    tool.write("prompt.txt", "Answer with one of: billing, bug or other.\n{{ text }}")
    with Sandbox(folder / "sandbox") as sandbox, serving(folder / "server", sandbox.openai_url) as url:
        tool.connect("openai", "openai-compatible", f"{url}/v1")
        tool.connect("anthropic", "anthropic", url)
        yield tool, sandbox


@pytest.mark.parametrize("manner", ["openai", "anthropic"])
def test_all_rows_come_back(place: tuple[Headless, Sandbox], manner: str) -> None:
    tool, sandbox = place
    files = ("--dataset", "in.csv", "--prompt", "prompt.txt", "--out", f"{manner}.csv", "--receipt", f"{manner}.json")
    model = ("--connection", manner, "--model", "model/gpt-6-luna", "--param", "max_output_tokens=50", "--poll-seconds", 0.2)
    before = len(sandbox.control("executed"))
    status, out, err = tool.run("run_job", *files, *model)
    assert status == 0, err
    _, given = read_csv(tool.folder / "in.csv")
    _, rows = read_csv(tool.folder / f"{manner}.csv")
    assert [row[:4] for row in rows] == [[*cells, str(i), "succeeded"] for i, cells in enumerate(given)]
    assert {row[6] for row in rows} == {"bug"}
    receipt = json.loads((tool.folder / f"{manner}.json").read_text())
    assert receipt["tokens"]["output"] == sum(int(row[9]) for row in rows) > 0
    assert len(sandbox.control("executed")) - before == N  # each row ran once
    results = _lines(tool.job_folder(job_id_of(out)))
    if manner == "openai":
        assert {type(line["response"]["body"]) for line in results} == {str}
        assert {"error" in line for line in results} == {False}
    else:
        assert {line["result"]["type"] for line in results} == {"succeeded"}


def test_rows_that_fail_there_say_why(place: tuple[Headless, Sandbox]) -> None:
    tool, sandbox = place
    armed = sandbox.control("arm", verb="chat", fault="status", status=400, message="This row is not liked.", every=6, times=0)
    files = ("--dataset", "in.csv", "--prompt", "prompt.txt", "--out", "failed.csv", "--max-attempts", 1)
    model = ("--connection", "openai", "--model", "model/gpt-6-luna", "--param", "max_output_tokens=50", "--poll-seconds", 0.2)
    status, out, err = tool.run("run_job", *files, *model)
    sandbox.control("disarm", id=armed["id"])
    assert (status, out.splitlines()[-1:]) == (1, ["Completed with failures: 50 succeeded, 10 failed"]), err
    _, rows = read_csv(tool.folder / "failed.csv")
    failed = [row for row in rows if row[3] != "succeeded"]
    assert (len(rows), len(failed)) == (N, N // 6)
    assert all("This row is not liked." in row[5] for row in failed)


@pytest.mark.parametrize("manner", ["openai", "anthropic"])
def test_batch_that_is_stuck_for_ever_after_a_restart(manner: str, tmp_path: Path) -> None:
    """The server is killed in mid-batch and started again: it says that the batch runs, for ever, and a cancel changes nothing.
    batchui keeps asking, sends nothing twice by itself, and an operator ends it; the rows can then be sent again."""
    try:
        installed()
    except NotHere as error:
        pytest.skip(str(error))
    tool = Headless(tmp_path)
    tool.env["BATCHUI_PATIENCE_SECONDS"] = "1"
    tool.write("in.csv", "id,text\n" + "".join(f"{i:05d},the app crashes {i}\n" for i in range(N)))
    tool.write("prompt.txt", "Answer with one of: billing, bug or other.\n{{ text }}")
    files = ("--dataset", "in.csv", "--prompt", "prompt.txt", "--out", "out.csv")
    model = ("--connection", manner, "--model", "model/gpt-6-luna", "--param", "max_output_tokens=50", "--poll-seconds", 0.2)
    port = free_port()
    with Sandbox(tmp_path / "sandbox") as sandbox:
        slow = sandbox.control("arm", verb="chat", fault="hang", seconds=60, times=0)
        with serving(tmp_path / "server", sandbox.openai_url, port) as url:
            tool.connect(manner, "openai-compatible" if manner == "openai" else "anthropic", f"{url}/v1" if manner == "openai" else url)
            job = tool.start("run_job", *files, *model)
            assert job.stdout is not None
            job_id = job_id_of(job.stdout.readline())
            _until(lambda: sandbox.control("executed"))  # some rows have reached the model
        sandbox.control("disarm", id=slow["id"])
        with serving(tmp_path / "server", sandbox.openai_url, port):
            n_ran = len(sandbox.control("executed"))
            status, out, err = tool.run("job", job_id, "--cancel")
            assert (status, "at the provider, 60 rows" in out) == (0, True), err
            _until(lambda: _asked_to_stop(tool, seconds=1.5))
            assert job.poll() is None  # it goes on asking
            status, out, err = tool.run("job", job_id, "--batch", 1, "--give-up")
            assert (status, "may have answered some of its 60 rows" in err) == (0, True), err
            out, err = job.communicate(timeout=60)
            assert (job.returncode, out.splitlines()[-1:]) == (1, ["Cancelled: 60 missing"]), err
            _, rows = read_csv(tmp_path / "out.csv")
            assert [(row[2], row[3], row[4]) for row in rows] == [(str(i), "missing", "no_answer") for i in range(N)]
            assert len(sandbox.control("executed")) == n_ran  # nothing was sent again by itself
            status, out, err = tool.run("run_job", "--resume", job_id, "--retry", "--out", "out.csv", "--poll-seconds", 0.2)
            assert (status, out.splitlines()[-1:]) == (0, ["Completed: 60 succeeded"]), err
            assert len(sandbox.control("executed")) == n_ran + N


def _until(holds: Any, seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.1)


def _asked_to_stop(tool: Headless, seconds: float) -> bool:
    with sqlite3.connect(f"file:{tool.data / 'batchui.sqlite3'}?mode=ro", uri=True) as ledger:
        [(state, at)] = ledger.execute("select state, cancel_sent_at from jobs_batch").fetchall()
    assert state == "submitted"
    return at is not None and datetime.now(UTC) - datetime.fromisoformat(at).replace(tzinfo=UTC) > timedelta(seconds=seconds)


def _lines(job: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for path in job.glob("batches/*/results/*.jsonl") for line in path.read_bytes().splitlines()]
