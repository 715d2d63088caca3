"""run_job as a person runs it: processes of their own in a data folder of their own; and its files read back without our own code."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-test-1234567890"
TOKENS = ("input", "cached", "cache_write", "cache_write_1h", "output")


class Headless:
    """A data folder, and the commands in it. `folder` holds the inputs and outputs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.data.mkdir(parents=True)
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self.env = {**kept, "BATCHUI_DATA": str(self.data), "BATCHUI_LEASE_SECONDS": "2", "KEY": KEY, "PYTHONUTF8": "1"}

    def start(self, command: str, *args: object) -> subprocess.Popen[str]:
        line = [sys.executable, str(ROOT / "manage.py"), command, *map(str, args)]
        return subprocess.Popen(line, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, command: str, *args: object, seconds: float = 300) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        with self.start(command, *args) as process:
            out, err = process.communicate(timeout=seconds)
            return process.returncode, out, err

    def connect(self, name: str, kind: str, url: str) -> None:
        status, _, err = self.run("add_connection", name, "--kind", kind, "--base-url", url, "--key-env", "KEY")
        assert status == 0, err

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def job_folder(self, job_id: str) -> Path:
        (found,) = self.data.glob(f"rows/*/jobs/{job_id.replace('-', '')}")
        return found

    def files(self) -> set[str]:
        """All files of the deployment but the ledger's own and the keys."""
        every = (path for path in self.data.rglob("*") if path.is_file())
        return {str(path.relative_to(self.data)) for path in every if path.suffix not in (".key", "") and "sqlite3" not in path.name}


def job_id_of(out: str) -> str:
    first = out.splitlines()[0]
    assert first.startswith("Job ID "), out
    return first.removeprefix("Job ID ")


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


def read_out(path: Path) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of an output in any of the three formats; absent is ""."""
    if path.suffix == ".csv":
        return read_csv(path)
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        return list(lines[0]), [["" if value is None else value for value in line.values()] for line in lines]
    table = pq.read_table(path)
    columns = [["" if value is None else value for value in column.to_pylist()] for column in table.columns]
    return table.column_names, [list(row) for row in zip(*columns, strict=True)]


def recount(job: Path, n_rows: int) -> dict[str, Any]:
    """Standings, tokens and paid rows, counted from the providers' raw files alone: the last round that speaks of a row counts."""
    tokens: Counter[str] = Counter()
    standing: dict[int, str] = {}
    paid: list[tuple[str, dict[str, int]]] = []
    for batch in sorted((job / "batches").iterdir(), key=lambda folder: (folder / "requests.jsonl").stat().st_mtime_ns):
        sent = [json.loads(line)["custom_id"] for line in (batch / "requests.jsonl").read_bytes().splitlines()]
        answered = {}
        for file in sorted((batch / "results").iterdir()):
            for line in file.read_bytes().splitlines():
                data = json.loads(line)
                answered[data["custom_id"]] = data
        for custom_id in sent:
            row = int(custom_id.rpartition("-")[2])
            kind, usage = _read(answered.get(custom_id))
            standing[row] = kind
            if usage:
                tokens.update(usage)
                paid.append((kind, usage))
    assert set(standing) == set(range(n_rows))
    return {"standings": Counter(standing.values()), "tokens": {kind: tokens[kind] for kind in TOKENS}, "paid": paid}


def _read(data: dict[str, Any] | None) -> tuple[str, dict[str, int]]:
    if data is None:
        return "missing", {}
    if "result" in data:
        if data["result"]["type"] != "succeeded":
            return "failed", {}
        usage = data["result"]["message"]["usage"]
        counts = (usage["input_tokens"], usage.get("cache_read_input_tokens", 0), usage.get("cache_creation_input_tokens", 0), 0)
        return "succeeded", dict(zip(TOKENS, (*counts, usage["output_tokens"]), strict=True))
    if data["response"]["status_code"] != 200:
        return "failed", {}
    usage = data["response"]["body"]["usage"]
    details = usage.get("prompt_tokens_details") or {}
    cached, written = details.get("cached_tokens", 0), details.get("cache_write_tokens", 0)
    counts = (usage["prompt_tokens"] - cached - written, cached, written, 0)
    return "succeeded", dict(zip(TOKENS, (*counts, usage["completion_tokens"]), strict=True))


def dollars(paid: list[tuple[str, dict[str, int]]], prices: list[dict[str, str]]) -> Decimal:
    """What the tokens cost by the tiers of one lane of a receipt's price sheet."""
    total = Decimal(0)
    for _, usage in paid:
        whole = usage["input"] + usage["cached"] + usage["cache_write"] + usage["cache_write_1h"]
        tier = [each for each in prices if each["above"] == 0 or whole > each["above"]][-1]  # type: ignore[operator]
        total += sum((usage[kind] * Decimal(tier[kind]) for kind in TOKENS), Decimal(0)) / 1_000_000
    return total
