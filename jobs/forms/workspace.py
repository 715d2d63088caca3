"""Forms of the workspace: members, its name and cap, prices, a person's time zone."""

from __future__ import annotations

import zoneinfo
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.auth.models import User

from jobs.engine.members import add_member, change_workspace
from jobs.engine.prices import save_price
from jobs.forms.numbers import PointField
from jobs.models import Membership, PriceOverride, Workspace
from jobs.words import TOKEN_KINDS, ProviderKind, Role

ROLES = [(role.value, role.label) for role in Role]
ROLE_MEANING = {
    Role.VIEWER: "reads everything, changes nothing",
    Role.ANALYST: "uploads, writes prompts, launches, retries and cancels",
    Role.ADMIN: "all of that, and connections, prices, members and the cap",
}
_DISCOUNTS = ("batch_discount", "flex_discount")


class MemberForm(forms.Form):
    username = forms.CharField(
        max_length=150, label="Name", widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none"})
    )
    role = forms.ChoiceField(choices=ROLES, initial=Role.ANALYST)

    def save(self, workspace: Workspace, user: User) -> tuple[Membership, str]:
        """The membership, and a join link for who is new. Raises BadInput."""
        return add_member(workspace, user, self.cleaned_data["username"], Role(self.cleaned_data["role"]))


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=ROLES)


class WorkspaceForm(forms.Form):
    name = forms.CharField(max_length=120)
    monthly_cap_usd = PointField(
        min_value=Decimal(0),
        max_digits=12,
        decimal_places=2,
        required=False,
        label="Monthly cap, $",
        help_text="What all jobs together may cost in a calendar month. Empty: no cap.",
    )

    def save(self, workspace: Workspace, user: User) -> None:
        """Raises BadInput."""
        change_workspace(workspace, user, name=self.cleaned_data["name"], monthly_cap_usd=self.cleaned_data["monthly_cap_usd"])


class NewWorkspaceForm(forms.Form):
    name = forms.CharField(max_length=120, help_text="A team or a budget. It starts empty: its own connections, datasets and members.")


class ZoneForm(forms.Form):
    zone = forms.ChoiceField(required=False, label="Time zone", help_text="For times on every page, in this browser.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = sorted(name for name in zoneinfo.available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/")))
        choices = [("", "As this browser says"), ("UTC", "UTC"), *((name, name.replace("_", " ")) for name in names)]
        field = self.fields["zone"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices


def _price_field(label: str, required: bool) -> PointField:
    return PointField(min_value=Decimal(0), max_digits=14, decimal_places=6, required=required, label=label)


class PriceForm(forms.Form):
    """Dollars per million tokens in real time, and what batch and flex take off, in percent."""

    kind = forms.ChoiceField(choices=[(kind.value, kind.label) for kind in ProviderKind], label="Provider")
    model = forms.CharField(max_length=200, help_text="As the provider names it; * for every model of that kind.")
    input = _price_field("Input", False)
    output = _price_field("Output", False)
    cached = _price_field("Cached input", False)
    cache_write = _price_field("Cache write", False)
    cache_write_1h = _price_field("Cache write, 1 h", False)
    batch_discount = PointField(
        min_value=Decimal(0), max_value=Decimal(100), max_digits=5, decimal_places=2, required=False, label="Batch discount, %"
    )
    flex_discount = PointField(
        min_value=Decimal(0), max_value=Decimal(100), max_digits=5, decimal_places=2, required=False, label="Flex discount, %"
    )
    per_hour = _price_field("An hour of the server, $", False)
    note = forms.CharField(max_length=300, required=False, help_text="Where the price comes from: a contract, a page, a date.")

    @classmethod
    def of(cls, price: PriceOverride) -> PriceForm:
        """The form with an entered price to change."""
        known = {kind: price.prices.get(kind) for kind in (*TOKEN_KINDS, "per_hour")}
        shares = {name: Decimal(price.prices[name]) * 100 for name in _DISCOUNTS if price.prices.get(name) is not None}
        plain = {name: format(share.normalize(), "f") for name, share in shares.items()}
        return cls(initial={"kind": price.kind, "model": price.model, "note": price.note, **known, **plain})

    @property
    def price_fields(self) -> list[forms.BoundField]:
        return [self[kind] for kind in ("input", "output", "cached", "cache_write", "cache_write_1h")]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("per_hour") is None:
            for name in ("input", "output"):
                if name not in self.errors and data.get(name) is None:
                    self.add_error(name, "Enter a price; 0 where it is free. Only a price by the hour can stand without it.")
        return data

    def save(self, workspace: Workspace, user: User) -> PriceOverride:
        """Raises BadInput."""
        data = self.cleaned_data
        prices = {kind: format(data[kind], "f") for kind in (*TOKEN_KINDS, "per_hour") if data[kind] is not None}
        prices |= {name: format(data[name] / 100, "f") for name in _DISCOUNTS if data[name] is not None}
        return save_price(workspace, user, kind=data["kind"], model=data["model"], prices=prices, note=data["note"])
