"""Batch objects of both wire formats as RemoteBatch. Pure, and robust to nulls, empty strings and words not known."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from jobs.errors import ProviderError
from jobs.providers import errors, lines
from jobs.providers.base import LineError, RemoteBatch
from jobs.words import Cause

METADATA_KEY = "batchui"  # the metadata key that carries our submit token

# An unknown status is not an end: a batch whose end we miss is asked again, one we end too early is paid twice.
OPENAI_ENDS = frozenset({"completed", "failed", "expired", "cancelled"})
COMPATIBLE_ENDS = OPENAI_ENDS | {
    "canceled",
    "success",
    "succeeded",
    "ended",
    "timeout_exceeded",
    "partially_completed",
    "partiallycompleted",
}


MAX_ID = 200  # characters; longer ones fit no column of the ledger
MAX_RAW = 64_000  # bytes of JSON


def _id_of(raw: Any) -> str:
    """The id of a batch object. ProviderError where it is none."""
    found = lines.text_of(raw.get("id")) if isinstance(raw, dict) else ""
    if not found or len(found) > MAX_ID:
        raise ProviderError("The provider's answer is not a batch.", cause=Cause.PROVIDER_ERROR)
    return found


def _kept(raw: dict[str, Any]) -> dict[str, Any]:
    """The answer as it is kept for people: cleaned, and nothing where it is too long."""
    text = lines.dumps(raw)
    if len(text) > MAX_RAW:
        return {}
    return raw if b"\\u0000" not in text else lines.clean_all(raw)


def openai_batch(raw: Any, ends: frozenset[str] = OPENAI_ENDS, result_days: int | None = 30) -> RemoteBatch:
    """A batch of OpenAI or a compatible server. ProviderError where it is no batch."""
    batch_id = _id_of(raw)
    status = lines.text_of(raw.get("status")).strip()
    word = status.lower()
    files = _files(raw)
    counts = raw.get("request_counts") if isinstance(raw.get("request_counts"), dict) else {}
    done = lines.maybe_count(_first(counts, "completed", "succeeded") if counts else raw.get("succeeded_requests"))
    ended_at = lines.time_of(_first(raw, "completed_at", "failed_at", "expired_at", "cancelled_at", "ended_at"))
    metadata = raw.get("metadata")
    created_at = lines.time_of(raw.get("created_at"))
    last = ended_at or created_at
    return RemoteBatch(
        id=batch_id,
        status=status,
        ended=word in ends,
        failed=word == "failed" and not files and not done,
        created_at=created_at,
        ended_at=ended_at if word in ends else None,
        expires_at=lines.time_of(_first(raw, "expires_at", "job_deadline")),
        results_expire_at=last + timedelta(days=result_days) if result_days and last and word in ends else None,
        input_file_id=lines.text_of(_first(raw, "input_file_id"))[:MAX_ID],
        token=lines.text_of(metadata.get(METADATA_KEY)) if isinstance(metadata, dict) else "",
        n_requests=lines.maybe_count(counts.get("total") if counts else raw.get("total_requests")),
        n_succeeded=done,
        n_failed=lines.maybe_count(counts.get("failed") if counts else raw.get("failed_requests")),
        files=files,
        errors=line_errors(raw),
        raw=_kept(raw),
    )


def _first(raw: dict[str, Any], *names: str) -> Any:
    return next((raw[name] for name in names if raw.get(name)), raw.get(names[0]))


def _files(raw: dict[str, Any]) -> dict[str, str]:
    """Result files by name; null and "" are no file."""
    found = {"output": _first(raw, "output_file_id", "output_file"), "error": _first(raw, "error_file_id", "error_file")}
    return {name: str(value) for name, value in found.items() if isinstance(value, str) and value}


def line_errors(raw: dict[str, Any]) -> tuple[LineError, ...]:
    """Why a batch was refused: `errors.data`, a bare list, or one string."""
    found = raw.get("errors")
    data = found.get("data") if isinstance(found, dict) else found
    entries = data if isinstance(data, list) else [found] if isinstance(found, dict) and found.get("message") else []
    if not entries and raw.get("error"):
        entries = [raw["error"]]
    return tuple(_line_error(entry) for entry in entries if entry)


def _line_error(entry: Any) -> LineError:
    code, codes, message = errors.error_parts(entry)
    line = lines.maybe_count(entry.get("line")) if isinstance(entry, dict) else None
    cause = errors.cause_of(None, codes, message)
    if cause is Cause.UNKNOWN:
        cause = Cause.INVALID_REQUEST
    param = entry.get("param") if isinstance(entry, dict) else None
    return LineError(
        code,
        message or code,
        line or None,
        cause,
        later=code in errors.LATER,
        shared=bool(line) and errors.is_shared(code, cause, param),
        smaller=not line and errors.is_too_large(None, codes, message),
    )


def anthropic_batch(raw: Any, result_days: int = 29) -> RemoteBatch:
    """A message batch. ProviderError where it is none."""
    batch_id = _id_of(raw)
    status = lines.text_of(raw.get("processing_status")).strip()
    ended = status.lower() == "ended"
    counts = raw.get("request_counts")
    numbers = {name: lines.maybe_count(value) for name, value in counts.items()} if isinstance(counts, dict) else {}
    known = [number for number in numbers.values() if number is not None]
    told = ended or any(numbers.get(name) for name in ("succeeded", "errored", "canceled", "expired"))  # 0 until all has ended: no count
    created_at = lines.time_of(raw.get("created_at"))
    url = raw.get("results_url")
    return RemoteBatch(
        id=batch_id,
        status=status,
        ended=ended,
        created_at=created_at,
        ended_at=lines.time_of(raw.get("ended_at")) if ended else None,
        expires_at=lines.time_of(raw.get("expires_at")),
        results_expire_at=lines.time_of(raw.get("archived_at")) or (created_at + timedelta(days=result_days) if created_at else None),
        n_requests=sum(known) if known else None,
        n_succeeded=numbers.get("succeeded") if told else None,
        n_failed=numbers.get("errored") if told else None,
        files={"results": str(url)} if isinstance(url, str) and url else {},
        raw=_kept(raw),
    )
