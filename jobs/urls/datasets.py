"""Addresses of datasets."""

from django.urls import URLPattern, URLResolver, path

from jobs.views import datasets

urlpatterns: list[URLPattern | URLResolver] = [
    path("datasets/", datasets.dataset_list, name="dataset-list"),
    path("datasets/upload/", datasets.dataset_upload, name="dataset-upload"),
    path("datasets/uploads/<uuid:pk>/", datasets.upload_detail, name="upload-detail"),
    path("datasets/versions/<uuid:pk>/file/", datasets.dataset_file, name="dataset-file"),
    path("datasets/<uuid:pk>/", datasets.dataset_detail, name="dataset-detail"),
    path("datasets/<uuid:pk>/reading/", datasets.dataset_reading, name="dataset-reading"),
    path("datasets/<uuid:pk>/settings/", datasets.dataset_settings, name="dataset-settings"),
    path("datasets/<uuid:pk>/archive/", datasets.dataset_archive, name="dataset-archive"),
]
