"""The components that need a computation. Each renders one file of templates/components/, whose head names its parameters."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from math import ceil
from typing import Any

from django import template
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.forms import BoundField
from django.http import HttpRequest
from django.template import Context
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from jobs.templatetags.icons import icon

register = template.Library()
_SINGULAR = {"batches": "batch", "entries": "entry"}
register.simple_tag(icon, name="icon")

LEAST = 0.7  # percent: a single failed row among a million is still seen


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment of a stacked bar, placed; `x` and `width` are percentages as text."""

    tone: str
    label: str
    n: int
    href: str
    x: str
    width: str


def of(thing: Any, name: str, default: Any = "") -> Any:
    """An attribute or a key: components take dataclasses and dicts alike."""
    return thing.get(name, default) if isinstance(thing, Mapping) else getattr(thing, name, default)


def attributes(given: Mapping[str, Any]) -> SafeString:
    """`hx_post="/x", disabled=True, form=None` → ` hx-post="/x" disabled`."""
    kept = {k.rstrip("_").replace("_", "-"): v for k, v in given.items() if v is not None and v is not False and v != ""}
    return format_html_join("", " {}{}", ((k, "" if v is True else format_html_join("", '="{}"', [(v,)])) for k, v in kept.items()))


def place(segments: Iterable[Any], total: int | None) -> list[Piece]:
    """Give each segment its place on the bar. Whatever is left of `total` stays track; a segment is never too thin to see."""
    given = list(segments)
    whole = max(total or 0, sum(of(s, "n", 0) for s in given), 1)
    shares = [0.0 if not of(s, "n", 0) else max(LEAST, 100 * of(s, "n") / whole) for s in given]
    over = sum(shares) - 100
    if over > 0:
        shares[shares.index(max(shares))] -= over
    pieces, x = [], 0.0
    for segment, share in zip(given, shares, strict=True):
        pieces.append(
            Piece(of(segment, "tone"), of(segment, "label"), of(segment, "n", 0), of(segment, "href"), f"{x:.3f}%", f"{share:.3f}%")
        )
        x += share
    return pieces


@register.inclusion_tag("components/button.html")
def button(label: str, href: str = "", kind: str = "secondary", icon: str = "", small: bool = False, **attrs: Any) -> dict[str, Any]:
    solid = attrs.pop("solid", False)
    only_icon = attrs.pop("only_icon", False)
    attrs.setdefault("type", None if href else "submit")
    return {
        "label": label,
        "href": href,
        "kind": kind,
        "icon": icon,
        "small": small,
        "solid": solid,
        "only_icon": only_icon,
        "attrs": attributes(attrs),
    }


@register.inclusion_tag("components/badge.html")
def badge(look: Any, label: str = "") -> dict[str, Any]:
    look = getattr(look, "look", look)
    return {"tone": of(look, "tone"), "icon": of(look, "icon"), "label": label or of(look, "label")}


def _noun(plural: str, n: int) -> str:
    return _SINGULAR.get(plural, plural.removesuffix("s")) if n == 1 else plural


@register.inclusion_tag("components/bar.html")
def bar(segments: Iterable[Any], total: int | None = None, noun: str = "rows", legend: bool = True, thin: bool = False) -> dict[str, Any]:
    pieces = place(segments, total)
    # A segment whose tone is `track` is named and counted, but drawn by the empty track itself.
    shown = [p for p in pieces if p.n and p.tone != "track"]
    n = total or sum(p.n for p in pieces)
    return {"pieces": pieces, "shown": shown, "total": n, "noun": _noun(noun, n), "legend": legend, "thin": thin}


@register.inclusion_tag("components/progress.html")
def progress(done: int, total: int, failed: int = 0, tone: str = "active", note: str = "", noun: str = "rows") -> dict[str, Any]:
    segments = [{"tone": tone, "label": "Done", "n": done - failed}, {"tone": "bad", "label": "Failed", "n": failed}]
    shown = [p for p in place(segments, total) if p.n]
    return {"shown": shown, "done": done, "total": total, "failed": failed, "note": note, "noun": _noun(noun, total)}


@register.inclusion_tag("components/field.html")
def field(bound: BoundField, label: str = "", help: str = "", optional: bool | None = None, **attrs: Any) -> dict[str, Any]:
    kind = getattr(bound.field.widget, "input_type", "")
    said = [f"{bound.auto_id}_help"] if help or bound.help_text else []
    said += [f"{bound.auto_id}_error"] if bound.errors else []
    wanted = {k.rstrip("_").replace("_", "-"): v for k, v in attrs.items()} | ({"aria-describedby": " ".join(said)} if said else {})
    return {
        "bound": bound,
        "widget": bound.as_widget(attrs=wanted),
        "label": label or bound.label,
        "help": help or bound.help_text,
        "optional": not bound.field.required if optional is None else optional,
        "check": kind == "checkbox" and not hasattr(bound.field, "choices"),
        "group": getattr(bound.field.widget, "use_fieldset", False),
    }


@register.inclusion_tag("components/th.html", takes_context=True)
def th(context: Context, label: str, key: str = "", num: bool = False, target: str = "", css: str = "", first: str = "") -> dict[str, Any]:
    """A heading of a column; with `key`, a link that sorts by it. `first` is `-` where a first click should sort downwards."""
    request: HttpRequest = context["request"]
    now = request.GET.get("sort", "") or str(context.get("sort", ""))
    current = now.lstrip("-") == key and bool(key)
    down = now.startswith("-")
    following = (key if down else f"-{key}") if current else f"{first or ('-' if num else '')}{key}"
    return {
        "label": label,
        "num": num,
        "css": css,
        "href": _query(request, sort=following, page=None) if key else "",
        "aria": ("descending" if down else "ascending") if current else "",
        "icon": ("down" if down else "up") if current else "sort",
        "target": target or context.get("target", ""),
    }


@register.inclusion_tag("components/pagination.html", takes_context=True)
def pagination(
    context: Context, number: int, total: int, per_page: int, noun: str = "rows", target: str = "", param: str = "page"
) -> dict[str, Any]:
    """First, previous, numbers, next, last, and a field to jump where there are many pages. `number` is from 1, `noun` a plural."""
    request: HttpRequest = context["request"]
    last = max(1, ceil(total / per_page))
    number = min(max(1, number), last)
    near = sorted({1, last} | {n for n in range(number - 2, number + 3) if 1 <= n <= last})
    links: list[dict[str, Any]] = []
    for before, n in zip([0, *near], near, strict=False):
        if n - before == 2:
            links.append({"n": n - 1, "href": _query(request, **{param: n - 1})})
        elif n - before > 2:
            links.append({"n": 0, "href": ""})
        links.append({"n": n, "href": _query(request, **{param: n}), "current": n == number})
    return {
        "links": links,
        "number": number,
        "last": last,
        "total": total,
        "noun": _noun(noun, total),
        "param": param,
        "from": (number - 1) * per_page + 1 if total else 0,
        "to": min(total, number * per_page),
        "previous": _query(request, **{param: number - 1}) if number > 1 else "",
        "next": _query(request, **{param: number + 1}) if number < last else "",
        "hidden": [(k, v) for k, values in request.GET.lists() for v in values if k != param],
        "path": request.path,
        "target": target or context.get("target", ""),
    }


@register.inclusion_tag("components/diff.html")
def diff(old: str, new: str, old_name: str = "before", new_name: str = "after") -> dict[str, Any]:
    """Lines that were taken away and added, with their numbers."""
    a, b = old.splitlines(), new.splitlines()
    lines: list[dict[str, Any]] = []
    for op, i1, i2, j1, j2 in difflib.SequenceMatcher(a=a, b=b, autojunk=False).get_opcodes():
        if op == "equal":
            lines += [{"kind": "", "mark": "", "a": i1 + k + 1, "b": j1 + k + 1, "text": a[i1 + k]} for k in range(i2 - i1)]
            continue
        lines += [{"kind": "del", "mark": "−", "a": i + 1, "b": "", "text": a[i]} for i in range(i1, i2)]
        lines += [{"kind": "add", "mark": "+", "a": "", "b": j + 1, "text": b[j]} for j in range(j1, j2)]
    n_added, n_removed = (sum(line["kind"] == kind for line in lines) for kind in ("add", "del"))
    return {"lines": lines, "n_added": n_added, "n_removed": n_removed, "old_name": old_name, "new_name": new_name}


@register.inclusion_tag("components/money.html")
def money(amount: Decimal | None, places: int | None = None, why: str = "price unknown") -> dict[str, Any]:
    return {"amount": amount, "places": places, "why": why}


@register.inclusion_tag("components/live.html")
def live_line(every: int = 0) -> dict[str, Any]:
    return {"every": every}


@register.simple_block_tag(takes_context=True, end_name="endconfirm")
def confirm(context: Context, content: str, id: str, title: str, action: str, button: str, danger: bool = False) -> SafeString:
    return _render(context, "confirm", content, id=id, title=title, action=action, button=button, danger=danger)


@register.simple_block_tag(takes_context=True, end_name="enddialog")
def dialog(context: Context, content: str, id: str, title: str, wide: bool = False) -> SafeString:
    return _render(context, "dialog", content, id=id, title=title, wide=wide)


@register.simple_block_tag(takes_context=True, end_name="enddrawer")
def drawer(context: Context, content: str, id: str, title: str, previous: str = "", next: str = "", close: str = "") -> SafeString:
    return _render(context, "drawer", content, id=id, title=title, previous=previous, next=next, close=close)


@register.simple_block_tag(takes_context=True, end_name="endmenu")
def menu(
    context: Context,
    content: str,
    id: str,
    label: str,
    icon: str = "",
    small: bool = False,
    only_icon: bool = False,
    kind: str = "secondary",
) -> SafeString:
    return _render(context, "menu", content, id=id, label=label, icon=icon, small=small, only_icon=only_icon, kind=kind)


@register.simple_block_tag(takes_context=True, end_name="endnotice")
def notice(context: Context, content: str, tone: str = "active", title: str = "") -> SafeString:
    return _render(context, "notice", content, tone=tone, title=title)


@register.simple_tag
@lru_cache(maxsize=50)
def static_if_there(path: str) -> str:
    """The address of a static file that set-up may not have brought (font, plotly), else an empty string."""
    try:
        return staticfiles_storage.url(path) if finders.find(path) or staticfiles_storage.exists(path) else ""
    except ValueError:  # found, but not in the manifest
        return ""


def _query(request: HttpRequest, **changes: Any) -> str:
    query = request.GET.copy()
    for key, value in changes.items():
        if value is None:
            query.pop(key, None)
        else:
            query[key] = str(value)
    return f"{request.path}?{query.urlencode()}" if query else request.path


def _render(context: Context, name: str, content: str, **values: Any) -> SafeString:
    assert context.template is not None
    engine = context.template.engine
    return engine.get_template(f"components/{name}.html").render(
        context.new({"content": content, "csrf_token": context.get("csrf_token"), **values})
    )
