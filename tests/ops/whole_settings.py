"""Settings of a whole installation that a test starts: the real ones, with static files served as they stand."""

from batchui.settings import *  # noqa: F403

STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}  # noqa: F405
