"""The product's addresses, a module a room."""

from jobs.urls import connections, costs, datasets, home, jobs, launch, prompts, reports, results, style, workspace

urlpatterns = [
    *home.urlpatterns,
    *datasets.urlpatterns,
    *prompts.urlpatterns,
    *launch.urlpatterns,
    *jobs.urlpatterns,
    *results.urlpatterns,
    *costs.urlpatterns,
    *reports.urlpatterns,
    *connections.urlpatterns,
    *workspace.urlpatterns,
    *style.urlpatterns,
]
