"""What this workspace's own finished jobs teach: output tokens, token counts, and how long batches take."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow.parquet as pq
from django.db.models import F

from jobs.costs.estimate import OutputBasis, Speed, observed_output
from jobs.engine import places
from jobs.models import Batch, Calibration, Connection, Job, PromptVersion, Workspace
from jobs.words import BatchState, JobState, Lane, OutcomeKind, RoundReason

ENOUGH_BATCHES = 5
ROWS = 2_000
FINISHED = [JobState.COMPLETED, JobState.COMPLETED_WITH_FAILURES]


def output_history(connection: Connection, prompt: PromptVersion, model: str, max_output_tokens: int | None) -> OutputBasis | None:
    """Output tokens as in the latest finished job of the workspace with this very prompt version and model, else with the same prompt;
    None without one. What the sandbox made up counts for the sandbox alone."""
    jobs = Job.objects.filter(
        workspace=connection.workspace, connection__is_sandbox=connection.is_sandbox, model=model, state__in=FINISHED, n_succeeded__gte=20
    ).order_by("-finished_at")
    for found, words in (
        (jobs.filter(prompt_version=prompt).first(), "of the same prompt"),
        (jobs.filter(prompt_version__prompt_id=prompt.prompt_id).first(), "of an earlier version of the prompt"),
    ):
        if found is not None and (tokens := _output_tokens(found)):
            return observed_output(tokens, f"{len(tokens):,} rows of “{found.name}”, a finished job {words}", max_output_tokens)
    return None


def _output_tokens(job: Job) -> list[int]:
    """Of up to 2,000 succeeded rows from the start of the table."""
    path = places.standings_file(job, job.n_settled_rounds)
    if path is None or not path.exists():
        return []
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=4 * ROWS, columns=["kind", "output_tokens"]):
            kinds, tokens = np.array(batch.column(0).to_pylist()), batch.column(1).to_numpy()
            return [int(n) for n in tokens[kinds == OutcomeKind.SUCCEEDED.value][:ROWS]]
    return []


def counter_of(connection: Connection) -> str:
    """Whose counting of tokens a connection teaches about (`Calibration.kind`): its kind's, or the sandbox's in that manner."""
    return f"{connection.kind}+test" if connection.is_sandbox else connection.kind


def calibration(connection: Connection, model: str) -> Decimal | None:
    """Observed ÷ estimated input tokens over finished jobs of the workspace; None before the first one."""
    learned = Calibration.objects.filter(workspace=connection.workspace_id, kind=counter_of(connection), model=model)
    found = learned.filter(estimated_tokens__gt=0).first()
    return Decimal(found.observed_tokens) / Decimal(found.estimated_tokens) if found else None


def learn(job: Job) -> None:
    """Take the token counts of a finished job: its first pass against its estimate as it was before any correction."""
    estimated = job.estimate.get("uncorrected_input") if job.estimate else None
    first = Batch.objects.filter(job=job, round__reason=RoundReason.FIRST, state=BatchState.SETTLED)
    if not estimated or job.connection is None or not job.n_rows:
        return
    observed = sum(batch.usage.get("input_tokens", 0) for batch in first.only("usage"))
    rows = sum(sum(n for kind, n in batch.outcomes.items() if kind in ("succeeded", "invalid")) for batch in first.only("outcomes"))
    if rows < 20 or not observed:
        return
    share = int(Decimal(estimated) * rows / job.n_rows)
    row, _ = Calibration.objects.get_or_create(workspace=job.workspace, kind=counter_of(job.connection), model=job.model)
    Calibration.objects.filter(pk=row.pk).update(
        estimated_tokens=F("estimated_tokens") + share, observed_tokens=F("observed_tokens") + observed, n_jobs=F("n_jobs") + 1
    )


def speed_of(connection: Connection, model: str) -> Speed | None:
    """Tokens a second that ordinary calls of the model gave here, tries among them, over the latest 20 runs; None before the first one.

    The range is that of the runs; a single one may be a fourth off either way.
    """
    runs = Batch.objects.filter(connection=connection, model=model, state=BatchState.SETTLED, usage__ms__gt=0).exclude(
        round__lane=Lane.BATCH
    )
    usages = list(runs.order_by("-settled_at").values_list("usage", flat=True)[:20])
    for name, said in (("output_tokens", "output tokens"), ("input_tokens", "tokens")):
        rates = [Decimal(usage[name]) * 1000 / usage["ms"] for usage in usages if usage.get(name)]
        if rates:
            low, high = (min(rates), max(rates)) if len(rates) > 1 else (rates[0] * 3 / 4, rates[0] * 5 / 4)
            many = f"the last {len(rates)} runs" if len(rates) > 1 else "one run"
            return Speed(low, high, name == "output_tokens", f"Measured in {many} here: {low:,.0f} to {high:,.0f} {said} a second.")
    return None


@dataclass(frozen=True, slots=True)
class Pace:
    """How long batches took: the median and a slow case (9 of 10 were quicker), in seconds, over `n` batches."""

    median: float
    slow: float
    n: int


def pace_of(workspace: Workspace, kind: str, model: str, n_requests: int, *, sandbox: bool) -> Pace | None:
    """From this workspace's own batches of the model and of a like size; None where there are too few to say anything."""
    found = Batch.objects.filter(
        job__workspace=workspace,
        connection__kind=kind,
        connection__is_sandbox=sandbox,
        model=model,
        round__lane=Lane.BATCH,
        state=BatchState.SETTLED,
        submitted_at__isnull=False,
        ended_at__isnull=False,
        n_requests__gte=n_requests // 10,
        n_requests__lte=max(n_requests, 1) * 10,
    ).order_by("-ended_at")[:200]
    times = found.values_list("submitted_at", "ended_at")
    seconds = sorted((ended - submitted).total_seconds() for submitted, ended in times if submitted and ended)
    if len(seconds) < ENOUGH_BATCHES:
        return None
    return Pace(float(np.percentile(seconds, 50)), float(np.percentile(seconds, 90)), len(seconds))
