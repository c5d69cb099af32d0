"""Inputs of sequence encoders: the formulas of hand-computed states, and random histories."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.nn.packed import Groups

N, DIM = 6, 4
HISTORY = torch.tensor([2, 5, 1]) - 1
GROUPS = ((1, 2), (3, 1), (4, 3), (9, 1))


def grid(rows: int, columns: int, k: int = 0) -> tuple[Tensor, Tensor]:
    a, b = torch.arange(rows, dtype=torch.float64), torch.arange(columns, dtype=torch.float64)
    return k + a[:, None], b[None, :]


def matrix(k: int, rows: int = DIM, columns: int = DIM) -> Tensor:
    a, b = grid(rows, columns, k)
    return torch.sin(a + 2 * b) / 2


def vector(k: int) -> Tensor:
    return torch.sin(k + torch.arange(DIM, dtype=torch.float64)) / 10


def items() -> Tensor:
    """Return the vectors of items 1 to 6."""
    a, b = grid(N, DIM, 1)
    return torch.sin(a + 2 * b) / 10


def histories(groups: Groups) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(sum(length * count for length, count in groups), 8).double()
