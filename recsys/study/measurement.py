"""Measured costs of a trial: latency and peak memory."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch

from recsys.experiment.speed import seconds_per_user
from recsys.scorer import Scorer
from recsys.study.train_valid import TrainValid

__all__ = ["latency_ms", "peak_mb", "reset_peak"]


def latency_ms(scorer: Scorer, material: TrainValid) -> float:
    """Return the milliseconds to rank all items for one validation query.

    This is the median of three passes over the queries, at most a thousand.
    """
    return 1000 * seconds_per_user(scorer, material.train.pairs, material.valid)


def reset_peak(device: torch.device) -> None:
    """Count the peak memory from now on, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    # Other systems than Linux, or a container that forbids it, report the peak of the process.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mb(device: torch.device) -> float:
    """Return the peak memory in MB: of the GPU if the device is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        line = Path("/proc/self/status").read_text(encoding="ascii").split("VmHWM:")[1]
        return int(line.split()[0]) * 1024 / 1e6
    except (OSError, IndexError, ValueError):
        import resource  # not on Windows

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / 1e6 if sys.platform == "darwin" else used * 1024 / 1e6
