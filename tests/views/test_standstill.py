"""Without workers nothing moves: the pages say so while they are awaited, and stop saying it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobs.models import DatasetUpload, Heartbeat
from jobs.queries.machinery import standstill
from tests.jobs import make_job

pytestmark = pytest.mark.django_db


def beat(name: str, seconds_ago: float, **data: Any) -> None:
    Heartbeat.objects.update_or_create(name=name, defaults={"at": timezone.now() - timedelta(seconds=seconds_ago), "data": data})


def test_what_is_said() -> None:
    assert standstill() == "", "none was ever started: a job says that it waits for one"
    beat("worker", 80)
    assert standstill() == ""
    beat("worker", 190)
    assert standstill() == "No worker has been heard of for 3 min. Whoever runs this server starts them again with manage.py worker."
    beat("clock", 5, seconds=125.0)
    assert standstill().startswith("The clock of a worker's host is 2 min ahead of the database's clock.")
    beat("clock", 500, seconds=125.0)
    assert standstill().startswith("No worker has been heard of for 3 min.")


def test_the_pages_of_what_waits(people: Any, sandbox: Any, data_folder: Any, client: Client) -> None:
    client.force_login(people.owner)
    job = make_job(people.home, people.owner, sandbox, settle=False)
    upload = DatasetUpload.objects.create(workspace=people.home, created_by=people.owner, filename="a.csv", n_bytes=3)
    pages = [reverse("job-detail", args=[job.pk]), reverse("home"), reverse("upload-detail", args=[upload.pk])]
    words = "No worker has been heard of"
    assert [words in client.get(page).content.decode() for page in pages] == [False, False, False]
    live = client.get(pages[0]).context["page"].stamp
    beat("worker", 200)
    assert [words in client.get(page).content.decode() for page in pages] == [True, True, True]
    news = client.get(pages[0], {"seen": live}, headers={"HX-Request": "true"})
    assert (news.status_code, words in news.content.decode()) == (200, True)
    beat("worker", 1)
    assert [words in client.get(page).content.decode() for page in pages] == [False, False, False]


def test_a_job_that_is_over_waits_for_nobody(people: Any, sandbox: Any, data_folder: Any, client: Client) -> None:
    client.force_login(people.owner)
    job = make_job(people.home, people.owner, sandbox)
    beat("worker", 200)
    for page in (reverse("job-detail", args=[job.pk]), reverse("home")):
        assert "No worker has been heard of" not in client.get(page).content.decode()
