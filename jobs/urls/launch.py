"""Addresses of launch: a step each, over the draft's id."""

from django.urls import URLPattern, URLResolver, path

from jobs.views import launch, launch_try

urlpatterns: list[URLPattern | URLResolver] = [
    path("launch/", launch.new, name="launch-new"),
    path("launch/like/<uuid:pk>/", launch.like, name="launch-like"),
    path("launch/<uuid:pk>/", launch.resume, name="launch"),
    path("launch/<uuid:pk>/data/", launch.data, name="launch-data"),
    path("launch/<uuid:pk>/prompt/", launch.prompt, name="launch-prompt"),
    path("launch/<uuid:pk>/model/", launch.model, name="launch-model"),
    path("launch/<uuid:pk>/try/", launch_try.try_rows, name="launch-try"),
    path("launch/<uuid:pk>/review/", launch.review, name="launch-review"),
    path("launch/<uuid:pk>/fixed-first/", launch.fixed_first, name="launch-fixed-first"),
    path("launch/<uuid:pk>/go/", launch.go, name="launch-go"),
    path("launch/<uuid:pk>/discard/", launch.discard, name="launch-discard"),
]
