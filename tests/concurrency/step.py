"""One worker's step, as a process that waits at the start line: `python -m tests.concurrency.step advance batch <id>` or `… pump`."""

import sys

import django


def main() -> None:
    """Say that we are ready, wait for a line, do the step."""
    django.setup()
    from django.db import connection

    from jobs.engine import advance, pump

    connection.ensure_connection()
    print("ready", flush=True)
    sys.stdin.readline()
    if sys.argv[1] == "pump":
        print(pump.run_once())
    else:
        advance.advance(sys.argv[2], sys.argv[3])


if __name__ == "__main__":
    main()
