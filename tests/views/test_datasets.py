"""Pages of datasets: who sees what, uploads and their refusals, corrected readings, rows and columns, and the number of queries."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from jobs.engine import ingest
from jobs.engine.ingest import AT_ONCE_BYTES, read_again
from jobs.models import Dataset, DatasetUpload, DatasetVersion
from tests.jobs import make_dataset

BACKEND = "django.contrib.auth.backends.ModelBackend"
HTMX = {"HX-Request": "true"}
TABLE = b"id;text;note\n007;Gr\xfc\xdfe;1e5\n008;b;NULL\n"


def signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user, backend=BACKEND)
    return client


@pytest.fixture
def version(people: Any, data_folder: Path) -> DatasetVersion:
    return make_dataset(people.home, people.owner, 60)


def send(client: Client, content: bytes, filename: str = "t.csv", headers: dict[str, str] | None = None, **fields: Any) -> Any:
    file = SimpleUploadedFile(filename, content)
    return client.post(reverse("dataset-upload"), {"file": file, **fields}, headers=headers or {})


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


PAGES = [
    # address, of what, (owner, analyst, viewer, outsider) by GET
    ("dataset-list", None, (200, 200, 200, 200)),
    ("dataset-upload", None, (200, 200, 403, 200)),
    ("dataset-detail", "dataset", (200, 200, 200, 404)),
    ("dataset-reading", "dataset", (200, 200, 403, 404)),
    ("dataset-settings", "dataset", (200, 200, 403, 404)),
    ("dataset-archive", "dataset", (302, 302, 302, 302)),
    ("dataset-file", "version", (200, 200, 200, 404)),
    ("upload-detail", "upload", (200, 200, 200, 404)),
]


@pytest.mark.parametrize(("name", "of", "expected"), PAGES, ids=[page[0] for page in PAGES])
def test_each_page_is_for_members_of_the_workspace_with_the_role(
    people: Any, version: DatasetVersion, name: str, of: str | None, expected: tuple[int, ...]
) -> None:
    upload = DatasetUpload.objects.create(workspace=people.home, dataset_name="Big", filename="big.csv", created_by=people.owner)
    things = {"dataset": version.dataset_id, "version": version.pk, "upload": upload.pk}
    url = reverse(name, args=[things[of]] if of else [])
    got = tuple(signed_in(who).get(url).status_code for who in (people.owner, people.analyst, people.viewer, people.outsider))
    assert got == expected
    assert Client().get(url).status_code == 302


def test_viewers_and_outsiders_change_nothing(people: Any, version: DatasetVersion) -> None:
    posts = {
        reverse("dataset-upload"): {"file": SimpleUploadedFile("x.csv", b"a\n1\n")},
        reverse("dataset-reading", args=[version.dataset_id]): {"kind": "csv", "encoding": "utf-8", "delimiter": ",", "quote": '"'},
        reverse("dataset-settings", args=[version.dataset_id]): {"name": "Mine"},
        reverse("dataset-archive", args=[version.dataset_id]): {"archived": "1"},
    }
    viewer, outsider = signed_in(people.viewer), signed_in(people.outsider)
    assert [viewer.post(url, data).status_code for url, data in posts.items()] == [403, 403, 403, 403]
    assert [outsider.post(url, data).status_code for url, data in list(posts.items())[1:]] == [404, 404, 404]
    version.dataset.refresh_from_db()
    assert (version.dataset.name, version.dataset.archived_at, DatasetVersion.objects.count()) == ("Tickets", None, 1)


def test_viewers_see_no_buttons_that_they_may_not_press(people: Any, version: DatasetVersion) -> None:
    pages = [reverse("dataset-list"), reverse("dataset-detail", args=[version.dataset_id])]
    for url in pages:
        mine, theirs = (signed_in(who).get(url).content.decode() for who in (people.owner, people.viewer))
        assert (reverse("dataset-upload") in mine, reverse("dataset-upload") in theirs) == (True, False)
    assert reverse("launch-new") not in signed_in(people.viewer).get(pages[1]).content.decode()


def test_an_upload_needs_the_token_of_its_form(people: Any, data_folder: Path) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.owner, backend=BACKEND)
    assert send(client, TABLE).status_code == 403
    client.get(reverse("dataset-upload"))
    token = client.cookies["csrftoken"].value if "csrftoken" in client.cookies else ""
    page = client.get(reverse("dataset-upload")).content.decode()
    token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    assert send(client, TABLE, csrfmiddlewaretoken=token).status_code == 302


def test_an_upload_becomes_a_version_with_the_values_as_they_were(as_owner: Any, data_folder: Path) -> None:
    response = send(as_owner, TABLE, "tickets.csv")
    dataset = Dataset.objects.get(name="tickets")
    assert response["Location"] == f"{reverse('dataset-detail', args=[dataset.pk])}?version=1"
    page = as_owner.get(response["Location"]).content.decode()
    assert "Read 2 rows in 3 columns, as version 1." in page
    assert "CSV, Windows-1252, semicolon, header in line 1" in page
    for value in ("007", "Grüße", "1e5", "NULL"):
        assert f'<div class="cell" dir="auto">{value}</div>' in page
    download = as_owner.get(reverse("dataset-file", args=[dataset.latest().pk]))
    assert b"".join(download.streaming_content) == TABLE
    assert download["Content-Disposition"] == 'attachment; filename="tickets.csv"'
    assert [name for name in files_in(data_folder) if not name.startswith("rows/")] == []


def test_the_same_name_is_the_next_version_and_the_same_bytes_are_recognised(as_owner: Any, data_folder: Path) -> None:
    send(as_owner, b"a,b\n1,2\n", name="T")
    send(as_owner, b"a,b\n1,2\n3,4\n", name="T")
    again = send(as_owner, b"a,b\n1,2\n", "other.csv", name="T")
    assert again["Location"].endswith("?version=1")
    assert "These very bytes are here already, as version 1. Nothing was added." in as_owner.get(again["Location"]).content.decode()
    assert list(DatasetVersion.objects.order_by("number").values_list("number", "n_rows")) == [(1, 1), (2, 2)]


def test_a_script_is_told_where_to_go_so_that_the_page_is_asked_for_once(as_owner: Any, data_folder: Path) -> None:
    response = send(as_owner, b"a,b\n1,2\n", headers={"X-Requested-With": "XMLHttpRequest"}, name="T")
    dataset = Dataset.objects.get()
    assert (response.status_code, response["HX-Redirect"]) == (204, f"{reverse('dataset-detail', args=[dataset.pk])}?version=1")
    assert "Read 1 row in 2 columns" in as_owner.get(response["HX-Redirect"]).content.decode()


def test_a_refused_file_says_line_found_expected_and_leaves_nothing(as_owner: Any, data_folder: Path) -> None:
    response = send(as_owner, b"a,b,c\n1,2,3\n4,5\n6,7,8\n", "ragged.csv", name="Kept name")
    page = response.content.decode()
    assert response.status_code == 422
    assert "<title>Not uploaded · Upload a table · batchui</title>" in page
    upload = DatasetUpload.objects.get()
    for text in (
        "ragged.csv was not accepted",
        "<dt>Line</dt><dd>3</dd>",
        "<dt>Found</dt>",
        "<dt>Expected</dt>",
        "Nothing of it was kept.",
    ):
        assert text in page
    assert (upload.problem["line"], upload.version) == (3, None)
    assert 'value="Kept name"' in page
    assert files_in(data_folder) == []
    assert not Dataset.objects.exists()


@pytest.mark.parametrize(
    ("content", "filename", "word"),
    [(b"", "empty.csv", "empty"), (b"\x00\x01\x02" * 90, "x.csv", "not"), (gzip.compress(b"a\n1\n" * 999)[:40], "x.csv.gz", "gz")],
    ids=["empty", "binary", "cut gz"],
)
def test_files_that_are_no_tables_are_refused_in_words(as_owner: Any, data_folder: Path, content: bytes, filename: str, word: str) -> None:
    response = send(as_owner, content, filename)
    assert response.status_code == 422
    assert word in DatasetUpload.objects.get().problem["message"].lower()
    assert files_in(data_folder) == []


def test_a_file_that_is_too_large_is_dropped_while_it_comes(as_owner: Any, data_folder: Path, settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 1000
    response = send(as_owner, b"a\n" + b"x\n" * 1000)
    assert response.status_code == 422
    assert "The file is larger than 1.0 kB, the most that is taken." in response.content.decode()
    assert (files_in(data_folder), DatasetUpload.objects.count()) == ([], 0)


def test_no_file_at_all_is_said_at_the_field(as_owner: Any, data_folder: Path) -> None:
    response = as_owner.post(reverse("dataset-upload"), {"name": "x"})
    assert (response.status_code, "Choose a file first." in response.content.decode()) == (422, True)


def test_a_person_may_say_how_a_csv_is_read(as_owner: Any, data_folder: Path) -> None:
    send(as_owner, b"a|b;c\n1|2;3\n", "t.csv", own="on", encoding="utf-8", delimiter="|", quote="", header="on")
    assert [column["name"] for column in DatasetVersion.objects.get().columns] == ["a", "b;c"]


def test_a_large_upload_waits_for_a_worker_on_a_page_that_asks_again(as_owner: Any, data_folder: Path, monkeypatch: Any) -> None:
    from jobs.engine import ingest

    monkeypatch.setattr(ingest, "AT_ONCE_BYTES", 3)
    assert AT_ONCE_BYTES == 8_000_000
    response = send(as_owner, b"a,b\n1,2\n", "big.csv")
    upload = DatasetUpload.objects.get()
    url = reverse("upload-detail", args=[upload.pk])
    assert response["Location"] == url
    assert 'data-live="2"' in as_owner.get(url).content.decode()
    assert as_owner.get(url, headers=HTMX).content.decode().startswith('<section id="upload-state"')
    assert f'href="{url}"' in as_owner.get(reverse("dataset-list")).content.decode()
    ingest.read_upload(upload.pk)
    done = as_owner.get(url, headers=HTMX)
    assert (done.status_code, done["HX-Redirect"]) == (204, f"{reverse('dataset-detail', args=[Dataset.objects.get().pk])}?version=1")


def test_a_large_upload_that_is_refused_ends_with_the_reason(as_owner: Any, data_folder: Path, monkeypatch: Any) -> None:
    from jobs.engine import ingest

    monkeypatch.setattr(ingest, "AT_ONCE_BYTES", 3)
    send(as_owner, b'a,b\n1,"2\n', "quote.csv")
    upload = DatasetUpload.objects.get()
    ingest.read_upload(upload.pk)
    part = as_owner.get(reverse("upload-detail", args=[upload.pk]), headers=HTMX).content.decode()
    assert ("quote.csv was not accepted" in part, "data-live" in part) == (True, False)


def test_rows_are_paged_and_searched_and_parts_answer_alone(as_owner: Any, version: DatasetVersion) -> None:
    url = reverse("dataset-detail", args=[version.dataset_id])
    page = as_owner.get(url, {"page": 3}, headers=HTMX).content.decode()
    assert page.startswith('<section id="dataset-rows"')
    assert [n for n in (50, 51, 60) if f'<tr data-id="{n}">' in page] == [51, 60]
    found = as_owner.get(url, {"q": "crashes"}, headers=HTMX).content.decode()
    assert found.count("<tr data-id=") == 10
    assert "1–10 of 10 rows" in found
    assert "No row holds that text" in as_owner.get(url, {"q": "zebra"}).content.decode()
    assert as_owner.get(url, {"page": 999}, headers=HTMX).content.decode().count("<tr data-id=") == 10


def test_columns_tell_nulls_empties_distinct_lengths_and_frequent_values(as_owner: Any, people: Any, data_folder: Path) -> None:
    version = make_dataset(people.home, people.owner, content=b"id,tier\n1,gold\n2,gold\n3,\n4,silver\n", name="C")
    page = as_owner.get(reverse("dataset-detail", args=[version.dataset_id]), {"tab": "columns"}).content.decode()
    flat = " ".join(page.split())
    assert "all different" in flat
    assert '<td class="num" data-label="Empty">1<span class="sub">25 %</span></td>' in flat  # one empty of four
    assert '<td class="num" data-label="Length">0–6<span class="sub">mean 4</span></td>' in flat
    assert flat.index("gold") < flat.index("silver")


def test_wide_tables_show_their_columns_in_parts(as_owner: Any, people: Any, data_folder: Path) -> None:
    head = ",".join(f"name{n}" for n in range(130))
    version = make_dataset(people.home, people.owner, content=f"{head}\n{','.join('v' for _ in range(130))}\n".encode(), name="W")
    page = as_owner.get(reverse("dataset-detail", args=[version.dataset_id]), {"across": 3}).content.decode()
    assert [n for n in (119, 120, 129) if f">name{n}<" in page] == [120, 129]
    assert "121–130 of 130 columns" in page


def test_foreign_text_is_escaped_and_hidden_characters_are_shown(as_owner: Any, people: Any, data_folder: Path) -> None:
    content = "a,b\n<script>alert(1)</script>,total\u202e42\u200b\n".encode()
    version = make_dataset(people.home, people.owner, content=content, name="<b>T</b>")
    page = as_owner.get(reverse("dataset-detail", args=[version.dataset_id])).content.decode()
    assert ("<script>alert" in page, "<b>T</b>" in page) == (False, False)
    assert ("U+202E" in page, "U+200B" in page, "\u202e" in page) == (True, True, False)


def test_a_corrected_reading_is_previewed_and_becomes_a_new_version(as_owner: Any, version: DatasetVersion) -> None:
    url = reverse("dataset-reading", args=[version.dataset_id])
    said = {"kind": "csv", "encoding": "utf-8", "delimiter": ",", "quote": '"'}
    part = as_owner.get(url, said, headers=HTMX).content.decode()
    assert part.startswith('<section id="reading"')
    assert "CSV, UTF-8, comma, no header: 3 columns" in part
    assert '<div class="cell" dir="auto">ticket</div>' in part
    response = as_owner.post(url, said)
    assert response["Location"].endswith("?version=2")
    newest = version.dataset.latest()
    assert (newest.number, newest.n_rows, newest.sha256) == (2, 61, version.sha256)
    versions = as_owner.get(reverse("dataset-detail", args=[version.dataset_id]), {"tab": "versions"}).content.decode()
    assert "the same bytes as version 1, read another way" in versions


def test_a_reading_that_makes_no_table_is_said_before_and_after(as_owner: Any, version: DatasetVersion) -> None:
    url = reverse("dataset-reading", args=[version.dataset_id])
    said = {"kind": "parquet", "encoding": "", "delimiter": ",", "quote": '"'}
    assert "Read this way, the file makes no table" in as_owner.get(url, said, headers=HTMX).content.decode()
    response = as_owner.post(url, said)
    assert (response.status_code, "Read this way, the file makes no table" in response.content.decode()) == (422, True)
    assert as_owner.post(url, {"kind": "nonsense"}).status_code == 422
    assert DatasetVersion.objects.count() == 1


def test_rename_refuses_a_name_that_is_taken(as_owner: Any, people: Any, version: DatasetVersion) -> None:
    make_dataset(people.home, people.owner, 2, name="Other")
    url = reverse("dataset-settings", args=[version.dataset_id])
    refused = as_owner.post(url, {"name": "Other"})
    assert refused.status_code == 422
    assert "There is a dataset named “Other” already." in refused.content.decode()
    assert as_owner.post(url, {"name": "New name"})["Location"] == reverse("dataset-detail", args=[version.dataset_id])
    assert Dataset.objects.filter(name="New name").count() == 1


def test_an_archived_dataset_leaves_the_list_and_comes_back(as_owner: Any, version: DatasetVersion) -> None:
    url, listed = reverse("dataset-archive", args=[version.dataset_id]), reverse("dataset-detail", args=[version.dataset_id])
    as_owner.post(url, {"archived": "1"})
    assert f'href="{listed}"' not in as_owner.get(reverse("dataset-list")).content.decode()
    assert f'href="{listed}"' in as_owner.get(reverse("dataset-list"), {"archived": "1"}).content.decode()
    as_owner.post(url, {"archived": "0"})
    assert f'href="{listed}"' in as_owner.get(reverse("dataset-list")).content.decode()


def test_list_is_searched_and_sorted(as_owner: Any, people: Any, version: DatasetVersion) -> None:
    make_dataset(people.home, people.owner, 3, name="Aardvarks")
    page = as_owner.get(reverse("dataset-list"), {"sort": "-rows"}, headers=HTMX).content.decode()
    assert page.startswith('<section id="datasets"')
    assert page.index(">Tickets<") < page.index(">Aardvarks<")
    assert "Tickets" not in as_owner.get(reverse("dataset-list"), {"q": "aard"}, headers=HTMX).content.decode()
    assert "No dataset matches" in as_owner.get(reverse("dataset-list"), {"q": "zebra"}).content.decode()


def test_first_use_offers_an_upload_and_sample_data(as_owner: Any) -> None:
    page = as_owner.get(reverse("dataset-list")).content.decode()
    assert ("Upload your first table" in page, "Use sample data" in page) == (True, True)


@pytest.mark.parametrize(
    ("name", "query", "most"),
    [
        ("dataset-list", {}, 9),
        ("dataset-detail", {}, 10),
        ("dataset-detail", {"tab": "columns"}, 10),
        ("dataset-detail", {"tab": "versions"}, 11),
        ("dataset-reading", {}, 8),
        ("dataset-settings", {}, 7),
    ],
)
def test_pages_need_few_queries_however_much_there_is(
    as_owner: Any, people: Any, version: DatasetVersion, name: str, query: dict[str, str], most: int
) -> None:
    url = reverse(name, args=[] if name == "dataset-list" else [version.dataset_id])
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(
            connection,
        ) as asked:
            assert as_owner.get(url, query).status_code == 200
        counts.append(len(asked))
        read_again(version, {**version.reading, "header": False}, people.owner)
        make_dataset(people.home, people.owner, 2, name="Another")
    assert counts[1] <= counts[0]
    assert counts[1] <= most


def test_other_columns_under_the_same_name_are_warned_of(as_owner: Any, people: Any, data_folder: Path) -> None:
    for text in ("id,text\n1,a\n", "id,body,lang\n1,a,en\n", "id,body,lang\n2,b,en\n"):
        made = ingest.receive(people.home, people.owner, filename="t.csv", chunks=[text.encode()], dataset_name="Changing").version
        assert made is not None
    url = reverse("dataset-detail", args=[made.dataset_id])
    second, third = as_owner.get(f"{url}?version=2"), as_owner.get(url)
    page = " ".join(second.content.decode().split())
    assert "The columns differ from version 1" in page
    assert "Added: “body”, “lang”. Gone: “text”. Prompts that use what is gone cannot be filled in with this version." in page
    assert (third.context["change"], as_owner.get(f"{url}?version=1").context["change"]) == (None, None)
