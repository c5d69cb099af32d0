"""Embedding tables: their start values, their norms, and the copies that a scorer keeps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["embedding", "frozen", "half_square", "node_table", "xavier"]


def embedding(n: int, dim: int, std: float) -> nn.Embedding:
    """Return a table [n, dim] drawn from N(0, std^2)."""
    table = nn.Embedding(n, dim)
    with torch.no_grad():
        table.weight.normal_(0.0, std)
    return table


def xavier(n: int, dim: int) -> nn.Embedding:
    """Return a table [n, dim] drawn from U(-a, a) with a = sqrt(6 / (n + dim)) (Xavier)."""
    table = nn.Embedding(n, dim, _weight=torch.empty(n, dim))
    nn.init.xavier_uniform_(table.weight)
    return table


def node_table(n_users: int, n_items: int, dim: int) -> nn.Embedding:
    """Return layer 0 of the user-item graph, [n_users + n_items, dim].

    Users and items are each drawn from the Xavier uniform distribution of a table of their size.
    """
    table = nn.Embedding(n_users + n_items, dim, _weight=torch.empty(n_users + n_items, dim))
    with torch.no_grad():
        for part in torch.split(table.weight, [n_users, n_items]):
            nn.init.xavier_uniform_(part)
    return table


def half_square(*parts: Tensor) -> Tensor:
    """Return half the squared norm of all parts together, a scalar."""
    return torch.stack([part.square().sum() for part in parts]).sum() / 2


def frozen(table: nn.Embedding | Tensor) -> Tensor:
    """Return a copy of a table that no gradient and no later step changes."""
    weight = table.weight if isinstance(table, nn.Embedding) else table
    return weight.detach().clone()
