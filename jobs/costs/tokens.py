"""Counting tokens without a network: by OpenAI's encodings, with a factor for other models; the basis in words."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import cache
from typing import Any

from jobs.words import PromptKind, ProviderKind

_CHUNK = 48_000  # characters; at most four tokens each, so below bpe-openai's limits of 200,000 tokens and 1,000,000 characters
_PER_MESSAGE = 3
_TO_PRIME = 3

_CL100K = re.compile(r"^(ft:)?(gpt-4(?!o|\.)|gpt-3\.5|text-embedding-)")
_O200K = re.compile(r"^(ft:)?(gpt-4o|gpt-4\.1|gpt-4\.5|chatgpt-4o|gpt-5|o1|o3|o4|gpt-oss)")
_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:[-.](\d{1,2})(?!\d))?")
_NEW_TOKENIZER = (4, 7)  # Anthropic's second tokenizer came with Opus 4.7


@dataclass(frozen=True, slots=True)
class Rule:
    """How tokens of a model are counted: an encoding, a factor on its count, how far off it may be (a share), and why."""

    encoding: str
    factor: Decimal
    margin: Decimal
    basis: str


@dataclass(frozen=True, slots=True)
class TokenModel:
    """Counts tokens as a model would. `calibration` is observed ÷ estimated, learned from finished jobs; None before the first."""

    provider: str
    model: str
    calibration: Decimal | None = None

    @property
    def rule(self) -> Rule:
        return rule_for(self.provider, self.model)

    @property
    def factor(self) -> Decimal:
        """What the encoding's count is multiplied by."""
        return self.rule.factor * (self.calibration if self.calibration is not None else 1)

    @property
    def margin(self) -> Decimal:
        """How far a count may be off to either side, as a share."""
        return min(self.rule.margin, Decimal("0.05")) if self.calibration is not None else self.rule.margin

    @property
    def basis(self) -> str:
        """The basis of the counts, in words."""
        if self.calibration is None:
            return self.rule.basis
        return f"{self.rule.basis}; corrected by {self.calibration.quantize(Decimal('0.001'))}, as measured on finished jobs"

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return self._scaled(_raw_count(self.rule.encoding, text))

    def count_chat(self, system: str, user: str, schema: Mapping[str, Any] | None = None) -> int:
        """Tokens of a request of at most two messages; approximate, as providers don't publish what they add for roles and schemas."""
        messages = [text for text in (system, user) if text]
        raw = sum(_raw_count(self.rule.encoding, text) + _PER_MESSAGE for text in messages) + _TO_PRIME
        if schema is not None:
            raw += _raw_count(self.rule.encoding, schema_text(schema))
        return self._scaled(raw)

    def count_request(self, kind: str, system: str, user: str, schema: Mapping[str, Any] | None = None) -> int:
        """Tokens of a request for a prompt of this kind: only what is generated from has roles and a schema."""
        return self.count_chat(system, user, schema) if kind == PromptKind.GENERATE else self.count(user)

    def _scaled(self, raw: int) -> int:
        return int((raw * self.factor).to_integral_value(ROUND_CEILING))


def schema_text(schema: Mapping[str, Any]) -> str:
    """An output schema as it is counted."""
    return json.dumps(schema, ensure_ascii=False)


def schema_texts(schema: Mapping[str, Any] | None) -> list[str]:
    """What is counted beside the texts of a request with this schema, for `count_all`."""
    return [] if schema is None else [schema_text(schema)]


@cache
def rule_for(provider: str, model: str) -> Rule:
    """How tokens of a provider's model are counted."""
    name = model.lower()
    if provider == ProviderKind.ANTHROPIC or name.startswith("claude"):
        return _claude_rule(name)
    if _CL100K.match(name):
        return Rule("cl100k_base", Decimal(1), Decimal("0.02"), "counted with OpenAI's cl100k tokenizer")
    if _O200K.match(name) or name.rpartition("/")[2].startswith("gpt-oss"):
        return Rule("o200k_base", Decimal(1), Decimal("0.02"), "counted with OpenAI's o200k tokenizer")
    if provider == ProviderKind.OPENAI:
        return Rule("o200k_base", Decimal(1), Decimal("0.1"), "approximate: OpenAI's o200k count; this model's own is not published")
    if "gemini" in name:
        return Rule("o200k_base", Decimal("1.1"), Decimal("0.15"), "approximate: OpenAI's o200k count × 1.1")
    return Rule("o200k_base", Decimal("1.2"), Decimal("0.2"), "approximate: OpenAI's o200k count × 1.2")


def _claude_rule(name: str) -> Rule:
    found = _CLAUDE.search(name)
    # An older name without digits that can be read counts as new: that errs towards more tokens.
    number = (int(found[1]), int(found[2] or 0)) if found else _NEW_TOKENIZER
    if number < _NEW_TOKENIZER:
        return Rule("o200k_base", Decimal("1.2"), Decimal("0.15"), "approximate: OpenAI's o200k count × 1.2, for Claude before Opus 4.7")
    return Rule("o200k_base", Decimal("1.55"), Decimal("0.15"), "approximate: OpenAI's o200k count × 1.55, for Claude since Opus 4.7")


@cache
def _encoding(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it opens its data in a way that Python 3.11 calls deprecated
        import bpe_openai  # a shared object of 74 MB, so it waits until a count is asked for

    return bpe_openai.get_encoding(name)


ENCODINGS = ("o200k_base", "cl100k_base")
_REMEMBERED = 2_000  # texts
_counted: dict[tuple[str, str], int] = {}


def remember(counted: Iterable[tuple[str, Mapping[str, int]]]) -> None:
    """Texts with their counts by encoding, as another process counted them (`count_all`): here the tokenizer, 110 MB, is not loaded for
    them. Some thousand are kept."""
    for text, counts in counted:
        if len(_counted) > _REMEMBERED * len(ENCODINGS):
            _counted.clear()
        _counted.update({(encoding, text): n for encoding, n in counts.items()})


def count_all(texts: Iterable[str]) -> list[tuple[str, dict[str, int]]]:
    """Each text once, with its tokens by encoding."""
    return [(text, {encoding: _raw_count(encoding, text) for encoding in ENCODINGS}) for text in dict.fromkeys(texts) if text]


def _raw_count(encoding: str, text: str) -> int:
    """Tokens of a text by an encoding; text that looks like a special token is text. Long texts are cut at a space where there is one."""
    if not text:
        return 0
    if (known := _counted.get((encoding, text))) is not None:
        return known
    encode = _encoding(encoding).encode_ordinary
    total, start = 0, 0
    while start < len(text):
        end = start + _CHUNK
        if end < len(text):
            space = max(text.rfind("\n", start + _CHUNK // 2, end), text.rfind(" ", start + _CHUNK // 2, end))
            end = space if space > start else end
        piece = text[start:end]
        try:
            total += len(encode(piece))
        except UnicodeEncodeError:  # lone surrogates, which JSON can carry and UTF-8 cannot
            total += len(encode(piece.encode("utf-8", "replace").decode()))
        start = end
    return total
