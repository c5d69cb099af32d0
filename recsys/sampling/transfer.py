"""Copies from the host to a device that no step waits for."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["to_device"]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device, without waiting for it.

    A plain `tensor.to("cuda")` waits until the device has done all its work. The tensor must not
    be changed afterwards. On the CPU the same tensor is returned.
    """
    if device.type == "cpu":
        return tensor
    if device.type == "cuda":  # only from pinned memory is the copy a part of the device's queue
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
