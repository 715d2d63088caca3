"""From prompt version, model and parameters to the frozen request spec and price sheet of a job or round."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from django.utils import timezone

from jobs.costs.lookup import price_sheet
from jobs.costs.prices import PriceSheet
from jobs.errors import BadInput
from jobs.models import Connection, PriceOverride, PromptVersion, Workspace
from jobs.providers.base import RequestSpec
from jobs.providers.registry import encoder_for
from jobs.words import Lane, PromptKind

LIMITS = ("max_tokens", "max_completion_tokens")


def spec_for(version: PromptVersion, model: str, lane: Lane = Lane.BATCH, changes: dict[str, Any] | None = None) -> RequestSpec:
    """The request spec of a prompt version on a model, with `changes` to its parameters. A limit of the answer by the provider's own name
    is sent by that name, and is the limit that estimates and caps go by."""
    params = {**version.params, **(changes or {})}
    most, said = params.pop("max_output_tokens", None), [name for name in LIMITS if name in params]
    if said and (changes or {}).get("max_output_tokens"):
        params |= dict.fromkeys(said, most)
    elif said:  # what is no number from 1 on is no limit: some servers take -1 for answers without end
        bounds = [params[name] for name in said if type(params[name]) is int and params[name] > 0]
        most = max(bounds) if len(bounds) == len(said) else None
    cache = bool(params.pop("cache_prefix", False))
    return RequestSpec(
        kind=version.kind,
        model=model,
        max_output_tokens=int(most) if most and version.kind == PromptKind.GENERATE else None,
        schema=version.schema if version.kind == PromptKind.GENERATE else None,
        params={name: value for name, value in params.items() if value is not None},
        cache_prefix=cache,
        service_tier="flex" if lane == Lane.FLEX else "",
    )


def spec_to_json(spec: RequestSpec) -> dict[str, Any]:
    return asdict(spec)


def spec_from_json(data: dict[str, Any]) -> RequestSpec:
    known = {f.name for f in fields(RequestSpec)}
    return RequestSpec(**{name: value for name, value in data.items() if name in known})


def check_spec(connection: Connection, spec: RequestSpec) -> None:
    """Raise BadInput where the provider's kind cannot be told what the spec says; nothing is sent."""
    if not spec.model:
        raise BadInput("No model is chosen.", "Pick one from the table.")
    encoder_for(connection.kind, spec)("check-0", "", "x")


def overrides_of(workspace: Workspace, kind: str) -> dict[str, Any]:
    return dict(PriceOverride.objects.filter(workspace=workspace, kind=kind).values_list("model", "prices"))


def sheet_for(connection: Connection, model: str) -> PriceSheet:
    """Today's prices of the model on this connection, to be frozen; `known` is False where there are none."""
    return priced_by(connection, model, overrides_of(connection.workspace, connection.kind))


def priced_by(connection: Connection, model: str, overrides: dict[str, Any]) -> PriceSheet:
    """As `sheet_for`, with the overrides of the connection's kind at hand."""
    if connection.is_sandbox:  # there a model's name may carry orders for faults
        model = model.partition("+")[0]
    return price_sheet(connection.kind, model, overrides=overrides, today=timezone.localdate())
