"""CML against a loop over pairs, its three penalties, its spaces, and the second stage of 2stS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from planted import two_camps
from scipy.stats import chisquare

from recsys.data.types import Dataset, FeatureTable
from recsys.errors import InputError
from recsys.models.cml import CML, Content, Covariance, covariance, second_stage
from recsys.nn.losses import Loss, warp_weight
from recsys.sampling import Batch, PairStream, Sampler
from recsys.training.loop import Train, fit

TRAIN, _ = two_camps()


def with_features(present: float = 0.7) -> Dataset:
    rng = np.random.default_rng(0)
    table = FeatureTable(
        rng.normal(size=(TRAIN.n_items, 5)).astype(np.float32), rng.random(TRAIN.n_items) < present
    )
    return replace(TRAIN, features={"text": table})


def network(recipe: CML, train: Dataset = TRAIN) -> Any:
    torch.manual_seed(0)
    return recipe.build(train)


def batch_of(recipe: CML, size: int = 40) -> Batch:
    return next(PairStream(TRAIN.pairs, recipe.sampler, batch_size=size, seed=1).epoch(0))


@pytest.mark.parametrize("reduce", ["warp", "hardest", "each", "top"])
@pytest.mark.parametrize("pool", ["own", "shared"])
def test_the_loss_is_its_definition(reduce, pool):
    net = network(
        CML(
            dim=6,
            loss=Loss(kind="hinge", reduce=reduce, top=2, margin=0.6),
            sampler=Sampler(negatives=5, pool=pool),
        )
    )
    batch = batch_of(net.recipe)
    expected = []
    for b in range(len(batch)):
        user = net.user.weight[batch.user[b]].detach()
        neg = [
            k
            for place, k in enumerate(batch.neg if pool == "shared" else batch.neg[b])
            if batch.mask is None or batch.mask[b, place]
        ]
        own = float((user - net.item.weight[batch.pos[b]].detach()).square().sum())
        others = torch.stack([(user - net.item.weight[k].detach()).square().sum() for k in neg])
        hinges = (0.6 + own - others).clamp_min(0).sort(descending=True).values
        if reduce == "warp":
            rank = int(TRAIN.n_items * int((hinges > 0).sum()) / len(neg))
            expected.append(np.log(rank + 1) * float(hinges[0]))
        else:
            expected.append(
                float({"hardest": hinges[:1], "each": hinges, "top": hinges[:2]}[reduce].mean())
            )
    assert net.loss(batch).pair.tolist() == pytest.approx(expected, abs=1e-5)


def test_no_gradient_goes_through_the_rank():
    """A positive that leads all negatives by the margin has weight ln 1 = 0 and no gradient."""
    pos, neg = (
        torch.tensor([2.0], requires_grad=True),
        torch.tensor([[0.5, 0.2]], requires_grad=True),
    )
    assert warp_weight(pos, neg, margin=1.0, n_items=50).tolist() == [0.0]
    assert not warp_weight(pos, neg, margin=2.0, n_items=50).requires_grad


@pytest.mark.parametrize("form", ["squared", "printed", "released"])
def test_covariance_is_its_definition(form):
    vectors = torch.randn(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrix = np.cov(vectors.numpy().T, bias=True)
    off = matrix - np.diag(np.diag(matrix))
    expected = {
        "squared": (off**2).sum() / 4,
        "printed": (np.sqrt((matrix**2).sum()) - (np.diag(matrix) ** 2).sum()) / 30,
        "released": off.sum(),
    }[form]
    assert float(covariance(vectors, form)) == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda v: covariance(v, form), (vectors.requires_grad_(),))


def test_the_covariance_of_uncorrelated_coordinates():
    cross = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert float(covariance(cross)) == pytest.approx(0)
    assert float(covariance(cross @ torch.tensor([[1.0, 1.0], [0.0, 1.0]]))) > 0
    anti = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert float(covariance(anti, "released")) < 0, "signed entries can be negative"


@pytest.mark.parametrize("over", ["batch", "all"])
def test_covariance_is_added_over_what_it_says(over):
    net = network(
        CML(
            dim=6,
            covariance=Covariance(weight=3.0, over=over),
            loss=Loss(kind="hinge", reduce="each"),
            sampler=Sampler(negatives=2),
        )
    )
    batch = batch_of(net.recipe)
    items = torch.cat([net.item.weight[batch.pos], net.item.weight[batch.neg].view(-1, 6)])
    vectors = torch.cat(
        [net.user.weight, net.item.weight]
        if over == "all"
        else [net.user.weight[batch.user], items]
    )
    assert float(net.loss(batch).extra.detach()) == pytest.approx(
        3 * float(covariance(vectors).detach()), rel=1e-4
    )
    assert net.rows == (() if over == "all" else (net.user, net.item))


def test_content_draws_items_to_their_features():
    data = with_features()
    recipe = CML(
        dim=6, content=Content(weight=2.0, hidden=7, dropout=0.0), sampler=Sampler(negatives=3)
    )
    net, batch = network(recipe, data), batch_of(recipe)
    plain = network(replace(recipe, content=Content()), data)
    table = data.features["text"]
    said = net.content.layers(torch.from_numpy(table.values)).detach()
    assert torch.allclose(
        net.item.weight[table.present],
        said[table.present] / said[table.present].norm(dim=1, keepdim=True).clamp_min(1),
        atol=1e-6,
    )
    assert not torch.allclose(net.item.weight[table.present], plain.item.weight[table.present])
    with torch.no_grad():
        net.item.weight.copy_(plain.item.weight)
        net.user.weight.copy_(plain.user.weight)
    terms = net.loss(batch)
    assert torch.equal(terms.pair, plain.loss(batch).pair)
    user, pos, neg = (
        plain.user.weight[batch.user],
        plain.item.weight[batch.pos],
        plain.item.weight[batch.neg],
    )
    hardest = (user[:, None] - neg).square().sum(2).argmin(1)
    rows = torch.cat([batch.pos, batch.neg[torch.arange(len(batch)), hardest]])
    apart = (
        (said[rows] - plain.item.weight[rows])
        .square()
        .sum(1)[torch.from_numpy(table.present)[rows]]
    )
    assert pos.shape == user.shape
    assert float(terms.extra.detach()) == pytest.approx(2 * float(apart.mean().detach()), rel=1e-4)
    fitted = fit(
        recipe, data, None, Train(epochs=3, batch_size=50, lr=0.02, rows="touched", device="cpu")
    )
    assert fitted.history[-1].loss < fitted.history[0].loss
    with pytest.raises(InputError, match="asks for item features, and the data have none"):
        network(recipe, replace(TRAIN, features={}))


@pytest.mark.parametrize("space", ["ball", "sphere"])
def test_spaces(space):
    scorer: Any = fit(
        CML(dim=4, user_space=space, item_space=space, radius=1.3),
        TRAIN,
        None,
        Train(epochs=4, batch_size=30, lr=0.2, rows="touched", device="cpu"),
    ).scorer
    for table in (scorer.user[:60:2], scorer.item[:40:2]):
        norm = table.norm(dim=1)
        assert norm.max() <= 1.3 + 1e-5
        if space == "sphere":
            assert norm.min() >= 1.3 - 1e-5


def test_the_second_stage_prefers_what_resembles_the_positive():
    """Drawn one at a time, the shares are those of the formula."""
    torch.manual_seed(0)
    positive = torch.nn.functional.normalize(torch.randn(1, 5), dim=1)
    pool = torch.nn.functional.normalize(torch.randn(8, 5), dim=1)
    likeness = (pool @ positive[0]).double().numpy()
    weight = np.where(likeness > 0, (1 - likeness**2) ** (1 - (5 - 1) / 2), 0)
    assert (likeness < 0).any()
    drawn = second_stage(positive.expand(20_000, -1), pool, 1)[:, 0]
    found = np.bincount(drawn.numpy(), minlength=8)
    assert not found[likeness <= 0].any()
    usable = likeness > 0
    assert chisquare(found[usable], 20_000 * weight[usable] / weight.sum()).pvalue > 1e-3


def test_the_second_stage_puts_nothing_back_and_leaves_out_what_is_masked():
    torch.manual_seed(1)
    positives, pool = torch.randn(30, 4), torch.randn(12, 4)
    mask = torch.rand(30, 12) < 0.6
    drawn = second_stage(positives, pool, 4, mask)
    assert all(len(set(row.tolist())) == 4 for row in drawn)
    enough = mask.sum(1) >= 4
    assert enough.any()
    assert mask.gather(1, drawn)[enough].all()
    assert all(
        mask[row][drawn[row]].sum() == mask[row].sum() for row in (~enough).nonzero().view(-1)
    ), "others only where there are too few"


def test_two_stage_sampling_trains():
    recipe = CML(
        dim=8,
        loss=Loss(kind="hinge", reduce="hardest"),
        second_stage=4,
        sampler=Sampler(pool="shared", strict=True, proposal="popularity", alpha=1.0, negatives=20),
    )
    config = Train(epochs=6, batch_size=60, lr=0.03, rows="touched", device="cpu")
    first, second = (fit(recipe, TRAIN, None, config) for _ in range(2))
    assert first.history[-1].loss < first.history[0].loss
    assert torch.equal(first.scorer.item, second.scorer.item), (
        "what is drawn within the loss follows the seed too"
    )


def test_settings_that_do_not_go_together():
    with pytest.raises(InputError, match="second_stage = 3 draws from a pool"):
        CML(second_stage=3)
    with pytest.raises(InputError, match="second_stage = 30 exceeds the 20 negatives of the pool"):
        CML(second_stage=30, sampler=Sampler(pool="shared", negatives=20))
