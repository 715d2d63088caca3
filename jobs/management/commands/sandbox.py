"""`manage.py sandbox`: the provider on loopback."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from jobs.sandbox.launch import add_arguments, run


class Command(BaseCommand):
    help = "Run the sandbox: a provider on loopback that costs nothing."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        run(options["port"], options["data"], options["seconds"])
