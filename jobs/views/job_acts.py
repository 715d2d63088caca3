"""What a person decides on a running or unfinished job: the rest in real time, a higher cap, an approval, the fate of a batch."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from jobs.access import get_job, member
from jobs.engine import budget, decide, give_up, history, orphans, rescue
from jobs.errors import BadInput
from jobs.formats import usd
from jobs.forms.acts import AdoptForm, AgainForm, CapForm, GiveUpForm
from jobs.models import Batch, Job
from jobs.queries.job import Facts, JobPage, Usual
from jobs.queries.job_acts import rescue_of
from jobs.queries.job_money import link
from jobs.views.orphans import orphan_lines
from jobs.views.posting import only_post
from jobs.words import BatchState, Role


def usual_of(job: Job, facts: Facts) -> Usual | None:
    """How long batches like those that it has at the provider took here; None where too few are known, or none is there."""
    if not facts.largest or job.connection is None:
        return None
    pace = history.pace_of(job.workspace, job.connection.kind, job.model, facts.largest, sandbox=job.connection.is_sandbox)
    return Usual(pace.median, pace.slow, pace.n) if pace else None


def acts_of(job: Job, page: JobPage, usual: Usual | None) -> dict[str, Any]:
    """What the page of the job offers: the rescue, and what a cap holds."""
    offered = rescue.offer(job)
    held = budget.held_of(job) if job.needs.startswith(budget.NEEDS) else None
    return {
        "rescue": rescue_of(job, page.facts, offered.rows, offered.realtime, offered.batch, offered.more, usual),
        "held": held,
        "stuck": give_up.stuck_of(job) if page.facts.n_on_batch_lane or page.facts.states.get(BatchState.FETCHED) else [],
        "cap_form": CapForm(initial={"cap_usd": held.enough}) if held else None,
    }


@only_post("job-detail", "pk")
@member(Role.ANALYST)
def job_rescue(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The rest in real time, once per token."""
    job = get_job(request, pk, Role.ANALYST)
    token = request.POST.get("token", "")
    try:
        if not 16 <= len(token) <= 64:
            raise BadInput("The form is not complete.", "Load the page again, then try once more.")
        rescue.rescue(job, request.user, token=token)  # type: ignore[arg-type]
        messages.success(request, "What runs is cancelled and collected first, then the remaining rows are sent in real time.")
    except BadInput as error:
        _say(request, error)
    return redirect("job-detail", pk=job.pk)


@only_post("job-detail", "pk")
@member(Role.ANALYST)
def job_cap(request: HttpRequest, pk: UUID) -> HttpResponse:
    """A higher cap of the job."""
    job = get_job(request, pk, Role.ANALYST)
    form = CapForm(request.POST)
    if not form.is_valid():
        messages.error(request, f"The cap was not raised: {' '.join(str(each) for each in form.errors['cap_usd'])}")
        return redirect("job-detail", pk=job.pk)
    try:
        budget.raise_cap(job, request.user, form.cleaned_data["cap_usd"])  # type: ignore[arg-type]
        messages.success(request, f"The cap is {usd(form.cleaned_data['cap_usd'])} now.")
    except BadInput as error:
        _say(request, error)
    return redirect("job-detail", pk=job.pk)


@only_post("job-detail", "pk")
@member(Role.ADMIN)
def job_approve(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Let the job go over its cap and the workspace's."""
    job = get_job(request, pk, Role.ADMIN)
    try:
        budget.approve(job, request.user)  # type: ignore[arg-type]
        messages.success(request, "Approved: this job may go over its cap and the workspace's.")
    except BadInput as error:
        _say(request, error)
    return redirect("job-detail", pk=job.pk)


@require_http_methods(["GET", "POST"])
@member(Role.ADMIN)
def batch_decide(request: HttpRequest, pk: UUID, batch_pk: UUID) -> HttpResponse:
    """A batch that the provider gave no clear answer to: take one of the provider's as it, or send it again and bear the risk."""
    job = get_job(request, pk, Role.ADMIN)
    batch = get_object_or_404(Batch.objects.select_related("connection", "round", "job"), pk=batch_pk, job=job)
    if batch.state not in decide.UNDECIDED:
        messages.info(request, f"{batch.label.capitalize()} needs no decision any more: the provider's answer is known.")
        return redirect("job-detail", pk=job.pk)
    adopt_form, again_form = AdoptForm(), AgainForm()
    problem: BadInput | None = None
    act = request.POST.get("act", "")
    try:
        if act == "look":
            orphans.look(batch.connection)
            return redirect("job-decide", pk=job.pk, batch_pk=batch.pk)
        if act == "adopt":
            adopt_form = AdoptForm(request.POST)
            if adopt_form.is_valid():
                decide.adopt(batch, request.user, adopt_form.wanted)  # type: ignore[arg-type]
                messages.success(request, f"{batch.label.capitalize()} is {adopt_form.wanted} at the provider; it is followed to its end.")
                return redirect("job-detail", pk=job.pk)
        if act == "again":
            again_form = AgainForm(request.POST)
            if again_form.is_valid():
                decide.resubmit(batch, request.user)  # type: ignore[arg-type]
                messages.success(request, f"{batch.label.capitalize()} is sent again.")
                return redirect("job-detail", pk=job.pk)
    except BadInput as error:
        problem = error
    found = orphans.orphans_of(batch.connection)
    fits = [line for line in orphan_lines(batch.connection, found).lines if str(batch.pk) in line.orphan.could_be]
    context = {
        "job": job,
        "batch": batch,
        "found": found,
        "fits": fits,
        "adopt_form": adopt_form,
        "again_form": again_form,
        "risk": decide.risk_in_words(batch),
        "risk_usd": decide.risk_of(batch),
        "problem": problem,
        "stuck": give_up.reason_of(batch),
        "crumbs": [("Jobs", link("job-list")), (job.name, link("job-detail", job.pk))],
    }
    return render(request, "jobs/decide.html", context, status=422 if request.method == "POST" else 200)


@require_http_methods(["GET", "POST"])
@member(Role.ADMIN)
def batch_give_up(request: HttpRequest, pk: UUID, batch_pk: UUID) -> HttpResponse:
    """A batch that the provider never ends, or does not know any more: close it without answers, and bear the risk."""
    job = get_job(request, pk, Role.ADMIN)
    batch = get_object_or_404(Batch.objects.select_related("connection", "round", "job"), pk=batch_pk, job=job)
    reason = give_up.reason_of(batch)
    if not reason:
        messages.info(request, f"{batch.label.capitalize()} is not one to give up: it has come back, or is still within its time.")
        return redirect("job-detail", pk=job.pk)
    form, problem = GiveUpForm(request.POST or None), None
    if request.method == "POST" and form.is_valid():
        try:
            give_up.give_up(batch, request.user)  # type: ignore[arg-type]
            messages.success(request, f"{batch.label.capitalize()} is given up. Its rows are under Failures as “No answer came back”.")
            return redirect("job-detail", pk=job.pk)
        except BadInput as error:
            problem = error
    context = {
        "job": job,
        "batch": batch,
        "reason": reason,
        "form": form,
        "risk": give_up.risk_in_words(batch),
        "problem": problem,
        "crumbs": [("Jobs", link("job-list")), (job.name, link("job-detail", job.pk))],
    }
    return render(request, "jobs/give_up.html", context, status=422 if request.method == "POST" else 200)


def _say(request: HttpRequest, error: BadInput) -> None:
    messages.error(request, f"{error.message} {error.hint}".strip())
