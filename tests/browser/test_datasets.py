"""Datasets in Chromium: a table goes in, a broken file is explained, a wrong guess is corrected."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect

from jobs.models import Dataset, DatasetVersion

pytestmark = [pytest.mark.browser]


@pytest.fixture
def signed_in(page: Page, live_server: Any, client: Any, people: Any, data_folder: Path) -> Iterator[Page]:
    """A page of the workspace's admin; errors of its script are in `complaints`, checked at the end."""
    client.force_login(people.owner, backend="django.contrib.auth.backends.ModelBackend")
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    assert complaints == []


def choose(page: Page, name: str, content: bytes) -> None:
    page.set_input_files("#id_file", {"name": name, "mimeType": "text/csv", "buffer": content})
    expect(page.locator("[data-picked]")).to_contain_text(name)
    page.get_by_role("button", name="Upload", exact=True).click()


def test_a_broken_file_is_explained_then_a_good_one_goes_in_and_its_guess_is_corrected(signed_in: Page, live_server: Any) -> None:
    page = signed_in
    page.goto(f"{live_server.url}/datasets/")
    page.get_by_role("link", name="Upload a table").click()
    page.get_by_label("Name of the dataset").fill("Tickets")

    choose(page, "broken.csv", b"id,text\n1,fine\n2,too,many\n")
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("broken.csv was not accepted")
    expect(problem.locator(".problem dd").first).to_have_text("3")
    expect(problem).to_contain_text("Nothing of it was kept.")
    expect(problem).to_be_focused()
    expect(page.get_by_label("Name of the dataset")).to_have_value("Tickets")
    assert Dataset.objects.count() == 0

    choose(page, "good.csv", "id,text\n007,Grüße\n008,مرحبا\n".encode())
    page.wait_for_url(re.compile(r"/datasets/[0-9a-f-]{36}/\?version=1"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Tickets")
    expect(page.locator("#messages")).to_contain_text("Read 2 rows in 2 columns, as version 1.")
    expect(page.locator(".read-as")).to_contain_text("CSV, UTF-8, comma, header in line 1")
    expect(page.locator("#dataset-rows tbody tr").first).to_contain_text("007")

    page.get_by_role("link", name="Not right? Correct it").click()
    expect(page.locator("#reading tbody tr")).to_have_count(2)
    page.get_by_label("The first line that is read holds the names of the columns").uncheck()
    expect(page.locator("#reading tbody tr")).to_have_count(3)
    expect(page.locator("#reading tbody tr").first).to_contain_text("id")
    page.get_by_role("button", name="Read the whole file this way").click()
    page.wait_for_url(re.compile(r"\?version=2"))
    expect(page.locator("#dataset-rows tbody tr")).to_have_count(3)
    assert list(DatasetVersion.objects.order_by("number").values_list("number", "n_rows")) == [(1, 2), (2, 3)]
