"""Addresses of reports: quality, comparison of jobs, and whether something should be batch."""

from django.urls import URLPattern, URLResolver, path

from jobs.views import advice, compare, reports

urlpatterns: list[URLPattern | URLResolver] = [
    path("compare/", compare.compare, name="compare"),
    path("costs/quality/", reports.quality, name="report-quality"),
    path("costs/quality.csv", reports.quality_csv, name="report-quality-csv"),
    path("costs/batch-or-not/", advice.advice, name="batch-advice"),
]
