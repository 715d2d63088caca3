"""Addresses of connections."""

from django.urls import URLPattern, URLResolver, path

from jobs.views import connections as views

urlpatterns: list[URLPattern | URLResolver] = [
    path("connections/", views.connection_list, name="connection-list"),
    path("connections/new/", views.connection_new, name="connection-new"),
    path("connections/<uuid:pk>/", views.connection_edit, name="connection-edit"),
    path("connections/<uuid:pk>/test/", views.connection_test, name="connection-test"),
    path("connections/<uuid:pk>/remove/", views.connection_remove, name="connection-remove"),
]
