"""The engine that reads the rows for pages: DuckDB, locked to the folders of a job, with our own SQL and parameters only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb

MEMORY = "200MB"
THREADS = 2


def connect(folders: Iterable[Path]) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that can read files in these folders and nothing else: no network, no extensions, no Python variables."""
    # Opening one takes longer than most questions, so it is kept for the next; never across a fork.
    return _opened(os.getpid(), _names(folders)).cursor()


@contextmanager
def connect_once(folders: Iterable[Path], threads: int = THREADS) -> Iterator[duckdb.DuckDBPyConnection]:
    """As `connect`, for work that takes much memory: none of it is kept afterwards."""
    with _open(_names(folders), threads) as db:
        yield db


def _names(folders: Iterable[Path]) -> tuple[str, ...]:
    return tuple(sorted({str(folder.resolve()) for folder in folders}))


@lru_cache(maxsize=4)
def _opened(process: int, folders: tuple[str, ...]) -> duckdb.DuckDBPyConnection:
    return _open(folders, THREADS)


def _open(folders: tuple[str, ...], threads: int) -> duckdb.DuckDBPyConnection:
    config: dict[str, Any] = {
        "memory_limit": MEMORY,
        "threads": threads,
        "python_enable_replacements": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    connection = duckdb.connect(":memory:", config=config)
    allowed = ", ".join("'" + folder.replace("'", "''") + "'" for folder in folders)
    connection.execute(f"SET allowed_directories = [{allowed}]")
    connection.execute("SET temp_directory = ''")
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def connect_to(paths: Iterable[Path]) -> duckdb.DuckDBPyConnection:
    """As `connect`, for the folders of these files."""
    return connect(path.parent for path in paths)
