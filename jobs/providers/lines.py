"""What all adapters need to read and write lines of JSON: no network, no SDK, nothing that can raise on what a provider sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from jobs.errors import BadInput
from jobs.providers.base import Answer
from jobs.words import Cause, OutcomeKind

CUSTOM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SURROGATES = re.compile("[\ud800-\udfff]")
_MAX_MESSAGE = 2000
MOST_TOKENS = (1 << 30) - 1  # of one row; what says more is nonsense, and its price would not fit 64 bits


def clean(text: str) -> str:
    """The text without NUL and lone surrogates, which neither PostgreSQL nor Parquet take."""
    return _SURROGATES.sub("�", text.replace("\0", ""))


def clean_all(value: Any) -> Any:
    """A JSON value with all its texts cleaned."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [clean_all(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean_all(item) for key, item in value.items()}
    return value


def loads(line: bytes) -> Any:
    """JSON as providers write it: NaN, lone surrogates, a BOM and broken UTF-8 are taken. ValueError for the rest."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        text = line.decode("utf-8-sig", "replace")
        return clean_all(json.loads(text, parse_constant=lambda _: None))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(value: Any) -> bytes:
    """Compact JSON. Lone surrogates are replaced, since orjson refuses them."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(clean_all(value))


def check_id(custom_id: str) -> None:
    if CUSTOM_ID.fullmatch(custom_id) is None:
        raise BadInput(f"“{custom_id[:80]}” cannot be a request id.", "It takes 1 to 64 of A–Z, a–z, 0–9, _ and -.")


def one_line(body: bytes) -> bytes:
    """JSON on one line: raw newlines stand only between its tokens."""
    return body.replace(b"\n", b" ").replace(b"\r", b" ").strip()


def split_glued(line: bytes) -> list[bytes]:
    """The JSON objects of a line in which several stand without a newline (`}{`); the line itself where they cannot be told apart."""
    decoder = json.JSONDecoder()
    text = line.decode("utf-8", "surrogateescape").lstrip("\ufeff")
    pieces: list[bytes] = []
    start = 0
    while start < len(text):
        if text[start].isspace():
            start += 1
            continue
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            return [line]
        pieces.append(text[start:end].encode("utf-8", "surrogateescape"))
        start = end
    return pieces


def safe_decode(line: bytes, read: Callable[[dict[str, Any]], Answer]) -> Answer:
    """`read` applied to the object of a line, with an Answer for everything that may go wrong."""
    try:
        data = loads(line)
    except ValueError as exc:
        return unreadable(f"Not valid JSON: {exc}")
    if type(data) is not dict:
        return unreadable("A JSON object was expected.")
    try:
        return read(data)
    except Exception as exc:  # noqa: BLE001 - one strange line must never stop a file of 50,000
        return Answer(
            text_of(data.get("custom_id")), OutcomeKind.FAILED, Cause.UNKNOWN, f"Not understood: {type(exc).__name__}", billed="unknown"
        )


def unreadable(message: str) -> Answer:
    return Answer("", OutcomeKind.FAILED, Cause.UNREADABLE, message[:_MAX_MESSAGE], billed="unknown")


def text_of(value: Any) -> str:
    """A string as cleaned text, "" for null, anything else as JSON."""
    if type(value) is str:
        return clean(value) if "\0" in value else value
    return "" if value is None else dumps(value).decode()


def message_of(value: Any) -> str:
    """The words of an error, cleaned, at most 2,000 characters."""
    return text_of(value)[:_MAX_MESSAGE]


def tokens_of(value: Any) -> int:
    """A token count of one row: 0 for null, text and nonsense."""
    if type(value) is int and 0 <= value <= MOST_TOKENS:
        return value
    count = count_of(value)
    return count if count <= MOST_TOKENS else 0


def count_of(value: Any) -> int:
    """A count: 0 for null, text and nonsense."""
    if type(value) is int:
        return value if 0 <= value < 1 << 62 else 0
    if isinstance(value, float) and value.is_integer() and 0 <= value < 1e15:
        return int(value)
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 16 else 0


def maybe_count(value: Any) -> int | None:
    """A count that a provider may leave out."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or value == "":
        return None
    number = count_of(value)
    return number if number or str(value) in ("0", "0.0") else None


def time_of(value: Any) -> datetime | None:
    """Unix seconds (or milliseconds, or either as text) or ISO 8601; None for null, empty and nonsense."""
    if isinstance(value, bool) or value in (None, "", 0):
        return None
    try:
        if isinstance(value, str) and not value.replace(".", "", 1).isdecimal():
            moment = datetime.fromisoformat(value.strip())
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = float(value)
        return datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def strict_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as strict output modes take it: every object closed, every property required. The one given stays as it is.

    Raises BadInput for objects with free keys, which strict modes cannot say.
    """
    return {key: _strict_part(key, value) for key, value in _close(schema).items()}


_SUBSCHEMAS = {"items", "not", "contains", "if", "then", "else"}
_SCHEMA_LISTS = {"anyOf", "oneOf", "allOf", "prefixItems"}
_SCHEMA_MAPS = {"properties", "$defs", "definitions"}


def _strict_part(key: str, value: Any) -> Any:
    if key in _SUBSCHEMAS and isinstance(value, dict):
        return strict_schema(value)
    if key in _SCHEMA_LISTS and isinstance(value, list):
        return [strict_schema(item) if isinstance(item, dict) else item for item in value]
    if key in _SCHEMA_MAPS and isinstance(value, dict):
        return {name: strict_schema(item) if isinstance(item, dict) else item for name, item in value.items()}
    return value


def _close(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema
    if not is_object:
        return schema
    properties = schema.get("properties")
    if not properties:
        raise BadInput("The output schema has an object without named properties.", "Name them: strict output cannot have free keys.")
    return {**schema, "additionalProperties": False, "required": list(properties)}


def refuse_reserved(params: dict[str, Any], reserved: frozenset[str]) -> None:
    """BadInput where a person's parameters name what batchui itself sets."""
    for name in sorted(reserved.intersection(params)):
        raise BadInput(f"The parameter “{name}” is set by batchui.", "Take it out of the parameters.")


# Parameters that search the web or let another model answer, and answers that are sound; whichever server knows them bills them apart.
_UNPRICED = frozenset({"web_search_options", "search_parameters", "plugins", "models", "modalities"})
_AS_PRICED: dict[str, Any] = {"modalities": ["text"], "inference_geo": "global"}  # what costs what the sheet says
# Tools that the caller runs: functions of one's own and, at Anthropic, those of a known form. The rest is run by the provider.
_OWN_TOOLS = re.compile(r"(function|custom|(bash|text_editor|memory|computer)_\d{8})")


def refuse_unpriced(params: dict[str, Any], unpriced: frozenset[str]) -> None:
    """BadInput where a parameter changes what an answer costs in a way that no price sheet here knows."""
    for name in sorted((unpriced | _UNPRICED).intersection(params)):
        if name not in _AS_PRICED or params[name] != _AS_PRICED[name]:
            raise BadInput(
                f"The parameter “{name}” changes the price in a way that batchui does not count.", "Take it out of the parameters."
            )
    caching = params.get("prompt_cache_options")
    if isinstance(caching, dict) and caching.get("ttl") not in (None, "30m"):
        raise BadInput("The parameter “prompt_cache_options” asks for a cache whose price batchui does not count.", "Take its “ttl” out.")
    if params.get("n") not in (None, 1):
        raise BadInput("The parameter “n” asks for several answers to a row: all are paid, one would be kept.", "Take it out.")
    _refuse_provider_tools(params.get("tools"))


def _refuse_provider_tools(tools: Any) -> None:
    """Searches, code and the like that the provider runs are billed by the call or the hour, and what they find is input of any length."""
    for number, tool in enumerate(tools if isinstance(tools, list) else (), start=1):
        kind = tool.get("type", "custom") if isinstance(tool, dict) else "custom"
        if not _OWN_TOOLS.fullmatch(str(kind)):
            raise BadInput(
                f"The tool “{str(kind)[:80]}” (number {number} in the parameter “tools”) is run by the provider, at a price that batchui "
                "does not count.",
                "Take it out; functions of your own may stay.",
            )
