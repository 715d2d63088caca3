"""What the tests of whole processes share."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A migrated database, to be copied."""
    folder = tmp_path_factory.mktemp("migrated")
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.ops.machine_settings", "BATCHUI_DATA": str(folder)}
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=settings.BASE_DIR, env=env, check=True)
    return (folder / "batchui.sqlite3").read_bytes()
