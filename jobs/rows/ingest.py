"""From an upload to `table.parquet`. Whatever parses the bytes of strangers runs in a bounded child; see `child`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from jobs.errors import BadTable, Where
from jobs.rows.child import ChildDied, run_child
from jobs.rows.files import written_beside
from jobs.rows.reading import Column, Ingested, IngestLimits, Preview, Reading

__all__ = ["Column", "IngestLimits", "Ingested", "Preview", "Reading", "ingest", "preview", "sniff"]

_MODULE = "jobs.rows.ingest_child"
_QUICK = 30.0  # seconds for a look at the start of a file
_HINTS = {
    "timeout": "Upload the table in parts.",
    "memory": "Is it really a table? If so, upload it as CSV or in parts.",
    "disk": "Ask an admin whether the disk is full.",
    "crash": "Save the file again, as CSV if you can. If it happens again, tell an admin.",
}


def sniff(path: Path, filename: str, limits: IngestLimits = IngestLimits()) -> Reading:
    """Guess how a file is read, from its bytes; `filename` only breaks ties. Raises BadTable."""
    return Reading.from_dict(_run({"do": "sniff", "source": str(path.resolve()), "filename": filename, "reading": None}, limits, _QUICK))


def preview(source: Path, reading: Reading, n: int = 20, limits: IngestLimits = IngestLimits()) -> Preview:
    """The first `n` rows as a reading gives them, each cell cut to 2,000 characters. Raises BadTable."""
    request = {"do": "preview", "source": str(source.resolve()), "filename": "", "reading": reading.to_dict(), "n": n}
    data = _run(request, limits, _QUICK)
    return Preview(Reading.from_dict(data["reading"]), [Column.from_dict(one) for one in data["columns"]], data["rows"])


def ingest(source: Path, target: Path, *, filename: str, reading: Reading | None = None, limits: IngestLimits = IngestLimits()) -> Ingested:
    """Read the whole file and write `target` (`table.parquet`), atomically: on BadTable nothing is left behind.

    `reading` is what a person corrected; without it the file is sniffed.
    """
    with written_beside(target) as part:
        request = {
            "do": "ingest",
            "source": str(source.resolve()),
            "filename": filename,
            "reading": reading.to_dict() if reading else None,
            "part": str(part.resolve()),
        }
        return Ingested.from_dict(_run(request, limits, limits.seconds))


def _run(request: dict[str, Any], limits: IngestLimits, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="batchui-") as scratch:
        try:
            return run_child(
                _MODULE,
                {**request, "limits": limits.to_dict()},
                seconds=min(seconds, limits.seconds),
                memory_bytes=limits.memory_bytes,
                file_bytes=limits.inflated_bytes,
                cwd=Path(scratch),
            )
        except ChildDied as died:
            raise BadTable(f"The file could not be read. {died}", Where(), _HINTS[died.reason]) from died
