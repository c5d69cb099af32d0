"""Measured costs of a trial: latency and peak memory."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import numpy as np
import torch

from recsys.ranking import top_k
from recsys.scorer import Scorer
from recsys.study.train_valid import TrainValid

__all__ = ["latency_ms", "peak_mb", "reset_peak"]

_USERS = 1000  # users that are ranked, at most
_PASSES = 3
_LIST = 20  # items per user


def latency_ms(scorer: Scorer, material: TrainValid) -> float:
    """Return the milliseconds to rank all items for one user.

    This is the median of three passes over the validation users, at most a thousand.
    """
    users = np.unique(material.valid.user)[:_USERS].astype(np.int32)
    times = []
    for _ in range(_PASSES):
        began = time.perf_counter()
        top_k(scorer, users, _LIST, seen=material.train.pairs.csr)
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times)) / len(users)


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
