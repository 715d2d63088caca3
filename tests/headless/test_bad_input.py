"""What cannot be run is said in a sentence with its place, ends with 2, and leaves nothing behind: no dataset, no upload, no job."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jobs.models import Connection, Dataset, DatasetUpload, DatasetVersion, Job, Prompt, Workspace
from tests.headless.tool import Headless
from tests.jobs import make_connection
from tests.rows.test_broken_files import BROKEN

TWENTY = [
    "truncated gz", "damaged gz", "truncated zst", "short row", "long row", "unclosed quote", "text after a quote", "NUL",
    "bad UTF-8 in the middle", "huge cell in quotes", "empty", "header only", "binary as csv", "zip", "truncated xlsx", "xlsx bomb",
    "password", "deep JSON", "JSONL with a bad line", "damaged parquet",
]  # fmt: skip


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    path = tmp_path / "prompt.txt"
    path.write_text("Hello\n{{ a }}")
    return path


@pytest.fixture
def connection(db: None, sandbox: Any, data_folder: Path) -> Connection:
    return make_connection(Workspace.objects.create(name="W"), None, sandbox)


def refused(**flags: Any) -> str:
    with pytest.raises(CommandError) as error:
        call_command("run_job", **{"connection": "Sandbox", "model": "gpt-6-luna", **flags}, stdout=io.StringIO())
    assert error.value.returncode == 2
    return str(error.value)


def check_nothing_is_left(data: Path, tmp_path: Path) -> None:
    assert [model.objects.count() for model in (Dataset, DatasetVersion, DatasetUpload, Prompt, Job)] == [0] * 5
    assert [path for path in data.rglob("*") if path.is_file() and "sqlite" not in path.name and path.suffix != ".key"] == []
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("name", TWENTY)
def test_broken_file(name: str, connection: Connection, prompt: Path, tmp_path: Path, data_folder: Path) -> None:
    make, filename, line, message = BROKEN[name]
    (tmp_path / filename).write_bytes(make())
    said = refused(dataset=str(tmp_path / filename), prompt=str(prompt), out=str(tmp_path / "out.csv"))
    assert message in said
    assert said.startswith(f"{filename}, line {line}: " if line else f"{filename}: ")
    check_nothing_is_left(data_folder, tmp_path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"connection": "nobody"}, "There is no connection “nobody” (there is: Sandbox)."),
        ({"prompt": "line 2: "}, "{folder}/bad.txt, line 2: "),
        ({"schema": '{"pattern": "(a+)+"}'}, "The output schema uses “pattern”"),
        ({"schema": "{"}, "is not JSON: "),
        ({"param": ["x"]}, "--param x is not of the form name=value."),
        ({"out": "out.txt"}, "out.txt: the output must end in .csv, .jsonl or .parquet."),
        ({"out": "/nowhere/out.csv"}, "/nowhere/out.csv: that folder does not exist."),
        ({"receipt": "/nowhere/r.json"}, "/nowhere/r.json: that folder does not exist."),
        ({"receipt": "/tmp"}, "/tmp: that is a folder, not a file."),
        ({"poll_seconds": float("nan")}, "--poll-seconds takes a number of seconds from 0 to 86400."),
        ({"max_attempts": 0}, "--max-attempts must be at least 1."),
        ({"param": ["temperature=0", "temperature=1"]}, "--param temperature is given twice."),
        ({"param": ["max_tokens=-5"]}, "--param max_tokens=-5: it must be a whole number from 1."),
        ({"model": ""}, "--model is needed."),
        ({"dataset": "/nowhere.csv"}, "/nowhere.csv: no such file or directory"),
    ],
)
def test_bad_flags(flags: dict[str, Any], message: str, connection: Connection, prompt: Path, tmp_path: Path, data_folder: Path) -> None:
    (tmp_path / "in.csv").write_text("a\n1\n")
    (tmp_path / "bad.txt").write_text("Hello {{ a }}\n{{ nothing_of_the_kind }}")
    (tmp_path / "schema.json").write_text(flags.get("schema", "{}"))
    given = {"dataset": str(tmp_path / "in.csv"), "prompt": str(prompt), "out": str(tmp_path / "out.csv"), **flags}
    if "prompt" in flags:
        given["prompt"] = str(tmp_path / "bad.txt")
    if "schema" in flags:
        given["schema"] = str(tmp_path / "schema.json")
    assert message.replace("{folder}", str(tmp_path)) in refused(**given)
    check_nothing_is_left(data_folder, tmp_path)


def test_a_fresh_folder_needs_no_set_up(tmp_path: Path) -> None:
    tool = Headless(tmp_path)
    status, out, err = tool.run("run_job", "--resume", "nothing", "--out", "x.csv")
    assert (status, out) == (2, "")
    assert "“nothing” is not a job's id." in err
    assert tool.files() == set()
