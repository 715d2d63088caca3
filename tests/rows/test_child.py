"""A bounded child answers, passes on our errors, and dies of its limits with a reason; nobody's secret reaches it."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import BadInput, BadTable, BadTemplate, Where
from jobs.rows.child import REPOSITORY, ChildDied, run_child, stream_child

JOBS = "tests.rows.child_jobs"


def run(tmp_path: Path, do: str, **more: Any) -> dict[str, Any]:
    bounds: dict[str, Any] = {"seconds": 20, "memory_bytes": 100_000_000, "cwd": tmp_path}
    bounds.update({name: more.pop(name) for name in ("seconds", "file_bytes") if name in more})
    return run_child(JOBS, {"do": do, **more}, **bounds)


def test_child_answers_and_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    answer = run(tmp_path, "echo", text="ä\n\ud83d" + "x" * 300_000)
    assert answer["text"] == "ä\n\ud83d" + "x" * 300_000
    assert answer["cwd"] == str(tmp_path)
    assert "OPENAI_API_KEY" not in answer["environment"]
    assert set(answer["environment"]) <= {
        "PATH", "TZ", "LD_LIBRARY_PATH", "LANG", "PYTHONPATH", "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE", "MALLOC_ARENA_MAX",
        "ARROW_DEFAULT_MEMORY_POOL", "OMP_NUM_THREADS", "LC_CTYPE",
    }  # fmt: skip


def test_child_passes_on_our_errors_whole(tmp_path: Path) -> None:
    with pytest.raises(BadTable) as table:
        run(tmp_path, "bad_table")
    assert (table.value.message, table.value.where, table.value.hint) == ("Line 7 is short.", Where(7, "2 values", "3 values"), "Fix it.")
    with pytest.raises(BadTemplate) as template:
        run(tmp_path, "bad_template")
    assert (template.value.message, template.value.line, template.value.hint) == ("No end.", 3, "Close it.")
    with pytest.raises(BadInput) as given:
        run(tmp_path, "bad_input")
    assert (type(given.value), given.value.message, given.value.hint) == (BadInput, "No.", "Yes.")


@pytest.mark.parametrize(
    ("do", "more", "reason"),
    [
        ("eat", {"bytes": 200_000_000}, "memory"),
        ("hang", {"seconds": 0.5}, "timeout"),
        ("die", {"signal": int(signal.SIGSEGV)}, "crash"),
        ("die", {"signal": int(signal.SIGXCPU)}, "timeout"),
        ("break_down", {}, "crash"),
        ("fill", {"file_bytes": 2_000_000}, "disk"),
        ("talk_much", {"bytes": 64_100_000, "seconds": 30}, "memory"),
    ],
)
def test_child_dies_with_a_reason(tmp_path: Path, do: str, more: dict[str, Any], reason: str) -> None:
    with pytest.raises(ChildDied) as died:
        run(tmp_path, do, **more)
    assert died.value.reason == reason


def test_child_may_use_the_memory_it_was_given(tmp_path: Path) -> None:
    assert run(tmp_path, "eat", bytes=80_000_000) == {"n": 80_000_000}


def test_child_has_no_sockets_and_no_programs(tmp_path: Path) -> None:
    assert run(tmp_path, "call_out") == {"refused": ["socket", "exec"]}


def test_stream_yields_in_order_and_closing_it_ends_the_child() -> None:
    bounds: dict[str, Any] = {"seconds": 20, "memory_bytes": 100_000_000}
    assert [one["n"] for one in stream_child(JOBS, {"do": "count", "n": 1000}, **bounds)] == list(range(1000))
    stream = stream_child(JOBS, {"do": "count", "n": 10**9}, **bounds)
    pid = next(stream)["pid"]
    stream.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def _in_a_daemon(pipe: Any) -> None:
    pipe.send(run_child(JOBS, {"do": "echo", "text": "hi"}, seconds=20, memory_bytes=100_000_000)["text"])


def test_child_works_from_a_daemonic_worker() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=_in_a_daemon, args=(theirs,), daemon=True)
    worker.start()
    theirs.close()
    assert ours.recv() == "hi"
    worker.join()


def test_child_dies_with_its_parent() -> None:
    script = (
        "from jobs.rows.child import stream_child\n"
        f"for one in stream_child({JOBS!r}, {{'do': 'count', 'n': 10**9}}, seconds=60, memory_bytes=10**8):\n"
        "    print(one['pid'], flush=True)\n"
        "    import signal; signal.pause()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    handle = os.pidfd_open(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert select.select([handle], [], [], 5)[0] == [handle]  # readable: it has ended
    os.close(handle)
