"""Requests and replies between the socket and the handlers, and the plain ways to make a reply."""

from __future__ import annotations

import mmap
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson


@dataclass(slots=True)
class Request:
    """One call. A body that may be big lies in `spool`; any other is in `raw`."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # lower-case names
    base: str  # http://host:port of this server
    verb: str = ""
    args: tuple[str, ...] = ()
    manner: str = "openai"
    raw: bytes = b""
    spool: Path | None = None
    n_bytes: int = 0
    lists: list[dict[str, Any]] = field(default_factory=list)  # list faults that fell on this call
    note: dict[str, Any] = field(default_factory=dict)  # what the log shall say of it
    id: str = field(default_factory=lambda: "req_" + secrets.token_hex(12))

    @property
    def key(self) -> str:
        """The API key, from either header."""
        bearer = self.headers.get("authorization", "")
        return bearer[7:].strip() if bearer.lower().startswith("bearer ") else self.headers.get("x-api-key", "").strip()

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return orjson.loads(self.raw) if self.raw else {}


@dataclass(slots=True)
class Reply:
    """One answer; the rest says how it goes down the wire when a fault was armed."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    file: Path | None = None  # instead of body
    drop: bool = False  # close the connection without an answer
    keep_bytes: int | None = None  # send only so many bytes …
    cut: str = "length"  # … of a body declared whole ("length"), of a chunked one ("chunked"), or of one that ends by closing ("close")
    drip: float = 0.0  # seconds between pieces


def json_reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, orjson.dumps(value), {"Content-Type": "application/json", **(headers or {})})


def file_reply(path: Path, content_type: str) -> Reply:
    return Reply(200, b"", {"Content-Type": content_type}, path)


def page(
    ids: list[str], limit: int, after: str | None, before: str | None = None, faults: list[dict[str, Any]] | None = None
) -> tuple[list[str], bool]:
    """(ids of the page, has_more) of ids in the order of the list; with the list faults applied."""
    whole = ids
    if after in ids:
        ids = ids[ids.index(after) + 1 :]
    elif before in ids:
        ids = ids[: ids.index(before)]
        ids = ids[-limit:] if len(ids) > limit else ids
    for fault in faults or ():
        if fault["fault"] == "page":
            limit = min(limit, int(fault.get("n", 1)))
        if fault["fault"] == "repeat":
            return whole[:limit], True
        if fault["fault"] == "truncate":
            n = int(fault.get("n", 1))
            return ids[: min(n, limit)], False
    return ids[:limit], len(ids) > limit


class NotMultipart(ValueError):
    """A form body that cannot be read."""


def form(request: Request, keep: Path) -> tuple[dict[str, str], str | None]:
    """(text fields, file name or None) of a multipart body in the spool; the file's bytes go to `keep`.

    Works by searching the spooled body, so that memory does not grow with it. Raises NotMultipart.
    """
    match = re.search(r'boundary="?([^";]+)', request.headers.get("content-type", ""))
    if match is None or request.spool is None or not request.n_bytes:
        raise NotMultipart("expected multipart/form-data")
    mark = b"--" + match.group(1).encode()
    fields: dict[str, str] = {}
    name = None
    with request.spool.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as body:
        at = body.find(mark)
        while at >= 0 and body[at + len(mark) : at + len(mark) + 2] != b"--":
            head_end = body.find(b"\r\n\r\n", at)
            following = body.find(b"\r\n" + mark, head_end)
            if head_end < 0 or following < 0:
                raise NotMultipart("the form ends in the middle")
            head = body[at:head_end].decode("utf-8", "replace")
            field_name = re.search(r'\bname="([^"]*)"', head)
            file_name = re.search(r'filename="([^"]*)"', head)
            if file_name:
                name = file_name.group(1)
                with keep.open("wb") as out:
                    for start in range(head_end + 4, following, 1 << 20):
                        out.write(body[start : min(start + (1 << 20), following)])
            elif field_name:
                fields[field_name.group(1)] = body[head_end + 4 : following].decode("utf-8", "replace")
            at = following + 2
    return fields, name
