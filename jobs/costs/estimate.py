"""What a job will probably cost: a range per lane with its basis in words, from a sample of its rows. Never a guess of a price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from typing import Any

import numpy as np

from jobs.costs.prices import LANES, Ints, PriceSheet, Usage, dollars, plain, price_rows, time_cost
from jobs.costs.tokens import TokenModel
from jobs.words import Lane, PromptKind

COUNTED = "Input tokens "  # how the basis of an estimate begins that counted its input itself
_RESAMPLES = 400
_FEW = 20  # rows; of fewer, an interval is told with care
_SEED = 20261121  # the same sample gives the same range, whoever asks and whenever
# Half of a 95 % interval in standard errors by sample size (Student's t over the normal 1.96), for small samples.
_T_OVER_Z = ((2, "6.48"), (3, "2.20"), (4, "1.62"), (5, "1.42"), (7, "1.25"), (10, "1.15"), (20, "1.07"), (50, "1.03"))


@dataclass(frozen=True, slots=True)
class OutputBasis:
    """Output tokens per row as a range of means, how that is known, and the ceiling per row. `high` None: there is no bound."""

    low: Decimal
    high: Decimal | None
    words: str
    source: str  # "observed" | "limit" | "none"
    ceiling: int | None = None


@dataclass(frozen=True, slots=True)
class LaneEstimate:
    """Dollars on one lane; both None, with the reason, where the price is unknown; `high` alone None where the output has no bound.

    `ceiling` is what one pass cannot exceed if the input counts hold: no cache hits, every answer at its limit; None if unbounded.
    """

    low: Decimal | None
    high: Decimal | None
    ceiling: Decimal | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job of `n_rows` will probably take. Token ranges are totals of the job; `output_high` None: no bound is known."""

    n_rows: int
    sampled: int
    lanes: Mapping[str, LaneEstimate]
    input_low: int
    input_high: int
    output_low: int
    output_high: int | None
    basis: tuple[str, ...]
    source: str
    as_of: str

    @property
    def counted(self) -> bool:
        """Whether the input tokens were counted here, and not taken from rows that ran."""
        return self.basis[:1] != () and self.basis[0].startswith(COUNTED)

    def saving(self, lane: str) -> tuple[Decimal, Decimal] | None:
        """Dollars saved against real time, low and high; None where a price or a bound is unknown."""
        ours, direct = self.lanes[str(lane)], self.lanes[str(Lane.DIRECT)]
        if ours.low is None or ours.high is None or direct.low is None or direct.high is None:
            return None
        first, second = direct.low - ours.low, direct.high - ours.high
        return min(first, second), max(first, second)

    def to_json(self) -> dict[str, Any]:
        def text(value: Decimal | None) -> str | None:
            return None if value is None else plain(value)

        lanes = {
            lane: {"low": text(found.low), "high": text(found.high), "ceiling": text(found.ceiling), "reason": found.reason}
            for lane, found in self.lanes.items()
        }
        return {
            "n_rows": self.n_rows,
            "sampled": self.sampled,
            "lanes": lanes,
            "input": {"low": self.input_low, "high": self.input_high},
            "output": {"low": self.output_low, "high": self.output_high},
            "basis": list(self.basis),
            "source": self.source,
            "as_of": self.as_of,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        def number(value: str | None) -> Decimal | None:
            return None if value is None else Decimal(value)

        lanes = {
            lane: LaneEstimate(number(x["low"]), number(x["high"]), number(x["ceiling"]), x["reason"]) for lane, x in data["lanes"].items()
        }
        return cls(
            n_rows=data["n_rows"],
            sampled=data["sampled"],
            lanes=lanes,
            input_low=data["input"]["low"],
            input_high=data["input"]["high"],
            output_low=data["output"]["low"],
            output_high=data["output"]["high"],
            basis=tuple(data["basis"]),
            source=data["source"],
            as_of=data["as_of"],
        )


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second that a server gave before, as a range; of the output, or of the input where there is no output."""

    low: Decimal
    high: Decimal
    of_output: bool
    words: str


def with_time(found: Estimate, sheet: PriceSheet, speed: Speed | None) -> Estimate:
    """The estimate with what the time costs on a server that is priced by the hour; unknown, and said, where nothing was measured yet."""
    if sheet.per_hour is None:
        return found
    lane = found.lanes[str(Lane.DIRECT)]
    low, high = (found.output_low, found.output_high) if speed and speed.of_output else (found.input_low, found.input_high)
    if speed is None:
        reason = "It is priced by the hour, and how long it takes is not known before some rows were tried."
        timed = LaneEstimate(None, None, None, reason)
    else:
        least = time_cost(sheet.per_hour, _milliseconds(low, speed.high)) + (lane.low or 0)
        most = None if high is None or lane.high is None else time_cost(sheet.per_hour, _milliseconds(high, speed.low)) + lane.high
        timed = LaneEstimate(least, most, None, "" if most is not None else "The output has no limit, so the time has none.")
    basis = (*found.basis, f"Priced by the hour. {speed.words}" if speed else timed.reason)
    return replace(found, lanes={**found.lanes, str(Lane.DIRECT): timed}, basis=basis)


def _milliseconds(tokens: int, per_second: Decimal) -> int:
    return int((1000 * Decimal(tokens) / per_second).to_integral_value(ROUND_CEILING))


def no_output() -> OutputBasis:
    """Embeddings and moderation give back no tokens."""
    return OutputBasis(Decimal(0), Decimal(0), "There are no output tokens.", "none", 0)


def observed_output(tokens: Sequence[int], words: str, max_output_tokens: int | None = None) -> OutputBasis:
    """From the output tokens of rows that ran before: `words` says which ("20 rows of the pilot", "5,000 rows of job 12")."""
    if not tokens:
        raise ValueError("nothing was observed")
    low, high = _interval(np.asarray(tokens, dtype=np.int64), population=None)
    if max_output_tokens is not None:
        high = max(low, min(high, Decimal(max_output_tokens)))
    return OutputBasis(low, high, f"Output tokens as in {words}.", "observed", max_output_tokens)


def limited_output(max_output_tokens: int | None, schema: Mapping[str, Any] | None = None) -> OutputBasis:
    """Without anything observed: from about the shortest answer that fits to the limit for every row."""
    low = _smallest_answer(schema)
    guess = "the smallest answer that fits the schema" if schema else "a short answer"
    if max_output_tokens is None:
        return OutputBasis(
            Decimal(low),
            None,
            f"Output tokens are not known: at least {guess} ({low:,} tokens or so) a row; there is no limit set.",
            "limit",
        )
    low = min(low, max_output_tokens)
    words = f"Output tokens are not known yet: from {guess} ({low:,} tokens) to the limit of {max_output_tokens:,} tokens for every row."
    return OutputBasis(Decimal(low), Decimal(max_output_tokens), words, "limit", max_output_tokens)


def estimate(
    sheet: PriceSheet,
    tokens: TokenModel,
    rows: Sequence[tuple[str, str]],
    n_rows: int,
    output: OutputBasis,
    schema: Mapping[str, Any] | None = None,
    kind: str = PromptKind.GENERATE,
) -> Estimate:
    """The estimate for `n_rows` from a random sample of rendered rows (system, user), counted here."""
    counts = [tokens.count_request(kind, system, user, schema) for system, user in rows]
    return estimate_from_counts(sheet, counts, n_rows, output, margin=tokens.margin, basis=tokens.basis)


def estimate_from_counts(
    sheet: PriceSheet, counts: Sequence[int], n_rows: int, output: OutputBasis, *, margin: Decimal, basis: str
) -> Estimate:
    """As `estimate`, from the input tokens of each sampled row; `margin` is how far a count may be off, as a share."""
    if not counts and n_rows:
        raise ValueError("an estimate needs at least one row")
    whole = np.asarray(counts, dtype=np.int64)
    low_in, high_in = _scaled(whole, 1 - margin, ROUND_FLOOR), _scaled(whole, 1 + margin, ROUND_CEILING)
    lanes = {str(lane): _lane(sheet, lane, low_in, high_in, n_rows, output) for lane in LANES}
    return Estimate(
        n_rows=n_rows,
        sampled=len(counts),
        lanes=lanes,
        input_low=_total(_interval(low_in, n_rows)[0], n_rows, ROUND_FLOOR),
        input_high=_total(_interval(high_in, n_rows)[1], n_rows, ROUND_CEILING),
        output_low=_total(output.low, n_rows, ROUND_FLOOR),
        output_high=None if output.high is None else _total(output.high, n_rows, ROUND_CEILING),
        basis=(f"{COUNTED}{basis}.", _sample_words(len(counts), n_rows), output.words, "Without cache hits and without retries."),
        source=sheet.source,
        as_of=sheet.as_of,
    )


def estimate_from_usage(
    sheet: PriceSheet,
    usages: Sequence[Usage],
    n_rows: int,
    words: str,
    max_output_tokens: int | None = None,
    known: OutputBasis | None = None,
) -> Estimate:
    """The estimate for `n_rows` from the real tokens of rows that ran with the same prompt and model (a pilot), caches included.

    Each row is priced as it was, tier by tier; the interval is a bootstrap over the rows. Where they are few, `known` (what earlier jobs
    showed of the output) narrows it, and input and output are bounded apart, as both ends are then mostly a guess about the output.
    """
    if not usages:
        raise ValueError("an estimate needs at least one row")
    columns = {name: np.array([getattr(usage, name) for usage in usages], dtype=np.int64) for name in Usage.__dataclass_fields__}
    inputs, outputs = _interval(columns["input_tokens"], None), _narrowed(_interval(columns["output_tokens"], None), len(usages), known)
    if max_output_tokens is not None:
        outputs = min(outputs[0], Decimal(max_output_tokens)), min(outputs[1], Decimal(max_output_tokens))
    lanes = {str(lane): _used_lane(sheet, lane, columns, n_rows, outputs, max_output_tokens) for lane in LANES}
    return Estimate(
        n_rows=n_rows,
        sampled=len(usages),
        lanes=lanes,
        input_low=_total(inputs[0], n_rows, ROUND_FLOOR),
        input_high=_total(inputs[1], n_rows, ROUND_CEILING),
        output_low=_total(outputs[0], n_rows, ROUND_FLOOR),
        output_high=_total(outputs[1], n_rows, ROUND_CEILING),
        basis=(f"Input and output tokens as in {words}.", _sample_words(len(usages), n_rows), "Without retries."),
        source=sheet.source,
        as_of=sheet.as_of,
    )


def _narrowed(outputs: tuple[Decimal, Decimal], n: int, known: OutputBasis | None) -> tuple[Decimal, Decimal]:
    """The interval of few rows, as far as earlier jobs do not exclude it; theirs counts only where the two overlap."""
    if known is None or known.high is None or n >= _FEW:
        return outputs
    low, high = max(outputs[0], known.low), min(outputs[1], known.high)
    return (low, high) if low <= high else outputs


def _used_lane(
    sheet: PriceSheet, lane: str, columns: Mapping[str, Ints], n_rows: int, outputs: tuple[Decimal, Decimal], most: int | None
) -> LaneEstimate:
    """A lane's dollars from rows that ran, whose mean output is in `outputs`; `most` tokens are an answer's limit."""
    if not sheet.tiers(lane):
        return LaneEstimate(None, None, None, sheet.why_unknown(lane))

    def costs(output: Decimal, rounding: str) -> tuple[Decimal, Decimal]:
        answer = np.full(len(columns["input_tokens"]), int(output.to_integral_value(rounding)), dtype=np.int64)
        return _interval(price_rows(sheet, lane, {**columns, "output_tokens": answer})[1], population=None)

    low, high = _interval(price_rows(sheet, lane, columns)[1], population=None)
    if len(columns["input_tokens"]) < _FEW:
        low, high = costs(outputs[0], ROUND_FLOOR)[0], costs(outputs[1], ROUND_CEILING)[1]
    bottom, top = _money(low * n_rows), _money(high * n_rows)
    ceiling = _ceiling(sheet, lane, columns["input_tokens"], n_rows, most)
    if ceiling is not None and most is not None:  # written caches may cost more than plain input
        ceiling = max(ceiling, _money(costs(Decimal(most), ROUND_CEILING)[1] * n_rows), bottom)
        top = min(top, ceiling)
    return LaneEstimate(bottom, top, ceiling)


def _lane(sheet: PriceSheet, lane: Lane, low_in: Ints, high_in: Ints, n_rows: int, output: OutputBasis) -> LaneEstimate:
    if not sheet.tiers(lane):
        return LaneEstimate(None, None, None, sheet.why_unknown(lane))
    if n_rows == 0:
        return LaneEstimate(Decimal(0), Decimal(0), Decimal(0))
    low = _interval(_costs(sheet, lane, low_in, int(output.low.to_integral_value(ROUND_FLOOR))), n_rows)[0]
    if output.high is None:
        return LaneEstimate(_money(low * n_rows), None, None, "The output has no limit, so the cost has none.")
    high = _interval(_costs(sheet, lane, high_in, int(output.high.to_integral_value(ROUND_CEILING))), n_rows)[1]
    ceiling = _ceiling(sheet, lane, high_in, n_rows, output.ceiling)
    # A dearer tier is dearer, but nothing in the data promises it; the range must not be inverted even so.
    first, second = sorted((_money(low * n_rows), _money(high * n_rows)))
    return LaneEstimate(first, second, None if ceiling is None else max(ceiling, second))


def _costs(sheet: PriceSheet, lane: str, inputs: Ints, output: int) -> Ints:
    """10⁻¹² dollars per row without caches, each row in its own tier."""
    return price_rows(sheet, lane, {"input_tokens": inputs, "output_tokens": np.full(len(inputs), output, dtype=np.int64)})[1]


def _ceiling(sheet: PriceSheet, lane: str, inputs: Ints, n_rows: int, max_output_tokens: int | None) -> Decimal | None:
    if max_output_tokens is None:
        return None
    return _money(_interval(_costs(sheet, lane, inputs, max_output_tokens), n_rows)[1] * n_rows)


def _money(pico_dollars: Decimal) -> Decimal:
    return dollars(int(pico_dollars.to_integral_value(ROUND_CEILING)))


def _total(mean: Decimal, n_rows: int, rounding: str) -> int:
    return int((mean * n_rows).to_integral_value(rounding))


def _scaled(values: Ints, factor: Decimal, rounding: str) -> Ints:
    over, under = factor.as_integer_ratio()
    return values * over // under if rounding == ROUND_FLOOR else -(-values * over // under)


def _sample_words(sampled: int, n_rows: int) -> str:
    if sampled >= n_rows:
        return "All rows were counted."
    if sampled == 1:
        return f"From 1 row of {n_rows:,}: half to double, as one row says little."
    return f"From {sampled:,} rows of {n_rows:,}, with a 95 % interval (bootstrap over rows)."


def _interval(values: Ints, population: int | None) -> tuple[Decimal, Decimal]:
    """A 95 % interval of the mean of all rows from a sample of them: a bootstrap, widened for small samples as Student's t is.

    `population` is how many rows there are in all; at or below the sample's size nothing is uncertain. None: without end.
    """
    n = len(values)
    if n == 0:
        return Decimal(0), Decimal(0)
    mean = Decimal(int(values.sum())) / n
    if population is not None and n >= population:
        return mean, mean
    if n == 1:
        return mean / 2, mean * 2
    sums = np.sort(_resamples(n) @ values)
    left, right = int(sums[_RESAMPLES * 25 // 1000]), int(sums[_RESAMPLES * 975 // 1000 - 1])
    wider = next((Decimal(factor) for size, factor in _T_OVER_Z if n <= size), Decimal(1)) * (Decimal(n) / (n - 1)).sqrt()
    if population is not None:
        wider *= (1 - Decimal(n) / population).sqrt()
    low = mean - (mean - Decimal(left) / n) * wider
    high = mean + (Decimal(right) / n - mean) * wider
    if n < _FEW and high > 0:  # as many times less as it may be more: what few rows leave open does not reach down to nothing
        low = max(low, mean * mean / high)
    return max(Decimal(0), min(low, mean)), max(high, mean)


@lru_cache(maxsize=4)
def _resamples(n: int) -> Ints:
    """How often each of n rows is drawn in each resample: int64, resamples × n. One draw for all models and lanes, so that they compare."""
    random = np.random.default_rng(_SEED)
    return np.stack([np.bincount(random.integers(0, n, n), minlength=n) for _ in range(_RESAMPLES)]).astype(np.int64)


def _smallest_answer(schema: Mapping[str, Any] | None) -> int:
    """A guess of the tokens of the smallest answer: a word without a schema; with one, its keys, punctuation and a word per value."""
    properties = schema.get("properties") if schema else None
    if not isinstance(properties, Mapping) or not properties:
        return 5
    nested = [value if isinstance(value, Mapping) and "properties" in value else None for value in properties.values()]
    keys = sum(4 + len(str(key)) // 4 for key in properties)
    return 2 + keys + sum(_smallest_answer(value) if value else 1 for value in nested)
