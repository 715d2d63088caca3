"""run_job against a server that is not ours, in both manners: its answers differ from the real APIs', and the rows come out right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.sandbox import Sandbox
from tests.acceptance.ogx import NotHere, installed, serving
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


def _lines(job: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for path in job.glob("batches/*/results/*.jsonl") for line in path.read_bytes().splitlines()]
