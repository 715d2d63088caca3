"""Settled jobs and signed-in clients for the tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from django.test import Client

from jobs.engine.remote import seal_key
from jobs.models import Batch, Connection, Dataset, DatasetVersion, Event, Job, Prompt, PromptVersion, Round
from tests.jobs import make_job

FAULTS = "gpt-6-luna+errors=3,missing=1,badschema=2,cutoff=2"  # rows 0–2, 3, 4–5, 6–7 of a batch
KEPT = (Dataset, DatasetVersion, Prompt, PromptVersion, Connection, Job, Round, Batch, Event)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: Any) -> dict[str, Any]:
    """The settled job as rows and files, once it was made: driving it again for each test would take minutes."""
    return {"folder": tmp_path_factory.mktemp("settled") / "rows"}


@pytest.fixture
def job(people: Any, sandbox: Any, data_folder: Path, made_once: dict[str, Any]) -> Job:
    """24 rows, settled: 16 succeeded, 4 invalid, 3 failed, 1 missing."""
    rows, here = made_once["folder"], data_folder / "rows"
    if "text" not in made_once:
        job = make_job(people.home, people.owner, sandbox, model=FAULTS)
        shutil.copytree(here, rows)
        everything = [each for model in KEPT for each in model.objects.all()]
        made_once |= {"text": serializers.serialize("json", everything), "home": str(people.home.pk), "pk": job.pk}
        return job
    shutil.copytree(rows, here)
    (here / made_once["home"].replace("-", "")).rename(here / people.home.pk.hex)
    for each in serializers.deserialize("json", made_once["text"].replace(made_once["home"], str(people.home.pk))):
        if hasattr(each.object, "created_by_id"):
            each.object.created_by_id = people.owner.pk
        if isinstance(each.object, Connection):
            each.object.base_url = sandbox.openai_url
            seal_key(each.object, "sk-test-1234567890")
        each.save()
    found: Job = Job.objects.get(pk=made_once["pk"])
    return found


@pytest.fixture
def sign_in() -> Callable[[Any], Client]:
    """A client of its own for each person."""

    def client(user: Any) -> Client:
        made = Client()
        made.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return made

    return client
