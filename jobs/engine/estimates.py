"""What a job will cost, on each model that could run it: counted on a sample, priced by today's sheets, as a range with its basis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from jobs.costs.estimate import Estimate, OutputBasis, estimate, limited_output, no_output, with_time
from jobs.costs.lookup import ModelEntry, models_known
from jobs.costs.prices import PriceSheet
from jobs.costs.tokens import TokenModel, schema_texts
from jobs.engine import history
from jobs.engine.preview import render, sample_rows
from jobs.engine.spec import overrides_of, sheet_for
from jobs.errors import BadInput
from jobs.models import Connection, DatasetVersion, PromptVersion, Workspace
from jobs.words import PromptKind, ProviderKind

SAMPLE = 200
SMALL = ("gpt-6-luna", "claude-haiku-5-5")
FLAKY = "+flaky"  # of the sandbox: a few rows fail on purpose, and succeed when they are retried


@dataclass(frozen=True, slots=True)
class Sample:
    """Rendered rows that an estimate counts on; the same for every model."""

    texts: list[tuple[str, str]]
    n_rows: int
    n_failed: int


def sample_of(version: DatasetVersion, prompt: PromptVersion, size: int = SAMPLE) -> Sample:
    """Render a sample of the table. Raises BadInput where the template cannot be used at all."""
    rows = sample_rows(version.n_rows, size)
    preview = render(version, prompt.system, prompt.user, rows, cells=False, seconds=20, count=schema_texts(prompt.schema or None))
    if preview.problem:
        raise BadInput(preview.problem)
    texts = [(row.system, row.user) for row in preview.rows if not row.error]
    if not texts:
        raise BadInput(
            f"The prompt fails on every row of the sample: {preview.rows[0].error}" if preview.rows else "The table has no rows."
        )
    return Sample(texts, version.n_rows, len(preview.rows) - len(texts))


def output_basis(
    prompt: PromptVersion, max_output_tokens: int | None, connection: Connection | None = None, model: str = ""
) -> OutputBasis:
    """How many output tokens a row may take, and how that is known: from finished jobs like those of the connection, else by the limit."""
    if prompt.kind != PromptKind.GENERATE:
        return no_output()
    if connection is not None and (known := history.output_history(connection, prompt, model, max_output_tokens)):
        return known
    return limited_output(max_output_tokens, prompt.schema)


def estimate_for(
    sample: Sample, prompt: PromptVersion, connection: Connection, model: str, max_output_tokens: int | None
) -> tuple[Estimate, PriceSheet]:
    """The estimate of one model, and the sheet that it was made with."""
    sheet = sheet_for(connection, model)
    basis = output_basis(prompt, max_output_tokens, connection, model)
    found = estimate(sheet, token_model(connection, model), sample.texts, sample.n_rows, basis, prompt.schema, prompt.kind)
    return timed(found, sheet, connection, model), sheet


def timed(found: Estimate, sheet: PriceSheet, connection: Connection, model: str) -> Estimate:
    """The estimate with the price of time, where the sheet has one: by the speed that runs here had."""
    return found if sheet.per_hour is None else with_time(found, sheet, history.speed_of(connection, model))


def token_model(connection: Connection, model: str) -> TokenModel:
    """How tokens are counted for a model, corrected by what finished jobs of the workspace showed."""
    return TokenModel(connection.kind, model, history.calibration(connection, model))


def models_of(
    connection: Connection, workspace: Workspace, kind: str = PromptKind.GENERATE, overrides: Iterable[str] | None = None
) -> list[ModelEntry]:
    """The models that a connection offers for a kind of prompt: known by price, named by an admin's override, or seen at the endpoint.

    `overrides` are the names of the connection's kind, where the caller has read them already.
    """
    known = {entry.id: entry for entry in models_known(connection.kind)}
    names: Iterable[str] = overrides_of(workspace, connection.kind) if overrides is None else overrides
    seen = connection.models_seen if connection.kind == ProviderKind.OPENAI_COMPATIBLE or connection.is_sandbox else []
    if connection.is_sandbox and seen:
        known = {name: entry for name, entry in known.items() if name in set(seen)}
    if connection.is_sandbox:
        known |= {name + FLAKY: replace(known[name], id=name + FLAKY) for name in SMALL if name in known}
    for name in [*names, *seen]:
        known.setdefault(name, ModelEntry(name, None, has_batch=False, has_flex=False, deprecated=False))
    return [entry for entry in known.values() if _fits(entry.id, kind)]


def _fits(model: str, kind: str) -> bool:
    """By name: embeddings and moderation have models of their own."""
    embeds, moderates = "embed" in model, "moderation" in model
    if kind == PromptKind.EMBED:
        return embeds
    if kind == PromptKind.MODERATE:
        return moderates
    return not embeds and not moderates
