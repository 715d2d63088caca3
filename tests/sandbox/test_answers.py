"""What the sandbox says: valid instances, sensible labels, cuts at the limit."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jsonschema
import pytest

from jobs.sandbox.answers import PromptCache, say
from jobs.sandbox.schema import Maker, best_label

SCHEMAS: list[Any] = [
    {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "number", "minimum": 3, "maximum": 4}, "minItems": 2}},
        "required": ["a"],
    },
    {"type": "object", "properties": {"b": {"anyOf": [{"type": "string", "maxLength": 5}, {"type": "null"}]}}, "required": ["b"]},
    {
        "$defs": {"p": {"type": "object", "properties": {"q": {"$ref": "#/$defs/p"}, "n": {"type": "integer"}}, "required": ["n"]}},
        "$ref": "#/$defs/p",
    },
    {
        "type": "object",
        "properties": {"d": {"type": "string", "format": "date"}, "u": {"const": 7}, "e": {"enum": [1, None]}},
        "required": ["d", "u"],
    },
    {
        "allOf": [
            {"type": "object", "properties": {"x": {"type": "boolean"}}},
            {"properties": {"y": {"type": ["string", "null"]}}, "required": ["x", "y"]},
        ]
    },
    {"type": "array", "items": {"type": "integer", "multipleOf": 5, "exclusiveMinimum": 0, "maximum": 50}, "maxItems": 2},
    {
        "type": "object",
        "properties": {"s": {"type": "string", "minLength": 80}, "rating": {"type": "integer"}},
        "required": ["s", "rating"],
    },
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_instance_is_valid_and_the_same_each_time(schema: Any) -> None:
    for i in range(50):
        digest = hashlib.sha256(str(i).encode()).digest()
        value = Maker(schema, f"text number {i} for the answer", digest).make()
        jsonschema.validate(value, schema, format_checker=jsonschema.FormatChecker())
        assert Maker(schema, f"text number {i} for the answer", digest).make() == value


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("please refund my invoice", "billing"),
        ("the app crashes on start", "bug"),
        ("where is my parcel, it arrived late", "shipping"),
        ("this is about a bug", "bug"),
    ],
)
def test_label_fits_the_words(text: str, label: str) -> None:
    assert best_label(("billing", "bug", "shipping", "other"), text, 0) == label


def test_options_in_the_prompt_are_answered_with_one_of_them() -> None:
    said = say("Answer with one of: positive, negative or neutral. Text: I hate this terrible thing", None, None, b"\0" * 32)
    assert (said.text, said.finish) == ("negative", "stop")


def test_limit_cuts_the_answer_and_reasoning_eats_from_it() -> None:
    said = say("word " * 40, None, 20, b"\0" * 32, reasoning=16)
    assert (said.finish, said.output_tokens, said.reasoning_tokens, len(said.text.encode()) <= 16) == ("length", 20, 16, True)


def test_broken_schema_is_json_that_does_not_fit() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(say("x", SCHEMAS[0], None, b"\0" * 32, "badschema").text), SCHEMAS[0])


def test_prompt_cache_is_bounded_and_counts_whole_blocks() -> None:
    cache = PromptCache()
    assert [cache.blocks(b"a" * 5000, "m"), cache.blocks(b"a" * 9000, "m"), cache.blocks(b"a" * 9000, "n")] == [
        (0, 1024),
        (1024, 1024),
        (0, 2048),
    ]
    for i in range(20_100):
        cache.touch(str(i).encode())
    assert len(cache.seen) == 20_000
