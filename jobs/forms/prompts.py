"""The prompt editor's form."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID

from django import forms

from jobs.engine.prompts import Content
from jobs.errors import BadInput, BadTemplate
from jobs.queries.prompts import KIND_LABELS, params_text
from jobs.rows.schema import check_schema
from jobs.rows.template import compile_template
from jobs.words import PromptKind

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_OWN = {"max_output_tokens": "It has a field of its own.", "cache_prefix": "It has a switch of its own."}
_MOST_TOKENS = 1_000_000


class PromptForm(forms.Form):
    """Name, templates, schema, parameters and a note. Texts keep their blanks; line ends become \\n, as browsers send \\r\\n."""

    name = forms.CharField(max_length=200, required=False)
    kind = forms.ChoiceField(choices=list(KIND_LABELS.items()), initial=PromptKind.GENERATE, widget=forms.RadioSelect)
    dataset = forms.TypedChoiceField(
        required=False, coerce=UUID, empty_value=None, help_text="Its columns and rows are shown while you write."
    )
    system = forms.CharField(required=False, strip=False, max_length=1_000_000, widget=forms.Textarea(attrs={"rows": 5}))
    user = forms.CharField(
        required=False, strip=False, max_length=1_000_000, label="User prompt", widget=forms.Textarea(attrs={"rows": 11})
    )
    schema = forms.CharField(
        required=False, max_length=200_000, label="JSON Schema of the answer", widget=forms.Textarea(attrs={"rows": 8})
    )
    max_output_tokens = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=_MOST_TOKENS,
        label="Most output tokens",
        help_text="An answer that reaches it is cut off, and paid for.",
    )
    params = forms.CharField(
        required=False,
        max_length=20_000,
        label="Other parameters",
        help_text="One a line, as the model's provider names them: temperature = 0, reasoning_effort = low.",
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "temperature = 0"}),
    )
    cache_prefix = forms.BooleanField(
        required=False, label="Cache the part that all rows share", help_text="Cheaper where many rows share a long system prompt."
    )
    note = forms.CharField(max_length=300, required=False, label="Note on this version")

    def __init__(self, *args: Any, new: bool = False, datasets: list[tuple[UUID, str]] = [], **kwargs: Any) -> None:  # noqa: B006 - only read
        super().__init__(*args, **kwargs)
        self.fields["dataset"].choices = [("", "No dataset"), *((str(key), name) for key, name in datasets)]  # type: ignore[attr-defined]
        self.fields["name"].required = new

    @staticmethod
    def initial_of(content: Content) -> dict[str, Any]:
        """The fields of a version, as the form shows them."""
        rest = {name: value for name, value in content.params.items() if name not in _OWN}
        return {
            "kind": content.kind,
            "system": content.system,
            "user": content.user,
            "schema": json.dumps(content.schema, ensure_ascii=False, indent=2) if content.schema is not None else "",
            "max_output_tokens": content.params.get("max_output_tokens"),
            "cache_prefix": bool(content.params.get("cache_prefix")),
            "params": params_text(rest),
        }

    def clean_system(self) -> str:
        return self._template("system")

    def clean_user(self) -> str:
        text = self._template("user")
        if not text.strip():
            raise forms.ValidationError("Write what is sent for each row.")
        return text

    def _template(self, name: str) -> str:
        text = lines_of(self.cleaned_data[name])
        try:
            compile_template(text)
        except BadTemplate as error:
            place = f"Line {error.line}: " if error.line else ""
            raise forms.ValidationError(f"{place}{error.message} {error.hint}".strip()) from error
        return text

    def clean_schema(self) -> dict[str, Any] | None:
        text = self.cleaned_data["schema"].strip()
        if not text:
            return None
        try:
            schema = json.loads(text)
            check_schema(schema)
        except json.JSONDecodeError as error:
            raise forms.ValidationError(f"Line {error.lineno}: this is not JSON ({error.msg}).") from error
        except RecursionError as error:
            raise forms.ValidationError("The schema is nested too deeply.") from error
        except BadInput as error:
            raise forms.ValidationError(str(error)) from error
        return dict(schema)

    def clean_params(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for n, line in enumerate(self.cleaned_data["params"].splitlines(), 1):
            if not line.strip():
                continue
            name, equals, text = (part.strip() for part in line.partition("="))
            if not equals or not _NAME.fullmatch(name):
                raise forms.ValidationError(f"Line {n}: write it as name = value.")
            if name in _OWN:
                raise forms.ValidationError(f"Line {n}: “{name}” does not stand here. {_OWN[name]}")
            if name in found:
                raise forms.ValidationError(f"Line {n}: “{name}” stands there twice.")
            found[name] = _value(text, n)
        return found

    def content(self) -> Content:
        """What the form holds, of a valid form. What is embedded or moderated has no system prompt, schema or output."""
        said = self.cleaned_data
        params = dict(said["params"])
        if said["kind"] != PromptKind.GENERATE:
            return Content(kind=said["kind"], user=said["user"], params=params)
        if said["max_output_tokens"]:
            params["max_output_tokens"] = said["max_output_tokens"]
        if said["cache_prefix"]:
            params["cache_prefix"] = True
        return Content(said["kind"], said["system"], said["user"], said["schema"], params)


def lines_of(text: str) -> str:
    """A textarea's text with the line ends that it was written with."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _value(text: str, line: int) -> Any:
    if text == "":
        raise forms.ValidationError(f"Line {line}: there is no value after the =.")
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        if text[0] in '{["':
            raise forms.ValidationError(f"Line {line}: the value is not whole JSON.") from None
        return text


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
