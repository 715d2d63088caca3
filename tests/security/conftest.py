from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.wire import Wire


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire()
    yield server
    server.close()
