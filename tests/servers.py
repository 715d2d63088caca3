"""Servers to throw away, for tests: a PostgreSQL cluster and a Redis, on loopback, each in a folder of its own."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEMORY = Path("/dev/shm")
START_SECONDS = 30
_libc = ctypes.CDLL(None)


class NotHere(Exception):
    """This machine cannot run the server; the text says why, and is the reason of the skip."""


def _end_with_parent(with_signal: int) -> Callable[[], None]:
    return lambda: _libc.prctl(1, with_signal)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _folder(prefix: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=prefix, dir=MEMORY if os.access(MEMORY, os.W_OK) else None))


class Server:
    """A process that listens on `port` of loopback until `stop`. Ends with the process that started it, however that ends."""

    def __init__(self, command: list[str], folder: Path, port: int, end_signal: int, **popen: Any) -> None:
        self.folder, self.port, self.end_signal = folder, port, end_signal
        self.log = folder / "log"
        self._start = lambda log: subprocess.Popen(
            command, stdout=log, stderr=log, preexec_fn=_end_with_parent(end_signal), cwd="/", **popen
        )
        with self.log.open("w") as log:
            self.process = self._start(log)

    def wait(self, ready: Callable[[], bool]) -> None:
        """Until `ready`; NotHere with the log's end if that does not come."""
        ends = time.monotonic() + START_SECONDS
        while not ready():
            if self.process.poll() is not None or time.monotonic() > ends:
                tail = self.log.read_text()[-500:]
                self.stop()
                raise NotHere(f"it does not start: {tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it and remove its folder."""
        self.process.send_signal(self.end_signal)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres(Server):
    """A fresh PostgreSQL cluster with user `postgres` and no password, on loopback and on a socket in its folder."""

    def __init__(self) -> None:
        bin_folder = _postgres_bin()
        folder, port, user = _folder("batchui-pg-"), free_port(), _postgres_user()
        as_user: dict[str, Any] = {}
        if user is not None:  # PostgreSQL refuses to run as root
            os.chown(folder, user.pw_uid, user.pw_gid)
            as_user = {
                "user": user.pw_uid,
                "group": user.pw_gid,
                "extra_groups": [],
                "env": {"PATH": os.environ["PATH"], "HOME": str(folder)},
            }
        data = folder / "data"
        init = [str(bin_folder / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(init, capture_output=True, text=True, check=False, cwd="/", **as_user)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise NotHere(f"initdb failed: {done.stderr.strip()[-300:]}")
        command = [str(bin_folder / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1"]
        # The machine does not lose power during a test: what is committed need not reach a disk.
        for option in ("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=64MB"):
            command += ["-c", option]
        super().__init__(command, folder, port, signal.SIGINT, **as_user)
        self.wait(lambda: "ready to accept connections" in self.log.read_text())

    def crash(self) -> None:
        """What `pg_ctl restart -m immediate` does: every connection ends at once, nothing is written out, and it recovers."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(20)
        with self.log.open("w") as log:
            self.process = self._start(log)
        self.wait(lambda: "ready to accept connections" in self.log.read_text())

    def url(self, name: str = "postgres", host: str = "127.0.0.1") -> str:
        return f"postgres://postgres@{host}:{self.port}/{name}"


def _postgres_bin() -> Path:
    """The newest version's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    here = found[-1] if found else shutil.which("postgres")
    if not here:
        raise NotHere("no PostgreSQL on this machine: apt-get install postgresql")
    return Path(here).resolve().parent


def _postgres_user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NotHere("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")


class Redis(Server):
    """A Redis without persistence: what is lost when it ends is what a test wants lost."""

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise NotHere("no Redis on this machine: apt-get install redis-server")
        folder, port = _folder("batchui-redis-"), free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
        super().__init__(command, folder, port, signal.SIGTERM)
        self.wait(lambda: "eady to accept connections" in self.log.read_text())

    def url(self, host: str = "127.0.0.1") -> str:
        return f"redis://{host}:{self.port}/0"
