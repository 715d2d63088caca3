"""What “Should this be batch?” is asked about: numbers of a month or a job, or a CSV of requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from jobs.models import Connection

MOST_REQUESTS = 10**9
MOST_TOKENS = 10**7  # of one request
MOST_BYTES = 50_000_000
PATTERNS = (("once", "All at once, as one job"), ("month", "Spread over a month"))


class _Common(forms.Form):
    """The connection whose lanes, limits and prices are asked about, the model, and how long an answer may take."""

    connection = forms.ChoiceField()
    model = forms.CharField(max_length=200, strip=True)
    deadline = forms.DecimalField(
        label="Answers are needed within, hours", required=False, min_value=0, max_value=24 * 366, max_digits=9, decimal_places=3
    )

    def __init__(self, *args: Any, connections: Sequence[Connection], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.by_pk = {str(each.pk): each for each in connections}
        self.fields["connection"].choices = [(pk, each.name) for pk, each in self.by_pk.items()]  # type: ignore[attr-defined]
        self.fields["deadline"].help_text = "Empty: whenever. 24 is what providers promise for a batch."

    @property
    def chosen(self) -> Connection:
        return self.by_pk[self.cleaned_data["connection"]]

    @property
    def seconds(self) -> float | None:
        """The deadline."""
        hours = self.cleaned_data["deadline"]
        return None if hours is None else float(hours) * 3600


class NumbersForm(_Common):
    requests = forms.IntegerField(label="Requests", min_value=1, max_value=MOST_REQUESTS, help_text="Rows of the job, or calls in a month.")
    input_tokens = forms.IntegerField(
        label="Input tokens each", min_value=0, max_value=MOST_TOKENS, help_text="The average of one request."
    )
    output_tokens = forms.IntegerField(
        label="Output tokens each", min_value=0, max_value=MOST_TOKENS, help_text="The average, reasoning included."
    )
    pattern = forms.ChoiceField(label="They come", choices=PATTERNS, widget=forms.RadioSelect)


class TrafficForm(_Common):
    file = forms.FileField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, auto_id="id_file_%s", **kwargs)  # it stands beside the other form
        self.fields["model"].required = False
        self.fields["model"].help_text = "For requests whose line names none."

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > MOST_BYTES:
            raise forms.ValidationError("The file is above 50 MB. A week of the traffic says as much as a month of it.")
        return file
