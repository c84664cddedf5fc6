"""What all tests share: one thread, no store but their own, hypothesis without clock or database, and where the real data lies."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

# A slow machine is no failure, and a failure must come again with the same examples.
settings.register_profile("xaibench", deadline=None, derandomize=True, database=None)
settings.load_profile("xaibench")


@pytest.fixture(autouse=True)
def _no_store_but_the_tests_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XAIBENCH_STORE", raising=False)


@pytest.fixture
def real_data() -> str:
    """The folder of the published files; tests of the real data run wherever it is named."""
    folder = os.environ.get("XAIBENCH_DATA")
    if not folder:
        pytest.skip("XAIBENCH_DATA is not set: the published files are not at hand")
    return folder
