from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.engine import world


@pytest.fixture(autouse=True)
def quick(settings: Any) -> None:
    """No waiting for a batch to be absent, unless a test says so."""
    settings.SANDBOX_ABSENCE_SECONDS = 0.0


@pytest.fixture
def make(people: Any, sandbox: Any, data_folder: Any) -> Callable[..., Any]:
    """`world.make` on this test's sandbox."""
    return partial(world.make, people, sandbox)


@pytest.fixture
def connect(people: Any, sandbox: Any, data_folder: Any) -> Callable[..., Any]:
    return partial(world.connect, people, sandbox)
