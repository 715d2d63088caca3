"""What the processes of one machine tell each other through small files in BATCHUI_DATA."""

from __future__ import annotations

import socket
from pathlib import Path

from django.conf import settings


def sandbox_port() -> int | None:
    """The port that `up` chose for the sandbox, or None where none was ever started. It stays the same over starts,
    because connections and unfinished batches name it."""
    if settings.SANDBOX_PORT:
        return int(settings.SANDBOX_PORT)
    try:
        return int(_port_file().read_text())
    except (FileNotFoundError, ValueError):
        return None


def choose_sandbox_port() -> int:
    """The remembered port, else a free one, which is remembered."""
    port = sandbox_port()
    if port is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        _port_file().write_text(f"{port}\n")
    return port


def sandbox_url() -> str | None:
    """Where the sandbox answers, without a trailing slash or path; None where there is none."""
    port = sandbox_port()
    return None if port is None else f"http://127.0.0.1:{port}"


def answers(port: int, host: str = "127.0.0.1", seconds: float = 0.5) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False


def _port_file() -> Path:
    return Path(settings.DATA) / "sandbox.port"
