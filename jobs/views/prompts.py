"""Prompts: the list, the editor with its live preview, versions read and compared."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from jobs.access import current_workspace, get_job, get_prompt, member
from jobs.costs.tokens import TokenModel, schema_texts
from jobs.engine import drafts, preview
from jobs.engine import prompts as engine
from jobs.errors import BadInput
from jobs.forms.datasets import NameForm, add_problem
from jobs.forms.prompts import PromptForm, lines_of
from jobs.forms.results import whole_number
from jobs.models import Dataset, DatasetVersion, Job, Prompt, PromptVersion
from jobs.queries import prompts as queries
from jobs.rows.template import Problem, check
from jobs.views.datasets import number_in, wants_part
from jobs.views.posting import only_post
from jobs.words import JobState, PromptKind, Role

LONGEST_SHOWN = 20_000  # characters of a rendered text on the page
COUNTED_AS = TokenModel("openai", "gpt-4o")


@require_GET
@member()
def prompt_list(request: HttpRequest) -> HttpResponse:
    text, sort = request.GET.get("q", "").strip()[:200], request.GET.get("sort", "-saved")
    archived = request.GET.get("archived") == "1"
    found = queries.prompt_page(current_workspace(request), text=text, sort=sort, number=number_in(request), archived=archived)
    page = "jobs/_prompts.html" if wants_part(request) else "jobs/prompts.html"
    context = {"found": found, "q": text, "sort": sort, "archived": archived, "per_page": queries.PER_PAGE, "target": "#prompts"}
    return render(request, page, context)


@require_GET
@member()
def prompt_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One version of a prompt, the newest unless the query names another, and the list of all."""
    prompt = get_prompt(request, pk)
    version = _version(request, prompt)
    versions = queries.version_lines(prompt)
    context = {
        "prompt": prompt,
        "version": version,
        "versions": versions,
        "latest": versions[0].number,
        "kind": queries.KIND_LABELS.get(version.kind, version.kind),
        "fields": queries.schema_fields(version.schema),
        "params": [(name, queries.param_text(value)) for name, value in version.params.items()],
        "crumbs": _crumbs(),
    }
    return render(request, "jobs/prompt_detail.html", context)


def _version(request: HttpRequest, prompt: Prompt, name: str = "version") -> PromptVersion:
    found = queries.version_of(prompt, number_in(request, name) if name in request.GET else None)
    if found is None:
        raise Http404("There is no such version.")
    return found


@require_GET
@member()
def prompt_compare(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Two versions beside each other: what was taken away and what came."""
    prompt = get_prompt(request, pk)
    versions = queries.version_lines(prompt)
    new = _version(request, prompt, "to")
    old = _version(request, prompt, "from") if "from" in request.GET else queries.version_of(prompt, max(1, new.number - 1))
    assert old is not None
    parts = queries.differences(old, new)
    context = {"prompt": prompt, "old": old, "new": new, "versions": versions, "parts": parts, "same": all(part.same for part in parts)}
    context["crumbs"] = [*_crumbs(), (prompt.name, reverse("prompt-detail", args=[prompt.pk]))]
    return render(request, "jobs/prompt_compare.html", context)


@require_http_methods(["GET", "POST"])
@member(Role.ANALYST)
def prompt_new(request: HttpRequest) -> HttpResponse:
    return _editor(request, None, None)


@require_http_methods(["GET", "POST"])
@member(Role.ANALYST)
def prompt_edit(request: HttpRequest, pk: UUID) -> HttpResponse:
    prompt = get_prompt(request, pk, Role.ANALYST)
    return _editor(request, prompt, _version(request, prompt))


def _editor(request: HttpRequest, prompt: Prompt | None, base: PromptVersion | None) -> HttpResponse:
    """The form; by POST a preview (`act=preview`) or a new version."""
    choices = queries.dataset_choices(current_workspace(request), prompt.dataset_id if prompt else None)
    form = PromptForm(request.POST or None, new=prompt is None, datasets=choices, initial=_initial(request, prompt, base, choices))
    if request.POST.get("act") == "preview":
        trial = _trial(request, form)
        if wants_part(request):
            return render(request, "jobs/_prompt_preview.html", {"trial": trial, "oob": True, "form": form})
        form = PromptForm(initial=request.POST.dict(), new=prompt is None, datasets=choices)
        return _editor_page(request, form, trial, prompt, base)
    if request.method == "POST" and form.is_valid():
        try:
            return _save(request, form, prompt)
        except engine.Overtaken as error:
            return _editor_page(request, form, _trial(request, form), prompt, base, status=422, came=error.version)
        except BadInput as error:
            add_problem(form, error, "name" if prompt is None and "named" in error.message else None)
    trial = _trial(request, form) if form.is_bound else _untried(request, form)
    return _editor_page(request, form, trial, prompt, base, status=422 if form.errors else 200)


def _initial(request: HttpRequest, prompt: Prompt | None, base: PromptVersion | None, choices: list[tuple[UUID, str]]) -> dict[str, Any]:
    """What the form starts from: the version, and the dataset that was asked for, was used last, or is newest."""
    known = {str(key) for key, _ in choices}
    wanted = [request.GET.get("dataset", ""), str(prompt.dataset_id) if prompt and prompt.dataset_id else ""]
    dataset = next((each for each in wanted if each in known), str(choices[0][0]) if choices and not prompt else "")
    return {**(PromptForm.initial_of(engine.content_of(base)) if base else {}), "dataset": dataset, "name": prompt.name if prompt else ""}


def _editor_page(
    request: HttpRequest,
    form: PromptForm,
    trial: Trial,
    prompt: Prompt | None,
    base: PromptVersion | None,
    status: int = 200,
    came: PromptVersion | None = None,
) -> HttpResponse:
    """The whole page. `came` is a version that another one saved meanwhile: the next save is made knowing of it."""
    last = prompt.latest() if prompt else None
    crumbs = [*_crumbs(), (prompt.name, reverse("prompt-detail", args=[prompt.pk]))] if prompt else _crumbs()
    context = {"form": form, "trial": trial, "prompt": prompt, "base": base, "next": last.number + 1 if last else 1, "crumbs": crumbs}
    context["draft"] = _draft(request, prompt)
    latest, known = last.number if last else 0, whole_number(request.POST.get("seen", ""))
    context |= {"latest": latest, "types": queries.TYPE_LABELS, "came": came, "seen": latest if came or known is None else known}
    if came and known and "version" not in request.GET:
        context["base"] = queries.version_of(came.prompt, known) or base  # the newest one of when the text was opened
    return render(request, "jobs/prompt_edit.html", context, status=status)


def _save(request: HttpRequest, form: PromptForm, prompt: Prompt | None) -> HttpResponse:
    said = form.cleaned_data
    table = queries.newest_table(current_workspace(request), said["dataset"])
    dataset: Dataset | None = table.dataset if table else None
    user: Any = request.user
    if prompt is None:
        saved = engine.create(current_workspace(request), user, said["name"], form.content(), note=said["note"], dataset=dataset)
    else:
        seen = whole_number(request.POST.get("seen", ""))
        saved = engine.save_version(prompt, user, form.content(), note=said["note"], dataset=dataset, seen=seen)
    version = saved.version
    if saved.changed:
        messages.success(request, f"Saved as version {version.number}.")
    else:
        messages.info(request, f"Nothing changed: version {version.number} holds exactly this.")
    unknown = [each.name for each in check(version.system, version.user, table.columns) if each.name] if table else []
    if unknown:
        names = ", ".join(f"“{name}”" for name in dict.fromkeys(unknown))
        messages.warning(request, f"{table.dataset.name if table else ''} has no column {names}: rows of it cannot be filled in.")
    if draft := _draft(request, prompt):
        drafts.new_version(draft, version)
        return redirect("launch-try", pk=draft.pk)
    return redirect(f"{reverse('prompt-detail', args=[version.prompt_id])}?version={version.number}")


def _draft(request: HttpRequest, prompt: Prompt | None) -> Job | None:
    """The draft of a launch that the editor was opened from (`?draft=`), as long as it is one and has this prompt."""
    pk = _uuid(request.GET.get("draft", ""))
    if pk is None or prompt is None:
        return None
    found = get_job(request, pk, Role.ANALYST)
    same = found.prompt_version is not None and found.prompt_version.prompt_id == prompt.pk
    return found if same and found.state == JobState.DRAFT else None


@dataclass(frozen=True, slots=True)
class Found:
    """Something wrong in a template, its place, and the name that was probably meant."""

    problem: Problem
    near: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """The prompt for one row of a table. `row` is from 1; texts are cut for the page, tokens are counted on the whole."""

    table: DatasetVersion | None = None
    kind: str = PromptKind.GENERATE
    tried: bool = False  # False: not filled in yet, the page asks for it
    row: int = 1
    system: str = ""
    user: str = ""
    error: str = ""
    line: int | None = None
    tokens: int | None = None
    n_cut: int = 0
    values: list[tuple[str, str | None]] = field(default_factory=list)
    problems: list[Found] = field(default_factory=list)
    columns_changed: bool = False

    @property
    def in_system(self) -> list[Found]:
        return [each for each in self.problems if each.problem.part == "system"]

    @property
    def in_user(self) -> list[Found]:
        return [each for each in self.problems if each.problem.part == "user"]

    @property
    def previous(self) -> int | None:
        return self.row - 1 if self.row > 1 else None

    @property
    def following(self) -> int | None:
        return self.row + 1 if self.table and self.row < self.table.n_rows else None


def _untried(request: HttpRequest, form: PromptForm) -> Trial:
    """What the page shows before the first preview arrives."""
    table = queries.newest_table(current_workspace(request), _uuid(form.initial.get("dataset", "")))
    return Trial(table=table, kind=form.initial.get("kind", PromptKind.GENERATE))


def _trial(request: HttpRequest, form: PromptForm) -> Trial:
    """The posted texts, filled in for the row that the person looks at."""
    said = request.POST
    table = queries.newest_table(current_workspace(request), _uuid(said.get("dataset", "")))
    kind = said.get("kind", PromptKind.GENERATE)
    system = lines_of(said.get("system", "")) if kind == PromptKind.GENERATE else ""
    user = lines_of(said.get("user", ""))
    row = _row(said.get("row") or said.get("at", ""), table.n_rows if table else 1)
    problems = [Found(each, each.near) for each in check(system, user, table.columns if table else [])]
    if table is None:
        problems = [each for each in problems if not each.problem.name]  # without a table every name may be a column
    changed = said.get("columns_of", "") != (str(table.pk) if table else "")
    trial = Trial(table=table, kind=kind, tried=True, row=row, problems=problems, columns_changed=changed)
    if table is None or not table.n_rows or problems or not (system + user).strip():
        return trial
    return _filled(trial, table, system, user, _schema(form))


def _filled(trial: Trial, table: DatasetVersion, system: str, user: str, schema: dict[str, Any] | None) -> Trial:
    found = preview.render(table, system, user, [trial.row - 1], count=schema_texts(schema))
    if found.problem or not found.rows:
        return replace(trial, error=found.problem or "This row could not be read.")
    one = found.rows[0]
    values = [(str(column["variable"]), one.cells.get(column["key"])) for column in table.columns]
    if one.error:
        return replace(trial, error=one.error, line=one.line, values=values)
    return replace(
        trial,
        system=one.system[:LONGEST_SHOWN],
        user=one.user[:LONGEST_SHOWN],
        n_cut=max(0, len(one.system) - LONGEST_SHOWN) + max(0, len(one.user) - LONGEST_SHOWN),
        tokens=COUNTED_AS.count_request(trial.kind, one.system, one.user, schema),
        values=values,
    )


def _schema(form: PromptForm) -> dict[str, Any] | None:
    form.is_valid()
    schema = form.cleaned_data.get("schema")
    return schema if isinstance(schema, dict) and form.cleaned_data.get("kind") == PromptKind.GENERATE else None


def _row(text: str, n_rows: int) -> int:
    if text == "random":
        return random.randint(1, max(1, n_rows))
    return min(max(1, int(text)), max(1, n_rows)) if text.isascii() and text.isdigit() and len(text) < 12 else 1


def _uuid(text: Any) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None


@require_http_methods(["GET", "POST"])
@member(Role.ANALYST)
def prompt_settings(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Rename a prompt; archive it or bring it back."""
    prompt = get_prompt(request, pk, Role.ANALYST)
    here = reverse("prompt-detail", args=[prompt.pk])
    form = NameForm(request.POST or None, initial={"name": prompt.name})
    if request.method == "POST" and form.is_valid():
        try:
            engine.rename(prompt, form.cleaned_data["name"], request.user)  # type: ignore[arg-type]
            return redirect(here)
        except BadInput as error:
            add_problem(form, error, "name")
    context = {"prompt": prompt, "form": form, "crumbs": [*_crumbs(), (prompt.name, here)]}
    return render(request, "jobs/prompt_settings.html", context, status=422 if form.errors else 200)


@only_post("prompt-detail", "pk")
@member(Role.ANALYST)
def prompt_archive(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Archive with archived=1, bring back with archived=0."""
    prompt = get_prompt(request, pk, Role.ANALYST)
    archived = request.POST.get("archived") == "1"
    engine.set_archived(prompt, archived, request.user)  # type: ignore[arg-type]
    words = "is archived. Its jobs go on, and nothing was deleted." if archived else "is back in the list."
    messages.success(request, f"{prompt.name} {words}")
    return redirect("prompt-list") if archived else redirect("prompt-detail", pk=prompt.pk)


def _crumbs() -> list[tuple[str, str]]:
    return [("Prompts", reverse("prompt-list"))]
