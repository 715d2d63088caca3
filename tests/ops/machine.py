"""A pump and tasks for the cluster's tests: they need no ledger, only a folder to leave marks in."""

import os
import time
from pathlib import Path


def pump() -> None:
    """Nothing is ever due."""


def beat() -> None:
    (Path(os.environ["BATCHUI_DATA"]) / "beats").open("a").write(f"{os.getpid()}\n")


def busy(seconds: float) -> None:
    (Path(os.environ["BATCHUI_DATA"]) / "busy").touch()
    time.sleep(seconds)
    (Path(os.environ["BATCHUI_DATA"]) / "busy-done").touch()
