"""Whether outcomes are those of the raw lines that they name: place, row, kind of token, answer; on a sample of each batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.engine.collect import result_files
from jobs.engine.spec import spec_from_json
from jobs.models import Batch
from jobs.providers.lines import split_glued
from jobs.providers.registry import decoder_for
from jobs.rows.cut import custom_id_of
from jobs.words import Cause

SAMPLE = 200


def raw_lines(batch: Batch, table: pa.Table) -> Iterator[str]:
    """What is wrong with the raw answers of a closed batch."""
    files = result_files(batch)
    numbers, offsets, lengths = (table.column(name).to_numpy() for name in ("raw_file", "raw_offset", "raw_length"))
    sizes = np.array([path.stat().st_size for path in files], dtype=np.int64)
    there = numbers >= 0
    if bool(np.any(numbers[there] >= len(files))):
        yield "a result file that its outcomes name is gone"
        return
    if bool(np.any(offsets[there] + lengths[there] > sizes[numbers[there]])):
        yield "a result file is shorter than its outcomes say"
        return
    places_ = np.flatnonzero(there)
    if not len(places_):
        return
    chosen = np.unique(places_[np.linspace(0, len(places_) - 1, min(SAMPLE, len(places_))).astype(int)])
    wrong = sum(not _agrees(batch, files[numbers[i]], table.slice(int(i), 1).to_pylist()[0]) for i in chosen.tolist())
    if wrong:
        yield f"{wrong:,} of {len(chosen):,} raw lines that were looked at are not those of their rows"


def _agrees(batch: Batch, path: Any, row: dict[str, Any]) -> bool:
    with path.open("rb") as file:
        file.seek(row["raw_offset"])
        line = file.read(row["raw_length"])
    wanted = custom_id_of(batch.token, row["_row"])
    if row["cause"] == Cause.UNREADABLE.value or b'"batchui":' in line:
        return wanted.encode() in line
    for part in split_glued(line) or [line]:
        answer = decoder_for(batch.connection.kind)(part.removeprefix(b"\xef\xbb\xbf"), spec_from_json(batch.round.spec))
        if answer.custom_id == wanted:
            return answer.output_tokens == row["output_tokens"] and (answer.text is None) == (row["answer"] is None)
    return False
