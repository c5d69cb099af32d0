"""What decides the last bits of a score and the bytes of a file: processor, device, versions."""

from __future__ import annotations

import functools
import platform

import torch
from threadpoolctl import threadpool_info

from recsys.serving.export_files import libraries

__all__ = ["environment"]


def environment(device: torch.device) -> dict[str, str]:
    """Return what decides the bytes of lists, apart from the model and the request.

    Another processor sums in another order, so lists that are computed on it may differ in near
    ties.

    Args:
        device: of the scorer.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "processor": _processor(), **libraries()}


@functools.cache
def _processor() -> str:
    # The library of NumPy alone: which others are loaded depends on what else the process imported.
    blas = sorted(
        {
            str(library["architecture"])
            for library in threadpool_info()
            if library.get("architecture") and "numpy" in library["filepath"]
        }
    )
    return " ".join([platform.machine(), torch.backends.cpu.get_cpu_capability(), *blas])
