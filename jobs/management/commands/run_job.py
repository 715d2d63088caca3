"""Run a job in the foreground: the same engine as the dashboard, no queue, no cluster. It can be killed and resumed."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobs.engine import headless_job
from jobs.engine.headless import ready_database
from jobs.errors import BatchuiError
from jobs.models import Job
from jobs.words import JobState


class Command(BaseCommand):
    help = "Run a job in the foreground. Exit 0: every row succeeded; 1: finished, some rows did not; 2: bad input."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dataset", metavar="FILE")
        parser.add_argument("--prompt", metavar="FILE", help="the user template")
        parser.add_argument("--system", metavar="FILE", help="the system template")
        parser.add_argument("--schema", metavar="FILE", help="JSON Schema of the answer")
        parser.add_argument("--kind", choices=["generate", "embed", "moderate"], default="generate")
        parser.add_argument("--connection", metavar="NAME")
        parser.add_argument("--model")
        parser.add_argument("--param", metavar="K=V", action="append", default=[])
        parser.add_argument("--lane", choices=["batch", "flex", "direct"], default="batch")
        parser.add_argument("--max-attempts", type=int, default=3)
        parser.add_argument("--name", default="")
        parser.add_argument("--out", metavar="FILE.(csv|jsonl|parquet)")
        parser.add_argument("--defuse", action="store_true", help="put ' before cells in CSV that a spreadsheet would run as formulas")
        parser.add_argument("--receipt", metavar="FILE.json")
        parser.add_argument("--poll-seconds", type=float, default=5.0)
        parser.add_argument("--resume", metavar="ID", help="go on with a job that was interrupted")
        parser.add_argument("--retry", action="store_true", help="with --resume: send the rows that did not succeed once more")
        parser.add_argument("--workspace", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        ready_database()
        try:
            job = headless_job.resume(options) if options["resume"] else headless_job.start(options)
        except (BatchuiError, OSError) as error:
            raise CommandError(_words(error), returncode=2) from error
        self.stdout.write(f"Job ID {job.pk}")
        self.stdout.flush()
        try:
            job = headless_job.run(job, options["poll_seconds"], sys.stderr)
        except KeyboardInterrupt:
            raise CommandError(f"Interrupted. Nothing is lost; go on with --resume {job.pk}", returncode=130) from None
        try:
            headless_job.write_out(job, options)
        except (BatchuiError, OSError) as error:
            raise CommandError(_words(error), returncode=2) from error
        self.stdout.write(_told(job))
        if job.n_succeeded != job.n_rows:
            sys.exit(1)


def _words(error: Exception) -> str:
    """What is wrong with the input; of a file its name, not a number of the system."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return str(error)


def _told(job: Job) -> str:
    counts = ", ".join(f"{n:,} {kind}" for kind, n in job.counts.items() if n)
    return f"{JobState(job.state).look.label}: {counts}"
