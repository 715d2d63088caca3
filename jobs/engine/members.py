"""Who belongs to a workspace, as what; new workspaces. A workspace always keeps an admin."""

from __future__ import annotations

import re
from decimal import Decimal

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.auth.tokens import default_token_generator
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.urls import reverse
from django.utils.encoding import force_bytes, force_str
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

from jobs.engine import audit_log
from jobs.errors import BadInput
from jobs.models import Membership, Workspace
from jobs.words import Role

_NAME = re.compile(r"[\w.@+-]{1,150}\Z")


def create_workspace(user: User, name: str) -> Workspace:
    """A new, empty workspace with its maker as admin. Raises BadInput."""
    name = name.strip()
    if not name:
        raise BadInput("A workspace needs a name.")
    with transaction.atomic():
        workspace = Workspace.objects.create(name=name[:120])
        Membership.objects.create(workspace=workspace, user_id=user.pk, role=Role.ADMIN)
        audit_log.write(workspace, user, "workspace created", name)
    return workspace


def change_workspace(workspace: Workspace, user: User, *, name: str, monthly_cap_usd: Decimal | None) -> None:
    """Rename it, or set what it may spend in a calendar month (None: no cap). Raises BadInput."""
    name = name.strip()
    if not name:
        raise BadInput("A workspace needs a name.")
    with transaction.atomic():
        before = workspace.monthly_cap_usd
        workspace.name, workspace.monthly_cap_usd = name, monthly_cap_usd
        workspace.save(update_fields=["name", "monthly_cap_usd"])
        audit_log.write(workspace, user, "workspace changed", name, cap_before=_text(before), cap_after=_text(monthly_cap_usd))


def add_member(workspace: Workspace, user: User, username: str, role: Role) -> tuple[Membership, str]:
    """The membership, and the path of a join link where the person is new ("" for who can sign in already). Raises BadInput."""
    username = username.strip()
    if not _NAME.match(username):
        raise BadInput("A name may have letters, digits and @ . + - _, and no spaces.")
    try:
        with transaction.atomic():
            person = User.objects.filter(username__iexact=username).first()
            if person is None:
                person = User(username=username)
                person.set_unusable_password()
                person.save()
            if Membership.objects.filter(workspace=workspace, user=person).exists():
                raise BadInput(f"{person.username} is a member already.", "Change the role in the table.")
            made = Membership.objects.create(workspace=workspace, user=person, role=role)
            audit_log.write(workspace, user, "member added", person.username, role=str(role))
    except IntegrityError as error:
        raise BadInput(f"{username} was added by somebody else in this moment.", "Load the page again.") from error
    return made, join_path(person) if is_waiting(made) else ""


def change_role(membership: Membership, user: User, role: Role) -> None:
    """Raises BadInput where the workspace would lose its last admin."""
    with transaction.atomic():
        _keep_an_admin(membership, role)
        before, membership.role = membership.role, role
        membership.save(update_fields=["role"])
        audit_log.write(membership.workspace, user, "role changed", membership.user.get_username(), before=before, after=str(role))


def remove_member(membership: Membership, user: User) -> None:
    """What the person made stays. Raises BadInput where the workspace would lose its last admin."""
    with transaction.atomic():
        _keep_an_admin(membership, None)
        membership.delete()
        audit_log.write(membership.workspace, user, "member removed", membership.user.get_username())


def new_join_path(membership: Membership, user: User) -> str:
    """Another join link for a member who has not used one. Raises BadInput for anyone who could sign in before."""
    if not is_waiting(membership):
        raise BadInput(f"{membership.user.get_username()} has signed in already and needs no link.")
    audit_log.write(membership.workspace, user, "join link made", membership.user.get_username())
    return join_path(membership.user)


def is_waiting(membership: Membership) -> bool:
    """Whether the person was added but never came. An account of another workspace, or of the operator, is never handed out by link."""
    person = membership.user
    if person.has_usable_password() or person.last_login is not None or person.is_staff or person.is_superuser:
        return False
    return not Membership.objects.filter(user=person).exclude(workspace=membership.workspace).exists()


def join_path(person: User) -> str:
    """The path of a link by which a new person sets a password. It ends with its first use, or after PASSWORD_RESET_TIMEOUT."""
    token = default_token_generator.make_token(person)
    return reverse("workspace-join", args=[urlsafe_base64_encode(force_bytes(person.pk)), token])


def joining(uid: str, token: str) -> User | None:
    """Whose join link it is; None for one that is false, used or too old."""
    try:
        person = get_user_model().objects.filter(pk=int(force_str(urlsafe_base64_decode(uid))), is_active=True).first()
    except (ValueError, UnicodeDecodeError, OverflowError):
        return None
    if person is None or person.has_usable_password() or not default_token_generator.check_token(person, token):
        return None
    return person


def _keep_an_admin(membership: Membership, role: Role | None) -> None:
    """Lock the admins of a workspace, in one order for all, and whose role changes. Raises BadInput where the last one would go, or where
    the person is no member any more."""
    whole = Membership.objects.select_for_update(no_key=True).filter(workspace_id=membership.workspace_id).order_by("pk")
    roles = dict(whole.filter(Q(role=Role.ADMIN) | Q(pk=membership.pk)).values_list("pk", "role"))
    if membership.pk not in roles:
        raise BadInput(f"{membership.user.get_username()} is no member any more.", "Load the page again.")
    membership.role = roles.pop(membership.pk)
    if membership.role == Role.ADMIN and role != Role.ADMIN and Role.ADMIN not in roles.values():
        raise BadInput(f"{membership.user.get_username()} is the last admin.", "Make another member an admin first.")


def _text(amount: Decimal | None) -> str:
    return "none" if amount is None else format(amount.normalize(), "f")
