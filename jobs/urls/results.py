"""Addresses of a job and all below it."""

from django.urls import URLPattern, URLResolver, path

from jobs.views import failures, job, job_acts, results, retry

urlpatterns: list[URLPattern | URLResolver] = [
    path("jobs/<uuid:pk>/", job.job_detail, name="job-detail"),
    path("jobs/<uuid:pk>/batches/", job.job_batches, name="job-batches"),
    path("jobs/<uuid:pk>/timeline/", job.job_timeline, name="job-timeline"),
    path("jobs/<uuid:pk>/cancel/", job.job_cancel, name="job-cancel"),
    path("jobs/<uuid:pk>/rescue/", job_acts.job_rescue, name="job-rescue"),
    path("jobs/<uuid:pk>/cap/", job_acts.job_cap, name="job-cap"),
    path("jobs/<uuid:pk>/approve/", job_acts.job_approve, name="job-approve"),
    path("jobs/<uuid:pk>/batches/<uuid:batch_pk>/decide/", job_acts.batch_decide, name="job-decide"),
    path("jobs/<uuid:pk>/batches/<uuid:batch_pk>/give-up/", job_acts.batch_give_up, name="job-give-up"),
    path("jobs/<uuid:pk>/failures/", failures.job_failures, name="job-failures"),
    path("jobs/<uuid:pk>/retry/", retry.job_retry, name="job-retry"),
    path("jobs/<uuid:pk>/rows/", results.job_rows, name="job-rows"),
    path("jobs/<uuid:pk>/rows/charts/", results.job_charts, name="job-charts"),
    path("jobs/<uuid:pk>/rows/<int:number>/", results.job_row, name="job-row"),
    path("jobs/<uuid:pk>/rows/<int:number>/prompt/", results.job_row_prompt, name="job-row-prompt"),
    path("jobs/<uuid:pk>/download/<slug:kind>/", results.job_download, name="job-download"),
]
