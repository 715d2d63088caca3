"""Rendered prompts of a few rows, in a bounded child."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.costs.tokens import remember
from jobs.engine import places
from jobs.errors import BadInput, BadTemplate
from jobs.models import DatasetVersion
from jobs.rows.child import ChildDied, run_child

SECONDS = 8.0
MEMORY = 512_000_000


@dataclass(frozen=True, slots=True)
class Rendered:
    """One row: its cells by column key, and both texts, or what went wrong in words."""

    row: int
    cells: dict[str, str | None]
    system: str = ""
    user: str = ""
    error: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    rows: list[Rendered] = field(default_factory=list)
    problem: str = ""  # the template as a whole cannot be used


def render(
    version: DatasetVersion,
    system: str,
    user: str,
    rows: Sequence[int],
    *,
    cells: bool = True,
    seconds: float = SECONDS,
    count: Sequence[str] | None = None,
) -> Preview:
    """Both texts for the given rows; with `count` the child counts the tokens of these texts and of its own, so that nobody has to here.
    A template that cannot be used, or takes too long, is a problem in words, not an exception."""
    request = {
        "table": str(places.table_of(version)),
        "columns": version.columns,
        "system": system,
        "user": user,
        "rows": sorted({row for row in rows if 0 <= row < version.n_rows}),
        "cells": cells,
        "count": None if count is None else list(count),
    }
    try:
        answer = run_child("jobs.engine.preview_child", request, seconds=seconds, memory_bytes=MEMORY, file_bytes=8_000_000)
    except BadTemplate as error:
        return Preview(problem=f"Line {error.line}: {error.message}" if error.line else error.message)
    except (ChildDied, BadInput) as error:
        return Preview(problem=f"The prompt could not be filled in: {error}")
    remember(answer["counted"] or [])
    return Preview([Rendered(**item) for item in answer["rows"]])


def count_apart(texts: Sequence[str]) -> None:
    """Have the tokens of these texts counted in a child and remembered here, so that `TokenModel` finds them. Raises ChildDied."""
    remember(run_child("jobs.engine.count_child", {"texts": list(texts)}, seconds=SECONDS, memory_bytes=MEMORY)["counted"])


def sample_rows(n_rows: int, size: int, seed: int = 7) -> list[int]:
    """`size` rows spread over the table, the same ones each time, so that an estimate does not flicker."""
    if n_rows <= size:
        return list(range(n_rows))
    return sorted(random.Random(seed * 1_000_003 + n_rows).sample(range(n_rows), size))
