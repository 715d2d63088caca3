"""A real HTTP server that answers what a test tells it to, in order, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """One answer. `drop` closes the connection without one, `cut` after so many bytes of the body, `delay` comes first."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False
    cut: int | None = None
    close_delimited: bool = False
    drip: float = 0.0  # seconds between single bytes

    def encoded(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Route = Callable[[Asked], Reply]


class Wire:
    """`on(method, path, *replies)`: the replies in order, the last one for ever."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.routes: dict[tuple[str, str], list[Reply | Route]] = {}
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def on(self, method: str, path: str, *replies: Reply | Route) -> None:
        self.routes[method, path] = list(replies)

    def count(self, method: str, path: str = "") -> int:
        return sum(a.method == method and a.path.split("?")[0].startswith(path) for a in self.asked)

    def close(self) -> None:
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()

    def _next(self, asked: Asked) -> Reply:
        with self.lock:
            self.asked.append(asked)
            found = self.routes.get((asked.method, asked.path.split("?")[0]))
            if not found:
                return Reply({"error": {"message": f"no route {asked.method} {asked.path}", "type": "test"}}, status=404)
            reply = found.pop(0) if len(found) > 1 else found[0]
        return reply if isinstance(reply, Reply) else reply(asked)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                reply = wire._next(Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                if reply.delay:
                    wire.stop.wait(reply.delay)
                if reply.drop:
                    self.close_connection = True
                    return
                self._write(reply)

            def _write(self, reply: Reply) -> None:
                data = reply.encoded()
                headers = {"Content-Type": "application/json"} | reply.headers
                self.send_response(reply.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if reply.close_delimited:
                    self.close_connection = True
                    self.send_header("Connection", "close")
                else:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if reply.cut is not None:
                    data, self.close_connection = data[: reply.cut], True
                try:
                    if reply.drip:
                        for i in range(len(data)):
                            self.wfile.write(data[i : i + 1])
                            self.wfile.flush()
                            if wire.stop.wait(reply.drip):
                                return
                    else:
                        self.wfile.write(data)
                except OSError:
                    self.close_connection = True

            do_GET = do_POST = do_DELETE = answer

        return Handler


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        threading.Event().wait(0.005)
