#!/usr/bin/env python
"""Django's command line, with batchui's settings."""

import os
import sys


def main() -> None:
    """Run one command; the settings module may be set from outside."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "batchui.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
