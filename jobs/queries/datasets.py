"""What the pages of datasets show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, F, Max, OuterRef, QuerySet, Subquery

from jobs.models import Dataset, DatasetUpload, DatasetVersion, Job, Workspace
from jobs.rows.reading import DELIMITERS, ENCODINGS, Reading

PER_PAGE = 25
SORTS = {
    "name": "name",
    "rows": "n_rows",
    "versions": "n_versions",
    "used": "used_at",
    "read": "read_at",
}


@dataclass(frozen=True, slots=True)
class DatasetLine:
    """A dataset in the list; rows and columns are those of its newest version."""

    id: UUID
    name: str
    filename: str
    n_rows: int
    n_columns: int
    n_versions: int
    number: int
    read_at: datetime
    used_at: datetime | None
    owner: str
    archived: bool


@dataclass(frozen=True, slots=True)
class DatasetPage:
    lines: list[DatasetLine]
    total: int
    number: int
    n_all: int  # whatever the search
    n_archived: int
    uploads: list[DatasetUpload]  # still being read


@dataclass(frozen=True, slots=True)
class VersionLine:
    id: UUID
    number: int
    filename: str
    n_rows: int
    n_columns: int
    n_bytes: int
    made_at: datetime
    by: str
    words: str
    n_jobs: int
    same_bytes_as: int | None  # an older version that was read from the very same file


@dataclass(frozen=True, slots=True)
class Frequent:
    value: str
    n: int
    share: int  # percent of the rows that were counted


@dataclass(frozen=True, slots=True)
class ColumnLine:
    """A column with its numbers; None where the table was not profiled."""

    name: str
    variable: str
    type: str
    nulls: int | None = None
    empties: int | None = None
    distinct: int | None = None
    exact: bool = True
    min_length: int | None = None
    max_length: int | None = None
    mean_length: float | None = None
    top: tuple[Frequent, ...] = ()
    unique: bool = False  # a different value in each row


def dataset_page(workspace: Workspace, *, text: str = "", sort: str = "-read", number: int = 1, archived: bool = False) -> DatasetPage:
    """A page of the workspace's datasets. Four queries, whatever the number."""
    mine = Dataset.objects.filter(workspace=workspace)
    counts = mine.aggregate(n=Count("pk"), n_archived=Count("archived_at"))
    shown = mine.filter(archived_at__isnull=not archived, versions__isnull=False).distinct()
    if text:
        shown = shown.filter(name__icontains=text)
    total = shown.count()
    number = min(max(1, number), max(1, -(-total // PER_PAGE)))
    ordered = _ordered(shown, sort)[(number - 1) * PER_PAGE : number * PER_PAGE]
    uploads = DatasetUpload.objects.filter(workspace=workspace, state__in=[DatasetUpload.RECEIVED, DatasetUpload.READING])
    return DatasetPage(
        lines=[_line(each) for each in ordered],
        total=total,
        number=number,
        n_all=counts["n"] - counts["n_archived"],
        n_archived=counts["n_archived"],
        uploads=list(uploads.order_by("created_at")[:5]),
    )


def _ordered(shown: QuerySet[Dataset], sort: str) -> QuerySet[Any]:
    newest = DatasetVersion.objects.filter(dataset=OuterRef("pk")).order_by("-number")
    used = Job.objects.filter(dataset_version__dataset=OuterRef("pk"), launched_at__isnull=False).order_by("-launched_at")
    annotated = shown.annotate(
        **{name: Subquery(newest.values(name)[:1]) for name in ("n_rows", "filename", "number", "columns")},
        read_at=Subquery(newest.values("created_at")[:1]),
        n_versions=Count("versions", distinct=True),
        used_at=Subquery(used.values("launched_at")[:1]),
    ).select_related("created_by")
    field = SORTS.get(sort.lstrip("-"), "read_at")
    order = F(field).desc(nulls_last=True) if sort.startswith("-") else F(field).asc(nulls_last=True)
    return annotated.order_by(order, "name", "pk")


def _line(each: Any) -> DatasetLine:
    return DatasetLine(
        id=each.pk,
        name=each.name,
        filename=each.filename,
        n_rows=each.n_rows,
        n_columns=len(each.columns),
        n_versions=each.n_versions,
        number=each.number,
        read_at=each.read_at,
        used_at=each.used_at,
        owner=person(each.created_by),
        archived=bool(each.archived_at),
    )


def person(user: Any) -> str:
    """A person's name, as lists show it."""
    return (user.get_full_name() or user.get_username()) if user else "–"


def version_of(dataset: Dataset, number: int | None) -> DatasetVersion | None:
    """A version by its number, else the newest; None where there is none."""
    versions = dataset.versions.select_related("dataset", "created_by")
    return versions.filter(number=number).first() if number else versions.order_by("-number").first()


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """How the columns' names differ from those of the version before."""

    before: int
    added: list[str]
    gone: list[str]


def columns_changed(version: DatasetVersion) -> ColumnChange | None:
    """What a prompt that was written for the version before may miss; None where the names are the same, or there is none before."""
    earlier = DatasetVersion.objects.filter(dataset=version.dataset_id, number__lt=version.number).order_by("-number")
    before = earlier.values_list("number", "columns").first()
    if before is None:
        return None
    old, new = ([str(column["name"]) for column in columns] for columns in (before[1], version.columns))
    added, gone = [name for name in new if name not in old], [name for name in old if name not in new]
    return ColumnChange(before[0], added, gone) if added or gone else None


def version_lines(dataset: Dataset) -> list[VersionLine]:
    """All versions, newest first."""
    versions = list(dataset.versions.select_related("created_by").annotate(n_jobs=Count("jobs")).order_by("-number"))
    first: dict[str, int] = {}
    for each in reversed(versions):
        first.setdefault(each.sha256, each.number)
    return [
        VersionLine(
            id=each.pk,
            number=each.number,
            filename=each.filename,
            n_rows=each.n_rows,
            n_columns=len(each.columns),
            n_bytes=each.n_bytes,
            made_at=each.created_at,
            by=person(each.created_by),
            words=words_of(each.reading),
            n_jobs=each.n_jobs,
            same_bytes_as=first[each.sha256] if first[each.sha256] != each.number else None,
        )
        for each in versions
    ]


def words_of(reading: dict[str, Any]) -> str:
    """How a file was read, for a person."""
    return Reading.from_dict(reading).words if reading else "–"


def column_lines(version: DatasetVersion) -> list[ColumnLine]:
    """Each column with what stands in it."""
    known = {each["key"]: each for each in version.profile}
    return [_column(column, known.get(column["key"]), version.n_rows) for column in version.columns]


def _column(column: dict[str, str], numbers: dict[str, Any] | None, n_rows: int) -> ColumnLine:
    line = ColumnLine(name=column["name"], variable=column["variable"], type=column["type"])
    if numbers is None:
        return line
    of = numbers["top_of"] or 1
    unique = numbers["exact"] and numbers["distinct"] == n_rows - numbers["nulls"] and n_rows > 1
    return ColumnLine(
        name=line.name,
        variable=line.variable,
        type=line.type,
        **{name: numbers[name] for name in ("nulls", "empties", "distinct", "exact", "min_length", "max_length", "mean_length")},
        top=() if unique else tuple(Frequent(value, n, 100 * n // of) for value, n in numbers["top"]),
        unique=unique,
    )


def used_at(dataset: Dataset) -> tuple[int, datetime | None]:
    """How many launched jobs use the dataset, and when the last was launched."""
    found = Job.objects.filter(dataset_version__dataset=dataset, launched_at__isnull=False).aggregate(n=Count("pk"), at=Max("launched_at"))
    return found["n"], found["at"]


def reading_choices() -> dict[str, list[tuple[str, str]]]:
    """What a person may say of a file: encodings and delimiters with their names."""
    return {
        "encoding": list(ENCODINGS.items()),
        "delimiter": [("\\t" if key == "\t" else key, name.capitalize()) for key, name in DELIMITERS.items()],
    }
