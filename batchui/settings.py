"""Settings, all by environment. The defaults run batchui on one machine, reachable from that machine alone."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from batchui import logs
from batchui.keyfiles import read_or_make

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"

# -- Where and how -------------------------------------------------------------------------------------------------
PRODUCTION = env.bool("BATCHUI_PRODUCTION", False)
DEBUG = env.bool("BATCHUI_DEBUG", False)
TLS = env.bool("BATCHUI_TLS", PRODUCTION)
DATA = Path(env.str("BATCHUI_DATA", str(BASE_DIR / "data"))).resolve()
DATA.mkdir(parents=True, exist_ok=True, mode=0o700)
ALLOWED_HOSTS = env.list("BATCHUI_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("BATCHUI_TRUSTED_ORIGINS", default=[])
# Whether connections may point at loopback and private addresses, as the sandbox and self-hosted models need.
ALLOW_PRIVATE_HOSTS = env.bool("BATCHUI_ALLOW_PRIVATE_HOSTS", not PRODUCTION)

# -- Secrets -------------------------------------------------------------------------------------------------------
SECRET_KEY = env.str("SECRET_KEY", "") or read_or_make(DATA / "secret.key")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
SEAL_KEYS: list[str] = env.list("BATCHUI_SEAL_KEYS", default=[])
if PRODUCTION and (len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 10 or SECRET_KEY.startswith("django-insecure-")):
    raise ImproperlyConfigured("SECRET_KEY is too weak: use at least 50 random characters, or unset it and batchui makes one.")
if PRODUCTION and DEBUG:
    raise ImproperlyConfigured("BATCHUI_DEBUG shows settings and code to visitors; it cannot be on in production.")

# -- Applications --------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "django_q",
    "axes",
    "csp",
    "ninja",
    "jobs",
]
MIDDLEWARE = [
    "batchui.middleware.request_id",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "batchui.middleware.headers",
    "jobs.views.live.middleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "batchui.middleware.session_limits",
    "batchui.middleware.person_zone",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "batchui.urls"
WSGI_APPLICATION = "batchui.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "batchui.context.page",
                "jobs.views.context.frame",
            ],
        },
    }
]

# -- Database ------------------------------------------------------------------------------------------------------
# WAL with IMMEDIATE and a busy timeout is what keeps SQLite's writers from failing (STACK section 2). FULL, because a commit that a
# power cut takes back could be the mark of a create: the ledger has few writes, so each may wait for the disk.
SQLITE_OPTIONS: dict[str, Any] = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=20000; PRAGMA foreign_keys=ON;",
}
DATABASES: dict[str, dict[str, Any]] = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{DATA / 'batchui.sqlite3'}")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = SQLITE_OPTIONS
else:
    # Kept connections, never a pool: psycopg's pool breaks in the cluster's forked workers.
    DATABASES["default"].update(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True)
    # A host that loses its network in the middle of a transaction would hold its locks for hours, until TCP gives it up. No transaction
    # of ours waits for anything but the database, so one that is silent for as long as a lease lives belongs to nobody any more.
    SILENT_MS = int(1000 * max(10.0, env.float("BATCHUI_LEASE_SECONDS", 45.0)))
    _given = DATABASES["default"].get("OPTIONS", {})
    _alive = {"connect_timeout": 10, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
    _quiet = f"{_given.get('options', '')} -c idle_in_transaction_session_timeout={SILENT_MS} -c tcp_keepalives_idle=15".strip()
    DATABASES["default"]["OPTIONS"] = {**_alive, **_given, "options": _quiet}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# -- Queue: hints only; the ledger is the truth and does the retrying ---------------------------------------------------
WORKERS = env.int("BATCHUI_WORKERS", max(2, min(4, os.cpu_count() or 2)))
Q_CLUSTER: dict[str, Any] = {
    "name": "batchui",  # also the salt of queued tasks: a change drops them
    "workers": WORKERS,
    # More than the longest call (15 minutes: a download, a call of the flex lane), which must end by itself: what a worker is killed in
    # may have been charged. The lease, not the queue, says who works.
    "timeout": 1200,
    "retry": 4500,
    "max_attempts": 1,
    "ack_failures": True,
    "queue_limit": WORKERS,
    "bulk": 1,
    "save_limit": -1,
    "poll": 0.2,
    "catch_up": False,
    "recycle": 200,
    "max_rss": 600_000,
    "label": "Queue",
}
if REDIS_URL := env.str("REDIS_URL", ""):
    Q_CLUSTER["redis"] = REDIS_URL
else:
    Q_CLUSTER["orm"] = "default"
# -- Engine: seconds. A batch whose create got no answer counts as absent only after ABSENCE_SECONDS and two looks that far APART.
LEASE_SECONDS = env.float("BATCHUI_LEASE_SECONDS", 45.0)
ABSENCE_SECONDS = env.float("BATCHUI_ABSENCE_SECONDS", 2400.0)
ABSENCE_APART_SECONDS = env.float("BATCHUI_ABSENCE_APART_SECONDS", 300.0)
SANDBOX_ABSENCE_SECONDS = env.float("BATCHUI_SANDBOX_ABSENCE_SECONDS", 60.0)
# How long a batch that was asked to stop, or that cannot be reached, is waited for before a person may give it up.
PATIENCE_SECONDS = env.float("BATCHUI_PATIENCE_SECONDS", 900.0)

NUDGE = env.bool("BATCHUI_NUDGE", True)  # wake steps at once through the queue; else the pump finds them
PUMP = "jobs.engine.pump.run_once"
PUMP_SECONDS = env.float("BATCHUI_PUMP_SECONDS", 0.5)
BEAT_TASK = "jobs.tasks.beat"
BEAT_SECONDS = env.float("BATCHUI_BEAT_SECONDS", 10.0)
BEAT_LATE_SECONDS = env.float("BATCHUI_BEAT_LATE_SECONDS", 90.0)

# Set by `up` for the processes that it starts; 0 where no sandbox is expected to run.
SANDBOX_PORT = env.int("BATCHUI_SANDBOX_PORT", 0)

# -- Sign-in -------------------------------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
# scrypt is memory-hard and in the standard library.
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in {
        "UserAttributeSimilarityValidator": {},
        "MinimumLengthValidator": {"min_length": 10},
        "CommonPasswordValidator": {},
    }.items()
]
LOGIN_URL = "signin"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "signin"
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_ENABLE_ADMIN = False
AXES_LOCKOUT_CALLABLE = "jobs.views.signin.locked_out"
AXES_VERBOSE = False
SIGN_IN_LINK_SECONDS = 15 * 60

SESSION_COOKIE_AGE = env.int("BATCHUI_SESSION_HOURS", 12) * 3600
SESSION_IDLE_SECONDS = env.int("BATCHUI_SESSION_IDLE_MINUTES", 60) * 60
SESSION_COOKIE_NAME = "__Host-batchui" if TLS else "batchui"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "__Host-batchui-csrf" if TLS else "batchui-csrf"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"

# -- The browser's rules -------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "font-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
if TLS:
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    if env.bool("BATCHUI_BEHIND_PROXY", False):
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# -- Uploads: always streamed to a file; only a form's own fields are held in memory -------------------------------------
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
FILE_UPLOAD_TEMP_DIR = str(DATA / "uploads-tmp")
Path(FILE_UPLOAD_TEMP_DIR).mkdir(exist_ok=True, mode=0o700)
FILE_UPLOAD_PERMISSIONS = 0o600
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000
DATA_UPLOAD_MAX_NUMBER_FILES = 4
# Uploads are refused when less than this, or than a tenth of a smaller disk, would stay free: jobs under way need it.
KEEP_FREE_BYTES = env.int("BATCHUI_KEEP_FREE_BYTES", 1024**3)
MAX_UPLOAD_BYTES = env.int("BATCHUI_MAX_UPLOAD_BYTES", 10 * 1000**3)

# -- Static files ----------------------------------------------------------------------------------------------------
# `build/vendor` is what tools/setup.py took out of the front-end packages: plotly.min.js, font.css and the font.
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("BATCHUI_STATIC_ROOT", str(BASE_DIR / "staticfiles")))
STATICFILES_DIRS: list[Any] = [BASE_DIR / "static"]
if (BASE_DIR / "build" / "vendor").is_dir():
    STATICFILES_DIRS.append(("vendor", BASE_DIR / "build" / "vendor"))
ICON_DIR = BASE_DIR / "node_modules" / "lucide-static" / "icons"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(DATA / "media")}},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG

# -- Language, time, logs ----------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en-us"
USE_I18N = False
USE_TZ = True
TIME_ZONE = env.str("BATCHUI_TIME_ZONE", "UTC")
LOGGING = logs.configure(env.str("BATCHUI_LOG_LEVEL", "INFO"), as_json=env.bool("BATCHUI_LOG_JSON", PRODUCTION))

# A task waits in a worker's queue before it starts, and the retry clock runs meanwhile (RELIABILITY Q2).
assert math.ceil(Q_CLUSTER["timeout"] * (Q_CLUSTER["queue_limit"] / WORKERS + 2)) < Q_CLUSTER["retry"]
