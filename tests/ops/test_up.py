"""The supervisor and the `up` command, with real processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from batchui.processes import Child, Supervisor
from tests.ops.test_worker import gone, until

pytestmark = pytest.mark.serial
SLEEP = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]
STUBBORN = [sys.executable, "-c", "import signal,time; signal.signal(15, signal.SIG_IGN); print('here', flush=True); time.sleep(60)"]
CRASH = [sys.executable, "-c", "import sys; sys.exit(7)"]


class Ear:
    """What the supervisor said."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.lines.append((name, line))

    def heard(self, name: str) -> list[str]:
        return [line for who, line in self.lines if who == name]


def test_a_worker_that_ends_is_started_again_later_each_time() -> None:
    ear = Ear()
    supervisor = Supervisor([Child("worker", CRASH, essential=False)], ear)
    supervisor.start()
    threading.Timer(2.5, supervisor.stop).start()
    assert supervisor.watch() == 0
    supervisor.end()
    said = ear.heard("up")[:2]
    assert said == [
        "worker ended with status 7; starting it again in 0.5 s",
        "worker ended with status 7; starting it again in 1 s",
    ]


def test_the_end_of_the_web_server_ends_the_whole() -> None:
    ear = Ear()
    children = [Child("worker", SLEEP, essential=False), Child("web", CRASH)]
    supervisor = Supervisor(children, ear)
    supervisor.start()
    assert supervisor.watch() == 1
    supervisor.end()
    assert ear.heard("up") == ["web ended with status 7; stopping the rest"]
    assert [child.ended for child in children] == [True, True]


def test_a_child_that_does_not_stop_is_killed() -> None:
    ear = Ear()
    child = Child("worker", STUBBORN, patience=0.5)
    supervisor = Supervisor([child], ear)
    supervisor.start()
    until(lambda: ear.heard("worker") == ["here"])
    since = time.monotonic()
    supervisor.end()
    assert time.monotonic() - since < 3
    assert child.process is not None
    assert child.process.returncode == -signal.SIGKILL


def start_up(folder: Path, port: int) -> subprocess.Popen[str]:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.ops.machine_settings", "BATCHUI_DATA": str(folder), "PORT": str(port)}
    env |= {"BATCHUI_WORKERS": "1"}
    command = [sys.executable, "manage.py", "up", "--no-sandbox"]
    return subprocess.Popen(
        command, cwd=settings.BASE_DIR, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_taken_port_is_said_clearly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        up = start_up(tmp_path, port)
        out = up.communicate(timeout=20)[0]
    assert up.returncode == 1
    assert out.strip() == f"CommandError: Port {port} is taken by another program. Stop it, or choose another: PORT={port + 1} make run"


def test_an_older_ledger_is_said_before_anything_starts(tmp_path: Path, migrated: bytes) -> None:
    (tmp_path / "batchui.sqlite3").write_bytes(migrated)
    with sqlite3.connect(tmp_path / "batchui.sqlite3") as ledger:
        ledger.execute("delete from django_migrations where app = 'sessions'")
    for command in ("up", "worker"):
        env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.ops.machine_settings", "BATCHUI_DATA": str(tmp_path)}
        arguments = [sys.executable, "manage.py", command, *(["--port", str(free_port())] if command == "up" else [])]
        done = subprocess.run(arguments, cwd=settings.BASE_DIR, env=env, capture_output=True, text=True, timeout=30)
        assert done.returncode == 1
        assert done.stderr.strip() == (
            "CommandError: The ledger is of an older version: 1 of its migrations were not run (sessions.0001_initial). "
            "Stop all that works on it, make a backup, then: manage.py migrate"
        )


def test_up_makes_the_tables_of_a_new_ledger_and_a_worker_asks_for_them(tmp_path: Path) -> None:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.ops.machine_settings", "BATCHUI_DATA": str(tmp_path)}
    arguments = [sys.executable, "manage.py", "worker"]
    done = subprocess.run(arguments, cwd=settings.BASE_DIR, env=env, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr.strip()) == (1, "CommandError: The ledger has no tables yet. Make them: manage.py migrate")
    up = start_up(tmp_path, free_port())
    lines: list[str] = []
    assert up.stdout is not None
    threading.Thread(target=lambda out: lines.extend(iter(out.readline, "")), args=(up.stdout,), daemon=True).start()
    try:
        until(lambda: any(line.startswith("Sign in: ") for line in lines), 90)
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(40) == 0


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_up_prints_a_link_and_leaves_nothing_behind(tmp_path: Path, migrated: bytes, with_signal: signal.Signals) -> None:
    port = free_port()
    (tmp_path / "batchui.sqlite3").write_bytes(migrated)
    up = start_up(tmp_path, port)
    lines: list[str] = []
    assert up.stdout is not None
    reader = threading.Thread(target=lambda out: lines.extend(iter(out.readline, "")), args=(up.stdout,), daemon=True)
    reader.start()
    try:
        until(lambda: any(line.startswith("Sign in: ") for line in lines))
        link = next(line for line in lines if line.startswith("Sign in: ")).removeprefix("Sign in: ").strip()
        assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/sign-in/link/[^/]+/", link)
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(), NoRedirect())
        assert opener.open(link).headers["Location"] == "/"
        assert opener.open(f"http://127.0.0.1:{port}/password/").status == 200
        until(lambda: len(psutil.Process(up.pid).children(recursive=True)) >= 8)  # granian 2, worker, sentinel, pump, 3 of the cluster's
        family = psutil.Process(up.pid).children(recursive=True)
    finally:
        since = time.monotonic()
        up.send_signal(with_signal)
        status = up.wait(20)
    assert time.monotonic() - since < 10
    until(lambda: gone(family), 12)
    assert status == (0 if with_signal != signal.SIGKILL else -signal.SIGKILL)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Hand the redirect itself back."""

    def http_error_302(self, req, fp, code, msg, headers):  # type: ignore[no-untyped-def]
        return fp
