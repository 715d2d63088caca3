"""One row is "1 row": in every template that names a number, and in the sentences that the pages and the timeline make."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.urls import reverse

from tests.jobs import make_job

NUMBER = re.compile(r"\{\{ [\w.|]+?\|integer \}\} (rows|values|models|members|jobs|files|columns|attempts)\b")


def test_no_template_has_a_number_with_a_plural_alone() -> None:
    templates = [
        path for folder in settings.TEMPLATES[0]["DIRS"] for path in Path(folder).rglob("*.html") if path.name != "styleguide.html"
    ]
    assert len(templates) > 100
    assert {path.name: found for path in templates if (found := NUMBER.findall(path.read_text()))} == {}


def test_a_job_of_one_row_says_so(as_owner: Any, people: Any, sandbox: Any, data_folder: Any) -> None:
    job = make_job(people.home, people.owner, sandbox, n_rows=1)
    said = ""
    for name in ("job-detail", "job-receipt", "job-failures", "job-rows", "job-list", "home"):
        said += as_owner.get(reverse(name, args=[] if name in ("job-list", "home") else [job.pk])).content.decode()
    assert [event.text for event in job.events.filter(kind="finished")] == ["Completed: all 1 row succeeded"]
    assert re.findall(r"[^>]{0,30}\b1 (?:rows|columns|values|batches|jobs|attempts)\b", re.sub(r"</?b>", "", said)) == []
