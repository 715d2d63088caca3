"""The most tokens that texts may have, without a tokenizer: by what they are made of, character by character, at over a gigabyte a second.

The weights lie above OpenAI's o200k for every kind of text that `tests/rows/test_weigh.py` has: prose of 75 languages 1.1 to 2.4 times
(English 1.6), Base64, hex, digits, emoji and scripts without words of their own in the vocabulary 1 to 2 times. A byte-level tokenizer
makes at most a token of a byte, so nothing is taken for more. What can still pass it by up to a half: words of random small letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

_UNIT = 24  # a token
_LOWER, _SPACE, _NEWLINE = 8, 7, 12  # told apart by their weights, so each is of its own
_LONG_WORD = 12  # letters to a space; more is no prose, and small letters without words are half a token each
_IN_LONG = 6
_MANY, _SLICE = 200_000, 2_000  # characters: of more than so many a quarter is weighed, slice by slice
# From which UTF-16 unit on, and the tokens of each: what o200k makes of running text, with room; without words, of characters.
_BLOCKS = (
    (0x0000, 1.0),
    (0x0020, 0.85),  # signs
    (0x0030, 1.2),  # digits; a space or a comma beside each is a token too
    (0x003A, 0.85),
    (0x0041, 1.0),
    (0x005B, 0.85),
    (0x0080, 1.3),  # Latin
    (0x0180, 2.0),
    (0x0370, 0.85),  # Greek, Cyrillic, Armenian, Hebrew, Arabic
    (0x0700, 3.0),
    (0x0900, 1.0),  # India
    (0x0D80, 1.5),
    (0x0E00, 1.0),  # Thai
    (0x0E80, 2.1),  # Lao, Tibetan
    (0x1000, 1.6),
    (0x10A0, 1.0),  # Georgian
    (0x1100, 3.0),
    (0x1200, 2.1),  # Ethiopic
    (0x13A0, 3.0),
    (0x1780, 1.4),  # Khmer
    (0x1800, 3.0),
    (0x1E00, 1.4),  # Vietnamese
    (0x1F00, 2.1),  # signs
    (0x3000, 1.3),  # kana
    (0x3100, 3.0),
    (0x4E00, 1.4),  # Han
    (0xA000, 3.0),
    (0xAC00, 1.3),  # Hangul
    (0xD7B0, 3.0),
    (0xD800, 2.5),  # halves: of old scripts and rare Han
    (0xD83C, 1.5),  # of emoji
    (0xD83F, 2.5),
    (0xDC00, 1.5),  # the other halves
    (0xE000, 3.0),
    (0xFE00, 1.0),  # variation selectors
    (0xFE10, 3.0),
)


@dataclass(frozen=True, slots=True)
class Weigher:
    """`vocabulary` False: a tokenizer with few words beyond ASCII (OpenAI's cl100k), which may make a token of each byte there. `factor`
    is what a model makes of o200k's count; `per_request` are the tokens of a request beside its texts."""

    vocabulary: bool = True
    factor: float = 1.0
    per_request: int = 0

    def most(self, system: Sequence[str], user: Sequence[str], n_bytes: int) -> int:
        """The most tokens of requests with these texts, one of each a request; `n_bytes` is how long the requests are in all."""
        constant = len(set(system)) == 1
        weight = self._weight(system[:1]) * len(system) if constant else self._weight(system)
        return min(int((weight + self._weight(user)) * self.factor) + 1, n_bytes) + self.per_request * len(user)

    def _weight(self, texts: Sequence[str]) -> float:
        table = _table(self.vocabulary)
        text, n_texts = "".join(texts), float(len(texts))
        if len(text) > _MANY:  # slices from end to end: each kind of text is in them as often as in the whole
            whole_length, text = len(text), "".join([text[i : i + _SLICE] for i in range(0, len(text), 4 * _SLICE)])
            return self._weight_of(text, n_texts * len(text) / whole_length, table) * whole_length / len(text)
        return self._weight_of(text, n_texts, table)

    def _weight_of(self, text: str, n_texts: float, table: np.ndarray[Any, np.dtype[np.uint8]]) -> float:
        if text.isascii():
            values = np.frombuffer(text.encode().translate(table[:256].tobytes()), np.uint8)
        else:
            values = table[np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")]
        n_lower, n_spaces, n_lines = (int(np.count_nonzero(values == each)) for each in (_LOWER, _SPACE, _NEWLINE))
        words = n_spaces + n_lines + n_texts
        in_long = max(0.0, n_lower - _LONG_WORD * words) * _IN_LONG
        lone = max(0, n_spaces - len(values) // 4) * _UNIT  # spaces that part single characters
        whole = values.sum(dtype=np.uint32 if len(values) < 1 << 24 else np.uint64)  # the shorter sum is twice as fast
        return (int(whole) + in_long + lone) / _UNIT


@cache
def _table(vocabulary: bool) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The weight of each UTF-16 unit."""
    table = np.empty(0x10000, np.uint8)
    for first, tokens in _BLOCKS:
        table[first:] = round(tokens * _UNIT)
    table[ord("a") : ord("z") + 1] = _LOWER
    table[ord(" ")], table[ord("\n")], table[ord("\r")] = _SPACE, _NEWLINE, _NEWLINE - 1
    if not vocabulary:  # UTF-8 bytes
        table[0x80:], table[0x800:], table[0xD800:0xE000] = 2 * _UNIT, 3 * _UNIT, 2 * _UNIT
    return table
