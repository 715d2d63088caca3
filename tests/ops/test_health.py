"""/healthz says what works, and nothing else."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from jobs.models import Heartbeat

pytestmark = pytest.mark.django_db


def beat(**ages: float) -> None:
    for name, age in ages.items():
        Heartbeat.objects.update_or_create(name=name, defaults={"at": timezone.now() - timedelta(seconds=age)})


def test_all_well(client: Client, data_folder: Path) -> None:
    beat(worker=3, pump=1)
    answer = client.get("/healthz")
    body = answer.json()
    assert answer.status_code == 200
    assert {name: part["ok"] if name != "ok" else part for name, part in body.items()} == {
        "ok": True,
        "database": True,
        "workers": True,
        "pump": True,
        "clocks": True,
        "storage": True,
        "sandbox": True,
    }
    assert str(data_folder) not in answer.content.decode()


@pytest.mark.parametrize(("ages", "bad"), [({"worker": 100, "pump": 1}, "workers"), ({"worker": 1}, "pump")])
def test_a_late_heartbeat(client: Client, data_folder: Path, ages: dict[str, float], bad: str) -> None:
    beat(**ages)
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert [name for name, part in answer.json().items() if name != "ok" and not part["ok"]] == [bad]


def test_storage_that_cannot_be_written(client: Client, data_folder: Path, settings: Any) -> None:
    beat(worker=1, pump=1)
    settings.DATA = data_folder / "not-there"
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["storage"] == {"ok": False, "error": "FileNotFoundError"}


def test_a_sandbox_that_should_run(client: Client, data_folder: Path, settings: Any) -> None:
    beat(worker=1, pump=1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.SANDBOX_PORT = server.getsockname()[1]
        assert client.get("/healthz").json()["sandbox"] == {"ok": True, "configured": True}
    assert client.get("/healthz").json()["sandbox"] == {"ok": False, "configured": True}
