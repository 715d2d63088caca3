"""Settings of the processes that the cluster's tests start: the real ones with a pump and beat of the tests' own."""

from batchui.settings import *  # noqa: F403

PUMP = "tests.ops.machine.pump"
BEAT_TASK = "tests.ops.machine.beat"
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}  # noqa: F405
