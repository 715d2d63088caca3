"""Where price sheets come from: genai-prices and a person's overrides, behind `price_sheet`. What is not known is said, never guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.metadata import version
from typing import Any

from jobs.costs.prices import LANES, PriceSheet, Tier, pico
from jobs.errors import BadInput
from jobs.words import TOKEN_KINDS, Lane, ProviderKind

_SOURCES: dict[str, str] = {ProviderKind.OPENAI: "openai", ProviderKind.ANTHROPIC: "anthropic"}  # our kind → genai-prices' provider
_CONTEXTS = {Lane.BATCH: {"processing": "batch"}, Lane.FLEX: {"service_tier": "flex"}}
_KEYS = {
    "input": "input_mtok",
    "cached": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "output": "output_mtok",
}
# What a kind of token costs where no price of its own is listed: the price of this kind.
_INSTEAD = {"cached": "input", "cache_write": "input", "cache_write_1h": "cache_write"}
# Listed as free of charge, on every lane that takes it; the model by which such a family is chosen.
_FREE = {(str(ProviderKind.OPENAI), "moderation"): "omni-moderation-latest"}
# Models that search by themselves: each search is billed, and the list has the price of their tokens only.
_SEARCHES = re.compile(r"-search-(preview|api)|-deep-research")
_OVERRIDE_KEYS = {*TOKEN_KINDS, "batch_discount", "flex_discount", "lanes", "per_hour"}
_BY_THE_HOUR = "It is priced by the hour of ordinary calls; how long a server works on a batch is not known."


@dataclass(frozen=True, slots=True)
class _Discount:
    """A discount that a provider documents where genai-prices lists no price of the lane."""

    prefix: str
    share: Decimal  # the part of the price that falls away
    note: str


_DOCUMENTED: dict[tuple[str, str], tuple[_Discount, ...]] = {
    (ProviderKind.OPENAI, Lane.BATCH): (
        _Discount(
            "text-embedding-",
            Decimal("0.5"),
            "genai-prices lists no batch price for embeddings; OpenAI's documented batch discount of 50 % is applied.",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model for the model table. `context_window` in tokens."""

    id: str
    context_window: int | None
    has_batch: bool
    has_flex: bool
    deprecated: bool


def price_sheet(provider_kind: str, model: str, *, overrides: Mapping[str, Any] | None, today: date) -> PriceSheet:
    """The prices of a model as of a day: a person's override if there is one, else genai-prices. Never raises for an unknown model.

    `overrides` maps a model, or "*" for every model of the connection, to `{"input", "output"}` in dollars per million tokens, and
    optionally `cached`, `cache_write`, `cache_write_1h`, `batch_discount` and `flex_discount` (0.5 is half off), or to
    `{"lanes": {lane: [tier, …]}}`, or to `{"per_hour"}`, dollars for each hour that ordinary calls take on a server of one's own, where
    tokens cost nothing unless `input` and `output` say so. Raises BadInput for an override that cannot be read.
    """
    for name in (model, "*"):
        if overrides and name in overrides:
            return _overridden(provider_kind, model, overrides[name], today)
    return _listed(str(provider_kind), model, today)


def price_source() -> str:
    """The price book and its version: "genai-prices 0.2.3"."""
    return f"genai-prices {version('genai-prices')}"


@cache
def models_known(provider_kind: str) -> tuple[ModelEntry, ...]:
    """The models that genai-prices lists with a price per token (or as free) for a provider, by id; empty for one that it doesn't list."""
    provider = _provider(provider_kind)
    entries = []
    moment = datetime.now(UTC)
    for model in provider.models if provider else ():
        if free := _FREE.get((provider_kind, model.id)):
            entries.append(ModelEntry(free, model.context_window, has_batch=True, has_flex=False, deprecated=False))
            continue
        # An id that its own rule doesn't match (fine-tunes) is a family, and no model to choose.
        if model.get_prices(moment).input_mtok is None or provider.find_model(model.id) is not model or _SEARCHES.search(model.id):
            continue
        entries.append(
            ModelEntry(
                id=model.id,
                context_window=model.context_window,
                has_batch=bool(_variants(model, _CONTEXTS[Lane.BATCH])) or _documented(provider_kind, model.id, Lane.BATCH) is not None,
                has_flex=bool(_variants(model, _CONTEXTS[Lane.FLEX])),
                deprecated=bool(model.deprecated),
            )
        )
    return tuple(sorted(entries, key=lambda entry: entry.id))


@cache
def _provider(provider_kind: str) -> Any:
    """genai-prices' provider, or None. The import takes over half a second, so it waits until a price is asked for."""
    wanted = _SOURCES.get(provider_kind)
    if wanted is None:
        return None
    from genai_prices.data import providers

    return next(provider for provider in providers if provider.id == wanted)


def _unknown(provider_kind: str, model: str, today: date, reason: str) -> PriceSheet:
    return PriceSheet(
        source=price_source(),
        as_of=today.isoformat(),
        provider=provider_kind,
        model=model,
        known=False,
        notes=(reason,),
        reasons={str(lane): reason for lane in LANES},
    )


@cache
def _listed(provider_kind: str, model: str, today: date) -> PriceSheet:
    provider = _provider(provider_kind)
    if provider is None:
        return _unknown(provider_kind, model, today, "Prices of such servers are not listed anywhere. An admin can enter them.")
    found = provider.find_model(model.lower())
    # A model that comes from another provider's list would be priced without its variants, so it doesn't count.
    if found is None or not any(found is own for own in provider.models):
        return _unknown(provider_kind, model, today, f"{price_source()} does not list {model}. An admin can enter its price.")
    if _SEARCHES.search(model.lower()) or _SEARCHES.search(found.id):
        reason = f"{model} searches by itself, and each search is billed beside the tokens. An admin can enter a price that covers it."
        return _unknown(provider_kind, model, today, reason)
    moment = datetime.combine(today, time(12), UTC)
    standard = found.get_prices(moment)
    if (provider_kind, found.id) in _FREE:
        return _free(provider_kind, model, today)
    if standard.input_mtok is None:
        return _unknown(provider_kind, model, today, f"{price_source()} lists no price per token for {model}.")
    if standard.output_mtok is None and not found.id.startswith("text-embedding-"):
        return _unknown(provider_kind, model, today, f"{price_source()} lists no price of output for {model}.")
    notes = [] if found.id == model else [f"Priced as {found.id}."]
    lanes: dict[str, tuple[Tier, ...]] = {str(Lane.DIRECT): _tiers(standard)}
    reasons: dict[str, str] = {}
    notes += _notes_on(standard)
    for lane in (Lane.BATCH, Lane.FLEX):
        tiers, said = _variant_tiers(provider_kind, found, lane, moment)
        if tiers:
            lanes[str(lane)] = tiers
            notes += said
        else:
            reasons[str(lane)] = said[0]
    return PriceSheet(price_source(), today.isoformat(), provider_kind, model, True, tuple(notes), lanes, reasons)


def _free(provider_kind: str, model: str, today: date) -> PriceSheet:
    tier = Tier(0, **dict.fromkeys(TOKEN_KINDS, Decimal(0)))
    lanes = {str(Lane.DIRECT): (tier,), str(Lane.BATCH): (tier,)}
    reasons = {str(Lane.FLEX): f"{price_source()} lists no flex price for {model}."}
    return PriceSheet(price_source(), today.isoformat(), provider_kind, model, True, ("Moderation is free of charge.",), lanes, reasons)


def _variants(model: Any, context: Mapping[str, str]) -> list[Any]:
    return [variant for variant in model.price_variants or () if dict(variant.when) == dict(context)]


def _documented(provider_kind: str, model_id: str, lane: Lane) -> _Discount | None:
    table = _DOCUMENTED.get((provider_kind, lane), ())
    return next((discount for discount in table if model_id.startswith(discount.prefix)), None)


def _variant_tiers(provider_kind: str, model: Any, lane: Lane, moment: datetime) -> tuple[tuple[Tier, ...], list[str]]:
    """The tiers of a lane with notes, or () with the reason why they are unknown.

    genai-prices answers with the standard price, silently, where it has no variant that is in force; hence the demand for one.
    """
    context = _CONTEXTS[lane]
    listed = _variants(model, context)
    active = [variant for variant in listed if variant.constraint is None or variant.constraint.active(moment)]
    name = lane.label.lower()
    if active:
        notes = []
        own = {key for variant in active for key, price in variant.prices.__dict__.items() if price is not None}
        standard = model.get_prices(moment)
        if "input_mtok" not in own:
            notes.append(f"The {name} price is listed as the same as in real time.")
        elif standard.cache_read_mtok is not None and "cache_read_mtok" not in own:
            notes.append(f"No {name} price is listed for cached input; it is priced as in real time.")
        return _tiers(model.get_prices(moment, context)), notes
    if listed:
        return (), [f"The {name} price of {model.id} is listed only from {listed[0].constraint.start_date.isoformat()} on."]
    discount = _documented(provider_kind, model.id, lane)
    if discount:
        return tuple(_discounted(tier, discount.share) for tier in _tiers(model.get_prices(moment))), [discount.note]
    if lane is Lane.FLEX and provider_kind != ProviderKind.OPENAI:
        return (), ["The provider has no flex tier."]
    return (), [f"{price_source()} lists no {name} price for {model.id}."]


def _discounted(tier: Tier, share: Decimal) -> Tier:
    return Tier(tier.above, **{kind: tier.price(kind) * (1 - share) for kind in TOKEN_KINDS})


def _notes_on(prices: Any) -> list[str]:
    notes = []
    if prices.output_mtok is None:
        notes.append("Embeddings have no output tokens.")
    if prices.cache_read_mtok is None:
        notes.append("No price is listed for cached input; it is priced as input.")
    if prices.cache_write_mtok is None:
        notes.append("No price is listed for cache writes; they are priced as input.")
    return notes


def _tiers(prices: Any) -> tuple[Tier, ...]:
    """genai-prices' prices, each flat or in steps of its own, as tiers with common thresholds."""
    found = {kind: getattr(prices, key) for kind, key in _KEYS.items()}
    for kind, instead in _INSTEAD.items():
        found[kind] = found[instead] if found[kind] is None else found[kind]
    if found["output"] is None:
        found["output"] = Decimal(0)  # embeddings, see _listed
    marks = sorted({0} | {step.start for price in found.values() for step in getattr(price, "tiers", ())})
    return tuple(Tier(mark, **{kind: _price_above(price, mark) for kind, price in found.items()}) for mark in marks)


def _price_above(price: Any, mark: int) -> Decimal:
    """The price of a row with just more than `mark` input tokens."""
    value: Decimal = getattr(price, "base", price)
    for step in getattr(price, "tiers", ()):
        if step.start <= mark:
            value = step.price
    return value


def _overridden(provider_kind: str, model: str, override: Any, today: date) -> PriceSheet:
    if not isinstance(override, Mapping) or not set(override) <= _OVERRIDE_KEYS:
        raise BadInput(f"The price entered for {model} cannot be read.", f"Allowed are: {', '.join(sorted(_OVERRIDE_KEYS))}.")
    if override.get("per_hour") is not None:
        return _by_the_hour(provider_kind, model, override, today)
    reasons: dict[str, str] = {}
    notes: list[str] = []
    if "lanes" in override:
        lanes = _override_lanes(model, override["lanes"])
    else:
        direct = _override_tier(model, override, notes)
        lanes = {str(Lane.DIRECT): (direct,)}
        for lane in (Lane.BATCH, Lane.FLEX):
            share = override.get(f"{lane}_discount")
            if share is not None:
                lanes[str(lane)] = (_entered_discount(model, lane, direct, share),)
            elif all(direct.price(kind) == 0 for kind in TOKEN_KINDS):
                lanes[str(lane)] = (direct,)
    for lane in LANES:
        if str(lane) not in lanes:
            reasons[str(lane)] = f"The price entered for {model} says nothing of {lane.label.lower()}."
    return PriceSheet("entered by an admin", today.isoformat(), str(provider_kind), model, bool(lanes), tuple(notes), lanes, reasons)


def _by_the_hour(provider_kind: str, model: str, override: Mapping[str, Any], today: date) -> PriceSheet:
    if set(override) & {"lanes", "batch_discount", "flex_discount"}:
        raise BadInput(f"The price of {model} by the hour has no discounts or lanes beside it.", "Only ordinary calls are priced by time.")
    per_hour = _price(model, "an hour", override["per_hour"])
    notes = [f"Priced by the hour: ${per_hour.normalize():f} for each hour of calls, shared by the jobs that run at the same time."]
    tier = _override_tier(model, {"input": "0", "output": "0", **{k: v for k, v in override.items() if v is not None}}, notes)
    lanes = {str(Lane.DIRECT): (tier,)}
    reasons = {str(Lane.BATCH): _BY_THE_HOUR, str(Lane.FLEX): _BY_THE_HOUR}
    return PriceSheet("entered by an admin", today.isoformat(), str(provider_kind), model, True, tuple(notes), lanes, reasons, per_hour)


def _override_lanes(model: str, lanes: Any) -> dict[str, tuple[Tier, ...]]:
    try:
        read = {
            str(Lane(lane)): tuple(_override_tier(model, tier, []).at(int(tier.get("above", 0))) for tier in tiers)
            for lane, tiers in lanes.items()
        }
        PriceSheet("", "", "", model, bool(read), (), read)
    except (AttributeError, TypeError, ValueError) as problem:
        raise BadInput(f"The lanes entered for {model} cannot be read: {problem}.") from problem
    return read


def _override_tier(model: str, override: Mapping[str, Any], notes: list[str]) -> Tier:
    for kind in ("input", "output"):
        if override.get(kind) is None:
            raise BadInput(f"The price entered for {model} lacks the price of {kind}.", "Write 0 where it is free.")
    prices = {kind: _price(model, kind, override[kind]) for kind in TOKEN_KINDS if override.get(kind) is not None}
    for kind, instead in _INSTEAD.items():
        if kind not in prices:
            prices[kind] = prices[instead]
    if override.get("cached") is None and prices["input"]:
        notes.append("No price was entered for cached input; it is priced as input.")
    return Tier(0, **prices)


def _price(model: str, what: str, text: Any) -> Decimal:
    try:
        value = Decimal(str(text).strip())
        pico(value)
    except (InvalidOperation, ValueError) as problem:
        raise BadInput(
            f"“{text}” is no price of {what} for {model}.", "Enter dollars per million tokens, 0 or more, with at most six decimals."
        ) from problem
    return value


def _entered_discount(model: str, lane: Lane, direct: Tier, text: Any) -> Tier:
    """The prices of a lane by the discount that a person entered; 0.5 is half off every kind of token."""
    share = _price(model, f"the {lane.label.lower()} discount", text)
    if share > 1:
        raise BadInput(f"The {lane.label.lower()} discount of {model} cannot be above 1.", "Enter 0.5 for half off.")
    try:
        return _discounted(direct, share)
    except ValueError as problem:
        raise BadInput(f"The {lane.label.lower()} price of {model} cannot be kept exactly: {problem}.", "Use fewer decimals.") from problem
