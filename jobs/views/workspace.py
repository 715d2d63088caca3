"""The workspace: members and roles, prices, audit log, settings; joining and switching."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.forms import SetPasswordForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods

from jobs.access import current_membership, current_workspace, get_member, get_price, member, use_workspace
from jobs.engine import members as engine
from jobs.engine.prices import Unpriced, remove_price, unpriced_models
from jobs.errors import BadInput
from jobs.forms.workspace import ROLE_MEANING, MemberForm, NewWorkspaceForm, PriceForm, RoleForm, WorkspaceForm, ZoneForm
from jobs.models import PriceOverride
from jobs.queries import workspace as queries
from jobs.views.posting import only_post
from jobs.words import ProviderKind, Role

JOIN_KEY = "join-link"
ZONE_SECONDS = 365 * 24 * 3600
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


def _frame(request: HttpRequest, at: str) -> dict[str, Any]:
    """The tabs and what every page of the workspace knows."""
    admin = current_membership(request).may(Role.ADMIN)
    names = [("Members", "workspace-detail"), ("Prices", "price-list"), ("Settings", "workspace-settings")]
    if admin:
        names.insert(2, ("Audit log", "workspace-log"))
    tabs = [{"label": label, "url": reverse(name), "current": name == at} for label, name in names]
    return {"tabs": tabs, "can_change": admin, "nav": "workspace"}


@never_cache
@require_GET
@member()
def workspace_detail(request: HttpRequest) -> HttpResponse:
    return _members(request, MemberForm())


def _members(request: HttpRequest, form: MemberForm, status: int = 200) -> HttpResponse:
    joined = request.session.pop(JOIN_KEY, None) if status == 200 else None  # shown once
    page = {
        **_frame(request, "workspace-detail"),
        "members": queries.members_of(current_workspace(request), request.user),
        "form": form,
        "roles": [{"role": role, "meaning": ROLE_MEANING[role]} for role in Role],
        "joined": joined,
    }
    return render(request, "jobs/workspace.html", page, status=status)


@only_post("workspace-detail")
@member(Role.ADMIN)
def member_add(request: HttpRequest) -> HttpResponse:
    form = MemberForm(request.POST)
    if not form.is_valid():
        return _members(request, form, 422)
    try:
        made, path = form.save(current_workspace(request), request.user)  # type: ignore[arg-type]
    except BadInput as problem:
        form.add_error("username", str(problem))
        return _members(request, form, 422)
    name = made.user.get_username()
    if path:
        request.session[JOIN_KEY] = [name, request.build_absolute_uri(path)]
    messages.success(request, f"{name} is now {_a(Role(made.role))} of this workspace.")
    return redirect("workspace-detail")


@only_post("workspace-detail")
@member()
def member_role(request: HttpRequest, pk: int) -> HttpResponse:
    found, form = get_member(request, pk), RoleForm(request.POST)
    name = found.user.get_username()
    if not form.is_valid():
        messages.error(request, "That is not a role.")
        return _members(request, MemberForm(), 422)
    try:
        engine.change_role(found, request.user, Role(form.cleaned_data["role"]))  # type: ignore[arg-type]
    except BadInput as problem:
        messages.error(request, str(problem))
        return _members(request, MemberForm(), 422)
    messages.success(request, f"{name} is now {_a(Role(found.role))}.")
    return redirect("workspace-detail")


@only_post("workspace-detail")
@member()
def member_remove(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_member(request, pk)
    name, myself = found.user.get_username(), found.user_id == request.user.pk
    try:
        engine.remove_member(found, request.user)  # type: ignore[arg-type]
    except BadInput as problem:
        messages.error(request, str(problem))
        return _members(request, MemberForm(), 422)
    messages.success(request, f"{name} is no longer a member. What they made stays.")
    return redirect("home" if myself else "workspace-detail")


@only_post("workspace-detail")
@member()
def member_link(request: HttpRequest, pk: int) -> HttpResponse:
    """Another join link for who has not come yet."""
    found = get_member(request, pk)
    try:
        path = engine.new_join_path(found, request.user)  # type: ignore[arg-type]
    except BadInput as problem:
        messages.error(request, str(problem))
        return _members(request, MemberForm(), 422)
    request.session[JOIN_KEY] = [found.user.get_username(), request.build_absolute_uri(path)]
    return redirect("workspace-detail")


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def join(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """A new member sets a password, and is in. The link ends with that."""
    person = engine.joining(uid, token)
    if person is None:
        return render(request, "jobs/workspace_join.html", {"gone": True}, status=404)
    form = SetPasswordForm(person, request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        login(request, person, backend=MODEL_BACKEND)
        return redirect("/")
    page = {"form": form, "person": person}
    return render(request, "jobs/workspace_join.html", page, status=422 if request.method == "POST" else 200)


@require_GET
@member()
def workspace_settings(request: HttpRequest) -> HttpResponse:
    return _settings(request)


def _settings(
    request: HttpRequest, form: WorkspaceForm | None = None, new: NewWorkspaceForm | None = None, status: int = 200
) -> HttpResponse:
    workspace = current_workspace(request)
    workspace.refresh_from_db(fields=["name", "monthly_cap_usd"])
    cap = None if workspace.monthly_cap_usd is None else workspace.monthly_cap_usd.quantize(Decimal("0.01"))
    page = {
        **_frame(request, "workspace-settings"),
        "form": form or WorkspaceForm(initial={"name": workspace.name, "monthly_cap_usd": cap}),
        "new_form": new or NewWorkspaceForm(prefix="new"),
        "zone_form": ZoneForm(initial={"zone": request.COOKIES.get("zone", "")}),
        "month": queries.month_of(workspace),
    }
    return render(request, "jobs/workspace_settings.html", page, status=status)


@only_post("workspace-settings")
@member(Role.ADMIN)
def workspace_save(request: HttpRequest) -> HttpResponse:
    form = WorkspaceForm(request.POST)
    if not form.is_valid():
        return _settings(request, form, status=422)
    try:
        form.save(current_workspace(request), request.user)  # type: ignore[arg-type]
    except BadInput as problem:
        form.add_error("name", str(problem))
        return _settings(request, form, status=422)
    messages.success(request, "The workspace is saved.")
    return redirect("workspace-settings")


@only_post("workspace-settings")
@member()
def workspace_new(request: HttpRequest) -> HttpResponse:
    """Anyone may found a workspace; it is then the one they look at."""
    form = NewWorkspaceForm(request.POST, prefix="new")
    if not form.is_valid():
        return _settings(request, new=form, status=422)
    try:
        made = engine.create_workspace(request.user, form.cleaned_data["name"])  # type: ignore[arg-type]
    except BadInput as problem:
        form.add_error("name", str(problem))
        return _settings(request, new=form, status=422)
    use_workspace(request, made.pk)
    messages.success(request, f"{made.name} is made, and you are in it. Add a connection next, or members.")
    return redirect("workspace-detail")


@only_post("home")
@member()
def workspace_switch(request: HttpRequest) -> HttpResponse:
    try:
        use_workspace(request, UUID(request.POST.get("workspace", "")))
    except ValueError as problem:
        raise Http404 from problem
    return redirect("/")


@only_post("workspace-settings")
@member()
def workspace_zone(request: HttpRequest) -> HttpResponse:
    """Times in a zone that the person chose, in this browser; empty: as the browser says."""
    form = ZoneForm(request.POST)
    if not form.is_valid():
        messages.error(request, "That is not a time zone.")
        return _settings(request, status=422)
    response = redirect("workspace-settings")
    if zone := form.cleaned_data["zone"]:
        response.set_cookie("zone", zone, max_age=ZONE_SECONDS, samesite="Lax", httponly=True, secure=request.is_secure())
    else:
        response.delete_cookie("zone")
    messages.success(request, f"Times are shown in {zone.replace('_', ' ')}." if zone else "Times are shown as this browser says.")
    return response


@require_GET
@member()
def price_list(request: HttpRequest) -> HttpResponse:
    kind, model = request.GET.get("kind", ""), request.GET.get("model", "")[:200]
    known = PriceOverride.objects.filter(workspace=current_workspace(request), kind=kind, model=model).first() if model else None
    if known is not None:
        return _prices(request, PriceForm.of(known))
    return _prices(request, PriceForm(initial={"kind": kind or ProviderKind.OPENAI, "model": model}))


def _prices(request: HttpRequest, form: PriceForm, status: int = 200) -> HttpResponse:
    workspace = current_workspace(request)
    unpriced = _by_model(unpriced_models(workspace))
    page = {
        **_frame(request, "price-list"),
        "form": form,
        "overrides": queries.overrides_of(workspace),
        "unpriced": unpriced[:100],
        "n_unpriced": len(unpriced),
    }
    return render(request, "jobs/workspace_prices.html", page, status=status)


def _by_model(found: list[Unpriced]) -> list[dict[str, Any]]:
    """One line a model, with the names of all connections that want its price: a price is entered for all of them at once."""
    lines: dict[tuple[str, str, bool, str], dict[str, Any]] = {}
    for each in found:
        key = (each.connection.kind, each.model, each.nothing, each.reason)
        line = lines.setdefault(key, {"kind": key[0], "model": key[1], "nothing": key[2], "reason": key[3], "used": False, "names": []})
        line["used"] |= each.used
        line["names"].append(each.connection.name)
    return [{**line, "connections": ", ".join(line["names"])} for line in lines.values()]


@only_post("price-list")
@member(Role.ADMIN)
def price_save(request: HttpRequest) -> HttpResponse:
    form = PriceForm(request.POST)
    if not form.is_valid():
        return _prices(request, form, 422)
    try:
        saved = form.save(current_workspace(request), request.user)  # type: ignore[arg-type]
    except BadInput as problem:
        form.add_error(None, str(problem))
        return _prices(request, form, 422)
    messages.success(request, f"The price of {saved.model} is saved. It counts for jobs launched from now on.")
    return redirect("price-list")


@only_post("price-list")
@member()
def price_remove(request: HttpRequest, pk: int) -> HttpResponse:
    price = get_price(request, pk)
    model = price.model
    remove_price(price, request.user)  # type: ignore[arg-type]
    messages.success(request, f"The entered price of {model} is removed.")
    return redirect("price-list")


@require_GET
@member(Role.ADMIN)
def workspace_log(request: HttpRequest) -> HttpResponse:
    workspace, text = current_workspace(request), request.GET.get("page", "1")
    number = int(text) if text.isdecimal() and len(text) < 8 else 1
    action = request.GET.get("action", "")
    lines, total = queries.log_page(workspace, number, action)
    page = {
        **_frame(request, "workspace-log"),
        "lines": lines,
        "total": total,
        "number": number,
        "per_page": queries.LOG_PAGE,
        "action": action,
        "actions": queries.log_actions(workspace),
    }
    partial = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    return render(request, f"jobs/{'_workspace_log' if partial else 'workspace_log'}.html", page)


def _a(role: Role) -> str:
    return f"{'a' if role == Role.VIEWER else 'an'} {role.label.lower()}"
