"""Addresses of the site that pictures and browser tests look at: the real ones, and the two pages that no address shows on purpose."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.csrf import csrf_failure

from batchui.urls import *  # noqa: F403
from batchui.urls import urlpatterns as real


def broken(request: HttpRequest) -> HttpResponse:
    """An error of ours, for the page that it gives."""
    raise RuntimeError("made on purpose, for the page that it gives")


urlpatterns = [*real, path("broken/500/", broken), path("broken/csrf/", csrf_failure)]
