"""LightGCN with synthetic negatives (MixGCF) against a loop over pairs, layers and candidates.

`tests/nn/test_graph.py` and `tests/training/test_train.py` cover it without them.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from planted import two_camps

from recsys.errors import InputError
from recsys.models.lightgcn import LightGCN
from recsys.nn.losses import Loss
from recsys.sampling import PairStream, Sampler
from recsys.training.loop import Train, fit
from recsys.training.progress import StepDone

TRAIN, VALID = two_camps(users=20, items=20, each=5, kept=2)
MIX = LightGCN(dim=5, layers=2, mix=True, l2=0.3, init_std=1.0, sampler=Sampler(negatives=4))


def built(recipe: LightGCN, batch_size: int = 30):
    torch.manual_seed(0)
    network = recipe.build(TRAIN).double()
    network.adjacency = network.adjacency.double()
    return network, next(
        PairStream(TRAIN.pairs, network.sampler, batch_size=batch_size, seed=1).epoch(0)
    )


@pytest.mark.parametrize("kind", ["bpr", "bce"])
@pytest.mark.parametrize("layers", [0, 1, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_a_step_is_that_of_a_plain_loop(kind, layers, masked):
    """Value and gradient with the drawn shares; a pair without negatives has no loss from them."""
    network, batch = built(
        LightGCN(
            dim=5,
            layers=layers,
            mix=True,
            l2=0.3,
            init_std=1.0,
            loss=Loss(kind=kind),
            sampler=Sampler(negatives=4),
        )
    )
    if masked:
        mask = torch.rand(len(batch), 4, generator=torch.Generator().manual_seed(2)) < 0.6
        mask[:2] = False
        object.__setattr__(batch, "mask", mask)
    torch.manual_seed(7)
    terms = network.loss(batch)
    torch.manual_seed(7)
    share = torch.rand(len(batch), layers + 1, dtype=torch.float64)

    each = [network.nodes.weight]
    for _ in range(layers):
        each.append(network.adjacency.to_dense() @ each[-1])
    n_users, pairs, square = TRAIN.n_users, [], 0.0
    for b in range(len(batch)):
        u, i = int(batch.user[b]), n_users + int(batch.pos[b])
        user = torch.stack([layer[u] for layer in each]).mean(0)
        usable = [
            n_users + int(j) for k, j in enumerate(batch.neg[b]) if not masked or batch.mask[b, k]
        ]
        parts = []
        for number, layer in enumerate(each):
            mixes = [
                share[b, number] * layer[i] + (1 - share[b, number]) * layer[j] for j in usable
            ]
            parts.append(
                max(
                    mixes,
                    key=lambda mix: float((user @ mix).detach()),
                    default=torch.zeros(5, dtype=torch.float64),
                )
            )
        pos, neg = (
            user @ torch.stack([layer[i] for layer in each]).mean(0),
            user @ torch.stack(parts).mean(0),
        )
        own, others = (
            (F.softplus(neg - pos), 0.0) if kind == "bpr" else (F.softplus(-pos), F.softplus(neg))
        )
        pairs.append((own if kind == "bce" or usable else 0 * own) + (others if usable else 0.0))
        square = square + 0.5 * (
            each[0][u].square().sum() + each[0][i].square().sum() + parts[0].square().sum()
        )
    pairs = torch.stack(pairs)
    assert torch.allclose(terms.pair, pairs)
    assert (terms.logits is None) == (kind == "bpr")
    if not masked:
        assert torch.allclose(terms.extra, 0.3 / len(batch) * square)
        (got,), (expected,) = (
            torch.autograd.grad(x, network.nodes.weight)
            for x in (terms.total(), pairs.mean() + 0.3 / len(batch) * square)
        )
    else:
        # For a pair without negatives, the regularisation takes any one of the candidates.
        (got,), (expected,) = (
            torch.autograd.grad(x.mean(), network.nodes.weight) for x in (terms.pair, pairs)
        )
    assert torch.allclose(got, expected)


def test_a_mix_of_candidates_that_are_one_item_is_between_it_and_the_positive():
    network, batch = built(MIX)
    batch.neg[:] = batch.neg[:, :1]
    plain, _ = built(LightGCN(dim=5, layers=2, init_std=1.0))
    single = plain.loss(batch).pair
    # Each layer draws its own share of the way to the positive, with mean 1/2; log(expm1) inverts a
    # softplus.
    torch.manual_seed(7)
    draws = (
        torch.stack([network.loss(batch).pair.detach() for _ in range(2000)]).expm1().log().mean(0)
    )
    assert torch.allclose(draws, single.detach().expm1().log() / 2, atol=0.25)


def test_a_fit_with_mixes_learns_and_resumes_to_the_same_bytes(tmp_path):
    config = Train(
        epochs=6, batch_size=23, lr=0.05, patience=None, device="cpu", checkpoint_seconds=0.0
    )
    whole = fit(MIX, TRAIN, None, config)
    assert whole.history[-1].loss < 0.8 * whole.history[0].loss

    def stop(event):
        if isinstance(event, StepDone) and (event.epoch, event.step) == (1, 2):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(MIX, TRAIN, None, config, folder=tmp_path, watch=stop)
    again = fit(MIX, TRAIN, None, config, folder=tmp_path, resume=True)
    assert torch.equal(again.scorer.user, whole.scorer.user)
    assert torch.equal(again.scorer.item, whole.scorer.item)


@pytest.mark.parametrize(
    ("sampler", "says"),
    [
        (Sampler(negatives=1), "sampler.negatives = 1"),
        (Sampler(negatives=9, pool="shared"), "sampler.pool = 'shared'"),
        (Sampler(negatives=9, pool="mixed"), "sampler.pool = 'mixed'"),
        (Sampler(pool="in-batch"), "sampler.pool = 'in-batch'"),
    ],
)
def test_a_mix_wants_several_candidates_of_a_pairs_own(sampler, says):
    with pytest.raises(InputError, match=says):
        LightGCN(mix=True, sampler=sampler)
    LightGCN(sampler=sampler)


@pytest.mark.parametrize("reduce", ["hardest", "top", "warp", "soft"])
def test_a_mix_leaves_nothing_to_reduce(reduce):
    with pytest.raises(InputError, match=f"'{reduce}' needs several"):
        LightGCN(mix=True, sampler=Sampler(negatives=4), loss=Loss(reduce=reduce))
