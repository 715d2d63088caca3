"""Freed memory goes back to the system, so that one large download does not stay with the web process for good."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from typing import TypeVar

import pyarrow as pa

Each = TypeVar("Each")
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl and macOS do not


def give_back() -> None:
    """What Arrow and the C library keep for later; some ten milliseconds."""
    pa.default_memory_pool().release_unused()
    if _TRIM is not None:
        _TRIM(0)


def giving_back(parts: Iterable[Each]) -> Iterator[Each]:
    """The same parts; when they end, or are left in the middle, freed memory is given back."""
    try:
        yield from parts
    finally:
        give_back()
