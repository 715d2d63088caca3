"""The WSGI entry point; granian serves it."""

import os

from django.core.wsgi import get_wsgi_application
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "batchui.settings")
application = get_wsgi_application()

# To open SQLite anew for each request costs more than most live questions do. This process forks nothing, so each of its threads may
# keep its connection for a minute (PostgreSQL's are kept by the settings).
connections.settings["default"]["CONN_MAX_AGE"] = 60
