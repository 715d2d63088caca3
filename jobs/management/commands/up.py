"""Start web server, worker cluster and sandbox together; Ctrl-C stops all of them."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from batchui import ledger, local
from batchui.processes import Child, Supervisor

_COLOURS = {"sandbox": 35, "worker": 36, "web": 32, "up": 33}
START_SECONDS = 60


class Command(BaseCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Port and host default to PORT and to this machine alone."""
        parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 8000))
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--no-sandbox", action="store_true", help="do not start the sandbox provider")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until Ctrl-C or SIGTERM; exits with 1 when a part that matters ends by itself."""
        host, port = options["host"], options["port"]
        _refuse_taken(host, port)
        with _only_one():
            ledger.ready(make=True)
            sandbox_port = None if options["no_sandbox"] else local.choose_sandbox_port()
            if sandbox_port is not None:
                _refuse_taken("127.0.0.1", sandbox_port, what="the sandbox's port (remembered in sandbox.port)")
            supervisor = Supervisor(_children(host, port, sandbox_port), self._say)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, supervisor.stop)
            try:
                supervisor.start()
                status = self._announce(supervisor, host, port) or supervisor.watch()
            finally:
                supervisor.end()
                self._say("up", "all stopped")
        sys.exit(status)

    def _announce(self, supervisor: Supervisor, host: str, port: int) -> int:
        """Print where to sign in, once the web server answers. 1 if it never does."""
        until = time.monotonic() + START_SECONDS
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
        while not local.answers(port, shown):
            if any(child.essential and child.ended for child in supervisor.children) or supervisor.stopping.wait(0.1):
                return 0  # the watch says which one, and ends
            if time.monotonic() > until:
                self._say("up", f"the web server did not answer on port {port} within {START_SECONDS} s")
                return 1
        from jobs.engine.first_start import prepare

        print(f"Sign in: http://{shown}:{port}{prepare()}", flush=True)
        return 0

    def _say(self, name: str, line: str) -> None:
        if sys.stdout.isatty():
            print(f"\033[{_COLOURS[name]}m{name:>8}\033[0m {line}", flush=True)
        else:
            print(f"{name:>8} {line}", flush=True)


def _children(host: str, port: int, sandbox_port: int | None) -> list[Child]:
    """What runs, in the order of starting. The web server is what a person waits for, so the whole ends with it alone."""
    python, manage = sys.executable, str(settings.BASE_DIR / "manage.py")
    granian = str(Path(python).with_name("granian"))
    # Two heaps of the C library for all threads: with one each, what a download frees stays with the process.
    env = {"BATCHUI_SANDBOX_PORT": str(sandbox_port or 0), "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2")}
    # The parent's settings were read before the port was known.
    settings.SANDBOX_PORT = sandbox_port or 0
    web = [granian, "--interface", "wsgi", "--host", host, "--port", str(port), "--workers", "1", "--blocking-threads", "8"]
    web += ["--backpressure", "64", "--no-ws", "--no-access-log", "--log-level", "error", "--working-dir", str(settings.BASE_DIR)]
    children = [
        Child("web", [*web, "batchui.wsgi:application"], env=env),
        Child("worker", [python, manage, "worker"], essential=False, patience=8.0, env=env),
    ]
    if sandbox_port is not None:
        data = str(settings.DATA / "sandbox")
        command = [python, "-m", "jobs.sandbox", "--port", str(sandbox_port), "--data", data]
        children.insert(0, Child("sandbox", command, essential=False, env=env))
    return children


def _refuse_taken(host: str, port: int, what: str = "") -> None:
    """A clear word when the port is taken, before anything is started."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise CommandError(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
            advice = "Stop it first." if what else f"Stop it, or choose another: PORT={port + 1} make run"
            raise CommandError(f"Port {port}{f', {what},' if what else ''} is taken by another program. {advice}") from error


class _only_one:
    """Two `up` on one folder would run two clusters on one SQLite file. The lock goes with the process, however it ends."""

    def __enter__(self) -> None:
        import fcntl

        self.file = open(Path(settings.DATA) / "up.lock", "w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandError(f"batchui runs on {settings.DATA} already. Stop it, or set BATCHUI_DATA to another folder.") from error

    def __exit__(self, *_error: object) -> None:
        self.file.close()
