"""Sealed secrets open with the right key for the right thing, and with nothing else."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from batchui import logs, seal
from batchui.keyfiles import read_or_make

CANARY = "sk-canary-Wn7Qm2Xv9Lp4"


def test_seal_opens_for_the_same_thing_only(data_folder: Path) -> None:
    sealed = seal.seal(CANARY, "workspace:1:host")
    assert CANARY not in sealed
    assert seal.unseal(sealed, "workspace:1:host") == CANARY
    with pytest.raises(seal.SealBroken, match="sealed for something else"):
        seal.unseal(sealed, "workspace:2:host")


@pytest.mark.parametrize("change", [lambda s: s[:-8] + "AAAAAAA=", lambda s: s[9:], lambda s: "", lambda s: "0:" + s[9:]])
def test_a_damaged_seal_does_not_open(data_folder: Path, change: Any) -> None:
    with pytest.raises(seal.SealBroken):
        seal.unseal(change(seal.seal(CANARY, "a")), "a")


def test_rotation_reseals_with_the_newest_key(settings: Any) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.SEAL_KEYS = [old]
    sealed = seal.seal(CANARY, "a")
    settings.SEAL_KEYS = [new, old]
    assert not seal.is_current(sealed)
    again = seal.reseal(sealed, "a")
    settings.SEAL_KEYS = [new]
    assert seal.unseal(again, "a") == CANARY
    with pytest.raises(seal.SealBroken, match="no seal key"):
        seal.unseal(sealed, "a")


def test_an_unsealed_secret_is_hidden_in_logs(data_folder: Path) -> None:
    strange = "zz+odd/looking=secret"
    seal.unseal(seal.seal(strange, "a"), "a")
    assert logs.redact(f"it says {strange}!") == "it says [redacted]!"


def test_key_files_are_private_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.key"
    first = read_or_make(path)
    assert len(first) >= 80
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_make(path) == first
    assert [each.name for each in path.parent.iterdir()] == ["x.key"]


def test_an_empty_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.key").touch()
    with pytest.raises(RuntimeError, match="is empty"):
        read_or_make(tmp_path / "x.key")


@pytest.mark.django_db
def test_rotate_keys_command(settings: Any, people: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from django.core.management import call_command

    from jobs.engine.remote import aad, seal_key
    from jobs.models import Connection

    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.SEAL_KEYS = [old]
    connection = Connection(workspace=people.home, name="One", base_url="https://example.test/v1")
    seal_key(connection, CANARY)
    connection.save()
    settings.SEAL_KEYS = [new, old]
    call_command("rotate_keys")
    settings.SEAL_KEYS = [new]
    connection.refresh_from_db()
    assert seal.unseal(connection.sealed_key, aad(connection)) == CANARY
    assert capsys.readouterr().out == "Sealed 1 key(s) again.\n"
