"""Settle: merge a finished round into the standings, then retry what passes by itself, or finish the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from jobs import formats
from jobs.engine import crash, history, left_behind, places, rescue
from jobs.engine.lease import Lease
from jobs.engine.log import note
from jobs.engine.retry import add_round
from jobs.engine.view import standing_of
from jobs.models import Job, Round
from jobs.rows import digest
from jobs.rows.choose import Wanted, choose
from jobs.rows.outcomes import merge_standings
from jobs.rows.schema import fields
from jobs.words import CLOSED, Cause, JobState, Remedy, RoundReason, RoundState

MAX_ROUNDS = 25
AUTO_CAUSES = tuple(cause.value for cause in Cause if cause.advice.remedy is Remedy.AUTO)


def settle(job: Job, lease: Lease) -> bool:
    """One step towards the end of the job. True if it moved. Rounds are merged in their order, so that the latest outcome stands."""
    job.refresh_from_db()
    rounds = list(job.rounds.order_by("number"))
    for round_ in rounds:
        if round_.state == RoundState.SETTLED:
            continue
        if round_.state == RoundState.PLANNING or round_.batches.exclude(state__in=CLOSED).exists():
            return False
        _merge(job, round_, lease)
        return True
    if job.state == JobState.DRAFT:  # its tries are done; nothing is due until the next one
        lease.write({"state": JobState.DRAFT}, next_look_at=None)
        return False
    if job.wish and job.cancel_requested_at is None and rescue.fulfil(job, lease):
        return True
    if job.cancel_requested_at is None and _auto_retry(job, rounds, lease):
        return True
    _finish(job, lease)
    return False


def _merge(job: Job, round_: Round, lease: Lease) -> None:
    """Write the standings after this round; the ledger names the file once it is whole."""
    target = places.standings_file(job, round_.number)
    assert target is not None
    standing = standing_of(job)
    files = [(number, path) for number, path in standing.newer if number <= round_.number]
    crash.point("before merge")
    with lease.kept():
        merge_standings(standing.base, files, target)
    crash.point("after merge")
    with transaction.atomic():
        lease.write({"n_settled_rounds": round_.number - 1}, n_settled_rounds=round_.number)
        Round.objects.filter(pk=round_.pk).update(state=RoundState.SETTLED, settled_at=timezone.now())
        note(job, "round:settled", f"Round {round_.number} is settled: {formats.count(round_.n_rows, 'row')}")
    crash.point("after round")
    job.n_settled_rounds = round_.number
    older = places.standings_file(job, round_.number - 2)  # the one before the last stays a while, for pages that are being read
    if older is not None:
        older.unlink(missing_ok=True)
        digest.forget(older)
    _digest(job, target, lease)


def _digest(job: Job, standings: Path, lease: Lease) -> None:
    """What pages ask of all rows, made before somebody asks; a page makes it itself where this could not be."""
    if not digest.worth(job.n_rows) or job.dataset_version is None:
        return
    with lease.kept():
        schema = job.prompt_version.schema if job.prompt_version else None
        digest.outcome_digest(standings, tuple(fields(schema)))
        digest.table_digests(places.table_of(job.dataset_version), [str(column["key"]) for column in job.dataset_version.columns])


def _auto_retry(job: Job, rounds: list[Round], lease: Lease) -> bool:
    """Another round for the rows whose cause passes by itself, as often as the job allows. They go as they were sent: where rounds differ
    (a person's retry on another model), those of the latest first, the others when these are settled."""
    if len(rounds) >= MAX_ROUNDS:
        return False
    left = rounds[::-1]
    while left:
        last = left[0]
        numbers = [each.number for each in left if _manner(each) == _manner(last)]
        left = [each for each in left if each.number not in numbers]
        chosen = choose(standing_of(job).files, Wanted(causes=AUTO_CAUSES, max_attempts=job.max_attempts, rounds=numbers))
        if len(chosen.rows):
            add_round(
                job,
                lease,
                chosen,
                reason=RoundReason.AUTO_RETRY,
                lane=last.lane,
                connection=last.connection,
                prompt_version=last.prompt_version,
                spec=last.spec,
                sheet=last.sheet,
            )
            return True
    return False


def _manner(round_: Round) -> tuple[Any, ...]:
    """How the rows of a round are sent, and at what prices."""
    return round_.lane, round_.connection_id, round_.prompt_version_id, round_.spec, round_.sheet


def _finish(job: Job, lease: Lease) -> None:
    job.refresh_from_db()
    # A draft that was put away has rows that nobody ever tried.
    if sum(job.counts.values()) != job.n_rows or (job.counts["pending"] and job.launched_at is not None):
        raise ValueError(f"job {job.pk}: {job.counts['pending']} rows have no outcome at the end")
    left_behind.remove_unknown(job, lease, whole=True)
    left_behind.say_kept(job)
    if job.cancel_requested_at is not None:
        state, words = JobState.CANCELLED, f"Cancelled: {job.n_succeeded:,} of {formats.count(job.n_rows, 'row')} had succeeded"
    elif job.n_succeeded == job.n_rows:
        state, words = JobState.COMPLETED, f"Completed: all {formats.count(job.n_rows, 'row')} succeeded"
    elif job.n_succeeded:
        state, words = JobState.COMPLETED_WITH_FAILURES, f"Completed: {job.n_succeeded:,} of {formats.count(job.n_rows, 'row')} succeeded"
    else:
        state, words = JobState.FAILED, f"Failed: none of {formats.count(job.n_rows, 'row')} succeeded"
    with transaction.atomic():
        # A cancel that came since is not passed over: then LostLease, and the next look finishes the job as cancelled.
        lease.write({"cancel_requested_at": job.cancel_requested_at}, state=state, finished_at=timezone.now(), needs="")
        note(job, "finished", words)
        if state in history.FINISHED and job.launched_at is not None and not job.n_learned:
            history.learn(job)
            lease.write(n_learned=1)
        lease.write(lease_until=None)  # nobody looks at it again who could give it back
