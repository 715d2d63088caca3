"""make soak: many jobs on a sandbox full of faults while real worker processes are killed at random, for some minutes; then the books.

A third of the jobs goes by ordinary calls, and the queue loses, doubles and delays tasks (`tools/soak_queue.py`).

Prints the crashes survived, the rows lost and the rows paid twice; exits with 1 unless both are 0, everything has ended and the audit
finds nothing. A row counts as paid twice where the same request of the same round ran twice; a retry of a row is a round of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
END_SECONDS = 240.0
MODELS = {
    "openai": [
        "gpt-6-luna+errors=2%,once",
        "gpt-6-luna+missing=1,duplicate=2,once",
        "gpt-6-luna+expire=60%,once",
        "gpt-6-luna",
    ],
    "anthropic": ["claude-haiku-4-5+errors=2%,once", "claude-haiku-4-5+duplicate=1,stray=1,once", "claude-haiku-4-5"],
}
FAULTS: list[dict[str, Any]] = [
    {"verb": "batches.create", "fault": "drop_after"},
    {"verb": "batches.create", "fault": "status_after", "status": 502},
    {"verb": "batches.create", "fault": "drop_before"},
    {"verb": "batches.create", "fault": "late", "seconds": 0.5},
    {"verb": "batches.create", "fault": "status", "status": 429, "retry_after": 1},
    {"verb": "files.create", "fault": "drop_after"},
    {"verb": "batches.list", "fault": "status", "status": 503},
    {"verb": "batches.get", "fault": "status", "status": 404},
    {"verb": "files.content", "fault": "cut", "keep": 0.6, "how": "length"},
    {"verb": "batches.results", "fault": "cut", "keep": 0.6, "how": "chunked"},
    {"verb": "files.content", "fault": "drip", "seconds": 0.2},
]


def prepare(folder: Path) -> None:
    """Environment and database of a deployment of its own."""
    os.environ.update(
        {
            "BATCHUI_DATA": str(folder / "data"),
            "DJANGO_SETTINGS_MODULE": "tools.soak_settings",
            "BATCHUI_LEASE_SECONDS": "4",
            "BATCHUI_SANDBOX_ABSENCE_SECONDS": "6",
            "BATCHUI_BEAT_SECONDS": "2",
            "BATCHUI_BEAT_LATE_SECONDS": "15",
        }
    )
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


class Soak:
    """Jobs, a sandbox, and a worker cluster that is killed and started again."""

    def __init__(self, folder: Path, options: argparse.Namespace, sandbox: Any) -> None:
        self.folder, self.options, self.sandbox = folder, options, sandbox
        self.luck = random.Random(options.seed)
        self.n_crashes = self.n_jobs = 0
        self.cluster: subprocess.Popen[bytes] | None = None
        self._connect()

    def _connect(self) -> None:
        from jobs.engine.connections import save_connection
        from jobs.models import Connection, Prompt, PromptVersion, Workspace

        self.workspace = Workspace.objects.create(name="Soak")
        self.connections = {}
        for kind, url in (("openai", self.sandbox.openai_url), ("anthropic", self.sandbox.anthropic_url)):
            made, _ = save_connection(
                self.workspace,
                None,
                name=kind,
                kind=kind,
                base_url=url,
                key="sk-soak-1234567890",
                by_operator=True,
                limits={"requests_per_batch": 70},
            )
            Connection.objects.filter(pk=made.pk).update(is_sandbox=True)
            made.refresh_from_db()
            self.connections[kind] = made
        prompt = Prompt.objects.create(workspace=self.workspace, name="Sort")
        self.prompt = PromptVersion.objects.create(prompt=prompt, number=1, user="Sort: {{ text }}", params={"max_output_tokens": 60})

    def launch(self) -> None:
        from jobs.engine.ingest import receive
        from jobs.engine.launch import Plan, launch, new_token
        from jobs.words import Lane

        self.n_jobs += 1
        kind = self.luck.choice(list(MODELS))
        content = "text\n" + "".join(f"job {self.n_jobs} row {i}: a refund\n" for i in range(self.options.rows))
        upload = receive(self.workspace, None, filename=f"t{self.n_jobs}.csv", chunks=[content.encode()], at_once=True)
        assert upload.version is not None, upload.problem
        model = self.luck.choice(MODELS[kind])
        lane = Lane.DIRECT if self.luck.random() < 0.3 else Lane.BATCH
        plan = Plan(
            self.workspace, upload.version, self.prompt, self.connections[kind], model, lane=lane, token=new_token(), max_attempts=4
        )
        launch(plan, None)

    def live(self) -> int:
        from jobs.engine.pump import LIVE_JOBS
        from jobs.models import Job

        return Job.objects.filter(state__in=LIVE_JOBS).count()

    def start_workers(self) -> None:
        if self.cluster is None or self.cluster.poll() is not None:
            log = (self.folder / "worker.log").open("ab")
            self.cluster = subprocess.Popen(
                [sys.executable, "manage.py", "worker"], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
            log.close()

    def kill_one(self) -> None:
        """SIGKILL to a process of the cluster, or to all of it."""
        assert self.cluster is not None
        victims = _children(self.cluster.pid)
        if not victims:
            return
        if self.luck.random() < 0.25:
            os.killpg(self.cluster.pid, signal.SIGKILL)
            self.cluster.wait()
        else:
            _kill(self.luck.choice([self.cluster.pid, *victims]))
        self.n_crashes += 1

    def run(self) -> bool:
        """True where nothing was lost, nothing paid twice, and all has ended."""
        ends = time.monotonic() + 60 * self.options.minutes
        next_kill = time.monotonic() + 6
        while time.monotonic() < ends:
            self.start_workers()
            while self.live() < self.options.jobs:
                self.launch()
            if self.luck.random() < 0.3:
                self.sandbox.control("arm", **self.luck.choice(FAULTS))
            if time.monotonic() > next_kill:
                self.kill_one()
                next_kill = time.monotonic() + self.luck.uniform(1.0, 8.0)
            time.sleep(0.5)
        self.sandbox.control("disarm")
        until = time.monotonic() + END_SECONDS
        while self.live() and time.monotonic() < until:
            self.start_workers()
            time.sleep(0.5)
        self.stop()
        return self.books()

    def stop(self) -> None:
        if self.cluster is not None and self.cluster.poll() is None:
            os.killpg(self.cluster.pid, signal.SIGKILL)
            self.cluster.wait()

    def books(self) -> bool:
        """Count everything again, and print it."""
        from jobs.engine.audit import audit_job
        from jobs.models import Job

        jobs = list(Job.objects.all())
        # An ordinary call has no id, and the text of each row is its own.
        ran = Counter(row["custom_id"] or row["body"] for row in self.sandbox.control("executed") if row["paid"])
        twice = sum(n > 1 for n in ran.values())
        lost = sum(job.n_rows - job.n_done for job in jobs) + self._uncounted({name for name in ran if "-" in name})
        findings = [str(finding) for job in jobs for finding in audit_job(job)]
        open_jobs = self.live()
        print(f"seed {self.options.seed}: {len(jobs)} jobs, {sum(job.n_rows for job in jobs):,} rows, {len(ran):,} answers paid")
        print(f"crashes survived: {self.n_crashes}")
        print(f"rows lost: {lost}")
        print(f"rows paid twice: {twice}")
        print(f"jobs that did not end: {open_jobs}")
        print(f"audit: {len(findings)} findings", *findings[:20], sep="\n")
        return not (twice or lost or open_jobs or findings)

    def _uncounted(self, paid: set[str]) -> int:
        """Answers that the provider was paid for and no outcome of ours knows as paid, or as not known to be."""
        import pyarrow.parquet as pq

        from jobs.engine import places
        from jobs.models import Batch

        known: set[str] = set()
        for batch in Batch.objects.filter(state__in=["settled", "rejected"]).select_related("job"):
            table = pq.read_table(places.outcomes_file(batch), columns=["_row", "billed"])
            rows = zip(table.column("_row").to_pylist(), table.column("billed").to_pylist(), strict=True)
            known |= {f"{batch.token}-{row}" for row, billed in rows if billed != "unpaid"}
        return len(paid - known)


def _children(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES") or 2))
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.seed = options.seed or random.randrange(1, 1_000_000)
    with tempfile.TemporaryDirectory(prefix="batchui-soak-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        prepare(folder)
        from jobs.sandbox import Sandbox

        with Sandbox(folder / "sandbox", seconds=1.0) as sandbox:
            soak = Soak(folder, options, sandbox)
            try:
                return 0 if soak.run() else 1
            finally:
                soak.stop()


if __name__ == "__main__":
    sys.exit(main())
