"""Settings of the tests: the real ones, on a folder of their own, with quick hashing.

`TEST_DATABASE=postgres` runs the tests on a PostgreSQL cluster that is started for them and thrown away; `TEST_DATABASE_URL` on one
that is there already.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests.servers import NotHere, Postgres

# The folder is made before the settings are read, and one per process, so that parallel runs do not meet.
_memory = Path("/dev/shm")
_folder = tempfile.mkdtemp(prefix="batchui-test-", dir=_memory if os.access(_memory, os.W_OK) else None)
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
os.environ["BATCHUI_DATA"] = _folder
for _name in ("BATCHUI_PRODUCTION", "BATCHUI_DEBUG", "BATCHUI_HOSTS", "BATCHUI_SEAL_KEYS", "SECRET_KEY", "REDIS_URL", "DATABASE_URL"):
    os.environ.pop(_name, None)
NO_POSTGRES = "the tests run on SQLite; TEST_DATABASE=postgres runs them on PostgreSQL"  # the reason of the skip; "" where there is one
_url = os.environ.get("TEST_DATABASE_URL", "")
if not _url and os.environ.get("TEST_DATABASE") == "postgres":
    try:
        _server = Postgres()
        atexit.register(_server.stop)
        _url = _server.url()
    except NotHere as _error:
        NO_POSTGRES = str(_error)
if _url:
    os.environ["DATABASE_URL"] = _url

from batchui.settings import *  # noqa: E402, F403
from batchui.settings import DATABASES, SQLITE_OPTIONS, STORAGES  # noqa: E402

# The processes that tests start choose their own.
os.environ.pop("DATABASE_URL", None)
TEST_FOLDER = _folder
ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {"NAME": os.path.join(_folder, "test.sqlite3")}
    DATABASES["default"]["OPTIONS"] = {**SQLITE_OPTIONS, "init_command": SQLITE_OPTIONS["init_command"].replace("NORMAL", "OFF")}
else:
    NO_POSTGRES = ""
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
NUDGE = False  # a test drives the steps itself
