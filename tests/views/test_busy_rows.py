"""While rows are being retried, pages and export say the same of every row: the old outcome is gone, and it is pending."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from typing import Any

import pytest
from django.urls import reverse

from jobs.engine.launch import new_token
from jobs.engine.retry import Changes, retry
from jobs.models import Job
from jobs.rows.choose import Wanted
from tests.jobs import settled

pytestmark = pytest.mark.django_db


def exported(client: Any, job: Job, kind: str) -> bytes:
    return b"".join(client.get(reverse("job-download", args=[job.pk, kind])).streaming_content)


def test_export_of_an_unfinished_job_agrees_with_its_pages(as_owner: Any, people: Any, job: Job) -> None:
    """16 of 24 succeeded; the other 8 are being retried."""
    Job.objects.filter(pk=job.pk).update(spec={**job.spec, "model": "gpt-6-luna"})  # the faults do not come again
    job.refresh_from_db()
    retry(job, people.owner, Wanted(), Changes(), token=new_token())
    job.refresh_from_db()
    wanted = {kind: n for kind, n in job.counts.items() if n}
    assert wanted == {"succeeded": 16, "pending": 8}
    lines = list(csv.DictReader(io.StringIO(exported(as_owner, job, "csv").decode())))
    assert Counter(line["_outcome"] for line in lines) == wanted
    assert {line["_row"] for line in lines if line["_outcome"] == "pending"} == {str(i) for i in range(8)}
    assert {line["_answer"] for line in lines if line["_outcome"] == "pending"} == {""}
    as_json = [json.loads(line) for line in exported(as_owner, job, "jsonl").splitlines()]
    assert [line["_outcome"] for line in as_json] == [line["_outcome"] for line in lines]
    for kind, n in wanted.items():
        page = as_owner.get(reverse("job-rows", args=[job.pk]), {"kind": kind})
        assert page.context["page"].total == n
    job = settled(job)
    done = list(csv.DictReader(io.StringIO(exported(as_owner, job, "csv").decode())))
    assert Counter(line["_outcome"] for line in done) == {kind: n for kind, n in job.counts.items() if n} == {"succeeded": 24}
