"""A job's money and frozen settings in words: paid, saved, estimate, prices, and about what a retry costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from jobs import formats
from jobs.costs.estimate import Estimate
from jobs.costs.prices import PriceSheet
from jobs.costs.receipt import money
from jobs.models import Batch, Job
from jobs.words import CLOSED, TOKEN_KIND_LABELS, Lane


@dataclass(frozen=True, slots=True)
class Money:
    """Dollars of a job so far. `paid` is None where no price is known (`why` says so); estimates are of the job's lane."""

    paid: Decimal | None
    realtime: Decimal | None
    saved: Decimal | None
    saved_share: str
    estimate: str
    estimate_note: str
    n_unpriced: int
    why: str
    places: int

    @property
    def paid_words(self) -> str:
        return dollars(self.paid, self.places)

    @property
    def realtime_words(self) -> str:
        return dollars(self.realtime, self.places)

    @property
    def saved_words(self) -> str:
        return dollars(self.saved, self.places)


def link(name: str, *args: Any) -> str:
    """The address of a page, or "" where this installation has no such page."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""


def money_of(job: Job) -> Money:
    """Paid, real time and estimate; unknown prices are said, never shown as zero."""
    sheet = PriceSheet.from_json(job.sheet) if job.sheet else None
    known = sheet is not None and bool(sheet.tiers(job.lane))
    why = "" if known else (sheet.why_unknown(job.lane) if sheet else "No price is known.")
    estimate, note = "–", "no estimate was made"
    if job.estimate.get("lanes"):
        lane = Estimate.from_json(job.estimate).lanes.get(job.lane)
        if lane is not None:
            estimate, note = formats.usd_range(lane.low, lane.high), lane.reason or "when it was launched"
    nothing = bool(job.n_done) and not job.n_unpriced and not job.paid_usd  # where no row was charged, no price is needed to know it
    paid = job.paid_usd if known or nothing else None
    realtime = job.realtime_usd if known else None
    saved = realtime - paid if paid is not None and realtime is not None else None
    share = f"{money(saved * 100 / realtime, 0)} % less than real time" if saved is not None and realtime else "against real time"
    places = formats.usd_places([realtime]) if realtime else 2
    return Money(paid, realtime, saved, share, estimate, note, job.n_unpriced, why, places)


def dollars(amount: Decimal | None, places: int) -> str:
    """Dollars at the precision of their neighbours; nothing is `$0`, unknown is `–`."""
    return formats.usd(amount, places)


def uncertain_most(job: Job, rows: Mapping[str, int] | None = None) -> Decimal | None:
    """The most that rows may have cost of which nobody knows whether they were charged: `rows` of each batch (by hex id), or of all
    rounds. None where that has no bound. One query."""
    total = Decimal(0)
    found = Batch.objects.filter(job=job, state__in=CLOSED)
    for pk, usage in (found if rows is None else found.filter(pk__in=list(rows))).values_list("pk", "usage"):
        of_all = usage.get("unknown_rows", 0)
        n = of_all if rows is None else rows[pk.hex]
        if n and usage.get("unknown_usd") is None:
            return None
        total += Decimal(usage["unknown_usd"]) * n / of_all if n else 0
    return total


def uncertain_words(n: int, most: Decimal | None) -> str:
    """Rows that may have been charged, as a clause: `whether 3 rows were charged is not known (at most $0.0042)`."""
    if not n:
        return ""
    bound = "" if most is None else f" (at most {formats.usd(most)})"
    return f"whether {formats.count(n, 'row was', 'rows were')} charged is not known{bound}"


def settings_of(job: Job) -> tuple[tuple[str, str, str], ...]:
    """What was frozen at launch: label, value, address."""
    assert job.connection is not None
    assert job.dataset_version is not None
    assert job.prompt_version is not None
    version, prompt = job.dataset_version, job.prompt_version
    most = job.spec.get("max_output_tokens")
    lines = [
        ("Dataset", f"{version}, {formats.count(version.n_rows, 'row')}", link("dataset-detail", version.dataset_id)),
        ("Prompt", str(prompt), link("prompt-detail", prompt.prompt_id)),
        ("Model", job.model, ""),
        ("Connection", job.connection.name, link("connection-list")),
        ("Lane", Lane(job.lane).label, ""),
        ("Max output tokens", f"{most:,}" if most else "no limit set", ""),
        *((name.replace("_", " ").capitalize(), str(value), "") for name, value in (job.spec.get("params") or {}).items()),
        ("Attempts per row", f"at most {job.max_attempts}", ""),
    ]
    if job.cap_usd is not None:
        lines.append(("Spending limit", formats.usd(job.cap_usd), ""))
    if job.launched_at:
        by = f" by {job.created_by.get_username()}" if job.created_by else ""
        lines.append(("Launched", f"{timezone.localtime(job.launched_at):%-d %b %Y, %H:%M}{by}", ""))
    return tuple(lines)


def prices_of(job: Job) -> tuple[tuple[tuple[str, str, str], ...], str]:
    """The frozen prices per million tokens on this lane and in real time, and where they come from."""
    sheet = PriceSheet.from_json(job.sheet) if job.sheet else None
    tiers = sheet.tiers(job.lane) if sheet else ()
    if sheet is None or not tiers:
        return (), sheet.why_unknown(job.lane) if sheet else "No price is known."
    direct = sheet.tiers(Lane.DIRECT)
    kinds = [kind for kind in TOKEN_KIND_LABELS if not kind.startswith("cache_write")]
    known = [tier.price(kind) for tier in (tiers[0], *direct[:1]) for kind in kinds]
    places = max(2, *(-int(price.normalize().as_tuple().exponent) for price in known))
    lines = []
    for kind in kinds:
        shown = f"{direct[0].price(kind):.{places}f}" if direct else "–"
        lines.append((TOKEN_KIND_LABELS[kind], f"{tiers[0].price(kind):.{places}f}", shown))
    note = f"{sheet.source}, {sheet.as_of}"
    return tuple(lines), f"{note}; other prices above {tiers[1].above:,} input tokens a row" if len(tiers) > 1 else note


def cost_per_row(job: Job) -> Decimal | None:
    """What a row of this job costs, as observed: the mean of its rows that succeeded, else of all answers; None where unknown."""
    answered = job.n_succeeded + job.n_invalid
    if not answered or job.n_unpriced or (job.sheet and not job.sheet.get("known")):
        return None
    if job.n_succeeded:
        return max(Decimal(0), job.paid_usd - job.wasted_usd) / job.n_succeeded
    return job.paid_usd / answered


def about(n_rows: int, per_row: Decimal | None) -> str:
    """ ", about $0.40" behind a number of rows, or "" where no price is known."""
    if per_row is None:
        return ""
    return f", {price_words(per_row * n_rows)}"


def price_words(amount: Decimal) -> str:
    """As a button says it: `about $0.40`, `under $0.0001`."""
    text = formats.usd(amount)
    return f"under {text[1:]}" if text.startswith("<") else f"about {text}"
