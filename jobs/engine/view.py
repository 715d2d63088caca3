"""The files that tell a job's standings now: the merged base, the outcomes of rounds that are not merged yet, and who is being retried."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.engine import places
from jobs.models import Batch, Job
from jobs.words import CLOSED, RoundState


@dataclass(frozen=True, slots=True)
class Standing:
    """`base`: standings of all rounds up to `base_round`. `newer`: (round, outcome file) of closed batches of later rounds.
    `busy`: rows files of open rounds; a row in one of them is pending until an outcome of that round is in `newer`."""

    base: Path | None
    base_round: int
    newer: tuple[tuple[int, Path], ...]
    busy: tuple[tuple[int, Path], ...]

    @property
    def files(self) -> list[tuple[int, Path]]:
        return ([(self.base_round, self.base)] if self.base else []) + list(self.newer)


def standing_of(job: Job) -> Standing:
    """The view of a job, read in two queries. Where the standings are gone they are what the rounds before them say."""
    rounds = list(job.rounds.order_by("number"))
    base = places.standings_file(job, job.n_settled_rounds)
    if base is not None and not base.exists():  # as after a restore to a ledger that is older than the data folder
        base = None
    base_round = job.n_settled_rounds if base else 0
    open_rounds = [each for each in rounds if each.number > base_round]
    closed = Batch.objects.filter(round__in=open_rounds, state__in=CLOSED)
    number_of = {each.pk: each.number for each in open_rounds}
    newer = tuple(
        (number_of[round_id], places.batch_folder(job, pk) / "outcomes.parquet")
        for pk, round_id in closed.order_by("round__number", "number").values_list("pk", "round_id")
    )
    busy = tuple(
        (each.number, places.new_rows_file(job, each.number))
        for each in open_rounds
        if each.has_rows_file and each.state != RoundState.SETTLED
    )
    return Standing(base, base_round, newer, busy)
