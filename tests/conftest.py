"""Fixtures shared by the suite."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# How long an example takes says nothing here: machines differ, and so does what else runs on them.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of data that may not be redistributed; without it the test is skipped."""
    folder = Path(
        os.environ.get("RECSYS_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
    )
    if not folder.is_dir():
        pytest.skip("the measurement data is not here: set RECSYS_SHARED_DATA to its folder")
    return folder
