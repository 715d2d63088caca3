"""The page for what broke: it must not need anything that may be broken too."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseServerError
from django.template import loader


def server_error(request: HttpRequest) -> HttpResponseServerError:
    """Names the request, so that its line is found in the log."""
    page = {"request_id": getattr(request, "id", "")}
    return HttpResponseServerError(loader.get_template("500.html").render(page))
