"""What a model says: text, tokens and why it stopped; the same for the same request. Knows no wire format."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import orjson

from jobs.sandbox.schema import Maker, best_label

BLOCK = 1024  # tokens: what OpenAI caches from, and our grain
LONE = "\u2060surrogate\u2060"  # stands for a lone surrogate until the line is bytes: no encoder writes one
_CHOICE = re.compile(r"(?:one of|either|as)[:\s]+((?:[\w\"'-]+\s*,\s*)+(?:or\s+)?[\w\"'-]+|[\w\"'-]+\s+or\s+[\w\"'-]+)", re.IGNORECASE)
_ENDINGS = (
    "It is clear enough to act on.",
    "Nothing else in it needs attention.",
    "The main point stands on its own.",
    "A short reply would be enough.",
)


@dataclass(slots=True)
class Said:
    """An answer before it is dressed for the wire. `finish` is stop | length | filter | refusal."""

    text: str
    finish: str
    output_tokens: int  # reasoning included
    reasoning_tokens: int = 0


@dataclass(slots=True)
class PromptCache:
    """Which prompt prefixes a provider has seen of late; bounded."""

    seen: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def touch(self, key: bytes) -> bool:
        """Whether the prefix was known; it is from now on."""
        known = key in self.seen
        self.seen[key] = None
        self.seen.move_to_end(key)
        if len(self.seen) > 20_000:
            self.seen.popitem(last=False)
        return known

    def blocks(self, prompt: bytes, model: str) -> tuple[int, int]:
        """(tokens read, tokens written) for OpenAI's automatic prefix cache, in whole blocks, 32 at most."""
        read = written = 0
        n_blocks = min(len(prompt) // (BLOCK * 4), 32)
        state = hashlib.blake2b(model.encode(), digest_size=12)
        for n in range(n_blocks):
            state.update(prompt[n * BLOCK * 4 : (n + 1) * BLOCK * 4])
            if self.touch(state.digest()):
                read += BLOCK
            else:
                written += BLOCK
        return read, written


def tokens(text: str | bytes) -> int:
    """About bytes ÷ 4, at least one where there is text."""
    n = len(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
    return -(-n // 4)


def cut(text: str, limit: int) -> str:
    """The text's first `limit` tokens."""
    return text.encode("utf-8", "replace")[: limit * 4].decode("utf-8", "ignore")


def _oddity(fault: str, text: str) -> str:
    if fault == "nul":
        return f"before\x00after {text}"
    if fault == "surrogate":
        return f"{text} {LONE}"
    if fault == "u2028":
        return f"one\u2028two\u2029three {text}"
    if fault == "u0085":
        return f"one\u0085two {text}"
    return text


def _free(text: str, digest: bytes, as_json: bool) -> str:
    choice = _CHOICE.search(text)
    words = " ".join(text.split()[-24:] if len(text) > 2000 else text.split()[:24])[:300]
    if as_json:
        return orjson.dumps({"answer": words}).decode()
    if choice:
        labels = tuple(re.findall(r"[\w-]+", re.sub(r"\bor\b", " ", choice.group(1))))
        if len(labels) > 1:
            return best_label(labels, text[: choice.start()] + text[choice.end() :], digest[8])
    return f"About “{words}”: {_ENDINGS[digest[8] % len(_ENDINGS)]}"


def _odd_json(fault: str, value: Any, text: str) -> str:
    """JSON of an instance with a text oddity inside its first string, or with the schema broken."""
    if fault == "badschema":
        value = {"unexpected": [value]} if not isinstance(value, dict) else {**dict(list(value.items())[1:]), "unexpected": True}
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str):
                value[key] = _oddity(fault, item)
                break
    return orjson.dumps(value).decode()


def say(
    text: str, schema: dict[str, Any] | None, limit: int | None, digest: bytes, fault: str = "", as_json: bool = False, reasoning: int = 0
) -> Said:
    """The answer to the last user text.

    `schema` asks for a valid instance of it; `limit` is the most output tokens; `fault` one of `orders.ANSWERS`;
    `reasoning` tokens are spent before the answer and eat from the limit.
    """
    if fault == "filter":
        return Said("", "filter", 0)
    if fault == "refusal":
        return Said("I can't help with that.", "refusal", 6)
    if fault == "empty":
        return Said("", "stop", 0)
    if schema is not None and fault != "notjson":
        answer = _odd_json(fault, Maker(schema, text, digest).make(), text)
    else:
        answer = _oddity(fault, _free(text, digest, as_json and fault != "notjson"))
    if fault == "huge":
        answer = answer + " " + "x" * 5_000_000 if schema is None else orjson.dumps({"x": "x" * 5_000_000}).decode()
    needed = tokens(answer)
    room = None if limit is None else max(limit - reasoning, 0)
    if fault == "cutoff":
        room = max(needed // 2, 1)
    if room is not None and needed > room and fault != "huge":
        spent = min(reasoning, limit) if limit is not None else reasoning
        return Said(cut(answer, room), "length", spent + room, spent)
    return Said(answer, "stop", needed + reasoning, reasoning)


def embedding(text: str, dimensions: int, model: str) -> list[float]:
    """A unit vector that depends on the text and the model alone."""
    data = hashlib.shake_128(f"{model}\0{text}".encode("utf-8", "replace")).digest(dimensions)
    norm = sum(map(_SQUARES.__getitem__, data)) ** 0.5
    return [round(_CENTRED[byte] / norm, 8) for byte in data]


def packed(vector: list[float]) -> bytes:
    """Little-endian float32, as `encoding_format: base64` wants it before the base64."""
    return array("f", vector).tobytes()


_CENTRED = [byte - 127.5 for byte in range(256)]
_SQUARES = [value * value for value in _CENTRED]
