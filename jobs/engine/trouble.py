"""What goes wrong on our own side, as a sentence for the page: the disk, the database, the storage."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from django.conf import settings
from django.db import InterfaceError, OperationalError

from batchui.seal import SealBroken
from jobs.errors import BatchuiError
from jobs.rows.child import ChildDied

NEEDS = "It does not move at the moment"  # how Job.needs begins while a step of the job fails
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_PATH = re.compile(r"'(/[^']+)'")
_ERRNO = re.compile(r"\[?[Ee]rrno (\d+)")


def words_of(error: BaseException) -> str:
    """Why a step failed. What passes by itself says so."""
    if isinstance(error, OSError) or (isinstance(error, ChildDied) and error.reason == "disk"):
        return _storage(error)
    if isinstance(error, SealBroken):
        return "the API key cannot be opened with the seal key of this server: put seal.key back, or enter the API key again"
    if isinstance(error, OperationalError | InterfaceError):
        return "the database is busy or cannot be reached; it goes on by itself once it answers"
    if isinstance(error, BatchuiError):
        return str(error)
    return "batchui met an error of its own; it is tried again, and the log of the server says more"


def _storage(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if number is None and (found := _ERRNO.search(str(error))):  # Arrow has it in the text alone
        number = int(found.group(1))
    if number == errno.ENOENT and (name := _name_in(error)):
        return f"the file {name} is gone from the data folder; it goes on by itself once that is put back, from a backup for instance"
    if number in _FULL or isinstance(error, ChildDied) or "disk is full" in str(error):
        return "the disk is full; it goes on by itself once there is room"
    if number in _READ_ONLY:
        return "the storage cannot be written to at the moment; it goes on by itself once it can"
    return f"the storage failed; it is tried again ({os.strerror(number) if number else error})"


def _name_in(error: BaseException) -> str:
    """The file of the data folder that an error is about, as its path in there; "" where it names none."""
    found = _PATH.search(str(error))  # in Arrow's text as in Python's
    data = Path(settings.DATA)
    return str(Path(found.group(1)).relative_to(data)) if found and Path(found.group(1)).is_relative_to(data) else ""
