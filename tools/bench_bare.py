"""Bare loops: the least that each phase has to do, without the product around it. What `make bench` divides by."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

AT_ONCE = 2_000
PORTION = 10_000


def ingest(source: Path, target: Path) -> int:
    """DuckDB's CSV reader, every cell as text, numbered in order, to Parquet."""
    with duckdb.connect(config={"threads": "2", "memory_limit": "300MB"}) as db:
        sql = f"SELECT row_number() OVER () - 1 AS _row, * FROM read_csv('{source}', all_varchar = true, header = true)"  # noqa: S608
        db.execute(f"COPY ({sql}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
        return int(db.execute(f"SELECT count(*) FROM '{target}'").fetchall()[0][0])  # noqa: S608


def prepare(table: Path, target: Path, spec: dict[str, Any]) -> int:
    """Fill two columns into a text, dump the request, write the line."""
    n = 0
    with pq.ParquetFile(table) as file, target.open("wb") as out:
        for batch in file.iter_batches(batch_size=AT_ONCE, columns=["c0", "c1"]):
            lines = []
            for ticket, text in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                body = {
                    "model": spec["model"],
                    "messages": [{"role": "system", "content": spec["system"]}, {"role": "user", "content": f"Ticket {ticket}: {text}"}],
                    "max_completion_tokens": spec["max_tokens"],
                    "response_format": spec["format"],
                }
                request = {"custom_id": f"{spec['token']}-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
                lines.append(orjson.dumps(request) + b"\n")
                n += 1
            out.write(b"".join(lines))
    return n


def answer(requests: Path, target: Path, every: int) -> int:
    """Write results to requests as the provider would, each `every`th an error. Not timed against anything."""
    target.parent.mkdir(parents=True, exist_ok=True)
    find, n = re.compile(rb'"custom_id": ?"([^"]+-([0-9]+))"').search, 0
    labels = ("billing", "bug", "question")
    with requests.open("rb") as lines, target.open("wb") as out:
        for line in lines:
            if (found := find(line)) is None:
                raise ValueError("a request without an id")
            row = int(found.group(2))
            out.write(_result(found.group(1).decode(), row, labels[row % 3], row % every == every - 1))
            n += 1
    return n


def _result(custom_id: str, row: int, label: str, bad: bool) -> bytes:
    text = orjson.dumps(
        {"intent": label, "urgent": row % 4 == 0, "summary": f"Customer number {row} writes about {label}.", "score": row % 100 / 10}
    )
    message: dict[str, Any] = {"role": "assistant", "content": text.decode(), "refusal": None, "annotations": []}
    usage = {"prompt_tokens": 60, "completion_tokens": 25, "total_tokens": 85, "prompt_tokens_details": {"cached_tokens": 0}}
    body: dict[str, Any] = {"id": f"chatcmpl-{row:024x}", "object": "chat.completion", "created": 1795273678, "model": "gpt-6-luna"}
    body |= {
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage,
        "service_tier": "default",
    }
    if bad:
        body = {"error": {"message": "The server had an error.", "type": "server_error", "code": "server_error", "param": None}}
    response = {"status_code": 500 if bad else 200, "request_id": f"{row:032x}", "body": body}
    return orjson.dumps({"id": f"batch_req_{row:024x}", "custom_id": custom_id, "response": response, "error": None}) + b"\n"


def collect(results: list[Path], folder: Path) -> int:
    """Parse each line, take what is kept of it, write Parquet."""
    total = 0
    for number, path in enumerate(results):
        writer: pq.ParquetWriter | None = None
        rows: list[tuple[Any, ...]] = []
        with path.open("rb") as lines:
            for line in lines:
                rows.append(_taken(orjson.loads(line)))
                if len(rows) >= PORTION:
                    writer = _write(writer, folder / f"bare-{number}.parquet", rows)
                    total, rows = total + len(rows), []
        if rows:
            writer, total = _write(writer, folder / f"bare-{number}.parquet", rows), total + len(rows)
        if writer is not None:
            writer.close()
    return total


def _taken(data: dict[str, Any]) -> tuple[Any, ...]:
    response = data["response"]
    body, row = response["body"], int(data["custom_id"].rpartition("-")[2])
    if response["status_code"] != 200:
        return row, "failed", body["error"]["message"], None, "", "", response["request_id"], 0, 0
    choice, usage = body["choices"][0], body["usage"]
    text = choice["message"]["content"]
    orjson.loads(text)
    tokens = usage["prompt_tokens"], usage["completion_tokens"]
    return row, "succeeded", "", text, choice["finish_reason"], body["model"], response["request_id"], *tokens


def _write(writer: pq.ParquetWriter | None, path: Path, rows: list[tuple[Any, ...]]) -> pq.ParquetWriter:
    names = ["_row", "kind", "message", "answer", "finish", "model", "request_id", "input_tokens", "output_tokens"]
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=1)
    writer.write_table(table)
    return writer


def export(table: Path, standings: Path, target: Path) -> int:
    """DuckDB joins the table and the standings and writes CSV in order."""
    with duckdb.connect(config={"threads": "2", "memory_limit": "1GB"}) as db:
        fields = ", ".join(f"s.answer->>'{name}'" for name in ("intent", "urgent", "summary", "score"))
        ours = "s.kind, s.cause, s.message, s.answer, s.attempts, s.input_tokens, s.output_tokens, s.cost"
        sql = f"SELECT t.* EXCLUDE (_row), t._row, {ours}, {fields} FROM '{table}' t LEFT JOIN '{standings}' s USING (_row) ORDER BY t._row"  # noqa: S608
        db.execute(f"COPY ({sql}) TO '{target}' (FORMAT csv, HEADER)")
        return int(db.execute(f"SELECT count(*) FROM '{table}'").fetchall()[0][0])  # noqa: S608
