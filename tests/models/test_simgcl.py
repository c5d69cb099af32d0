"""SimGCL and XSimGCL against dense matrices, with the noise known, and against LightGCN."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from asking import asked
from differences import check_gradients
from planted import two_camps
from torch import Tensor

from recsys.errors import InputError
from recsys.models.lightgcn import LightGCN
from recsys.models.simgcl import SimGCL
from recsys.models.xsimgcl import XSimGCL
from recsys.nn.graph import mean_layers_rows
from recsys.nn.infonce import info_nce
from recsys.nn.losses import Loss, label_losses, mean_negatives
from recsys.nn.noisy_layers import noisy_layers_rows
from recsys.sampling import PairStream, Sampler

TRAIN, _ = two_camps()
N = TRAIN.n_users


def start(kind=SimGCL, **changes):
    torch.manual_seed(0)
    return kind(**{"dim": 5} | changes).build(TRAIN)


def batch_of(net, size=12):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


def dense(layers: int, first: Tensor, eps: float, noises: list[Tensor]) -> list[Tensor]:
    """Layers 1..L by the formula, with the given uniform numbers, one matrix a layer."""
    matrix = start().adjacency.to_dense().to(first.dtype)
    found, current = [], first
    for layer in range(layers):
        current = matrix @ current
        moved = current.clone()
        for node in range(len(current)):
            length = math.sqrt(float(noises[layer][node].square().sum()))
            moved[node] = (
                current[node] + eps * torch.sign(current[node]) * noises[layer][node] / length
            )
        current = moved
        found.append(current)
    return found


def drawn(shape, seed: int, times: int) -> list[Tensor]:
    torch.manual_seed(seed)
    return [torch.rand(shape) for _ in range(times)]


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("eps", [(0.0,), (0.2,), (0.0, 0.1, 0.1)])
def test_layers_and_their_gradient_are_those_of_dense_matrices(layers, eps):
    net = start()
    first = net.nodes.weight.detach().clone().requires_grad_()
    rows = torch.randperm(len(first))[:9]
    noises = drawn(first.shape, 3, layers * sum(length > 0 for length in eps))
    torch.manual_seed(3)
    got, zeroth = noisy_layers_rows(net.adjacency, first, rows, layers, eps)
    assert got.shape == (len(eps), layers, 9, 5)
    assert torch.equal(zeroth, first[rows])
    weights = torch.randn(got.shape)
    (gradient,) = torch.autograd.grad((got * weights).sum() + (zeroth * weights[0, 0]).sum(), first)
    total = (first[rows] * weights[0, 0]).sum()
    noisy = sum(length > 0 for length in eps)
    for view, length in enumerate(eps):
        # At every layer the noise of one propagation after the other is drawn.
        own = (
            [noises[layer * noisy + view - (len(eps) - noisy)] for layer in range(layers)]
            if length
            else [torch.ones_like(first)] * layers
        )
        expected = dense(layers, first, length, own)
        for layer in range(layers):
            assert torch.allclose(got[view, layer], expected[layer][rows], atol=1e-6)
            total = total + (expected[layer][rows] * weights[view, layer]).sum()
    (other,) = torch.autograd.grad(total, first)
    assert torch.allclose(gradient, other, atol=1e-5)


def test_what_stands_alone_stays_where_it_is():
    net = start()
    layers, _ = noisy_layers_rows(
        net.adjacency, net.nodes.weight, torch.tensor([N - 1, 0]), 2, (0.5,)
    )
    assert not layers[0, :, 0].any()
    assert layers[0, :, 1].all()


def test_noise_has_its_length_and_keeps_to_its_orthant():
    net = start()
    rows = torch.arange(N - 1)
    layers, _ = noisy_layers_rows(net.adjacency, net.nodes.weight, rows, 1, (0.0, 0.3, 0.3))
    apart = layers[1:, 0] - layers[0, 0]
    assert torch.allclose(apart.norm(dim=-1), torch.tensor(0.3))
    assert (apart * layers[0, 0] >= 0).all()
    assert not torch.allclose(apart[0], apart[1])


def naive_nce(one: Tensor, other: Tensor, temperature: float) -> float:
    total = 0.0
    for v in range(len(one)):
        logits = [
            float(F.cosine_similarity(one[v], other[w], dim=0)) / temperature
            for w in range(len(one))
        ]
        total += math.log(sum(math.exp(x) for x in logits)) - logits[v]
    return total / len(one)


def test_info_nce_is_its_definition():
    one, other = torch.randn(6, 4), torch.randn(6, 4)
    assert info_nce(one, other, 0.2).item() == pytest.approx(naive_nce(one, other, 0.2), rel=1e-5)
    assert info_nce(one[:1], other[:1], 0.2).item() == 0
    assert torch.autograd.gradcheck(
        lambda a, b: info_nce(a, b, 0.5),
        (one.double().requires_grad_(), other.double().requires_grad_()),
    )


def contrast(batch, one: Tensor, other: Tensor, temperature: float) -> float:
    """Over distinct users and distinct positives, from the views of all nodes."""
    users, items = sorted(set(batch.user.tolist())), sorted({N + i for i in batch.pos.tolist()})
    return naive_nce(one[users], other[users], temperature) + naive_nce(
        one[items], other[items], temperature
    )


def bpr(batch, vectors: Tensor) -> list[float]:
    losses = []
    for b in range(len(batch)):
        negatives = batch.neg.tolist() if batch.shared else batch.neg[b].tolist()
        user, pos = vectors[batch.user[b]], vectors[N + batch.pos[b]]
        each = [
            float(F.softplus(user @ vectors[N + j] - user @ pos))
            for k, j in enumerate(negatives)
            if batch.mask is None or batch.mask[b, k]
        ]
        losses.append(sum(each) / len(each))
    return losses


def squares(batch, first: Tensor) -> float:
    nodes = [*batch.user.tolist(), *(N + batch.pos).tolist(), *(N + batch.neg).reshape(-1).tolist()]
    return sum(float(first[node].square().sum()) for node in nodes) / 2 / len(batch)


@pytest.mark.parametrize("pool", ["own", "shared"])
@pytest.mark.parametrize("l2", [0.0, 0.4])
def test_simgcl_is_its_definition(pool, l2):
    net = start(
        l2=l2, contrast=0.7, temperature=0.3, eps=0.15, sampler=Sampler(negatives=3, pool=pool)
    )
    batch, first = batch_of(net), net.nodes.weight.detach()
    assert len(set(batch.user.tolist())) < len(batch)  # some user twice
    noises = drawn(first.shape, 5, 6)
    torch.manual_seed(5)
    terms = net.loss(batch)
    clean = torch.stack(dense(3, first, 0.0, [torch.ones_like(first)] * 3)).mean(0)
    one, other = (torch.stack(dense(3, first, 0.15, noises[part::2])).mean(0) for part in (0, 1))
    assert terms.pair.tolist() == pytest.approx(bpr(batch, clean), rel=1e-4)
    assert terms.extra.item() == pytest.approx(
        0.7 * contrast(batch, one, other, 0.3) + l2 * squares(batch, first), rel=1e-4
    )


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_xsimgcl_is_its_definition(layer):
    net = start(
        XSimGCL,
        l2=0.4,
        contrast=0.7,
        temperature=0.3,
        eps=0.15,
        contrast_layer=layer,
        sampler=Sampler(negatives=2),
    )
    batch, first = batch_of(net), net.nodes.weight.detach()
    noises = drawn(first.shape, 5, 3)
    torch.manual_seed(5)
    terms = net.loss(batch)
    layers = dense(3, first, 0.15, noises)
    mean = torch.stack(layers).mean(0)
    assert terms.pair.tolist() == pytest.approx(bpr(batch, mean), rel=1e-4)
    assert terms.extra.item() == pytest.approx(
        0.7 * contrast(batch, mean, layers[layer - 1], 0.3) + 0.4 * squares(batch, first), rel=1e-4
    )


def test_one_noisy_propagation_draws_once_a_layer(monkeypatch):
    calls = []
    draw = torch.rand
    monkeypatch.setattr(
        torch, "rand", lambda *args, **named: calls.append(1) or draw(*args, **named)
    )
    net = start(XSimGCL)
    net.loss(batch_of(net))
    assert len(calls) == 3
    net = start(SimGCL)
    calls.clear()
    net.loss(batch_of(net))
    assert len(calls) == 6


def test_without_noise_it_is_lightgcn_without_layer_0_and_a_contrast_of_equal_views():
    net = start(eps=0.0, contrast=1.0, temperature=0.2, l2=0.1)
    other = LightGCN(dim=5, layers=3, l2=0.1).build(TRAIN)
    with torch.no_grad():
        other.nodes.weight.copy_(net.nodes.weight)
    first, batch = net.nodes.weight.detach(), batch_of(net)
    light, _ = mean_layers_rows(net.adjacency, first, torch.arange(len(first)), 3)
    ranked = (4 * light - first) / 3
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(bpr(batch, ranked), rel=1e-4)
    expected = contrast(batch, ranked, ranked, 0.2) + other.loss(batch).extra.item()
    assert terms.extra.item() == pytest.approx(expected, rel=1e-4)
    scorer = net.scorer()
    assert torch.allclose(torch.cat([scorer.user, scorer.item]), ranked, atol=1e-6)


@pytest.mark.parametrize("kind", [SimGCL, XSimGCL])
def test_what_is_ranked_has_no_noise(kind):
    quiet, loud = (start(kind, eps=eps).scorer() for eps in (0.0, 0.9))
    assert torch.equal(quiet.user, loud.user)
    assert torch.equal(quiet.item, loud.item)
    matrix, first = start(kind).adjacency.to_dense(), start(kind).nodes.weight.detach()
    mean = (matrix @ first + matrix @ matrix @ first + matrix @ matrix @ matrix @ first) / 3
    assert torch.allclose(torch.cat([loud.user, loud.item]), mean, atol=1e-6)


@pytest.mark.parametrize("kind", [SimGCL, XSimGCL])
def test_gradients(kind):
    """By differences so small that no coordinate changes its sign, whose noise would jump."""
    net = start(kind, l2=0.3, temperature=0.5).double()
    check_gradients(net, batch_of(net, 7))


@pytest.mark.parametrize("kind", [SimGCL, XSimGCL])
def test_what_is_switched_off_is_not_computed(kind):
    net = start(kind, contrast=0.0, l2=0.0)
    assert net.loss(batch_of(net)).extra is None
    net = start(kind, contrast=0.0, l2=0.4)
    batch = batch_of(net)
    assert net.loss(batch).extra.item() == pytest.approx(
        0.4 * squares(batch, net.nodes.weight.detach()), rel=1e-5
    )


def test_equal_seeds_draw_equal_noise():
    net = start(XSimGCL)
    batch, values = batch_of(net), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(net.loss(batch).total().item())
    assert values[0] == values[1] != values[2]


def test_the_start_is_uniform_after_xavier():
    first = start(dim=64).nodes.weight.detach()
    for part, n in ((first[:N], N), (first[N:], TRAIN.n_items)):
        bound = math.sqrt(6 / (n + 64))
        assert 0.99 * bound < part.abs().max().item() <= bound
        assert np.isclose(part.std().item(), bound / math.sqrt(3), rtol=0.05)


def test_what_does_not_go_together():
    with pytest.raises(InputError, match="contrast_layer must be at most layers = 2, got 3"):
        XSimGCL(layers=2, contrast_layer=3)
    for kind in (SimGCL, XSimGCL):
        with pytest.raises(InputError, match="compares with negatives"):
            kind(sampler=Sampler(negatives=0))


@pytest.mark.parametrize("kind", [SimGCL, XSimGCL])
def test_a_denoiser_finds_the_logits(kind):
    net = start(kind, loss=Loss(kind="bce"), sampler=Sampler(negatives=3), eps=0.0)
    batch = batch_of(net)
    terms = net.loss(batch)
    pos, neg = label_losses(terms.logits)
    assert torch.equal(terms.pair, pos + mean_negatives(terms.logits, neg))
    assert torch.allclose(
        terms.logits.neg, net.scorer().score(asked(batch.user)).gather(1, batch.neg), atol=1e-5
    )
    assert start(kind).loss(batch_of(start(kind))).logits is None
