"""Run one worker cluster and its pump, until stopped. Start it again when it ends: it ends by itself when it stands still."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        """Work in this process."""
        from batchui import ledger
        from batchui.cluster import Machine

        ledger.ready()
        Machine().run()
