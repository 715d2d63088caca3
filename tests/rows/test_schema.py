"""Answers against a schema: the quick checks give jsonschema's verdict."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import BadInput
from jobs.rows.schema import FENCED, _compile, build_schema, check_schema, fields, nodder, unfenced, validator

SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["a", "b"]},
        "n": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["label"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "ok", "message"),
    [
        ('{"label": "a", "n": 2.0, "tags": ["x"]}', True, ""),
        ('```json\n{"label": "a"}\n```', True, FENCED),
        ('{"label": "c"}', False, 'label: "c" is not one of a, b'),
        ('{"n": 1}', False, "label: is missing"),
        ('{"label": "a", "n": true}', False, "n: true is not a whole number"),
        ('{"label": "a", "tags": ["x", 1]}', False, "tags.1: 1 is not text"),
        ('{"label": "a", "more": 1}', False, "more: is not a field of the schema"),
        ("[]", False, "[] is not an object"),
    ],
)
def test_verdict_names_the_field(text: str, ok: bool, message: str) -> None:
    found = validator(SCHEMA)(text)
    assert (found[0], found[2]) == (ok, message)


@pytest.mark.parametrize("text", ["", "hello", '{"label": NaN}', '{"label": "a"', "[" * 100_000])
def test_what_is_not_json_says_so_shortly(text: str) -> None:
    ok, parsed, message = validator(SCHEMA)(text)
    assert (ok, parsed) == (False, None)
    assert message.startswith("The answer is not JSON")
    assert len(message) <= 300


def test_long_messages_are_cut() -> None:
    schema = {"type": "object", "properties": {"x" * 500: {"type": "string", "enum": ["y" * 500]}}}
    assert len(validator(schema)(json.dumps({"x" * 500: "z" * 5000}))[2]) <= 300


def test_unfenced_takes_only_a_fence_around_all() -> None:
    assert [unfenced(text) for text in ("```\n1\n```\n", "a ```json\n1\n```", "1")] == ["1", "a ```json\n1\n```", "1"]


def test_remote_references_are_never_fetched() -> None:
    ok, _, message = validator({"$ref": "http://127.0.0.1:9/x.json"})("{}")
    assert ok is False
    assert message.startswith("The schema cannot be applied")


_SIMPLE = st.sampled_from([{"type": name} for name in ("string", "integer", "number", "boolean", "null", "object", "array")])
_LEAF = st.one_of(
    _SIMPLE,
    st.builds(lambda values: {"enum": values}, st.lists(st.sampled_from(["a", "b", 1, True, 1.0, None]), min_size=1, max_size=3)),
    st.builds(lambda low: {"type": ["number", "null"], "minimum": low, "maximum": low + 2}, st.integers(-2, 2)),
    st.builds(lambda n: {"type": "string", "minLength": n, "maxLength": n + 1}, st.integers(0, 2)),
    st.just({"const": "a"}),
    st.just({"type": "string", "pattern": "^a"}),
    st.just({}),
)


def _nest(part: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(["a", "b", "c"])
    return st.one_of(
        st.builds(lambda items, n: {"type": "array", "items": items, "minItems": n, "maxItems": 2}, part, st.integers(0, 1)),
        st.builds(
            lambda properties, required, more: {"properties": properties, "required": required, "additionalProperties": more},
            st.dictionaries(names, part, max_size=3),
            st.lists(names, max_size=2, unique=True),
            st.booleans(),
        ),
    )


_SCHEMAS = st.recursive(_LEAF, _nest, max_leaves=5)
_VALUES = st.recursive(
    st.sampled_from(["", "a", "ab", "äö", 0, 1, -1, 1.0, 1.5, 3, True, False, None]),
    lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), part, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(schema=_SCHEMAS, value=_VALUES)
def test_verdict_equals_that_of_jsonschema(schema: dict[str, Any], value: Any) -> None:
    assert validator(schema)(json.dumps(value))[0] == jsonschema.Draft202012Validator(schema).is_valid(value)


_SAYABLE = st.recursive(
    st.one_of(
        st.builds(
            lambda kind: {"type": kind}, st.sampled_from(["string", "boolean", "integer", "number", ["string", "null"], ["integer"]])
        ),
        st.just({"type": "string", "enum": ["", "a", "äö"], "description": "one of them"}),
        st.just({"enum": ["ab"]}),
    ),
    lambda part: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, part),
        st.builds(
            lambda properties, n, more: {"type": "object", "properties": properties, "required": list(properties)[:n]} | more,
            st.dictionaries(st.sampled_from(["a", "b", "_c d"]), part, min_size=1, max_size=3),
            st.integers(0, 3),
            st.sampled_from([{}, {"additionalProperties": False}]),
        ),
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(schema=st.one_of(_SCHEMAS, _SAYABLE), value=_VALUES, text=st.data())
def test_a_nod_is_never_wrong(schema: dict[str, Any], value: Any, text: st.DataObject) -> None:
    """Also not where the text is hurt: what is nodded at, the validator takes as it stands."""
    said = json.dumps(value)
    at = text.draw(st.integers(0, len(said)))
    hurt = said[:at] + text.draw(st.sampled_from(["", "\n", "\x01", "}", "]", '"', "1", ".0", "e999", "NaN", "\\ud800", " "])) + said[at:]
    if schema and nodder(schema)(hurt):
        assert validator(schema)(hurt)[::2] == (True, "")


@settings(max_examples=200, deadline=None)
@given(schema=_SAYABLE)
def test_plain_answers_get_a_nod(schema: dict[str, Any]) -> None:
    assert nodder(schema)(json.dumps(_fitting(schema)))


def _fitting(schema: dict[str, Any]) -> Any:
    """A value that fits a sayable schema."""
    if "enum" in schema:
        return schema["enum"][-1]
    kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
    if kind == "array":
        return [_fitting(schema["items"])] * 2
    if kind == "object":
        return {name: _fitting(part) for name, part in schema["properties"].items()}
    return {"string": "x", "boolean": True, "integer": 3, "number": 1.5}[kind]


@pytest.mark.parametrize(
    ("schema", "text", "nod"),
    [
        (SCHEMA, '{"label": "a"}', True),
        (None, "anything", True),
        ({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, '{"a": 1}', True),
        ({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, '{"a": 1, "b": 2}', False),
        ({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, '```json\n{"a": 1}\n```', False),
        ({"type": "object", "properties": {"a": {"type": ["object", "array"]}}}, "{}", False),
    ],
)
def test_when_a_nod_is_given(schema: Any, text: str, nod: bool) -> None:
    assert nodder(schema)(text) is nod


def test_the_common_part_is_quick_and_the_rest_is_not() -> None:
    assert _compile(SCHEMA) is not None
    assert _compile({"anyOf": [SCHEMA]}) is None


@pytest.mark.parametrize("schema", [[], {"type": "thing"}, {"properties": 1}, {"required": "a"}])
def test_bad_schema_is_refused(schema: Any) -> None:
    with pytest.raises(BadInput):
        check_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "(a+)+$"},
        {"properties": {"a": {"items": {"anyOf": [{"pattern": "a"}]}}}},
        {"$defs": {"x": {"patternProperties": {"a": {}}}}},
    ],
)
def test_regular_expressions_are_refused(schema: Any) -> None:
    with pytest.raises(BadInput, match="can take for ever"):
        check_schema(schema)


def test_a_field_may_be_named_pattern() -> None:
    check_schema({"type": "object", "properties": {"pattern": {"type": "string", "enum": ["pattern"]}}, "default": {"pattern": "x"}})


def test_builder_and_fields() -> None:
    built = build_schema(
        [
            {"name": "label", "kind": "label", "labels": ["a", " b ", "a"], "description": "which"},
            {"name": "why", "kind": "text"},
            {"name": "score", "kind": "number"},
            {"name": "urgent", "kind": "yes/no"},
            {"name": "tags", "kind": "list"},
        ]
    )
    assert built == {
        "type": "object",
        "properties": {
            "label": {"type": "string", "enum": ["a", "b"], "description": "which"},
            "why": {"type": "string"},
            "score": {"type": "number"},
            "urgent": {"type": "boolean"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["label", "why", "score", "urgent", "tags"],
        "additionalProperties": False,
    }
    assert fields(built) == [("label", "label"), ("why", "text"), ("score", "number"), ("urgent", "boolean"), ("tags", "list")]
    assert fields(None) == fields({"type": "string"}) == []


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [{"name": "", "kind": "text"}],
        [{"name": "a", "kind": "x"}],
        [{"name": "a", "kind": "label", "labels": ["x"]}],
        [{"name": "a", "kind": "text"}] * 2,
    ],
)
def test_builder_refuses(bad: list[dict[str, Any]]) -> None:
    with pytest.raises(BadInput):
        build_schema(bad)
