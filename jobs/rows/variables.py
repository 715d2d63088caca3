"""Jinja names for headers: unique, valid identifiers that stay readable."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

# Names that mean something else in a template, or that Jinja reads as a word of its own.
RESERVED = frozenset(
    {
        "row",
        "loop",
        "self",
        "caller",
        "varargs",
        "kwargs",
        "true",
        "false",
        "none",
        "and",
        "or",
        "not",
        "in",
        "is",
        "if",
        "elif",
        "else",
        "endif",
        "for",
        "endfor",
        "set",
        "endset",
        "block",
        "endblock",
        "macro",
        "endmacro",
        "call",
        "endcall",
        "filter",
        "endfilter",
        "include",
        "import",
        "from",
        "as",
        "with",
        "without",
        "context",
        "extends",
        "recursive",
        "do",
        "raw",
        "endraw",
        "autoescape",
        "namespace",
        "cycler",
        "joiner",
        "range",
        "dict",
        "lipsum",
        "super",
        "scoped",
        "required",
        "ignore",
        "missing",
        "pluralize",
        "trans",
        "endtrans",
    }
)
_LONGEST = 60
_FOLDED = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i"})


def variable_names(headers: list[str]) -> list[str]:
    """One name a header, in order: `Ticket Text` → `ticket_text`, empty third → `column_3`, a double gets `_2`."""
    taken: set[str] = set()
    names = []
    for position, header in enumerate(headers, 1):
        base = _identifier(header) or f"column_{position}"
        name, n = base, 2
        while name in taken:
            name, n = f"{base}_{n}", n + 1
        taken.add(name)
        names.append(name)
    return names


def column_of(columns: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """The column (of the ledger's list) that a template means by `name`: its variable, or its very header where that is a name that a
    template can have; of doubled headers the first. None where there is none."""
    for column in columns:
        if column["variable"] == name:
            return column
    header = unicodedata.normalize("NFC", name)
    return next((column for column in columns if unicodedata.normalize("NFC", str(column["name"])) == header), None)


def _identifier(header: str) -> str:
    split = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", header)  # camelCase
    # Latin accents fold away; letters of other scripts stay, as Jinja takes them.
    folded = unicodedata.normalize("NFKD", split.casefold().translate(_FOLDED))
    plain = unicodedata.normalize("NFKC", "".join(c for c in folded if not unicodedata.combining(c)))
    name = re.sub(r"_+", "_", "".join(c if f"a{c}".isidentifier() else "_" for c in plain)).strip("_")[:_LONGEST].strip("_")
    if not name:
        return ""
    if not name.isidentifier():
        name = f"column_{name}"
    if name in RESERVED or keyword.iskeyword(name):
        name += "_"
    return name
