"""The tables of docs/architecture.md name functions, tests and crash points that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
ENGINE = TEXT[TEXT.index("## The life of a batch") :]


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_each_named_test_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", ENGINE)
    assert len(named) > 15
    assert [f"{path}::{name}" for path, name in named if name not in functions(ROOT / path)] == []


def test_each_named_function_exists() -> None:
    modules = {path.stem: functions(path) for path in (ROOT / "jobs" / "engine").glob("*.py")}
    named = [(module, name) for module, name in re.findall(r"`(\w+)\.(\w+)`", ENGINE) if module in modules]
    assert len(named) > 15
    assert [f"{module}.{name}" for module, name in named if name not in modules[module]] == []


def test_each_transition_has_a_letter_a_function_and_a_test() -> None:
    rows = re.findall(r"^\| ([A-Z]) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", ENGINE, re.MULTILINE)
    assert [row[0] for row in rows] == list("ABCDEFGHIJKLMNOP")
    assert all("`" in function and "::" in test for *_, function, test in rows)


def test_every_crash_point_is_in_the_table() -> None:
    named = set()
    for path in (ROOT / "jobs" / "engine").glob("*.py"):
        named |= set(re.findall(r'crash\.(?:point|during)\("([^"]+)"\)', path.read_text()))
    table = ENGINE[ENGINE.index("## Where it can die") : ENGINE.index("## What tries to break it")]
    assert named == set(re.findall(r"`([a-z ]+)`", table))
