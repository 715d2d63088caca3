"""What is the same in every row's prompt, and how it could stand first: a provider's cache holds the start of a request alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jinja2 import Environment, TemplateSyntaxError

from jobs.errors import BadTemplate
from jobs.rows.template import compile_template

_LEXER = Environment(keep_trailing_newline=True, autoescape=False)  # noqa: S701 - it only splits a text; nothing is rendered
_GAP = re.compile(r"\n[ \t]*\n\s*")
_OPENS, _CLOSES = frozenset({"if", "for"}), frozenset({"endif", "endfor"})


@dataclass(frozen=True, slots=True)
class FixedFirst:
    """Both templates with the fixed paragraphs of the user's moved behind the system's; `moved` are those, as in the template."""

    system: str
    user: str
    moved: tuple[str, ...]


def fixed_first(system: str, user: str, variables: Collection[str] = (), headers: Collection[str] = ()) -> FixedFirst | None:
    """The proposal, or None where nothing could move. `variables` and `headers` name columns that hold one same value in all rows.

    Only whole paragraphs at the start and at the end of the user template move, each as it is and in their order. One that ends with a
    colon is the label of what follows, or the cue to answer, and stays. A template that sets variables or trims white space is left alone.
    """
    parts = _paragraphs(user.replace("\r\n", "\n"))
    if parts is None:
        return None
    fixed = [_is_fixed(part, variables, headers) for part in parts]
    if all(fixed):
        return None
    stays = [not same or part.rstrip().endswith(":") for part, same in zip(parts, fixed, strict=True)]
    first, last = stays.index(True), len(stays) - 1 - stays[::-1].index(True)
    moved = (*parts[:first], *parts[last + 1 :])
    if not moved:
        return None
    whole = "\n\n".join([*([system.rstrip()] if system.strip() else []), *moved])
    return FixedFirst(whole, "\n\n".join(parts[first : last + 1]), tuple(moved))


def _paragraphs(text: str) -> list[str] | None:
    """The text cut at blank lines outside of blocks; None where it cannot be cut safely."""
    parts, now, depth = [], "", 0
    try:
        tokens = list(_LEXER.lex(text))
    except TemplateSyntaxError:
        return None
    opened = False
    for _, kind, value in tokens:
        if kind == "raw_begin" or (kind.endswith(("_begin", "_end")) and value.strip("\n ")[:1] + value.strip("\n ")[-1:] not in _PLAIN):
            return None
        if opened and kind == "name":
            if value == "set":
                return None
            depth += (value in _OPENS) - (value in _CLOSES)
            opened = False
        if kind == "block_begin":
            opened = True
        if kind != "data" or depth:
            now += value
            continue
        head, *rest = _GAP.split(value)
        now += head
        for piece in rest:
            parts.append(now)
            now = piece
    return [part.strip("\n") for part in (*parts, now) if part.strip()]


_PLAIN = frozenset({"{{", "}}", "{%", "%}", "{#", "#}"})


def _is_fixed(part: str, variables: Collection[str], headers: Collection[str]) -> bool:
    """Whether the paragraph is the same for every row."""
    try:
        template = compile_template(part)
    except BadTemplate:
        return False
    return not template.whole_row and set(template.variables) <= set(variables) and set(template.items) <= set(headers)


def shared_start(texts: Sequence[str]) -> str:
    """What all texts begin with."""
    if not texts:
        return ""
    least, most = min(texts), max(texts)  # what these two share, all between them do
    n = next((i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), min(len(least), len(most)))
    return least[:n]
