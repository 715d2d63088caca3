"""Mine or 404: the only way a view obtains an object. Who is not a member of its workspace learns nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from jobs.models import (
    Batch,
    Connection,
    Dataset,
    DatasetUpload,
    DatasetVersion,
    Job,
    Membership,
    PriceOverride,
    Prompt,
    PromptVersion,
    Workspace,
)
from jobs.words import Role

M = TypeVar("M", bound=Model)
Person = User | AnonymousUser
SESSION_KEY = "workspace"


def memberships(user: Person) -> QuerySet[Membership]:
    return Membership.objects.filter(user_id=user.pk or 0).select_related("workspace").order_by("workspace__name", "workspace_id")


def my_memberships(request: HttpRequest) -> list[Membership]:
    """All memberships of the person who asks, read once a request."""
    known: list[Membership] | None = getattr(request, "_memberships", None)
    if known is None:
        known = list(memberships(request.user))
        request._memberships = known  # type: ignore[attr-defined]
    return known


def current_membership(request: HttpRequest) -> Membership:
    """The person's membership of the workspace that they look at; 404 for who has none."""
    known = getattr(request, "_membership", None)
    if known is not None:
        return known
    mine = my_memberships(request)
    found = looked_at(request, mine)
    if found is None:
        raise Http404("You are not a member of a workspace.")
    request._membership = found  # type: ignore[attr-defined]
    return found


def looked_at(request: HttpRequest, mine: list[Membership]) -> Membership | None:
    """The chosen one; else the oldest: who adds a person to a workspace of theirs must not make it the place that this person works in."""
    wanted = request.session.get(SESSION_KEY)
    oldest = min(mine, key=lambda each: (each.created_at, each.pk), default=None)
    return next((each for each in mine if str(each.workspace_id) == wanted), oldest)


def current_workspace(request: HttpRequest) -> Workspace:
    return current_membership(request).workspace


def use_workspace(request: HttpRequest, pk: UUID) -> Workspace:
    """Look at another workspace of mine from now on."""
    request.__dict__.pop("_memberships", None)  # it may have been made a moment ago
    found = memberships(request.user).filter(workspace_id=pk).first()
    if found is None:
        raise Http404
    request.session[SESSION_KEY] = str(found.workspace_id)
    request._membership = found  # type: ignore[attr-defined]
    return found.workspace


def _mine(queryset: QuerySet[M], request: HttpRequest, pk: Any, needed: Role, path: str = "workspace") -> M:
    """One object of the workspace that the person looks at (or of another of theirs), if their role there is enough."""
    found = queryset.filter(pk=pk, **{f"{path}__memberships__user_id": request.user.pk}).first()
    if found is None:
        raise Http404
    target: Any = found
    for part in path.split("__"):
        target = getattr(target, part)
    role = next((Role(each.role) for each in my_memberships(request) if each.workspace_id == target.pk), None)
    if role is None or not role.may(needed):
        raise PermissionDenied(f"This needs the role {needed.label.lower()} in {target.name}.")
    if str(target.pk) != str(current_membership(request).workspace_id):
        use_workspace(request, target.pk)
    return found


def get_job(request: HttpRequest, pk: UUID, needed: Role = Role.VIEWER) -> Job:
    jobs = Job.objects.select_related("workspace", "dataset_version__dataset", "prompt_version__prompt", "connection", "created_by")
    return _mine(jobs, request, pk, needed)


def get_jobs(request: HttpRequest, pks: Sequence[UUID], needed: Role = Role.VIEWER) -> list[Job]:
    """Several jobs of one workspace, in this order and in three queries; 404 unless all of them are there and mine."""
    first = get_job(request, pks[0], needed)
    related = Job.objects.select_related("workspace", "dataset_version__dataset", "prompt_version__prompt", "connection", "created_by")
    found = {job.pk: job for job in related.filter(pk__in=pks[1:], workspace=first.workspace)} | {first.pk: first}
    if any(pk not in found for pk in pks):
        raise Http404
    return [found[pk] for pk in pks]


def get_batch(request: HttpRequest, pk: UUID, needed: Role = Role.VIEWER) -> Batch:
    return _mine(Batch.objects.select_related("job__workspace", "round", "connection"), request, pk, needed, "job__workspace")


def get_dataset(request: HttpRequest, pk: UUID, needed: Role = Role.VIEWER) -> Dataset:
    return _mine(Dataset.objects.select_related("workspace"), request, pk, needed)


def get_dataset_version(request: HttpRequest, pk: UUID, needed: Role = Role.VIEWER) -> DatasetVersion:
    return _mine(DatasetVersion.objects.select_related("dataset__workspace"), request, pk, needed, "dataset__workspace")


def get_upload(request: HttpRequest, pk: UUID, needed: Role = Role.VIEWER) -> DatasetUpload:
    return _mine(DatasetUpload.objects.select_related("workspace", "version"), request, pk, needed)


def get_prompt(request: HttpRequest, pk: UUID, needed: Role = Role.VIEWER) -> Prompt:
    return _mine(Prompt.objects.select_related("workspace", "dataset"), request, pk, needed)


def get_prompt_version(request: HttpRequest, pk: UUID, needed: Role = Role.VIEWER) -> PromptVersion:
    return _mine(PromptVersion.objects.select_related("prompt__workspace"), request, pk, needed, "prompt__workspace")


def get_connection(request: HttpRequest, pk: UUID, needed: Role = Role.VIEWER) -> Connection:
    return _mine(Connection.objects.select_related("workspace"), request, pk, needed)


def get_member(request: HttpRequest, pk: int, needed: Role = Role.ADMIN) -> Membership:
    return _mine(Membership.objects.select_related("workspace", "user"), request, pk, needed)


def get_price(request: HttpRequest, pk: int, needed: Role = Role.ADMIN) -> PriceOverride:
    return _mine(PriceOverride.objects.select_related("workspace"), request, pk, needed)


View = Callable[..., HttpResponse]


def member(needed: Role = Role.VIEWER) -> Callable[[View], View]:
    """A view for signed-in members whose role in the current workspace is at least `needed`."""

    def decorate(view: View) -> View:
        @wraps(view)
        def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.is_authenticated:
                return redirect(f"{reverse('signin')}?{urlencode({'next': request.get_full_path()})}")
            if not current_membership(request).may(needed):
                raise PermissionDenied(f"This needs the role {needed.label.lower()}.")
            return view(request, *args, **kwargs)

        wrapped.needed_role = needed  # type: ignore[attr-defined]
        return wrapped

    return decorate
