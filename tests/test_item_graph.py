"""Graphs of similar items against all similarities at once."""

from __future__ import annotations

import pytest
import torch

from recsys.nn.item_graph import as_matrix, nearest_items, normalised, similarities, spread
from recsys.scorer.nearest import best_columns


def values(n: int = 23, d: int = 4) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("block", [1, 5, None])
@pytest.mark.parametrize("k", [1, 4, 50])
def test_neighbours_are_the_nearest(own, block, k):
    table = values()
    unit = table / table.norm(dim=1, keepdim=True)
    all_of_them = unit @ unit.T
    found = nearest_items(table, k, own=own, block=block)
    for row in range(len(table)):
        others = [other for other in range(len(table)) if own or other != row]
        expected = sorted(others, key=lambda other: -float(all_of_them[row, other]))[:k]
        assert found[row].tolist() == sorted(expected)


def test_of_equals_the_lower_row_is_taken():
    table = torch.ones(6, 3)
    table[4] = torch.tensor([1.0, 0.0, 0.0])
    found = nearest_items(table, 3)
    assert found[[0, 1, 5]].tolist() == [[0, 1, 2]] * 3
    assert found[4].tolist() == [0, 1, 4]
    assert nearest_items(torch.zeros(4, 2), 2).tolist() == [[0, 1]] * 4
    assert nearest_items(torch.ones(1, 2), 3, own=False).shape == (1, 0)


def test_weights_are_those_of_the_matrix():
    table = values()
    found = nearest_items(table, 5)
    weight = similarities(table, found)
    matrix = torch.zeros(23, 23, dtype=torch.float64).scatter_(1, found, weight)
    unit = table / table.norm(dim=1, keepdim=True)
    assert torch.allclose(matrix[matrix > 0], (unit @ unit.T)[matrix > 0])
    scale = torch.diag(matrix.sum(1) ** -0.5)
    expected = scale @ matrix @ scale
    assert torch.allclose(torch.zeros_like(matrix).scatter_(1, found, normalised(found, weight)), expected)
    other = values(23, 7)
    assert torch.allclose(spread(found, normalised(found, weight), other), expected @ other)
    assert torch.allclose(spread(found[[3, 3, 9]], normalised(found, weight)[[3, 3, 9]], other), (expected @ other)[[3, 3, 9]])


def test_a_degree_is_never_negative():
    table = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.1], [0.0, 0.0]])
    found = torch.tensor([[1, 2], [0, 3], [1, 2], [0, 3]])
    weight = similarities(table, found)
    assert weight[0].tolist() == [0.0, 0.0]
    assert torch.isfinite(normalised(found, weight)).all()
    assert not normalised(found, weight)[0].any()


def test_gradients():
    table, found = values(7, 3).requires_grad_(), nearest_items(values(7, 3), 3)
    assert torch.autograd.gradcheck(lambda v: spread(found, normalised(found, similarities(v, found) + 0.1), v), (table,))


@pytest.mark.parametrize("k", range(9))
def test_the_best_columns_are_those_of_a_stable_sort(k):
    """Whole numbers, so that there are equals above, at and below the last place."""
    scores = torch.randint(0, 4, (200, 8), generator=torch.Generator().manual_seed(0)).float()
    scores[0], scores[1, 2:] = 1.0, -torch.inf
    expected = scores.sort(dim=1, descending=True, stable=True).indices[:, :k].sort(1).values
    assert torch.equal(best_columns(scores, k), expected)


def test_a_graph_is_a_matrix():
    found = nearest_items(values(), 5)
    weight = similarities(values(), found)
    assert torch.equal(torch.from_numpy(as_matrix(found, weight).toarray()), torch.zeros(23, 23, dtype=torch.float64).scatter_(1, found, weight))
