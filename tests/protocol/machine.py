"""The submit protocol as a machine with virtual time: workers that stop anywhere, a provider that answers late, wrongly or not at all.

A worker is a generator that yields wherever another one may come in between: before and after each call to the provider. What it writes
between two yields is one commit. Times are small integers; the clock is drawn at the boundaries where protocols of this kind break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

LEASE = 6  # a claim lives so long
CALL = 4  # a create that was given up may still be carried out so long after it was sent
LAG = 3  # and is in the list so long after that
WINDOW = LEASE + CALL + LAG + 1
APART = 2
BOUNDARIES = (1, APART, LAG, CALL, LEASE - 1, LEASE, WINDOW - 1, WINDOW)


@dataclass(frozen=True)
class Rules:
    """The protocol as designed; a mutant changes one of them."""

    checks_deadline: bool = True  # the lease's deadline is asked right before the call
    n_tries: int = 1  # POSTs per create; the SDKs' default is 3
    marks_first: bool = True  # the mark is committed before the POST
    unknown_fails: bool = False  # no answer counts as a failure
    claims: bool = True  # one worker at a time
    window: int = WINDOW  # how long absence proves nothing
    whole_lists: bool = True  # absence counts only after a walk to the end
    waits: bool = True  # absence needs the window at all


@dataclass
class Made:
    """A batch at the provider."""

    tag: int
    rows: tuple[int, ...]
    at: int
    is_over: bool = False


@dataclass
class Batch:
    """What the ledger knows. `tag` is the token of its latest create."""

    rows: tuple[int, ...]
    state: str = "ready"  # ready submitting unknown submitted settled rejected
    tag: int = 0
    marked_at: int = 0
    absent_at: int | None = None
    holder: int = 0
    until: int = -1


@dataclass
class World:
    """Ledger and provider together."""

    rules: Rules
    now: int = 0
    n_tags: int = 0
    batches: list[Batch] = field(default_factory=list)
    owner: dict[int, Batch | None] = field(default_factory=lambda: dict.fromkeys(range(3)))
    done: set[int] = field(default_factory=set)
    made: list[Made] = field(default_factory=list)
    on_the_way: list[tuple[int, Made]] = field(default_factory=list)

    def pass_time(self, n: int) -> None:
        for _ in range(n):
            self.now += 1
            for due in [one for one in self.on_the_way if one[0] <= self.now]:
                self.on_the_way.remove(due)
                due[1].at = self.now
                self.made.append(due[1])

    def post(self, batch: Batch, tag: int, fate: str, delay: int) -> None:
        """A create arrives: carried out now, later, or never. Whether the answer gets through is another matter."""
        made = Made(tag, batch.rows, self.now)
        if fate in ("ok", "lost", "error after"):
            self.made.append(made)
        elif fate == "late":
            self.on_the_way.append((self.now + delay, made))

    def listed(self) -> list[Made]:
        seen = [one for one in self.made if one.at + LAG <= self.now]
        return seen if self.rules.whole_lists else seen[-1:]

    def free(self, batch: Batch) -> None:
        for row in batch.rows:
            if self.owner[row] is batch:
                self.owner[row] = None


FATES = ("ok", "lost", "error after", "error before", "refused", "late", "late", "late")


def advance(world: World, batch: Batch, fates: list[str], delay: int) -> Iterator[None]:
    """One step of a worker, as `jobs.engine` does it."""
    rules = world.rules
    if rules.claims:
        if batch.until > world.now:
            return
        batch.holder += 1
        batch.until = world.now + LEASE
    token = batch.holder

    def is_mine() -> bool:
        return not rules.claims or (batch.holder == token and (world.now < batch.until or not rules.checks_deadline))

    if batch.state == "ready":
        yield from _submit(world, batch, fates, delay, is_mine)
    elif batch.state in ("submitting", "unknown"):
        yield from _reconcile(world, batch, is_mine)
    elif batch.state == "submitted":
        yield
        if is_mine() and any(one.is_over and one.tag == batch.tag for one in world.made):
            batch.state = "settled"
            world.done.update(batch.rows)
    if rules.claims and batch.holder == token:
        batch.until = -1


def _submit(world: World, batch: Batch, fates: list[str], delay: int, is_mine: Callable[[], bool]) -> Iterator[None]:
    rules = world.rules
    world.n_tags += 1
    tag = world.n_tags
    if rules.marks_first:
        batch.state, batch.tag, batch.marked_at, batch.absent_at = "submitting", tag, world.now, None
    yield
    if rules.marks_first and not is_mine():
        return
    for i in range(rules.n_tries):
        fate = fates[i % len(fates)]
        world.post(batch, tag, fate, delay)
        yield
        if fate in ("ok", "refused"):
            if is_mine() and batch.state in ("ready", "submitting") and (batch.tag == tag or not rules.marks_first):
                batch.state, batch.tag = ("submitted" if fate == "ok" else "rejected"), tag
                if fate == "refused":
                    world.free(batch)
            return
    if rules.unknown_fails:
        batch.state = "rejected"
        world.free(batch)
    elif is_mine() and batch.state == "submitting" and batch.tag == tag:
        batch.state = "unknown"


def _reconcile(world: World, batch: Batch, is_mine: Callable[[], bool]) -> Iterator[None]:
    tag = batch.tag
    yield
    found = any(one.tag == tag for one in world.listed())
    if not is_mine() or batch.tag != tag or batch.state not in ("submitting", "unknown"):
        return
    if found:
        batch.state = "submitted"
    elif world.now - batch.marked_at < world.rules.window and world.rules.waits:
        batch.state = "unknown"
    elif batch.absent_at is None and world.rules.waits:
        batch.state, batch.absent_at = "unknown", world.now
    elif batch.absent_at is None or world.now - batch.absent_at >= APART:
        batch.state = "rejected"  # proved absent: its rows are free to be sent in another batch
        world.free(batch)


class History:
    """One random history out of a seed: launches, workers that stop anywhere, deaths, and time."""

    def __init__(self, rules: Rules, seed: int) -> None:
        self.world, self.luck = World(rules), Random(seed)
        self.workers: list[Iterator[None]] = []

    def run(self, n_steps: int) -> str:
        """What broke, "" where nothing did."""
        acts = (self.launch, self.wake, self.go_on, self.wait, self.kill, self.end)
        for act in self.luck.choices(acts, weights=(8, 22, 30, 32, 4, 4), k=n_steps):
            act()
            if fault := self.fault():
                return fault
        return ""

    def launch(self) -> None:
        world = self.world
        free = tuple(row for row, owner in world.owner.items() if owner is None and row not in world.done)
        free = free[: self.luck.choice((1, 3, 3))]
        if free:
            batch = Batch(free)
            world.batches.append(batch)
            world.owner.update(dict.fromkeys(free, batch))

    def wake(self) -> None:
        open_ones = [one for one in self.world.batches if one.state not in ("settled", "rejected")]
        if open_ones:
            fates = [self.luck.choice(FATES) for _ in range(3)]
            self.workers.append(advance(self.world, self.luck.choice(open_ones), fates, self.luck.randint(1, CALL)))
            self._step(self.workers[-1])

    def go_on(self) -> None:
        if self.workers:
            self._step(self.workers[-1] if self.luck.random() < 0.5 else self.luck.choice(self.workers))

    def _step(self, worker: Iterator[None]) -> None:
        if next(worker, True) is True:
            self.workers.remove(worker)

    def kill(self) -> None:
        if self.workers and self.luck.random() < 0.5:
            self.workers.remove(self.luck.choice(self.workers))

    def wait(self) -> None:
        self.world.pass_time(self.luck.choice(BOUNDARIES))

    def end(self) -> None:
        if self.world.made:
            self.luck.choice(self.world.made).is_over = True

    def fault(self) -> str:
        """The invariants: a row is in one batch at the provider at most, and belongs to the open batch that holds it."""
        world = self.world
        for row in world.owner:
            if (n := sum(row in one.rows for one in world.made)) > 1:
                return f"row {row} is in {n} batches at the provider"
        for batch in world.batches:
            if batch.state not in ("settled", "rejected") and any(world.owner[row] is not batch for row in batch.rows):
                return f"an open batch lost rows of {batch.rows}"
        return ""


def find_fault(rules: Rules, n_histories: int, n_steps: int = 40, first: int = 0) -> tuple[int, str] | None:
    """The first seed whose history breaks the invariants under these rules, and how; None where none does."""
    for seed in range(first, first + n_histories):
        if fault := History(rules, seed).run(n_steps):
            return seed, fault
    return None
