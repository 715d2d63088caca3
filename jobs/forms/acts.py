"""The forms of what a person decides on a job: a higher cap, and what becomes of a batch that the provider gave no clear answer to."""

from __future__ import annotations

from decimal import Decimal

from django import forms

from jobs.forms.numbers import PointField

CONFIRM = "send again"
GIVE_UP = "give up"


class CapForm(forms.Form):
    """A higher cap of a job, in dollars."""

    cap_usd = PointField(
        min_value=Decimal("0.0001"),
        max_digits=12,
        decimal_places=4,
        label="New cap in dollars",
        error_messages={"required": "Enter a cap."},
    )


class AdoptForm(forms.Form):
    """The provider's batch that is ours: one that was found, or an id that was read in the provider's own console."""

    chosen = forms.CharField(max_length=200, required=False)
    other = forms.CharField(
        max_length=200,
        required=False,
        label="Id of the batch",
        help_text="As the provider's own console shows it. Empty where one above is chosen.",
    )

    @property
    def wanted(self) -> str:
        """The id that was typed, else the one that was chosen. Of a valid form."""
        return str(self.cleaned_data["other"] or self.cleaned_data["chosen"]).strip()


class AgainForm(forms.Form):
    """Sending a batch again on purpose: the risk is accepted by typing it."""

    confirm = forms.CharField(max_length=40, required=False, label=f"Type “{CONFIRM}” to accept the risk")

    def clean_confirm(self) -> str:
        return _typed(self.cleaned_data["confirm"], CONFIRM, "Nothing was sent.")


class GiveUpForm(forms.Form):
    """Giving a batch up on purpose: the risk is accepted by typing it."""

    confirm = forms.CharField(max_length=40, required=False, label=f"Type “{GIVE_UP}” to accept the risk")

    def clean_confirm(self) -> str:
        return _typed(self.cleaned_data["confirm"], GIVE_UP, "Nothing was changed.")


def _typed(text: str, wanted: str, else_: str) -> str:
    if text.strip().lower() != wanted:
        raise forms.ValidationError(f"Type “{wanted}” to accept the risk. {else_}")
    return wanted
