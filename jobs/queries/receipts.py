"""A receipt as a person reads it: rounded once, so that every shown column adds up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal

from jobs.costs.estimate import Estimate
from jobs.costs.receipt import TIME, UNHEARD, Line, Receipt, RoundTotal, Total, money, shown
from jobs.formats import usd_places
from jobs.models import Job
from jobs.words import TOKEN_KIND_LABELS, JobState, Lane

ZERO = Decimal(0)
_OTHER_LABELS = {TIME: "Seconds of the server", UNHEARD: "Rows without an answer"}


@dataclass(slots=True)
class ReceiptLine:
    """A kind of token in a round and tier. Amounts are rounded dollars, None where no price is known. A line of time (`is_time`) has
    seconds in place of tokens, and the price of an hour; one of rows that may have been charged (`is_rows`) their number."""

    round: int
    kind: str
    above: int
    tokens: int
    price: Decimal | None
    paid: Decimal | None
    wasted: Decimal | None
    realtime: Decimal | None
    is_time: bool = False
    is_rows: bool = False


@dataclass(frozen=True, slots=True)
class ReceiptRound:
    """A round with its lines, and their sums as shown."""

    number: int
    reason: str
    lane: str
    rows: int
    lines: list[ReceiptLine]
    paid: Decimal | None
    wasted: Decimal | None
    realtime: Decimal | None
    n_uncertain: int  # rows of which nobody knows whether they were charged


@dataclass(frozen=True, slots=True)
class Expected:
    """The estimate against what was paid: `words` compares them."""

    low: Decimal | None
    high: Decimal | None
    basis: str
    words: str


@dataclass(frozen=True, slots=True)
class ReceiptPage:
    """What the page of a receipt shows. `paid`, `realtime` and `wasted` are the sums of their columns; `uncertain` is in neither."""

    receipt: Receipt
    rounds: list[ReceiptRound]
    places: int
    paid: Decimal | None
    wasted: Decimal | None
    realtime: Decimal | None
    saved: Decimal | None
    saved_percent: str
    uncertain: list[ReceiptLine]
    uncertain_total: Decimal | None
    n_unpaid_tokens: int
    expected: Expected | None
    over: bool
    waste_percent: str = ""
    tiers: bool = field(default=False)

    @property
    def at_least(self) -> bool:
        return self.receipt.paid.at_least

    @property
    def no_per_thousand(self) -> str:
        """Why there is no price of 1,000 rows that succeeded, "" where there is one."""
        if self.receipt.per_succeeded is not None:
            return ""
        return "a price is not known" if self.receipt.standings.get("succeeded") else "so what 1,000 cost is not known"


def receipt_page(job: Job, receipt: Receipt) -> ReceiptPage:
    """Lay out a receipt of the job as it stands."""
    places = _places([receipt.paid.amount, receipt.realtime.amount, receipt.uncertain.amount])
    lines = _merged(line for line in receipt.lines if line.billed == "paid")
    _round(lines, places)
    rounds = [_round_of(each, [line for line in lines if line.round == each.number], places) for each in receipt.rounds]
    paid, wasted, realtime = (_sum([getattr(line, name) for line in lines], places) for name in ("paid", "wasted", "realtime"))
    wasted = None if receipt.wasted.amount is None else wasted
    uncertain = _merged(line for line in receipt.lines if line.billed == "unknown")
    _round(uncertain, places)
    saved = _saved(receipt, paid, realtime, places)
    over = JobState(job.state).terminal
    return ReceiptPage(
        receipt=receipt,
        rounds=rounds,
        places=places,
        paid=paid,
        wasted=wasted,
        realtime=realtime,
        saved=saved,
        saved_percent=_percent(receipt.saved.amount, receipt.realtime.amount) if saved is not None else "",
        uncertain=uncertain,
        uncertain_total=_sum([line.paid for line in uncertain], places) if uncertain and not receipt.uncertain.at_least else None,
        n_unpaid_tokens=sum(line.tokens for line in receipt.lines if line.billed == "unpaid"),
        expected=_expected(receipt.estimate, job.lane, receipt.paid, over),
        over=over,
        waste_percent=_percent(receipt.wasted.amount, receipt.paid.amount),
        tiers=len({line.above for line in lines}) > 1,
    )


def _merged(lines: Iterable[Line]) -> list[ReceiptLine]:
    """Lines that differ only in whether they came to use are one, with its wasted part beside."""
    found: dict[tuple[int, int, str], ReceiptLine] = {}
    for line in lines:
        key = (line.round, line.tier, line.kind)
        label = _OTHER_LABELS.get(line.kind) or TOKEN_KIND_LABELS[line.kind]
        each = ReceiptLine(line.round, label, line.above, 0, line.price, ZERO, ZERO, ZERO, line.kind == TIME, line.kind == UNHEARD)
        each = found.setdefault(key, each)
        each.tokens += round(line.tokens / 1000) if each.is_time else line.tokens
        each.paid = _plus(each.paid, line.amount)
        each.realtime = _plus(each.realtime, line.realtime)
        if not line.useful:
            each.wasted = _plus(each.wasted, line.amount)
        elif line.amount is None:
            each.wasted = None
    return list(found.values())


def _plus(sum_: Decimal | None, part: Decimal | None) -> Decimal | None:
    return None if sum_ is None or part is None else sum_ + part


def _round(lines: Sequence[ReceiptLine], places: int) -> None:
    """Round each column so that its parts add up to its rounded total. A trace that rounds to nothing stays, and is shown as one."""
    for name in ("paid", "wasted", "realtime"):
        known = [line for line in lines if getattr(line, name) is not None]
        for line, value in zip(known, shown([getattr(line, name) for line in known], places), strict=True):
            setattr(line, name, value or getattr(line, name))


def _round_of(each: RoundTotal, lines: list[ReceiptLine], places: int) -> ReceiptRound:
    paid, wasted, realtime = (_sum([getattr(line, name) for line in lines], places) for name in ("paid", "wasted", "realtime"))
    return ReceiptRound(each.number, each.reason.label, each.lane.label, each.rows, lines, paid, wasted, realtime, each.uncertain_rows)


def _places(amounts: Sequence[Decimal | None]) -> int:
    """Decimals of a receipt: as anywhere, but four digits that say something where even the largest amount is small."""
    largest = max((abs(amount) for amount in amounts if amount is not None), default=ZERO)
    return max(usd_places(amounts), min(8, 3 - largest.adjusted())) if largest else 2


def _sum(parts: Sequence[Decimal | None], places: int) -> Decimal | None:
    """What is known of a column, as shown; None where nothing is, and zero for an empty one."""
    known = [part for part in parts if part is not None]
    if parts and not known:
        return None
    rounded = sum((part.quantize(Decimal(1).scaleb(-places), ROUND_DOWN) for part in known), ZERO)
    return rounded or sum(known, ZERO)  # of traces alone a trace


def _saved(receipt: Receipt, paid: Decimal | None, realtime: Decimal | None, places: int) -> Decimal | None:
    """By subtraction, so that the three shown numbers agree; over the lines with both prices where some have none."""
    if receipt.saved.amount is None or paid is None or realtime is None:
        return None
    if receipt.paid.at_least or receipt.realtime.at_least:
        return money(receipt.saved.amount, places)
    return realtime - paid


def _percent(part: Decimal | None, whole: Decimal | None) -> str:
    return f"{money(part * 100 / whole, 0)} %" if part and whole else ""


def _expected(estimate: Estimate | None, lane: str, paid: Total, over: bool) -> Expected | None:
    if estimate is None or lane not in estimate.lanes:
        return None
    lane_estimate = estimate.lanes[lane]
    low, high = lane_estimate.low, lane_estimate.high
    if low is None and high is None:
        return Expected(None, None, "", lane_estimate.reason or "No estimate could be made.")
    return Expected(low, high, " ".join(estimate.basis), _compared(low, high, paid, over))


def _compared(low: Decimal | None, high: Decimal | None, paid: Total, over: bool) -> str:
    amount = paid.amount
    if amount is None or paid.at_least:
        return "What was paid is not wholly known, so it cannot be compared."
    if high is not None and amount > high:
        return f"{_distance(amount, high)} above the upper end."
    if not over:
        return "The job is not over yet."
    if low is not None and amount < low:
        return f"{_distance(amount, low)} below the lower end."
    return "Within the estimate."


def _distance(amount: Decimal, end: Decimal) -> str:
    return f"{money(abs(amount - end) * 100 / end, 0) or 1} %" if end else "All of it"


def csv_rows(job: Job, receipt: Receipt) -> list[list[str | int]]:
    """Every line of the receipt with exact amounts, then the totals; unknown amounts are empty."""
    rows: list[list[str | int]] = [
        ["round", "reason", "lane", "kind", "tier_above", "billed", "useful", "tokens", "usd_per_million", "amount_usd", "realtime_usd"]
    ]  # of the kind `time`: milliseconds, and dollars an hour
    rows += [
        [
            *(line.round, str(line.reason), str(line.lane), line.kind, line.above, line.billed, "yes" if line.useful else "no"),
            *(line.tokens, _exact(line.price), _exact(line.amount), _exact(line.realtime)),
        ]
        for line in receipt.lines
    ]
    lane = str(Lane(job.lane))
    for name in ("paid", "wasted", "uncertain", "realtime", "saved"):
        total: Total = getattr(receipt, name)
        unbound = name == "uncertain" and total.at_least
        rows.append(["total", name, lane, "", "", "", "", "", "", "" if unbound else _exact(total.amount), ""])
    return rows


def _exact(amount: Decimal | None) -> str:
    return "" if amount is None else format(amount, "f")
