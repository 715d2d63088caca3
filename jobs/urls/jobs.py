"""Addresses of jobs."""

from django.urls import URLPattern, URLResolver, path

from jobs.views import job_list

urlpatterns: list[URLPattern | URLResolver] = [path("jobs/", job_list.job_list, name="job-list")]
