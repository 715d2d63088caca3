"""Drafts: what the steps of a launch hold on the server until the launch. A job that was launched is never changed here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F

from jobs.engine.cancel import end_draft
from jobs.engine.proposals import GONE, LAUNCHED, Plan, new_token, problems_of
from jobs.engine.spec import sheet_for
from jobs.engine.still import hold_still
from jobs.errors import BadInput
from jobs.models import Connection, DatasetVersion, Job, PromptVersion, Workspace
from jobs.providers.registry import abilities_of
from jobs.rows.template import check
from jobs.words import JobState, Lane

STEPS = ("data", "prompt", "model", "try", "review")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a draft cannot be launched as it is, in words, and the step that fixes it."""

    step: str  # one of STEPS
    words: str


def start(workspace: Workspace, user: User, version: DatasetVersion | None = None, prompt: PromptVersion | None = None) -> Job:
    """A new draft, with what is chosen already."""
    return Job.objects.create(
        workspace=workspace,
        name=name_of(version, prompt),
        created_by_id=user.pk,
        launch_token=new_token(),
        dataset_version=version,
        prompt_version=prompt,
        n_rows=version.n_rows if version else 0,
    )


def open_over(workspace: Workspace, user: User, version: DatasetVersion, prompt: PromptVersion) -> Job | None:
    """This person's newest draft over the same table and prompt, if there is one."""
    mine = Job.objects.filter(workspace=workspace, created_by_id=user.pk, state=JobState.DRAFT)
    return mine.filter(dataset_version=version, prompt_version=prompt).select_related("connection").order_by("-created_at").first()


def start_like(job: Job, user: User) -> Job:
    """A new draft with all that a job has chosen: table, prompt, model and parameters."""
    assert job.dataset_version
    assert job.prompt_version
    draft = start(job.workspace, user, job.dataset_version, job.prompt_version)
    if job.connection is None or job.connection.archived_at:
        return draft
    choose_model(draft, job.connection, job.model, changes_of(job))
    return _change(draft, lane=job.lane, max_attempts=job.max_attempts, cap_usd=job.cap_usd)


def choose_data(draft: Job, version: DatasetVersion) -> Job:
    """Raises BadInput where rows of another table were tried already: their answers cannot be kept beside other rows."""
    with transaction.atomic():
        hold_still(draft)
        if version.pk != draft.dataset_version_id and draft.rounds.exists():
            raise BadInput("Rows of another dataset were tried in this draft.", "Start a new job for this dataset.")
        return _change(draft, dataset_version=version, n_rows=version.n_rows, name=_renamed(draft, version, draft.prompt_version))


def choose_prompt(draft: Job, prompt: PromptVersion) -> Job:
    """Another prompt version brings its own parameters, so changes to the last one's are dropped."""
    dropped = () if prompt.pk == draft.prompt_version_id else ("changes",)
    return _change(draft, dropped=dropped, prompt_version=prompt, name=_renamed(draft, draft.dataset_version, prompt))


def new_version(draft: Job, prompt: PromptVersion) -> Job:
    """A newer version of the draft's own prompt, made on the way: what was changed beside the prompt stays as it is."""
    return _change(draft, prompt_version=prompt, name=_renamed(draft, draft.dataset_version, prompt))


def choose_model(draft: Job, connection: Connection, model: str, changes: dict[str, Any]) -> Job:
    """`changes` are parameters other than the prompt version's; None takes one away. A lane that the connection lacks gives way."""
    able = abilities_of(connection.kind)
    lane = draft.lane
    if (lane == Lane.BATCH and not able.batch) or (lane == Lane.FLEX and not able.flex):
        lane = Lane.BATCH if able.batch else Lane.DIRECT
    return _change(draft, kept={"changes": changes}, connection=connection, model=model, lane=lane)


def choose_params(draft: Job, changes: dict[str, Any]) -> Job:
    """Keep parameters as they are typed, before a model is chosen for them; `changes` as in `choose_model`."""
    return _change(draft, kept={"changes": changes})


def choose_terms(draft: Job, *, name: str, lane: str, max_attempts: int, cap_usd: Decimal | None) -> Job:
    named = {"named": True} if name != name_of(draft.dataset_version, draft.prompt_version) else {}
    return _change(draft, kept=named, dropped=("named",), name=name, lane=Lane(lane), max_attempts=max_attempts, cap_usd=cap_usd)


def keep(draft: Job, **values: Any) -> Job:
    """Remember something computed (counts of a sample) beside what was chosen."""
    return _change(draft, kept=values)


def discard(draft: Job) -> None:
    """Throw a draft away. One whose rows were tried has cost money: it stays in the list, cancelled. Raises BadInput where it was launched
    meanwhile."""
    with transaction.atomic():
        hold_still(draft)
        if Job.objects.filter(pk=draft.pk, launched_at__isnull=False).exists():
            raise BadInput(LAUNCHED)
        if draft.rounds.exists():
            end_draft(draft)
        else:
            Job.objects.filter(pk=draft.pk, state=JobState.DRAFT).delete()


def changes_of(draft: Job) -> dict[str, Any]:
    return dict(draft.draft.get("changes", {}))


def params_of(draft: Job) -> dict[str, Any]:
    """The parameters as they would be sent: the prompt version's, with the draft's changes."""
    own = draft.prompt_version.params if draft.prompt_version else {}
    return {name: value for name, value in {**own, **changes_of(draft)}.items() if value is not None}


def mark_of(draft: Job) -> str:
    """What a launch buys and its prices, as a short mark: a review that was shown for something else must not launch this."""
    sheet = sheet_for(draft.connection, draft.model).to_json() if draft.connection and draft.model else {}
    return _short([choices_of(draft), sheet.get("lanes"), sheet.get("per_hour")])


def choices_of(draft: Job) -> str:
    """Table, prompt, model and parameters, as a short mark."""
    parts = [str(pk) for pk in (draft.dataset_version_id, draft.prompt_version_id, draft.connection_id)]
    return _short([*parts, draft.model, changes_of(draft)])


def _short(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def plan_of(draft: Job, estimate: dict[str, Any] | None = None) -> Plan:
    """The draft as a launch takes it. Raises BadInput where something is not chosen yet."""
    if missing := _missing(draft):
        raise BadInput(missing[0].words)
    assert draft.dataset_version
    assert draft.prompt_version
    assert draft.connection
    return Plan(
        workspace=draft.workspace,
        dataset_version=draft.dataset_version,
        prompt_version=draft.prompt_version,
        connection=draft.connection,
        model=draft.model,
        name=draft.name,
        lane=Lane(draft.lane),
        changes=changes_of(draft),
        max_attempts=draft.max_attempts,
        cap_usd=draft.cap_usd,
        estimate=estimate or {},
    )


def troubles_of(draft: Job) -> list[Trouble]:
    """All that stands against a launch, each with the step that fixes it; empty when the draft can go."""
    if missing := _missing(draft):
        return missing
    assert draft.dataset_version
    assert draft.prompt_version
    prompt = draft.prompt_version
    in_prompt = {problem.message for problem in check(prompt.system, prompt.user, draft.dataset_version.columns)}
    found = []
    for words in problems_of(plan_of(draft)):
        step = "prompt" if words in in_prompt else "data" if "dataset" in words else "review" if "real time" in words else "model"
        found.append(Trouble(step, words))
    return found


def _missing(draft: Job) -> list[Trouble]:
    found = []
    if draft.dataset_version is None:
        found.append(Trouble("data", "No dataset is chosen."))
    if draft.prompt_version is None:
        found.append(Trouble("prompt", "No prompt is chosen."))
    if draft.connection is None or not draft.model:
        found.append(Trouble("model", "No model is chosen."))
    return found


def name_of(version: DatasetVersion | None, prompt: PromptVersion | None) -> str:
    """The name that a job gets by itself: prompt × dataset."""
    parts = [prompt.prompt.name if prompt else "", version.dataset.name if version else ""]
    return " × ".join(part for part in parts if part)[:200] or "New job"


def _renamed(draft: Job, version: DatasetVersion | None, prompt: PromptVersion | None) -> str:
    """A name that a person gave stays; ours follows what is chosen."""
    return draft.name if draft.draft.get("named") else name_of(version, prompt)


def _change(draft: Job, /, kept: Mapping[str, Any] = MappingProxyType({}), dropped: Sequence[str] = (), **fields: Any) -> Job:
    """Change a draft that still is one. `kept` and `dropped` are entries of what it holds: the others stay as they are by now, for a page
    that counts for seconds has read them long ago. Raises BadInput where the draft was launched or thrown away meanwhile."""
    with transaction.atomic():
        now = Job.objects.select_for_update(no_key=True).filter(pk=draft.pk).values_list("state", "draft").first()
        if now is None or now[0] != JobState.DRAFT:
            raise BadInput(LAUNCHED if now else GONE)
        fields["draft"] = {**{name: value for name, value in now[1].items() if name not in dropped}, **kept}
        Job.objects.filter(pk=draft.pk).update(**fields, version=F("version") + 1)
    for name, value in fields.items():
        setattr(draft, name, value)
    return draft
