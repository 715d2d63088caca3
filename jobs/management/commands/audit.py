"""Count every job again from its files, and compare with the ledger. Exit 1 where something does not add up."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from jobs.engine.audit import Finding, audit_job, unknown_jobs
from jobs.models import Job
from jobs.words import JobState


class Command(BaseCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--job", metavar="ID", help="this job alone")

    def handle(self, *args: Any, **options: Any) -> None:
        jobs = (
            Job.objects.exclude(state=JobState.DRAFT).select_related("dataset_version", "dataset_version__dataset").order_by("created_at")
        )
        if options["job"]:
            try:
                jobs = jobs.filter(pk=options["job"])
            except ValidationError as error:
                raise CommandError(f"“{options['job']}” is not a job's id.", returncode=2) from error
        n_jobs = n_rows = n_findings = 0
        for job in jobs.iterator(chunk_size=50):
            n_jobs, n_rows = n_jobs + 1, n_rows + job.n_rows
            n_findings += self._say(audit_job(job))
        if not options["job"]:
            n_findings += self._say(unknown_jobs())
        self.stdout.write(f"{n_jobs:,} jobs, {n_rows:,} rows: " + (f"{n_findings:,} findings" if n_findings else "everything adds up"))
        if n_findings:
            sys.exit(1)

    def _say(self, findings: list[Finding]) -> int:
        for finding in findings:
            self.stdout.write(str(finding))
        return len(findings)
