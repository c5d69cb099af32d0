"""Propagation against dense matrices and against torch_geometric."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from recsys.data.types import Interactions
from recsys.nn.graph import mean_layers, mean_layers_rows, normalised_adjacency


def graph(n_users: int = 7, n_items: int = 9, n: int = 25, seed: int = 0) -> Interactions:
    """Random pairs, some given twice; the last user and the last item stand alone."""
    rng = np.random.default_rng(seed)
    return Interactions(
        rng.integers(0, n_users - 1, n), rng.integers(0, n_items - 1, n), n_users, n_items
    )


def dense(pairs: Interactions) -> np.ndarray:
    met = np.zeros((pairs.n_users, pairs.n_items))
    met[pairs.user, pairs.item] = 1
    whole = np.block(
        [[np.zeros((pairs.n_users,) * 2), met], [met.T, np.zeros((pairs.n_items,) * 2)]]
    )
    degree = whole.sum(1)
    scale = np.array([1 / np.sqrt(d) if d else 0.0 for d in degree])
    return scale[:, None] * whole * scale


def edges(pairs: Interactions) -> Tensor:
    one = np.unique(np.stack([pairs.user, pairs.item + pairs.n_users]), axis=1).astype(np.int64)
    return torch.from_numpy(np.concatenate([one, one[::-1]], axis=1).copy())


def start(pairs: Interactions, dim: int = 5) -> Tensor:
    return torch.randn(
        pairs.n_users + pairs.n_items, dim, generator=torch.Generator().manual_seed(1)
    )


def geometric():
    """torch_geometric, whose import speaks of what is deprecated elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch_geometric.nn
        import torch_geometric.nn.conv.gcn_conv
    return torch_geometric.nn


def test_the_adjacency_is_normalised_and_symmetric():
    pairs = graph()
    adjacency = normalised_adjacency(pairs)
    assert adjacency.layout == torch.sparse_csr
    assert adjacency.dtype == torch.float32
    assert adjacency.crow_indices().dtype == adjacency.col_indices().dtype == torch.int32
    matrix = adjacency.to_dense()
    assert torch.equal(matrix, matrix.T)
    assert np.allclose(matrix, dense(pairs), atol=1e-7)


def test_the_adjacency_equals_that_of_torch_geometric():
    pairs = graph()
    gcn_norm = geometric().conv.gcn_conv.gcn_norm
    nodes = pairs.n_users + pairs.n_items
    index, weight = gcn_norm(edges(pairs), num_nodes=nodes, add_self_loops=False)
    other = torch.zeros(nodes, nodes)
    other[index[0], index[1]] = weight
    assert torch.allclose(normalised_adjacency(pairs).to_dense(), other, atol=1e-7)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_mean_layers_equals_torch_geometric(layers):
    pairs = graph()
    nn = geometric()
    first = start(pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.LightGCN(pairs.n_users + pairs.n_items, first.shape[1], num_layers=layers)
        model.embedding.weight.data.copy_(first)
        expected = model.get_embedding(edges(pairs)).detach()
        once = nn.LGConv()(first, edges(pairs))
    adjacency = normalised_adjacency(pairs)
    assert torch.allclose(mean_layers(adjacency, first, layers), expected, atol=1e-6)
    assert torch.allclose(adjacency @ first, once, atol=1e-6)


def test_mean_layers_leaves_its_input_alone():
    pairs = graph()
    first = start(pairs)
    before = first.clone()
    mean_layers(normalised_adjacency(pairs), first, 2)
    assert torch.equal(first, before)


def dense_mean(matrix: Tensor, first: Tensor, layers: int) -> Tensor:
    total = current = first
    for _ in range(layers):
        current = matrix @ current
        total = total + current
    return total / (layers + 1)


@pytest.mark.parametrize("layers", [0, 1, 2, 4])
@pytest.mark.parametrize("used", ["mean", "zeroth", "both"])
def test_rows_have_the_value_and_the_gradient_of_autograd(layers, used):
    pairs = graph()
    adjacency, matrix = normalised_adjacency(pairs), torch.from_numpy(dense(pairs)).float()
    rows = torch.tensor([12, 0, 3, 6, 15])  # 6 and 15 stand alone
    weights = torch.randn(2, len(rows), 5, generator=torch.Generator().manual_seed(2))

    def gradient(mean: Tensor, zeroth: Tensor, leaf: Tensor) -> Tensor:
        value = (mean * weights[0]).sum() * (used != "zeroth") + (
            zeroth * weights[1]
        ).square().sum() * (used != "mean")
        value.backward()
        return leaf.grad

    ours, theirs = start(pairs).requires_grad_(), start(pairs).requires_grad_()
    mean, zeroth = mean_layers_rows(adjacency, ours, rows, layers)
    expected = dense_mean(matrix, theirs, layers)[rows]
    assert torch.allclose(mean, expected, atol=1e-6)
    assert torch.equal(zeroth, theirs[rows])
    assert torch.allclose(mean, mean_layers(adjacency, ours.detach(), layers)[rows], atol=1e-6)
    assert torch.allclose(
        gradient(mean, zeroth, ours), gradient(expected, theirs[rows], theirs), atol=1e-6
    )


def test_an_unused_part_needs_no_gradient():
    pairs = graph()
    leaf = start(pairs).requires_grad_()
    mean, _ = mean_layers_rows(normalised_adjacency(pairs), leaf, torch.tensor([1, 2]), 2)
    mean.sum().backward()
    assert torch.isfinite(leaf.grad).all()
    assert leaf.grad.any()


def test_a_node_that_stands_alone_keeps_its_share_of_layer_0():
    pairs = graph()
    first = start(pairs)
    alone = [pairs.n_users - 1, pairs.n_users + pairs.n_items - 1]
    for layers in (0, 1, 3):
        assert torch.allclose(
            mean_layers(normalised_adjacency(pairs), first, layers)[alone],
            first[alone] / (layers + 1),
        )


def test_a_graph_without_edges():
    pairs = Interactions(np.array([], dtype=np.int32), np.array([], dtype=np.int32), 2, 3)
    adjacency = normalised_adjacency(pairs)
    assert adjacency.shape == (5, 5)
    assert not adjacency.to_dense().any()


def test_no_autocast_inside():
    pairs = graph()
    leaf = start(pairs).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mean, _ = mean_layers_rows(normalised_adjacency(pairs), leaf, torch.arange(4), 2)
    mean.sum().backward()
    assert mean.dtype == torch.float32
    assert torch.equal(
        mean, mean_layers_rows(normalised_adjacency(pairs), leaf, torch.arange(4), 2)[0]
    )


def test_the_adjacency_is_made_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        normalised_adjacency(graph())
