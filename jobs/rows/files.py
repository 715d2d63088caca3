"""Files are immutable: written beside their place, fsynced, renamed, folder fsynced. A name exists only when the file is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def fsync_file(path: Path) -> None:
    """Put the bytes of a file on the disk. Raises OSError (for instance when the disk is full)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_folder(folder: Path) -> None:
    """Put the names of a folder on the disk: without it a rename may be gone after a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def part_of(target: Path) -> Path:
    """Where a file is written before it has its name."""
    return target.with_name(target.name + ".part")


def publish(part: Path, target: Path) -> None:
    """Give a whole file its name: fsync, rename, fsync the folder."""
    fsync_file(part)
    os.replace(part, target)
    fsync_folder(target.parent)


@contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """Yield the path to write to; when the block ends well the file gets its name, when it raises nothing stays.

    The folder of the target is made when it is not there. What an earlier, killed writer left is overwritten.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target)
    part.unlink(missing_ok=True)
    try:
        yield part
        publish(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(target: Path, content: bytes) -> None:
    """Write a small file in one go, whole or not at all."""
    with written_beside(target) as part:
        part.write_bytes(content)
