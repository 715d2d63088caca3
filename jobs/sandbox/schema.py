"""A plausible, valid instance of a JSON Schema for a text, the same each time."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any

_LONG = re.compile("summar|reason|explan|answer|descr")
WORD = re.compile(r"[a-z][a-z']+")

# Words of a text → words of a label that they speak for.
_HINTS = (
    (
        "billing payment invoice refund finance account charge",
        "refund refunded charged charge invoice paid pay payment card bill billing price money",
    ),
    (
        "technical bug error issue problem support defect",
        "crash crashes crashed error bug broken fails failed failing exception freeze freezes slow",
    ),
    ("shipping delivery logistics order", "shipping shipped delivery delivered package parcel courier tracking arrived late"),
    (
        "positive good happy praise satisfied",
        "love loved great excellent thanks thank amazing perfect happy wonderful good best nice helpful fast",
    ),
    (
        "negative bad angry complaint unhappy",
        "hate hated terrible awful worst bad angry disappointed useless horrible poor never broken rude slow",
    ),
    ("neutral other general mixed none", "okay average question wondering information"),
    ("urgent high critical", "urgent asap immediately critical emergency down outage now"),
    ("low minor", "whenever minor small cosmetic typo"),
    ("account login access security", "password login account locked access username email reset"),
    ("feature request suggestion idea", "feature wish add please could suggest suggestion"),
    ("cancellation cancel churn", "cancel cancellation unsubscribe leave leaving"),
    ("spam", "winner prize click free lottery"),
)


@lru_cache(maxsize=512)
def _votes(labels: tuple[str, ...]) -> dict[str, list[tuple[int, int]]]:
    """Word of a text → (label, weight) for each label that it speaks for."""
    votes: dict[str, list[tuple[int, int]]] = {}
    for position, label in enumerate(labels):
        own = set(WORD.findall(label.lower().replace("_", " ")))
        for word in own:
            votes.setdefault(word, []).append((position, 3))
        for names, words in _HINTS:
            if own & set(names.split()):
                for word in words.split():
                    votes.setdefault(word, []).append((position, 1))
    return votes


def best_label(labels: tuple[str, ...], text: str, seed: int) -> str:
    """The label that the text's words speak for; ties and silence are settled by the seed."""
    votes = _votes(labels)
    scores = [0] * len(labels)
    for word in set(WORD.findall(text.lower())):
        for position, weight in votes.get(word, ()):
            scores[position] += weight
    top = max(scores)
    best = [label for label, score in zip(labels, scores, strict=True) if score == top]
    return best[seed % len(best)]


class Maker:
    """Makes one instance: `Maker(schema, text, digest).make()`."""

    def __init__(self, schema: dict[str, Any], text: str, digest: bytes) -> None:
        self.root, self.text, self.digest = schema, text, digest
        self.words = text.split()

    def make(self) -> Any:
        return self._value(self.root, "", 0)

    def _seed(self, path: str) -> int:
        return int.from_bytes(hashlib.blake2b(path.encode(), key=self.digest[:16], digest_size=6).digest(), "big")

    def _resolve(self, schema: Any) -> dict[str, Any]:
        for _ in range(32):
            if not isinstance(schema, dict) or "$ref" not in schema:
                break
            target: Any = self.root
            for part in str(schema["$ref"]).lstrip("#/").split("/"):
                target = target.get(part.replace("~1", "/").replace("~0", "~"), {}) if part and isinstance(target, dict) else target
            schema = target
        if isinstance(schema, dict) and schema.get("allOf"):
            merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
            for other in map(self._resolve, schema["allOf"]):
                merged = {**other, **merged, "properties": {**other.get("properties", {}), **merged.get("properties", {})}}
            schema = merged
        return schema if isinstance(schema, dict) else {}

    def _value(self, raw: Any, path: str, depth: int) -> Any:
        schema, seed = self._resolve(raw), self._seed(path)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._pick(schema["enum"], seed)
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                options = [self._resolve(option) for option in schema[key]]
                solid = [option for option in options if option.get("type") != "null"] or options
                return self._value(solid[0 if depth > 6 else seed % len(solid)], path, depth)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((k for k in kind if k != "null"), "null")
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
        return self._typed(str(kind), schema, path, depth, seed)

    def _typed(self, kind: str, schema: dict[str, Any], path: str, depth: int, seed: int) -> Any:
        if kind == "object":
            needed = schema.get("required", [])
            names = [n for n in schema.get("properties", {}) if depth < 6 or n in needed]
            return {name: self._value(schema["properties"][name], f"{path}.{name}", depth + 1) for name in names}
        if kind == "array":
            low = int(schema.get("minItems", 0 if depth > 5 else 1))
            high = min(int(schema.get("maxItems", max(low, 3))), max(low, 3))
            n = low + seed % (max(high, low) - low + 1)
            items = [self._value(schema.get("items", {"type": "string"}), f"{path}[{i}]", depth + 1) for i in range(n)]
            return _unique(items) if schema.get("uniqueItems") else items
        if kind == "boolean":
            return bool(seed & 1)
        if kind in ("integer", "number"):
            return self._number(kind, schema, path, seed)
        return None if kind == "null" else self._string(schema, path, seed)

    def _pick(self, options: list[Any], seed: int) -> Any:
        labels = tuple(option for option in options if isinstance(option, str))
        if len(labels) != len(options):
            solid = [option for option in options if option is not None] or options
            return solid[seed % len(solid)]
        return best_label(labels, self.text, seed)

    def _number(self, kind: str, schema: dict[str, Any], path: str, seed: int) -> Any:
        name = path.rsplit(".", 1)[-1].lower()
        low, high = 0.0, 100.0
        if re.search("confiden|probab|score|ratio", name) and kind == "number":
            high = 1.0
        elif re.search("rating|stars|priority|severity", name):
            low, high = 1.0, 5.0
        exclusive = 1.0 if kind == "integer" else 0.01
        floor = schema.get("minimum", schema["exclusiveMinimum"] + exclusive if "exclusiveMinimum" in schema else None)
        ceiling = schema.get("maximum", schema["exclusiveMaximum"] - exclusive if "exclusiveMaximum" in schema else None)
        low = float(floor) if floor is not None else min(low, float(ceiling)) if ceiling is not None else low
        high = float(ceiling) if ceiling is not None else max(high, low)
        step = schema.get("multipleOf")
        if step:
            first, last = -(-low // step), high // step
            value = (first + seed % int(max(last - first, 0) + 1)) * step
            return int(value) if kind == "integer" else value
        if kind == "integer":
            first, last = int(-(-low // 1)), int(high // 1)
            return first + seed % max(last - first + 1, 1)
        return round(min(max(low + (high - low) * (seed % 1000) / 999, low), high), 3)

    def _string(self, schema: dict[str, Any], path: str, seed: int) -> str:
        if "format" in schema and (formed := self._formatted(schema["format"], seed)):
            return formed
        length = 14 if _LONG.search(path) else 3
        start = 0 if length > 3 or len(self.words) <= length else seed % (len(self.words) - length)
        text = " ".join(self.words[start : start + length])[:400] or "none"
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
        text = text if len(text) >= least else text.ljust(least, ".")
        return text if most is None else text[: int(most)]

    @staticmethod
    def _formatted(form: str, seed: int) -> str | None:
        return {
            "date": f"2026-{1 + seed % 12:02}-{1 + seed % 28:02}",
            "time": f"{seed % 24:02}:{seed % 60:02}:00Z",
            "date-time": f"2026-{1 + seed % 12:02}-{1 + seed % 28:02}T{seed % 24:02}:00:00Z",
            "email": f"person{seed % 1000}@example.com",
            "uri": f"https://example.com/{seed % 1000}",
            "uuid": f"00000000-0000-4000-8000-{seed % (1 << 48):012x}",
        }.get(form)


def _unique(items: list[Any]) -> list[Any]:
    return [item for i, item in enumerate(items) if item not in items[:i]]
