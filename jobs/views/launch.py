"""Launch: Data → Prompt → Model & price → (try rows) → Review. A URL per step; the draft is on the server, so Back loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import wraps
from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from jobs.access import current_membership, current_workspace, get_connection, get_dataset_version, get_job, get_prompt_version, member
from jobs.engine import budget, caching, drafts, history, offers, preview
from jobs.engine.launch import launch
from jobs.errors import BadInput
from jobs.formats import duration
from jobs.forms.launch import DataForm, ModelForm, PromptForm, TermsForm
from jobs.models import DatasetVersion, Job, PromptVersion, Workspace
from jobs.queries import launch as queries
from jobs.queries import offers as tables
from jobs.views.posting import only_post
from jobs.words import JobState, Lane, Role

StepView = Callable[[HttpRequest, Job], HttpResponse]


def wants_part(request: HttpRequest) -> bool:
    """Whether htmx asks for a part of the page, and not for the page to go back to."""
    return bool(request.htmx and not request.htmx.history_restore_request)  # type: ignore[attr-defined]


def step(view: StepView) -> Callable[..., HttpResponse]:
    """A view of a draft. One that is launched by now leads to its job: a refresh or a second click never launches again."""

    @wraps(view)
    @member()
    def wrapped(request: HttpRequest, pk: UUID) -> HttpResponse:
        draft = get_job(request, pk, Role.ANALYST)
        if draft.state != JobState.DRAFT:
            return to_job(draft)
        try:
            return view(request, draft)
        except BadInput as error:
            if str(error) not in (drafts.LAUNCHED, drafts.GONE):
                raise
            return overtaken(request, draft)

    return wrapped


def overtaken(request: HttpRequest, draft: Job) -> HttpResponse:
    """Where a draft is not one any more: to the job that it has become, or to the list where it was thrown away."""
    if Job.objects.filter(pk=draft.pk).exists():
        return to_job(draft)
    messages.info(request, drafts.GONE)
    return redirect("job-list")


def to_job(job: Job) -> HttpResponse:
    return redirect(reverse("job-detail", args=[job.pk]))


def page(request: HttpRequest, draft: Job | None, name: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """A step's page with the frame that all of them share."""
    steps = queries.steps_of(draft, name)
    shared = {"draft": draft, "steps": steps, "nav": "jobs", "crumbs": [("Jobs", reverse("job-list"))]}
    return render(request, f"jobs/launch_{name}.html", {**shared, **context}, status=status)


@require_http_methods(["GET", "POST"])
@member(Role.ANALYST)
def new(request: HttpRequest) -> HttpResponse:
    """The first step without a draft yet: choosing makes the draft. `?dataset=` and `?prompt=` choose beforehand."""
    workspace = current_workspace(request)
    prompt = _version(request.POST.get("prompt") or request.GET.get("prompt", ""), lambda pk: get_prompt_version(request, pk), workspace)
    if request.method == "POST":
        form = DataForm(request.POST)
        if form.is_valid():
            version = _dataset_version(request, form, workspace)
            draft = drafts.start(workspace, request.user, version, prompt)  # type: ignore[arg-type]
            return redirect("launch-model" if prompt else "launch-prompt", pk=draft.pk)
        return _data_page(request, None, workspace, None, form, prompt)
    chosen = _version(request.GET.get("dataset", ""), lambda pk: get_dataset_version(request, pk), workspace)
    written_for = prompt.prompt.dataset if prompt is not None else None
    if chosen is None and written_for is not None and written_for.archived_at is None:
        chosen = written_for.latest()
    return _data_page(request, None, workspace, chosen, None, prompt)


@only_post("job-detail", "pk")
@member()
def like(request: HttpRequest, pk: UUID) -> HttpResponse:
    """A new draft with what a job has chosen, on its review page; with another `model`, on the page where rows are tried."""
    job = get_job(request, pk, Role.ANALYST)
    if job.dataset_version is None or job.prompt_version is None:
        return redirect("launch", pk=job.pk)
    draft = drafts.start_like(job, request.user)  # type: ignore[arg-type]
    other = request.POST.get("model", "").strip()[:200]
    if other and draft.connection is not None:
        drafts.choose_model(draft, draft.connection, other, drafts.changes_of(draft))
        return redirect("launch-try", pk=draft.pk)
    return redirect("launch-review" if draft.connection_id else "launch-model", pk=draft.pk)


@require_GET
@step
def resume(request: HttpRequest, draft: Job) -> HttpResponse:
    """The furthest step that the draft has reached."""
    if draft.dataset_version is None:
        return redirect("launch-data", pk=draft.pk)
    if draft.prompt_version is None:
        return redirect("launch-prompt", pk=draft.pk)
    return redirect("launch-review" if draft.connection_id and draft.model else "launch-model", pk=draft.pk)


@require_http_methods(["GET", "POST"])
@step
def data(request: HttpRequest, draft: Job) -> HttpResponse:
    """Which table."""
    form = DataForm(request.POST) if request.method == "POST" else None
    if form is not None and form.is_valid():
        try:
            drafts.choose_data(draft, _dataset_version(request, form, draft.workspace))
            return redirect("launch-prompt", pk=draft.pk)
        except BadInput as error:
            form.add_error(None, str(error))
    return _data_page(request, draft, draft.workspace, draft.dataset_version, form, None)


def _data_page(
    request: HttpRequest,
    draft: Job | None,
    workspace: Workspace,
    chosen: DatasetVersion | None,
    form: DataForm | None,
    prompt: PromptVersion | None,
) -> HttpResponse:
    text = request.GET.get("q", "").strip()[:200]
    found = queries.tables(workspace, text, chosen)
    context = {"found": found, "q": text, "form": form, "prompt": prompt, "chosen": chosen}
    if wants_part(request):
        return render(request, "jobs/_launch_tables.html", context)
    return page(request, draft, "data", context, 422 if form is not None else 200)


@require_http_methods(["GET", "POST"])
@step
def prompt(request: HttpRequest, draft: Job) -> HttpResponse:
    """Which prompt, checked against the table. `?show=` answers the first row filled in by a version (htmx)."""
    if draft.dataset_version is None:
        return redirect("launch-data", pk=draft.pk)
    form = PromptForm(request.POST) if request.method == "POST" else None
    if form is not None and form.is_valid():
        version = _version(str(form.cleaned_data["prompt_version"]), lambda pk: get_prompt_version(request, pk), draft.workspace)
        if version is None:
            raise Http404
        drafts.choose_prompt(draft, version)
        return redirect("launch-model", pk=draft.pk)
    if wants_part(request) and request.GET.get("show"):
        version = _version(request.GET["show"], lambda pk: get_prompt_version(request, pk), draft.workspace)
        return _first_row(request, draft.dataset_version, version)
    text = request.GET.get("q", "").strip()[:200]
    found = queries.prompts(draft.workspace, text, draft.dataset_version.columns, draft.prompt_version)
    context = {"found": found, "q": text, "form": form, "version": draft.dataset_version}
    if wants_part(request):
        return render(request, "jobs/_launch_prompts.html", {**context, "draft": draft})
    return page(request, draft, "prompt", context, 422 if form is not None else 200)


def _first_row(request: HttpRequest, table: DatasetVersion, version: PromptVersion | None) -> HttpResponse:
    if version is None:
        raise Http404
    shown = preview.render(table, version.system, version.user, [0])
    row = shown.rows[0] if shown.rows else None
    return render(request, "jobs/_launch_first_row.html", {"version": version, "row": row, "problem": shown.problem})


@require_http_methods(["GET", "POST"])
@step
def model(request: HttpRequest, draft: Job) -> HttpResponse:
    """Which model, with what each would cost. The page comes at once, the table (htmx) when it is counted; htmx posts what is typed."""
    if draft.dataset_version is None or draft.prompt_version is None:
        return redirect("launch", pk=draft.pk)
    params = drafts.params_of(draft)
    if request.method == "POST" and wants_part(request):
        _keep_params(draft, draft.prompt_version, ModelForm(request.POST))
        request.GET = _table_query(request.POST)  # type: ignore[assignment]  # what the links of the table go on from
        return render(request, "jobs/_launch_models.html", {**_model_table(draft, request.GET), "draft": draft})
    if request.method == "POST":
        form = ModelForm(request.POST, initial=ModelForm.initial_of(params))
        if form.is_valid() and _choose_model(request, draft, form):
            return redirect("launch-review" if request.POST.get("next") == "review" else "launch-try", pk=draft.pk)
        query = f"pick={quote(form.data.get('pick', ''))}"
        return page(request, draft, "model", {"form": form, "query": query, **_connections(draft, form)}, 422)
    if wants_part(request) or request.GET.get("now"):
        table = _model_table(draft, request.GET)
        if wants_part(request):
            return render(request, "jobs/_launch_models.html", {**table, "draft": draft})
    else:
        table = {}
    form = ModelForm(initial=ModelForm.initial_of(params))
    return page(request, draft, "model", {"form": form, "query": request.GET.urlencode(), **_connections(draft, form), **table})


def _connections(draft: Job, form: ModelForm) -> dict[str, Any]:
    """Those that a model by name may be on, and the one that is chosen for that."""
    other = form["other_connection"].value() or tables.default_connection(draft.workspace, draft.connection_id)
    return {"names": tables.connections(draft.workspace), "other": other}


def _choose_model(request: HttpRequest, draft: Job, form: ModelForm) -> bool:
    """Keep what was picked; False, with the form saying why, where it cannot be."""
    data = form.cleaned_data
    try:
        connection = get_connection(request, UUID(data["connection"]))
    except ValueError:
        form.add_error(None, "Choose a model." if not data["model"] else "Choose the connection that has this model.")
        return False
    if connection.workspace_id != draft.workspace_id or not data["model"]:
        form.add_error(None, "Choose a model of this workspace.")
        return False
    assert draft.prompt_version
    changes = ModelForm.changes(draft.prompt_version.params, form.params())
    drafts.choose_model(draft, connection, data["model"], changes)
    wrong = [trouble.words for trouble in drafts.troubles_of(draft) if trouble.step == "model"]
    for words in wrong:
        form.add_error(None, words)
    return not wrong


def _keep_params(draft: Job, version: PromptVersion, form: ModelForm) -> None:
    """Keep what is typed, once all of it can be read."""
    form.is_valid()
    if not form.errors.keys() & {"max_output_tokens", "temperature", "other"}:
        drafts.choose_params(draft, ModelForm.changes(version.params, form.params()))


def _table_query(post: QueryDict) -> QueryDict:
    """What the table is asked for, without the parameters that the draft has."""
    query = QueryDict(mutable=True)
    query.update({name: str(post[name]) for name in ("q", "connection", "show", "now", "pick") if post.get(name)})
    return query


def _model_table(draft: Job, get: QueryDict) -> dict[str, Any]:
    """The table of models as `get` asks for it, priced with the draft's parameters."""
    wanted = tables.Wanted(get.get("q", ""), get.get("connection", ""), get.get("show", ""), get.get("sort", "cost"), get.get("pick", ""))
    try:
        found = offers.offers_of(draft)
    except BadInput as error:
        return {"problem": str(error)}
    number = get.get("page", "1")
    page_of = tables.page_of(found, wanted, int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 1)
    return {"table": page_of, "wanted": wanted, "per_page": tables.PER_PAGE, "target": "#models", "sort": wanted.sort}


@require_http_methods(["GET", "POST"])
@step
def review(request: HttpRequest, draft: Job) -> HttpResponse:
    """Everything in one place. A POST keeps the terms (lane, attempts, cap) and shows what they change."""
    if draft.dataset_version is None or draft.prompt_version is None or not draft.model:
        return redirect("launch", pk=draft.pk)
    form = None
    if request.method == "POST":
        form = TermsForm(request.POST)
        if form.is_valid():
            drafts.choose_terms(draft, **form.cleaned_data)
            if not wants_part(request):
                return redirect("launch-review", pk=draft.pk)
            form = None
    return review_page(request, draft, form)


def review_page(request: HttpRequest, draft: Job, form: TermsForm | None, problem: str = "") -> HttpResponse:
    """The review page, or its part for htmx; 422 with a form that is not accepted or a problem."""
    status = 422 if form is not None or problem else 200
    initial = {"name": draft.name, "lane": draft.lane, "max_attempts": draft.max_attempts, "cap_usd": _short(draft.cap_usd)}
    costs = _costs(draft)
    context = {
        "form": form or TermsForm(initial=initial),
        "troubles": drafts.troubles_of(draft),
        "mark": drafts.mark_of(draft),
        "problem": problem,
        "params": drafts.params_of(draft),
        "asks_approval": bool(costs.get("crossings")) and current_membership(request).may(Role.ADMIN),
        "asks_unpriced": _asks_unpriced(draft, costs),
        **costs,
    }
    if wants_part(request):
        return render(request, "jobs/_launch_review.html", {**context, "draft": draft}, status=status)
    return page(request, draft, "review", context, status)


def _costs(draft: Job) -> dict[str, Any]:
    """The lanes with their prices, the words of the button, and the caps that would be crossed."""
    assert draft.connection
    try:
        found = offers.estimate_of(draft)
        left = offers.rows_left(draft)
    except BadInput as error:
        return {"uncounted": str(error)}
    known = history.pace_of(draft.workspace, draft.connection.kind, draft.model, left, sandbox=draft.connection.is_sandbox)
    pace = _pace(known) if known else ""
    crossings = budget.crossings(draft.workspace, found, Lane(draft.lane), draft.cap_usd, draft.paid_usd, left, draft.connection)
    told = {"bill": tables.bill_of(draft, found, left, pace), "crossings": [each.words for each in crossings]}
    return {**told, "caching": caching.proposal_of(draft)}


def _pace(known: history.Pace) -> str:
    """How long such batches took here, as the end of a sentence."""
    usual, slow = (duration(seconds).replace("<", "under ") for seconds in (known.median, known.slow))
    return f"; here {usual} is usual" if usual == slow else f"; here {usual} is usual, and 9 of 10 took at most {slow}"


def _asks_unpriced(draft: Job, costs: dict[str, Any]) -> bool:
    """Whether a person must say that a job without a known price goes all the same. A cap asks for more; the sandbox charges nothing."""
    bill = costs.get("bill")
    return bill is not None and not bill.priced and not costs["crossings"] and not (draft.connection and draft.connection.is_sandbox)


def _short(value: Decimal | None) -> str:
    return "" if value is None else f"{value.normalize():f}"


@only_post("launch-review", "pk")
@step
def fixed_first(request: HttpRequest, draft: Job) -> HttpResponse:
    """Make the proposed order of the prompt its next version, and take that for this draft."""
    try:
        version = caching.adopt(draft, request.user)  # type: ignore[arg-type]
        messages.success(request, f"Version {version.number} of the prompt is made and taken for this job. Look at it before you launch.")
    except BadInput as error:
        messages.error(request, str(error))
    return redirect("launch-review", pk=draft.pk)


@only_post("launch-review", "pk")
@step
def go(request: HttpRequest, draft: Job) -> HttpResponse:
    """Launch what the review page showed, once: a second click, or a second window, gets the job that the first one made."""
    if draft.dataset_version is None or draft.prompt_version is None or not draft.connection_id or not draft.model:
        return redirect("launch", pk=draft.pk)
    form = TermsForm(request.POST)
    if not form.is_valid():
        return review_page(request, draft, form)
    if request.POST.get("mark") != drafts.mark_of(draft):
        return review_page(
            request, draft, None, "This draft, or a price of its model, was changed meanwhile. Look at it again, then launch."
        )
    drafts.choose_terms(draft, **form.cleaned_data)
    try:
        costs = _costs(draft)
        if "uncounted" in costs:  # without an estimate nothing that the page showed, and no cap, is held against the launch
            raise BadInput(costs["uncounted"])
        bill = costs["bill"]
        if _asks_unpriced(draft, costs) and not request.POST.get("unpriced"):
            raise BadInput("The price of this model is not known.", "Tick that it may be launched anyway, or give the model a price.")
        plan = drafts.plan_of(draft, {**bill.estimate.to_json(), "words": bill.words})
        if request.POST.get("approve") and current_membership(request).may(Role.ADMIN):
            plan.approved_by = request.user  # type: ignore[assignment]
        job = launch(plan, request.user, draft)  # type: ignore[arg-type]
    except BadInput as error:
        if str(error) in (drafts.LAUNCHED, drafts.GONE):
            raise
        return review_page(request, draft, None, str(error))
    return to_job(job)


@only_post("launch", "pk")
@step
def discard(request: HttpRequest, draft: Job) -> HttpResponse:
    """Throw the draft away."""
    drafts.discard(draft)
    messages.success(request, f"The draft “{draft.name}” is discarded.")
    return redirect("job-list")


def _dataset_version(request: HttpRequest, form: DataForm, workspace: Workspace) -> DatasetVersion:
    version = _version(str(form.cleaned_data["dataset_version"]), lambda pk: get_dataset_version(request, pk), workspace)
    if version is None:
        raise Http404
    return version


def _version(text: str, get: Callable[[UUID], Any], workspace: Workspace) -> Any:
    """A version by the id that a URL or form gave; None for what is no id. 404 for what is not this workspace's."""
    try:
        pk = UUID(text)
    except ValueError:
        return None
    found = get(pk)
    owner = found.dataset if isinstance(found, DatasetVersion) else found.prompt
    if owner.workspace_id != workspace.pk:
        raise Http404
    return found
