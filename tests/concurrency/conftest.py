"""Two worker hosts over one ledger on PostgreSQL, one folder, one provider."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from jobs.sandbox import Sandbox
from tests.concurrency.hosts import Host, Relay, namespaces
from tests.servers import NotHere, Redis


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line into the run's output, whatever becomes of the test."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def write(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n   {request.node.name}: {text}", flush=True)

    return write


@pytest.fixture
def redis() -> Iterator[Redis]:
    try:
        server = Redis()
    except NotHere as error:
        pytest.skip(f"no Redis: {error}")
    yield server
    server.stop()


@dataclass
class Site:
    """What the test has: two hosts, the provider, and the address at which the hosts reach it."""

    hosts: list[Host]
    sandbox: Sandbox
    address: str
    base_env: dict[str, str]

    @property
    def openai_url(self) -> str:
        return self.sandbox.openai_url.replace("127.0.0.1", self.address)

    @property
    def creates(self) -> list[dict[str, Any]]:
        """The creates that the provider carried out."""
        return list(self.sandbox.control("calls", verb="batches.create"))


@pytest.fixture
def site(
    transactional_db: None, data_folder: Path, tmp_path: Path, say: Callable[[str], None], request: pytest.FixtureRequest
) -> Iterator[Site]:
    """Two hosts, not started. With a fixture `redis` in the test they share its queue, else the ORM's."""
    queue: Redis | None = request.getfixturevalue("redis") if "redis" in request.fixturenames else None
    ledger = connection.settings_dict
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(tmp_path / "sandbox", seconds=0.5))
        try:
            names, address = stack.enter_context(namespaces(2))
        except OSError as error:
            say(f"no network namespaces here ({str(error).strip()}); the hosts are process groups")
            names, address = ["", ""], "127.0.0.1"
        if names[0]:
            ports = [int(ledger["PORT"]), sandbox.server.server_address[1], *([queue.port] if queue else [])]
            for port in ports:
                stack.enter_context(Relay(address, port))
        env = {
            **{name: value for name, value in os.environ.items() if name not in ("DJANGO_ALLOW_ASYNC_UNSAFE", "TEST_DATABASE")},
            "DJANGO_SETTINGS_MODULE": "batchui.settings",
            "DATABASE_URL": f"postgres://{ledger['USER']}@{address}:{ledger['PORT']}/{ledger['NAME']}",
            "BATCHUI_DATA": str(data_folder),
            "BATCHUI_WORKERS": "2",
            **({"REDIS_URL": queue.url(address)} if queue else {}),
        }
        hosts = [Host(name, namespace, env, tmp_path) for name, namespace in zip("ab", names, strict=True)]
        yield Site(hosts, sandbox, address, env)
        for host in hosts:
            host.kill()
