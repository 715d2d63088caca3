"""What an admin says models cost, and which models have no known price."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from jobs.costs.lookup import price_sheet
from jobs.costs.prices import PriceSheet
from jobs.engine import audit_log
from jobs.engine.estimates import models_of
from jobs.errors import BadInput
from jobs.models import Connection, Job, PriceOverride, Workspace
from jobs.words import Lane, ProviderKind


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A model that a connection offers or a job used, and the lanes whose price nobody knows. `nothing`: not even real time."""

    connection: Connection
    model: str
    used: bool
    nothing: bool
    reason: str


def save_price(workspace: Workspace, user: User, *, kind: str, model: str, prices: Mapping[str, str], note: str = "") -> PriceOverride:
    """Make or replace the price of a model ("*": all models of the kind). `prices` as `price_sheet` takes overrides. Raises BadInput.

    Launched jobs keep the sheet that they were launched with.
    """
    kind, model = ProviderKind(kind), model.strip()
    if not model:
        raise BadInput("Name the model.", "“*” stands for every model of the kind.")
    price_sheet(kind, model, overrides={model: dict(prices)}, today=timezone.localdate())
    with transaction.atomic():
        found, made = PriceOverride.objects.update_or_create(
            workspace=workspace, kind=kind, model=model, defaults={"prices": dict(prices), "note": note.strip()[:300], "created_by": user}
        )
        audit_log.write(workspace, user, "price entered" if made else "price changed", f"{kind.label} · {model}", **dict(prices))
    return found


def remove_price(price: PriceOverride, user: User) -> None:
    with transaction.atomic():
        price.delete()
        audit_log.write(price.workspace, user, "price removed", f"{ProviderKind(price.kind).label} · {price.model}")


def sheet_of(price: PriceOverride) -> PriceSheet:
    """The sheet that an override makes today."""
    return price_sheet(price.kind, price.model, overrides={price.model: price.prices}, today=timezone.localdate())


def unpriced_models(workspace: Workspace) -> list[Unpriced]:
    """Models that jobs used or connections offer without a known price; used ones first, then those without any price."""
    used: dict[object, set[str]] = {}
    for connection_id, model in Job.objects.filter(workspace=workspace).exclude(model="").values_list("connection_id", "model").distinct():
        used.setdefault(connection_id, set()).add(model)
    entered: dict[str, dict[str, object]] = {}
    for kind, model, prices in PriceOverride.objects.filter(workspace=workspace).values_list("kind", "model", "prices"):
        entered.setdefault(kind, {})[model] = prices
    today = timezone.localdate()
    found: dict[tuple[object, str], Unpriced] = {}
    for connection in Connection.objects.filter(workspace=workspace, archived_at__isnull=True).order_by("name"):
        mine = used.get(connection.pk, set())
        overrides = entered.get(connection.kind, {})
        for model in sorted(mine | _offered(connection, workspace, overrides)):
            name = model.partition("+")[0] if connection.is_sandbox else model
            sheet = price_sheet(connection.kind, name, overrides=overrides, today=today)
            lane = Lane.DIRECT if not sheet.tiers(Lane.DIRECT) else Lane.BATCH
            if not sheet.tiers(lane):
                found.setdefault(
                    (connection.pk, name), Unpriced(connection, name, model in mine, lane == Lane.DIRECT, sheet.why_unknown(lane))
                )
    return sorted(found.values(), key=lambda each: (not each.used, not each.nothing, each.connection.name, each.model))


def _offered(connection: Connection, workspace: Workspace, overrides: Iterable[str]) -> set[str]:
    """What the launch offers there. A provider's own list holds hundreds of models that do no text; only those that serve text count."""
    if connection.kind != ProviderKind.OPENAI_COMPATIBLE and not connection.is_sandbox:
        return set()
    return {entry.id for entry in models_of(connection, workspace, overrides=overrides)}
