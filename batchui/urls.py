"""All addresses: the ground's own here, the product's in jobs/urls.py."""

from django.urls import include, path

from jobs.views import health, signin

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("sign-in/", signin.sign_in, name="signin"),
    path("sign-in/link/<str:token>/", signin.sign_in_by_link, name="signin-link"),
    path("sign-out/", signin.sign_out, name="signout"),
    path("password/", signin.set_password, name="password"),
    path("", include("jobs.urls")),
]

handler500 = "jobs.views.errors.server_error"
