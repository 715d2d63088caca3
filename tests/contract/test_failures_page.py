"""docs/failures.md is true: every entry of the catalogue is there, its tests exist, and its words are the program's."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "failures.md").read_text()
ROWS = [[cell.strip(" ") for cell in line.split("|")[1:-1]] for line in TEXT.splitlines() if line.startswith("| ")]
ENTRIES = {"A": 17, "B": 17, "C": 14, "D": 26, "E": 8, "F": 9, "G": 11}


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))


def path_of(name: str) -> Path:
    """`collect` is tests/engine/test_collect.py, `money/test_budget` is tests/money/test_budget.py."""
    return ROOT / "tests" / (f"{name}.py" if "/" in name else f"engine/test_{name}.py")


def test_every_entry_of_the_catalogue_is_there_once() -> None:
    named = [cells[0] for cells in ROWS if re.fullmatch(r"[A-G]\d+", cells[0])]
    assert named == [f"{letter}{number}" for letter, most in ENTRIES.items() for number in range(1, most + 1)]


def test_each_named_test_exists() -> None:
    named = re.findall(r"`([\w/]+)::(test_\w+)`", TEXT)
    assert len(named) > 100
    assert [f"{where}::{name}" for where, name in named if name not in functions(path_of(where))] == []


def test_only_what_cannot_be_tested_has_no_test() -> None:
    without = [cells[0] for cells in ROWS if len(cells) == 5 and cells[-1] != "test" and "::" not in cells[-1]]
    assert without == ["D7", "D26"]


def test_the_words_are_those_of_the_program() -> None:
    files = [path for folder in ("jobs", "templates") for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".html")]
    program = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text() for path in files))
    said = [words for cells in ROWS if len(cells) > 3 for words in re.findall("“(.+?)”", cells[-2])]
    parts = [part for words in said for part in words.split("…") if part.strip()]
    assert len(parts) > 60
    assert [part for part in parts if part not in program] == []
