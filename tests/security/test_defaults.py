"""S21, S52: what the page tells htmx, and what a person sees of an error."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client


def test_htmx_is_told_to_evaluate_nothing(as_owner: Client) -> None:
    for page in (as_owner.get("/"), Client().get("/sign-in/")):
        found = re.search(r"<meta name=\"htmx-config\" content='([^']*)'>", page.content.decode())
        assert found
        told = json.loads(unescape(found[1]))
        wanted = {
            "allowEval": False,
            "includeIndicatorStyles": False,
            "allowScriptTags": False,
            "selfRequestsOnly": True,
            "historyCacheSize": 0,
        }
        assert {name: told[name] for name in wanted} == wanted


def test_an_error_page_says_a_number_and_nothing_else(people: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(people.owner, backend="django.contrib.auth.backends.ModelBackend")

    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("CANARY of the inside")

    monkeypatch.setattr("jobs.views.job_list.job_page", broken)
    response = client.get("/jobs/")
    text = response.content.decode()
    assert response.status_code == 500
    assert re.search(r"<code>[0-9a-f]{12}</code>", text)
    assert [word for word in ("CANARY", "Traceback", "RuntimeError", "SECRET", str(settings.BASE_DIR)) if word in text] == []


def test_debug_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("BATCHUI_")}
    env |= {"BATCHUI_DATA": str(tmp_path), "DJANGO_SETTINGS_MODULE": "batchui.settings"}
    code = "from django.conf import settings; print(settings.DEBUG, settings.ALLOWED_HOSTS)"
    done = subprocess.run([sys.executable, "-c", code], cwd=settings.BASE_DIR, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "False ['127.0.0.1', 'localhost', '[::1]']\n"
