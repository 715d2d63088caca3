"""What the frame of every page shows: the way around, the workspace, the person's role. None or one query, and none for strangers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from jobs.access import looked_at, my_memberships

# key, words, icon, URL names that may stand for it (the first that exists)
SECTIONS = (
    ("home", "Home", "home", ("home",)),
    ("jobs", "Jobs", "jobs", ("job-list", "jobs")),
    ("datasets", "Datasets", "datasets", ("dataset-list", "datasets")),
    ("prompts", "Prompts", "prompts", ("prompt-list", "prompts")),
    ("costs", "Costs", "costs", ("costs", "cost-list")),
    ("connections", "Connections", "connections", ("connection-list", "connections")),
    ("workspace", "Workspace", "workspace", ("workspace-detail", "workspace")),
)


@dataclass(frozen=True, slots=True)
class Section:
    """An entry of the navigation; `key` is what a page sets as `nav`."""

    key: str
    label: str
    icon: str
    url: str
    current: bool


def frame(request: HttpRequest) -> dict[str, Any]:
    """`sections`, `nav`, and for a signed-in person `workspace`, `workspaces` and `role`.

    A view that knows better puts `workspace`, `role` or `nav` into its own context: that wins.
    """
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"sections": [], "workspace": None, "workspaces": [], "role": None, "nav": ""}
    nav = _nav(request)
    memberships = my_memberships(request)
    mine = getattr(request, "_membership", None) or looked_at(request, memberships)
    return {
        "sections": [Section(key, label, icon, url, key == nav) for key, label, icon, names in SECTIONS if (url := _url(names))],
        "nav": nav,
        "workspace": mine.workspace if mine else None,
        "workspaces": [m.workspace for m in memberships],
        "role": mine.role if mine else None,
    }


def _url(names: tuple[str, ...]) -> str:
    for name in names:
        try:
            return reverse(name)
        except NoReverseMatch:
            continue
    return ""


def _nav(request: HttpRequest) -> str:
    """The section that an address belongs to, by its first part."""
    first = request.path.strip("/").split("/")[0]
    return next((key for key, *_ in SECTIONS if key == first or key.rstrip("s") == first), "" if first else "home")
