"""Numbers with decimals, typed as text: a number box of a browser drops the comma of "0,05" and sends 5."""

from __future__ import annotations

from typing import Any

from django import forms


class PointField(forms.DecimalField):
    """A decimal with a point; a comma is refused in words and never guessed about."""

    widget = forms.TextInput

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and "," in value:
            raise forms.ValidationError("Write it without a comma: decimals stand after a point, as in 0.05.")
        return super().to_python(value)

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        return {"inputmode": "decimal", "autocomplete": "off"}
