from __future__ import annotations

from pathlib import Path

import pytest

from jobs.rows.files import part_of, write_whole, written_beside


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "table.parquet"
    with written_beside(target) as part:
        part.write_bytes(b"whole")
        assert (part, target.exists()) == (part_of(target), False)
    assert (target.read_bytes(), list(target.parent.iterdir())) == (b"whole", [target])


def test_a_write_that_fails_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    target = tmp_path / "a"
    write_whole(target, b"old")
    with pytest.raises(ZeroDivisionError), written_beside(target) as part:  # noqa: PT012
        part.write_bytes(b"half")
        raise ZeroDivisionError
    assert (target.read_bytes(), list(tmp_path.iterdir())) == (b"old", [target])


def test_what_a_killed_writer_left_is_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "a"
    part_of(target).write_bytes(b"a longer leftover")
    with written_beside(target) as part, part.open("ab") as file:
        file.write(b"new")
    assert (target.read_bytes(), list(tmp_path.iterdir())) == (b"new", [target])
