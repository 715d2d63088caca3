"""A job from outside, on a running installation: `python -m tests.ops.ledger_job launch <sandbox> <model> <rows>`, or `show <id>`.

Where a start has made no first person yet the job is nobody's, in the workspace of the commands.
"""

import json
import sys
from types import SimpleNamespace

import django


def main() -> None:
    """Launch prints the job's id; show prints what the ledger says of it, as JSON."""
    django.setup()
    from jobs.engine.headless import headless_workspace
    from jobs.models import Batch, Connection, Job, Membership

    if sys.argv[1] == "launch":
        from tests.jobs import make_connection, make_job

        member = Membership.objects.select_related("user", "workspace").first()
        workspace, user = (member.workspace, member.user) if member else (headless_workspace(), None)
        sandbox = SimpleNamespace(openai_url=f"{sys.argv[2]}/v1")
        if sys.argv[5:]:  # rows of a batch
            Connection.objects.filter(pk=make_connection(workspace, user, sandbox).pk).update(
                limits={"requests_per_batch": int(sys.argv[5])}
            )
        print(make_job(workspace, user, sandbox, model=sys.argv[3], n_rows=int(sys.argv[4]), settle=False).pk)
        return
    job = Job.objects.get(pk=sys.argv[2])
    told = {
        "state": job.state,
        "succeeded": job.n_succeeded,
        "rows": job.n_rows,
        "finished": job.finished_at and job.finished_at.timestamp(),
        "batches": [(batch.state, batch.n_submits) for batch in Batch.objects.filter(job=job)],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
