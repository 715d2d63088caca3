"""Answers against a JSON Schema: the common part in quick code of our own, the rest by jsonschema, with the same verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import GenericAlias
from typing import Any, Literal, Union

import jsonschema
import msgspec
import orjson
from referencing import Registry

from jobs.errors import BadInput

Validator = Callable[[str], tuple[bool, Any, str]]
Check = Callable[[Any], tuple[str, ...] | None]  # the path to what is wrong, then what is wrong in words; None: nothing
MESSAGE_LENGTH = 300
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly"})
_KEYWORDS = frozenset(
    {"type", "enum", "const", "properties", "required", "additionalProperties", "items"}
    | {"minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems"}
)
_FENCE = re.compile(r"\s*```[A-Za-z0-9_-]*[ \t]*\r?\n(.*?)\r?\n?```\s*\Z", re.DOTALL)
FENCED = "The answer stood in a code fence, which was taken off."


def check_schema(schema: Any) -> None:
    """Raises BadInput where this is no JSON Schema that we can hold answers against."""
    if not isinstance(schema, dict):
        raise BadInput("The output schema is not a JSON object.")
    try:
        _dialect(schema).check_schema(schema)
        regex = _regex_in(schema)
    except jsonschema.SchemaError as error:
        place = " › ".join(map(str, error.absolute_path))
        raise BadInput(f"The output schema is not valid{f' at {place}' if place else ''}: {error.message[:200]}") from error
    except RecursionError as error:
        raise BadInput("The output schema is nested too deeply.") from error
    if regex is not None:
        raise BadInput(
            f"The output schema uses “{regex}”: a regular expression can take for ever on some answers, so it is not accepted.",
            "Use an enum, or say the form in the field's description.",
        )


_NO_SCHEMAS = frozenset({"enum", "const", "default", "examples", "required", "dependentRequired"})
_NAMED_SCHEMAS = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})


def _regex_in(schema: Any) -> str | None:
    """The first keyword in a schema that holds a regular expression."""
    if isinstance(schema, list):
        return next(filter(None, map(_regex_in, schema)), None)
    if not isinstance(schema, dict):
        return None
    for word, value in schema.items():
        if word in ("pattern", "patternProperties"):
            return word
        inner = list(value.values()) if word in _NAMED_SCHEMAS and isinstance(value, dict) else value
        if word not in _NO_SCHEMAS and (found := _regex_in(inner)):
            return found
    return None


def validator(schema: Mapping[str, Any]) -> Validator:
    """A function of an answer's text: (fits, the parsed JSON or None, what is wrong in at most 300 characters).

    A code fence around the JSON is tolerated: then the answer fits and the message is FENCED (`unfenced` gives the JSON text).
    """
    check = _compile(dict(schema)) or _slow(dict(schema))

    def validate(text: str) -> tuple[bool, Any, str]:
        inner = unfenced(text)
        try:
            parsed = _parse(inner)
        except (ValueError, RecursionError) as error:
            return False, None, f"The answer is not JSON: {error}"[:MESSAGE_LENGTH]
        try:
            wrong = check(parsed)
        except RecursionError:
            wrong = ("", "the answer is nested too deeply")
        if wrong is None:
            return True, parsed, "" if inner is text else FENCED
        return False, parsed, _sentence(wrong)

    return validate


_PLAIN: dict[str, Any] = {"string": str, "boolean": bool, "integer": int, "number": float, "null": None}
_MOST_DEEP = 8


def nodder(schema: Mapping[str, Any] | None) -> Callable[[str], bool]:
    """A quick yes to the text of an answer that fits, for schemas of types, labels, lists and closed objects.

    Where it does not nod, `validator` has to look: it may fit all the same. Where there is no schema every text fits.
    """
    if not schema:
        return lambda text: True
    wanted = _as_type(schema, 0)
    try:
        loads = None if wanted is _UNSAYABLE else msgspec.json.Decoder(wanted).decode
    except TypeError:  # unions that it cannot tell apart
        loads = None
    if loads is None:
        return lambda text: False

    def nods(text: str) -> bool:
        try:
            loads(text)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return False
        return True

    return nods


_UNSAYABLE = object()


def _as_type(schema: Any, depth: int) -> Any:
    """A type whose values all fit the schema; _UNSAYABLE where there is none. It need not hold all that fits."""
    if not isinstance(schema, dict) or depth > _MOST_DEEP:
        return _UNSAYABLE
    said = set(schema) - _ANNOTATIONS
    kind, labels = schema.get("type"), schema.get("enum")
    if "enum" in said:
        if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
            return _UNSAYABLE
        return Literal[tuple(labels)] if said <= {"type", "enum"} and kind in ("string", None) else _UNSAYABLE
    if isinstance(kind, list) and kind and said == {"type"} and all(isinstance(each, str) and each in _PLAIN for each in kind):
        return Union[tuple(_PLAIN[each] for each in kind)]  # noqa: UP007 - it is no annotation
    if isinstance(kind, str) and kind in _PLAIN and said == {"type"}:
        return _PLAIN[kind]
    if kind == "array" and said == {"type", "items"} and (inner := _as_type(schema["items"], depth + 1)) is not _UNSAYABLE:
        return GenericAlias(list, (inner,))
    return _as_struct(schema, said, depth) if kind == "object" else _UNSAYABLE


def _as_struct(schema: Mapping[str, Any], said: set[str], depth: int) -> Any:
    """An object with just these fields; those that need not be there have to fit where they are."""
    properties, required = schema.get("properties"), schema.get("required", [])
    if not said <= {"type", "properties", "required", "additionalProperties"} or not isinstance(properties, dict):
        return _UNSAYABLE
    if not isinstance(required, list) or not set(required) <= set(properties):
        return _UNSAYABLE
    parts: list[Any] = []
    for i, (name, part) in enumerate(properties.items()):
        inner = _as_type(part, depth + 1)
        if inner is _UNSAYABLE or not isinstance(name, str):
            return _UNSAYABLE
        parts.append((f"f{i}", inner, msgspec.field(name=name) if name in required else msgspec.field(name=name, default=msgspec.UNSET)))
    return msgspec.defstruct("Answer", parts, kw_only=True, forbid_unknown_fields=True, gc=False)


def unfenced(text: str) -> str:
    """The text inside a Markdown code fence that is all of the answer; else the very text given."""
    if "```" not in text:
        return text
    match = _FENCE.match(text)
    return match.group(1) if match else text


def _parse(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        # The standard parser takes what orjson does not (half surrogate pairs), but NaN is no JSON.
        return json.loads(text, parse_constant=_refuse)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _sentence(wrong: tuple[str, ...]) -> str:
    *path, what = wrong
    place = ".".join(part for part in path if part)
    return (f"{place[:100]}: {what}" if place else what[:1].upper() + what[1:])[:MESSAGE_LENGTH]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:59] + "…"


def _dialect(schema: Mapping[str, Any]) -> Any:
    return jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)


def _slow(schema: dict[str, Any]) -> Check:
    # An empty registry: a `$ref` to somewhere else is an error, never a request.
    checker = _dialect(schema)(schema, registry=Registry())

    def check(value: Any) -> tuple[str, ...] | None:
        try:
            error = next(iter(checker.iter_errors(value)), None)
        except RecursionError:
            raise
        except Exception as problem:  # noqa: BLE001 - referencing and re raise what they like; the answer must not stop the batch
            return ("", f"the schema cannot be applied: {problem}")
        return None if error is None else (*(str(part) for part in error.absolute_path), error.message)

    return check


_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "object": ("an object", lambda value: isinstance(value, dict)),
    "array": ("a list", lambda value: isinstance(value, list)),
    "string": ("text", lambda value: isinstance(value, str)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "null": ("null", lambda value: value is None),
    "number": ("a number", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)),
    "integer": (
        "a whole number",
        lambda value: (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer()),
    ),
}


def _compile(schema: Any) -> Check | None:
    """The quick check of a schema, None where it uses more than the common part."""
    if schema is True or schema == {}:
        return lambda value: None
    if not isinstance(schema, dict) or not set(schema) <= _KEYWORDS | _ANNOTATIONS:
        return None
    checks: list[Check] = []
    for compile_part in (_compile_type, _compile_enum, _compile_bounds, _compile_object, _compile_array):
        part = compile_part(schema)
        if part is None:
            return None
        checks += part
    if len(checks) == 1:
        return checks[0]
    if len(checks) == 2:
        first, second = checks
        return lambda value: first(value) or second(value)

    def check(value: Any) -> tuple[str, ...] | None:
        for one in checks:
            wrong = one(value)
            if wrong is not None:
                return wrong
        return None

    return check


def _compile_type(schema: dict[str, Any]) -> list[Check] | None:
    if "type" not in schema:
        return []
    names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name in _TYPES for name in names):
        return None
    wanted = " or ".join(_TYPES[name][0] for name in names)
    tests = [_TYPES[name][1] for name in names]
    test = tests[0]
    if len(tests) == 1:
        return [lambda value: None if test(value) else ("", f"{_shown(value)} is not {wanted}")]
    return [lambda value: None if any(each(value) for each in tests) else ("", f"{_shown(value)} is not {wanted}")]


def _compile_enum(schema: dict[str, Any]) -> list[Check] | None:
    checks: list[Check] = []
    choices = []
    if "enum" in schema:
        choices.append(schema["enum"])
    if "const" in schema:
        choices.append([schema["const"]])
    for allowed in choices:
        # Only texts: equality of numbers, true and false is jsonschema's business.
        if not isinstance(allowed, list) or not all(isinstance(choice, str) for choice in allowed):
            return None
        labels, shown = frozenset(allowed), ", ".join(allowed)
        checks.append(_one_of(labels, shown[:160] + ("…" if len(shown) > 160 else "")))
    return checks


def _one_of(labels: frozenset[str], shown: str) -> Check:
    return lambda value: None if isinstance(value, str) and value in labels else ("", f"{_shown(value)} is not one of {shown}")


def _compile_bounds(schema: dict[str, Any]) -> list[Check] | None:
    checks: list[Check] = []
    for word, kind, size, what in _BOUNDS:
        if word in schema:
            bound = schema[word]
            if isinstance(bound, bool) or not isinstance(bound, (int, float)):
                return None
            checks.append(_bounded(kind, size, bound, word.startswith("min"), what))
    return checks


def _same(value: Any) -> Any:
    return value


_BOUNDS: list[tuple[str, str, Callable[[Any], Any], str]] = [
    ("minLength", "string", len, "shorter than {} characters"),
    ("maxLength", "string", len, "longer than {} characters"),
    ("minimum", "number", _same, "less than {}"),
    ("maximum", "number", _same, "more than {}"),
    ("minItems", "array", len, "a list of fewer than {} items"),
    ("maxItems", "array", len, "a list of more than {} items"),
]


def _bounded(kind: str, size: Callable[[Any], Any], bound: float, least: bool, what: str) -> Check:
    test, words = _TYPES[kind][1], what.format(bound)

    def check(value: Any) -> tuple[str, ...] | None:
        if test(value) and (size(value) < bound if least else size(value) > bound):
            return ("", f"{_shown(value)} is {words}")
        return None

    return check


def _compile_object(schema: dict[str, Any]) -> list[Check] | None:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    more = schema.get("additionalProperties", True)
    if not isinstance(properties, dict) or not isinstance(required, list) or not isinstance(more, bool):
        return None
    if not properties and not required and more:
        return []
    parts: dict[str, Check] = {}
    needed = frozenset(required)
    for name, part in properties.items():
        compiled = _compile(part)
        if compiled is None:
            return None
        parts[name] = compiled

    def check(value: Any) -> tuple[str, ...] | None:
        if not isinstance(value, dict):
            return None
        if not value.keys() >= needed:
            return next((name, "is missing") for name in required if name not in value)
        for name, item in value.items():
            part = parts.get(name)
            if part is None:
                if not more:
                    return (name, "is not a field of the schema")
            elif (wrong := part(item)) is not None:
                return (name, *wrong)
        return None

    return [check]


def _compile_array(schema: dict[str, Any]) -> list[Check] | None:
    if "items" not in schema:
        return []
    item_check = _compile(schema["items"])
    if item_check is None:
        return None

    def check(value: Any) -> tuple[str, ...] | None:
        if isinstance(value, list):
            for i, item in enumerate(value):
                wrong = item_check(item)
                if wrong is not None:
                    return (str(i), *wrong)
        return None

    return [check]


def fields(schema: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """The fields of an answer as (name, type), in the order of the schema: label, text, number, integer, boolean, list or json."""
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict):
        return []
    return [(str(name), _field_type(part)) for name, part in properties.items()]


def _field_type(part: Any) -> str:
    if not isinstance(part, dict):
        return "json"
    if "enum" in part and all(isinstance(choice, str) or choice is None for choice in part["enum"]):
        return "label"
    kind = part.get("type")
    if isinstance(kind, list):
        others = [name for name in kind if name != "null"]
        kind = others[0] if len(others) == 1 else None
    return {"string": "text", "number": "number", "integer": "integer", "boolean": "boolean", "array": "list"}.get(str(kind), "json")


_BUILT: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "number": {"type": "number"},
    "yes/no": {"type": "boolean"},
    "list": {"type": "array", "items": {"type": "string"}},
}


def build_schema(fields: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The schema of the builder. A field: `name`, `kind` (`label`, `text`, `number`, `yes/no`, `list`), `labels`, `description`.

    Every field is required and no other is allowed, as the providers' strict modes ask. Raises BadInput.
    """
    properties: dict[str, Any] = {}
    for field in fields:
        name = str(field.get("name", "")).strip()
        if not name or len(name) > 64:
            raise BadInput("Each field needs a name of at most 64 characters.")
        if name in properties:
            raise BadInput(f"There are two fields named “{name}”.")
        properties[name] = _built(name, field)
    if not properties:
        raise BadInput("The schema needs at least one field.")
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _built(name: str, field: Mapping[str, Any]) -> dict[str, Any]:
    kind = field.get("kind")
    if kind == "label":
        labels = [label for label in dict.fromkeys(str(label).strip() for label in field.get("labels") or ()) if label]
        if len(labels) < 2:
            raise BadInput(f"“{name}” needs at least two labels.")
        built: dict[str, Any] = {"type": "string", "enum": labels}
    elif kind in _BUILT:
        built = dict(_BUILT[kind])
    else:
        raise BadInput(f"“{name}” has an unknown kind of field.", f"Choose one of label, {', '.join(_BUILT)}.")
    description = str(field.get("description") or "").strip()
    return {**built, "description": description} if description else built
