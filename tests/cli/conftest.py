"""Fixtures of the command line's tests."""

from pathlib import Path

import pytest
from cli_cases import Bench, OutOfTree


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def out_of_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OutOfTree:
    return OutOfTree(tmp_path / "out_of_tree", monkeypatch)
