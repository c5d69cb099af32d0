"""NeuMF and its scorer against the formula, pair by pair."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from asking import asked
from differences import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import two_camps
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from recsys.errors import InputError
from recsys.models.gmf import GMF
from recsys.models.neumf import NeuMF
from recsys.nn.losses import label_losses, mean_negatives
from recsys.sampling import PairStream, Sampler
from recsys.scorer import Deep, from_state
from recsys.scorer import pairwise as scorers
from recsys.tensors import load_scorer, save_scorer

TRAIN, _ = two_camps()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def start(**changes: Any) -> Any:
    torch.manual_seed(0)
    net = NeuMF(**{"dim": 3, "init_std": 0.7} | changes).build(TRAIN)
    with torch.no_grad():
        net.bias.fill_(0.3)
        for layer in net.tower:
            layer.bias.normal_(0, 0.3)
    return net


def batch_of(net, size=6):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


def logit(net, user: int, item: int) -> float:
    """s by its definition, with user and item side by side in the tower."""
    dim = net.recipe.dim
    p, q = net.user.weight[user].detach(), net.item.weight[item].detach()
    hidden = torch.cat([p[dim:], q[dim:]])
    for layer in net.tower:
        hidden = torch.relu(layer.weight.detach() @ hidden + layer.bias.detach())
    both = torch.cat([p[:dim] * q[:dim], hidden])
    return float(net.output.detach() @ both + net.bias.detach())


@pytest.mark.parametrize("pool", ["own", "shared"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_loss_is_its_definition(pool, depth):
    net = start(sampler=Sampler(negatives=3, pool=pool), depth=depth, l2=0.2)
    batch = batch_of(net)
    expected, squares = [], 0.0
    users, items = net.user.weight.detach(), net.item.weight.detach()
    for b in range(6):
        user, item = int(batch.user[b]), int(batch.pos[b])
        others = batch.neg.tolist() if batch.shared else batch.neg[b].tolist()
        parts = [
            math.log1p(math.exp(logit(net, user, j)))
            for k, j in enumerate(others)
            if batch.mask is None or batch.mask[b, k]
        ]
        expected.append(math.log1p(math.exp(-logit(net, user, item))) + sum(parts) / len(parts))
        rows = [users[user], items[item]] + (
            [] if batch.shared and b else [items[j] for j in others]
        )
        squares += sum(float(row.square().sum()) for row in rows)
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, rel=1e-4)
    assert terms.extra.item() == pytest.approx(0.2 * squares / 2 / 6, rel=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradients(dropout):
    net = start(sampler=Sampler(negatives=2), l2=0.1, dropout=dropout).double()
    check_gradients(net, batch_of(net, 4))


def test_shapes_of_the_studies():
    net = NeuMF().build(TRAIN)
    assert net.user.weight.shape == (TRAIN.n_users, 32 + 128)
    assert [tuple(layer.weight.shape) for layer in net.tower] == [(128, 256), (64, 128), (32, 64)]
    paper = NeuMF(dim=8).build(TRAIN)
    assert [layer.weight.shape[1] for layer in paper.tower] == [64, 32, 16]
    assert net.user.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not any(layer.bias.any() for layer in net.tower)
    assert 0.9 * (3 / 64) ** 0.5 < net.output.abs().max().item() <= (3 / 64) ** 0.5


@pytest.mark.parametrize("depth", [1, 3])
def test_a_score_is_the_logit(depth):
    net = start(depth=depth, dropout=0.5)
    scores = net.scorer().score(asked(torch.tensor([3, 0])))
    assert scores[0].tolist() == pytest.approx(
        [logit(net, 3, item) for item in range(TRAIN.n_items)], abs=1e-5
    )
    assert net.training  # asking for a scorer leaves the network as it was


def test_without_a_tower_it_is_gmf():
    neumf, gmf = start(), GMF(dim=3).build(TRAIN)
    with torch.no_grad():
        neumf.output[3:] = 0
        gmf.output.copy_(neumf.output[:3])
        gmf.bias.copy_(neumf.bias)
        gmf.user.weight.copy_(neumf.user.weight[:, :3])
        gmf.item.weight.copy_(neumf.item.weight[:, :3])
    batch = batch_of(gmf, 9)
    assert torch.allclose(neumf.loss(batch).pair, gmf.loss(batch).pair, atol=1e-6)
    assert torch.allclose(
        neumf.scorer().score(asked(torch.arange(4))),
        gmf.scorer().score(asked(torch.arange(4))),
        atol=1e-6,
    )


def test_dropout_is_of_the_input_of_every_layer():
    net = start(dropout=0.5)
    batch = batch_of(net, 30)
    values = [net.loss(batch).pair for _ in range(2)]
    assert not torch.allclose(*values)
    net.eval()
    values = [net.loss(batch).pair for _ in range(2)]
    assert torch.equal(*values)


def deep(
    users: int = 5, items: int = 7, widths: tuple[int, ...] = (4, 3), dim: int = 2, seed: int = 0
) -> Deep:
    layers = tuple(
        (normal(h, w, seed=seed + h), normal(h, seed=seed + w))
        for w, h in itertools.pairwise(widths)
    )
    parts = (normal(users, widths[0], seed=seed + 3), normal(items, widths[0], seed=seed + 4))
    return Deep(
        normal(users, dim, seed=seed + 1),
        normal(items, dim, seed=seed + 2),
        *parts,
        layers,
        normal(widths[-1], seed=seed + 5),
        torch.tensor(0.7),
    )


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 6),
    st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    st.sampled_from([1, 40, 400, 1 << 20]),
    st.integers(0, 99),
)
def test_scores_are_their_definition(users, items, widths, room, seed):
    scorer = deep(users, items, widths, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorers, "_ROOM", room)  # blocks of one user and one item, of some, of all
        got = scorer.score(asked(torch.arange(users).flip(0)))
    assert got.dtype == torch.float32
    for b, u in enumerate(reversed(range(users))):
        for i in range(items):
            hidden = torch.relu(scorer.user_part[u] + scorer.item_part[i])
            for weight, bias in scorer.layers:
                hidden = torch.relu(weight @ hidden + bias)
            assert got[b, i].item() == pytest.approx(
                float(scorer.user[u] @ scorer.item[i] + 0.7 + scorer.output @ hidden), abs=1e-4
            )


def test_the_scorer_as_a_value(tmp_path):
    scorer = deep()
    users = torch.tensor([3, 0, 0])
    assert (scorer.n_users, scorer.n_items, scorer.device.type) == (5, 7, "cpu")
    assert scorer.score(asked(torch.tensor([], dtype=torch.int64))).shape == (0, 7)
    tensors, meta = scorer.state()
    assert meta == {"kind": "deep", "layers": 1}
    again = from_state({name: tensor.clone() for name, tensor in tensors.items()}, meta)
    save_scorer(tmp_path / "scorer.safetensors", scorer, epoch=1)
    for other in (again, load_scorer(tmp_path / "scorer.safetensors")[0], scorer.to("cpu")):
        assert isinstance(other, Deep)
        assert all(torch.equal(other.state()[0][name], tensor) for name, tensor in tensors.items())
        assert torch.equal(other.score(asked(users)), scorer.score(asked(users)))
    del tensors["0.bias"]
    with pytest.raises(InputError, match=r"without its part '0\.bias'"):
        from_state(tensors, meta)


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.numel = max(self.numel, result.numel() if isinstance(result, Tensor) else 0)
        return result


def test_users_and_items_are_not_all_put_together_at_once(monkeypatch):
    scorer = deep(50, 400, (16, 8))
    whole = scorer.score(asked(torch.arange(50)))
    monkeypatch.setattr(scorers, "_ROOM", 4096)
    with Largest() as largest:
        parts = scorer.score(asked(torch.arange(50)))
    assert (
        largest.numel <= 50 * 400
    )  # the result itself; all pairs in the first layer would be 16 times that
    assert torch.allclose(whole, parts, atol=1e-4)


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        NeuMF(sampler=Sampler(negatives=0))


@pytest.mark.parametrize("pool", ["own", "shared"])
def test_a_denoiser_finds_the_logits(pool):
    """Of the loss by labels: `pair` can be made of them again, and they are the scores."""
    net = start(sampler=Sampler(negatives=3, pool=pool))
    batch = batch_of(net)
    terms = net.loss(batch)
    pos, neg = label_losses(terms.logits)
    assert torch.equal(terms.pair, pos + mean_negatives(terms.logits, neg))
    scores = net.scorer().score(asked(batch.user))
    assert torch.allclose(terms.logits.pos, scores.gather(1, batch.pos[:, None])[:, 0], atol=1e-5)
    assert torch.allclose(
        terms.logits.neg, scores.gather(1, batch.neg.expand(len(batch), -1)), atol=1e-5
    )
