"""The environment of a run or a study: versions, processor and GPU."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import torch

from recsys.experiment.run_meta import Environment

__all__ = ["current_environment", "now"]

_PACKAGES = ("recsys", "torch", "numpy", "scipy", "polars", "pandas", "torch-geometric", "optuna")


def current_environment() -> Environment:
    """Return the environment of this process."""
    return Environment(
        python=sys.version.split()[0],
        system=platform.platform(),
        cpus=os.cpu_count(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        packages={name: _version(name) for name in _PACKAGES},
    )


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
