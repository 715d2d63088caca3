"""What the sandbox remembers, on disk: a small SQLite beside the files. Survives kill -9 of the process at any moment."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
import string
import threading
from pathlib import Path
from typing import Any

import orjson

Doc = dict[str, Any]
_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """A fresh id in the manner of the providers."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))


class Store:
    """Documents by kind and id, in memory and written through; settings; the log of calls and of executed direct rows.

    All methods may be called from any thread; `lock` is held by whoever reads and then writes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "files").mkdir(parents=True, exist_ok=True)
        (folder / "batches").mkdir(exist_ok=True)
        (folder / "spool").mkdir(exist_ok=True)
        for left in (folder / "spool").iterdir():
            left.unlink()
        self.lock = threading.RLock()
        self.db = sqlite3.connect(folder / "sandbox.sqlite3", check_same_thread=False, isolation_level=None, timeout=30)
        self.db.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
            "CREATE TABLE IF NOT EXISTS docs(kind TEXT, id TEXT, doc BLOB, PRIMARY KEY(kind, id));"
            "CREATE TABLE IF NOT EXISTS calls(n INTEGER PRIMARY KEY AUTOINCREMENT, doc BLOB);"
            "CREATE TABLE IF NOT EXISTS direct(n INTEGER PRIMARY KEY AUTOINCREMENT, doc BLOB);"
        )
        self.docs: dict[str, dict[str, Doc]] = {"file": {}, "batch": {}, "setting": {}}
        for kind, key, doc in self.db.execute("SELECT kind, id, doc FROM docs ORDER BY rowid"):
            self.docs[kind][key] = orjson.loads(doc)

    @property
    def files(self) -> dict[str, Doc]:
        return self.docs["file"]

    @property
    def batches(self) -> dict[str, Doc]:
        return self.docs["batch"]

    def put(self, kind: str, doc: Doc) -> None:
        """Keep a document (it has an `id`) in memory and on disk."""
        with self.lock:
            self.docs[kind][doc["id"]] = doc
            self.db.execute(
                "INSERT INTO docs VALUES(?, ?, ?) ON CONFLICT(kind, id) DO UPDATE SET doc = excluded.doc",
                (kind, doc["id"], orjson.dumps(doc)),
            )

    def drop(self, kind: str, key: str) -> None:
        with self.lock:
            self.docs[kind].pop(key, None)
            self.db.execute("DELETE FROM docs WHERE kind = ? AND id = ?", (kind, key))

    def setting(self, name: str, default: Any = None) -> Any:
        return self.docs["setting"].get(name, {}).get("value", default)

    def set(self, name: str, value: Any) -> None:
        self.put("setting", {"id": name, "value": value})

    def log(self, table: str, doc: Doc) -> None:
        """Append to `calls` or `direct`."""
        with self.lock:
            self.db.execute(f"INSERT INTO {table}(doc) VALUES(?)", (orjson.dumps(doc),))

    def logged(self, table: str) -> list[Doc]:
        with self.lock:
            return [orjson.loads(doc) for (doc,) in self.db.execute(f"SELECT doc FROM {table} ORDER BY n")]  # noqa: S608  (one of two literals)

    def file_path(self, file_id: str) -> Path:
        return self.folder / "files" / file_id

    def batch_folder(self, batch_id: str) -> Path:
        return self.folder / "batches" / batch_id

    def spool(self) -> Path:
        """A fresh path for an incoming body."""
        return self.folder / "spool" / new_id("in-")

    def reset(self) -> None:
        """Forget everything but the settings of time."""
        with self.lock:
            for table in ("docs", "calls", "direct"):
                self.db.execute(f"DELETE FROM {table}")  # noqa: S608
            for kind in self.docs.values():
                kind.clear()
            for path in (self.folder / "files").iterdir():
                path.unlink()
            shutil.rmtree(self.folder / "batches")
            (self.folder / "batches").mkdir()
            for left in self.folder.glob("faulted.sqlite3*"):
                left.unlink()

    def close(self) -> None:
        with self.lock:
            self.db.close()
