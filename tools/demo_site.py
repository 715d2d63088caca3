"""The app on demo data, by itself: `with DemoSite() as site:` gives a running server, people to be, and the path of every page.

No worker runs, so that nothing moves while it is looked at. As a program (`python -m tools.demo_site`) it fills the folder that
BATCHUI_DATA names and prints what was made as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 90


class DemoSite:
    """`url`; `pages`: name → path, for the admin; `empty`: the same for a workspace with nothing in it; `cookies`: person → session."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
        self.folder = Path(tempfile.mkdtemp(prefix="batchui-demo-", dir=memory if os.access(memory, os.W_OK) else None))
        self.ports = [free_port() for _ in range(2)]
        self.url = f"http://127.0.0.1:{self.ports[0]}"
        ours = {
            "DJANGO_SETTINGS_MODULE": "tools.site_settings",
            "BATCHUI_DATA": str(self.folder),
            "BATCHUI_SANDBOX_PORT": str(self.ports[1]),
        }
        gone = ("DATABASE_URL", "REDIS_URL", "BATCHUI_DEBUG", "BATCHUI_PRODUCTION", "DJANGO_ALLOW_ASYNC_UNSAFE")
        self.env = {**{k: v for k, v in os.environ.items() if k not in gone}, **ours}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.pages: dict[str, str] = {}
        self.empty: dict[str, str] = {}
        self.cookies: dict[str, str] = {}

    def __enter__(self) -> DemoSite:
        try:
            self._start("-m", "jobs.sandbox", "--port", str(self.ports[1]), "--data", str(self.folder / "sandbox"), "--seconds", "0.2")
            wait_for(f"http://127.0.0.1:{self.ports[1]}/_control/")
            done = subprocess.run([sys.executable, "-m", "tools.demo_site"], cwd=ROOT, env=self.env, check=True, stdout=subprocess.PIPE)
            told = json.loads(done.stdout.splitlines()[-1])
            self.pages, self.empty, self.cookies = told["pages"], told["empty"], told["cookies"]
            web = ["--interface", "wsgi", "--host", "127.0.0.1", "--port", str(self.ports[0]), "--workers", "1", "--blocking-threads", "4"]
            self._start("-m", "granian", *web, "--no-ws", "--no-access-log", "--log-level", "error", "batchui.wsgi:application")
            wait_for(f"{self.url}/sign-in/")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def server_pid(self) -> int:
        return self.processes[-1].pid

    def _start(self, *command: str) -> None:
        self.processes.append(subprocess.Popen([sys.executable, *command], cwd=ROOT, env=self.env))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str) -> None:
    ends = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - ours
            return
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)


def make() -> dict[str, Any]:
    """Fill the ledger; what DemoSite holds."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.utils import timezone

    from batchui import local
    from jobs.engine import demo, members
    from jobs.engine.first_start import prepare
    from jobs.engine.prices import save_price
    from jobs.management.commands.demo import arm
    from jobs.models import Batch, Heartbeat, Membership
    from jobs.words import BatchState, Role

    call_command("migrate", verbosity=0)
    prepare()
    url = local.sandbox_url() or ""
    owner = User.objects.get(username="owner")
    User.objects.filter(pk=owner.pk).update(is_staff=True)  # sees the style guide
    home = Membership.objects.get(user=owner).workspace
    made = demo.fill(home, owner, url, lambda *order: arm(url, *order))
    _, join = members.add_member(home, owner, "newcomer", Role.VIEWER)
    save_price(home, owner, kind="openai", model="own-model", prices={"input": "1", "output": "2"}, note="By contract")
    alone, viewer = User.objects.create_user("alone"), User.objects.create_user("viewer")
    members.create_workspace(alone, "Furniture shop")
    Membership.objects.create(workspace=home, user=viewer, role=Role.VIEWER)
    asked_to_stop = {"cancel_sent_at": timezone.now() - timedelta(hours=3)}  # and it did not: it may be given up
    Batch.objects.filter(job=made.jobs["waiting"], state=BatchState.SUBMITTED).update(**asked_to_stop)
    Heartbeat.objects.update_or_create(name="pump", defaults={"at": timezone.now() + timedelta(days=1)})
    cookies = {user.username: session_of(user) for user in (owner, alone, viewer)}
    return {"pages": pages(made, home, join), "empty": empty_pages(), "cookies": cookies}


def session_of(user: Any) -> str:
    """The key of a fresh session in which the user is signed in."""
    from importlib import import_module

    from django.conf import settings
    from django.contrib.auth import login
    from django.http import HttpRequest

    request = HttpRequest()
    request.META["REMOTE_ADDR"] = "127.0.0.1"
    request.session = import_module(settings.SESSION_ENGINE).SessionStore()
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.session.save()
    return str(request.session.session_key)


def pages(made: Any, home: Any, join: str) -> dict[str, str]:
    """A name for the picture → the path, for every page, jobs in each of their states."""
    from django.urls import reverse

    from jobs.models import DatasetUpload
    from jobs.words import BatchState

    found = {name: reverse(name) for name in PLAIN}
    by_job = {"job-detail": made.jobs, **{name: {"failures": made.jobs["failures"]} for name in OF_A_JOB}}
    by_job["job-failures"] = {word: made.jobs[word] for word in ("failures", "done", "running", "failed")}
    by_job["job-rows"] = {word: made.jobs[word] for word in ("failures", "long", "running")}
    by_job["job-receipt"] = {word: made.jobs[word] for word in ("retried", "running")}
    for name, jobs in by_job.items():
        found |= {f"{name} {word}": reverse(name, args=[job.pk]) for word, job in jobs.items() if word != "draft"}
    for word in ("failures", "long"):
        found[f"job-row {word}"] = reverse("job-row", args=[made.jobs[word].pk, 0])
        found[f"job-row-prompt {word}"] = reverse("job-row-prompt", args=[made.jobs[word].pk, 0])
    found |= {name: reverse(name, args=[made.jobs["draft"].pk]) for name in LAUNCH}
    found["launch-model counted"] = found["launch-model"] + "?now=1"
    found["launch-try filled"] = found["launch-try"] + "?now=1"
    long = made.jobs["long"].dataset_version.dataset
    for word, dataset in (("sample", made.dataset_version.dataset), ("long", long)):
        found |= {f"{name} {word}": reverse(name, args=[dataset.pk]) for name in OF_A_DATASET}
    found["upload-detail"] = reverse("upload-detail", args=[DatasetUpload.objects.filter(workspace=home).earliest("created_at").pk])
    prompt = made.jobs["long"].prompt_version.prompt
    found |= {name: reverse(name, args=[prompt.pk]) for name in OF_A_PROMPT}
    unclear = made.jobs["unclear"]
    found["job-decide"] = reverse("job-decide", args=[unclear.pk, unclear.batches.get(number=1).pk])
    stuck = made.jobs["waiting"]
    found["job-give-up"] = reverse("job-give-up", args=[stuck.pk, stuck.batches.get(state=BatchState.SUBMITTED).pk])
    found["connection-edit"] = reverse("connection-edit", args=[made.connection.pk])
    found["workspace-join"] = join
    found |= {"404": "/nowhere/", "500": "/broken/500/", "csrf": "/broken/csrf/"}
    return found


PLAIN = (
    "home", "job-list", "dataset-list", "dataset-upload", "prompt-list", "prompt-new", "launch-new", "costs", "connection-list",
    "connection-new", "workspace-detail", "workspace-settings", "workspace-log", "price-list", "styleguide", "signin", "password",
    "compare", "report-quality", "batch-advice",
)  # fmt: skip
OF_A_JOB = ("job-batches", "job-timeline", "job-charts", "job-retry")
LAUNCH = ("launch", "launch-data", "launch-prompt", "launch-model", "launch-try", "launch-review")
OF_A_DATASET = ("dataset-detail", "dataset-reading", "dataset-settings")
OF_A_PROMPT = ("prompt-detail", "prompt-edit", "prompt-compare", "prompt-settings")


def empty_pages() -> dict[str, str]:
    from django.urls import reverse

    names = ("home", "job-list", "dataset-list", "prompt-list", "costs", "connection-list", "workspace-detail", "price-list")
    return {f"{name} empty": reverse(name) for name in names}


if __name__ == "__main__":
    import django

    django.setup()
    print(json.dumps(make()))
