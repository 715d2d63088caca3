"""S25, S30, S31: names of files are text and nothing else, downloads are attachments that run nothing, the disk keeps room."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from jobs.engine import ingest
from jobs.errors import BadInput
from jobs.models import DatasetUpload, DatasetVersion
from tests.security.test_matrix import BACKEND
from tests.security.world import build

NAMES = [
    "../../../../etc/cron.d/evil.csv", "..\\..\\evil.csv", "a\0b.csv", "x" * 900 + ".csv", "\u202ea\r\nSet-Cookie: x=1.csv",
    '"; filename="<img src=x>.html',
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_of_a_file_is_text(name: str, people: Any, data_folder: Path, client: Client) -> None:
    beside = {path for path in data_folder.parent.iterdir() if path != data_folder}
    upload = ingest.receive(people.home, people.owner, filename=name, chunks=[b"a,b\n1,2\n"])
    assert (upload.state, upload.version is None) == (DatasetUpload.DONE, False)
    assert {path for path in data_folder.parent.iterdir() if path != data_folder} == beside
    version = DatasetVersion.objects.get()
    files = sorted(path.relative_to(data_folder).as_posix() for path in data_folder.rglob("*") if path.is_file())
    folder = f"rows/{people.home.pk.hex}/datasets/{version.pk.hex}"
    assert files == [f"{folder}/source", f"{folder}/table.parquet"]
    client.force_login(people.owner, backend=BACKEND)
    response: Any = client.get(f"/datasets/versions/{version.pk}/file/")
    assert response.status_code == 200
    assert b"".join(response.streaming_content) == b"a,b\n1,2\n"
    assert response["Content-Disposition"].startswith("attachment")
    assert "\n" not in response["Content-Disposition"]
    assert "Set-Cookie" not in response.headers


def test_posted_names_go_the_same_way(as_owner: Client, data_folder: Path) -> None:
    for name in NAMES:
        response = as_owner.post(
            "/datasets/upload/", {"file": SimpleUploadedFile(name or "x", b"a,b\n1,2\n"), "name": f"T{NAMES.index(name)}"}
        )
        assert response.status_code in (302, 422)
    assert {path.name for path in data_folder.rglob("*") if path.is_file()} <= {"source", "table.parquet"}


def test_every_download_is_an_attachment_that_runs_nothing(people: Any, sandbox: Any, data_folder: Path, client: Client) -> None:
    world = build(people, sandbox)
    client.force_login(people.owner, backend=BACKEND)
    base = f"/jobs/{world.job.pk}"
    types = {
        f"{base}/download/csv/": "text/csv; charset=utf-8",
        f"{base}/download/jsonl/": "application/jsonl; charset=utf-8",
        f"{base}/download/parquet/": "application/vnd.apache.parquet",
        f"{base}/receipt.csv": "text/csv; charset=utf-8",
        f"{base}/receipt.json": "application/json",
        "/costs.csv": "text/csv; charset=utf-8",
        world.url("dataset-file"): "application/octet-stream",
    }
    got = {}
    for url in types:
        response = client.get(url)
        assert response["Content-Disposition"].startswith("attachment; filename"), url
        assert response["X-Content-Type-Options"] == "nosniff"
        policy = response["Content-Security-Policy"]
        assert "sandbox" in policy.split("; ")[-1] or "; sandbox" in policy or policy.startswith("sandbox"), (url, policy)
        assert "default-src 'none'" in policy
        got[url] = response["Content-Type"]
    assert got == types


def test_uploads_leave_room_on_the_disk(as_owner: Client, people: Any, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimpleNamespace(total=100 * 1024**3, used=0, free=500 * 1024**2)
    monkeypatch.setattr("jobs.engine.ingest.shutil.disk_usage", lambda path: disk)
    response = as_owner.post("/datasets/upload/", {"file": SimpleUploadedFile("a.csv", b"a,b\n1,2\n"), "name": "T"})
    assert response.status_code == 422
    assert "nearly full" in response.content.decode()
    with pytest.raises(BadInput, match="nearly full"):
        ingest.receive(people.home, people.owner, filename="a.csv", chunks=[b"a\n1\n"])
    assert (DatasetUpload.objects.count(), [path for path in data_folder.rglob("*") if path.is_file()]) == (0, [])
    disk.free = 2 * 1024**3
    assert as_owner.post("/datasets/upload/", {"file": SimpleUploadedFile("a.csv", b"a,b\n1,2\n"), "name": "T"}).status_code == 302
    disk.total, disk.free = 1024**3, 200 * 1024**2  # a small disk keeps a tenth
    assert ingest.has_room()
