"""See a job and decide about it from the command line: what the job's page offers, for a machine without a browser."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from jobs.engine import decide, give_up
from jobs.engine.cancel import cancel
from jobs.engine.headless import ready_database
from jobs.errors import BadInput
from jobs.models import Batch, Job
from jobs.words import CLOSED, BatchState, JobState


class Command(BaseCommand):
    help = "Show a job with its open batches; cancel it, or decide about a batch whose fate is not clear."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", metavar="ID")
        parser.add_argument("--batch", type=int, metavar="N", help="number of the open batch that is decided about")
        acts = parser.add_mutually_exclusive_group()
        acts.add_argument("--cancel", action="store_true", help="cancel the job; what the provider has finished is kept and paid for")
        acts.add_argument("--adopt", metavar="PROVIDER_ID", help="with --batch: it is this one at the provider")
        acts.add_argument(
            "--send-again", action="store_true", help="with --batch: it is not at the provider; send it again and bear the risk"
        )
        acts.add_argument("--give-up", action="store_true", help="with --batch: it never comes back; end its rows without answers")

    def handle(self, *args: Any, **options: Any) -> None:
        ready_database()
        try:
            job = Job.objects.select_related("workspace").get(pk=options["id"])
        except (Job.DoesNotExist, ValidationError) as error:
            raise CommandError(f"There is no job {options['id']}.", returncode=2) from error
        try:
            self._act(job, options)
        except BadInput as error:
            raise CommandError(str(error), returncode=2) from error
        job.refresh_from_db()
        counts = ", ".join(f"{n:,} {kind}" for kind, n in job.counts.items() if n)
        self.stdout.write(f"{job.name}: {JobState(job.state).look.label}, {counts}")
        for batch in _open(job):
            reason = give_up.reason_of(batch) or batch.wait_reason
            said = (
                f"batch {batch.number}, round {batch.round.number}: {BatchState(batch.state).look.label.lower()}, {batch.n_requests:,} rows"
            )
            self.stdout.write(f"  {said}{f' ({reason})' if reason else ''}")

    def _act(self, job: Job, options: dict[str, Any]) -> None:
        if options["cancel"]:
            if not cancel(job, None):
                raise BadInput("The job is over, or is being cancelled already.")
            return
        if not (options["adopt"] or options["send_again"] or options["give_up"]):
            return
        batch = next((batch for batch in _open(job) if batch.number == options["batch"]), None)
        if batch is None:
            raise BadInput("Name an open batch of the job by --batch N.", "The command without a decision lists them.")
        if options["adopt"]:
            decide.adopt(batch, None, options["adopt"])
        elif options["send_again"]:
            self.stderr.write(decide.risk_in_words(batch))
            decide.resubmit(batch, None)
        else:
            self.stderr.write(give_up.risk_in_words(batch))
            give_up.give_up(batch, None)


def _open(job: Job) -> list[Batch]:
    """The batches of the job that have not come back, the newest round first."""
    batches = Batch.objects.filter(job=job).exclude(state__in=CLOSED).select_related("job", "round", "connection")
    return list(batches.order_by("-round__number", "number"))
