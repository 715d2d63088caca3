"""Addresses of connections."""

from django.urls import URLPattern, URLResolver, path

from jobs.views import connections as views
from jobs.views import orphans

urlpatterns: list[URLPattern | URLResolver] = [
    path("connections/", views.connection_list, name="connection-list"),
    path("connections/new/", views.connection_new, name="connection-new"),
    path("connections/<uuid:pk>/", views.connection_edit, name="connection-edit"),
    path("connections/<uuid:pk>/test/", views.connection_test, name="connection-test"),
    path("connections/<uuid:pk>/orphans/look/", orphans.orphans_look, name="connection-orphans-look"),
    path("connections/<uuid:pk>/orphans/cancel/", orphans.orphan_cancel, name="connection-orphan-cancel"),
    path("connections/<uuid:pk>/orphans/ignore/", orphans.orphan_ignore, name="connection-orphan-ignore"),
    path("connections/<uuid:pk>/remove/", views.connection_remove, name="connection-remove"),
]
