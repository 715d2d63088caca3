"""The audit finds every corruption that is planted, and nothing where nothing is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.management import call_command
from django.db import connection, transaction

from jobs.engine import places, tally
from jobs.engine.audit import audit_job, is_kept
from jobs.engine.collect import result_files
from jobs.models import Batch, Job, Round
from tests.engine.world import batch_of, finish

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(make: Any, sandbox: Any) -> Job:
    """Two rounds: some rows failed and were retried, some failed for good."""
    return finish(make(model="gpt-6-luna+errors=1,invalid=1,missing=1", n_rows=8, per_batch=5, max_attempts=2), sandbox)


def rewrite(path: Any, change: Callable[[pa.Table], pa.Table]) -> None:
    table = pq.read_table(path)
    pq.write_table(change(table), path)


def with_column(name: str, values: Callable[[list[Any]], list[Any]]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(name)
        return table.set_column(
            at, table.schema.field(name), pa.array(values(table.column(name).to_pylist()), table.schema.field(name).type)
        )

    return change


def first_to(value: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda values: [value, *values[1:]]


def _results(job: Job) -> Any:
    return result_files(batch_of(job))[0]


PLANTED: dict[str, tuple[Callable[[Job], Any], str]] = {
    "a counter": (lambda job: Job.objects.filter(pk=job.pk).update(n_succeeded=7), "its rows stand at"),
    "the job's money": (lambda job: Job.objects.filter(pk=job.pk).update(paid_usd=Decimal("9.5")), "the ledger says 9.5"),
    "the real-time price": (lambda job: Job.objects.filter(pk=job.pk).update(realtime_usd=Decimal(0)), "would have cost"),
    "a batch's counts": (lambda job: Batch.objects.filter(pk=batch_of(job).pk).update(outcomes={"succeeded": 5}), "its outcomes add up to"),
    "a batch's money": (lambda job: Batch.objects.filter(pk=batch_of(job).pk).update(paid_usd=Decimal(1)), "its paid adds up to"),
    "a batch's tokens": (lambda job: Batch.objects.filter(pk=batch_of(job).pk).update(usage={}), "its tokens add up to"),
    "outcomes gone": (lambda job: places.outcomes_file(batch_of(job)).unlink(), "its outcomes cannot be read"),
    "outcomes cut": (
        lambda job: places.outcomes_file(batch_of(job)).write_bytes(places.outcomes_file(batch_of(job)).read_bytes()[:-20]),
        "its outcomes cannot be read",
    ),
    "an outcome of another row": (
        lambda job: rewrite(places.outcomes_file(batch_of(job)), with_column("_row", lambda r: [*r[:-1], 7])),
        "of other rows",
    ),
    "a row twice": (
        lambda job: rewrite(places.outcomes_file(batch_of(job)), with_column("_row", lambda r: [r[1], *r[1:]])),
        "a row is there twice",
    ),
    "a row's kind": (
        lambda job: rewrite(places.outcomes_file(batch_of(job)), with_column("kind", lambda k: [*k[:-1], "failed"])),
        "add up to",
    ),
    "a row's cost": (
        lambda job: rewrite(places.outcomes_file(batch_of(job)), with_column("cost", lambda c: [*c[:-1], Decimal("0.5")])),
        "is not what their tokens cost",
    ),
    "a row's tokens": (
        lambda job: rewrite(places.outcomes_file(batch_of(job)), with_column("output_tokens", lambda c: [*c[:-1], 9999])),
        "is not what their tokens cost",
    ),
    "another batch's outcomes": (
        lambda job: rewrite(places.outcomes_file(batch_of(job)), with_column("batch", lambda b: ["0" * 32] * len(b))),
        "of another batch",
    ),
    "standings gone": (lambda job: places.standings_file(job, job.n_settled_rounds).unlink(), "cannot be read"),
    "a standing": (
        lambda job: rewrite(places.standings_file(job, job.n_settled_rounds), with_column("kind", lambda k: ["expired", *k[1:]])),
        "the file after round",
    ),
    "a result file gone": (lambda job: [path.unlink() for path in result_files(batch_of(job))], "is gone"),
    "a result file cut": (lambda job: _results(job).write_bytes(_results(job).read_bytes()[:50]), "is shorter than"),
    "a raw line of another row": (
        lambda job: _results(job).write_bytes(_results(job).read_bytes().replace(batch_of(job).token.encode(), b"0" * 16)),
        "are not those of their rows",
    ),
    "a request file gone": (lambda job: places.request_file(batch_of(job)).unlink(), "its request file is gone"),
    "a request file changed": (lambda job: places.request_file(batch_of(job)).write_bytes(b"{}\n"), "its request file has 3 bytes"),
    "a file left over": (lambda job: (places.job_folder(job) / "x.part").touch(), "left over: x.part"),
    "a batch that nobody knows": (lambda job: (places.job_folder(job) / "batches" / ("a" * 32)).mkdir(), "does not know"),
    "a state": (lambda job: Job.objects.filter(pk=job.pk).update(state="completed"), "it is completed with"),
    "an open batch": (lambda job: Batch.objects.filter(pk=batch_of(job).pk).update(state="ready"), "with open batches"),
    "a table cut": (
        lambda job: rewrite(places.table_of(job.dataset_version), lambda table: table.slice(1)),
        "has 7 rows, the ledger says 8",
    ),
    "a round without a batch": (lambda job: Round.objects.get(job=job, number=2).batches.all().delete(), "hold 0 rows"),
}


def test_nothing_is_found_where_nothing_is_wrong(job: Job, capsys: Any) -> None:
    assert job.state == "completed_with_failures"
    assert job.rounds.count() == 2
    assert audit_job(job) == []
    call_command("audit")
    assert capsys.readouterr().out.splitlines()[-1] == "1 jobs, 8 rows: everything adds up"


def test_each_planted_corruption_is_found(job: Job, data_folder: Any, tmp_path: Any) -> None:
    """One job, corrupted in one way after the other, and put right again in between."""
    whole = tmp_path / "whole"
    shutil.copytree(data_folder / "rows", whole)
    for name, (plant, words) in PLANTED.items():
        with transaction.atomic():
            plant(job)
            found = audit_job(Job.objects.get(pk=job.pk))
            assert any(words in str(each) for each in found), (name, [str(each) for each in found])
            transaction.set_rollback(True)
        shutil.rmtree(data_folder / "rows")
        shutil.copytree(whole, data_folder / "rows")
    assert audit_job(Job.objects.get(pk=job.pk)) == []


def test_the_command_prints_what_it_found_and_exits_with_1(job: Job, capsys: Any) -> None:
    Job.objects.filter(pk=job.pk).update(realtime_usd=Decimal(0))
    with pytest.raises(SystemExit) as ended:
        call_command("audit", job=str(job.pk))
    assert ended.value.code == 1
    found = audit_job(Job.objects.get(pk=job.pk))
    assert len(found) == 1
    assert capsys.readouterr().out.splitlines() == [str(found[0]), "1 jobs, 8 rows: 1 findings"]


def test_a_job_under_way_adds_up(make: Any, sandbox: Any) -> None:
    from tests.engine.world import settled

    job = make(per_batch=3)
    assert audit_job(job) == []
    settled(batch_of(job), sandbox)
    assert audit_job(Job.objects.get(pk=job.pk)) == []


def test_a_job_in_real_time_adds_up(make: Any, sandbox: Any) -> None:
    from tests.engine.world import plan_here

    job = make(planned=False, model="gpt-6-luna+errors=1,invalid=1")
    Round.objects.filter(job=job).update(lane="direct")
    plan_here(job)
    job = finish(job, sandbox)
    assert (job.n_done, job.rounds.get().batches.get().state) == (6, "settled")
    assert audit_job(job) == []


@pytest.mark.skipif(connection.vendor != "sqlite", reason="other databases keep decimals")
def test_a_float_after_many_batches_is_no_finding_and_a_row_too_many_is(job: Job) -> None:
    each = Decimal("7.123456789012")
    Job.objects.filter(pk=job.pk).update(paid_usd=0)
    for _ in range(300):
        tally.add(job.pk, tally.Tally(paid=each))
    job.refresh_from_db()
    assert 0 < abs(job.paid_usd - 300 * each) < Decimal("0.0000000001")
    assert is_kept(300 * each, job.paid_usd)
    assert not is_kept(300 * each, job.paid_usd + Decimal("0.0000001"))
