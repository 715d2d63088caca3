"""S8, S11–S15: a key is sealed for one place, and is nowhere else: not in the database, on disk, in logs, exports, events or the queue."""

from __future__ import annotations

import io
import logging
import logging.config
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import connection as ledger
from django.test import Client

from batchui import logs, seal
from jobs.engine import orphans
from jobs.engine.connections import save_connection
from jobs.engine.connections import test_connection as try_connection
from jobs.engine.remote import aad, endpoint_of
from jobs.errors import BadInput
from jobs.models import Batch, Connection
from tests.contract.dialects import DIALECTS
from tests.contract.wire import Reply, Wire
from tests.jobs import make_connection, make_job
from tests.security.test_matrix import BACKEND

KEY = "sk-proj-CANARY-7f3e9d1c5b2a4f6e8d0c"
BARE = "CANARYwithoutanyprefix0123456789abcdef"  # nothing in it looks like a key


def connect(people: Any, sandbox: Any, **more: Any) -> Connection:
    given = {"name": "Mine", "kind": "openai", "base_url": sandbox.openai_url, "key": KEY, "by_operator": True, **more}
    return save_connection(people.home, people.owner, **given)[0]


def test_a_key_opens_for_its_own_place_only(people: Any, sandbox: Any, data_folder: Path) -> None:
    made = connect(people, sandbox)
    assert endpoint_of(made).api_key == KEY
    for change in ({"base_url": "https://elsewhere.example/v1"}, {"workspace_id": people.away.pk}, {"pk": people.home.pk}):
        other = Connection.objects.get(pk=made.pk)
        for name, value in change.items():
            setattr(other, name, value)
        with pytest.raises(seal.SealBroken):
            endpoint_of(other)


def test_a_key_for_the_providers_own_address_does_not_open_for_another_kind(people: Any, sandbox: Any, data_folder: Path) -> None:
    made = connect(people, sandbox, base_url="")
    assert endpoint_of(made).api_key == KEY
    made.kind = "anthropic"
    with pytest.raises(seal.SealBroken):
        endpoint_of(made)


@pytest.mark.parametrize("change", [{"base_url": "https://api.openai.com/v1"}, {"kind": "openai-compatible"}])
def test_another_host_or_kind_needs_the_key_again(change: dict[str, Any], people: Any, sandbox: Any, data_folder: Path) -> None:
    made = connect(people, sandbox)
    with pytest.raises(BadInput, match="the key must be entered again"):
        save_connection(
            people.home, people.owner, **{"name": "Mine", "kind": "openai", "base_url": sandbox.openai_url, "by_operator": True, **change}
        )
    made.refresh_from_db()
    assert endpoint_of(made).api_key == KEY


def test_what_opens_loopback_does_not_follow_to_another_address(people: Any, sandbox: Any, data_folder: Path, settings: Any) -> None:
    """The name may lead to a public address when it is checked and to a private one when it is called."""
    made = make_connection(people.home, people.owner, sandbox)
    assert endpoint_of(made).allow_private
    settings.ALLOW_PRIVATE_HOSTS = False
    moved, _ = save_connection(
        people.home, people.owner, name="Sandbox", kind="openai", base_url="https://api.openai.com/v1", key=KEY, connection=made
    )
    assert (moved.is_sandbox, endpoint_of(moved).allow_private) == (False, False)


def dump() -> str:
    """Every value of every table, as text."""
    found: list[str] = []
    with ledger.cursor() as cursor:
        for table in ledger.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            found += [str(value) for row in cursor.fetchall() for value in row]
    return "\n".join(found)


def files_with(text: str, folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.parametrize("key", [KEY, BARE])
def test_a_key_is_nowhere_after_a_whole_job(key: str, people: Any, sandbox: Any, data_folder: Path) -> None:
    """Database, journal, requests, results, exports, receipt: none holds it."""
    provider = connect(people, sandbox, key=key)
    job = make_job(people.home, people.owner, sandbox, model="gpt-6-luna+errors=2", n_rows=6, connection=provider)
    assert job.n_succeeded == 4
    try_connection(provider)
    client = Client()
    client.force_login(people.owner, backend=BACKEND)
    given = [f"/jobs/{job.pk}/download/{kind}/" for kind in ("csv", "jsonl", "parquet")] + [f"/jobs/{job.pk}/receipt.json", "/costs.csv"]
    for url in given:
        response: Any = client.get(url)
        body = b"".join(response.streaming_content) if response.streaming else response.content
        assert (response.status_code, key.encode() in body) == (200, False)
    whole = dump()
    assert job.name in whole
    assert key not in whole
    assert list((data_folder / "journal").iterdir()) != []
    assert files_with(key, data_folder) == []


def test_rotation_leaves_nothing_for_the_old_key(people: Any, sandbox: Any, data_folder: Path, settings: Any) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.SEAL_KEYS = [old]
    made = connect(people, sandbox)
    settings.SEAL_KEYS = [new, old]
    call_command("rotate_keys", stdout=io.StringIO())
    made.refresh_from_db()
    settings.SEAL_KEYS = [new]
    assert endpoint_of(made).api_key == KEY
    settings.SEAL_KEYS = [old]
    with pytest.raises(seal.SealBroken):
        endpoint_of(made)
    assert aad(made) not in made.sealed_key


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that any logger says at DEBUG, through the handler that a deployment has; the SDKs' own loggers are opened too."""
    config = logs.configure("DEBUG", as_json=False)
    text = io.StringIO()
    config["handlers"]["console"]["stream"] = text
    for name in ("openai", "anthropic", "httpx", "httpx2", "httpcore", "httpcore2"):
        config["loggers"][name] = {"level": "DEBUG"}
    before = {name: (found.level, list(found.handlers), found.propagate) for name, found in _loggers().items()}
    logging.config.dictConfig(config)
    yield text
    for name, (level, handlers, propagate) in before.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers[:], logger.propagate = handlers, propagate


def _loggers() -> dict[str, logging.Logger]:
    found = {name: each for name, each in logging.root.manager.loggerDict.items() if isinstance(each, logging.Logger)}
    return {"": logging.getLogger(), **found}


@pytest.mark.parametrize("key", [KEY, BARE])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.kind)
def test_no_log_line_holds_a_key(key: str, dialect: Any, wire: Wire, people: Any, data_folder: Path, log: io.StringIO) -> None:
    """At DEBUG, with an SDK that logs too, through each kind of failure, also one that echoes the key."""
    made, _ = save_connection(
        people.home, people.owner, name="Echo", kind=dialect.kind, base_url=wire.url + dialect.prefix, key=key, by_operator=True
    )
    echo = {"error": {"message": f"Incorrect API key provided: {key}", "type": "invalid_request_error", "code": "invalid_api_key"}}
    replies = [
        Reply(echo, status=401),
        Reply(echo, status=500),
        Reply(f"<p>{key}".encode(), status=502),
        Reply(drop=True),
        Reply({"data": []}),
    ]
    for reply in replies:
        wire.on("GET", dialect.models, reply)
        _, words = try_connection(made)
        assert key not in words
        logging.getLogger("jobs.anything").debug("calling %s with %s", made, endpoint_of(made))
        try:
            raise ValueError(f"header Authorization: Bearer {key}")
        except ValueError:
            logging.getLogger("jobs.anything").exception("it broke with %s", key)
    assert any(key in value for asked in wire.asked for value in asked.headers.values())  # it was sent
    assert log.getvalue().count("it broke") == len(replies)
    assert key not in log.getvalue()
    assert key not in dump()
    assert key not in repr(endpoint_of(made)) + repr(made) + str(made)


def test_another_workspaces_batches_are_no_orphans(people: Any, sandbox: Any, data_folder: Path) -> None:
    """S38: two workspaces with keys of one account: neither is offered to cancel what the other pays for."""
    job = make_job(people.home, people.owner, sandbox, n_rows=3, settle=True)
    theirs = Batch.objects.get(job=job).provider_batch_id
    mine = make_connection(people.away, people.outsider, sandbox)
    assert orphans.look(mine).found == ()
    with pytest.raises(BadInput, match="belongs to a job"):
        orphans.cancel(mine, people.outsider, theirs)


def test_child_processes_get_no_secret(tmp_path: Path) -> None:
    """What a crashed child could print of its environment."""
    from jobs.rows.child import _environment

    os.environ["OPENAI_API_KEY"] = KEY
    try:
        assert KEY not in str(_environment())
        shown = subprocess.run(["env"], env=_environment(), capture_output=True, text=True, check=True).stdout
    finally:
        del os.environ["OPENAI_API_KEY"]
    assert {line.partition("=")[0] for line in shown.splitlines()} >= {"PATH", "PYTHONPATH"}
    assert "KEY" not in shown.replace("PYTHONPATH", "")
