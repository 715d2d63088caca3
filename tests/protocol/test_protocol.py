"""The designed protocol holds in every history that is tried, and each way in which products got it wrong is caught."""

from __future__ import annotations

import os

import pytest

from tests.protocol.machine import CALL, Rules, find_fault

NIGHT = bool(os.environ.get("BATCHUI_NIGHT"))
HISTORIES = 1_000_000 if NIGHT else 40_000
# What is changed, and the seed of a history that catches it. Each of them shipped somewhere (RELIABILITY 2.10 and Appendix A12).
MUTANTS = {
    "the lease's token is checked, its deadline is not": (Rules(checks_deadline=False), 13118),
    "the SDK's own retries": (Rules(n_tries=3), 3),
    "the create before the durable mark": (Rules(marks_first=False), 1),
    "no answer counts as failed": (Rules(unknown_fails=True), 23),
    "no lease": (Rules(claims=False), 244),
    "a window shorter than lease + call + lag": (Rules(window=CALL), 2885),
    "a list that was cut short counts as whole": (Rules(whole_lists=False), 2263),
    "no window at all": (Rules(waits=False), 219),
}


def test_the_protocol_holds() -> None:
    assert find_fault(Rules(), HISTORIES) is None


@pytest.mark.parametrize("name", MUTANTS)
def test_each_mutant_is_caught(name: str) -> None:
    rules, seed = MUTANTS[name]
    found = find_fault(rules, 100_000 if NIGHT else 1, first=0 if NIGHT else seed)
    assert found is not None
    assert found[1].endswith("batches at the provider")


@pytest.mark.parametrize("name", MUTANTS)
def test_the_histories_that_catch_mutants_hold_as_designed(name: str) -> None:
    assert find_fault(Rules(), 1, first=MUTANTS[name][1]) is None
