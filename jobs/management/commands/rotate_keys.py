"""Seal every provider key again with the newest seal key. Add the new key first, run this, then remove the old one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from batchui import seal
from jobs.engine.remote import aad
from jobs.models import Connection


class Command(BaseCommand):
    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints how many were sealed again; exits with an error that names the connections whose key does not open."""
        done, broken = 0, []
        for pk in Connection.objects.exclude(sealed_key="").values_list("pk", flat=True):
            with transaction.atomic():
                connection = Connection.objects.select_for_update().get(pk=pk)
                try:
                    sealed = seal.reseal(connection.sealed_key, aad(connection))
                except seal.SealBroken:
                    broken.append(connection.name)
                    continue
                if sealed != connection.sealed_key:
                    connection.sealed_key = sealed
                    connection.save(update_fields=["sealed_key"])
                    done += 1
        self.stdout.write(f"Sealed {done} key(s) again.")
        if broken:
            raise CommandError(f"The keys of these connections do not open and must be entered again: {', '.join(broken)}")
