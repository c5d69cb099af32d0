"""The encoder `gnn`: each convolution against dense matrices, and against `lightgcn`."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from asking import asked
from planted import two_camps
from torch import Tensor

from recsys.errors import InputError
from recsys.models.gnn import GNN
from recsys.models.lightgcn import LightGCN
from recsys.nn.graph import normalised_adjacency
from recsys.training.loop import Train, fit

TRAIN, _ = two_camps()
CONVOLUTIONS = ["gcn", "sage", "gat", "lg", "ngcf"]
SMALL = {"dim": 6, "layers": 1, "combine": "last"}


def network(**settings: object) -> torch.nn.Module:
    torch.manual_seed(3)
    return GNN(**SMALL | settings).build(TRAIN)


def adjacency() -> tuple[Tensor, Tensor]:
    """The bipartite adjacency matrix, plain and normalised, dense."""
    matrix = torch.from_numpy(TRAIN.pairs.csr.toarray().astype(np.float32))
    n = sum(matrix.shape)
    plain = torch.zeros(n, n)
    plain[: matrix.shape[0], matrix.shape[0] :] = matrix
    return plain + plain.T, normalised_adjacency(TRAIN.pairs).to_dense()


def dense(kind: str, layer: torch.nn.Module, vectors: Tensor) -> Tensor:
    """One convolution written with dense matrices."""
    plain, spread = adjacency()
    degree = plain.sum(1, keepdim=True)
    if kind == "lg":
        return spread @ vectors
    if kind == "gcn":
        return spread @ vectors @ layer.lin.weight.T + layer.bias
    if kind == "sage":
        mean = plain @ vectors / degree.clamp_min(1)
        return layer.lin_l(mean) + layer.lin_r(vectors)
    if kind == "ngcf":
        near = spread @ vectors
        return layer.linear(near + vectors) + layer.product(near * vectors)
    own = vectors @ layer.lin.weight.T
    source, target = own @ layer.att_src[0, 0], own @ layer.att_dst[0, 0]
    edges = (plain + torch.eye(len(plain))) > 0  # GATConv adds self loops
    logits = F.leaky_relu(target[:, None] + source[None, :], 0.2).masked_fill(~edges, -torch.inf)
    return logits.softmax(1) @ own + layer.bias


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_equals_dense_matrices(kind: str) -> None:
    net = network(convolution=kind)
    with torch.no_grad():
        expected = dense(kind, net.convolutions[0], net.nodes.weight)
        torch.testing.assert_close(net._encode(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_user_depends_on_the_items_of_their_history_only(kind: str) -> None:
    net = network(convolution=kind).eval()
    user = 5
    history = TRAIN.pairs.item[TRAIN.pairs.user == user]
    stranger = int(np.setdiff1d(np.arange(TRAIN.n_items), history)[0])
    with torch.no_grad():
        before = net._encode()[user].clone()
        net.nodes.weight[TRAIN.n_users + stranger] += 1
        assert torch.equal(net._encode()[user], before)
        net.nodes.weight[TRAIN.n_users + int(history[0])] += 1
        assert not torch.equal(net._encode()[user], before)


def test_light_convolutions_are_lightgcn() -> None:
    """With "lg" and the mean over layers, two epochs give the vectors of `lightgcn`."""
    shared = {"dim": 6, "layers": 2, "l2": 1e-3}
    config = Train(epochs=2, batch_size=64, lr=0.05, device="cpu")
    ours = fit(GNN(convolution="lg", combine="mean", **shared), TRAIN, None, config).scorer
    light = fit(LightGCN(**shared), TRAIN, None, config).scorer
    users = torch.arange(TRAIN.n_users)
    torch.testing.assert_close(
        ours.score(asked(users)), light.score(asked(users)), rtol=2e-3, atol=2e-4
    )


@pytest.mark.parametrize("combine", ["last", "mean", "concat"])
def test_layers_are_combined(combine: str) -> None:
    net = network(convolution="sage", layers=2, combine=combine, activation="elu").eval()
    with torch.no_grad():
        zeroth = net.nodes.weight
        first = F.elu(dense("sage", net.convolutions[0], zeroth))
        second = dense("sage", net.convolutions[1], first)
        expected = {
            "last": second,
            "mean": (zeroth + first + second) / 3,
            "concat": torch.cat([zeroth, first, second], 1),
        }[combine]
        torch.testing.assert_close(net._encode(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_every_parameter_has_a_gradient(kind: str) -> None:
    net = network(convolution=kind, layers=2, combine="mean")
    batch = next(net.stream.open(TRAIN, batch_size=64, seed=0).epoch(0))
    net.loss(batch).total().backward()
    assert all(param.grad is not None and param.grad.any() for param in net.parameters())


def test_dropout_acts_in_training_only() -> None:
    net = network(dropout=0.5)
    with torch.no_grad():
        assert not torch.equal(net._encode(), net._encode())
        assert net.training
        scorers = net.scorer(), net.scorer()
        users = torch.arange(3)
        assert torch.equal(scorers[0].score(asked(users)), scorers[1].score(asked(users)))
        assert net.training


@pytest.mark.parametrize("kind", ["gat", "ngcf"])
def test_the_same_seed_gives_the_same_bytes(kind: str) -> None:
    recipe = GNN(convolution=kind, dim=8, heads=2 if kind == "gat" else 1, dropout=0.1)
    config = Train(epochs=2, batch_size=64, device="cpu")
    users = torch.arange(TRAIN.n_users)
    first, second = (fit(recipe, TRAIN, None, config).scorer.score(asked(users)) for _ in range(2))
    assert torch.equal(first, second)


def test_heads_must_divide_the_dimension() -> None:
    with pytest.raises(InputError, match="dim = 6 is not a multiple of heads = 4"):
        GNN(convolution="gat", dim=6, heads=4)
    assert GNN(convolution="gat").idle() == set()
    assert GNN(convolution="gcn").idle() == {"heads"}
    assert dataclasses.replace(GNN(), layers=1).idle() == {"heads", "activation"}
