"""Forms of datasets, and the upload handler that streams a file of any size to disk."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadhandler import StopUpload, TemporaryFileUploadHandler
from django.http import HttpRequest

from jobs.engine.ingest import has_room
from jobs.errors import BadInput
from jobs.queries.datasets import reading_choices
from jobs.rows.reading import Reading

ACCEPT = ".csv,.tsv,.txt,.json,.jsonl,.ndjson,.parquet,.xlsx,.gz,.zst"
_CHOICES = reading_choices()
_KINDS = [("csv", "CSV or TSV"), ("json", "JSON array"), ("jsonl", "JSON lines"), ("parquet", "Parquet"), ("xlsx", "Excel")]
_QUOTES = [('"', 'Double quotes "…"'), ("'", "Single quotes '…'"), ("", "None")]


class LimitedUpload(TemporaryFileUploadHandler):
    """Writes to a file beside our own; stops, and drops what it wrote, at the largest size taken or when the disk is nearly full."""

    too_large = False
    no_room = False

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if start + len(raw_data) > settings.MAX_UPLOAD_BYTES:
            self.too_large = True
            raise StopUpload(connection_reset=False)  # the rest is read and thrown away, so that the browser hears the answer
        if not has_room(len(raw_data)):
            self.no_room = True
            raise StopUpload(connection_reset=False)
        super().receive_data_chunk(raw_data, start)


def limit_upload(request: HttpRequest) -> LimitedUpload:
    """Have the body of this request taken by a LimitedUpload. Before anything looks at `request.POST`."""
    handler = LimitedUpload(request)
    request.upload_handlers = [handler]
    return handler


class TextForm(forms.Form):
    """How a text file is read, where the guess is not trusted."""

    encoding = forms.ChoiceField(choices=_CHOICES["encoding"], initial="utf-8")
    delimiter = forms.ChoiceField(choices=_CHOICES["delimiter"], label="Between the cells", initial=",")
    quote = forms.ChoiceField(choices=_QUOTES, label="Around cells", required=False, initial='"')
    header = forms.BooleanField(required=False, label="Line 1 holds the names of the columns", initial=True)

    def clean_delimiter(self) -> str:
        return "\t" if self.cleaned_data["delimiter"] == "\\t" else str(self.cleaned_data["delimiter"])


class UploadForm(TextForm):
    """A file, the dataset that it goes to, and, if the person says so, how it is read."""

    file = forms.FileField(
        allow_empty_file=True, error_messages={"required": "Choose a file first.", "missing": "Choose a file first."}, max_length=1000
    )
    name = forms.CharField(
        max_length=200,
        required=False,
        label="Name of the dataset",
        help_text="Left empty, it is the file's name. With the name of a dataset that exists, the upload becomes its next version.",
    )
    own = forms.BooleanField(required=False, label="I know how it is read: it is CSV, and")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("encoding", "delimiter"):
            self.fields[name].required = False

    def reading(self) -> dict[str, Any] | None:
        """What the person said of the file; None: guess."""
        said = self.cleaned_data
        if not said.get("own"):
            return None
        ending = str(said["file"].name).lower().rpartition(".")[2]
        return Reading(
            kind="csv",
            compression={"gz": "gz", "zst": "zst"}.get(ending, ""),
            encoding=said["encoding"] or "utf-8",
            delimiter=said["delimiter"] or ",",
            quote=said["quote"],
            header=said["header"],
        ).to_dict()


class ReadingForm(TextForm):
    """Correct how a version was read."""

    kind = forms.ChoiceField(choices=_KINDS, label="Kind of file")
    skip = forms.IntegerField(min_value=0, max_value=1000, required=False, initial=0, label="Lines above the header that are not read")
    sheet = forms.CharField(max_length=100, required=False, label="Sheet", help_text="Its name in the workbook; left empty, the first one.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("encoding", "delimiter"):
            self.fields[name].required = False
        self.fields["header"].label = "The first line that is read holds the names of the columns"

    @staticmethod
    def initial_of(reading: dict[str, Any]) -> dict[str, Any]:
        """The fields of a reading, as the form shows them."""
        return {**reading, "delimiter": {"\t": "\\t", "": ","}.get(reading["delimiter"], reading["delimiter"])}

    def reading(self, before: dict[str, Any]) -> Reading:
        """The reading that the form says; what it does not ask for stays as it was."""
        said = self.cleaned_data
        kind = said["kind"]
        text = kind in ("csv", "json", "jsonl")
        return Reading(
            kind=kind,
            compression=before.get("compression", ""),
            encoding=(said["encoding"] or "utf-8") if text else "",
            delimiter=(said["delimiter"] or ",") if kind == "csv" else "",
            quote=said["quote"] if kind == "csv" else '"',
            header=said["header"] if kind in ("csv", "xlsx") else True,
            sheet=said["sheet"].strip() if kind == "xlsx" else "",
            skip=(said["skip"] or 0) if kind in ("csv", "xlsx") else 0,
        )


class NameForm(forms.Form):
    """Another name for something."""

    name = forms.CharField(max_length=200)


def add_problem(form: forms.Form, error: BadInput, field: str | None = None) -> None:
    """Show what an engine call refused beside the form."""
    form.add_error(field, f"{error.message} {error.hint}".strip())
