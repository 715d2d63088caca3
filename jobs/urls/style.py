"""Addresses of the style guide."""

from django.urls import URLPattern, URLResolver, path

from jobs.views import styleguide

urlpatterns: list[URLPattern | URLResolver] = [
    path("styleguide/", styleguide.styleguide, name="styleguide"),
    path("theme/", styleguide.theme, name="theme"),
]
