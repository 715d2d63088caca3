"""The socket: HTTP/1.1 with keep-alive on loopback, one thread a connection. Bodies stream to and from disk."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from jobs.sandbox.app import App, dumps
from jobs.sandbox.http import Reply, Request, json_reply

PIECE = 1 << 20
SPOOLED = ("/v1/files", "/v1/messages/batches")
MOST_RAW = 64 << 20  # bytes of a body that is held in memory


class TooLarge(Exception):
    """The body passes what this path takes."""


class Handler(BaseHTTPRequestHandler):
    """Reads one request, asks the app, writes the answer."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sandbox", ""
    server: Server
    timeout = 120
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # head and body of a small answer leave in one packet: two would wait 40 ms for each other

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged: a log would be a place for keys to end up."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(timestamp if timestamp is not None else self.server.app.clock.now(), usegmt=True)

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_DELETE = do_GET

    def _serve(self) -> None:
        url = urlsplit(self.path)
        request = Request(
            self.command,
            unquote(url.path),
            dict(parse_qsl(url.query)),
            {name.lower(): value for name, value in self.headers.items()},
            self.server.base,
        )
        try:
            self._read(request)
            reply = self._control(request) if request.path.startswith("/_control") else self.server.app.handle(request)
            self._write(reply)
        except TooLarge:
            self.close_connection = True
            self.server.app.route(request)
            self._write(self.server.app.error(request, 413, "Request exceeds the maximum size", "request_too_large"))
        except (BrokenPipeError, ConnectionError, TimeoutError):
            self.close_connection = True
        finally:
            if request.spool is not None and not request.note.get("late"):
                request.spool.unlink(missing_ok=True)

    # ---- in

    def _read(self, request: Request) -> None:
        pieces = _chunked(self.rfile) if request.headers.get("transfer-encoding", "").lower() == "chunked" else self._sized(request)
        if request.method == "POST" and request.path in SPOOLED:
            most = self.server.app.options.anthropic_max_bytes if request.path == SPOOLED[1] else 600_000_000
            request.spool = self.server.app.store.spool()
            with request.spool.open("wb") as out:
                for piece in pieces:
                    request.n_bytes += len(piece)
                    if request.n_bytes > most:
                        raise TooLarge
                    out.write(piece)
            return
        raw = bytearray()
        for piece in pieces:
            raw += piece
            if len(raw) > MOST_RAW:
                raise TooLarge
        request.raw, request.n_bytes = bytes(raw), len(raw)

    def _sized(self, request: Request) -> Iterator[bytes]:
        left = int(request.headers.get("content-length") or 0)
        while left:
            piece = self.rfile.read(min(left, PIECE))
            if not piece:
                raise ConnectionError("the body ends early")
            left -= len(piece)
            yield piece

    # ---- out

    def _write(self, reply: Reply) -> None:
        if reply.drop:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        size = reply.file.stat().st_size if reply.file else len(reply.body)
        cut = reply.keep_bytes is not None
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if cut and reply.cut == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif not (cut and reply.cut == "close"):
            self.send_header("Content-Length", str(size))
        if cut:
            self.send_header("Connection", "close")
        self.end_headers()
        left = size if reply.keep_bytes is None else min(reply.keep_bytes, size)
        source = reply.file.open("rb") if reply.file else None
        try:
            self._send(reply, source, left)
        finally:
            if source:
                source.close()
        if cut:
            self.close_connection = True

    def _send(self, reply: Reply, source: BinaryIO | None, left: int) -> None:
        at = 0
        piece_size = 1024 if reply.drip else PIECE
        while left > 0:
            piece = source.read(min(piece_size, left)) if source else reply.body[at : at + min(piece_size, left)]
            at += len(piece)
            left -= len(piece)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if reply.keep_bytes is not None and reply.cut == "chunked" else piece)
            if reply.drip:
                self.wfile.flush()
                self.server.app.clock.stopping.wait(reply.drip)

    def _control(self, request: Request) -> Reply:
        action = request.path.removeprefix("/_control").strip("/")
        try:
            payload = {**request.query, **(orjson.loads(request.raw) if request.raw else {})}
            reply = json_reply(None)
            reply.body = dumps(self.server.app.control(action, payload))
        except (ValueError, KeyError, TypeError) as error:
            return json_reply({"error": str(error)}, 400)
        return reply


def _chunked(stream: BufferedIOBase) -> Iterator[bytes]:
    while True:
        head = stream.readline(1024)
        if not head.strip():
            raise ConnectionError("the body ends early")
        left = int(head.split(b";")[0], 16)
        if not left:
            while stream.readline(1024).strip():
                pass
            return
        while left:
            piece = stream.read(min(left, PIECE))
            if not piece:
                raise ConnectionError("the body ends early")
            left -= len(piece)
            yield piece
        stream.readline(1024)


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1 only."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, app: App, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.app = app
        self.base = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news; anything else is raised where the tests see it."""
        error = sys.exception()
        if not isinstance(error, OSError | ValueError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]
