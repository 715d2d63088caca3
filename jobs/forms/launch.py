"""The forms of the launch steps: thin, for the engine says what can be launched."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.utils.http import urlencode

from jobs.forms.numbers import PointField
from jobs.words import Lane

MOST_OUTPUT = 1_000_000
OWN_FIELDS = ("max_output_tokens", "temperature")


class DataForm(forms.Form):
    """Which version of which dataset."""

    dataset_version = forms.UUIDField(error_messages={"required": "Choose a dataset.", "invalid": "Choose a dataset."})


class PromptForm(forms.Form):
    """Which version of which prompt."""

    prompt_version = forms.UUIDField(error_messages={"required": "Choose a prompt.", "invalid": "Choose a prompt."})


class ModelForm(forms.Form):
    """A model on a connection (`pick` is "connection:model"), and the parameters of its requests."""

    pick = forms.CharField(max_length=300, required=False)
    other_connection = forms.CharField(max_length=40, required=False)
    other_model = forms.CharField(max_length=200, required=False, label="Model name")
    max_output_tokens = forms.IntegerField(
        min_value=1,
        max_value=MOST_OUTPUT,
        required=False,
        label="Most output tokens per row",
        help_text="Longer answers are cut off, and paid for.",
    )
    temperature = PointField(min_value=Decimal(0), max_value=Decimal(2), required=False, help_text="Empty: the model's own.")
    other = forms.CharField(
        required=False,
        label="Other parameters",
        widget=forms.Textarea(attrs={"rows": 2, "class": "mono"}),
        help_text="A JSON object, sent as it is.",
    )

    @classmethod
    def initial_of(cls, params: dict[str, Any]) -> dict[str, Any]:
        """The fields' values for parameters as they would be sent."""
        rest = {name: value for name, value in params.items() if name not in OWN_FIELDS}
        text = json.dumps(rest, ensure_ascii=False) if rest else ""
        return {**{name: params.get(name) for name in OWN_FIELDS}, "other": text}

    def clean_other(self) -> dict[str, Any]:
        text = self.cleaned_data["other"].strip()
        if not text:
            return {}
        try:
            found = json.loads(text)
        except ValueError as error:
            raise forms.ValidationError(f'This is not JSON: {error}. Write, for example, {{"top_p": 0.9}}.') from error
        if not isinstance(found, dict):
            raise forms.ValidationError("Write a JSON object, in braces.")
        return found

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("other_model"):
            data["pick"] = f"{data.get('other_connection', '')}:{data['other_model'].strip()}"
        connection, _, model = data.get("pick", "").partition(":")
        data["connection"], data["model"] = connection, model
        return data

    def params(self) -> dict[str, Any]:
        """The parameters as entered, empty ones left out. Call it on a valid form, or for what is valid of it."""
        data = self.cleaned_data
        found: dict[str, Any] = dict(data.get("other") or {})
        if data.get("max_output_tokens"):
            found["max_output_tokens"] = data["max_output_tokens"]
        if data.get("temperature") is not None:
            value = data["temperature"]
            found["temperature"] = int(value) if value == value.to_integral_value() else float(value)
        return found

    @staticmethod
    def changes(own: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
        """What differs from the prompt version's own parameters; None takes one away."""
        changed = {name: value for name, value in wanted.items() if own.get(name) != value}
        return {**changed, **{name: None for name, value in own.items() if name not in wanted and value is not None}}


@dataclass(frozen=True, slots=True)
class TryChoice:
    """Which rows are tried. `numbers` are those that a person named, from 0; `text` as they were typed."""

    n: int
    how: str
    seed: int
    text: str = ""
    numbers: tuple[int, ...] = ()

    @property
    def query(self) -> str:
        """The choice as the query of an address."""
        named = [("rows", self.text)] if self.how == "chosen" else []
        return urlencode([("n", str(self.n)), ("how", self.how), ("seed", str(self.seed)), *named])


class TryForm(forms.Form):
    """Which rows are tried: the first ones, some at random, the same for the same `seed`, or those that are named."""

    n = forms.IntegerField(min_value=3, max_value=50, required=False)
    how = forms.ChoiceField(choices=[("first", "First rows"), ("random", "Rows at random"), ("chosen", "Rows by number")], required=False)
    seed = forms.IntegerField(min_value=0, max_value=1_000_000, required=False)
    rows = forms.CharField(max_length=300, required=False)

    def choice(self) -> TryChoice:
        """What is missing or wrong is as at first: twenty rows at random."""
        self.is_valid()
        data = self.cleaned_data
        text = data.get("rows", "").strip()
        return TryChoice(data.get("n") or 20, data.get("how") or "random", data.get("seed") or 1, text, numbers_of(text))


def numbers_of(text: str, most: int = 50) -> tuple[int, ...]:
    """Rows from 0 out of numbers from 1 as people type them, "3, 17, 20-22"; what is no number is passed over, and all past `most`."""
    found: dict[int, None] = {}
    for first, last in re.findall(r"(\d{1,12})(?:\s*[-–]\s*(\d{1,12}))?", text):
        for number in range(int(first), min(int(last or first), int(first) + most) + 1):
            if number > 0 and len(found) < most:
                found[number - 1] = None
    return tuple(found)


class TermsForm(forms.Form):
    """What is decided on the review page."""

    name = forms.CharField(max_length=200, label="Name of the job", error_messages={"required": "Give the job a name."})
    lane = forms.ChoiceField(
        choices=[(lane.value, lane.label) for lane in Lane], error_messages={"required": "Choose how the rows travel."}
    )
    max_attempts = forms.IntegerField(
        min_value=1,
        max_value=10,
        initial=3,
        label="Attempts per row",
        help_text="Failures that pass by themselves are retried without asking.",
    )
    cap_usd = PointField(
        min_value=Decimal("0.0001"),
        max_digits=12,
        decimal_places=4,
        required=False,
        label="Cap in dollars",
        help_text="The job holds before it spends more.",
    )
