"""What all tests share: a clean environment, loopback only, a browser, people with roles, a sandbox."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

# Playwright's sync API runs an event loop in the test's thread, where Django would refuse the ORM.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
LOOPBACK = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "")
PROVIDER_PREFIXES = ("OPENAI_", "ANTHROPIC_", "AZURE_OPENAI_", "GEMINI_", "GOOGLE_API", "MISTRAL_")
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
CHROMIUM_FLAGS += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]


def _clear_environment() -> None:
    """No key, base URL or proxy of the machine's owner may reach a test."""
    for name in list(os.environ):
        if name.startswith(PROVIDER_PREFIXES) or name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            del os.environ[name]


def _allow_loopback_only() -> None:
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            raise AssertionError(f"a test tried to reach {address[0]}; only loopback is allowed")
        real(self, address)

    socket.socket.connect = connect  # type: ignore[method-assign]


def pytest_configure() -> None:
    _clear_environment()
    _allow_loopback_only()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of PostgreSQL are skipped with the reason where the tests run on another database."""
    from django.conf import settings

    for item in items:
        if settings.NO_POSTGRES and item.get_closest_marker("postgres"):
            item.add_marker(pytest.mark.skip(reason=f"no PostgreSQL: {settings.NO_POSTGRES}"))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The system's Chromium; Playwright's own download is never used."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium here: make test installs it, or apt-get install chromium")
    return {**browser_type_launch_args, "executable_path": found, "args": CHROMIUM_FLAGS}


@dataclass
class People:
    """A workspace `home` with one member of each role, and `outsider`, an admin of another workspace, `away`."""

    home: Any
    away: Any
    owner: Any
    analyst: Any
    viewer: Any
    outsider: Any


@pytest.fixture
def people(db: None) -> People:
    """See People. Each one's password is the own name twice."""
    from django.contrib.auth.models import User

    from jobs.models import Membership, Workspace
    from jobs.words import Role

    home, away = Workspace.objects.create(name="Home"), Workspace.objects.create(name="Away")
    made = {}
    for name, place, role in (
        ("owner", home, Role.ADMIN),
        ("analyst", home, Role.ANALYST),
        ("viewer", home, Role.VIEWER),
        ("outsider", away, Role.ADMIN),
    ):
        made[name] = User.objects.create_user(name, password=name * 2)
        Membership.objects.create(workspace=place, user=made[name], role=role)
    return People(home=home, away=away, **made)


@pytest.fixture
def owner(people: People) -> Any:
    return people.owner


@pytest.fixture
def viewer(people: People) -> Any:
    return people.viewer


@pytest.fixture
def outsider(people: People) -> Any:
    return people.outsider


@pytest.fixture
def as_owner(client: Any, people: People) -> Any:
    """A test client signed in as the workspace's admin."""
    client.force_login(people.owner, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def sandbox(tmp_path: Any) -> Iterator[Any]:
    """A provider on loopback whose batches take a fifth of a second."""
    from jobs.sandbox import Sandbox

    with Sandbox(tmp_path / "sandbox", seconds=0.2) as running:
        yield running


@pytest.fixture
def data_folder(settings: Any) -> Iterator[Any]:
    """BATCHUI_DATA, empty, for this test alone; in the shared-memory disk where there is one."""
    from pathlib import Path

    with tempfile.TemporaryDirectory(dir=settings.TEST_FOLDER) as folder:
        settings.DATA = Path(folder)
        settings.FILE_UPLOAD_TEMP_DIR = folder
        yield settings.DATA
