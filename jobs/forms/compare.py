"""What is compared, out of the address: jobs, which two, which field, which cell of the confusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import QueryDict

from jobs.errors import BadInput

MOST_JOBS = 4
MOST_TEXT = 2_000


@dataclass(frozen=True, slots=True)
class Chosen:
    """`jobs` without repeats, the reference first; `other` is the one that is held against it. `pair` is a cell: (reference's, other's)."""

    jobs: tuple[UUID, ...]
    other: UUID | None = None
    field: str = ""
    pair: tuple[str, str] | None = None
    page: int = 1


def chosen_from(query: QueryDict) -> Chosen:
    """Raises BadInput with what cannot be read."""
    jobs = tuple(dict.fromkeys(_uuid(text) for text in map(str, query.getlist("jobs")) if text))
    if len(jobs) > MOST_JOBS:
        raise BadInput(f"{len(jobs)} jobs are too many for one page.", f"Choose at most {MOST_JOBS}.")
    other = _uuid(query.get("with", "")) if query.get("with") else None
    if other is not None and other not in jobs[1:]:
        raise BadInput("The job to compare with is not among the chosen ones.")
    page: Any = query.get("page") or "1"
    if not page.isascii() or not page.isdigit() or len(page) > 8 or not 1 <= int(page) <= 10**7:
        raise BadInput("The page in this address is not a number.")
    texts = [query.get(name, "") for name in ("field", "a", "b")]
    if any(len(text) > MOST_TEXT for text in texts):
        raise BadInput("A filter in this address is too long.")
    pair = (texts[1], texts[2]) if "a" in query and "b" in query else None
    return Chosen(jobs, other, texts[0], pair, int(page))


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadInput("A job in this address cannot be read.", "Choose the jobs again.") from None
