"""How a cell of the table appears in a prompt: as text, exactly as it stood, and walkable where it is JSON."""

from __future__ import annotations

import json
from typing import Any


class JsonFloat(float):
    """A JSON number that renders as it was written (`1.50` stays `1.50`)."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> JsonFloat:
        number = super().__new__(cls, text)
        number.text = text
        return number


class JsonDict(dict[str, Any]):
    """A JSON object that renders as the text it came from."""

    __slots__ = ("text",)
    text: str


class JsonList(list[Any]):
    """A JSON array that renders as the text it came from."""

    __slots__ = ("text",)
    text: str


def to_json(value: Any) -> str:
    """JSON of plain data, readable: no escaping beyond what JSON itself asks for, and each JsonFloat as it was written."""
    return _exact(value) if _has_floats(value) else json.dumps(value, ensure_ascii=False, default=str)


def _has_floats(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return any(type(one) is JsonFloat or (isinstance(one, (dict, list)) and _has_floats(one)) for one in inner)


def _exact(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(name), ensure_ascii=False)}: {_exact(one)}" for name, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_exact, value)) + "]"
    return value.text if isinstance(value, JsonFloat) else json.dumps(value, ensure_ascii=False, default=str)


def text_of(value: Any) -> str:
    """What a value renders as. An absent value (None) is empty, true and false are as in JSON, objects are their JSON."""
    if value.__class__ is str:
        return value
    if value is None:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (JsonFloat, JsonDict, JsonList)):
        return value.text
    if isinstance(value, (dict, list)):
        return to_json(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def walkable(value: Any) -> Any:
    """The value of a `json` cell, to be walked. What is not an object, array, number, true or false stays the text that it is.

    A JSON string is kept without its quotes by the ingest, so a text that happens to read `null` or `"x"` is text.
    """
    if value.__class__ is not str or not value:
        return value
    try:
        parsed = json.loads(value, parse_float=JsonFloat, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return value
    if isinstance(parsed, dict):
        found: JsonDict | JsonList = JsonDict(parsed)
    elif isinstance(parsed, list):
        found = JsonList(parsed)
    else:
        # An int is kept only when it reads back the same (`-0` does not).
        same = isinstance(parsed, (bool, JsonFloat, int)) and text_of(parsed) == value
        return parsed if same else value
    found.text = value
    return found


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
