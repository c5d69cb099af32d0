"""The device to train on, and its random numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from recsys.errors import InputError, first_line

__all__ = ["own_random_numbers", "pick_device", "seed_device"]


def pick_device(name: str) -> torch.device:
    """Return the device with this name.

    Args:
        name: auto (the first GPU if there is one), cpu, cuda or cuda:N.

    Raises:
        InputError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("neither the CPU nor a CUDA device")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device '{name}' cannot be used: {first_line(error)}",
            place="[train] device",
            remedy="use auto or cpu",
        ) from None
    return device


def seed_device(device: torch.device, seed: int) -> None:
    """Seed the generators that layers such as dropout draw from."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)


@contextlib.contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """Restore the caller's random generators at the end of the block."""
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        yield
