"""One of several workers that fight for a job: `python -m tests.concurrency.race <job>`. All of it is due always, until it has ended."""

import contextlib
import random
import sys
import time
from uuid import UUID

import django


def main() -> None:
    """Say that we are ready, wait for a line, work on the job until it has ended."""
    django.setup()
    from django.db import OperationalError, connection
    from django.utils import timezone

    from jobs.engine.advance import advance
    from jobs.engine.pump import LIVE_JOBS
    from jobs.models import Batch, Connection, Job

    connection.ensure_connection()
    print("ready", flush=True)
    sys.stdin.readline()
    job, ends = UUID(sys.argv[1]), time.monotonic() + 50
    while Job.objects.filter(pk=job, state__in=LIVE_JOBS).exists() and time.monotonic() < ends:
        batches = Batch.objects.filter(job=job)
        found = [("job", str(job)), *(("batch", str(pk)) for pk in batches.values_list("pk", flat=True))]
        found += [("connection", str(pk)) for pk in Connection.objects.filter(batches__in=batches).distinct().values_list("pk", flat=True)]
        random.shuffle(found)
        for kind, pk in found:
            with contextlib.suppress(OperationalError):  # SQLite is busy, as for a task of the queue
                Batch.objects.filter(job=job, state__in=["submitted", "unknown"]).update(next_look_at=timezone.now())
                advance(kind, pk)


if __name__ == "__main__":
    main()
