"""Fixtures of the tests of benchmarks."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_plan import write_log


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("data"))
