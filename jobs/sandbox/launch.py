"""Starting a sandbox: inside another program, or as a program."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from jobs.sandbox.app import App
from jobs.sandbox.clockwork import Options
from jobs.sandbox.server import Server


class Sandbox:
    """A sandbox in a thread of this process: `with Sandbox(folder, seconds=0.2) as sb: …`.

    Options are those of `clockwork.Options`; `port` 0 takes a free one. A second Sandbox on the same folder goes on where the first ended.
    """

    def __init__(self, data_dir: str | Path, port: int = 0, **options: Any) -> None:
        self.app = App(Path(data_dir), Options(**options))
        self.server = Server(self.app, port)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), name="sandbox", daemon=True)

    @property
    def url(self) -> str:
        return self.server.base

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI's SDK (with /v1)."""
        return self.url + "/v1"

    @property
    def anthropic_url(self) -> str:
        """The base URL for Anthropic's SDK (the root)."""
        return self.url

    def control(self, action: str = "", **payload: Any) -> Any:
        """What `/_control/<action>` does, without the socket."""
        return self.app.control(action, payload)

    def start(self) -> Sandbox:
        self.app.clock.start()
        self.thread.start()
        return self

    def stop(self) -> None:
        self.app.clock.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        self.app.close()

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the program, shared with `manage.py sandbox`."""
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--data", default="data/sandbox", help="folder that keeps files and batches")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a batch takes")


def run(port: int, data: str, seconds: float) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Sandbox(data, port, seconds=seconds) as sandbox:
        print(f"sandbox on {sandbox.url} (OpenAI: {sandbox.openai_url}, Anthropic: {sandbox.anthropic_url})", flush=True)  # noqa: T201
        stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jobs.sandbox", description="A provider on loopback with faults on order.")
    add_arguments(parser)
    arguments = parser.parse_args()
    run(arguments.port, arguments.data, arguments.seconds)
