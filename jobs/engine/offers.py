"""What a draft would cost on each model of its workspace's connections. The sample is rendered and counted once per draft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal
from typing import Any

from django.utils import timezone

from jobs.costs.estimate import Estimate, estimate_from_counts
from jobs.costs.lookup import ModelEntry, price_sheet
from jobs.costs.prices import PriceSheet, Tier
from jobs.costs.tokens import TokenModel
from jobs.engine import drafts, history, pilot
from jobs.engine.estimates import models_of, output_basis, sample_of, timed
from jobs.engine.spec import spec_for
from jobs.models import Calibration, Connection, Job, PriceOverride, PromptVersion
from jobs.words import JobState, Lane, PromptKind, ProviderKind

# A model of each encoding whose count is the encoding's own; the others are that count times a factor.
_COUNTED_BY = {"o200k_base": TokenModel(ProviderKind.OPENAI, "gpt-4o"), "cl100k_base": TokenModel(ProviderKind.OPENAI, "gpt-4")}
# Small current models, suggested where nothing was used here before; looked through on 2026-11-21.
SMALL_MODELS = (
    "gpt-6-luna",
    "claude-haiku-5-5",
    "gpt-5.6-luna",
    "gpt-5.4-mini",
    "claude-haiku-4-5",
    "gpt-5-mini",
    "text-embedding-3-small",
)


MOST_HISTORIES = 3  # models whose output tokens are taken from finished jobs in the table; each costs a file


@dataclass(frozen=True, slots=True)
class Counts:
    """Input tokens of each sampled row by encoding, before a model's factor; how many rows of the sample could not be filled in."""

    raw: Mapping[str, Sequence[int]]
    n_rows: int
    n_failed: int

    def for_model(self, tokens: TokenModel) -> list[int]:
        factor = tokens.factor
        return [int((n * factor).to_integral_value(ROUND_CEILING)) for n in self.raw[tokens.rule.encoding]]


@dataclass(frozen=True, slots=True)
class Known:
    """What the workspace knows beside the price lists, read once: overrides by kind, calibrations, and models that have a history."""

    overrides: Mapping[str, Mapping[str, Any]]
    calibrations: Mapping[tuple[str, str], Decimal]
    used: frozenset[str]


@dataclass(frozen=True, slots=True)
class Offer:
    """One model on one connection: its prices, and what this draft would cost on it."""

    connection: Connection
    model: str
    sheet: PriceSheet
    estimate: Estimate
    context_window: int | None
    longest: int  # tokens of the longest row of the sample, at the upper end
    batch: bool  # the connection can carry batches
    listed: bool  # shown without asking for all models
    marks: frozenset[str] = field(default=frozenset())  # chosen, suggested, cheapest, small
    why: str = ""  # why it is suggested

    @property
    def fits(self) -> bool:
        """False only where the sample's longest row is known not to fit."""
        return self.context_window is None or self.longest <= self.context_window

    @property
    def key(self) -> str:
        return f"{self.connection.pk}:{self.model}"

    @property
    def fails_on_purpose(self) -> bool:
        """The sandbox's model for learning the way through failures; never suggested, for its answers teach nothing about cost."""
        return self.connection.is_sandbox and "+" in self.model

    @property
    def best_lane(self) -> Lane:
        return Lane.BATCH if self.batch else Lane.DIRECT

    def price(self, lane: str, kind: str) -> Decimal | None:
        tiers = self.sheet.tiers(lane)
        return tiers[0].price(kind) if tiers else None

    @property
    def direct_tier(self) -> Tier | None:
        return next(iter(self.sheet.tiers(Lane.DIRECT)), None)

    @property
    def batch_tier(self) -> Tier | None:
        return next(iter(self.sheet.tiers(Lane.BATCH)), None)

    @property
    def no_batch(self) -> str:
        """Why there is no batch price, in words."""
        return self.sheet.why_unknown(Lane.BATCH)

    def high(self, lane: str) -> Decimal | None:
        found = self.estimate.lanes[str(lane)]
        return found.high if found.high is not None else found.low

    @property
    def cost(self) -> Decimal | None:
        """The upper end on the best lane: what sorting and marks go by."""
        return self.high(self.best_lane)


def counts_of(draft: Job) -> Counts:
    """The counts of the draft's sample, out of the draft where they are there. Raises BadInput where the prompt cannot be filled in."""
    assert draft.dataset_version
    assert draft.prompt_version
    kind = draft.prompt_version.kind
    key = f"{draft.dataset_version.pk}:{draft.prompt_version.pk}:{kind}"
    known = draft.draft.get("counts", {})
    if known.get("key") != key:
        sample = sample_of(draft.dataset_version, draft.prompt_version)
        schema = draft.prompt_version.schema if kind == PromptKind.GENERATE else None
        raw = {name: [tokens.count_request(kind, *texts, schema) for texts in sample.texts] for name, tokens in _COUNTED_BY.items()}
        known = {"key": key, "raw": raw, "n_failed": sample.n_failed}
        drafts.keep(draft, counts=known)
    return Counts(known["raw"], draft.dataset_version.n_rows, known["n_failed"])


def estimate_of(draft: Job) -> Estimate:
    """The estimate of the draft as it is, for the whole table: from a pilot with these settings if there is one."""
    assert draft.connection
    if draft.n_settled_rounds and (found := pilot.estimate_from(draft, drafts.plan_of(draft))) is not None:
        return found
    return _offer(draft, draft.connection, _named(draft.model), counts_of(draft), _known(draft)).estimate


def rows_left(draft: Job) -> int:
    """How many rows a launch would still send: all but those that succeeded in a pilot with the same settings."""
    if not draft.n_settled_rounds:
        return draft.n_rows
    chosen = pilot.rest(draft, drafts.plan_of(draft))
    return draft.n_rows if chosen is None else len(chosen.rows)


def offers_of(draft: Job) -> list[Offer]:
    """Every model of the workspace's connections, unsorted, with the marks. Raises BadInput as `counts_of` does."""
    assert draft.prompt_version
    counts, facts = counts_of(draft), _known(draft)
    connections = list(Connection.objects.filter(workspace=draft.workspace, archived_at__isnull=True).order_by("is_sandbox", "name"))
    made: dict[tuple[str, str], Offer] = {}
    found = []
    for connection in connections:
        for entry in models_of(connection, draft.workspace, draft.prompt_version.kind, facts.overrides.get(connection.kind, {})):
            known = made.get((connection.kind, entry.id))
            if known is None or known.connection.is_sandbox != connection.is_sandbox:
                known = made[(connection.kind, entry.id)] = _offer(draft, connection, entry, counts, facts)
            found.append(replace(known, connection=connection))
    if draft.connection and draft.model and not any(_is_chosen(draft, offer) for offer in found):
        found.append(_offer(draft, draft.connection, _named(draft.model), counts, facts))
    return _marked(draft, found)


def _named(model: str) -> ModelEntry:
    return ModelEntry(model, None, has_batch=True, has_flex=False, deprecated=False)


def _known(draft: Job) -> Known:
    assert draft.prompt_version
    overrides: dict[str, dict[str, Any]] = {}
    for kind, model, prices in PriceOverride.objects.filter(workspace=draft.workspace).values_list("kind", "model", "prices"):
        overrides.setdefault(kind, {})[model] = prices
    learned = Calibration.objects.filter(workspace=draft.workspace, estimated_tokens__gt=0)
    finished = Job.objects.filter(
        workspace=draft.workspace, state__in=history.FINISHED, prompt_version__prompt_id=draft.prompt_version.prompt_id
    )
    used = finished.order_by("-finished_at").values_list("model", flat=True)[:200]
    return Known(
        overrides,
        {(row.kind, row.model): Decimal(row.observed_tokens) / Decimal(row.estimated_tokens) for row in learned},
        frozenset({*list(dict.fromkeys(used))[:MOST_HISTORIES], *({draft.model} & set(used))}),
    )


def _offer(draft: Job, connection: Connection, entry: ModelEntry, counts: Counts, facts: Known) -> Offer:
    assert isinstance(draft.prompt_version, PromptVersion)
    prices = facts.overrides.get(connection.kind, {})
    priced = entry.id.partition("+")[0] if connection.is_sandbox else entry.id
    sheet = price_sheet(connection.kind, priced, overrides=prices, today=timezone.localdate())
    tokens = TokenModel(connection.kind, priced, facts.calibrations.get((history.counter_of(connection), entry.id)))
    each = counts.for_model(tokens)
    most = spec_for(draft.prompt_version, entry.id, changes=drafts.changes_of(draft)).max_output_tokens
    past = connection if entry.id in facts.used else None
    output = output_basis(draft.prompt_version, most, past, entry.id)
    estimate = estimate_from_counts(sheet, each, counts.n_rows, output, margin=tokens.margin, basis=tokens.basis)
    estimate = timed(estimate, sheet, connection, entry.id)
    able = connection.kind != ProviderKind.OPENAI or entry.has_batch or connection.is_sandbox
    return Offer(
        connection=connection,
        model=entry.id,
        sheet=sheet,
        estimate=estimate,
        context_window=entry.context_window,
        longest=int(max(each, default=0) * (1 + tokens.margin)) + (most or 0),
        batch=able,
        listed=not entry.deprecated and (entry.has_batch or entry.id in prices or connection.kind == ProviderKind.OPENAI_COMPATIBLE),
    )


def _is_chosen(draft: Job, offer: Offer) -> bool:
    return offer.connection.pk == draft.connection_id and offer.model == draft.model


def _marked(draft: Job, found: list[Offer]) -> list[Offer]:
    """The chosen one, the cheapest that surely fits, and a sensible default with its reason."""
    honest = [offer for offer in found if not offer.fails_on_purpose]
    sure = [offer for offer in honest if offer.listed and offer.fits and offer.context_window and offer.cost is not None]
    cheapest = min(sure, key=lambda offer: (offer.cost, offer.connection.is_sandbox), default=None)
    suggested, why = _suggested(draft, found, sure, cheapest)
    marked = []
    for offer in found:
        marks = {"chosen"} if _is_chosen(draft, offer) else set()
        marks |= {"cheapest"} if offer is cheapest else set()
        marks |= {"small"} if offer.model in SMALL_MODELS else set()
        if offer is suggested:
            marked.append(replace(offer, marks=frozenset(marks | {"suggested"}), why=why, listed=True))
        else:
            marked.append(replace(offer, marks=frozenset(marks), listed=offer.listed or "chosen" in marks))
    return marked


def _suggested(draft: Job, found: list[Offer], sure: list[Offer], cheapest: Offer | None) -> tuple[Offer | None, str]:
    """What was used last for this prompt, else in this workspace; else a small current model; else the cheapest."""
    assert draft.prompt_version
    by_key = {offer.key: offer for offer in found if offer.fits and not offer.fails_on_purpose}
    past = Job.objects.filter(workspace=draft.workspace, prompt_version__kind=draft.prompt_version.kind).exclude(state=JobState.DRAFT)
    recent = list(past.order_by("-created_at").values_list("prompt_version__prompt_id", "connection_id", "model")[:50])
    recent.sort(key=lambda item: item[0] != draft.prompt_version.prompt_id)  # type: ignore[union-attr]
    for prompt_id, connection_id, model in recent:
        if offer := by_key.get(f"{connection_id}:{model}"):
            return offer, "used last for this prompt" if prompt_id == draft.prompt_version.prompt_id else "used last here"
    for real in (True, False):
        for name in SMALL_MODELS:
            offer = next((o for o in sure if o.model == name and o.connection.is_sandbox != real), None)
            if offer:
                return offer, "small and current" if real else "to try things out, free of charge"
    return cheapest, "the cheapest that fits"
