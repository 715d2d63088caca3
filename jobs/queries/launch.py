"""What the steps of a launch offer: tables, prompts, and how far the draft is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.urls import reverse

from jobs.models import DatasetVersion, Job, PromptVersion, Workspace
from jobs.rows.template import Problem, check

MOST = 30  # choices shown at once; the search finds the others
MOST_VERSIONS = 2000
STEPS = (("data", "Data"), ("prompt", "Prompt"), ("model", "Model & price"), ("try", "Try rows"), ("review", "Review"))


@dataclass(frozen=True, slots=True)
class Step:
    label: str
    url: str
    state: str  # done | current | todo
    note: str


@dataclass(frozen=True, slots=True)
class Table:
    """A dataset to choose: its newest version first, the older ones behind it."""

    name: str
    newest: DatasetVersion
    older: list[DatasetVersion] = field(default_factory=list)
    chosen: str = ""  # the id of the version that is chosen, if it is one of these

    @property
    def columns(self) -> list[str]:
        return [column["name"] or column["variable"] for column in self.newest.columns]


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt to choose, with what keeps its newest version from the draft's table."""

    name: str
    newest: PromptVersion
    problems: Sequence[Problem]
    older: list[PromptVersion] = field(default_factory=list)
    chosen: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Choices that match, and how many more there are."""

    items: list[Any]
    more: int


def steps_of(draft: Job | None, current: str) -> list[Step]:
    """The five steps with what was chosen. A step can be gone to once everything before it is chosen."""
    done = {
        "data": str(draft.dataset_version) if draft and draft.dataset_version else "",
        "prompt": str(draft.prompt_version) if draft and draft.prompt_version else "",
        "model": draft.model if draft and draft.connection_id else "",
    }
    reached = ["data", *(["prompt"] if done["data"] else []), *(["model"] if done["data"] and done["prompt"] else [])]
    if all(done.values()):
        reached += ["try", "review"]
    found = []
    for key, label in STEPS:
        url = (reverse(f"launch-{key}", args=[draft.pk]) if draft else reverse("launch-new")) if key in reached else ""
        state = "current" if key == current else "done" if done.get(key) else "todo"
        found.append(Step(label, url, state, done.get(key, "")))
    return found


def tables(workspace: Workspace, text: str, chosen: DatasetVersion | None) -> Found:
    """Datasets whose name or file matches, the latest read first; the chosen one always among them."""
    versions = DatasetVersion.objects.filter(dataset__workspace=workspace, dataset__archived_at__isnull=True, state=DatasetVersion.READY)
    if text:
        versions = versions.filter(dataset__name__icontains=text)
    ordered = versions.select_related("dataset").defer("profile", "reading", "notes").order_by("-created_at")[:MOST_VERSIONS]
    groups: dict[Any, list[DatasetVersion]] = {}
    for version in ordered:
        groups.setdefault(version.dataset_id, []).append(version)
    made = []
    for group in groups.values():
        group.sort(key=lambda version: -version.number)
        mine = chosen if chosen is not None and chosen.dataset_id == group[0].dataset_id else None
        made.append(Table(group[0].dataset.name, group[0], group[1:6], str(mine.pk) if mine else ""))
    return _first(made)


def prompts(workspace: Workspace, text: str, columns: Sequence[Mapping[str, Any]], chosen: PromptVersion | None) -> Found:
    """Prompts whose name or text matches; those that fit the table first, then the newest."""
    versions = PromptVersion.objects.filter(prompt__workspace=workspace, prompt__archived_at__isnull=True)
    if text:
        versions = versions.filter(prompt__name__icontains=text)
    groups: dict[Any, list[PromptVersion]] = {}
    for version in versions.select_related("prompt").order_by("-created_at")[:MOST_VERSIONS]:
        groups.setdefault(version.prompt_id, []).append(version)
    made = []
    for group in groups.values():
        group.sort(key=lambda version: -version.number)
        mine = chosen if chosen is not None and chosen.prompt_id == group[0].prompt_id else None
        shown = mine or group[0]
        made.append(
            Text(group[0].prompt.name, group[0], check(shown.system, shown.user, columns), group[1:6], str(mine.pk) if mine else "")
        )
    made.sort(key=lambda item: (not item.chosen, bool(item.problems)))
    return _first(made)


def _first(made: list[Any]) -> Found:
    ordered = sorted(made, key=lambda item: not item.chosen)
    return Found(ordered[:MOST], max(0, len(ordered) - MOST))
