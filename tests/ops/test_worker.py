"""The worker command, as real processes: the ways in which django-q2's own cluster stands still must end it here."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from django.conf import settings

pytestmark = pytest.mark.serial
ENV = {"DJANGO_SETTINGS_MODULE": "tests.ops.machine_settings", "BATCHUI_BEAT_SECONDS": "0.3", "BATCHUI_WORKERS": "2"}


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something; fails when it does not come."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A migrated database, to be copied."""
    folder = tmp_path_factory.mktemp("template")
    run = [sys.executable, "manage.py", "migrate", "-v0"]
    subprocess.run(run, cwd=settings.BASE_DIR, env={**os.environ, **ENV, "BATCHUI_DATA": str(folder)}, check=True)
    return (folder / "batchui.sqlite3").read_bytes()


class Machine:
    """A worker command in a session of its own, working."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        self.env = {**os.environ, **ENV, **env, "BATCHUI_DATA": str(folder)}
        self.log = folder / "log"
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "worker"],
            cwd=settings.BASE_DIR,
            env=self.env,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        until(lambda: len(self.beats()) >= 2)

    def beats(self) -> list[str]:
        path = self.folder / "beats"
        return path.read_text().split() if path.exists() else []

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        ids = {int(pid) for pid in self.beats()}
        until(lambda: len({int(pid) for pid in self.beats()}) >= 1)
        return [each for each in self.family() if each.pid in ids]

    def enqueue(self, code: str) -> None:
        text = f"import django; django.setup(); from django_q.tasks import async_task; {code}"
        subprocess.run([sys.executable, "-c", text], cwd=settings.BASE_DIR, env=self.env, check=True)

    def ended(self, seconds: float) -> int:
        """The exit status; fails when it runs on."""
        return self.process.wait(seconds)


@pytest.fixture
def start(tmp_path: Path, template: bytes) -> Iterator[Callable[..., Machine]]:
    started: list[Machine] = []

    def make(**env: str) -> Machine:
        (tmp_path / "batchui.sqlite3").write_bytes(template)
        started.append(Machine(tmp_path, **env))
        return started[-1]

    yield make
    for machine in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(machine.process.pid, signal.SIGKILL)
        machine.process.wait()


def gone(family: list[psutil.Process]) -> bool:
    return not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_sigterm_to_the_whole_group_ends_it(start: Callable[..., Machine]) -> None:
    machine = start()
    family = machine.family()
    os.killpg(machine.process.pid, signal.SIGTERM)
    assert machine.ended(10) == 0
    until(lambda: gone(family), 5)


def test_a_worker_killed_while_idle_ends_the_cluster(start: Callable[..., Machine]) -> None:
    machine = start(BATCHUI_BEAT_SECONDS="1")
    family, victim = machine.family(), machine.workers()[0]
    victim.kill()
    assert machine.ended(10) == -signal.SIGKILL
    until(lambda: gone(family), 5)
    assert "an idle worker was killed by signal 9" in machine.log.read_text()


def test_nothing_outlives_a_killed_parent(start: Callable[..., Machine]) -> None:
    machine = start()
    family = machine.family()
    assert len(family) >= 6  # pump, sentinel, 2 workers, monitor, pusher
    machine.process.kill()
    until(lambda: gone(family), 5)


def test_a_standstill_ends_the_cluster(start: Callable[..., Machine]) -> None:
    machine = start(BATCHUI_BEAT_LATE_SECONDS="3")
    family = machine.family()
    for each in family:
        if each.pid in {int(pid) for pid in machine.beats()} or "pushing" in each.name():
            each.suspend()
    for each in family:  # a worker that has not had a beat yet is stopped as well
        if each.ppid() != machine.process.pid:
            each.suspend()
    assert machine.ended(15) == 1
    until(lambda: gone(family), 5)
    assert "no task was finished for" in machine.log.read_text()


def test_workers_at_long_tasks_are_no_standstill(start: Callable[..., Machine]) -> None:
    machine = start(BATCHUI_BEAT_LATE_SECONDS="2", BATCHUI_WORKERS="1")
    machine.enqueue("async_task('tests.ops.machine.busy', 4.0)")
    until(lambda: (machine.folder / "busy-done").exists(), 20)
    before = len(machine.beats())
    until(lambda: len(machine.beats()) > before)
    assert machine.process.poll() is None


def test_a_killed_pump_is_started_again(start: Callable[..., Machine]) -> None:
    machine = start()
    pump = next(each for each in machine.family() if " ".join(each.cmdline()).startswith("batchui pump"))
    until(lambda: time.time() - pump.create_time() > 2.5)
    pump.kill()
    until(lambda: "starting it again" in machine.log.read_text())
    before = len(machine.beats())
    until(lambda: len(machine.beats()) > before + 1)
    assert machine.process.poll() is None
