"""Settings of the tests: the real ones, on a folder of their own, with quick hashing."""

import os
import tempfile
from pathlib import Path

# The folder is made before the settings are read, and one per process, so that parallel runs do not meet.
_memory = Path("/dev/shm")
_folder = tempfile.mkdtemp(prefix="batchui-test-", dir=_memory if os.access(_memory, os.W_OK) else None)
os.environ["BATCHUI_DATA"] = _folder
for _name in ("BATCHUI_PRODUCTION", "BATCHUI_DEBUG", "BATCHUI_HOSTS", "BATCHUI_SEAL_KEYS", "SECRET_KEY", "REDIS_URL", "DATABASE_URL"):
    os.environ.pop(_name, None)
if "TEST_DATABASE_URL" in os.environ:
    os.environ["DATABASE_URL"] = os.environ["TEST_DATABASE_URL"]

from batchui.settings import *  # noqa: E402, F403
from batchui.settings import DATABASES, SQLITE_OPTIONS, STORAGES  # noqa: E402

TEST_FOLDER = _folder
ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {"NAME": os.path.join(_folder, "test.sqlite3")}
    DATABASES["default"]["OPTIONS"] = {**SQLITE_OPTIONS, "init_command": SQLITE_OPTIONS["init_command"].replace("NORMAL", "OFF")}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
NUDGE = False  # a test drives the steps itself
