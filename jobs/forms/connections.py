"""The form of a connection. The key is write-only: it is never printed into the form again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.models import User
from django.views.decorators.debug import sensitive_variables

from jobs.engine.connections import save_connection
from jobs.errors import BadInput
from jobs.models import Connection, Workspace
from jobs.providers.http import check_base_url
from jobs.providers.registry import limits_of
from jobs.words import ProviderKind

KIND_HELP = {
    ProviderKind.OPENAI: "api.openai.com, or a gateway that speaks all of its API",
    ProviderKind.ANTHROPIC: "api.anthropic.com, or a gateway that speaks its API",
    ProviderKind.OPENAI_COMPATIBLE: "vLLM, llama.cpp, Ollama and any server with /v1/chat/completions",
}
LIMITS = {
    "requests_per_batch": ("Requests per batch", "Rows in one file. A larger job is cut into several batches."),
    "bytes_per_batch": ("Bytes per batch", "Size of one request file."),
    "enqueued_tokens": ("Enqueued tokens", "Prompt tokens that may wait at the provider at one time, for each model."),
    "creates_per_minute": ("Creates per minute", "How often a new batch may be handed over."),
    "concurrency": ("Calls at one time", "For real time and flex; batches do not use it."),
    "requests_per_minute": ("Requests per minute", "For real time and flex."),
    "tokens_per_minute": ("Tokens per minute", "For real time and flex."),
}


class ConnectionForm(forms.Form):
    """Adds a connection, or changes `connection`."""

    name = forms.CharField(max_length=80, help_text="How your team finds it, for example “OpenAI, research budget”.")
    kind = forms.ChoiceField(
        choices=[(kind.value, kind.label) for kind in ProviderKind], widget=forms.RadioSelect, label="Speaks the API of"
    )
    base_url = forms.CharField(max_length=500, required=False, label="Base URL", help_text="Leave empty for the provider's own address.")
    key = forms.CharField(
        max_length=500,
        required=False,
        strip=True,
        label="API key",
        widget=forms.PasswordInput(
            render_value=False, attrs={"autocomplete": "off", "spellcheck": "false", "data-1p-ignore": "", "class": "mono"}
        ),
    )
    delete_remote_files = forms.BooleanField(required=False, label="Delete our files at the provider once their results are safely here")

    def __init__(self, *args: Any, workspace: Workspace, connection: Connection | None = None, **kwargs: Any) -> None:
        self.workspace, self.connection = workspace, connection
        if connection is not None:
            kwargs["initial"] = {
                "name": connection.name,
                "kind": connection.kind,
                "base_url": connection.base_url,
                "delete_remote_files": connection.delete_remote_files,
                **{f"limit_{name}": connection.limits.get(name) for name in LIMITS},
            }
        else:
            kwargs.setdefault("initial", {"kind": ProviderKind.OPENAI})
        super().__init__(*args, **kwargs)
        if connection is not None and connection.key_hint:
            self.fields["key"].help_text = f"{connection.key_hint} is kept, and shown to nobody. Enter another to replace it."
        else:
            self.fields["key"].help_text = "Kept sealed, and shown to nobody again, not even to you."
        self._add_limits()

    def _add_limits(self) -> None:
        kind = self.connection.kind if self.connection else ProviderKind.OPENAI
        usual = asdict(limits_of(kind)) if self.connection else {}
        for name, (label, text) in LIMITS.items():
            attrs = {}
            if self.connection:
                attrs["placeholder"] = f"{usual[name]:,}" if usual[name] else "No limit known"
            self.fields[f"limit_{name}"] = forms.IntegerField(
                min_value=1, max_value=10**15, required=False, label=label, help_text=text, widget=forms.NumberInput(attrs=attrs)
            )

    @property
    def limit_fields(self) -> list[forms.BoundField]:
        return [self[f"limit_{name}"] for name in LIMITS]

    @property
    def limits_are_set(self) -> bool:
        return any(field.value() for field in self.limit_fields) or any(field.errors for field in self.limit_fields)

    @property
    def kinds(self) -> list[dict[str, str]]:
        """The choices of `kind` as cards."""
        now = self["kind"].value()
        return [{"value": k.value, "label": k.label, "help": KIND_HELP[k], "checked": "1" if now == k.value else ""} for k in ProviderKind]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip()
        others = Connection.objects.filter(workspace=self.workspace, name=name)
        if self.connection is not None:
            others = others.exclude(pk=self.connection.pk)
        if others.exists():
            raise forms.ValidationError(f"There is a connection “{name}” already. Choose another name.")
        return name

    def clean_base_url(self) -> str:
        url: str = self.cleaned_data["base_url"].strip().rstrip("/")
        own = self.connection is not None and self.connection.is_sandbox and url == self.connection.base_url
        if url and not own:
            try:
                check_base_url(url, settings.ALLOW_PRIVATE_HOSTS)
            except BadInput as problem:
                raise forms.ValidationError(str(problem)) from problem
        return url

    @sensitive_variables("key", "data")
    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        key, url, kind = data.get("key", ""), data.get("base_url"), data.get("kind")
        if kind == ProviderKind.OPENAI_COMPATIBLE and url == "":
            self.add_error("base_url", "Such a server has no address of its own. Enter its base URL; it usually ends in /v1.")
        if self.connection is None and not key and "key" not in self.errors:
            self.add_error("key", "Enter the API key. A server that asks for none takes any word, such as “none”.")
        elif (
            self.connection is not None and not key and url is not None and (url, kind) != (self.connection.base_url, self.connection.kind)
        ):
            self.add_error("key", "The address changed, so the key must be entered again: it must not follow to where nobody sent it.")
        return data

    @sensitive_variables()
    def save(self, user: User) -> Connection:
        """Raises BadInput."""
        data = self.cleaned_data
        connection, _ = save_connection(
            self.workspace,
            user,
            name=data["name"],
            kind=data["kind"],
            base_url=data["base_url"],
            key=data["key"],
            limits={name: data[f"limit_{name}"] for name in LIMITS},
            delete_remote_files=data["delete_remote_files"],
            connection=self.connection,
        )
        return connection
