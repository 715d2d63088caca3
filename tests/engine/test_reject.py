"""A batch that the provider refuses as a whole: whose fault it was, and who goes again."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.engine.cancel import cancel
from jobs.models import Connection
from tests.engine.world import batch_of, creates, ended, finish, kinds, look

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("code", ["model_not_found", "invalid_url", "mismatched_model", "streaming_unsupported"])
def test_what_all_lines_have_alike_is_the_fault_of_none(make: Any, sandbox: Any, code: str) -> None:
    """The provider names the first line, and would name the next one in the next round, and so on to the last."""
    job = make(max_attempts=3)
    sandbox.control("arm", verb="batches.get", fault="merge", merge=failed(code, 1), times=0)
    sandbox.control("arm", verb="batches.list", fault="status", status=404, times=0)
    look(look(batch_of(job)))
    job = finish(job, sandbox)
    assert (job.state, kinds(job), creates(sandbox), job.rounds.count()) == ("failed", {"failed": 6}, 1, 1)


def failed(code: str, line: int) -> dict[str, Any]:
    error = {"code": code, "message": f"Something about {code}.", "line": line, "param": None}
    return {"status": "failed", "errors": {"data": [error]}, "output_file_id": None, "error_file_id": None, "request_counts": None}


def test_line_of_its_own_fault_frees_the_others(make: Any, sandbox: Any) -> None:
    job = make(max_attempts=1)
    sandbox.control("arm", verb="batches.get", fault="merge", merge=failed("missing_required_parameter", 4))
    batch = look(look(batch_of(job)))
    assert (batch.state, batch.outcomes) == ("rejected", {"failed": 6})
    job = finish(job, sandbox)
    assert (job.state, kinds(job), creates(sandbox)) == ("completed_with_failures", {"succeeded": 5, "failed": 1}, 2)


TOO_LONG = ["The uploaded file is too large for the Batch API.", "The batch exceeds the maximum number of requests, 50,000."]


@pytest.mark.parametrize("message", TOO_LONG, ids=lambda each: each[:20])
@pytest.mark.parametrize("verb", ["files.create", "batches.create"])
def test_too_long_said_in_words_is_cut_smaller(make: Any, sandbox: Any, verb: str, message: str) -> None:
    job = make(n_rows=8)
    batch = batch_of(job)
    sandbox.control("arm", verb=verb, fault="status", status=400, message=message)
    batch = look(batch)
    again = f"Its rows go again in files of at most {batch.n_bytes // 2:,} bytes."
    assert (batch.state, batch.problem) == ("rejected", f"The provider answered with an error (HTTP 400). It said: {message} {again}")
    Connection.objects.filter(pk=job.connection_id).update(learned={"bytes_per_batch": batch.n_bytes // 2 + 1_000})  # the envelope's share
    assert kinds(finish(job, sandbox)) == {"succeeded": 8}
    assert job.batches.filter(round__number=2).count() > 1


def test_too_long_said_after_validation_is_cut_smaller(make: Any, sandbox: Any) -> None:
    job = make(n_rows=8, model="gpt-6-luna")
    sandbox.control("arm", orders="fail=too_many_tasks", times=1)
    batch = ended(batch_of(job), sandbox)
    assert (batch.state, batch.outcomes) == ("rejected", {"failed": 8})
    Connection.objects.filter(pk=job.connection_id).update(learned={"bytes_per_batch": batch.n_bytes // 2 + 1_000})
    assert kinds(finish(job, sandbox)) == {"succeeded": 8}


def test_413_of_a_proxy_is_a_refusal_and_not_looked_for(make: Any, sandbox: Any) -> None:
    """Anthropic's edge answers it with a page; as an unclear answer it would be sent again and again."""
    job = make(kind="anthropic", n_rows=8)
    sandbox.control("arm", verb="batches.create", fault="status", status=413, html=True)
    batch = look(batch_of(job))
    assert (batch.state, batch.outcomes) == ("rejected", {"failed": 8})


def test_file_that_never_fits_by_the_providers_count_is_cut_smaller(make: Any, sandbox: Any) -> None:
    """We count fewer tokens than the provider: without an end the same file would be refused for ever."""
    job = make(n_rows=12)
    batch = batch_of(job)
    limit = batch.n_tokens + 10
    Connection.objects.filter(pk=job.connection_id).update(learned={"enqueued_tokens": {job.model: limit}})
    sandbox.control("arm", orders="fail=token_limit_exceeded", times=4)
    for _ in range(3):
        batch = ended(batch, sandbox)
        assert (batch.state, batch.wait_reason[:22]) == ("ready", "waiting for headroom: ")
    batch = ended(batch, sandbox)
    assert (batch.state, batch.n_submits) == ("rejected", 4)
    learned = Connection.objects.get(pk=job.connection_id).learned
    assert learned == {"enqueued_tokens": {job.model: limit}, "tokens_per_batch": {job.model: batch.n_tokens // 2}}
    assert kinds(finish(job, sandbox)) == {"succeeded": 12}
    assert job.batches.filter(round__number=2).count() > 1


def test_cancelled_while_it_waited_for_headroom(make: Any, sandbox: Any) -> None:
    job = make()
    sandbox.control("arm", orders="fail=token_limit_exceeded", times=1)
    batch = look(batch_of(job))
    sandbox.control("advance", seconds=60)
    cancel(job, None)
    batch = look(batch)
    assert (batch.state, batch.outcomes) == ("rejected", {"cancelled": 6})
    assert finish(job, sandbox).state == "cancelled"
