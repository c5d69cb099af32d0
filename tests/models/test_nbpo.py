"""NBPO: gradients by hand, by finite differences and by autograd; one step of the authors' code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from asking import asked
from planted import two_camps

from recsys.errors import InputError
from recsys.models.nbpo import NBPO, observed_loss, surrogate_loss, unobserved_loss
from recsys.nn.denoise import Denoise
from recsys.sampling import Sampler, stream_seed
from recsys.training.loop import Train, fit

TRAIN, _ = two_camps(users=20, items=20, each=5, kept=2)
GRID = [(r, g) for r in (-4.0, -0.7, 0.0, 1.3, 5.0) for g in (-6.0, -1.0, 0.4, 3.0)]


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def probability(r: float, g: float, observed: bool) -> float:
    one = sigma(r) * (1 - sigma(g))
    return one if observed else (1 - sigma(r)) + sigma(g) * sigma(r)


def autograd(loss, r: float, g: float, **how) -> tuple[float, float, float]:
    """The value, and minus the gradients: uphill."""
    a, b = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (r, g))
    value = loss(a, b, **how)
    value.backward()
    return float(value.detach()), -float(a.grad), -float(b.grad)


@pytest.mark.parametrize(("r", "g"), GRID)
@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("observed", [True, False])
def test_likelihood_and_sum_have_the_gradients_of_the_paper(r, g, log, observed):
    value, dr, dg = autograd(observed_loss if observed else unobserved_loss, r, g, log=log)
    p, phi = probability(r, g, observed), sigma(g)
    assert value == pytest.approx(-math.log(p) if log else -p)
    slope = 1e-6
    value_of = (
        (lambda a, b: math.log(probability(a, b, observed)))
        if log
        else (lambda a, b: probability(a, b, observed))
    )
    assert dr == pytest.approx(
        (value_of(r + slope, g) - value_of(r - slope, g)) / (2 * slope), abs=1e-7
    )
    assert dg == pytest.approx(
        (value_of(r, g + slope) - value_of(r, g - slope)) / (2 * slope), abs=1e-7
    )
    factor = 1 / p if log else 1.0
    sign = 1 if observed else -1
    assert dr == pytest.approx(sign * (1 - phi) * sigma(r) * sigma(-r) * factor)
    assert dg == pytest.approx(-sign * phi * (1 - phi) * sigma(r) * factor)


@pytest.mark.parametrize(("r", "g"), GRID)
def test_the_surrogate_gradient(r, g):
    phi = sigma(g)
    assert autograd(surrogate_loss, r, g, observed=True)[1:] == pytest.approx(
        ((1 - phi) * sigma(-r), -phi * sigma(r))
    )
    assert autograd(surrogate_loss, r, g, observed=False)[1:] == pytest.approx(
        (phi * sigma(-r) - sigma(r), (1 - phi) * sigma(r))
    )


@pytest.mark.parametrize(("r", "g"), GRID)
@pytest.mark.parametrize("observed", [True, False])
def test_it_is_that_of_the_sum_with_each_factor_divided_out(r, g, observed):
    """Divide the derivative of every factor in the sum of probabilities by the factor."""
    phi, like = sigma(g), sigma(r)
    products = (
        [[("like", like), ("not flip", 1 - phi)]]
        if observed
        else [[("not like", 1 - like)], [("flip", phi), ("like", like)]]
    )
    slopes = {
        "like": ("r", like * (1 - like)),
        "not like": ("r", -like * (1 - like)),
        "flip": ("g", phi * (1 - phi)),
        "not flip": ("g", -phi * (1 - phi)),
    }
    total = {"r": 0.0, "g": 0.0}
    for product in products:
        for name, value in product:
            rest = math.prod(other for another, other in product if another != name)
            total[slopes[name][0]] += rest * slopes[name][1] / value
    assert autograd(surrogate_loss, r, g, observed=observed)[1:] == pytest.approx(
        (total["r"], total["g"])
    )


def test_there_is_no_function_behind_it():
    """The field has a curl: d(dR)/dg and d(dg)/dR differ, so it is not a gradient."""
    slope, r, g = 1e-5, 0.3, -0.8
    for observed in (True, False):
        uphill = [
            autograd(surrogate_loss, a, b, observed=observed)[1:]
            for a, b in ((r, g + slope), (r, g - slope), (r + slope, g), (r - slope, g))
        ]
        across, along = (
            (uphill[0][0] - uphill[1][0]) / (2 * slope),
            (uphill[2][1] - uphill[3][1]) / (2 * slope),
        )
        assert abs(across - along) > 0.01


def test_extreme_logits_are_finite():
    for r in (-200.0, 200.0):
        for g in (-200.0, 200.0):
            for loss, how in (
                (surrogate_loss, {"observed": True}),
                (surrogate_loss, {"observed": False}),
                (observed_loss, {"log": True}),
                (unobserved_loss, {"log": True}),
                (unobserved_loss, {"log": False}),
            ):
                assert all(math.isfinite(x) for x in autograd(loss, r, g, **how))


@pytest.mark.parametrize("variant", ["nbpo", "nbpo-o", "nbpo-s", "bpo"])
def test_a_step_is_that_of_a_plain_loop(variant):
    """Sum gradients over pairs and negatives, with decay of every row, at lr = eta B K.

    A positive counts once per negative.
    """
    recipe = NBPO(
        variant=variant, dim=3, flip_dim=2, l2=0.5, flip_l2=2.0, sampler=Sampler(negatives=4)
    )
    eta = 0.05
    torch.manual_seed(0)
    network = recipe.build(TRAIN).double()
    batch = next(network.stream.open(TRAIN, batch_size=30, seed=0).epoch(0))
    size = len(batch)
    before = {name: param.detach().clone() for name, param in network.named_parameters()}
    step = {name: torch.zeros_like(value) for name, value in before.items()}

    def add(u: int, i: int, observed: bool) -> None:
        r = float(before["user.weight"][u] @ before["item.weight"][i])
        if variant == "bpo":
            dr, dg = (sigma(-r) if observed else -sigma(r)), 0.0
        else:
            g = float(before["flip_user.weight"][u] @ before["flip_item.weight"][i])
            phi, p = sigma(g), probability(r, g, observed)
            if variant == "nbpo":
                dr, dg = (
                    ((1 - phi) * sigma(-r), -phi * sigma(r))
                    if observed
                    else (phi * sigma(-r) - sigma(r), (1 - phi) * sigma(r))
                )
            else:
                sign, factor = (1 if observed else -1), (1 / p if variant == "nbpo-o" else 1.0)
                dr, dg = (
                    sign * (1 - phi) * sigma(r) * sigma(-r) * factor,
                    -sign * phi * (1 - phi) * sigma(r) * factor,
                )
            step["flip_user.weight"][u] += dg * before["flip_item.weight"][i]
            step["flip_item.weight"][i] += dg * before["flip_user.weight"][u]
        step["user.weight"][u] += dr * before["item.weight"][i]
        step["item.weight"][i] += dr * before["user.weight"][u]

    for u, i, others in zip(
        batch.user.tolist(), batch.pos.tolist(), batch.neg.tolist(), strict=True
    ):
        for j in others:
            add(u, i, observed=True)
            add(u, j, observed=False)
    network.loss(batch).total().backward()
    for name, param in network.named_parameters():
        decay = recipe.flip_l2 if "flip" in name else recipe.l2
        expected = before[name] + eta * (step[name] - decay * before[name])
        assert torch.allclose(before[name] - eta * size * 4 * param.grad, expected, atol=1e-12)


def test_the_step_shrinks_by_a_hundredth_an_epoch():
    """With lr = 0.99 eta B K and one block an epoch, the weights are those of a plain loop.

    eta is multiplied by 0.99 before every epoch.
    """
    recipe, eta, size = NBPO(dim=3, flip_dim=2), 0.02, len(TRAIN.pairs)
    config = Train(
        epochs=4,
        batch_size=size,
        optimizer="sgd",
        lr=0.99 * eta * size * 4,
        schedule="exponential",
        patience=None,
        device="cpu",
    )
    got = fit(recipe, TRAIN, None, config).scorer
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(0, "start"))
        network = recipe.build(TRAIN)
    for epoch in range(4):
        eta *= 0.99
        (batch,) = network.stream.open(TRAIN, batch_size=size, seed=0).epoch(epoch)
        network.zero_grad()
        (network.loss(batch).total() * size * 4).backward()
        with torch.no_grad():
            for param in network.parameters():
                param -= eta * param.grad
    assert torch.allclose(got.user, network.user.weight, atol=1e-5)
    assert torch.allclose(got.item, network.item.weight, atol=1e-5)


def test_it_starts_without_flips():
    torch.manual_seed(0)
    network = NBPO().build(TRAIN)
    g = network.flip_user.weight @ network.flip_item.weight.T
    assert -7.5 < float(g.mean().detach()) < -5
    assert torch.sigmoid(g).max() < 0.02
    assert network.user.weight.min() >= 0
    assert network.user.weight.max() <= 50**-0.5
    assert NBPO(variant="bpo").build(TRAIN).flip_user is None


def test_likes_that_went_unobserved_are_pushed_down_less():
    """Divide the mean score of unobserved pairs of the own camp by that of the other camp.

    NBPO leaves them higher than BPO does.
    """
    train, _ = two_camps(users=40, items=30, each=6, kept=0)
    camp = (np.arange(41)[:, None] - np.arange(31)[None, :]) % 2 == 0
    camp[40], camp[:, 30] = False, False
    unmet = camp & (train.pairs.csr.toarray() == 0)
    gap = {}
    for variant in ("bpo", "nbpo"):
        recipe = NBPO(variant=variant, dim=8, flip_dim=8, l2=0.1, flip_l2=0.1)
        scorer = fit(
            recipe, train, None, Train(epochs=40, batch_size=60, lr=0.02, device="cpu")
        ).scorer
        probability = torch.sigmoid(scorer.score(asked(torch.arange(41)))).numpy()
        gap[variant] = probability[unmet].mean()
    assert gap["nbpo"] > gap["bpo"] + 0.05


def test_bpo_is_a_loss_by_labels_and_can_be_denoised():
    config = Train(
        epochs=2, batch_size=23, device="cpu", denoise=Denoise(kind="tce", of="pairs", ramp=1)
    )
    assert fit(NBPO(variant="bpo", dim=4), TRAIN, None, config).history[-1].denoise["dropped"] >= 20
    with pytest.raises(InputError, match="loss by labels"):
        fit(NBPO(dim=4), TRAIN, None, config)
    with pytest.raises(InputError, match="draws negatives per pair"):
        NBPO(sampler=Sampler(pool="shared", negatives=5))
