"""The designed protocol holds in every history that is tried, and each way in which products got it wrong is caught."""

from __future__ import annotations

import os

import pytest

from tests.protocol.machine import WINDOW, Rules, find_fault

NIGHT = bool(os.environ.get("BATCHUI_NIGHT"))
HISTORIES = 300_000 if NIGHT else 12_000
STEPS = 60 if NIGHT else 40
# What is changed → how many histories it may take until it is caught. Each of them shipped somewhere (RELIABILITY 2.10 and Appendix A12).
MUTANTS = {
    "the lease's token is checked, its deadline is not": Rules(checks_deadline=False),
    "the SDK's own retries": Rules(n_tries=3),
    "the create before the durable mark": Rules(marks_first=False),
    "no answer counts as failed": Rules(unknown_fails=True),
    "no lease": Rules(claims=False),
    "a window shorter than lease + call + lag": Rules(window=WINDOW - 6),
    "a list that was cut short counts as whole": Rules(whole_lists=False),
    "no window at all": Rules(waits=False),
}


def test_the_protocol_holds() -> None:
    assert find_fault(Rules(), HISTORIES, STEPS) is None


@pytest.mark.parametrize("name", MUTANTS)
def test_each_mutant_is_caught(name: str) -> None:
    found = find_fault(MUTANTS[name], 10 * HISTORIES, STEPS)
    assert found is not None
    assert found[1].endswith("batches at the provider")
