"""The device that is trained on, and its random numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from recsys.errors import InputError, first_line

__all__ = ["own_random_numbers", "pick_device", "seed_device"]


def pick_device(name: str) -> torch.device:
    """The device a name means.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("neither the CPU nor a CUDA device")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        said = first_line(error)
        raise InputError(
            f"device '{name}' cannot be used: {said}",
            place="[train] device",
            remedy="use auto or cpu",
        ) from None
    return device


def seed_device(device: torch.device, seed: int) -> None:
    """Seed the generator that layers such as dropout draw from."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)


@contextlib.contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """Leave the caller's random numbers as they were."""
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        yield
