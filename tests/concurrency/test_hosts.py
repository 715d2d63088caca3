"""Two hosts share a job over PostgreSQL; one of them dies or loses its network; no batch is made twice, no row is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.utils import timezone

from jobs.engine import places
from jobs.models import Batch, Connection, Heartbeat, Job
from jobs.words import BatchState, JobState
from tests.concurrency.conftest import Site
from tests.concurrency.hosts import Host, until
from tests.jobs import make_connection, make_job
from tests.servers import Redis

pytestmark = [pytest.mark.postgres, pytest.mark.serial, pytest.mark.django_db(transaction=True)]
N_ROWS, N_BATCHES = 1000, 20
# The hosts reach the sandbox at an address of their own, so that to the ledger it is a provider like any other. A host may die with its
# mark made and its create not sent: then all wait for the window of absence.
QUICK = {"BATCHUI_LEASE_SECONDS": "8", "BATCHUI_ABSENCE_SECONDS": "12", "BATCHUI_ABSENCE_APART_SECONDS": "3"}


def launch(site: Site, people: Any) -> Job:
    connection = make_connection(people.home, people.owner, site.sandbox)
    limits = {"requests_per_batch": N_ROWS // N_BATCHES, "creates_per_minute": 100}
    made, _ = save(connection, people, site.openai_url, limits)
    return make_job(people.home, people.owner, site.sandbox, n_rows=N_ROWS, connection=made, settle=False)


def save(connection: Connection, people: Any, url: str, limits: dict[str, int]) -> tuple[Connection, bool]:
    from jobs.engine.connections import save_connection

    return save_connection(
        people.home,
        people.owner,
        name=connection.name,
        kind="openai",
        base_url=url,
        key="sk-test-1234567890",
        limits=limits,
        connection=connection,
        by_operator=True,
    )


def state_of(job: Job) -> str:
    job.refresh_from_db()
    return job.state


def beat(host: Host) -> None:
    """Wait until the host's workers take tasks."""
    since = timezone.now()
    host.start(**QUICK)
    until(lambda: Heartbeat.objects.filter(name="worker", at__gt=since).exists(), 40, f"host {host.name} works")


def assert_done_once(job: Job, site: Site) -> None:
    """Each batch created once, each row run once and standing once, nothing left over. A create that never arrived is made again by a
    token of its own."""
    assert state_of(job) == JobState.COMPLETED
    assert (job.n_succeeded, job.n_rows) == (N_ROWS, N_ROWS)
    creates = site.creates
    assert len(creates) == N_BATCHES
    assert Counter(create["file"] for create in creates).most_common(1)[0][1] == 1
    ran = Counter(row["custom_id"] for row in site.sandbox.control("executed"))
    assert (len(ran), set(ran.values())) == (N_ROWS, {1})
    batches = list(Batch.objects.filter(job=job))
    assert {(batch.state, batch.n_submits - len(batch.past_tokens)) for batch in batches} == {(BatchState.SETTLED, 1)}
    assert {batch.provider_batch_id for batch in batches} == {create["batch"] for create in creates}
    file = places.standings_file(job, job.n_settled_rounds)
    assert file is not None
    assert pq.read_table(file, columns=["_row"]).column(0).to_pylist() == list(range(N_ROWS))
    assert [path.name for path in Path(places.job_folder(job)).rglob("*.part")] == []


def test_the_host_that_dies_in_a_create_is_replaced_within_a_minute(site: Site, people: Any, say: Callable[[str], None]) -> None:
    """With the lease as it is by default. Host a dies while the provider is silent after carrying out its creates."""
    job = launch(site, people)
    first, second = site.hosts
    site.sandbox.control("arm", verb="batches.create", fault="hang", seconds=300, times=2)
    first.start()
    until(lambda: len(site.creates) == 2, 60, "two creates hang")
    held = dict(Batch.objects.filter(job=job, state=BatchState.SUBMITTING).values_list("pk", "lease_token"))
    assert len(held) == 2
    second.start()
    since = timezone.now()
    until(lambda: Heartbeat.objects.filter(name="worker", at__gt=since).exists(), 40, "host b works")
    first.kill()
    died = timezone.now()

    def taken_over() -> bool:
        return all(token > held[pk] for pk, token in Batch.objects.filter(pk__in=held).values_list("pk", "lease_token"))

    took = until(taken_over, 60, "host b takes the work of host a")
    ended = until(lambda: JobState(state_of(job)).terminal, 60, "the job settles")
    assert_done_once(job, site)
    say(f"taken over {took:.1f} s after the kill, settled {ended:.1f} s later")
    assert job.finished_at is not None
    assert datetime.fromtimestamp(died.timestamp(), died.tzinfo) < job.finished_at


def test_one_host_of_two_is_killed_in_the_middle(site: Site, people: Any, say: Callable[[str], None]) -> None:
    first, second = site.hosts
    beat(first)
    beat(second)
    job = launch(site, people)
    until(lambda: len(site.creates) >= 7, 60, "seven creates")
    first.kill()
    took = until(lambda: JobState(state_of(job)).terminal, 120, "the job settles")
    assert_done_once(job, site)
    say(f"killed after {N_BATCHES // 3}+ of {N_BATCHES} creates; settled {took:.1f} s after the kill")


def test_a_host_that_loses_its_network_for_longer_than_its_lease(site: Site, people: Any, say: Callable[[str], None]) -> None:
    """It lives on, believing that the work is its own, and comes back when it is not."""
    first, second = site.hosts
    if not first.namespace:
        pytest.skip("needs network namespaces, which are not permitted here")
    beat(first)
    beat(second)
    job = launch(site, people)
    until(lambda: len(site.creates) >= 5, 60, "five creates")
    first.cut(off=True)
    until(lambda: JobState(state_of(job)).terminal, 120, "the job settles without host a")
    first.cut(off=False)
    assert_done_once(job, site)
    say("settled by the host that was left")


def test_redis_forgets_everything_in_the_middle(redis: Redis, site: Site, people: Any, say: Callable[[str], None]) -> None:
    """Redis as the queue, flushed, and one host killed: the ledger alone knows what is to be done, and that is enough."""
    import redis as client

    first, second = site.hosts
    beat(first)
    beat(second)
    job = launch(site, people)
    until(lambda: len(site.creates) >= 5, 60, "five creates")
    with client.Redis(port=redis.port) as queue:
        queue.flushall()
    first.kill()
    until(lambda: len(site.creates) >= 12, 120, "twelve creates")
    with client.Redis(port=redis.port) as queue:
        queue.flushall()
    took = until(lambda: JobState(state_of(job)).terminal, 240, "the job settles")
    assert_done_once(job, site)
    say(f"flushed twice, one host killed; settled {took:.1f} s after the second flush")
