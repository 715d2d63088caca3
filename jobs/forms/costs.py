"""The filters of the costs page, out of its URL."""

from __future__ import annotations

from typing import Any

from django import forms

from jobs.queries.costs import DIMENSIONS, PATHS, PERIODS, SORTS, Filters
from jobs.words import JobState

_SORTS = [(f"{sign}{key}", key) for key in SORTS for sign in ("", "-")]
TABLES = {"jobs": "Jobs", "days": "Days", "groups": "Breakdown"}


class CostsForm(forms.Form):
    """All optional; what is absent is the default."""

    period = forms.ChoiceField(choices=list(PERIODS.items()), required=False)
    model = forms.CharField(max_length=200, required=False)
    connection = forms.UUIDField(required=False)
    prompt = forms.UUIDField(required=False)
    dataset = forms.UUIDField(required=False)
    person = forms.IntegerField(required=False, min_value=1, max_value=2**62)
    state = forms.ChoiceField(choices=[(state.value, state.look.label) for state in JobState], required=False)
    by = forms.ChoiceField(choices=list(DIMENSIONS.items()), required=False)
    sort = forms.ChoiceField(choices=_SORTS, required=False)
    page = forms.IntegerField(required=False, min_value=1, max_value=10**6)
    sandbox = forms.BooleanField(required=False)
    table = forms.ChoiceField(choices=list(TABLES.items()), required=False)

    def filters(self) -> Filters:
        """What a valid form says."""
        data: dict[str, Any] = self.cleaned_data
        chosen = {name: data[name] for name in PATHS if data.get(name) not in (None, "")}
        by, sort = data["by"] or "model", data["sort"] or "-launched"
        return Filters(data["period"] or "30", chosen, by, sort, data["page"] or 1, bool(data["sandbox"]))
