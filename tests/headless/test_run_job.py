"""Five thousand awkward rows through run_job, at providers in two manners that fail as they do; every file read back independently."""

from __future__ import annotations

import csv
import io
import json
import random
import signal
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest

from jobs.sandbox import Sandbox
from tests.headless.tool import Headless, dollars, job_id_of, read_csv, read_out, recount

N = 5_000
OURS = ["_row_2", "_outcome", "_cause", "_message", "_answer", "_attempts", "_input_tokens", "_output_tokens", "_cost", "answer.label"]
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["billing", "bug", "other"]}},
    "required": ["label"],
    "additionalProperties": False,
}


def awkward() -> bytes:
    chance, text = random.Random(7), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "Ticket Text", "_row", "", "id", "_row_"])
    for i in range(N):
        words = chance.choice(["Rückerstattung, bitte äöüß", 'the "app" crashes', "请退款", "=1+1", " spaces ", "-5"])
        line = f"{words}\nline two of {i}\r\nand three" if i % 3 else f"{words} {i}"
        writer.writerow([f"{i:07d}", line, N - i, "" if i % 5 else "1e5", "NULL", '{"a": 1}' if i % 7 else ""])
    return text.getvalue().encode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Headless, Sandbox]]:
    folder = tmp_path_factory.mktemp("headless")
    tool = Headless(folder)
    tool.write("in.csv", awkward())
    tool.write("prompt.txt", "Which label?\n{{ ticket_text }} {{ id }}")
    tool.write("system.txt", "You sort tickets.")
    tool.write("schema.json", json.dumps(SCHEMA))
    with Sandbox(folder / "sandbox", seconds=0.5) as sandbox:
        tool.connect("openai", "openai", sandbox.openai_url)
        tool.connect("anthropic", "anthropic", sandbox.anthropic_url)
        yield tool, sandbox


def flags(connection: str, model: str, out: str, *more: object) -> list[object]:
    files = ["--dataset", "in.csv", "--prompt", "prompt.txt", "--system", "system.txt", "--schema", "schema.json"]
    return [*files, "--connection", connection, "--model", model, "--out", out, "--poll-seconds", "0.1", *more]


def check_out(tool: Headless, name: str, standings: dict[str, int]) -> None:
    """Every row once, in order, with its inputs as they were, and as many of each outcome as is said."""
    names, given = read_csv(tool.folder / "in.csv")
    header, rows = read_out(tool.folder / name)
    if name.endswith(".csv"):
        assert header == names + OURS
    assert [row[:6] for row in rows] == given
    assert [int(row[6]) for row in rows] == list(range(N))
    assert {kind: sum(row[7] == kind for row in rows) for kind in standings} == standings
    for row in rows:
        if row[7] == "succeeded":
            assert json.loads(row[10]) == {"label": row[15]}
        else:
            assert (row[10], row[15]) == ("", "")


def check_receipt(tool: Headless, name: str, job_id: str) -> dict[str, int]:
    """The receipt's sums are those of the raw answers; its standings that are not zero."""
    receipt = json.loads((tool.folder / name).read_text())
    counted = recount(tool.job_folder(job_id), N)
    told: dict[str, int] = {kind: n for kind, n in receipt["standings"].items() if n}
    assert told == counted["standings"]
    assert sum(told.values()) == receipt["rows"] == N
    assert receipt["tokens"] == counted["tokens"]
    lanes = receipt["prices"][0]["lanes"]
    paid, realtime = dollars(counted["paid"], lanes["batch"]), dollars(counted["paid"], lanes["direct"])
    assert paid > 0
    amounts = {key: Decimal(receipt[key]) for key in ("paid", "realtime", "saved", "wasted")}
    assert amounts == {"paid": paid, "realtime": realtime, "saved": realtime - paid, "wasted": Decimal(0)}
    return told


@pytest.mark.parametrize(
    ("connection", "model", "second"), [("openai", "gpt-6-luna", "out.jsonl"), ("anthropic", "claude-haiku-4-5", "out.parquet")]
)
def test_failures_then_a_retry_and_all_succeed(place: tuple[Headless, Sandbox], connection: str, model: str, second: str) -> None:
    tool, sandbox = place
    armed = sandbox.control("arm", orders="errors=5%,missing=20,once", model=f"{model}*")
    status, out, err = tool.run("run_job", *flags(connection, model, "first.csv", "--receipt", "first.json", "--max-attempts", 1))
    assert status == 1, err
    job_id = job_id_of(out)
    standings = check_receipt(tool, "first.json", job_id)
    assert set(standings) == {"succeeded", "failed", "missing"}
    assert 0 < standings["missing"] <= 20
    assert 150 < standings["failed"] < 350
    check_out(tool, "first.csv", standings)

    status, out, err = tool.run(
        "run_job", "--resume", job_id, "--retry", "--out", second, "--receipt", "second.json", "--poll-seconds", 0.1
    )
    assert (status, job_id_of(out)) == (0, job_id), err
    assert check_receipt(tool, "second.json", job_id) == {"succeeded": N}
    check_out(tool, second, {"succeeded": N})
    sandbox.control("disarm", id=armed["id"])
    assert not list(tool.data.rglob("*.part"))


@pytest.mark.parametrize("verb", ["files.create", "batches.create"])
def test_killed_and_resumed_gives_the_same(place: tuple[Headless, Sandbox], verb: str) -> None:
    tool, sandbox = place
    tool.write("system.txt", f"You sort tickets, {verb}.")  # other requests, whose faults have not fallen yet
    before = sandbox.control("calls", verb="batches.create")
    armed = sandbox.control("arm", orders="errors=5%,missing=20,once", model="gpt-6-*")
    n_calls = sandbox.control("")["calls"].get(f"openai {verb}", 0)
    held = sandbox.control("arm", verb=verb, fault="hang", seconds=1)  # carried out, but the answer comes late
    with tool.start("run_job", *flags("openai", "gpt-6-luna", "killed.csv")) as process:
        assert process.stdout
        job_id = job_id_of(process.stdout.readline())
        _wait_for(sandbox, verb, n_calls)
        process.send_signal(signal.SIGKILL)
    assert not (tool.folder / "killed.csv").exists()
    sandbox.control("disarm", id=held["id"])
    status, out, err = tool.run("run_job", "--resume", job_id, "--out", "resumed.csv", "--receipt", "resumed.json", "--poll-seconds", 0.1)
    assert (status, job_id_of(out)) == (0, job_id), err  # what passes by itself was retried by itself
    assert check_receipt(tool, "resumed.json", job_id) == {"succeeded": N}
    check_out(tool, "resumed.csv", {"succeeded": N})
    created = [call["body"] for call in sandbox.control("calls", verb="batches.create")[len(before) :]]
    assert len(created) == len(set(created)) == 2
    sandbox.control("disarm", id=armed["id"])
    assert not list(tool.data.rglob("*.part"))


def _wait_for(sandbox: Sandbox, verb: str, n_before: int) -> None:
    ends = time.monotonic() + 120
    while sandbox.control("")["calls"].get(f"openai {verb}", 0) == n_before:
        assert time.monotonic() < ends, "the call never came"
        time.sleep(0.02)
