"""Settings of the soak: the real ones, with a hostile queue."""

from batchui.settings import *  # noqa: F403
from batchui.settings import Q_CLUSTER

Q_CLUSTER["broker_class"] = "tools.soak_queue.Hostile"
