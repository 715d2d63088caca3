"""Fixed text first: a proposal for a draft's prompt, for the provider's cache, and a new version of the prompt where a person agrees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.contrib.auth.models import User

from jobs.costs.caching import Saving, cacheable, saving
from jobs.engine import drafts
from jobs.engine.estimates import token_model
from jobs.engine.preview import count_apart, render, sample_rows
from jobs.engine.prompts import Content, content_of, save_version
from jobs.engine.spec import sheet_for
from jobs.errors import BadInput
from jobs.models import DatasetVersion, Job, PromptVersion
from jobs.rows.child import ChildDied
from jobs.rows.prefix import fixed_first, shared_start
from jobs.words import PromptKind, ProviderKind

NOTE = "Fixed text first, for the provider's cache"
MARK = "Marked for the provider's cache"
SAMPLE = 40


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would change: paragraphs of the user prompt that move behind the system prompt, and whether the start is to be marked for the
    cache. `now` and `then` are tokens of each row that a cache holds; `saving` is by the draft's price sheet and lane."""

    moved: tuple[str, ...]
    marks: bool
    now: int
    then: int
    saving: Saving
    n_tried: int

    @property
    def percent(self) -> str:
        """The share of rows from which on it pays."""
        return f"{self.saving.pays_from * 100:.0f} %"


def proposal_of(draft: Job) -> Proposal | None:
    """The proposal for a draft; None where there is nothing to gain. Nothing is changed by asking."""
    better = _better(draft)
    if better is None:
        return None
    found, paragraphs = better
    assert draft.connection
    now, then = _tokens(draft, found)
    kind = draft.connection.kind
    now, then = cacheable(kind, draft.model, now), cacheable(kind, draft.model, then)
    saved = saving(sheet_for(draft.connection, draft.model), draft.lane, kind, then - now, draft.n_rows)
    if saved is None:
        return None
    marks = bool(found.params.get("cache_prefix")) and not _content(draft).params.get("cache_prefix")
    return Proposal(paragraphs, marks, now, then, saved, draft.n_succeeded)


def adopt(draft: Job, user: User | None) -> PromptVersion:
    """Make the proposal the prompt's next version and take it for the draft. Raises BadInput where there is nothing to propose."""
    better = _better(draft)
    if better is None or draft.prompt_version is None:
        raise BadInput("There is nothing to move in this prompt any more.")
    found, _ = better
    moves = found.user != draft.prompt_version.user
    saved = save_version(draft.prompt_version.prompt, user, found, note=NOTE if moves else MARK)
    drafts.new_version(draft, saved.version)
    return saved.version


def _content(draft: Job) -> Content:
    assert draft.prompt_version
    return content_of(draft.prompt_version)


def _better(draft: Job) -> tuple[Content, tuple[str, ...]] | None:
    """The prompt as it would be, and the paragraphs that move; None where it is as good already or nothing is known of a cache."""
    if draft.prompt_version is None or draft.dataset_version is None or draft.connection is None or not draft.model:
        return None
    was = _content(draft)
    if was.kind != PromptKind.GENERATE or draft.connection.kind not in (ProviderKind.OPENAI, ProviderKind.ANTHROPIC):
        return None
    marked = draft.connection.kind == ProviderKind.ANTHROPIC
    moved = fixed_first(was.system, was.user, *constants_of(draft.dataset_version))
    params: dict[str, Any] = {**was.params, **({"cache_prefix": True} if marked else {})}
    now = replace(was, system=moved.system, user=moved.user, params=params) if moved else replace(was, params=params)
    return (now, moved.moved if moved else ()) if now != was and (now.system or not marked) else None


def constants_of(version: DatasetVersion) -> tuple[set[str], set[str]]:
    """Variables and headers of the columns that hold one and the same value in every row, as the profile of the table says."""
    same = {each["key"] for each in version.profile if each["exact"] and each["distinct"] == 1 and not each["nulls"]}
    columns = [column for column in version.columns if column["key"] in same]
    return {column["variable"] for column in columns}, {column["name"] for column in columns}


def _tokens(draft: Job, found: Content) -> tuple[int, int]:
    """Tokens that all rows share at their start, now and then; counted once for each table, prompt and model."""
    assert draft.connection
    key = drafts.choices_of(draft)
    known = draft.draft.get("shared", {})
    if known.get("key") != key:
        starts = [_shared(draft, _content(draft)), _shared(draft, found)]
        try:
            count_apart(starts)
        except ChildDied:  # it is only an advice
            return 0, 0
        now, then = (token_model(draft.connection, draft.model).count(start) for start in starts)
        known = {"key": key, "now": now, "then": then}
        drafts.keep(draft, shared=known)
    return known["now"], known["then"]


def _shared(draft: Job, content: Content) -> str:
    """The start that the sample's rows share, as far as the provider's cache looks: at Anthropic to the end of a marked system
    prompt, at OpenAI to the first difference."""
    assert draft.dataset_version
    assert draft.connection
    marked = draft.connection.kind == ProviderKind.ANTHROPIC
    if marked and not content.params.get("cache_prefix"):
        return ""
    rows = sample_rows(draft.dataset_version.n_rows, SAMPLE)
    texts = [
        (row.system, row.user)
        for row in render(draft.dataset_version, content.system, content.user, rows, cells=False).rows
        if not row.error
    ]
    if not texts:
        return ""
    systems = [system for system, _ in texts]
    start = shared_start(systems)
    whole = start == max(systems)
    if marked:
        start = start if whole else ""
    elif whole:
        start += "\n" + shared_start([user for _, user in texts])
    return start if start.strip() else ""
