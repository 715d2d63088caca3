"""The first start of a deployment: its first person, their workspace, and a provider to try things on."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.db import transaction
from django.urls import reverse

from batchui import link, local
from jobs.engine.remote import seal_key
from jobs.models import Connection, Membership, Workspace
from jobs.words import ProviderKind, Role

OWNER = "owner"


def prepare() -> str:
    """Make what is missing and return the path to sign in at: a one-time link until the owner has set a password, then the form."""
    with transaction.atomic():
        owner, made = get_user_model().objects.get_or_create(username=OWNER)
        if made:
            owner.set_unusable_password()
            owner.save()
        membership = Membership.objects.filter(user=owner).select_related("workspace").first()
        workspace = membership.workspace if membership else _make_workspace(owner.pk)
        _make_sandbox_connections(workspace)
    return reverse("signin") if owner.has_usable_password() else link.make(owner.pk)


def _make_workspace(owner_id: int) -> Workspace:
    workspace = Workspace.objects.create(name="My workspace")
    Membership.objects.create(workspace=workspace, user_id=owner_id, role=Role.ADMIN)
    return workspace


def _make_sandbox_connections(workspace: Workspace) -> None:
    """One in the manner of each provider; their address follows the sandbox's port."""
    url = local.sandbox_url()
    if url is None:
        return
    for name, kind, base in (("Sandbox (OpenAI)", ProviderKind.OPENAI, f"{url}/v1"), ("Sandbox (Anthropic)", ProviderKind.ANTHROPIC, url)):
        connection, made = Connection.objects.get_or_create(
            workspace=workspace, name=name, is_sandbox=True, defaults={"kind": kind, "base_url": base}
        )
        if made or connection.base_url != base:
            connection.base_url = base
            seal_key(connection, "sk-sandbox-no-secret")  # the seal is bound to the address
            connection.save()
