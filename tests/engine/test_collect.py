"""Collect: whatever comes back, each row ends as exactly one outcome, and nothing that may have been answered is sent again unasked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.utils import timezone

from jobs.engine import answered_by, collect, crash, places, sweep
from jobs.engine.advance import advance_batch
from jobs.engine.lease import LostLease, claim
from jobs.models import Batch, Connection, Job
from tests.engine.world import KEY, SCHEMA, batch_of, batch_of_pk, creates, ended, finish, kinds, look, settled, texts

pytestmark = pytest.mark.django_db


def outcomes(batch: Batch) -> list[dict[str, Any]]:
    return pq.read_table(places.outcomes_file(batch)).to_pylist()


def by_cause(batch: Batch) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in outcomes(batch):
        found[row["cause"] or row["kind"]] = found.get(row["cause"] or row["kind"], 0) + 1
    return found


def leftovers(job: Job) -> list[Path]:
    folder = places.job_folder(job)
    return [path for path in folder.rglob("*") if path.name.endswith(".part") or path.name.startswith("outcomes-")]


# What the sandbox does to lines → cause or kind → rows, of six rows, and the lines that were set aside.
LINES: list[tuple[str, str, dict[str, int], dict[str, int]]] = [
    ("openai", "missing=2", {"succeeded": 4, "missing": 2}, {}),
    ("openai", "lost=1", {"succeeded": 5, "missing": 1}, {}),
    ("openai", "broken=1", {"succeeded": 5, "unreadable": 1}, {"unreadable": 1}),
    ("openai", "duplicate=2", {"succeeded": 6}, {"doubled": 2}),
    ("openai", "conflict=1", {"succeeded": 6}, {"doubled": 1}),
    ("openai", "stray=2", {"succeeded": 6}, {"unknown": 2}),
    ("openai", "glued=2", {"succeeded": 6}, {}),
    ("openai", "blank=2", {"succeeded": 6}, {}),
    ("openai", "u2028=1,u0085=1", {"succeeded": 6}, {}),
    ("openai", "nul=1,surrogate=1", {"succeeded": 6}, {}),
    ("openai", "errors", {"provider_error": 6}, {}),
    ("openai", "status0=2", {"succeeded": 4, "provider_error": 2}, {}),
    ("openai", "expired=2,cancelled=1", {"succeeded": 3, "expired": 2, "cancelled": 1}, {}),
    ("openai", "crlf", {"succeeded": 6}, {}),
    ("openai", "bom", {"succeeded": 6}, {}),
    ("openai", "notail", {"succeeded": 6}, {}),
    ("openai", "counts=zero", {"succeeded": 6}, {}),
    ("openai", "counts=wrong", {"succeeded": 6}, {}),
    ("openai", "ids=empty", {"succeeded": 6}, {}),
    ("openai", "emptyerror", {"succeeded": 6}, {}),
    ("openai", "expire=50%", {"succeeded": 3, "expired": 3}, {}),
    ("openai", "cancel=50%", {"succeeded": 3, "cancelled": 3}, {}),
    ("openai", "broke=50%", {"succeeded": 3, "billing": 3}, {}),
    ("openai", "ratelimit=1,context=1,filter=1,refusal=1,cutoff=1", {}, {}),
    ("anthropic", "missing=2", {"succeeded": 4, "missing": 2}, {}),
    ("anthropic", "broken=1", {"succeeded": 5, "unreadable": 1}, {"unreadable": 1}),
    ("anthropic", "duplicate=2,stray=1", {"succeeded": 6}, {"doubled": 2, "unknown": 1}),
    ("anthropic", "unknowntype=1", {"succeeded": 5, "unknown": 1}, {}),
    ("anthropic", "expire=50%", {"succeeded": 3, "expired": 3}, {}),
    ("anthropic", "errors=2,credit=1", {"succeeded": 3, "provider_error": 2, "billing": 1}, {}),
    ("anthropic", "counts=zero", {"succeeded": 6}, {}),
    ("anthropic", "counts=wrong", {"succeeded": 6}, {}),
]


@pytest.mark.parametrize(("kind", "orders", "expected", "strays"), LINES, ids=lambda each: each if isinstance(each, str) else "")
def test_lines_become_one_outcome_each(make: Any, sandbox: Any, kind: str, orders: str, expected: Any, strays: Any) -> None:
    model = "claude-haiku-4-5" if kind == "anthropic" else "gpt-6-luna"
    job = make(kind=kind, model=f"{model}+{orders}")
    batch = settled(batch_of(job), sandbox)
    for _ in range(8):
        batch = look(batch) if batch.state != "settled" else batch
    assert batch.state == "settled", batch.wait_reason
    rows = outcomes(batch)
    assert [row["_row"] for row in rows] == list(range(6))
    if expected:
        assert by_cause(batch) == expected
    assert batch.strays == strays
    paid = {row["custom_id"] for row in sandbox.control("executed") if row["paid"]}
    answered = {f"{batch.token}-{row['_row']}" for row in rows if row["billed"] == "paid"}
    assert answered <= paid
    assert paid - answered == {f"{batch.token}-{row['_row']}" for row in rows if row["billed"] == "unknown"} & paid
    assert leftovers(job) == []
    job.refresh_from_db()
    assert sum(job.counts.values()) == 6


def test_line_of_five_megabytes(make: Any, sandbox: Any) -> None:
    batch = settled(batch_of(make(model="gpt-6-luna+huge=1")), sandbox)
    assert by_cause(batch) == {"succeeded": 6}
    assert max(len(row["answer"]) for row in outcomes(batch)) > 4_000_000


CUTS = [
    {"fault": "cut", "keep": 0.5, "how": "length"},
    {"fault": "cut", "keep": 0.5, "how": "chunked"},
    {"fault": "cut", "keep": 0.5, "how": "close"},
    {"fault": "status", "status": 503},
    {"fault": "status", "status": 404},
    {"fault": "html"},
    {"fault": "drop_before"},
    {"fault": "gzip_bomb", "mb": 30},
]


@pytest.mark.parametrize("fault", CUTS, ids=lambda f: f["fault"] + str(f.get("how", f.get("status", ""))))
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_download_that_breaks_is_had_again(make: Any, sandbox: Any, kind: str, fault: Any) -> None:
    job = make(kind=kind)
    batch = ended(batch_of(job), sandbox)
    sandbox.control("arm", verb="batches.results" if kind == "anthropic" else "files.content", **fault)
    batch = look(batch)
    if batch.state == "ended":
        assert batch.wait_reason.startswith("the results cannot be fetched yet: ")
        assert leftovers(job) == []
    for _ in range(4):
        batch = look(batch) if batch.state != "settled" else batch
    assert (by_cause(batch), creates(sandbox)) == ({"succeeded": 6}, 1)
    assert leftovers(job) == []


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_answer_cut_between_two_lines_is_fetched_again(make: Any, sandbox: Any, kind: str) -> None:
    """A body without a length that ends after a whole line looks whole; the rows that it lacks give it away."""
    job = make(kind=kind)
    batch = ended(batch_of(job), sandbox)
    verb = "batches.results" if kind == "anthropic" else "files.content"
    sandbox.control("arm", verb="files.get", fault="status", status=404)  # so that nobody tells the length
    with_all = _download(batch)
    at = with_all.index(b"\n", len(with_all) // 2) + 1
    sandbox.control("disarm")
    sandbox.control("arm", verb="files.get", fault="status", status=404)
    sandbox.control("arm", verb=verb, fault="cut", bytes=at, how="close")
    batch = look(batch)
    for _ in range(4):
        batch = look(batch) if batch.state != "settled" else batch
    assert by_cause(batch) == {"succeeded": 6}
    assert len(texts(job, "batch:other-answer")) == 1


def _download(batch: Batch) -> bytes:
    import tempfile

    from jobs.engine.remote import calling

    with tempfile.TemporaryDirectory() as folder, calling(batch.connection) as provider:
        (path,) = provider.download(provider.get(batch.provider_batch_id), Path(folder))
        return path.read_bytes()


def test_rows_that_are_missing_are_asked_for_a_second_time(make: Any, sandbox: Any) -> None:
    job = make(model="gpt-6-luna+missing=1")
    batch = ended(batch_of(job), sandbox)
    sandbox.control("arm", verb="files.content", fault="status", status=503, skip=1)
    batch = look(batch)
    assert batch.state == "fetched"
    assert batch.wait_reason.startswith("the answer lacks 1 row; fetching it once more before that is believed: ")
    batch = look(batch)
    assert (batch.state, by_cause(batch)) == ("settled", {"succeeded": 5, "missing": 1})
    assert sandbox.control("")["calls"]["openai files.content"] == 2  # the 503 was not carried out


def test_end_without_files_is_not_believed_at_once(make: Any, sandbox: Any) -> None:
    job = make()
    batch = ended(batch_of(job), sandbox)
    sandbox.control("arm", verb="batches.get", fault="merge", merge={"output_file_id": None, "error_file_id": ""})
    batch = look(batch)
    assert (batch.state, batch.wait_reason) == ("ended", "the provider names no result files; asking again before that is believed")
    batch = look(batch)
    assert by_cause(batch) == {"succeeded": 6}


def test_end_without_files_is_believed_in_the_end(make: Any, sandbox: Any) -> None:
    job = make()
    batch = ended(batch_of(job), sandbox)
    sandbox.control("arm", verb="batches.get", fault="merge", merge={"output_file_id": None, "error_file_id": None}, times=0)
    for _ in range(6):
        batch = look(batch) if batch.state != "settled" else batch
    assert by_cause(batch) == {"missing": 6}
    assert {row["billed"] for row in outcomes(batch)} == {"unknown"}


def test_status_that_goes_back_is_waited_for(make: Any, sandbox: Any) -> None:
    job = make()
    batch = ended(batch_of(job), sandbox)
    sandbox.control("arm", verb="batches.get", fault="merge", merge={"status": "finalizing"})
    batch = look(batch)
    assert batch.state == "ended"
    assert batch.wait_reason == "the provider said that it had ended, and says “finalizing” now; asking again"
    assert by_cause(look(batch)) == {"succeeded": 6}


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_key_revoked_before_the_collection(make: Any, sandbox: Any, kind: str) -> None:
    job = make(kind=kind)
    batch = ended(batch_of(job), sandbox)
    sandbox.control("revoke", key=KEY)
    batch = look(batch)
    assert batch.state == "ended"
    assert batch.wait_reason.startswith("the key was not accepted; the results are fetched once it works again")
    assert Connection.objects.get(pk=job.connection_id).problem.startswith("The provider did not accept the API key")
    sandbox.control("restore")
    assert by_cause(look(batch)) == {"succeeded": 6}


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_results_that_vanished_wait_for_a_person(make: Any, sandbox: Any, kind: str) -> None:
    """They ran and were paid, so nothing sends them again by itself."""
    job = make(kind=kind, max_attempts=3)
    batch = ended(batch_of(job), sandbox)
    sandbox.control("advance", seconds=31 * 24 * 3600)
    batch = look(batch)
    assert batch.state == "ended"  # a 404 before the shelf life is over is no verdict
    Batch.objects.filter(pk=batch.pk).update(results_expire_at=timezone.now() - timedelta(hours=1))
    batch = look(batch_of_pk(batch))
    assert batch.state == "ended"  # nor on the first day, whatever the provider's clock says
    Batch.objects.filter(pk=batch.pk).update(submitted_at=timezone.now() - timedelta(days=30))
    for _ in range(6):
        batch = look(batch_of_pk(batch)) if batch.state != "settled" else batch
    assert by_cause(batch) == {"no_answer": 6}
    job = finish(job, sandbox)
    assert (job.state, creates(sandbox), job.rounds.count()) == ("failed", 1, 1)


def test_shelf_life_is_stored(make: Any, sandbox: Any) -> None:
    batch = ended(batch_of(make(kind="anthropic")), sandbox)
    assert timedelta(days=28) < batch.results_expire_at - timezone.now() < timedelta(days=30)


def test_two_workers_on_one_batch_count_it_once(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    """The first one stands still in the middle of a collection, and its lease runs out; a second one settles; the first wakes up."""
    job = make()
    batch = ended(batch_of(job), sandbox)
    state = {"inside": False}

    def second(name: str) -> None:
        if name == "after parquet" and not state["inside"]:
            state["inside"] = True
            Batch.objects.filter(pk=batch.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
            advance_batch(str(batch.pk))
            assert batch_of_pk(batch).state == "settled"

    monkeypatch.setattr(crash, "hook", second)
    look(batch)
    job.refresh_from_db()
    assert (kinds(job), batch_of_pk(batch).state) == ({"succeeded": 6}, "settled")
    assert len(texts(job, "batch:settled")) == 1
    assert leftovers(job) == []


def test_close_with_refuses_who_lost_the_lease(make: Any, sandbox: Any) -> None:
    job = make()
    batch = ended(batch_of(job), sandbox)
    Batch.objects.filter(pk=batch.pk).update(next_look_at=None)
    lease = claim(Batch, batch.pk)
    assert lease is not None
    collect.fetch(batch, lease)
    Batch.objects.filter(pk=batch.pk).update(lease_token=lease.token + 1)
    with pytest.raises(LostLease):
        collect.collect(batch, lease)
    job.refresh_from_db()
    assert (kinds(job)["pending"], leftovers(job), places.outcomes_file(batch).exists()) == (6, [], False)


def test_answers_outside_the_schema_are_invalid_and_paid(make: Any, sandbox: Any) -> None:
    batch = settled(batch_of(make(model="gpt-6-luna+badschema=2,notjson=1", schema=SCHEMA)), sandbox)
    assert by_cause(batch) == {"succeeded": 3, "schema_mismatch": 3}
    assert {row["billed"] for row in outcomes(batch)} == {"paid"}


def test_cut_off_answers_are_not_sent_again_by_themselves(make: Any, sandbox: Any) -> None:
    job = finish(make(model="gpt-6-luna+cutoff=2", max_attempts=3), sandbox)
    assert (kinds(job), job.rounds.count(), creates(sandbox)) == ({"succeeded": 4, "invalid": 2}, 1, 1)


def test_files_at_the_provider_go_after_collection_if_the_connection_says_so(make: Any, connect: Any, sandbox: Any) -> None:
    job = make(connection=connect(delete_remote_files=True))
    settled(batch_of(job), sandbox)
    assert sandbox.control("")["files"] == []
    assert texts(job, "batch:deleted") == ["Batch 1: files at the provider deleted"]


def test_files_that_cannot_be_deleted_now_are_deleted_by_the_sweep(make: Any, connect: Any, sandbox: Any) -> None:
    job = make(connection=connect(delete_remote_files=True))
    sandbox.control("arm", verb="files.delete", fault="status", status=503, times=2)
    settled(batch_of(job), sandbox)
    assert len(sandbox.control("")["files"]) == 2
    for _ in range(3):
        sweep.sweep()
    assert sandbox.control("")["files"] == []
    assert texts(job, "batch:delete") == [
        "Batch 1: files at the provider could not be deleted yet, which is tried again every hour: "
        "The provider answered with an error (HTTP 503). It said: The engine is currently overloaded.",
        "Batch 1: files at the provider deleted",
    ]


@pytest.mark.parametrize("fault", [{"verb": "batches.create", "fault": "status", "status": 400}, {"orders": "fail=empty_file"}], ids=str)
def test_file_of_a_refused_batch_is_deleted_too(make: Any, connect: Any, sandbox: Any, fault: Any) -> None:
    job = make(connection=connect(delete_remote_files=True))
    sandbox.control("arm", **fault)
    batch = look(batch_of(job))
    if batch.state == "submitted":
        sandbox.control("advance", seconds=60)
        batch = look(batch)
    assert (batch.state, len(sandbox.control("")["files"])) == ("rejected", 1)
    sweep.sweep()
    assert sandbox.control("")["files"] == []


def test_file_of_a_batch_that_still_runs_there_stays(make: Any, connect: Any, sandbox: Any) -> None:
    """Given up here, and not ended there: without its file it could not go on."""
    job = make(connection=connect(delete_remote_files=True), model="gpt-6-luna+never")
    batch = look(batch_of(job))
    Batch.objects.filter(pk=batch.pk).update(state="settled", settled_at=timezone.now())
    sweep.sweep()
    assert len(sandbox.control("")["files"]) == 1
    assert texts(job, "batch:delete")[0].endswith("which is tried again every hour: it has not ended there")


COUNTS = [
    ("openai", "counts=zero", ["Batch 1: the provider counted 0 answers, its files hold 6; the files count"]),
    ("openai", "missing=1", ["Batch 1: the provider counted 6 answers, its files hold 5; the files count"]),
    ("anthropic", "counts=zero", ["Batch 1: the provider counted 0 answers, its files hold 6; the files count"]),
    ("openai", "errors=2,badschema=1", []),
    ("anthropic", "expire=50%", []),
]


@pytest.mark.parametrize(("kind", "orders", "told"), COUNTS, ids=lambda each: each if isinstance(each, str) else "")
def test_counts_that_are_wrong_are_said_and_not_believed(make: Any, sandbox: Any, kind: str, orders: str, told: list[str]) -> None:
    model = "claude-haiku-4-5" if kind == "anthropic" else "gpt-6-luna"
    job = make(kind=kind, model=f"{model}+{orders}", schema=SCHEMA if "badschema" in orders else None)
    settled(batch_of(job), sandbox)
    assert texts(job, "batch:counts") == told


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("gpt-6-luna", "gpt-6-luna", True),
        ("gpt-6-luna", "gpt-6-luna-2026-08-01", True),
        ("gpt-6-luna+errors=1", "gpt-6-luna", True),
        ("claude-sonnet-5-5", "claude-sonnet-5-5@20260901", True),
        ("meta/Llama-9-8B", "llama-9-8b", True),
        ("gpt-6-luna-2026-08-01", "gpt-6-luna", True),
        ("gpt-6-luna", "gpt-6-sol", False),
        ("gpt-6-luna", "gpt-6-lunar", False),
    ],
)
def test_names_of_one_model(asked: str, answered: str, same: bool) -> None:
    assert answered_by.is_same(asked, answered) is same


def test_answers_of_another_model_are_said(make: Any, sandbox: Any) -> None:
    job = make(model="gpt-6-luna+wrong_model=2")
    batch = settled(batch_of(job), sandbox)
    (told,) = texts(job, "batch:model")
    other = next(row["model"] for row in outcomes(batch) if row["model"] != "gpt-6-luna")
    assert told == f"Batch 1: 2 answers are another model's than {job.model}, which was asked for (2 by {other})"
    assert by_cause(batch) == {"succeeded": 6}


def test_person_is_asked_before_the_shelf_life_is_over(make: Any, sandbox: Any) -> None:
    job = make()
    batch = ended(batch_of(job), sandbox)
    sandbox.control("revoke", key=KEY)
    batch = look(batch)
    job.refresh_from_db()
    assert job.needs == ""
    Batch.objects.filter(pk=batch.pk).update(ended_at=timezone.now() - timedelta(hours=49))
    batch = look(batch_of_pk(batch))
    job.refresh_from_db()
    assert job.needs.startswith(
        f"Results wait at the provider: those of batch 1 cannot be fetched. It keeps them until {batch.results_expire_at:%d %B %Y}. ("
    )
    sandbox.control("restore")
    look(batch)
    job.refresh_from_db()
    assert (job.needs, kinds(job)) == ("", {"succeeded": 6})


def test_archived_results_are_gone(make: Any, sandbox: Any) -> None:
    job = make(kind="anthropic", max_attempts=3)
    batch = ended(batch_of(job), sandbox)
    sandbox.control("arm", verb="batches.get", fault="merge", merge={"archived_at": "2026-11-01T00:00:00Z", "results_url": None}, times=0)
    sandbox.control("arm", verb="batches.results", fault="status", status=404, times=0)
    Batch.objects.filter(pk=batch.pk).update(submitted_at=timezone.now() - timedelta(days=2))
    for _ in range(6):
        batch = look(batch) if batch.state != "settled" else batch
    assert by_cause(batch) == {"no_answer": 6}


def test_files_stay_otherwise(make: Any, sandbox: Any) -> None:
    settled(batch_of(make()), sandbox)
    assert len(sandbox.control("")["files"]) == 2
