"""django-q2's cluster with the ways closed in which it stands still without a word, and a pump beside it.

Four things go wrong with the stock `qcluster` (measured with django-q2 1.11.1):
1. SIGTERM to the whole process group kills the sentinel and the parent waits for ever: here the sentinel ignores SIGTERM.
2. A worker that is killed while idle may hold the queue's lock for ever: here its death ends the whole cluster.
3. A parent that is killed leaves sentinel and workers running: here the kernel ends them with it.
4. Whatever else stands still (a stuck lock, a dead pusher) looks alive: here no finished task for too long, with a worker free, ends all.
Whoever started us starts a fresh cluster then; the ledger makes that harmless.

It leans on private names of django-q2 (Sentinel.guard, spawn_process, reincarnate): the version is pinned, tests/ops watches it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any, NoReturn

from django import db
from django.conf import settings
from django.utils.module_loading import import_string
from django_q import cluster as stock
from django_q.signals import post_execute_in_worker, pre_execute
from django_q.tasks import async_task

from batchui.processes import die_with_parent

log = logging.getLogger("batchui.cluster")
STOP_SECONDS = 30  # what a stop may take before the rest is killed
# Shared with the workers, without a lock that a killed worker could keep: the monotonic time at which the last task was finished,
# and for each worker (by its pid modulo the number of slots) its pid and since when it has been at its task, 0 when idle.
SLOTS = 509
_finished_at: Any = RawValue("d", 0.0)
_busy_pid: Any = RawArray("q", SLOTS)
_busy_since: Any = RawArray("d", SLOTS)


class Sentinel(stock.Sentinel):
    """See the module's text for why each method is replaced."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        die_with_parent()
        os.register_at_fork(after_in_child=die_with_parent)
        super().__init__(*args, **kwargs)

    def guard(self) -> None:
        """Guard without minding a SIGTERM: the parent tells us to stop by the event."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        super().guard()

    def spawn_process(self, target: Any, *args: Any) -> Any:
        """Children keep the default action, which a task's timeout needs."""
        before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            return super().spawn_process(target, *args)
        finally:
            signal.signal(signal.SIGTERM, before)

    def reincarnate(self, process: Any) -> None:
        """A worker that was killed while idle may have taken the queue's lock with it: start over."""
        killed = (process.exitcode or 0) < 0
        if process in self.pool and killed and process.timer.value == -1 and not self.stop_event.is_set():
            log.critical("an idle worker was killed by signal %s; ending the cluster so that a fresh one starts", -process.exitcode)
            for each in [*self.pool, self.monitor, self.pusher]:
                if each.is_alive():
                    each.kill()
            os.kill(self.parent_pid, signal.SIGKILL)
            os._exit(1)
        super().reincarnate(process)


def _note_start(**_signal: object) -> None:
    slot = os.getpid() % SLOTS
    _busy_pid[slot], _busy_since[slot] = os.getpid(), time.monotonic()


def _note_end(**_signal: object) -> None:
    _busy_since[os.getpid() % SLOTS] = 0.0
    _finished_at.value = time.monotonic()


def n_busy() -> int:
    """How many workers are at a task that is not older than a task may get."""
    oldest = time.monotonic() - settings.Q_CLUSTER["timeout"] - 60
    return sum(1 for pid, since in zip(_busy_pid, _busy_since, strict=True) if since > oldest and since > 0 and _is_alive(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Machine:
    """One cluster and its pump, watched by this process."""

    def __init__(self) -> None:
        self.cluster: Any = None
        self.pump: BaseProcess | None = None
        self.pump_started_at = 0.0
        self.stopping = False

    def run(self) -> None:
        """Work until SIGTERM or SIGINT; exits with 1 when the cluster stands still or dies."""
        stock.Sentinel = Sentinel
        pre_execute.connect(_note_start, dispatch_uid="batchui-start")
        post_execute_in_worker.connect(_note_end, dispatch_uid="batchui-end")
        _finished_at.value = time.monotonic()
        db.connections.close_all()
        self._start_pump()
        self.cluster = stock.Cluster()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGALRM, lambda *_: self._give_up("the cluster did not stop in time"))
        self.cluster.start()
        while not self.stopping:
            self._check()
            time.sleep(0.5)

    def _stop(self, *_signal: object) -> None:
        if self.stopping:
            return
        self.stopping = True
        signal.alarm(STOP_SECONDS)
        if self.pump is not None:
            self.pump.kill()
        self.cluster.stop()
        signal.alarm(0)

    def _check(self) -> None:
        if not self.cluster.sentinel.is_alive() and not self.stopping:
            self._give_up("the sentinel is gone")
        if self.pump is not None and not self.pump.is_alive() and time.monotonic() - self.pump_started_at > 2 and not self.stopping:
            log.critical("the pump ended with status %s; starting it again", self.pump.exitcode)
            self._start_pump()
        still = time.monotonic() - _finished_at.value
        # With every worker at a long task there is nobody to show a sign of life.
        if still > settings.BEAT_LATE_SECONDS and not self.stopping and n_busy() < settings.WORKERS:
            self._give_up(f"no task was finished for {still:.0f} s, though one was asked for every {settings.BEAT_SECONDS:g} s")

    def _give_up(self, why: str) -> NoReturn:
        """End at once. The sentinel dies with us, and all of its children with it."""
        log.critical("%s; ending so that a fresh cluster starts", why)
        for process in (self.pump, self.cluster.sentinel if self.cluster else None):
            if process is not None and process.is_alive():
                process.kill()
        os._exit(1)

    def _start_pump(self) -> None:
        self.pump = multiprocessing.get_context("fork").Process(target=pump, name="pump", daemon=True)
        self.pump.start()
        self.pump_started_at = time.monotonic()


def pump() -> NoReturn:
    """Find what is due, again and again, and ask the workers for a sign of life. Never ends by itself."""
    die_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if stock.setproctitle:
        stock.setproctitle.setproctitle("batchui pump")
    run_once = import_string(settings.PUMP)
    asked_at, pause = 0.0, settings.PUMP_SECONDS
    while True:
        try:
            if time.monotonic() - asked_at >= settings.BEAT_SECONDS:
                async_task(settings.BEAT_TASK)
                asked_at = time.monotonic()
            run_once()
            pause = settings.PUMP_SECONDS
        except Exception:
            log.exception("the pump failed; it tries again")
            pause = min(10.0, pause * 2)
            db.connections.close_all()
        db.close_old_connections()
        time.sleep(pause)
