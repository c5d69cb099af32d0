"""Reproducible values: tensors 0.5 sin(seed + 0.37 (k + 1)) for k = 0, 1, ..., and tie order."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from recsys.data.types import Dataset, FeatureTable, Interactions, Vocab


def wave(seed: int, *shape: int) -> torch.Tensor:
    """Float64 of the given shape."""
    k = torch.arange(1, int(np.prod(shape)) + 1, dtype=torch.float64)
    return (0.5 * torch.sin(seed + 0.37 * k)).view(shape)


def three_by_four() -> Dataset:
    """Return three users, four items, six pairs, modality `v` of width 5 and `t` of width 3.

    Their seeds are 3 and 4.
    """
    pairs = Interactions(np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 0, 3]), 3, 4)
    tables = {
        name: FeatureTable(wave(seed, 4, width).float().numpy(), np.ones(4, dtype=bool))
        for name, seed, width in (("v", 3, 5), ("t", 4, 3))
    }
    return Dataset(pairs, Vocab.range(3, "user"), Vocab.range(4, "item"), tables)


def set_to(parameters: dict[torch.Tensor, torch.Tensor]) -> None:
    """Write values into parameters, or into part of them."""
    with torch.no_grad():
        for parameter, values in parameters.items():
            parameter.copy_(values)


def tie(item: int) -> int:
    """Return the hash by which items of equal score are ordered: SplitMix64 in whole numbers."""
    z = (int(item) + (0x7165 + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def best_first(scores: np.ndarray) -> list[int]:
    """Return all items [n], the highest score first, equal scores by `tie`."""
    return sorted(range(len(scores)), key=lambda item: (-float(scores[item]), tie(item)))


def by_id(pairs: Interactions, data: Dataset) -> sp.csr_matrix:
    """Return the pairs as CSR [n_users, n_items], rows and columns in the order of the ids."""
    users, items = data.users.ids.arg_sort().to_numpy(), data.items.ids.arg_sort().to_numpy()
    matrix = pairs.csr[users][:, items].tocsr()
    matrix.sort_indices()
    return matrix
