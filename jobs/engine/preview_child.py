"""The child process that fills templates for a few rows: the editor's preview, the estimate's sample, the page of a row."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from jobs.costs.tokens import count_all
from jobs.rows.choose import write_rows
from jobs.rows.render import read_rows, render_rows

COUNTED = 20_000  # characters; longer texts are shown cut


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """`rows` of a table: their cells by column key, and both texts or what went wrong; with `count`, a list of further texts, the tokens of
    all texts as well."""
    table, columns = Path(request["table"]), request["columns"]
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "rows.parquet"
        write_rows(request["rows"], chosen)
        cells: dict[int, dict[str, Any]] = {}
        if request.get("cells"):
            for numbers, batch in read_rows(table, [column["key"] for column in columns], chosen):
                for row, values in zip(numbers, batch.to_pylist(), strict=True):
                    cells[row] = {key: None if value is None else str(value) for key, value in values.items() if key != "_row"}
        found = []
        for item in render_rows(table, columns, request["system"], request["user"], chosen):
            if len(item) == 2:
                found.append(
                    {"row": item[0], "error": str(item[1]), "line": getattr(item[1], "line", None), "cells": cells.get(item[0], {})}
                )
            else:
                found.append({"row": item[0], "system": item[1], "user": item[2], "cells": cells.get(item[0], {})})
    counted = None
    if request.get("count") is not None:
        counted = count_all([*request["count"], *(str(row.get(part, "")) for row in found for part in ("system", "user"))])
    return {"rows": found, "counted": counted}
