"""`up` as a person starts it, sandbox and all: a job settles soon after the provider's end, and goes on after every kill."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings

from tests.ops.test_worker import gone, until
from tests.servers import free_port

pytestmark = pytest.mark.serial
WITHIN_SECONDS = 5.0  # from the provider's end of the batch to the job's


class Whole:
    """`manage.py up` on a folder of its own."""

    def __init__(self, folder: Path, migrated: bytes) -> None:
        self.folder, self.port = folder, free_port()
        outside = {name: value for name, value in os.environ.items() if name not in ("DJANGO_ALLOW_ASYNC_UNSAFE", "TEST_DATABASE")}
        self.env = {**outside, "DJANGO_SETTINGS_MODULE": "tests.ops.whole_settings", "BATCHUI_DATA": str(folder), "PORT": str(self.port)}
        self.env |= {"BATCHUI_WORKERS": "2", "BATCHUI_LEASE_SECONDS": "6"}
        (folder / "batchui.sqlite3").write_bytes(migrated)
        self.lines: list[str] = []
        self.up: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """The sign-in link, once it is printed."""
        self.lines = []
        self.up = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=settings.BASE_DIR,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.up.stdout is not None
        threading.Thread(target=lambda out: self.lines.extend(iter(out.readline, "")), args=(self.up.stdout,), daemon=True).start()
        until(lambda: any(line.startswith("Sign in: ") for line in self.lines), 60)
        return next(line for line in self.lines if line.startswith("Sign in: ")).removeprefix("Sign in: ").strip()

    def family(self) -> list[psutil.Process]:
        assert self.up is not None
        return psutil.Process(self.up.pid).children(recursive=True)

    def end(self, with_signal: int) -> None:
        """Send the signal to `up` alone; all of it must go."""
        assert self.up is not None
        family = self.family()
        self.up.send_signal(with_signal)
        self.up.wait(45)
        until(lambda: gone(family), 15)

    @property
    def sandbox(self) -> str:
        return f"http://127.0.0.1:{(self.folder / 'sandbox.port').read_text().strip()}"

    def control(self, action: str = "", **payload: Any) -> Any:
        data = json.dumps(payload).encode() if action else None
        request = urllib.request.Request(f"{self.sandbox}/_control/{action}".rstrip("/"), data, {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))

    def job(self, *words: str) -> str:
        command = [sys.executable, "-m", "tests.ops.ledger_job", *words]
        return subprocess.run(command, cwd=settings.BASE_DIR, env=self.env, check=True, capture_output=True, text=True).stdout.strip()

    def settled(self, job: str, seconds: float = 60) -> dict[str, Any]:
        """What the ledger says of the job at its end."""
        until(lambda: self.is_finished(job), seconds)
        return dict(json.loads(self.job("show", job)))

    def is_finished(self, job: str) -> bool:
        with contextlib.closing(sqlite3.connect(f"file:{self.folder}/batchui.sqlite3?mode=ro", uri=True, timeout=20)) as ledger:
            found = ledger.execute("SELECT finished_at FROM jobs_job WHERE id = ?", (job.replace("-", ""),)).fetchone()
        return found is not None and found[0] is not None

    def ended_at(self) -> float:
        """When the provider ended its one batch, by what it says itself (whole seconds, rounded down)."""
        request = urllib.request.Request(f"{self.sandbox}/v1/batches", headers={"Authorization": "Bearer sk-test-1"})
        batches = json.load(urllib.request.urlopen(request))["data"]
        assert [batch["status"] for batch in batches] == ["completed"]
        return float(batches[0]["completed_at"])


@pytest.fixture
def whole(tmp_path: Path, migrated: bytes) -> Iterator[Whole]:
    made = Whole(tmp_path, migrated)
    yield made
    if made.up is not None and made.up.poll() is None:
        family = made.family()
        made.up.kill()
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        made.up.wait()


def test_a_small_job_settles_soon_after_the_providers_end(whole: Whole) -> None:
    link = whole.start()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    assert opener.open(link).geturl() == f"http://127.0.0.1:{whole.port}/"
    job = whole.job("launch", whole.sandbox, "gpt-6-luna+slow=4s", "24")
    told = whole.settled(job)
    assert (told["state"], told["succeeded"], told["batches"]) == ("completed", 24, [["settled", 1]])
    took = told["finished"] - whole.ended_at()
    print(f"settled {took:.1f} s after the provider's end")
    assert took < WITHIN_SECONDS
    health = json.load(urllib.request.urlopen(f"http://127.0.0.1:{whole.port}/healthz"))
    assert {name: part["ok"] for name, part in health.items() if name != "ok"} == dict.fromkeys(
        ("database", "workers", "pump", "clocks", "storage", "sandbox"), True
    )
    whole.end(signal.SIGINT)


def test_a_job_goes_on_after_a_killed_worker_and_a_killed_whole(whole: Whole) -> None:
    whole.start()
    job = whole.job("launch", whole.sandbox, "gpt-6-luna+slow=6s", "24")
    until(lambda: len(whole.control()["batches"]) == 1, 30)
    assert whole.up is not None
    children = psutil.Process(whole.up.pid).children()
    next(each for each in children if " ".join(each.cmdline()).startswith("qcluster")).kill()  # as the worker command calls itself
    until(lambda: any("starting it again" in line for line in whole.lines), 10)
    whole.end(signal.SIGKILL)
    whole.start()
    told = whole.settled(job)
    assert (told["state"], told["succeeded"], told["batches"]) == ("completed", 24, [["settled", 1]])
    assert len(whole.control("calls", verb="batches.create")) == 1
    whole.end(signal.SIGTERM)
