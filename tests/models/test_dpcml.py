"""DPCML against a loop over triplets and vectors, and the equivalences within the family."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from asking import asked
from planted import two_camps
from torch import Tensor

from recsys.data.types import Interactions
from recsys.errors import InputError
from recsys.models.cml import CML
from recsys.models.dpcml import DPCML, vector_counts
from recsys.nn.diversity import Diversity, diversity
from recsys.nn.losses import Loss
from recsys.sampling import Batch, PairStream, Sampler
from recsys.scorer import Factors, MultiFactors
from recsys.training.loop import Train, fit

TRAIN, _ = two_camps()
NONE = Diversity(weight=0.0)
COUNT = TRAIN.pairs.csr.getnnz(1)


def hinge(reduce: str = "hardest", **more: Any) -> Loss:
    return Loss(kind="hinge", reduce=reduce, margin=0.8, **more)


def network(recipe: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return recipe.build(TRAIN)


def batches(recipe: Any, size: int = 40, epochs: int = 1) -> list[Batch]:
    return [
        batch
        for epoch in range(epochs)
        for batch in PairStream(TRAIN.pairs, recipe.sampler, batch_size=size, seed=1).epoch(epoch)
    ]


def naive(net: Any, batch: Batch, kept: int) -> list[float]:
    """One triplet and one vector at a time."""
    recipe, users, items = (
        net.recipe,
        net.user.weight.detach().view(net.n_users, net.recipe.vectors, -1),
        net.item.weight.detach(),
    )
    counts = COUNT if recipe.assign == "adaptive" else np.full(net.n_users, 2**recipe.vectors)

    def s(user: int, item: int) -> float:
        n = min(recipe.vectors, max(1, int(math.log2(max(counts[user], 1)))))
        if recipe.similarity == "dot":
            return -max(float(users[user, c] @ items[item]) for c in range(n))
        return min(float((users[user, c] - items[item]).square().sum()) for c in range(n))

    result = []
    for b in range(len(batch)):
        user, neg = int(batch.user[b]), batch.neg if batch.shared else batch.neg[b]
        losses = [
            max(0.0, recipe.loss.margin + s(user, int(batch.pos[b])) - s(user, int(k)))
            for place, k in enumerate(neg)
            if batch.mask is None or batch.mask[b, place]
        ]
        hardest = sorted(losses, reverse=True)[:kept]
        result.append(sum(hardest) / len(hardest) if hardest else 0.0)
    return result


SAMPLERS = {
    "own": Sampler(negatives=5),
    "shared": Sampler(pool="shared", negatives=6),
    "all": Sampler(pool="all"),
}
REDUCES = {
    "each": (hinge("each"), 99),
    "hardest": (hinge("hardest"), 1),
    "top": (hinge("top", top=3), 3),
}


@pytest.mark.parametrize("pool", SAMPLERS)
@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize(
    "more",
    [{}, {"assign": "adaptive"}, {"similarity": "dot", "item_space": "sphere"}],
    ids=["basic", "adaptive", "gfja"],
)
def test_the_loss_is_its_definition(pool, reduce, more):
    loss, kept = REDUCES[reduce]
    net = network(
        DPCML(dim=6, vectors=3, loss=loss, sampler=SAMPLERS[pool], diversity=NONE, **more)
    )
    batch = batches(net.recipe)[0]
    terms = net.loss(batch)
    assert terms.extra is None
    assert terms.pair.tolist() == pytest.approx(naive(net, batch, kept), abs=1e-5)


def gradients(net: Any, loss: Tensor) -> list[Tensor]:
    return [
        gradient.to_dense()
        for gradient in torch.autograd.grad(loss, [net.user.weight, net.item.weight])
    ]


@pytest.mark.parametrize("reduce", REDUCES)
def test_the_gradient_is_that_of_the_plain_formula(reduce):
    """Written with broadcasting over users, vectors and candidates, and left to autograd."""
    loss, kept = REDUCES[reduce]
    net = network(
        DPCML(dim=6, vectors=3, loss=loss, sampler=SAMPLERS["own"], diversity=NONE)
    ).double()
    batch = batches(net.recipe)[0]
    users = net.user.weight.view(net.n_users, 3, 6)[batch.user]
    items = net.item.weight[torch.cat([batch.pos[:, None], batch.neg], 1)]
    nearest = (users[:, :, None, :] - items[:, None, :, :]).square().sum(-1).amin(1)
    plain = (
        torch.relu(0.8 + nearest[:, :1] - nearest[:, 1:]).topk(min(kept, 5), dim=1).values.mean(1)
    )
    for got, want in zip(
        gradients(net, net.loss(batch).total()), gradients(net, plain.mean()), strict=True
    ):
        assert torch.allclose(got, want, atol=1e-12)


@pytest.mark.parametrize("reduce", ["each", "hardest"])
def test_one_vector_is_unis_and_hars(reduce):
    """DPCML1 and DPCML2 with C = 1 and without DCRS train exactly as CML without weights."""
    one = DPCML(
        dim=8,
        vectors=1,
        loss=hinge(reduce),
        sampler=SAMPLERS["own"],
        diversity=NONE,
        user_std=8**-0.5,
    )
    cml = CML(dim=8, loss=hinge(reduce), sampler=SAMPLERS["own"], user_space="sphere")
    config = Train(epochs=4, batch_size=50, lr=0.03, rows="touched", device="cpu")
    a, b = (fit(recipe, TRAIN, None, config).scorer for recipe in (one, cml))
    assert isinstance(a, Factors)
    assert torch.allclose(a.user, b.user, atol=1e-4)
    assert torch.allclose(a.item, b.item, atol=1e-4)


def test_hars_is_the_hardest_one():
    common = {"dim": 6, "vectors": 3, "sampler": SAMPLERS["own"], "diversity": NONE}
    hars, top, share = (
        DPCML(loss=loss, **common)
        for loss in (hinge("hardest"), hinge("top", top=1), hinge("top", share=0.2))
    )
    batch = batches(hars)[0]
    values = [network(recipe).loss(batch).pair for recipe in (hars, top, share)]
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])


def test_dihars_is_the_least_of_its_learned_form():
    """The minimum over gamma of gamma + sum [l - gamma]+ / kappa is the mean of the kappa largest.

    It is attained at the kappa-th largest.
    """
    common = {
        "dim": 6,
        "vectors": 3,
        "sampler": Sampler(negatives=8),
        "diversity": NONE,
        "loss": hinge("top", share=0.4),
    }
    closed, learned = network(DPCML(**common)), network(DPCML(gamma="learned", **common))
    for batch in batches(closed.recipe):
        best = torch.full((len(batch),), torch.inf)
        for gamma in np.linspace(0, 3, 601):
            with torch.no_grad():
                learned.gamma.weight.fill_(gamma / learned.recipe.gamma_rate)
            value = learned.loss(batch).pair.detach()
            assert (value >= closed.loss(batch).pair - 1e-5).all()
            best = torch.minimum(best, value)
        assert torch.allclose(best, closed.loss(batch).pair, atol=6e-3)


def test_a_learned_threshold_goes_to_its_place():
    recipe = DPCML(
        dim=6,
        vectors=2,
        sampler=Sampler(pool="all"),
        diversity=NONE,
        gamma="learned",
        loss=hinge("top", share=0.25),
    )
    net = network(recipe)
    batch = next(
        PairStream(TRAIN.pairs, recipe.sampler, batch_size=len(TRAIN.pairs), seed=0).epoch(0)
    )
    optimizer = torch.optim.SGD([net.gamma.weight], lr=1e-4)
    for _ in range(600):
        optimizer.zero_grad()
        net.loss(batch).pair.sum().backward()
        optimizer.step()
        net.constrain(batch)
    aim = network(replace(recipe, gamma="closed")).loss(batch).pair
    assert (net.gamma.weight >= 0).all()
    assert torch.allclose(net.loss(batch).pair, aim, atol=0.03)


def test_dihars_over_all_negatives_is_partial_auc_of_the_training_items():
    """With all items, the loss is 0 iff positives lead the hardest share by the margin."""
    recipe = DPCML(
        dim=2, vectors=1, sampler=Sampler(pool="all"), diversity=NONE, loss=hinge("top", share=1.0)
    )
    net = network(recipe)
    with torch.no_grad():
        net.user.weight[:, 0], net.user.weight[:, 1] = (
            1.0 - 2.0 * (torch.arange(net.n_users) % 2),
            0.0,
        )
        net.item.weight[:, 0], net.item.weight[:, 1] = (
            1.0 - 2.0 * (torch.arange(net.n_items) % 2),
            0.0,
        )
    batch = batches(recipe)[0]
    expected = [
        sum(
            0.8
            for k in range(net.n_items)
            if k % 2 == int(u) % 2 and not TRAIN.pairs.csr[int(u), k]
        )
        / sum(not TRAIN.pairs.csr[int(u), k] for k in range(net.n_items))
        for u in batch.user
    ]
    assert net.loss(batch).pair.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("rounding", ["floor", "round", "ceil"])
def test_the_number_of_vectors(rounding):
    n = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 31, 32, 33, 10**6])
    expected = [
        min(
            5,
            max(
                1,
                int(
                    {"floor": math.floor, "round": round, "ceil": math.ceil}[rounding](
                        math.log2(max(x, 1))
                    )
                ),
            ),
        )
        for x in n
    ]
    found = vector_counts(n, 5, "log2", rounding)
    assert found.tolist() == expected
    for growth in ("log2", "sqrt", "linear"):
        assert (np.diff(vector_counts(np.arange(500), 5, growth, rounding)) >= 0).all()
    assert vector_counts(n, 1).tolist() == [1] * len(n)


def test_vectors_a_user_lacks_never_win_and_never_move():
    recipe = DPCML(
        dim=6,
        vectors=5,
        assign="adaptive",
        loss=hinge("each"),
        sampler=SAMPLERS["own"],
        diversity=Diversity(low=1.0, high=1.0, weight=30.0),
    )
    net = network(recipe)
    lacking = torch.arange(5) >= torch.from_numpy(vector_counts(COUNT, 5))[:, None]
    assert lacking.any()
    assert (~lacking).any()
    with torch.no_grad():  # put them right upon an item, where they would win everything
        net.user.weight.view(-1, 5, 6)[lacking] = net.item.weight[3]
    batch = batches(recipe, 500)[0]
    net.loss(batch).total().backward()
    assert not net.user.weight.grad.view(-1, 5, 6)[lacking].any()
    scorer = net.scorer()
    assert torch.equal(~scorer.valid, lacking)
    each = -(scorer.user[:, :, None, :] - scorer.item).square().sum(-1)
    assert torch.allclose(
        scorer.score(asked(torch.arange(scorer.n_users))),
        each.masked_fill(lacking[:, :, None], -torch.inf).amax(1),
        atol=1e-5,
    )


@pytest.mark.parametrize("over", ["batch", "all"])
@pytest.mark.parametrize("reduce", ["each", "hardest"])
def test_the_diversity_term(over, reduce):
    settings = Diversity(weight=7.0, low=0.3, high=0.9, over=over)
    net = network(
        DPCML(dim=6, vectors=3, loss=hinge(reduce), sampler=SAMPLERS["own"], diversity=settings)
    )
    batch = batches(net.recipe)[0]
    table = net.user.weight.view(-1, 3, 6)
    each = diversity(settings, table if over == "all" else table[batch.user])
    triplets = len(batch) * (5 if reduce == "each" else 1)
    assert float(net.loss(batch).extra.detach()) == pytest.approx(
        7 * float(each.mean().detach()) / triplets, rel=1e-5
    )
    net.loss(batch).extra.backward()
    moved = set(net.user.weight.grad.any(1).nonzero().view(-1).tolist())
    assert moved == (set(range(net.n_users)) if over == "all" else set(batch.user.tolist()))


@pytest.mark.parametrize("rows", ["dense", "touched"])
@pytest.mark.parametrize("item_space", ["ball", "sphere", "lazy-ball", "free"])
def test_vectors_stay_in_their_spaces(rows, item_space):
    recipe = DPCML(dim=8, vectors=3, item_space=item_space, sampler=SAMPLERS["own"])
    scorer = fit(
        recipe, TRAIN, None, Train(epochs=5, batch_size=40, lr=0.1, rows=rows, device="cpu")
    ).scorer
    assert isinstance(scorer, MultiFactors)
    assert torch.allclose(scorer.user.norm(dim=2), torch.tensor(1.0), atol=1e-5)
    norm = scorer.item.norm(dim=1)
    if item_space == "ball":
        assert norm.max() <= 1 + 1e-5
    elif item_space == "sphere":
        assert torch.allclose(norm, torch.tensor(1.0), atol=1e-5)
    else:
        assert norm.max() > 1 + 1e-3, "a lazy ball lets what was not looked up stand outside"


def test_a_lazy_ball_puts_back_what_is_looked_up():
    net = network(DPCML(dim=6, vectors=2, item_space="lazy-ball", sampler=SAMPLERS["own"]))
    with torch.no_grad():
        net.item.weight.mul_(50)
    batch = batches(net.recipe, 4)[0]
    net.loss(batch)
    looked = torch.zeros(net.n_items, dtype=torch.bool)
    looked[torch.cat([batch.pos, batch.neg.view(-1)])] = True
    assert net.item.weight[looked].norm(dim=1).max() <= 1 + 1e-5
    assert net.item.weight[~looked].norm(dim=1).min() > 1


def test_more_pairs_never_mean_fewer_vectors():
    pairs = Interactions(
        np.repeat(np.arange(4), [1, 4, 9, 40]),
        np.concatenate([np.arange(n) for n in (1, 4, 9, 40)]),
        5,
        40,
    )
    assert vector_counts(pairs.csr.getnnz(1), 4).tolist() == [1, 2, 3, 4, 1]


def test_settings_that_do_not_go_together():
    with pytest.raises(InputError, match="gamma = 'learned' needs hinge losses"):
        DPCML(gamma="learned")
    with pytest.raises(InputError, match="negatives = 0"):
        DPCML(sampler=Sampler(negatives=0))
    DPCML(sampler=Sampler(negatives=0, pool="all"))
