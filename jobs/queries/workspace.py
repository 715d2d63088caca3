"""What the pages of a workspace show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Exists, OuterRef, Sum
from django.utils import timezone

from jobs.models import AuditEntry, Batch, Membership, PriceOverride, Workspace
from jobs.queries.sandbox import counted_batches, only_sandbox
from jobs.words import TOKEN_KIND_LABELS, ProviderKind, Role

LOG_PAGE = 50


@dataclass(frozen=True, slots=True)
class Member:
    """`waiting`: was added and has not come yet, so another join link may be made."""

    membership: Membership
    name: str
    role: Role
    last_login: datetime | None
    waiting: bool
    is_me: bool

    @property
    def dialog_id(self) -> str:
        return f"remove-{self.membership.pk}"

    @property
    def dialog_title(self) -> str:
        return f"Remove {self.name}?"


@dataclass(frozen=True, slots=True)
class Month:
    """What was paid in the calendar month of the person's zone, against the cap."""

    paid: Decimal
    cap: Decimal | None
    sandbox: bool  # there is nothing but the sandbox, so it is no real money

    @property
    def over(self) -> bool:
        return self.cap is not None and self.paid >= self.cap


@dataclass(frozen=True, slots=True)
class Override:
    """An entered price; discounts in percent, prices in dollars per million tokens, None where the entry says nothing."""

    price: PriceOverride
    kind: str
    prices: Mapping[str, Decimal | None]
    batch: Decimal | None
    flex: Decimal | None
    by_lane: bool


@dataclass(frozen=True, slots=True)
class LogLine:
    entry: AuditEntry
    who: str
    detail: str


def members_of(workspace: Workspace, me: Any) -> list[Member]:
    """Admins first, then by name."""
    elsewhere = Membership.objects.filter(user=OuterRef("user")).exclude(workspace=workspace)
    found = workspace.memberships.select_related("user").annotate(elsewhere=Exists(elsewhere))
    lines = []
    for each in found:
        user = each.user
        new = not user.has_usable_password() and user.last_login is None and not user.is_staff and not user.is_superuser
        lines.append(Member(each, user.get_username(), Role(each.role), user.last_login, new and not each.elsewhere, user.pk == me.pk))
    return sorted(lines, key=lambda line: (-line.role.rank, line.name.lower()))


def month_of(workspace: Workspace) -> Month:
    start = timezone.localtime().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    counted = Batch.objects.filter(counted_batches(), job__workspace=workspace, settled_at__gte=start)
    paid = counted.aggregate(sum=Sum("paid_usd"))["sum"]
    return Month(paid or Decimal(0), workspace.monthly_cap_usd, only_sandbox(workspace))


def overrides_of(workspace: Workspace) -> list[Override]:
    found = workspace.price_overrides.select_related("created_by").order_by("kind", "model")
    return [_override(price) for price in found]


def _override(price: PriceOverride) -> Override:
    given = price.prices

    def number(name: str) -> Decimal | None:
        return None if given.get(name) is None else Decimal(str(given[name]))

    def share(name: str) -> Decimal | None:
        value = number(name)
        return None if value is None else value * 100

    prices = {kind: number(kind) for kind in (*TOKEN_KIND_LABELS, "per_hour")}
    kind = ProviderKind(price.kind).label
    return Override(price, kind, prices, share("batch_discount"), share("flex_discount"), "lanes" in given)


def log_page(workspace: Workspace, number: int, action: str = "") -> tuple[list[LogLine], int]:
    """A page of the audit log, newest first, and how many entries there are."""
    entries = AuditEntry.objects.filter(workspace=workspace)
    if action:
        entries = entries.filter(action=action)
    total = entries.count()
    first = (max(1, number) - 1) * LOG_PAGE
    found = entries.select_related("user")[first : first + LOG_PAGE]
    return [LogLine(entry, entry.user.get_username() if entry.user else "batchui", _words(entry.detail)) for entry in found], total


def log_actions(workspace: Workspace) -> list[str]:
    return sorted(AuditEntry.objects.filter(workspace=workspace).order_by().values_list("action", flat=True).distinct())


def _words(detail: Mapping[str, Any]) -> str:
    """What else an entry says: `key changed: yes; role: admin`."""
    shown = ((name.replace("_", " "), value) for name, value in detail.items() if value not in (None, "", [], {}))
    return "; ".join(f"{name}: {_word(value)}" for name, value in shown)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
