"""Addresses of costs."""

from django.urls import URLPattern, URLResolver, path

from jobs.views import costs, receipt

urlpatterns: list[URLPattern | URLResolver] = [
    path("costs/", costs.costs, name="costs"),
    path("costs.csv", costs.costs_csv, name="costs-csv"),
    path("jobs/<uuid:pk>/receipt/", receipt.job_receipt, name="job-receipt"),
    path("jobs/<uuid:pk>/receipt.json", receipt.receipt_json, name="job-receipt-json"),
    path("jobs/<uuid:pk>/receipt.csv", receipt.receipt_csv, name="job-receipt-csv"),
]
