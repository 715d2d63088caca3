"""Traffic as a table: a CSV of requests read into token counts and moments, every line checked; and an answer in words."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs import formats
from jobs.costs.advice import FIRST_TOKEN, FLEX_SLOWER, PROMISED, SPEED, Advice, LaneAdvice, Load, Traffic, Ways
from jobs.costs.prices import Ints, PriceSheet
from jobs.errors import BadTable, Where
from jobs.models import Batch, Job
from jobs.rows.ingest import IngestLimits, ingest
from jobs.words import Lane

MOST_LINES = 2_000_000
MOST_MODELS = 20
MOST_TOKENS = 10**7  # of one request
LIMITS = IngestLimits(inflated_bytes=500_000_000, rows=MOST_LINES, columns=100, seconds=60)
COLUMNS = ("time", "input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Requests:
    """A file of requests: a row each. `seconds` are sorted; `models` are names, "" where a line names none."""

    seconds: Ints
    inputs: Ints
    outputs: Ints
    models: tuple[str, ...]
    model_of: Ints

    @property
    def n(self) -> int:
        return len(self.seconds)

    @property
    def span(self) -> float:
        """Seconds from the first to the last."""
        return float(self.seconds[-1] - self.seconds[0]) if self.n else 0.0

    @property
    def busiest_minute(self) -> int:
        return int(np.bincount(((self.seconds - self.seconds[0]) // 60).astype(np.int64)).max()) if self.n else 0

    def traffic(self, sheet: Callable[[str], PriceSheet], model: str) -> Traffic:
        """Priced by the model of each line, else by `model`."""
        loads: dict[str, list[Ints]] = {}
        for i, name in enumerate(self.models):
            loads.setdefault(name or model, []).append(np.flatnonzero(self.model_of == i))
        made = []
        for name, found in loads.items():
            rows = np.concatenate(found)
            made.append(Load(sheet(name), self.inputs[rows], self.outputs[rows]))
        return Traffic(tuple(made), arrivals=self.seconds)


def read_requests(source: Path, filename: str, model: str) -> Requests:
    """Read a table with the columns time, input_tokens, output_tokens and perhaps model. Raises BadTable with the line."""
    with tempfile.TemporaryDirectory(prefix="batchui-traffic-") as folder:
        target = Path(folder) / "table.parquet"
        read = ingest(source, target, filename=filename, limits=LIMITS)
        keys = {column.name.strip().lower(): column.key for column in read.columns}
        missing = [name for name in COLUMNS if name not in keys]
        if missing:
            said = ", ".join(column.name for column in read.columns[:12])
            where = Where(1, said, "time, input_tokens, output_tokens, and model if they differ")
            raise BadTable(f"The file has no column {' and no column '.join(missing)}.", where, f"Its columns are: {said[:300]}.")
        wanted = {name: keys[name] for name in (*COLUMNS, "model") if name in keys}
        table = pq.read_table(target, columns=["_row", *wanted.values()])
    if table.num_rows == 0:
        raise BadTable("The file has a header and no requests.", Where(2), "One line is one request.")
    table = table.sort_by("_row")
    first = read.reading.skip + (2 if read.reading.header and read.reading.kind in ("csv", "xlsx") else 1)
    texts = {name: pc.cast(table.column(key), pa.string()).combine_chunks() for name, key in wanted.items()}
    inputs, outputs = (_tokens(texts[name], name, first) for name in COLUMNS[1:])
    moments = _moments(texts["time"].to_pylist(), first)
    models, model_of = _models(texts.get("model"), len(inputs), first, model)
    order = np.argsort(moments, kind="stable")
    return Requests(moments[order], inputs[order], outputs[order], models, model_of[order])


def _tokens(texts: Any, name: str, first: int) -> Ints:
    """Whole numbers from 0 to ten million."""
    trimmed = pc.utf8_trim_whitespace(pc.fill_null(texts, ""))
    good = pc.match_substring_regex(trimmed, r"^[0-9]{1,8}$").to_numpy(zero_copy_only=False)
    if not good.all():
        at = int(np.argmin(good))
        raise _bad(at + first, name, texts[at].as_py(), "a whole number of tokens")
    values: Ints = pc.cast(trimmed, pa.int64()).to_numpy()
    if (values > MOST_TOKENS).any():
        at = int(np.argmax(values > MOST_TOKENS))
        raise _bad(at + first, name, texts[at].as_py(), "at most 10,000,000 tokens of one request")
    return values


def _moments(texts: list[str | None], first: int) -> Ints:
    """Seconds since 1970: ISO 8601 (without a zone: UTC), or a Unix time in seconds."""
    found = np.empty(len(texts), dtype=np.int64)
    for i, text in enumerate(texts):
        try:
            found[i] = _moment((text or "").strip())
        except (ValueError, OverflowError):
            raise _bad(i + first, "time", text, "a moment such as 2026-11-21T14:05:00Z") from None
    return found


def _moment(text: str) -> int:
    if text.isascii() and text.replace(".", "", 1).isdigit() and len(text.partition(".")[0]) in (9, 10):
        return int(float(text))
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _models(texts: Any, n: int, first: int, model: str) -> tuple[tuple[str, ...], Ints]:
    if texts is None:
        texts = pa.nulls(n, pa.string())
    coded = pc.dictionary_encode(pc.utf8_trim_whitespace(pc.fill_null(texts, "")))
    names = tuple(str(name) for name in coded.dictionary.to_pylist())
    codes: Ints = coded.indices.to_numpy().astype(np.int64)
    if len(names) > MOST_MODELS:
        raise BadTable(f"The file names {len(names):,} models.", Where(), f"At most {MOST_MODELS} are priced in one go.")
    if "" in names and not model:
        at = int(np.argmax(codes == names.index("")))
        raise BadTable(f"Line {at + first:,} names no model.", Where(at + first), "Say above which model such requests use.")
    return names, codes


def _bad(line: int, name: str, found: str | None, expected: str) -> BadTable:
    said = "empty" if not (found or "").strip() else f"“{str(found)[:60]}”"
    return BadTable(
        f"Line {line:,}: {name} is {said}, where {expected} is expected.",
        Where(line, str(found or ""), expected),
        "Correct the line, then upload again.",
    )


def numbers_of(job: Job) -> dict[str, Any]:
    """What the form asks, as this job has it: from its answers, else from its estimate. One query."""
    inputs = outputs = rows = 0
    for usage, outcomes in Batch.objects.filter(job=job).order_by().values_list("usage", "outcomes"):
        inputs += usage.get("input_tokens", 0)
        outputs += usage.get("output_tokens", 0)
        rows += sum(n for kind, n in outcomes.items() if kind in ("succeeded", "invalid"))
    if not rows and job.estimate.get("input"):
        said = job.estimate
        rows = said["n_rows"]
        inputs = (said["input"]["low"] + said["input"]["high"]) // 2
        outputs = (said["output"]["low"] + (said["output"]["high"] or said["output"]["low"])) // 2
    found: dict[str, Any] = {
        "requests": job.n_rows or None,
        "model": job.model,
        "connection": str(job.connection_id or ""),
        "pattern": "once",
    }
    return found | ({"input_tokens": round(inputs / rows), "output_tokens": round(outputs / rows)} if rows else {})


@dataclass(frozen=True, slots=True)
class LaneWords:
    """A lane as the page shows it. `against` is what it saves against real time."""

    lane: LaneAdvice
    label: str
    best: bool
    takes: str
    note: str
    in_time: str  # yes | no | "" (there is no deadline)
    against: Decimal | None


def lanes_in_words(found: Advice, traffic: Traffic, ways: Ways) -> list[LaneWords]:
    order = (Lane.BATCH, Lane.FLEX, Lane.DIRECT)
    return [_lane_words(found, found.of(lane), traffic, ways) for lane in order]


def _lane_words(found: Advice, lane: LaneAdvice, traffic: Traffic, ways: Ways) -> LaneWords:
    takes, note = _times(lane, traffic, ways) if lane.able else ("–", lane.why)
    in_time = "" if found.deadline is None or not lane.able else "yes" if lane.meets else "no"
    against = None if lane.lane is Lane.DIRECT else found.saving_of(lane.lane)
    return LaneWords(lane, lane.lane.label, lane is found.best, takes, note, in_time, against)


def _times(lane: LaneAdvice, traffic: Traffic, ways: Ways) -> tuple[str, str]:
    spread = traffic.spread or traffic.arrivals is not None
    if lane.lane is Lane.BATCH:
        if ways.batch_slow is not None:
            takes = f"usually {formats.duration(lane.usual)}, in slow cases {formats.duration(lane.slow)}"
            note = "From this workspace's own batches of like size: half took the first time or less, 9 of 10 the second; 24 h is promised."
        else:
            takes, note = (
                "mostly within 1 h, at most 24 h",
                "As providers document it; what is not done in 24 h expires unpaid and is sent again.",
            )
        if lane.collect:
            note = f"Collect requests for up to {formats.duration(lane.collect)}, then send them as one batch. {note}"
        return takes, note
    each = FIRST_TOKEN + traffic.output_tokens / max(traffic.n, 1) / SPEED
    limits = [f"{ways.concurrency:,} calls at one time"]
    limits += [f"{ways.requests_per_minute:,} requests a minute"] if ways.requests_per_minute else []
    limits += [f"{ways.tokens_per_minute:,} tokens a minute"] if ways.tokens_per_minute else []
    assumed = f"With {', '.join(limits)}; about {formats.duration(each)} a call is assumed (50 output tokens a second)."
    if lane.lane is Lane.FLEX:
        takes = f"{formats.duration(lane.usual)} to {formats.duration(lane.slow)}"
        note = f"Slower than real time; up to {FLEX_SLOWER:.0f} times is assumed. Calls may be refused when it is busy, and go again."
        return (f"{takes} an answer" if spread else takes), note
    if spread and lane.slow > 4 * each + 60:
        return f"up to {formats.duration(lane.slow)} an answer", f"More comes in than the connection can take, so requests queue. {assumed}"
    return f"about {formats.duration(lane.slow)}{' an answer' if spread else ''}", assumed


def sentence(found: Advice) -> tuple[str, str]:
    """The recommendation in a word or three, and in one sentence with its reason."""
    best = found.best
    if best is None:
        return "No lane", "This connection has no lane that could carry it."
    direct, batch = found.of(Lane.DIRECT), found.of(Lane.BATCH)
    cost = f"costs {formats.usd(best.usd)}" if best.usd is not None else "has no known price"
    if not best.meets:
        return (
            f"Not in time: {best.lane.label.lower()} is quickest",
            f"No lane is sure to be done within {hours(found.deadline)}; {best.lane.label.lower()} is quickest, with about "
            f"{formats.duration(best.slow)}, and {cost}.",
        )
    if best.lane is Lane.DIRECT:
        return "No: real time", f"Real time {cost}; {_why_not_batch(found, batch, direct)}"
    saved = found.saving_of(best.lane)
    less = ""
    if saved is not None and direct.usd:
        less = f" instead of {formats.usd(direct.usd)} in real time, {formats.share(int(saved * 10**6), int(direct.usd * 10**6))} less"
    soon = f"and is back within {hours(found.deadline)}" if found.deadline is not None else "and nothing has to be back by a certain hour"
    if best.lane is Lane.BATCH:
        likely = found.deadline is not None and found.deadline < PROMISED
        tail = ", as 9 of 10 batches here were, though providers promise 24 h only" if likely else ""
        return "Yes: batch", f"A batch {cost}{less}, {soon}{tail}."
    return "Almost: flex", f"Flex {cost}{less}, {soon}; {_why_not_batch(found, batch, best)}"


def _why_not_batch(found: Advice, batch: LaneAdvice, taken: LaneAdvice) -> str:
    if not batch.able:
        return "this connection takes no batches."
    if not batch.meets and found.deadline is not None and batch.slow <= found.deadline:
        return f"a batch may take {hours(batch.slow)}, which leaves no time to collect requests for it."
    if not batch.meets:
        return f"a batch may take {hours(batch.slow)}, which is longer than the {hours(found.deadline)} that there are."
    if batch.usd is None:
        return f"what a batch would cost is not known. {batch.why}".strip()
    if taken.usd is not None and batch.usd < taken.usd:
        return "a batch would be cheaper."
    return "a batch would cost no less and take longer."


def hours(seconds: float | None) -> str:
    """A deadline as it was given: "24 h" rather than "1 d"; "" where there is none."""
    if seconds is None:
        return ""
    return f"{seconds / 3600:g} h" if 3600 <= seconds <= 96 * 3600 else formats.duration(seconds)
