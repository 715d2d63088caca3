"""What the children of test_child do, good and bad."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.errors import BadInput, BadTable, BadTemplate, Where


def answer(request: dict[str, Any]) -> Any:
    return globals()[request["do"]](request)


def echo(request: dict[str, Any]) -> dict[str, Any]:
    sys.stdout.write("noise that is no answer\n")
    sys.stdout.flush()
    return {"text": request["text"], "environment": sorted(os.environ), "cwd": os.getcwd()}


def count(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for n in range(request["n"]):
        yield {"n": n, "pid": os.getpid()}


def bad_table(request: dict[str, Any]) -> None:
    raise BadTable("Line 7 is short.", Where(7, "2 values", "3 values"), "Fix it.")


def bad_template(request: dict[str, Any]) -> None:
    raise BadTemplate("No end.", 3, "Close it.")


def bad_input(request: dict[str, Any]) -> None:
    raise BadInput("No.", "Yes.")


def eat(request: dict[str, Any]) -> dict[str, Any]:
    return {"n": len(bytearray(request["bytes"]))}


def hang(request: dict[str, Any]) -> None:
    while True:
        signal.pause()


def die(request: dict[str, Any]) -> None:
    os.kill(os.getpid(), request["signal"])


def break_down(request: dict[str, Any]) -> None:
    raise KeyError("a bug")


def fill(request: dict[str, Any]) -> None:
    with Path("big").open("wb") as file:
        while True:
            file.write(bytes(100_000))


def call_out(request: dict[str, Any]) -> dict[str, Any]:
    refused = []
    for name, act in (("socket", lambda: socket.socket()), ("exec", lambda: subprocess.run(["/bin/true"], check=True))):
        try:
            act()
        except PermissionError:
            refused.append(name)
    return {"refused": refused}


def talk_much(request: dict[str, Any]) -> dict[str, Any]:
    return {"text": "x" * request["bytes"]}
