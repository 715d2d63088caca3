"""Save a prompt: each save that changes anything makes a new immutable version."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from jobs.engine.audit_log import write
from jobs.errors import BadInput
from jobs.models import Dataset, Prompt, PromptVersion, Workspace
from jobs.rows.schema import check_schema
from jobs.rows.template import compile_template
from jobs.words import PromptKind


@dataclass(frozen=True, slots=True)
class Content:
    """What a version holds. `params`: `max_output_tokens`, `cache_prefix`, and what else the model takes, verbatim."""

    kind: str = PromptKind.GENERATE
    system: str = ""
    user: str = ""
    schema: dict[str, Any] | None = None
    params: dict[str, Any] = field(default_factory=dict)


class Overtaken(BadInput):
    """Another version came since the text was opened; `version` is the newest. Saved all the same once a person has seen that."""

    def __init__(self, version: PromptVersion) -> None:
        super().__init__(f"Version {version.number} was saved meanwhile.", "Compare it with your text, then save.")
        self.version = version


@dataclass(frozen=True, slots=True)
class Saved:
    """The version that holds the content now; `changed` is False where the latest one held it already."""

    version: PromptVersion
    changed: bool


def create(
    workspace: Workspace, user: User | None, name: str, content: Content, *, note: str = "", dataset: Dataset | None = None
) -> Saved:
    """A new prompt with its first version. Raises BadInput: no name, a name that is taken, a template or schema that cannot be used."""
    check(content)
    name = _clean_name(name)
    try:
        with transaction.atomic():
            prompt = Prompt.objects.create(workspace=workspace, name=name, dataset=dataset, created_by=user)
            version = _add(prompt, 1, content, note, user)
    except IntegrityError as error:
        raise BadInput(_taken(name), "Choose another name.") from error
    return Saved(version, changed=True)


def save_version(
    prompt: Prompt, user: User | None, content: Content, *, note: str = "", dataset: Dataset | None = None, seen: int | None = None
) -> Saved:
    """The content as the prompt's next version, or its latest where nothing changed. `seen` is the newest version that the person knows
    of. Raises BadInput, BadTemplate, and Overtaken where there is a newer one."""
    check(content)
    with transaction.atomic():
        Prompt.objects.select_for_update(no_key=True).get(pk=prompt.pk)
        if dataset is not None and prompt.dataset_id != dataset.pk:
            prompt.dataset = dataset
            prompt.save(update_fields=["dataset"])
        latest = prompt.latest()
        if latest is not None and content_of(latest) == content:
            return Saved(latest, changed=False)
        if latest is not None and seen is not None and latest.number > seen:
            raise Overtaken(latest)
        last = prompt.versions.aggregate(n=Max("number"))["n"] or 0
        return Saved(_add(prompt, last + 1, content, note, user), changed=True)


def content_of(version: PromptVersion) -> Content:
    """What a version holds, to start from or to compare."""
    return Content(version.kind, version.system, version.user, version.schema, version.params)


def check(content: Content) -> None:
    """Raises BadInput or BadTemplate where the content can be used with no table at all."""
    if not content.user.strip():
        raise BadInput("The prompt is empty.", "Write what is sent for each row.")
    compile_template(content.system)
    compile_template(content.user)
    if content.schema is not None:
        check_schema(content.schema)


def rename(prompt: Prompt, name: str, user: User | None) -> None:
    """Give a prompt another name. Raises BadInput where the workspace has one of that name."""
    name = _clean_name(name)
    if name == prompt.name:
        return
    old = prompt.name
    try:
        with transaction.atomic():
            prompt.name = name
            prompt.save(update_fields=["name"])
            write(prompt.workspace, user, "prompt renamed", prompt.name, before=old)
    except IntegrityError as error:
        prompt.name = old
        raise BadInput(_taken(name), "Choose another name.") from error


def set_archived(prompt: Prompt, archived: bool, user: User | None) -> None:
    """Take a prompt out of the lists, or bring it back. Nothing is deleted."""
    if archived == bool(prompt.archived_at):
        return
    prompt.archived_at = timezone.now() if archived else None
    prompt.save(update_fields=["archived_at"])
    write(prompt.workspace, user, "prompt archived" if archived else "prompt brought back", prompt.name)


def _add(prompt: Prompt, number: int, content: Content, note: str, user: User | None) -> PromptVersion:
    return PromptVersion.objects.create(
        prompt=prompt,
        number=number,
        kind=content.kind,
        system=content.system,
        user=content.user,
        schema=content.schema,
        params=content.params,
        note=note.strip()[:300],
        created_by=user,
    )


def _clean_name(name: str) -> str:
    name = " ".join(name.split())[:200]
    if not name:
        raise BadInput("A prompt needs a name.")
    return name


def _taken(name: str) -> str:
    return f"There is a prompt named “{name}” already."
