"""Fill a workspace with jobs in every state, on the sandbox that runs here: for pictures, tests and looking around."""

from __future__ import annotations

import json
import urllib.request
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from batchui import local
from jobs.engine import demo
from jobs.models import Membership
from jobs.words import Role


class Command(BaseCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--sandbox", default=None, help="its address, if not the one that `up` started")
        parser.add_argument("--user", default="owner", help="whose first workspace is filled")

    def handle(self, *args: Any, **options: Any) -> None:
        """Refuses a workspace that has jobs."""
        url = options["sandbox"] or local.sandbox_url()
        if not url:
            raise CommandError("No sandbox runs here. Start batchui with `manage.py up`, or name one with --sandbox.")
        member = Membership.objects.filter(user__username=options["user"], role=Role.ADMIN).select_related("workspace", "user").first()
        if member is None:
            raise CommandError(f"{options['user']} is the admin of no workspace.")
        if member.workspace.jobs.exists():
            raise CommandError(f"“{member.workspace}” has jobs already. Choose a folder without any: BATCHUI_DATA.")
        made = demo.fill(member.workspace, member.user, url.rstrip("/"), lambda *order: arm(url, *order))
        for word, job in made.jobs.items():
            print(f"{word:10} {job.pk} {job.state}")


def arm(url: str, orders: str, model: str, times: int) -> None:
    """Give the next batches of a model these orders (docs/sandbox.md), at the sandbox there."""
    data = json.dumps({"orders": orders, "model": model, "times": times}).encode()
    request = urllib.request.Request(f"{url.rstrip('/')}/_control/arm", data, {"Content-Type": "application/json"})  # noqa: S310 - ours
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310
