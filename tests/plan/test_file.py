"""The plan's file: written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.plan.file import write_atomically


def test_a_folder_in_the_way_is_named_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "priced.csv"
    folder.mkdir()
    with pytest.raises(IsADirectoryError) as refused:
        write_atomically(folder, "text")
    assert refused.value.filename == str(folder)
    assert list(tmp_path.iterdir()) == [folder]
