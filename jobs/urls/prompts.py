"""Addresses of prompts."""

from django.urls import URLPattern, URLResolver, path

from jobs.views import prompts

urlpatterns: list[URLPattern | URLResolver] = [
    path("prompts/", prompts.prompt_list, name="prompt-list"),
    path("prompts/new/", prompts.prompt_new, name="prompt-new"),
    path("prompts/<uuid:pk>/", prompts.prompt_detail, name="prompt-detail"),
    path("prompts/<uuid:pk>/edit/", prompts.prompt_edit, name="prompt-edit"),
    path("prompts/<uuid:pk>/compare/", prompts.prompt_compare, name="prompt-compare"),
    path("prompts/<uuid:pk>/settings/", prompts.prompt_settings, name="prompt-settings"),
    path("prompts/<uuid:pk>/archive/", prompts.prompt_archive, name="prompt-archive"),
]
