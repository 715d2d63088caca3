"""Two hosts on one machine: worker clusters in network namespaces of their own, which share a folder and reach the test's servers.

Where namespaces are not permitted a host is a process group, and the run says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from django.conf import settings

_libc = ctypes.CDLL(None)
_numbers = itertools.count()  # what a namespace leaves behind may live a moment longer than it


def until(true: Callable[[], object], seconds: float, what: str) -> float:
    """Wait for something, and give the seconds that it took; fails when it does not come."""
    since = time.monotonic()
    while not true():
        assert time.monotonic() - since < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - since


class Relay(socketserver.ThreadingTCPServer):
    """Hands each connection to `port` of `address` on to the same port of loopback, where alone the servers listen."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: str, port: int) -> None:
        super().__init__((address, port), Hop)
        self.ends: set[socket.socket] = set()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def server_close(self) -> None:
        """A host that was killed says no farewell: its connections are ended here, or the servers would keep them."""
        self.shutdown()
        super().server_close()
        for end in list(self.ends):
            _end(end)


class Hop(socketserver.BaseRequestHandler):
    """One relayed connection."""

    def handle(self) -> None:
        relay = self.server
        assert isinstance(relay, Relay)
        with socket.create_connection(("127.0.0.1", relay.server_address[1])) as inside:
            relay.ends |= {inside, self.request}
            back = threading.Thread(target=_pour, args=(inside, self.request), daemon=True)
            back.start()
            _pour(self.request, inside)
            back.join()
            relay.ends -= {inside, self.request}


def _pour(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        _end(source)
        _end(target)


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class Host:
    """Where a worker cluster runs. `namespace` is "" for a plain process group."""

    def __init__(self, name: str, namespace: str, env: dict[str, str], logs: Path) -> None:
        self.name, self.namespace, self.env, self.log = name, namespace, env, logs / f"worker-{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> None:
        """`manage.py worker`, in a session of its own."""
        inside = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*inside, sys.executable, "manage.py", "worker"],
                cwd=settings.BASE_DIR,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: _libc.prctl(1, signal.SIGKILL),
            )

    def family(self) -> list[psutil.Process]:
        assert self.process is not None
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def kill(self) -> None:
        """The power cut: every process of the host gets kill -9 at once."""
        if self.process is None or self.process.poll() is not None:
            return
        family = self.family()
        for each in family:
            each.send_signal(signal.SIGSTOP)  # none of them may act on the death of another
        for each in family:
            each.kill()
        self.process.wait()

    def stop(self, seconds: float = 40) -> int:
        """The orderly stop; its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def cut(self, off: bool) -> None:
        """Take the host's network away, or give it back."""
        _ip("-n", self.namespace, "link", "set", "eth0", "down" if off else "up")
        if not off:
            _ip("-n", self.namespace, "route", "replace", "default", "via", _gateway_of(self.namespace))


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _net(namespace: str) -> tuple[int, int]:
    """Two numbers of the 10.213.x.y/30 of a namespace that is called bt<pid>-<n>."""
    pid, n = namespace.removeprefix("bt").split("-")
    return int(pid) % 250, int(n) * 4


def _gateway_of(namespace: str) -> str:
    third, base = _net(namespace)
    return f"10.213.{third}.{base + 1}"


@contextmanager
def namespaces(n: int) -> Iterator[tuple[list[str], str]]:
    """`n` network namespaces that reach this machine at one address; raises OSError where that is not permitted."""
    names = [f"bt{os.getpid()}-{next(_numbers)}" for _ in range(n)]
    try:
        try:
            for name in names:
                third, base = _net(name)
                wire = f"v{name}"
                _ip("netns", "add", name)
                _ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name)
                _ip("addr", "add", f"10.213.{third}.{base + 1}/30", "dev", wire)
                _ip("link", "set", wire, "up")
                _ip("-n", name, "addr", "add", f"10.213.{third}.{base + 2}/30", "dev", "eth0")
                for device in ("lo", "eth0"):
                    _ip("-n", name, "link", "set", device, "up")
                _ip("-n", name, "route", "add", "default", "via", _gateway_of(name))
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            raise OSError(getattr(error, "stderr", "") or str(error)) from error
        yield names, _gateway_of(names[0])
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)  # its wire goes with it
