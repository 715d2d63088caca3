"""What the providers check before a batch runs: OpenAI's lines one by one, Anthropic's create body as it streams past."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from jobs.sandbox import models

CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
WHITE = re.compile(r"[\s,]*")


class BadLine(Exception):
    """Why a batch fails as a whole."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


class BadBody(ValueError):
    """Why a create body is refused."""


def _check_line(line: bytes, endpoint: str, seen: set[str], model: str | None) -> str:
    """The line's model. Raises BadLine."""
    try:
        item = orjson.loads(line)
    except orjson.JSONDecodeError:
        item = None
    if not isinstance(item, dict):
        raise BadLine("invalid_json_line", "This line is not parseable as valid JSON.")
    for name in ("custom_id", "method", "url", "body"):
        if not item.get(name):
            raise BadLine("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
    if item["custom_id"] in seen:
        raise BadLine("duplicate_custom_id", f"The custom_id '{item['custom_id']}' has already been used in this batch.", "custom_id")
    seen.add(item["custom_id"])
    if item["method"] != "POST" or item["url"] != endpoint:
        raise BadLine("invalid_url", f"The URL provided for this request does not match the batch endpoint {endpoint}.", "url")
    body = item["body"]
    if not isinstance(body, dict) or not body.get("model"):
        raise BadLine("invalid_request", "Missing required parameter: 'body.model'.", "body.model")
    if body.get("stream"):
        raise BadLine("streaming_unsupported", "Streaming is not supported in the Batch API.", "body.stream")
    if not models.known(body["model"], "openai"):
        raise BadLine("model_not_found", f"The provided model '{body['model']}' is not supported by the Batch API.", "body.model")
    if model is not None and body["model"] != model:
        raise BadLine("mismatched_model", f"Expected all requests to use {model}, found {body['model']}.", "body.model")
    return str(body["model"])


def openai_file(path: Path, endpoint: str, most_requests: int) -> dict[str, Any]:
    """`{"total", "model", "tokens"}` of a good file, `{"errors": [...]}` (one entry, 1-based line) of a bad one."""
    seen: set[str] = set()
    model: str | None = None
    number = n_inputs = 0
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                model = _check_line(line, endpoint, seen, model)
                if endpoint == "/v1/embeddings":
                    given = orjson.loads(line)["body"].get("input")
                    n_inputs += len(given) if isinstance(given, list) else 1
                if number > most_requests or n_inputs > 50_000:
                    raise BadLine(
                        "invalid_request", f"The batch exceeds the limit of {most_requests:,} requests or 50,000 embedding inputs."
                    )
        if not number:
            raise BadLine("empty_file", "The batch input file is empty.")
    except BadLine as bad:
        line_no = None if bad.code == "empty_file" else number
        return {"errors": [{"code": bad.code, "message": bad.message, "param": bad.param, "line": line_no}]}
    return {"total": number, "model": model, "tokens": path.stat().st_size // 4}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class Stream:
    """JSON text of a file in bounded memory: `value()` decodes the value that comes next, `take()` a punctuation mark."""

    def __init__(self, path: Path, size: int = 1 << 20) -> None:
        self.file, self.size = path.open("rb"), size
        self.utf8 = codecs.getincrementaldecoder("utf-8")()
        self.text, self.at, self.ended = "", 0, False
        self.decoder = json.JSONDecoder(parse_constant=_no_constant)

    def _more(self, least: int) -> None:
        chunk = self.file.read(max(self.size, least))
        self.ended = not chunk
        self.text = self.text[self.at :] + self.utf8.decode(chunk, final=self.ended)
        self.at = 0

    def peek(self) -> str:
        """The next character that is not blank or a comma; "" at the end."""
        while True:
            blank = WHITE.match(self.text, self.at)
            self.at = blank.end() if blank else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self._more(0)

    def take(self, mark: str) -> None:
        if self.peek() != mark:
            raise BadBody(f"expected {mark!r}")
        self.at += 1

    def value(self) -> tuple[Any, str]:
        """(value, its text). Raises BadBody."""
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
                if end < len(self.text) or self.ended:
                    text, self.at = self.text[self.at : end], end
                    return value, text
            except (ValueError, RecursionError) as error:
                if self.ended:
                    raise BadBody("The request body is not valid JSON.") from error
            self._more(len(self.text) - self.at)  # doubles, so that a huge element stays linear


def anthropic_requests(path: Path) -> Iterator[tuple[Any, str]]:
    """(request, its JSON text) for each element of a create body's `requests`. Raises BadBody."""
    stream = Stream(path)
    stream.take("{")
    found = False
    while stream.peek() not in ("}", ""):
        key, _ = stream.value()
        stream.take(":")
        if key != "requests":
            stream.value()
            continue
        found = True
        stream.take("[")
        while stream.peek() != "]":
            yield stream.value()
        stream.take("]")
    stream.take("}")
    if not found:
        raise BadBody("requests: Field required")


def _is_text(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def anthropic_body(path: Path, out: Path, most_requests: int) -> dict[str, Any]:
    """Write a create body's requests to `out`, one a line. `{"total", "model", "tokens"}`; `{"too_large": …}` over the limit.

    Raises BadBody as the real API refuses: the requests' params are looked at only when they run.
    """
    seen: set[str] = set()
    model, total = "", 0
    with out.open("wb") as lines:
        for total, (request, text) in enumerate(anthropic_requests(path), 1):
            if total > most_requests:
                return {"too_large": total}
            at = f"requests.{total - 1}"
            if not isinstance(request, dict) or not isinstance(request.get("params"), dict):
                raise BadBody(f"{at}.params: Field required")
            name = request.get("custom_id")
            if not isinstance(name, str) or not CUSTOM_ID.match(name):
                raise BadBody(f"{at}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
            if name in seen:
                raise BadBody(f"{at}.custom_id: custom_id must be unique within the batch: {name}")
            seen.add(name)
            model = model or str(request["params"].get("model", ""))
            if "\\u" in text and not _is_text(text):
                raise BadBody(f"{at}: The request body is not valid JSON: lone surrogate")
            lines.write((text if "\n" not in text else json.dumps(request)).encode("utf-8", "surrogatepass") + b"\n")
    if not total:
        raise BadBody("requests: List should have at least 1 item after validation, not 0")
    return {"total": total, "model": model, "tokens": path.stat().st_size // 4}
