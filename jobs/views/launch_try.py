"""The step that tries rows: what would be sent for a few of them, and, once a person says so, their answers in real time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from jobs.costs.tokens import TokenModel, schema_texts
from jobs.engine import drafts, offers, pilot, preview
from jobs.engine.cancel import stop_try
from jobs.engine.preview import Rendered
from jobs.errors import BadInput
from jobs.formats import about, usd, usd_range
from jobs.forms.launch import TryChoice, TryForm
from jobs.models import Job
from jobs.views.launch import page, step, wants_part
from jobs.words import Lane, OutcomeKind, PromptKind

LIVE_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Compared:
    """A field of an answer, now and in the try before ("" where there was none)."""

    name: str
    value: str
    before: str
    changed: bool


@dataclass(frozen=True, slots=True)
class TryRow:
    """One row: what would be sent, with its tokens, its latest answer, and the one before, each with the try that it is of."""

    rendered: Rendered
    tokens: int
    tried: pilot.Tried | None = None
    of: pilot.Pilot | None = None
    before: pilot.Tried | None = None
    of_before: pilot.Pilot | None = None
    fields: Sequence[Compared] = field(default=())

    @property
    def kind(self) -> OutcomeKind | None:
        return OutcomeKind(self.tried.kind) if self.tried and self.tried.kind != "pending" else None

    @property
    def comparable(self) -> bool:
        """Whether it has an outcome in both tries."""
        return bool(self.kind and self.before and self.before.kind != "pending")

    @property
    def changed(self) -> bool:
        """Whether the two tries told different things."""
        if not self.comparable or self.tried is None or self.before is None:
            return False
        if self.tried.parsed is not None and self.before.parsed is not None:
            return self.tried.parsed != self.before.parsed
        return (self.tried.kind, self.tried.answer) != (self.before.kind, self.before.answer)


@require_http_methods(["GET", "POST"])
@step
def try_rows(request: HttpRequest, draft: Job) -> HttpResponse:
    """Which rows, and what is sent for them. A POST sends them in real time; the same token never sends twice."""
    if draft.dataset_version is None or draft.prompt_version is None or not draft.model:
        return redirect("launch", pk=draft.pk)
    choice = TryForm(request.POST if request.method == "POST" else request.GET).choice()
    chosen = _rows(draft.dataset_version.n_rows, choice)
    context: dict[str, Any] = {"choice": choice, "next_seed": choice.seed + 1, "counts": (3, 5, 10, 20, 50), "problem": ""}
    if request.method == "POST" and "stop" in request.POST:
        try:
            stop_try(draft, request.user)  # type: ignore[arg-type]
        except BadInput as error:
            context["problem"] = str(error)
            return page(request, draft, "try", {**context, **_shown(draft, chosen)}, 422)
        return redirect(f"{reverse('launch-try', args=[draft.pk])}?{choice.query}")
    if request.method == "POST":
        try:
            pilot.start(draft, request.user, drafts.plan_of(draft), chosen, token=request.POST.get("token", "")[:64])  # type: ignore[arg-type]
            return redirect(f"{reverse('launch-try', args=[draft.pk])}?{choice.query}")
        except BadInput as error:
            if str(error) == drafts.GONE:
                raise
            context["problem"] = str(error)
            return page(request, draft, "try", {**context, **_shown(draft, chosen)}, 422)
    if wants_part(request):
        return render(request, "jobs/_launch_try_rows.html", {**context, **_shown(draft, chosen), "draft": draft})
    return page(request, draft, "try", {**context, **(_shown(draft, chosen) if request.GET.get("now") else {})})


def _rows(n_rows: int, choice: TryChoice) -> list[int]:
    if choice.how == "chosen":
        return [row for row in choice.numbers if row < n_rows]
    return list(range(min(choice.n, n_rows))) if choice.how == "first" else preview.sample_rows(n_rows, choice.n, choice.seed)


def _shown(draft: Job, chosen: list[int]) -> dict[str, Any]:
    """The rows filled in, their tokens, their answers so far, and what a try of them would cost."""
    assert draft.dataset_version
    assert draft.prompt_version
    assert draft.connection
    prompt = draft.prompt_version
    tokens = TokenModel(draft.connection.kind, draft.model.partition("+")[0])
    schema = prompt.schema if prompt.kind == PromptKind.GENERATE else None
    found = preview.render(draft.dataset_version, prompt.system, prompt.user, chosen, count=schema_texts(schema))
    tries = pilot.pilots_of(draft)
    last = tries[-1] if tries else None
    answers: dict[int, list[tuple[pilot.Pilot, pilot.Tried]]] = {}
    for each in reversed(tries):
        for row in each.rows:
            answers.setdefault(row.row, []).append((each, row))
    counts = [0 if row.error else tokens.count_request(prompt.kind, row.system, row.user, schema) for row in found.rows]
    rows = [_row(row, n, answers.get(row.row, [])) for row, n in zip(found.rows, counts, strict=True)]
    return {
        "rows": rows,
        "template_problem": found.problem,
        "last": last,
        "stale": last is not None and last.done and not pilot.same_settings(last.round, drafts.plan_of(draft)),
        "compared": compared_words(rows),
        "n_errors": sum(bool(row.rendered.error) for row in rows),
        "running": last is not None and not last.done,
        "price": _price(draft, len(rows)),
        "token": f"try-{len(tries) + 1}-{draft.launch_token}",
        "every": LIVE_SECONDS,
    }


def _row(rendered: Rendered, tokens: int, answers: list[tuple[pilot.Pilot, pilot.Tried]]) -> TryRow:
    """A row with its newest answers first."""
    if not answers:
        return TryRow(rendered, tokens)
    (of, tried), (of_before, before) = answers[0], answers[1] if len(answers) > 1 else (None, None)
    return TryRow(rendered, tokens, tried, of, before, of_before, fields_of(tried.parsed, before.parsed if before else None))


def fields_of(now: dict[str, Any] | None, before: dict[str, Any] | None) -> list[Compared]:
    """The fields of an answer beside those of the one before; none where the answer has no fields."""
    if now is None:
        return []
    old = before or {}
    names = [*now, *(name for name in old if name not in now)]
    return [Compared(name, _text(now.get(name)), _text(old.get(name)), bool(old) and now.get(name) != old.get(name)) for name in names]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def compared_words(rows: Sequence[TryRow]) -> str:
    """How the answers differ from the tries before, in a sentence; "" where no row was tried twice."""
    both = [(row.tried, row.before) for row in rows if row.comparable and row.tried and row.before]
    if not both:
        return ""
    n_changed = sum(row.changed for row in rows)
    said = [f"{n_changed:,} of {len(both):,} answers differ from the try before"]
    costs = [[each.cost for each in side] for side in zip(*both, strict=True)]
    if all(cost is not None for side in costs for cost in side):
        now, before = (sum((cost for cost in side if cost is not None), Decimal(0)) for side in costs)
        said.append(f"these rows cost {usd(now)}, before {usd(before)}")
    tokens = [sum(each.output_tokens for each in side) for side in zip(*both, strict=True)]
    said.append(f"{tokens[0]:,} tokens out, before {tokens[1]:,}")
    return "; ".join(said) + "."


def _price(draft: Job, n: int) -> str:
    """What a try of so many rows costs in real time, as the button says it, "" if unknown. Counting here readies the review."""
    try:
        lane = offers.estimate_of(draft).lanes[str(Lane.DIRECT)]
    except BadInput:
        return ""
    if lane.low is None or not draft.n_rows:
        return ""
    part = Decimal(n) / draft.n_rows
    low, high = lane.low * part, None if lane.high is None else lane.high * part
    return about(usd_range(low, high))
