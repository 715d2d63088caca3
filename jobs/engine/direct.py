"""The direct and flex lanes: ordinary calls with bounded concurrency, resumable without paying again for what was answered.

Two append-only files beside the request file say how far it is: `sent` names a row before its request leaves, `answers.jsonl` keeps the raw
answer in the shape of a batch's result line. After a crash a row that was sent and has no answer may have been charged: it becomes an
outcome that says so, and only a person sends it again. That is written last of all, so that an answer counts which is brought meanwhile
by a worker that was only thought dead.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any

import orjson
import structlog
from django.conf import settings
from django.utils import timezone

from jobs import formats
from jobs.engine import budget, crash, places
from jobs.engine.direct_files import Log
from jobs.engine.lease import Lease
from jobs.engine.log import move
from jobs.engine.pace import Call, Pace, ran, runs_on
from jobs.engine.remote import calling, limits_for
from jobs.engine.request_file import make_whole, rows_of
from jobs.engine.spec import spec_from_json
from jobs.engine.submit import hold
from jobs.engine.windows import back_off
from jobs.errors import ProviderError
from jobs.models import Batch, Connection
from jobs.providers import errors
from jobs.providers.base import Answer, Provider, RequestSpec
from jobs.providers.session import CALL_SECONDS, FLEX_SECONDS
from jobs.rows.cut import custom_id_of, line_of
from jobs.words import BatchState, Cause

STEP_SECONDS = 120.0
TASK_MARGIN = 60.0  # of the time that a task may take, for what comes before and after the calls
CANCEL_SECONDS = 1.0  # between two looks whether a person has cancelled, or another worker has taken over
TRIES = 6
FLEX_TRIES = 10  # a refusal for want of room is what makes flex cheap: with the pauses about two minutes for a row
LONGEST_PAUSE = 30.0  # of our own
LONGEST_ASKED = 60.0  # what the provider asks for is waited for in the call up to this; all rows wait for what is longer
SHARE_SECONDS = 1.0  # how often a run looks who else uses the connection
KEEP_SECONDS, KEEP_EVERY = 60.0, 0.5  # how long an answer is held that cannot be written, and how often that is tried
PASSING = (Cause.RATE_LIMITED, Cause.PROVIDER_ERROR)
STOPPING = (Cause.AUTH, Cause.BILLING)
BROKEN = 3  # calls without any answer, one after the other, that are an outage: no more rows are put to the hazard
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Run:
    """One step over a direct batch."""

    batch: Batch
    lease: Lease
    provider: Provider
    spec: RequestSpec
    log: Log
    pace: Pace
    stop: ProviderError | None = None
    cancelled: bool = False
    outage: ProviderError | None = None
    n_broken: int = 0  # calls in a row whose answer may have been lost
    n_done: int = 0
    until: float = inf  # monotonic; a call that began later could outlive the task, which would be killed in the middle of it

    @property
    def sends(self) -> bool:
        """Whether one more row may be sent. After a pause, or a sleep of the machine, somebody else may be sending what is left."""
        is_wanted = self.stop is None and self.outage is None and not self.cancelled
        return is_wanted and time.monotonic() < self.until and self.lease.holds()


def run(batch: Batch, lease: Lease) -> None:
    """Send what was not sent yet, for as long as a step may take; when every row is answered the batch is collected like any other."""
    cancelled = _is_cancelled(batch)
    if reason := "" if cancelled else budget.begin(batch, lease):
        hold(batch, lease, reason)
        return
    if not cancelled:
        make_whole(batch, lease)
    rows = [int(row) for row in rows_of(batch)]
    files = Log(places.results_folder(batch))
    try:
        files.open()
        done = files.answered()
        unsure = files.sent() - done  # of a worker that stopped
        todo = [row for row in rows if row not in done and row not in unsure]
        if todo and not cancelled:
            todo = _step(batch, lease, files, todo, len(rows))
        is_over = (not todo or _is_cancelled(batch)) and lease.holds()
        if is_over:
            lease.renew()  # what another worker is waiting for is not lost
        for row in sorted(unsure - files.answered()) if is_over else ():
            files.answer(lost_line(batch.token, row, "The request was sent, and its answer was lost when the worker stopped."))
    finally:
        files.close()
    crash.point("direct before fetched")
    if is_over:
        words = f"Batch {batch.number}: {len(rows) - len(todo):,} of {formats.count(len(rows), 'row')} answered in real time"
        move(batch, lease, BatchState.FETCHED, words, provider_batch_id=f"direct-{batch.pk.hex}", wait_reason="", ended_at=timezone.now())


def _step(batch: Batch, lease: Lease, files: Log, todo: list[int], total: int) -> list[int]:
    """Send some of `todo`; what is left of it."""
    with lease.kept(), calling(batch.connection) as provider:
        spec = spec_from_json(batch.round.spec)
        guess = batch.n_tokens / max(1, batch.n_requests) + (spec.max_output_tokens or 0)
        going = Run(batch, lease, provider, spec, files, Pace(limits_for(batch.connection), guess), n_done=total - len(todo))
        longest = FLEX_SECONDS if spec.service_tier == "flex" else CALL_SECONDS
        going.until = time.monotonic() + settings.Q_CLUSTER["timeout"] - TASK_MARGIN - longest
        todo = _work(going, todo)
        if going.stop is not None:  # a key or an account that does not work: the rest cannot either
            lease.renew()  # but where the batch is another worker's now
            for row in todo:
                files.answer(_error_line(going, row, going.stop))
            todo = []
        _report(going, total, todo)
    return todo


def lost_line(token: str, row: int, message: str) -> bytes:
    """A line of ours for a row whose answer nobody has."""
    return orjson.dumps({"custom_id": custom_id_of(token, row), "batchui": {"no_answer": message}})


def _work(going: Run, todo: list[int]) -> list[int]:
    """Send rows with bounded concurrency; what is left when the step is over."""
    ends = time.monotonic() + STEP_SECONDS
    left = list(reversed(todo))
    running: dict[Future[None], int] = {}
    asked = time.monotonic()
    looked = _share(going, None)
    with ThreadPoolExecutor(max(1, going.pace.limits.concurrency)) as pool:
        while (left or running) and (running or (going.sends and time.monotonic() < ends)):
            while left and going.sends and time.monotonic() < ends and going.pace.may_start(len(running)):
                row = left.pop()
                running[pool.submit(_one, going, row, going.pace.began())] = row
            done, _ = wait(running, timeout=0.05, return_when=FIRST_COMPLETED)
            for future in done:
                row = running.pop(future)
                if future.exception() is not None:
                    if not isinstance(future.exception(), _NotNow):
                        raise future.exception()  # type: ignore[misc]
                    left.append(row)
            if not running:
                time.sleep(0.01)
            if time.monotonic() - asked > CANCEL_SECONDS:
                going.cancelled = _is_cancelled(going.batch) or _is_taken(going.batch, going.lease)
                asked = time.monotonic()
            if time.monotonic() - looked > SHARE_SECONDS:
                looked = _share(going, looked)
    _share(going, looked)
    return list(reversed(left))


def _share(going: Run, since: float | None) -> float:
    """Note the time that the calls took since the last look, shared with the runs beside this one; and how many those are now."""
    now = time.monotonic()
    if since is not None:
        with suppress(OSError):  # the price of time alone needs it
            ran(going.log.folder, (now - since) / going.pace.share)
    going.pace.share = runs_on(going.batch)
    return now


def _is_cancelled(batch: Batch) -> bool:
    """Whether an end is asked for, of the batch or of its job: one that was cut while the job was cancelled bears no mark of its own."""
    asked = Batch.objects.filter(pk=batch.pk).values_list("cancel_requested_at", "job__cancel_requested_at").first()
    return asked is None or any(asked)


def _is_taken(batch: Batch, lease: Lease) -> bool:
    """Whether another worker has the batch, and sends the same rows: a clock that jumped told that one that our lease is over."""
    return not Batch.objects.filter(pk=batch.pk, lease_token=lease.token).exists()


class _NotNow(Exception):
    """The row was not taken; nothing was charged for it, and it stays to be sent."""


def _one(going: Run, row: int, call: Call) -> None:
    """One row to its answer, through the refusals that pass."""
    line = line_of(places.request_file(going.batch), row)
    tries = FLEX_TRIES if going.spec.service_tier == "flex" else TRIES
    for attempt in range(tries):
        if not going.sends:
            raise _NotNow
        if attempt:
            call = going.pace.began()
        going.log.send(row)
        crash.point("direct after sent")
        began = time.monotonic()
        try:
            crash.during("in direct call")
            answer, raw = going.provider.call(line, going.spec)
        except ProviderError as error:
            if error.unsent:
                going.log.back(row)
                going.outage = error
                raise _NotNow from error
            if error.cause in STOPPING:
                going.stop = error
                _keep(going, row, _error_line(going, row, error))
                return
            lost = errors.maybe_answered(error)
            if error.cause is Cause.RATE_LIMITED and not lost and (error.retry_after or 0.0) > LONGEST_ASKED:
                going.log.back(row)
                going.outage = error
                raise _NotNow from error
            if error.cause in PASSING and not lost and attempt + 1 < tries:
                going.log.back(row)
                if error.cause is Cause.RATE_LIMITED:
                    going.pace.busy(error.retry_after)
                _pause(going, error.retry_after or min(LONGEST_PAUSE, 0.5 * 2**attempt))
                continue
            _keep(going, row, _error_line(going, row, error))
            going.n_broken = going.n_broken + 1 if lost else 0
            if going.n_broken >= BROKEN:
                going.outage = error
            return
        going.n_broken = 0
        crash.point("direct after answer")
        _keep(going, row, raw)
        crash.point("direct after line")
        going.log.took(row, time.monotonic() - began)
        going.pace.well(call, _tokens(answer), going.provider.room)
        going.n_done += 1
        return


def _keep(going: Run, row: int, line: bytes) -> None:
    """Write an answer, which is paid for: while the disk is full it is held, for a while. Raises OSError where it stays so."""
    ends = time.monotonic() + KEEP_SECONDS
    while True:
        try:
            going.log.answer(line)
            return
        except OSError:
            if time.monotonic() > ends:
                log.exception("an answer could not be written and is lost", batch=str(going.batch.pk), row=row)
                raise
            time.sleep(KEEP_EVERY)


def _tokens(answer: Answer) -> int:
    return answer.input_tokens + answer.output_tokens


def _pause(going: Run, seconds: float) -> None:
    time.sleep(min(seconds, LONGEST_ASKED) if going.batch.connection.is_sandbox is False else min(seconds, 1.0))


def _error_line(going: Run, row: int, error: ProviderError) -> bytes:
    """The provider's refusal as a line; where the answer may have been lost the row may have been charged, and the line says so."""
    if errors.maybe_answered(error):
        return lost_line(going.batch.token, row, error.message)
    what: dict[str, Any] = {"cause": error.cause.value, "message": error.message, "status": error.status, "code": error.code}
    return orjson.dumps({"custom_id": custom_id_of(going.batch.token, row), "batchui": {"error": what, "raw": error.raw}})


def _report(going: Run, total: int, todo: list[int]) -> None:
    """Progress and trouble for the page, and when to go on."""
    fields: dict[str, Any] = {
        "provider_counts": {"total": total, "succeeded": total - len(todo)},
        "next_look_at": timezone.now(),
        "wait_reason": "",
        "n_errors": 0,
    }
    if going.outage is not None and todo:
        tries = going.batch.n_errors + 1
        words = f"the provider cannot be reached, going on when it is back: {going.outage.message}"
        cap = 1.0 if going.batch.connection.is_sandbox else 60.0
        at = back_off(tries, going.outage.retry_after, cap=cap)
        if going.outage.cause is Cause.RATE_LIMITED:
            words = f"the provider asked us to wait, going on at {timezone.localtime(at):%H:%M %Z}: {going.outage.message}"
        fields |= {"wait_reason": words[:500], "n_errors": tries, "next_look_at": at}
    if going.stop is not None:
        Connection.objects.filter(pk=going.batch.connection_id).update(problem=going.stop.message[:500])
    going.lease.write(**fields)
