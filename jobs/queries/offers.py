"""The table of models and the bill of a launch, as shown: filtered, sorted, in words. What an offer is, the engine says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from jobs.costs.estimate import Estimate
from jobs.formats import UNKNOWN, about, usd_most, usd_range
from jobs.models import Connection, Job, Workspace
from jobs.providers.registry import abilities_of
from jobs.words import Lane

PER_PAGE = 25
WORTH = Decimal("0.7")  # of the picked model's cost: less of a saving is not worth another model's answers


class Offer(Protocol):
    """What `jobs.engine.offers.Offer` has, as far as it is shown."""

    @property
    def connection(self) -> Connection: ...
    @property
    def model(self) -> str: ...
    @property
    def estimate(self) -> Estimate: ...
    @property
    def context_window(self) -> int | None: ...
    @property
    def listed(self) -> bool: ...
    @property
    def fits(self) -> bool: ...
    @property
    def marks(self) -> frozenset[str]: ...
    @property
    def key(self) -> str: ...
    @property
    def best_lane(self) -> Lane: ...
    @property
    def cost(self) -> Decimal | None: ...
    def high(self, lane: str) -> Decimal | None: ...
    def price(self, lane: str, kind: str) -> Decimal | None: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters and order of the table as the URL has them; `pick` is the model that is ticked now."""

    text: str = ""
    connection: str = ""
    show: str = ""  # "all": also models without a batch price, and old ones
    sort: str = "cost"
    pick: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One model as shown; ranges are words, "" where nothing is known."""

    offer: Any
    picked: bool
    direct: str
    batch: str
    flex: str
    saving: str
    unknown: str  # why there is no price, "" where there is one
    says: str  # the choice in one line


@dataclass(frozen=True, slots=True)
class Table:
    lines: list[Line]
    number: int
    total: int  # that match
    n_listed: int
    n_all: int
    has_flex: bool
    pinned: bool  # the first line is the picked one, which would not stand on this page
    smaller: str  # what a smaller model would take instead of the picked one, in words; "" where none takes much less


@dataclass(frozen=True, slots=True)
class LaneChoice:
    lane: Lane
    able: bool
    range: str
    takes: str
    why: str  # why it cannot be chosen, or has no price


@dataclass(frozen=True, slots=True)
class Bill:
    """The money of a launch."""

    estimate: Estimate
    n_rows: int
    left: int
    lanes: list[LaneChoice]
    range: str  # dollars on the chosen lane for the rows still to send, "" where the price is unknown
    words: str  # the same in words
    why: str  # why the price is unknown
    ceiling: Decimal | None
    saving: str
    realtime: str
    button: str

    @property
    def priced(self) -> bool:
        return bool(self.range)

    @property
    def ceiling_words(self) -> str:
        """Rounded up as the range's upper end is, so that the one is never above the other."""
        return usd_most(self.ceiling) if self.ceiling is not None else UNKNOWN

    @property
    def tried(self) -> int:
        return self.n_rows - self.left


def connections(workspace: Workspace) -> list[tuple[str, str]]:
    found = Connection.objects.filter(workspace=workspace, archived_at__isnull=True).order_by("is_sandbox", "name")
    return [(str(pk), name) for pk, name in found.values_list("pk", "name")]


def default_connection(workspace: Workspace, chosen: UUID | None = None) -> str:
    """The connection that a model by name is looked for on at first: the chosen one, else one that was tested well, else one that was
    not tested; one whose test failed, or that has a problem now, comes last."""
    found = list(Connection.objects.filter(workspace=workspace, archived_at__isnull=True).order_by("is_sandbox", "name"))
    ranks = {True: 0, None: 1, False: 2}
    found.sort(key=lambda each: (each.pk != chosen, bool(each.problem), ranks[each.test_ok]))
    return str(found[0].pk) if found else ""


def page_of(offers: Sequence[Offer], wanted: Wanted, number: int) -> Table:
    """One page of the models that match, best first; what is picked always stands on it."""
    picked = wanted.pick or next((offer.key for offer in offers if "chosen" in offer.marks), "")
    picked = picked or next((offer.key for offer in offers if "suggested" in offer.marks), "")
    text = wanted.text.strip().lower()
    named = [offer for offer in offers if text in offer.model.lower() or text in offer.connection.name.lower()]
    named = [offer for offer in named if wanted.connection in ("", str(offer.connection.pk))]
    match = named if wanted.show == "all" else [offer for offer in named if offer.listed]
    _sort(match, wanted.sort)
    number = min(max(1, number), max(1, -(-len(match) // PER_PAGE)))
    shown = match[(number - 1) * PER_PAGE : number * PER_PAGE]
    pinned = [offer for offer in offers if offer.key == picked and offer not in shown]
    has_flex = any(offer.high(Lane.FLEX) is not None for offer in shown)
    lines = [_line(offer, picked) for offer in [*pinned, *shown]]
    n_listed = sum(offer.listed for offer in offers)
    return Table(lines, number, len(match), n_listed, len(offers), has_flex, bool(pinned), _smaller(offers, picked))


def _smaller(offers: Sequence[Offer], picked: str) -> str:
    """The same job on a smaller model of the same connection, where that takes a good deal less."""
    chosen = next((offer for offer in offers if offer.key == picked), None)
    if chosen is None or not chosen.cost:
        return ""
    limit = chosen.cost * WORTH
    fits = [offer for offer in offers if "small" in offer.marks and offer.fits and offer.connection.pk == chosen.connection.pk]
    less = [(offer.cost, offer) for offer in fits if offer.cost is not None and offer.cost <= limit and offer.model != chosen.model]
    if not less:
        return ""
    cost, offer = min(less, key=lambda pair: pair[0])
    lane = offer.estimate.lanes[str(offer.best_lane)]
    percent = int((1 - cost / chosen.cost) * 100)
    return (
        f"The same job on {offer.model}, a smaller model: {about(usd_range(lane.low, lane.high))}, {percent} % less than on {chosen.model}."
    )


def _sort(offers: list[Offer], sort: str) -> None:
    """Sort in place; unknown values are last in either direction, and what does not fit after what does."""
    keys: dict[str, Callable[[Offer], Any]] = {
        "model": lambda offer: offer.model,
        "context": lambda offer: offer.context_window,
        "direct": lambda offer: offer.high(Lane.DIRECT),
        "batch": lambda offer: offer.high(Lane.BATCH),
        "flex": lambda offer: offer.high(Lane.FLEX),
        "price": lambda offer: offer.price(Lane.DIRECT, "output"),
        "batchprice": lambda offer: offer.price(Lane.BATCH, "output"),
        "saving": lambda offer: (offer.estimate.saving(Lane.BATCH) or (None, None))[1],
        "cost": lambda offer: offer.cost,
    }
    key = keys.get(sort.lstrip("-"), keys["cost"])
    offers.sort(key=lambda offer: (offer.model, offer.connection.is_sandbox))
    known = [offer for offer in offers if key(offer) is not None]
    known.sort(key=key, reverse=sort.startswith("-"))
    offers[:] = [*known, *(offer for offer in offers if key(offer) is None)]
    if sort.lstrip("-") == "cost":
        offers.sort(key=lambda offer: not offer.fits)


def _line(offer: Offer, picked: str) -> Line:
    lanes = offer.estimate.lanes
    ranges = {lane: usd_range(found.low, found.high) if found.low is not None else "" for lane, found in lanes.items()}
    saving = offer.estimate.saving(Lane.BATCH)
    best = offer.best_lane
    said = ranges[best] or ranges[Lane.DIRECT]
    amount = f"{about(said)} {'in batch' if best == Lane.BATCH and ranges[best] else 'in real time'}" if said else "price unknown"
    return Line(
        offer=offer,
        picked=offer.key == picked,
        direct=ranges[Lane.DIRECT],
        batch=ranges[Lane.BATCH],
        flex=ranges[Lane.FLEX],
        saving=usd_range(*saving) if saving and saving[1] > 0 else "",
        unknown=lanes[str(Lane.DIRECT)].reason if not ranges[Lane.DIRECT] else "",
        says=f"{offer.model} on {offer.connection.name}, {amount}",
    )


def bill_of(draft: Job, estimate: Estimate, left: int, pace: str = "") -> Bill:
    """The estimate as the review page shows it, for the rows that are still to be sent. `pace`: how long batches took here, in words."""
    assert draft.connection
    lane = Lane(draft.lane)
    part = Decimal(left) / estimate.n_rows if estimate.n_rows else Decimal(0)
    ranges = {name: _scaled(found.low, found.high, part) for name, found in estimate.lanes.items()}
    chosen = ranges[str(lane)]
    ceiling = estimate.lanes[str(lane)].ceiling
    saving = estimate.saving(lane)
    rows = f"{left:,} row{'' if left == 1 else 's'}"
    return Bill(
        estimate=estimate,
        n_rows=estimate.n_rows,
        left=left,
        lanes=_lanes(draft.connection, estimate, ranges, pace),
        range=chosen,
        why=estimate.lanes[str(lane)].reason,
        words=about(chosen) if chosen else "price unknown",
        ceiling=None if ceiling is None else ceiling * part,
        saving=usd_range(saving[0] * part, saving[1] * part) if saving and saving[1] > 0 else "",
        realtime=ranges[str(Lane.DIRECT)],
        button=f"Launch {rows}, {about(chosen)}" if chosen else f"Launch {rows}, price unknown",
    )


def _scaled(low: Decimal | None, high: Decimal | None, part: Decimal) -> str:
    if low is None:
        return ""
    return usd_range(low * part, None if high is None else high * part)


def _lanes(connection: Connection, estimate: Estimate, ranges: dict[str, str], pace: str) -> list[LaneChoice]:
    able = abilities_of(connection.kind)
    can = {Lane.BATCH: able.batch, Lane.FLEX: able.flex, Lane.DIRECT: True}
    takes = {
        Lane.BATCH: f"Within 24 hours{pace or ', often much sooner'}. What has not run by then expires and is not charged.",
        Lane.FLEX: "Ordinary calls at a low priority: slower, and at busy times refused for a while.",
        Lane.DIRECT: "Starts at once, as fast as the connection's limits allow.",
    }
    lacks = {Lane.BATCH: "This connection has no batch API.", Lane.FLEX: "Only OpenAI has a flex tier."}
    found = []
    for lane in (Lane.BATCH, Lane.FLEX, Lane.DIRECT):
        why = lacks.get(lane, "") if not can[lane] else estimate.lanes[str(lane)].reason
        found.append(LaneChoice(lane, can[lane], ranges[str(lane)], takes[lane], why))
    return [choice for choice in found if choice.able or choice.lane == Lane.BATCH]
