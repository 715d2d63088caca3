"""Faults of the wire, armed through control: which call they fall on and what they do to it."""

from __future__ import annotations

import random
from fnmatch import fnmatchcase
from typing import Any

from jobs.sandbox.store import Store

BEFORE = frozenset(["status", "drop_before", "hang_before", "redirect", "late"])
AFTER = frozenset(["hang", "status_after", "drop_after", "empty", "garbage", "html", "cut", "gzip_bomb", "drip", "merge"])
LISTS = frozenset(["lag", "truncate", "page", "repeat", "alien", "hide", "oldest"])
KINDS = BEFORE | AFTER | LISTS
# Faults that stay until disarmed unless `times` says otherwise.
STANDING = LISTS


class Armed:
    """The armed faults, kept in the store. A fault is a dict:

    `verb` (glob, `*`), `manner`, `model` (glob), `fault` (a name of KINDS), `times` (1; 0 = until disarmed), `skip` (calls to let
    pass first), `every` (falls on each n-th match), `share` (of matches, drawn by a seeded generator), and the fault's own arguments.
    Orders for batches are armed the same way: `{"orders": "errors=5%", "model": glob, "times": n}`.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.luck = random.Random(7)

    def all(self) -> list[dict[str, Any]]:
        return list(self.store.setting("faults", []))

    def arm(self, fault: dict[str, Any]) -> int:
        """Arm one; its number. Raises ValueError for a fault that does not exist."""
        if "orders" not in fault and fault.get("fault") not in KINDS:
            raise ValueError(f"no such fault: {fault.get('fault')}; there are {', '.join(sorted(KINDS))}")
        with self.store.lock:
            number = int(self.store.setting("fault_number", 0)) + 1
            self.store.set("fault_number", number)
            times = fault.get("times", 0 if "orders" in fault or fault["fault"] in STANDING else 1)
            self.store.set(
                "faults",
                [*self.all(), {"verb": "*", "model": "*", "skip": 0, **fault, "times": times, "id": number, "matched": 0, "fell": 0}],
            )
            return number

    def disarm(self, number: int | None = None) -> None:
        """Disarm one, or all."""
        with self.store.lock:
            self.store.set("faults", [fault for fault in self.all() if number is not None and fault["id"] != number])

    def take(self, verb: str, manner: str, model: str) -> list[dict[str, Any]]:
        """The wire faults that fall on this call; counts them."""
        return self._take(lambda fault: "orders" not in fault and fnmatchcase(verb, fault["verb"]), manner, model)

    def orders(self, manner: str, model: str) -> list[str]:
        """The armed orders that fall on a batch or a direct call of this model."""
        return [fault["orders"] for fault in self._take(lambda fault: "orders" in fault, manner, model)]

    def _take(self, fits: Any, manner: str, model: str) -> list[dict[str, Any]]:
        if not self.store.setting("faults"):
            return []
        fell = []
        with self.store.lock:
            faults = self.all()
            for fault in faults:
                if not fits(fault) or fault.get("manner", manner) != manner or not fnmatchcase(model, fault["model"]):
                    continue
                if fault["times"] and fault["fell"] >= fault["times"]:
                    continue
                fault["matched"] += 1
                n = fault["matched"] - fault["skip"]
                if n <= 0 or n % fault.get("every", 1) or self.luck.random() >= fault.get("share", 1.0):
                    continue
                fault["fell"] += 1
                fell.append(fault)
            self.store.set("faults", faults)
        return fell
