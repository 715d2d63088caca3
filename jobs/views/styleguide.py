"""The living page of the visual language (staff only), and the choice of a theme."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET

from jobs.views.posting import only_post
from jobs.words import PENDING_LOOK, BatchState, Cause, JobState, OutcomeKind

THEME_SECONDS = 365 * 24 * 3600


class SampleForm(forms.Form):
    """Every kind of field once."""

    name = forms.CharField(max_length=60, help_text="How your team will find it in the list.")
    template = forms.CharField(widget=forms.Textarea(attrs={"rows": 5, "class": "mono"}), label="User prompt")
    model = forms.ChoiceField(choices=[("luna", "gpt-6-luna"), ("haiku", "claude-haiku-5")])
    max_tokens = forms.IntegerField(min_value=1, label="Most output tokens", help_text="Answers that reach it are cut off, and paid for.")
    note = forms.CharField(required=False)
    retry = forms.BooleanField(required=False, label="Retry passing failures by itself, at most 3 times")


@require_GET
@login_required
def styleguide(request: HttpRequest) -> HttpResponse:
    """Every component with made-up data; `?live=1` answers the live section alone, as a poll would."""
    if not request.user.is_staff:
        raise PermissionDenied
    return render(request, "jobs/styleguide.html", _samples())


@only_post("home")
def theme(request: HttpRequest) -> HttpResponse:
    """Remember light, dark or the system's theme in a cookie that the server reads, then go back."""
    chosen = request.POST.get("theme", "")
    back = request.META.get("HTTP_REFERER", "")
    parts = urlsplit(back)
    safe = url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure())
    response = redirect(f"{parts.path}?{parts.query}" if parts.query else parts.path or "/") if safe else redirect("/")
    if chosen in ("light", "dark"):
        response.set_cookie("theme", chosen, max_age=THEME_SECONDS, samesite="Lax", secure=request.is_secure())
    else:
        response.delete_cookie("theme", samesite="Lax")
    return response


def _samples() -> dict[str, Any]:
    now = timezone.now()
    bad = SampleForm({"name": "", "template": "Classify: {{ ticket_txt }}", "model": "luna", "max_tokens": "0"}, auto_id="bad_%s")
    return {
        "form": SampleForm(
            initial={"name": "Support tickets, intents", "template": "Classify the ticket.\n\n{{ ticket_text }}", "max_tokens": 256}
        ),
        "bad": bad,
        "job_states": list(JobState),
        "batch_states": list(BatchState),
        "outcomes": [*OutcomeKind],
        "pending": PENDING_LOOK,
        "tones": ("neutral", "active", "good", "warn", "bad", "off"),
        "segments": _segments(),
        "jobs": _jobs(now),
        "causes": _causes(),
        "figure": _figure(),
        "figure_columns": ("Day", "Paid", "Real time"),
        "figure_rows": [("Mon 16 Nov", "$41.20", "$82.40"), ("Tue 17 Nov", "$12.75", "$25.50"), ("Wed 18 Nov", "$64.02", "$128.04")],
        "events": _events(now),
        "moment": now - dt.timedelta(minutes=12),
        "pairs": [
            ("Model", "gpt-6-luna"),
            ("Connection", "OpenAI, production"),
            ("Dataset", "tickets_2026_q3.csv, version 4"),
            ("Prompt", "Intents, version 7"),
        ],
        "raw": '{"id": "batch_req_7f", "custom_id": "r1203", "response": {"status_code": 200, "body": {"choices": [{"message": {"content": '
        '"{\\"label\\": \\"refund\\"}"}}]}}}',
        "odd": "Invoice \u202e31-80-6202\u202c, total\u200b 1\u00a0240\x07 €",
        "old_prompt": "Classify the ticket.\nAnswer with one word.\n\n{{ ticket_text }}",
        "new_prompt": "You sort support tickets.\nAnswer with one of: refund, delivery, account, other.\n\n{{ ticket_text }}",
        "tabs": [
            {"label": "Overview", "url": "?", "current": True},
            {"label": "Failures", "url": "?tab=failures", "count": 1204},
            {"label": "Results", "url": "?tab=results", "count": 612400},
            {"label": "Receipt", "url": "?tab=receipt"},
        ],
        "steps": [
            {"label": "Data", "url": "?", "state": "done", "note": "tickets_2026_q3.csv"},
            {"label": "Prompt", "url": "?", "state": "done", "note": "Intents, version 7"},
            {"label": "Model & price", "url": "?", "state": "current", "note": "Not chosen yet"},
            {"label": "Try rows", "url": "", "state": "todo"},
            {"label": "Review", "url": "", "state": "todo"},
        ],
        "active": [("Status: failed", "?"), ("Model: gpt-6-luna", "?")],
        "crumbs": [("Jobs", "/jobs/")],
        "rows": _rows(),
    }


def _segments() -> list[dict[str, Any]]:
    counts = (
        ("good", "Succeeded", 611_196),
        ("warn", "Invalid", 18_342),
        ("bad", "Failed", 1_204),
        ("off", "Expired or cancelled", 9_120),
        ("track", "Pending", 360_138),
    )
    return [{"tone": tone, "label": label, "n": n, "href": f"?standing={label.split()[0].lower()}"} for tone, label, n in counts]


def _jobs(now: dt.datetime) -> list[dict[str, Any]]:
    rows = (
        ("Contract clauses, EU", JobState.COMPLETED_WITH_FAILURES, "claude-opus-5", 12_000, 12_000, 128, "402.77", 190),
        ("Support tickets, intents", JobState.RUNNING, "gpt-6-luna", 612_400, 1_000_000, 1_204, "184.20", 72),
        ("Catalogue EN to DE", JobState.PREPARING, "claude-haiku-5", 0, 48_200, 0, None, 4),
        ("Reviews, sentiment, week 46", JobState.COMPLETED, "gpt-6-nano", 250_000, 250_000, 0, "12.38", 1500),
        ("News archive, entities", JobState.FAILED, "gpt-6-luna", 96_000, 96_000, 96_000, "0.00", 2900),
        ("Comments, toxicity", JobState.CANCELLED, "gpt-6-nano", 830_112, 2_400_000, 0, "31.09", 7300),
    )
    return [
        {"name": name, "state": state, "model": model, "done": done, "total": total, "failed": failed,
         "cost": Decimal(cost) if cost else None, "started": now - dt.timedelta(minutes=age), "settled": state.terminal}
        for name, state, model, done, total, failed, cost, age in rows
    ]  # fmt: skip


def _causes() -> list[dict[str, Any]]:
    counts = (
        (Cause.SCHEMA_MISMATCH, 812, "59 %", "0.40"),
        (Cause.CONTEXT_TOO_LONG, 341, "25 %", "0"),
        (Cause.CONTENT_FILTERED, 214, "16 %", "0.11"),
    )
    return [{"cause": cause, "n": n, "share": share, "wasted": Decimal(wasted)} for cause, n, share, wasted in counts]


def _events(now: dt.datetime) -> list[dict[str, Any]]:
    told = (
        ("active", "half", "Batch 3 of 4 is being collected", "180,000 rows so far", 1),
        ("warn", "alert", "OpenAI answered 429 twice", "Looking again every 60 s; no row is lost.", 9),
        ("good", "check", "Batch 2 of 4 settled", "249,377 succeeded, 623 failed", 24),
        ("neutral", "circle", "Launched by mara", "1,000,000 rows, estimated $290–340", 72),
    )
    return [
        {"tone": tone, "icon": icon, "text": text, "more": more, "at": now - dt.timedelta(minutes=age)}
        for tone, icon, text, more, age in told
    ]


def _rows() -> list[dict[str, Any]]:
    texts = (
        "Where is my parcel? It was promised for Tuesday and the tracking page has said “in transit” since. "
        "I have written twice and nobody answers, please tell me what is going on.",
        "أين طردي؟ كان من المفترض أن يصل يوم الثلاثاء.",
        "請求書の金額が間違っています。確認してください。",
        "Refund please.",
    )
    answers = ("delivery", "delivery", None, "refund")
    kinds = (OutcomeKind.SUCCEEDED, OutcomeKind.SUCCEEDED, OutcomeKind.INVALID, OutcomeKind.SUCCEEDED)
    return [
        {"n": 1203 + i, "text": text, "answer": answer, "outcome": kind}
        for i, (text, answer, kind) in enumerate(zip(texts, answers, kinds, strict=True))
    ]


def _figure() -> dict[str, Any]:
    start = dt.date(2026, 11, 7)
    days = [(start + dt.timedelta(days=i)).isoformat() for i in range(14)]
    paid = [22.1, 31.4, 18.2, 51.0, 60.3, 29.9, 9.2, 7.7, 55.8, 70.1, 62.4, 84.9, 96.0, 58.3]
    return {
        "data": [
            {"type": "bar", "name": "Paid", "x": days, "y": paid, "marker": {"color": "series-1"}, "hovertemplate": "$%{y:.2f}"},
            {
                "type": "scatter",
                "mode": "lines",
                "name": "Real time",
                "x": days,
                "y": [round(v * 2, 2) for v in paid],
                "line": {"color": "series-2", "width": 2},
                "hovertemplate": "$%{y:.2f}",
            },
        ],
        "layout": {"yaxis": {"tickprefix": "$"}, "xaxis": {"tickformat": "%-d %b", "nticks": 7}, "hovermode": "x unified"},
    }
