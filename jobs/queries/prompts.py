"""What the pages of prompts show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, F, OuterRef, QuerySet, Subquery

from jobs.models import Dataset, DatasetVersion, Job, Prompt, PromptVersion, Workspace
from jobs.queries.datasets import person
from jobs.rows.schema import fields

PER_PAGE = 25
SORTS = {"name": "name", "versions": "n_versions", "saved": "saved_at", "used": "used_at"}
KIND_LABELS = {"generate": "Generate", "embed": "Embed", "moderate": "Moderate"}
TYPE_LABELS = {
    "label": "one of these labels",
    "text": "text",
    "number": "number",
    "integer": "whole number",
    "boolean": "yes/no",
    "list": "list",
    "json": "JSON",
}


@dataclass(frozen=True, slots=True)
class PromptLine:
    """A prompt in the list; kind, note and start are those of its newest version."""

    id: UUID
    name: str
    kind: str
    start: str
    fields: list[str]
    number: int
    n_versions: int
    dataset: str
    saved_at: datetime
    used_at: datetime | None
    owner: str


@dataclass(frozen=True, slots=True)
class PromptPage:
    lines: list[PromptLine]
    total: int
    number: int
    n_all: int
    n_archived: int


@dataclass(frozen=True, slots=True)
class VersionLine:
    number: int
    note: str
    made_at: datetime
    by: str
    n_jobs: int


@dataclass(frozen=True, slots=True)
class SchemaField:
    name: str
    type: str
    labels: tuple[str, ...]
    description: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of two versions beside each other."""

    title: str
    old: str
    new: str

    @property
    def same(self) -> bool:
        return self.old == self.new


def prompt_page(workspace: Workspace, *, text: str = "", sort: str = "-saved", number: int = 1, archived: bool = False) -> PromptPage:
    """A page of the workspace's prompts. Three queries, whatever the number."""
    mine = Prompt.objects.filter(workspace=workspace)
    counts = mine.aggregate(n=Count("pk"), n_archived=Count("archived_at"))
    shown = mine.filter(archived_at__isnull=not archived)
    if text:
        shown = shown.filter(name__icontains=text)
    total = shown.count()
    number = min(max(1, number), max(1, -(-total // PER_PAGE)))
    ordered = _ordered(shown, sort)[(number - 1) * PER_PAGE : number * PER_PAGE]
    return PromptPage([_line(each) for each in ordered], total, number, counts["n"] - counts["n_archived"], counts["n_archived"])


def _ordered(shown: QuerySet[Prompt], sort: str) -> QuerySet[Any]:
    newest = PromptVersion.objects.filter(prompt=OuterRef("pk")).order_by("-number")
    used = Job.objects.filter(prompt_version__prompt=OuterRef("pk"), launched_at__isnull=False).order_by("-launched_at")
    annotated = shown.annotate(
        **{f"latest_{name}": Subquery(newest.values(name)[:1]) for name in ("kind", "user", "schema", "number")},
        saved_at=Subquery(newest.values("created_at")[:1]),
        n_versions=Count("versions", distinct=True),
        used_at=Subquery(used.values("launched_at")[:1]),
    ).select_related("created_by", "dataset")
    field = SORTS.get(sort.lstrip("-"), "saved_at")
    order = F(field).desc(nulls_last=True) if sort.startswith("-") else F(field).asc(nulls_last=True)
    return annotated.order_by(order, "name", "pk")


def _line(each: Any) -> PromptLine:
    start = " ".join((each.latest_user or "").split())
    return PromptLine(
        id=each.pk,
        name=each.name,
        kind=KIND_LABELS.get(each.latest_kind, each.latest_kind or ""),
        start=start[:139] + "…" if len(start) > 140 else start,
        fields=[name for name, _ in fields(each.latest_schema)],
        number=each.latest_number or 0,
        n_versions=each.n_versions,
        dataset=each.dataset.name if each.dataset else "",
        saved_at=each.saved_at,
        used_at=each.used_at,
        owner=person(each.created_by),
    )


def version_of(prompt: Prompt, number: int | None) -> PromptVersion | None:
    """A version by its number, else the newest."""
    versions = prompt.versions.select_related("created_by")
    return versions.filter(number=number).first() if number else versions.order_by("-number").first()


def version_lines(prompt: Prompt) -> list[VersionLine]:
    """All versions, newest first."""
    versions = prompt.versions.select_related("created_by").annotate(n_jobs=Count("jobs")).order_by("-number")
    return [VersionLine(each.number, each.note, each.created_at, person(each.created_by), each.n_jobs) for each in versions]


def schema_fields(schema: dict[str, Any] | None) -> list[SchemaField]:
    """The fields of an output schema, for a person."""
    properties = (schema or {}).get("properties") or {}
    found = []
    for name, kind in fields(schema):
        part = properties[name] if isinstance(properties[name], dict) else {}
        labels = tuple(str(label) for label in part.get("enum", ())) if kind == "label" else ()
        found.append(SchemaField(name, TYPE_LABELS[kind], labels, str(part.get("description") or "")))
    return found


def differences(old: PromptVersion, new: PromptVersion) -> list[Part]:
    """What two versions hold, part by part, as text of lines."""
    return [
        Part("Kind", KIND_LABELS.get(old.kind, old.kind), KIND_LABELS.get(new.kind, new.kind)),
        Part("System prompt", old.system, new.system),
        Part("User prompt", old.user, new.user),
        Part("Output schema", _json(old.schema), _json(new.schema)),
        Part("Parameters", params_text(old.params), params_text(new.params)),
    ]


def _json(schema: Any) -> str:
    return "" if schema is None else json.dumps(schema, ensure_ascii=False, indent=2)


def params_text(params: dict[str, Any]) -> str:
    """`name = value`, one a line; values as JSON where they are not plain text."""
    return "\n".join(f"{name} = {param_text(value)}" for name, value in params.items())


def param_text(value: Any) -> str:
    """A value as it is typed: text without quotes unless it would be read as something else."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value, ensure_ascii=False)


def dataset_choices(workspace: Workspace, keep: UUID | None = None) -> list[tuple[UUID, str]]:
    """Datasets that a prompt may be written against, newest first; `keep` is among them even when archived."""
    found = Dataset.objects.filter(workspace=workspace, versions__isnull=False).distinct().order_by("-created_at")
    return [
        (each.pk, each.name) for each in found.only("id", "name", "archived_at", "created_at") if not each.archived_at or each.pk == keep
    ]


def newest_table(workspace: Workspace, dataset_id: UUID | None) -> DatasetVersion | None:
    """The newest version of one of the workspace's datasets."""
    if dataset_id is None:
        return None
    versions = DatasetVersion.objects.filter(dataset_id=dataset_id, dataset__workspace=workspace).select_related("dataset")
    return versions.order_by("-number").first()
