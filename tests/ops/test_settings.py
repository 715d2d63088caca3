"""Settings by environment, as a fresh process reads them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from django.conf import settings

STRONG = "k7Gq2mVx9Rt4Lw8Zp1Yc6Nf3Hs5Jd0Ba-Ke_uTiOoXvQbSgMzPy"


def manage(folder: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if name != "DJANGO_ALLOW_ASYNC_UNSAFE"}  # conftest sets it
    full = {**outside, "DJANGO_SETTINGS_MODULE": "batchui.settings", "BATCHUI_DATA": str(folder), **env}
    return subprocess.run(
        [sys.executable, "manage.py", *command], cwd=settings.BASE_DIR, env=full, capture_output=True, text=True, check=False
    )


def test_check_deploy_has_no_warning_in_production(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", BATCHUI_PRODUCTION="1", BATCHUI_HOSTS="batchui.example")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "System check identified no issues (0 silenced).\n"
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.key")} == {"secret.key": 0o600}


def test_a_weak_secret_key_is_refused_in_production(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", BATCHUI_PRODUCTION="1", SECRET_KEY="x" * 60)
    assert done.returncode == 1
    assert "SECRET_KEY is too weak" in done.stderr
    assert manage(tmp_path, "check", BATCHUI_PRODUCTION="1", SECRET_KEY=STRONG).returncode == 0


def test_debug_is_refused_in_production(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", BATCHUI_PRODUCTION="1", BATCHUI_DEBUG="1")
    assert done.returncode == 1
    assert "cannot be on in production" in done.stderr


def test_the_models_have_their_migrations(tmp_path: Path) -> None:
    done = manage(tmp_path, "makemigrations", "--check", "--dry-run")
    assert (done.stdout, done.returncode) == ("No changes detected\n", 0)


def test_sqlite_waits_for_its_locks(db: None) -> None:
    from django.db import connection

    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        found = {name: cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "busy_timeout", "foreign_keys")}
    assert found == {"journal_mode": "wal", "busy_timeout": 20000, "foreign_keys": 1}
    assert connection.settings_dict["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_no_admin_and_no_pickled_task_rows_in_the_web() -> None:
    assert [app for app in settings.INSTALLED_APPS if "admin" in app] == []


def test_no_committed_file_holds_a_registry_address() -> None:
    texts = [
        *(settings.BASE_DIR / "requirements").glob("*.lock"),
        settings.BASE_DIR / "package.json",
        settings.BASE_DIR / "package-lock.json",
    ]
    assert len(texts) == 5
    for path in texts:
        found = [line for line in path.read_text().splitlines() if "://" in line and "github.com/sponsors" not in line]
        assert (path.name, found) == (path.name, [])
