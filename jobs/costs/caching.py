"""What a provider's prompt cache would save: how long a shared start has to be, and what reads and writes of it cost by the sheet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from jobs.costs.prices import PriceSheet, dollars, pico
from jobs.words import ProviderKind

_BLOCK = 128  # OpenAI caches in steps of so many tokens, from 1,024 on
LEAST_OPENAI = 1_024
# Anthropic names 512, 1,024 or 4,096 tokens depending on the model. Where we do not know which, the longest is taken, so that no saving
# is promised that does not come.
_LEAST_ANTHROPIC = 4_096
_KNOWN = ((re.compile(r"^claude-(opus-4-1|opus-4-2|sonnet-4|sonnet-4-5|3-7-sonnet)(-\d{8}|$)"), 1_024),)


def least_tokens(kind: str, model: str) -> int | None:
    """Tokens that a shared start needs to be cached at all; None where the provider has no cache that we know of."""
    if kind == ProviderKind.OPENAI:
        return LEAST_OPENAI
    if kind == ProviderKind.ANTHROPIC:
        return next((least for pattern, least in _KNOWN if pattern.match(model)), _LEAST_ANTHROPIC)
    return None


def cacheable(kind: str, model: str, tokens: int) -> int:
    """How many tokens of a shared start a cache holds; 0 where it is too short."""
    least = least_tokens(kind, model)
    if least is None or tokens < least:
        return 0
    return tokens // _BLOCK * _BLOCK if kind == ProviderKind.OPENAI else tokens


@dataclass(frozen=True, slots=True)
class Saving:
    """Dollars over all rows if each but the first finds the start in the cache, and the share of rows from which on a cache pays at all."""

    most: Decimal
    pays_from: Decimal


def saving(sheet: PriceSheet, lane: str, kind: str, tokens: int, n_rows: int) -> Saving | None:
    """What `tokens` more of each row in the cache save on a lane; None where they save nothing or the price is unknown.

    A row that does not find them writes them, at Anthropic for an hour, at the price of a write.
    """
    tiers = sheet.tiers(lane)
    if not tiers or tokens <= 0 or n_rows < 2:
        return None
    tier = tiers[0]
    write = tier.cache_write_1h if kind == ProviderKind.ANTHROPIC else tier.cache_write
    gain, loss = pico(tier.input) - pico(tier.cached), pico(write) - pico(tier.input)
    most = dollars(tokens * (gain * (n_rows - 1) - loss))
    if gain <= 0 or most <= 0:
        return None
    return Saving(most, Decimal(max(0, loss)) / (gain + max(0, loss)))
