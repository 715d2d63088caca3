"""Two jobs side by side in a real browser: from the job to the confusion, to a cell's rows, to a row."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.conf import settings
from django.urls import reverse
from playwright.sync_api import expect

from jobs.engine.places import standings_file
from jobs.models import Job
from tests.jobs import make_dataset, make_job

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def intents(job: Job) -> dict[int, str]:
    path = standings_file(job, job.n_settled_rounds)
    assert path is not None
    rows = pq.read_table(path, columns=["_row", "kind", "answer"]).to_pylist()
    return {row["_row"]: json.loads(row["answer"])["intent"] for row in rows if row["kind"] == "succeeded"}


def test_from_a_job_to_the_rows_of_a_cell(page: Any, live_server: Any, client: Any, people: Any, sandbox: Any, data_folder: Path) -> None:
    version = make_dataset(people.home, people.owner)
    first = make_job(people.home, people.owner, sandbox, version=version, name="Luna")
    second = make_job(people.home, people.owner, sandbox, version=version, name="Sol", model="gpt-6-sol")
    a, b = intents(first), intents(second)
    (ours, theirs), n = Counter((a[row], b[row]) for row in a if a[row] != b[row]).most_common(1)[0]
    client.force_login(people.owner, backend="django.contrib.auth.backends.ModelBackend")
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))

    page.goto(live_server.url + reverse("job-detail", args=[first.pk]))
    page.get_by_role("link", name="Compare with …").click()
    page.get_by_role("checkbox", name="Sol").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("24 rows succeeded in both A and B.")).to_be_visible()
    page.get_by_role("link", name=f"{n} rows: A {ours}, B {theirs}", exact=True).click()
    expect(page.locator("#compare-rows h2")).to_have_text("Rows of one cell")
    wanted = [str(row + 1) for row in sorted(a) if (a[row], b[row]) == (ours, theirs)]
    assert page.locator("#compare-rows tbody tr td.num").all_inner_texts() == wanted
    assert set(page.locator("#compare-rows mark").all_inner_texts()) == {ours, theirs}
    assert f"a={ours}&b={theirs}" in page.url
    page.go_back()
    expect(page.locator("#compare-rows h2")).to_have_text("Rows that differ")
    page.go_forward()
    page.locator("#compare-rows tbody tr").first.get_by_role("link", name="whole answer of B").click()
    expect(page.locator("#drawer")).to_contain_text(theirs)
    assert complaints == []
