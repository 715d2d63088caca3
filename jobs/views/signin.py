"""Signing in: by password, or by the one-time link that `make run` prints; setting a password; signing out."""

from __future__ import annotations

import ipaddress
from typing import Any

from django.contrib import messages
from django.contrib.auth import authenticate, get_user_model, login, logout, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm, SetPasswordForm
from django.contrib.auth.views import RedirectURLMixin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods

from batchui import link
from jobs.views.posting import only_post

LINK_REFUSED = "That link was used already, is too old, or was opened on another machine. Start batchui again for a new one."
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


def _next(request: HttpRequest) -> str:
    """Where to go afterwards: what was asked for if it is ours, else the start page."""
    mixin = RedirectURLMixin()
    mixin.request = request  # type: ignore[attr-defined]
    return mixin.get_redirect_url() or "/"


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """The password form. One message for a wrong name and a wrong password alike."""
    if request.method == "GET" and request.user.is_authenticated:
        return redirect(_next(request))
    form = AuthenticationForm(request, data=request.POST or None)
    if request.method == "POST" and form.is_valid():
        login(request, form.get_user())
        return redirect(_next(request))
    page = {"form": form, "next": _next(request), "title": "Sign in"}
    return render(request, "jobs/signin.html", page, status=422 if request.method == "POST" else 200)


@never_cache
@require_GET
def sign_in_by_link(request: HttpRequest, token: str) -> HttpResponse:
    """Sign in whoever follows a fresh link on this very machine; a link works once."""
    user_id = link.use(token) if _is_local(request) else None
    user = get_user_model().objects.filter(pk=user_id, is_active=True).first() if user_id is not None else None
    if user is None:
        messages.error(request, LINK_REFUSED)
        return redirect("signin")
    login(request, user, backend=MODEL_BACKEND)
    return redirect("/")


@only_post("home")
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    return redirect("signin")


@never_cache
@sensitive_post_parameters()
@login_required
@require_http_methods(["GET", "POST"])
def set_password(request: HttpRequest) -> HttpResponse:
    """Choose a password. One that exists must be given first, so that an open screen is not enough to take an account over."""
    user: Any = request.user
    known = user.has_usable_password()
    form = SetPasswordForm(user, data=request.POST or None)
    wrong_old = False
    if request.method == "POST":
        wrong_old = known and authenticate(request, username=user.get_username(), password=request.POST.get("old_password", "")) is None
        if form.is_valid() and not wrong_old:
            form.save()
            update_session_auth_hash(request, user)
            messages.success(request, "Your password is set. Sign in with it from now on.")
            return redirect("/")
    page = {"form": form, "known": known, "wrong_old": wrong_old, "title": "Set a password"}
    return render(request, "jobs/password.html", page, status=422 if request.method == "POST" else 200)


def locked_out(request: HttpRequest, *_args: object, **_kwargs: object) -> HttpResponse:
    """What axes shows after too many tries."""
    page = {"form": AuthenticationForm(request), "title": "Sign in", "locked": True}
    return render(request, "jobs/signin.html", page, status=429)


def _is_local(request: HttpRequest) -> bool:
    """Whether the request came from this machine and through no proxy."""
    if "HTTP_X_FORWARDED_FOR" in request.META or "HTTP_FORWARDED" in request.META:
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
