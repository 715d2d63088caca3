"""Addresses of home."""

from django.urls import URLPattern, URLResolver, path

from jobs.views import home

urlpatterns: list[URLPattern | URLResolver] = [
    path("", home.home, name="home"),
    path("sample/", home.sample, name="launch-sample"),
]
