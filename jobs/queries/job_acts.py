"""What a person may do on the page of a job beside retry and cancel: finish the rest in real time, let a cap go, decide about a batch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from django.utils import timezone

from jobs import formats
from jobs.models import Job
from jobs.queries.job import Facts, Usual
from jobs.queries.job_money import price_words
from jobs.words import JobState

NEAR = timedelta(hours=2)
LONG = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Rescue:
    """The rest of a job in real time. `why` is the reason to offer it in so many words, "" where there is none but a person's own hurry."""

    n_rows: int
    n_batches: int  # at the provider or on the way there; they are cancelled first
    more: str  # " for about $1.90 more", "" where no price is known
    realtime: str
    batch: str
    why: str

    @property
    def act(self) -> str:
        """What the button says that does it."""
        return f"Finish {formats.count(self.n_rows, 'row')}{self.more.replace(' for ', ', ')}"

    @property
    def button(self) -> str:
        """What the button says that leads there."""
        rest = "the remaining row" if self.n_rows == 1 else f"the remaining {self.n_rows:,} rows"
        return f"Finish {rest} in real time{self.more}"


def rescue_of(
    job: Job,
    facts: Facts,
    rows: int,
    realtime: Decimal | None,
    batch: Decimal | None,
    more: Decimal | None,
    usual: Usual | None = None,
) -> Rescue | None:
    """The offer, None where there is nothing to rescue. `rows`, the prices of them and what is paid `more` come from the engine."""
    state = JobState(job.state)
    open_ones = 0 if state.terminal else facts.n_on_batch_lane
    if not rows or job.wish or state in (JobState.DRAFT, JobState.CANCELLING) or not (state.terminal or open_ones):
        return None
    words = f" for {price_words(more)} more" if more is not None and more > 0 else ""
    prices = [price_words(each) if each is not None else "" for each in (realtime, batch)]
    return Rescue(rows, open_ones, words, prices[0], prices[1], _why(job, facts, rows, usual))


def _why(job: Job, facts: Facts, n: int, usual: Usual | None) -> str:
    """What is late, or lost; "" while all goes its way."""
    now = timezone.now()
    if JobState(job.state).terminal:
        be = "was" if n == 1 else "were"
        what = [("expired", job.n_expired), (f"{be} cancelled", job.n_cancelled), (f"{be} missing from the answer", job.n_missing)]
        return f"{formats.count(n, 'row')} {' or '.join(word for word, m in what if m)}."
    if facts.expires_at and facts.expires_at < now:
        return "A batch is past the provider's own time limit."
    if facts.expires_at and facts.expires_at - now < NEAR:
        left = formats.duration((facts.expires_at - now).total_seconds())
        return f"The provider gives up on what is left in {left}, at {timezone.localtime(facts.expires_at):%H:%M}."
    running = now - facts.oldest if facts.oldest else timedelta()
    if usual and running.total_seconds() > usual.slow:
        return f"It takes longer than usual: 9 of 10 such batches here took at most {formats.duration(usual.slow)}."
    if not usual and running > LONG:
        return f"It has been at the provider for {formats.duration(running.total_seconds())}."
    return ""
