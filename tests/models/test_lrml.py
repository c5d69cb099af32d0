"""LRML and its scorer against the formula, relation by relation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from asking import asked
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import two_camps
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from recsys.errors import InputError
from recsys.models.cml import CML
from recsys.models.lrml import LRML
from recsys.nn.losses import Loss
from recsys.sampling import PairStream, Sampler
from recsys.scorer import Factors, Relational, from_state
from recsys.scorer import pairwise as scorers
from recsys.tensors import load_scorer, save_scorer

TRAIN, _ = two_camps()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relational(
    users: int = 5, items: int = 7, dim: int = 4, memories: int = 3, seed: int = 0
) -> Relational:
    return Relational(
        normal(users, dim, seed=seed),
        normal(items, dim, seed=seed + 1),
        normal(dim, memories, seed=seed + 2),
        normal(memories, dim, seed=seed + 3),
    )


def relation(user: Tensor, item: Tensor, key: Tensor, memory: Tensor) -> Tensor:
    """r of one user and one item, by its definition."""
    logits = [
        sum(float(user[x]) * float(item[x]) * float(key[x, s]) for x in range(len(user)))
        for s in range(len(memory))
    ]
    attention = torch.tensor(logits, dtype=torch.float64).exp()
    return (attention / attention.sum()) @ memory.double()


def score(user: Tensor, item: Tensor, r: Tensor) -> float:
    return -float((user.double() + r - item.double()).square().sum())


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from([1, 40, 1 << 20]),
    st.integers(0, 99),
)
def test_scores_are_their_definition(users, items, dim, memories, room, seed):
    scorer = relational(users, items, dim, memories, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorers, "_ROOM", room)  # blocks of one user and one item, of some, of all
        got = scorer.score(asked(torch.arange(users).flip(0)))
    for b, u in enumerate(reversed(range(users))):
        for i in range(items):
            r = relation(scorer.user[u], scorer.item[i], scorer.key, scorer.memory)
            assert float(got[b, i]) == pytest.approx(
                score(scorer.user[u], scorer.item[i], r), rel=1e-4, abs=1e-4
            )


def test_the_scorer_as_a_value(tmp_path):
    scorer = relational()
    users = torch.tensor([3, 0, 0])
    assert (scorer.n_users, scorer.n_items, scorer.device.type) == (5, 7, "cpu")
    assert scorer.score(asked(users)).dtype == torch.float32
    assert scorer.score(asked(torch.tensor([], dtype=torch.int64))).shape == (0, 7)
    tensors, meta = scorer.state()
    assert meta == {"kind": "relational"}
    again = from_state({name: tensor.clone() for name, tensor in tensors.items()}, meta)
    save_scorer(tmp_path / "scorer.safetensors", scorer, epoch=1)
    for other in (again, load_scorer(tmp_path / "scorer.safetensors")[0], scorer.to("cpu")):
        assert isinstance(other, Relational)
        assert all(torch.equal(other.state()[0][name], tensor) for name, tensor in tensors.items())
        assert torch.allclose(other.score(asked(users)), scorer.score(asked(users)), rtol=1e-5)
    del tensors["memory"]
    with pytest.raises(InputError, match="without its part 'memory'"):
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


def test_no_relation_of_a_user_and_an_item_is_built(monkeypatch):
    scorer = relational(users=50, items=400, dim=16, memories=4)
    with Largest() as largest:
        whole = scorer.score(asked(torch.arange(50)))
    assert largest.numel <= 50 * 400 * 4  # attention; relations would take 16
    monkeypatch.setattr(scorers, "_ROOM", 4096)
    with Largest() as largest:
        parts = scorer.score(asked(torch.arange(50)))
    assert largest.numel <= 50 * 400  # the result itself
    assert torch.allclose(whole, parts, atol=1e-4)


def test_one_memory_is_one_shift_of_all_users():
    scorer = relational(memories=1)
    shifted = Factors(scorer.user + scorer.memory, scorer.item, "euclidean")
    assert torch.allclose(
        scorer.score(asked(torch.arange(5))), shifted.score(asked(torch.arange(5))), atol=1e-4
    )


def start(**changes: Any) -> Any:
    torch.manual_seed(0)
    return LRML(**{"dim": 5, "memories": 3, "sampler": Sampler(negatives=4)} | changes).build(TRAIN)


def within(vector: Tensor, radius: float) -> Tensor:
    return vector * min(1.0, radius / float(vector.norm()))


@pytest.mark.parametrize("pool", ["own", "shared", "in-batch"])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("clip", ["step", "lookup"])
def test_the_loss_of_the_network(pool, share, clip):
    net = start(
        sampler=Sampler(negatives=4, pool=pool), share_relation=share, clip=clip, radius=0.9
    )
    batch = next(PairStream(TRAIN.pairs, net.sampler, batch_size=6, seed=0).epoch(0))
    if clip == "step":
        net.constrain(batch)
    rows = batch.neg.expand(6, -1)
    expected = []
    for b in range(6):
        user, item = (
            within(net.user.weight[batch.user[b]].detach(), 0.9),
            within(net.item.weight[batch.pos[b]].detach(), 0.9),
        )
        own = relation(user, item, net.key.detach(), net.memory.detach())
        hinges = []
        for k, other in enumerate(rows[b].tolist()):
            if batch.mask is None or batch.mask[b, k]:
                negative = within(net.item.weight[other].detach(), 0.9)
                r = (
                    own
                    if share
                    else relation(user, negative, net.key.detach(), net.memory.detach())
                )
                hinges.append(max(0.0, 1 - score(user, item, own) + score(user, negative, r)))
        expected.append(sum(hinges) / len(hinges))
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    terms.total().backward()
    assert all(bool(parameter.grad.any()) for parameter in net.parameters())


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("clip", ["step", "lookup"])
def test_gradients(share, clip):
    """By differences, of every parameter."""
    net = start(share_relation=share, clip=clip, radius=0.9, loss=Loss(kind="bpr")).double()
    batch = next(PairStream(TRAIN.pairs, net.sampler, batch_size=3, seed=0).epoch(0))
    parameters = dict(net.named_parameters())
    for name, parameter in parameters.items():
        (gradient,) = torch.autograd.grad(net.loss(batch).total(), parameter)
        direction = normal(*parameter.shape, seed=len(name)).double()
        start_value, step = parameter.detach().clone(), 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.copy_(start_value + sign * step * direction)
            values.append(net.loss(batch).total().item())
        with torch.no_grad():
            parameter.copy_(start_value)
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(
            float((gradient * direction).sum()), rel=1e-5, abs=1e-8
        )


def test_with_an_empty_memory_it_is_cml():
    loss, sampler = Loss(kind="hinge", reduce="warp", margin=1.0), Sampler(negatives=4)
    lrml, torch_seed = start(loss=loss), 1
    torch.manual_seed(torch_seed)
    cml = CML(dim=5, loss=loss, sampler=sampler).build(TRAIN)
    with torch.no_grad():
        lrml.memory.zero_()
        for name in ("user", "item"):
            getattr(lrml, name).weight.copy_(getattr(cml, name).weight)
    batch = next(PairStream(TRAIN.pairs, sampler, batch_size=9, seed=0).epoch(0))
    assert torch.allclose(lrml.loss(batch).pair, cml.loss(batch).pair, atol=1e-5)
    users = torch.arange(TRAIN.n_users)
    assert torch.allclose(
        lrml.scorer().score(asked(users)), cml.scorer().score(asked(users)), atol=1e-5
    )


def test_what_is_ranked_is_what_was_trained():
    """A negative under its own relation has the score of the scorer, clipped at lookup."""
    net = start(
        share_relation=False,
        clip="lookup",
        radius=0.9,
        loss=Loss(kind="hinge", margin=100.0),
        sampler=Sampler(negatives=1),
    )
    batch = next(PairStream(TRAIN.pairs, net.sampler, batch_size=9, seed=0).epoch(0))
    scores = net.scorer().score(asked(batch.user))
    difference = scores.gather(1, batch.neg)[:, 0] - scores.gather(1, batch.pos[:, None])[:, 0]
    assert torch.allclose(net.loss(batch).pair, 100 + difference, atol=1e-4)


@pytest.mark.parametrize("clip", ["step", "lookup"])
def test_every_vector_is_in_the_ball(clip):
    net = start(clip=clip, radius=0.5)
    batch = next(PairStream(TRAIN.pairs, net.sampler, batch_size=6, seed=0).epoch(0))
    with torch.no_grad():
        for table in (net.user, net.item):
            table.weight.normal_(0, 0.2)
            table.weight[batch.pos[0] if table is net.item else batch.user[0]] = 0
    before = [table.weight.detach().clone() for table in (net.user, net.item)]
    net.loss(batch).total().backward()
    assert all(
        bool(torch.isfinite(parameter.grad).all()) for parameter in net.parameters()
    )  # of zeros, too
    net.constrain(batch)
    for now, table, was in zip(
        (net.scorer().user, net.scorer().item), (net.user, net.item), before, strict=True
    ):
        short = was.norm(dim=1) <= 0.5
        assert 0 < short.sum() < len(short)
        assert torch.equal(now[short], was[short])
        assert torch.allclose(now[~short].norm(dim=1), torch.tensor(0.5))
        assert torch.equal(table.weight, was) == (clip == "lookup")


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        LRML(sampler=Sampler(negatives=0))
