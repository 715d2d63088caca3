"""The most that a batch can cost: what it holds against the caps until it is settled."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from decimal import ROUND_CEILING, Decimal
from typing import Any

from jobs.costs.caching import LEAST_OPENAI
from jobs.costs.prices import PICO, PriceSheet
from jobs.costs.tokens import rule_for
from jobs.engine import history
from jobs.models import Batch, Round
from jobs.rows.weigh import Weigher
from jobs.words import TOKEN_KINDS, PromptKind, ProviderKind

_MILLION = Decimal(1_000_000)
_FRAME = 16  # tokens of a request for roles and the like; nobody publishes them
_TOOLS = 1_000  # what Anthropic says of tools to a model that is given some: 200 to 800 tokens, by model (2026-08)


def reserve_of(round_: Round, n_requests: int, n_tokens: int, longest: int | None = None) -> Decimal | None:
    """The most that a batch of so many input tokens can cost: every token at the dearest tier (that a row of at most `longest` tokens can
    fall in), every answer at its limit. None where that has no bound or price."""
    sheet = PriceSheet.from_json(round_.sheet)
    tiers = sheet.tiers(round_.lane)
    tiers = tuple(tier for tier in tiers if longest is None or tier.above < max(1, longest))
    if not tiers or sheet.per_hour is not None:  # how long a server takes has no bound
        return None
    dearest_in = max(tier.price(kind) for tier in tiers for kind in _input_kinds(sheet, round_.spec, longest))
    dearest_out = max(tier.price("output") for tier in tiers)
    most = round_.spec.get("max_output_tokens")
    if most is None and dearest_out and round_.spec.get("kind") == PromptKind.GENERATE:
        return None
    return (n_tokens * dearest_in + n_requests * (most or 0) * dearest_out) / _MILLION


def _input_kinds(sheet: PriceSheet, spec: dict[str, Any], longest: int | None) -> Iterable[str]:
    """What an input token may be billed as: by a cache only where the provider can have one."""
    all_kinds = tuple(kind for kind in TOKEN_KINDS if kind != "output")
    if sheet.provider == ProviderKind.ANTHROPIC:  # only where it is asked to
        asked = spec.get("cache_prefix") or "cache_control" in json.dumps(spec.get("params", {}))
        return all_kinds if asked else ("input",)
    if sheet.provider == ProviderKind.OPENAI:  # by itself, what is long enough
        return ("input",) if longest is not None and longest < LEAST_OPENAI else all_kinds
    return all_kinds


def weigher_of(round_: Round) -> dict[str, Any]:
    """How the most tokens of the round's requests are found (`rows.weigh.Weigher`): by its model, as far as finished jobs have shown more
    than was thought, and with schema, tools and other parameters at their full length."""
    connection, spec = round_.connection, round_.spec
    rule = rule_for(connection.kind, spec["model"])
    learned = history.calibration(connection, spec["model"]) or Decimal(1)
    weigher = Weigher(rule.encoding == "o200k_base", float(rule.factor * max(learned, Decimal(1))))
    if spec["kind"] != PromptKind.GENERATE:
        return asdict(weigher)
    said = json.dumps([spec.get("schema"), spec.get("params")], ensure_ascii=False)
    beside = weigher.most([""], [said], len(said.encode("utf-8", "replace"))) + _FRAME + (_TOOLS if spec["params"].get("tools") else 0)
    return asdict(weigher) | {"per_request": beside}


def most_of(batch: Batch, n_rows: int) -> Decimal | None:
    """The most that rows of a batch cost of which nothing came back, not even their tokens: their share of what the batch can cost. None
    where that has no bound or no price."""
    if not n_rows:
        return Decimal(0)
    if batch.reserve_usd is None:
        return None
    return (batch.reserve_usd * n_rows / max(1, batch.n_requests)).quantize(Decimal(1).scaleb(-PICO), ROUND_CEILING)
