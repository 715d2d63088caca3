"""How fast ordinary calls go, on a clock that the test turns."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.engine.pace import Pace, milliseconds, ran, runs_on
from jobs.models import Batch, Round
from jobs.providers.base import Limits
from jobs.providers.room import Room


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def started(pace: Pace, most: int = 1_000, running: int = 0) -> int:
    """How many calls may begin in this moment, none of them ending."""
    n = 0
    while n < most and pace.may_start(running + n):
        pace.began()
        n += 1
    return n


def test_calls_at_one_time_are_bounded(clock: Clock) -> None:
    assert started(Pace(Limits(concurrency=5), clock=clock)) == 5


def test_requests_a_minute_are_kept_over_any_minute(clock: Clock) -> None:
    pace = Pace(Limits(concurrency=100, requests_per_minute=30), clock=clock)
    assert started(pace) == 30
    clock.now += 59
    assert started(pace) == 0
    clock.now += 2
    assert started(pace) == 30


def test_tokens_a_minute_are_guessed_and_then_known(clock: Clock) -> None:
    pace = Pace(Limits(concurrency=100, tokens_per_minute=10_000), guess=2_000, clock=clock)
    assert started(pace) == 5
    for call in list(pace.calls):
        pace.well(call, 500)
    assert (pace.guess, sum(call.tokens for call in pace.calls)) == (500, 2_500)
    assert started(pace) == 15
    clock.now += 61
    assert started(pace) == 20


def test_a_call_larger_than_the_limit_goes_alone(clock: Clock) -> None:
    pace = Pace(Limits(concurrency=100, tokens_per_minute=1_000), guess=5_000, clock=clock)
    assert started(pace) == 1
    clock.now += 61
    assert started(pace) == 1


def test_runs_beside_each_other_share_the_limits(clock: Clock) -> None:
    pace = Pace(Limits(concurrency=9, requests_per_minute=100, tokens_per_minute=60_000), guess=10_000, share=3, clock=clock)
    assert started(pace) == 2  # of 60,000 tokens its third is 20,000
    pace = Pace(Limits(concurrency=9, requests_per_minute=100), share=3, clock=clock)
    assert started(pace) == 3
    pace = Pace(Limits(concurrency=900, requests_per_minute=100), share=3, clock=clock)
    assert started(pace) == 33


def test_a_refusal_halves_and_good_answers_bring_it_back(clock: Clock) -> None:
    pace = Pace(Limits(concurrency=8), clock=clock)
    call = pace.began()
    pace.busy(7.0)
    assert (pace.now, started(pace)) == (4.0, 0)
    clock.now += 7.0
    assert started(pace, most=4) == 4
    for _ in range(4 + 5 + 6 + 7 + 8):
        pace.well(call, 10)
    assert pace.now == 8.0


@pytest.mark.parametrize(
    ("room", "pause"),
    [
        (Room(requests=0, requests_reset=12.0), 12.0),
        (Room(requests=5, requests_reset=12.0), 0.0),
        (Room(tokens=400, tokens_reset=3.5), 3.5),
        (Room(tokens=4_000, tokens_reset=3.5), 0.0),
        (Room(requests=0), 1.0),
        (Room(requests=0, requests_reset=86_400.0), 60.0),
    ],
)
def test_what_the_provider_says_is_left_is_heeded_before_it_refuses(clock: Clock, room: Room, pause: float) -> None:
    pace = Pace(Limits(), clock=clock)
    pace.well(pace.began(), 1_000, room)
    assert max(0.0, pace.pause_until - clock.now) == pause
    assert pace.may_start(0) is (pause == 0.0)


@pytest.mark.django_db
def test_runs_on_counts_live_runs_of_the_lanes_of_calls_alone(make: Any) -> None:
    job = make(n_rows=6, per_batch=2)
    mine, other, third = job.batches.order_by("number")
    assert runs_on(mine) == 1
    Round.objects.update(lane="direct")
    Batch.objects.filter(pk=other.pk).update(n_submits=1, lease_until=timezone.now() + timedelta(seconds=60))
    Batch.objects.filter(pk=third.pk).update(n_submits=1, lease_until=timezone.now() - timedelta(seconds=1))
    assert runs_on(mine) == 2
    Round.objects.update(lane="batch")
    assert runs_on(mine) == 1


def test_the_clock_of_a_batch_adds_up_and_survives_half_a_line(tmp_path: Any) -> None:
    assert milliseconds(tmp_path) == 0
    ran(tmp_path, 1.25)
    ran(tmp_path, 0.5)
    with (tmp_path / "clock").open("a") as file:
        file.write("12x")
    assert milliseconds(tmp_path) == 1750
