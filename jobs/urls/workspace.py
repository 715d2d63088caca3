"""Addresses of the workspace."""

from django.urls import URLPattern, URLResolver, path

from jobs.views import workspace as views

urlpatterns: list[URLPattern | URLResolver] = [
    path("workspace/", views.workspace_detail, name="workspace-detail"),
    path("workspace/settings/", views.workspace_settings, name="workspace-settings"),
    path("workspace/save/", views.workspace_save, name="workspace-save"),
    path("workspace/new/", views.workspace_new, name="workspace-new"),
    path("workspace/switch/", views.workspace_switch, name="workspace-switch"),
    path("workspace/zone/", views.workspace_zone, name="workspace-zone"),
    path("workspace/log/", views.workspace_log, name="workspace-log"),
    path("workspace/members/", views.member_add, name="member-add"),
    path("workspace/members/<int:pk>/role/", views.member_role, name="member-role"),
    path("workspace/members/<int:pk>/remove/", views.member_remove, name="member-remove"),
    path("workspace/members/<int:pk>/link/", views.member_link, name="member-link"),
    path("workspace/prices/", views.price_list, name="price-list"),
    path("workspace/prices/save/", views.price_save, name="price-save"),
    path("workspace/prices/<int:pk>/remove/", views.price_remove, name="price-remove"),
    path("join/<str:uid>/<str:token>/", views.join, name="workspace-join"),
]
