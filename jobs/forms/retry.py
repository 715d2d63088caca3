"""What a person wants retried, and what they want changed; with the price of it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from django import forms
from django.http import QueryDict

from jobs.engine.retry import UNSUCCESSFUL, Changes
from jobs.engine.spec import sheet_for
from jobs.errors import BadInput
from jobs.forms.results import CAUSES, row_filter
from jobs.models import Batch, Connection, Job, PromptVersion
from jobs.queries.job_money import cost_per_row, price_words
from jobs.queries.results import retryable
from jobs.rows.choose import Wanted
from jobs.rows.query import Filter, Query, RowFiles

MOST_TICKED = 1_000


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rows: all that failed, some kinds or causes, ticked rows, or all rows of a filter. `fields` are what a form repeats."""

    filter: Filter
    fields: tuple[tuple[str, str], ...]
    by_rows: bool  # the filter has to be turned into row numbers

    def rows(self, files: RowFiles) -> list[int]:
        """The rows that stand at a failure now."""
        with Query(files) as query:
            found: list[int] = query.rows(self.filter).tolist()
        return found

    def wanted(self, files: RowFiles) -> Wanted:
        """What the engine takes. Raises BadInput where no row is left: an empty list would mean all."""
        if not self.by_rows:
            return Wanted(self.filter.kinds, self.filter.causes)
        rows = self.rows(files)
        if not rows:
            raise BadInput("There is nothing to retry here.", "The rows succeeded meanwhile, or are being retried already.")
        return Wanted(self.filter.kinds, (), rows)


def scope_of(data: QueryDict, filtered: QueryDict) -> Scope:
    """Read the scope: `row` (ticked), `all=1` (the filter of the address), else `kind` and `cause`. Raises BadInput."""
    ticked = data.getlist("row")
    if data.get("all") == "1":
        found = row_filter(filtered)
        return Scope(retryable(found.filter), (("all", "1"), *found.pairs), True)
    if "row" in data or "all" in data:
        rows = _numbers(ticked)
        kept = Filter(kinds=UNSUCCESSFUL, rows=rows)
        return Scope(kept, tuple(("row", str(row)) for row in rows), True)
    kinds, causes = tuple(data.getlist("kind")), tuple(cause for cause in data.getlist("cause") if cause)
    if any(kind not in UNSUCCESSFUL for kind in kinds) or any(cause not in CAUSES for cause in causes):
        raise BadInput("That outcome or cause cannot be retried.", "Go back to the failures and choose one.")
    fields = tuple([("kind", kind) for kind in kinds] + [("cause", cause) for cause in causes])
    return Scope(Filter(kinds=kinds or UNSUCCESSFUL, causes=causes), fields, False)


def scope_again(data: QueryDict) -> Scope:
    """The scope as the form of changes repeats it: a filter's parts stand in the form itself."""
    return scope_of(data, data)


def _numbers(texts: list[str]) -> tuple[int, ...]:
    if not texts:
        raise BadInput("No row is ticked.", "Tick the rows to retry.")
    if len(texts) > MOST_TICKED or not all(text.isascii() and text.isdigit() and len(text) < 16 for text in texts):
        raise BadInput("Those are not rows of this job.", "Tick them again.")
    return tuple(sorted({int(text) for text in texts}))


class ChangesForm(forms.Form):
    """What the retry does differently; what is left as it is changes nothing."""

    max_output_tokens = forms.IntegerField(
        label="Max output tokens", min_value=1, max_value=1_000_000, required=False, help_text="Answers that were cut off need more."
    )
    connection = forms.ModelChoiceField(Connection.objects.none(), label="Connection", empty_label=None)
    model = forms.CharField(label="Model", max_length=200, help_text="As the provider calls it.")
    prompt_version = forms.ModelChoiceField(
        PromptVersion.objects.none(), label="Prompt", empty_label=None, help_text="A corrected version of it."
    )

    def __init__(self, job: Job, *args: Any, **kwargs: Any) -> None:
        assert job.prompt_version is not None
        kwargs["initial"] = {
            "max_output_tokens": job.spec.get("max_output_tokens"),
            "connection": job.connection_id,
            "model": job.model,
            "prompt_version": job.prompt_version_id,
        }
        super().__init__(*args, **kwargs)
        self.job = job
        own = Connection.objects.filter(workspace=job.workspace_id, archived_at=None).order_by("name")
        versions = PromptVersion.objects.filter(prompt=job.prompt_version.prompt_id).select_related("prompt").order_by("-number")
        for name, found in (("connection", own), ("prompt_version", versions)):
            field = cast(forms.ModelChoiceField, self.fields[name])
            field.queryset = found
            field.choices = [(each.pk, str(each)) for each in found]  # listed once; the field itself would ask twice

    def changes(self) -> Changes:
        """Only what differs from the job. The form must be valid."""
        given, job = self.cleaned_data, self.job
        most = given["max_output_tokens"]
        return Changes(
            model=given["model"].strip() if given["model"].strip() != job.model else None,
            connection=given["connection"] if given["connection"].pk != job.connection_id else None,
            prompt_version=given["prompt_version"] if given["prompt_version"].pk != job.prompt_version_id else None,
            params={"max_output_tokens": most} if most and most != job.spec.get("max_output_tokens") else {},
        )


@dataclass(frozen=True, slots=True)
class Price:
    """What a retry will cost: `about` from what rows of this job took, `most` if every answer reached the limit; None where unknown."""

    about: Decimal | None
    most: Decimal | None
    basis: str

    @property
    def words(self) -> str:
        return f", {price_words(self.about)}" if self.about is not None else ""


def price_of(job: Job, n_rows: int, changes: Changes) -> Price:
    """The price of retrying so many rows. Another model is priced by its own sheet on the tokens that rows of this job took."""
    tokens = tokens_per_row(job)
    most = changes.params.get("max_output_tokens") or job.spec.get("max_output_tokens")
    if not changes.words:
        per_row = cost_per_row(job)
        if per_row is None:
            return Price(None, None, "No price is known for this model.")
        return Price(per_row * n_rows, None, "What rows of this job cost on average so far.")
    assert job.connection is not None
    sheet = sheet_for(changes.connection or job.connection, changes.model or job.model)
    tiers = sheet.tiers(job.lane)
    if not tiers or tokens is None:
        return Price(None, None, sheet.why_unknown(job.lane) or "No row of this job has been answered yet, so there is nothing to go by.")
    asked, answered = tokens
    base = asked * tiers[0].input
    bound = (base + Decimal(most) * tiers[0].output) * n_rows / 1_000_000 if most else None
    basis = f"{asked:,.0f} input and {answered:,.0f} output tokens a row, as rows of this job took on average, at today's prices."
    return Price((base + answered * tiers[0].output) * n_rows / 1_000_000, bound, basis)


def tokens_per_row(job: Job) -> tuple[Decimal, Decimal] | None:
    """Mean input and output tokens of the answered rows of this job; None before there is one."""
    usages = list(Batch.objects.filter(job=job).exclude(outcomes={}).values_list("usage", "outcomes"))
    n = sum(outcomes.get("succeeded", 0) + outcomes.get("invalid", 0) for _, outcomes in usages)
    if not n:
        return None
    asked, answered = (sum(usage.get(name, 0) for usage, _ in usages) for name in ("input_tokens", "output_tokens"))
    return Decimal(asked) / n, Decimal(answered) / n
