"""People who act in the same moment on the same things, through the pages, while workers work: one history for `test_people`.

A history goes in rounds: all look at one job or draft, and all act at once. Which acts, and the pauses between the statements of each,
are drawn from the seed; how the threads then meet is the machine's, so a seed may have to be tried some times until it fails again.
"""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.core.signals import got_request_exception
from django.db import OperationalError, connection, connections
from django.test import Client
from django.utils import timezone

from jobs.engine import pump
from jobs.engine.advance import advance
from jobs.models import Batch, Connection, Job, Membership
from jobs.words import JobState, Role
from tests.concurrency.acts import ANYWHERE, ON_DRAFTS, ON_JOBS, Act, Place, go

PEOPLE = ("owner", "boss", "analyst", "owner")  # the owner has two windows open
WORKERS = 2


@dataclass(slots=True)
class Said:
    """What somebody asked for, and how it was answered; `began` and `ended` by one clock."""

    who: str
    act: str
    target: UUID
    wanted: dict[str, Any]
    status: int
    words: list[str]
    location: str
    began: float
    ended: float

    @property
    def done(self) -> bool:
        """Whether the answer says that it was done."""
        return self.status in (200, 302) and bool(self.wanted)


@dataclass
class Crowd:
    """The threads of one history. `said` is what was answered, `broken` are tracebacks of pages and workers."""

    place: Place
    seed: int
    said: list[Said] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.luck = random.Random(self.seed)
        self.over = threading.Event()
        self._mine = threading.local()

    # -- threads

    def _thread(self, target: Callable[..., None], *args: Any) -> threading.Thread:
        luck = random.Random(self.luck.random())

        def run() -> None:
            try:
                if connection.vendor == "postgresql":
                    with connection.cursor() as cursor:
                        cursor.execute("SET deadlock_timeout = '100ms'")
                with connection.execute_wrapper(pauses(luck)):
                    target(luck, *args)
            except Exception:
                self.broken.append(f"a thread ended: {traceback.format_exc()}")
            finally:
                connections.close_all()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _note(self, **_: Any) -> None:
        """A page broke, in the thread that asked for it."""
        self._mine.broke = traceback.format_exc()

    # -- workers

    def work(self, luck: random.Random) -> None:
        """What is due, in any order, and sometimes what is not due."""
        while not self.over.is_set():
            found = list(pump.due())
            luck.shuffle(found)
            for kind, each in found[:5]:
                advance(kind, str(each.pk))
            with suppress(OperationalError):
                if luck.random() < 0.1:
                    pump.run_once()
                wake(luck)
            time.sleep(0.005)

    # -- people

    def act(self, who: str, client: Client, act: Act, target: UUID, number: int) -> None:
        """Ask for one thing, and keep the answer."""
        self._mine.broke = ""
        began = time.monotonic()
        try:
            asked = act(self.place, client, target, number)
        except Job.DoesNotExist:  # thrown away by another
            return
        if asked is None:
            return
        wanted, response = asked
        words = [str(each) for each in getattr(response.wsgi_request, "_messages", ()) and response.wsgi_request._messages._queued_messages]
        if response.status_code >= 500:
            self.broken.append(f"{who}, {act.__name__}: {self._mine.broke}")
        location = response.headers.get("Location", "")
        name = act.__name__
        self.said.append(Said(who, name, target, wanted, response.status_code, words, location, began, time.monotonic()))

    def _person(self, luck: random.Random, who: str, client: Client, line: threading.Barrier, act: Act, target: UUID, number: int) -> None:
        line.wait(30)
        time.sleep(luck.choice((0.0, 0.0, 0.01, 0.03)))
        self.act(who, client, act, target, number)

    def meet(self, clients: list[tuple[str, Client]]) -> None:
        """One round: everybody acts on the same job or draft, and on what belongs to it."""
        if Job.objects.filter(state=JobState.DRAFT).count() < 2:
            self.place.new_draft(self.luck.randrange(4))
        wanted = Job.objects.filter(launched_at__isnull=self.luck.random() < 0.4).order_by("-created_at")
        target = self.luck.choice(list((wanted or Job.objects.all()).values_list("pk", flat=True)[:3]))
        own = ON_DRAFTS if Job.objects.filter(pk=target, state=JobState.DRAFT).exists() else ON_JOBS
        favourite = self.luck.choice(own)
        line = threading.Barrier(len(clients))
        threads = []
        for who, client in clients:
            act = favourite if self.luck.random() < 0.3 else self.luck.choice(own if self.luck.random() < 0.7 else ANYWHERE)
            threads.append(self._thread(self._person, who, client, line, act, target, self.luck.randrange(10**6)))
        for thread in threads:
            thread.join(60)
            if thread.is_alive():
                self.broken.append("a page does not answer")

    # -- the whole

    def live(self, n_rounds: int) -> None:
        """The history, then the workers alone until nothing is left to do."""
        got_request_exception.connect(self._note, dispatch_uid="crowd")
        try:
            clients = [(who, self.place.client(who)) for who in PEOPLE]
            for number in range(4):  # two to begin with, and two drafts
                draft = self.place.new_draft(number)
                if number > 1:
                    self.act("owner", clients[0][1], go, draft.pk, 1)
            workers = [self._thread(self.work) for _ in range(WORKERS)]
            for _ in range(n_rounds):
                self.meet(clients)
            self._rest()
        finally:
            self.over.set()
            got_request_exception.disconnect(dispatch_uid="crowd")
        for thread in workers:
            thread.join(60)

    def _rest(self) -> None:
        """Take away what waits for a person, and wait until all has ended."""
        self.place.calm()
        ends = time.monotonic() + 30
        while left := unfinished():
            if time.monotonic() > ends:
                self.broken.append(f"does not end: {left}")
                return
            self.place.decide()
            time.sleep(0.05)


def unfinished() -> list[str]:
    """What still goes on, in words."""
    jobs = Job.objects.filter(state__in=pump.LIVE_JOBS) | Job.objects.filter(state=JobState.DRAFT, next_look_at__isnull=False)
    batches = Batch.objects.exclude(state__in=["settled", "rejected"])
    return [f"{job.state} {job.needs} {job.wish}" for job in jobs] + [f"{b.state} {b.wait_reason} {b.problem}" for b in batches]


def wake(luck: random.Random) -> None:
    """Some of what sleeps is due now; one row at a time, so that this is in nobody's way."""
    now = timezone.now()
    for model in (Batch, Job, Connection):
        for pk in model.objects.filter(next_look_at__gt=now).values_list("pk", flat=True):
            if luck.random() < 0.5:
                model.objects.filter(pk=pk, next_look_at__gt=now).update(next_look_at=now)


def pauses(luck: random.Random) -> Callable[..., Any]:
    """Makes others come in between: a statement is sometimes followed by a pause, one that locks more often."""

    def wrapped(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        locks = sql.startswith(("UPDATE", "INSERT", "DELETE")) or "FOR " in sql
        if luck.random() < (0.15 if locks else 0.05):
            time.sleep(luck.random() * 0.02)
        return result

    return wrapped


def make_boss(people: Any) -> User:
    """A second admin."""
    user = User.objects.create_user("boss", password="bossboss")
    Membership.objects.create(workspace=people.home, user=user, role=Role.ADMIN)
    return user
