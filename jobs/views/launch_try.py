"""The step that tries rows: what would be sent for a few of them, and, once a person says so, their answers in real time."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods

from jobs.costs.tokens import TokenModel
from jobs.engine import drafts, offers, pilot, preview
from jobs.engine.preview import Rendered
from jobs.errors import BadInput
from jobs.formats import usd_range
from jobs.forms.launch import TryForm
from jobs.models import Job
from jobs.views.launch import page, step, wants_part
from jobs.words import Lane, OutcomeKind, PromptKind

LIVE_SECONDS = 1


@dataclass(frozen=True, slots=True)
class TryRow:
    """One row: what would be sent, with its tokens, and its answers in the last try and the one before."""

    rendered: Rendered
    tokens: int
    tried: pilot.Tried | None = None
    before: pilot.Tried | None = None

    @property
    def kind(self) -> OutcomeKind | None:
        return OutcomeKind(self.tried.kind) if self.tried and self.tried.kind != "pending" else None


@require_http_methods(["GET", "POST"])
@step
def try_rows(request: HttpRequest, draft: Job) -> HttpResponse:
    """Which rows, and what is sent for them. A POST sends them in real time; the same token never sends twice."""
    if draft.dataset_version is None or draft.prompt_version is None or not draft.model:
        return redirect("launch", pk=draft.pk)
    n, how, seed = TryForm(request.POST if request.method == "POST" else request.GET).chosen()
    chosen = _rows(draft.dataset_version.n_rows, n, how, seed)
    context: dict[str, Any] = {"n": n, "how": how, "seed": seed, "next_seed": seed + 1, "counts": (3, 5, 10, 20), "problem": ""}
    if request.method == "POST":
        try:
            pilot.start(draft, request.user, drafts.plan_of(draft), chosen, token=request.POST.get("token", "")[:64])  # type: ignore[arg-type]
            return redirect(f"{reverse('launch-try', args=[draft.pk])}?{urlencode([('n', str(n)), ('how', how), ('seed', str(seed))])}")
        except BadInput as error:
            context["problem"] = str(error)
            return page(request, draft, "try", {**context, **_shown(draft, chosen)}, 422)
    if wants_part(request):
        return render(request, "jobs/_launch_try_rows.html", {**context, **_shown(draft, chosen), "draft": draft})
    return page(request, draft, "try", {**context, **(_shown(draft, chosen) if request.GET.get("now") else {})})


def _rows(n_rows: int, n: int, how: str, seed: int) -> list[int]:
    return list(range(min(n, n_rows))) if how == "first" else preview.sample_rows(n_rows, n, seed)


def _shown(draft: Job, chosen: list[int]) -> dict[str, Any]:
    """The rows filled in, their tokens, their answers so far, and what a try of them would cost."""
    assert draft.dataset_version
    assert draft.prompt_version
    assert draft.connection
    prompt = draft.prompt_version
    found = preview.render(draft.dataset_version, prompt.system, prompt.user, chosen)
    tokens = TokenModel(draft.connection.kind, draft.model.partition("+")[0])
    schema = prompt.schema if prompt.kind == PromptKind.GENERATE else None
    tries = pilot.pilots_of(draft)
    last, before = [*reversed(tries), None, None][:2]
    answers = [{row.row: row for row in each.rows} if each else {} for each in (last, before)]
    rows = [
        TryRow(row, 0 if row.error else tokens.count_chat(row.system, row.user, schema), answers[0].get(row.row), answers[1].get(row.row))
        for row in found.rows
    ]
    return {
        "rows": rows,
        "template_problem": found.problem,
        "last": last,
        "before": before,
        "n_errors": sum(bool(row.rendered.error) for row in rows),
        "running": last is not None and not last.done,
        "price": _price(draft, len(rows)),
        "token": f"try-{len(tries) + 1}-{draft.launch_token}",
        "every": LIVE_SECONDS,
        "fields": list((schema or {}).get("properties", {})),
    }


def _price(draft: Job, n: int) -> str:
    """What a try of so many rows costs in real time, as a range, "" if unknown. Counting here readies the review."""
    try:
        lane = offers.estimate_of(draft).lanes[str(Lane.DIRECT)]
    except BadInput:
        return ""
    if lane.low is None or not draft.n_rows:
        return ""
    part = Decimal(n) / draft.n_rows
    return usd_range(lane.low * part, None if lane.high is None else lane.high * part)
