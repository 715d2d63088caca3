"""Ingest: from a file that a person sent to an immutable dataset version, or to a reason why not and nothing left behind."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, Max
from django.utils import timezone

from jobs.engine import places
from jobs.engine.lease import surely
from jobs.engine.pump import nudge
from jobs.errors import BadInput, BadTable
from jobs.models import Dataset, DatasetUpload, DatasetVersion, Workspace
from jobs.rows.child import ChildDied
from jobs.rows.files import written_beside
from jobs.rows.ingest import Ingested, ingest
from jobs.rows.profile import profile
from jobs.rows.reading import Column, Reading

MAX_ATTEMPTS = 2
READ_SECONDS = 900
NO_ROOM = "The disk of this server is nearly full, so nothing more can be uploaded now."
AT_ONCE_BYTES = 8_000_000  # files this small are read while the person waits


def receive(
    workspace: Workspace,
    user: User | None,
    *,
    filename: str,
    chunks: Iterable[bytes] = (),
    taken: Path | None = None,
    dataset_name: str = "",
    reading: dict[str, Any] | None = None,
    max_bytes: int | None = None,
    at_once: bool = False,
) -> DatasetUpload:
    """Stream an upload to disk and have it read: at once when it is small or `at_once`, else by a worker.

    Raises BadInput if it is too large, or the disk nearly full.

    The bytes come as `chunks`, or stand in the file `taken` already, which is given a second name.
    """
    if not has_room():
        raise BadInput(NO_ROOM, "Ask whoever runs batchui here to make room.")
    upload = DatasetUpload(
        workspace=workspace,
        created_by=user,
        filename=filename[-255:],
        dataset_name=(dataset_name.strip() or _stem(filename))[:200],
        reading=reading or {},
    )
    with written_beside(places.upload_source(upload)) as part:
        upload.n_bytes = _take(taken, part, max_bytes) if taken else _write(chunks, part, max_bytes)
    upload.next_look_at = timezone.now()
    upload.save()
    if at_once or upload.n_bytes <= AT_ONCE_BYTES:
        read_upload(upload.pk)
        upload.refresh_from_db()
    else:
        nudge("upload", upload.pk)
    return upload


def has_room(n_bytes: int = 0) -> bool:
    """Whether the disk may take so many bytes more and still have what jobs under way need."""
    disk = shutil.disk_usage(settings.DATA)
    return disk.free - n_bytes >= min(settings.KEEP_FREE_BYTES, disk.total // 10)


def _take(taken: Path, part: Path, max_bytes: int | None) -> int:
    n_bytes = taken.stat().st_size
    _check_size(n_bytes, max_bytes)
    try:
        os.link(taken, part)
    except OSError:  # another disk, or one without links
        shutil.copyfile(taken, part)
    return n_bytes


def _write(chunks: Iterable[bytes], part: Path, max_bytes: int | None) -> int:
    n_bytes = 0
    with part.open("wb") as out:
        for chunk in chunks:
            n_bytes += len(chunk)
            _check_size(n_bytes, max_bytes)
            out.write(chunk)
    return n_bytes


def _check_size(n_bytes: int, max_bytes: int | None) -> None:
    if max_bytes is not None and n_bytes > max_bytes:
        raise BadInput(f"The file is larger than the {max_bytes:,} bytes that this server takes.", "Split it, or ask an admin.")


def _stem(filename: str) -> str:
    name = Path(filename.replace("\\", "/")).name
    for _ in range(2):
        stem, dot, ending = name.rpartition(".")
        if dot and stem and len(ending) <= 7:
            name = stem
    return name or "Table"


def read_upload(pk: Any) -> None:
    """One try at reading an upload: a version, or refused with the reason. Counted first, so a file that kills its reader is given up."""
    now = timezone.now()
    again = now + timedelta(seconds=READ_SECONDS + 60)
    claimed = DatasetUpload.objects.filter(pk=pk, state__in=[DatasetUpload.RECEIVED, DatasetUpload.READING], next_look_at__isnull=False)
    if claimed.update(state=DatasetUpload.READING, n_attempts=F("n_attempts") + 1, next_look_at=again) != 1:
        return
    upload = DatasetUpload.objects.get(pk=pk)
    if upload.n_attempts > MAX_ATTEMPTS:
        _refuse(upload, BadTable("The file could not be read: reading it was cut off twice.", hint="Try a smaller file."))
        return
    folder = places.version_folder(upload.workspace_id, uuid.uuid4())
    try:
        _make_version(upload, folder)
    except (BadTable, ChildDied) as error:
        shutil.rmtree(folder, ignore_errors=True)
        _refuse(upload, error if isinstance(error, BadTable) else BadTable(str(error), hint="Try a smaller file, or split it."))
    except BaseException:
        surely(lambda: _remove_unless_known(folder))
        DatasetUpload.objects.filter(pk=pk).update(next_look_at=timezone.now() + timedelta(seconds=5))
        raise


def _make_version(upload: DatasetUpload, folder: Path) -> None:
    source = places.upload_source(upload)
    reading = Reading.from_dict(upload.reading) if upload.reading else None
    folder.mkdir(parents=True)
    done = ingest(source, folder / "table.parquet", filename=upload.filename, reading=reading)
    columns = [column.to_dict() for column in done.columns]
    profiles = _profiles(folder / "table.parquet", done.columns)
    os.link(source, folder / "source")  # two names until the ledger knows the new one: a crash between loses nothing
    with transaction.atomic():
        dataset, _ = Dataset.objects.get_or_create(
            workspace=upload.workspace, name=upload.dataset_name, defaults={"created_by": upload.created_by}
        )
        same = dataset.versions.filter(sha256=done.sha256, reading=done.reading.to_dict()).first()
        if same is None:
            same = _new_version(upload, dataset, done, columns, profiles, folder)
            repeated = False
        else:
            repeated = True
        DatasetUpload.objects.filter(pk=upload.pk).update(state=DatasetUpload.DONE, version=same, repeated=repeated, next_look_at=None)
    with suppress(OSError):  # the version is in the ledger by now
        source.unlink()
    if repeated:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_unless_known(folder: Path) -> None:
    """Remove the files of a version that did not come about. Trouble may have come after the ledger took it, or in place of its answer."""
    if not DatasetVersion.objects.filter(pk=uuid.UUID(folder.name)).exists():
        shutil.rmtree(folder, ignore_errors=True)


def _profiles(table: Path, columns: list[Column]) -> list[Any]:
    """What stands in each column; empty where that takes too much. The table itself is whole, and is not refused for it."""
    try:
        return [each.to_dict() for each in profile(table, columns)]
    except ChildDied:
        return []


def _new_version(
    upload: DatasetUpload, dataset: Dataset, done: Ingested, columns: list[Any], profiles: list[Any], folder: Path
) -> DatasetVersion:
    last = dataset.versions.aggregate(n=Max("number"))["n"] or 0
    return DatasetVersion.objects.create(
        id=uuid.UUID(folder.name),
        dataset=dataset,
        number=last + 1,
        sha256=done.sha256,
        filename=upload.filename,
        n_bytes=done.n_bytes,
        n_rows=done.n_rows,
        columns=columns,
        reading=done.reading.to_dict(),
        notes=list(done.notes),
        profile=profiles,
        created_by=upload.created_by,
    )


def _refuse(upload: DatasetUpload, error: BadTable) -> None:
    problem = {
        "message": error.message,
        "hint": error.hint,
        "line": error.where.line,
        "found": error.where.found,
        "expected": error.where.expected,
    }
    with suppress(OSError):  # the reason is worth more than the room
        places.upload_source(upload).unlink(missing_ok=True)
    DatasetUpload.objects.filter(pk=upload.pk).update(state=DatasetUpload.REFUSED, problem=problem, next_look_at=None)


def read_again(version: DatasetVersion, reading: dict[str, Any], user: User | None) -> DatasetUpload:
    """Read a version's source once more with a corrected guess, as a new version of the same dataset."""
    source = places.version_folder(version.dataset.workspace_id, version.pk) / "source"
    if not source.exists():
        raise BadInput("The file as it was uploaded is gone from the disk.", "Upload it again.")

    def chunks() -> Iterable[bytes]:
        with source.open("rb") as file:
            while chunk := file.read(1 << 20):
                yield chunk

    return receive(
        version.dataset.workspace,
        user,
        filename=version.filename,
        chunks=chunks(),
        dataset_name=version.dataset.name,
        reading=reading,
    )
