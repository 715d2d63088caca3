"""Addresses that only take a POST. A person comes to one by GET when a page that it answered is reloaded, or by Back or Enter."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect

View = Callable[..., HttpResponse]


def only_post(back: str, *names: str) -> Callable[[View], View]:
    """A GET does nothing but lead to the page `back`, whose address takes the arguments `names` of this one. Other methods get 405."""

    def dress(view: View) -> View:
        @wraps(view)
        def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method == "POST":
                return view(request, *args, **kwargs)
            if request.method in ("GET", "HEAD"):
                return redirect(back, **{name: kwargs[name] for name in names})
            return HttpResponseNotAllowed(["POST"])

        return wrapped

    return dress
