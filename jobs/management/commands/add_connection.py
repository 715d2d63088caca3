"""Add or change a connection from the command line; the key comes from an environment variable, never from an argument."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobs.engine.connections import save_connection
from jobs.engine.headless import headless_workspace, ready_database
from jobs.errors import BadInput
from jobs.words import ProviderKind


class Command(BaseCommand):
    help = "Add a connection to a provider, or change the one of that name."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--kind", choices=[kind.value for kind in ProviderKind], default=ProviderKind.OPENAI.value)
        parser.add_argument("--base-url", default="", help="the provider's own where it is left out")
        parser.add_argument("--key-env", required=True, metavar="VAR", help="the environment variable that holds the API key")
        parser.add_argument("--workspace", default="", help="name of the workspace; the first one where it is left out")

    def handle(self, *args: Any, **options: Any) -> None:
        key = os.environ.get(options["key_env"], "")
        if not key:
            raise CommandError(f"The environment variable {options['key_env']} is empty.", returncode=2)
        ready_database()
        try:
            workspace = headless_workspace(options["workspace"])
            connection, made = save_connection(
                workspace, None, name=options["name"], kind=options["kind"], base_url=options["base_url"], key=key, by_operator=True
            )
        except BadInput as error:
            raise CommandError(str(error), returncode=2) from error
        self.stdout.write(f"{'Added' if made else 'Changed'} {connection.name} ({connection.key_hint})")
