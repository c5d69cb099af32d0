"""Rules of hardness against loops, and against the chances they are to have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from asking import asked
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import two_camps

from recsys.errors import InputError
from recsys.models import recipe as recipe_of
from recsys.models.cml import CML
from recsys.models.dpcml import DPCML
from recsys.models.lightgcn import LightGCN
from recsys.models.lrml import LRML
from recsys.models.mf import MF
from recsys.nn.hardness import fitting, hardest_layers, mixed, one_of_top, resampled, soft_weights
from recsys.nn.losses import Loss, pair_loss
from recsys.sampling import PairStream, Sampler
from recsys.scorer import Factors
from recsys.training.loop import Train, fit
from recsys.training.progress import Event, StepDone

B, K = 6, 9
TRAIN, _ = two_camps(users=20, items=20, each=5, kept=2)
RULES = ["one-of-top", "fitting", "soft", "resampled"]


def scores(seed: int = 0, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(B, K, generator=generator) < 0.6
    mask[0], mask[1] = False, torch.arange(K) == 4  # a pair without any, a pair with one
    return (
        torch.randn(B, generator=generator, dtype=dtype),
        torch.randn(B, K, generator=generator, dtype=dtype),
        mask,
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("top", [1, 3, 50])
def test_one_of_top_is_each_of_the_hardest_as_often(masked, top):
    _, neg, mask = scores()
    torch.manual_seed(0)
    places = torch.cat([one_of_top(neg, top, mask if masked else None) for _ in range(2000)], dim=1)
    for b in range(B):
        usable = [k for k in range(K) if not masked or mask[b, k]]
        best = sorted(usable, key=lambda k: -float(neg[b, k]))[:top]
        found = np.bincount(places[b].numpy(), minlength=K)
        if not best:
            continue  # a place all the same, that the mask takes out
        assert set(np.flatnonzero(found)) == set(best)
        assert found[best] == pytest.approx(2000 / len(best), abs=5 * math.sqrt(2000 / len(best)))


def test_one_of_the_top_one_is_the_hardest():
    pos, neg, mask = scores()
    place = one_of_top(neg, 1, mask)
    kept = pair_loss(Loss(), pos, neg.gather(1, place), n_items=99, mask=mask.gather(1, place))
    assert torch.allclose(kept, pair_loss(Loss(reduce="hardest"), pos, neg, n_items=99, mask=mask))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 999),
    st.sampled_from([0.1, 1.0]),
    st.sampled_from([0.1, 0.4]),
    st.sampled_from([-2.0, -1.0, 0.0]),
    st.booleans(),
)
def test_fitting_is_a_loop(seed, alpha, beta, power, masked):
    pos, neg, mask = scores(seed)
    pos = pos.abs()
    place = fitting(pos, neg, alpha=alpha, beta=beta, power=power, mask=mask if masked else None)
    assert place.shape == (B, 1)
    for b in range(B):
        usable = [k for k in range(K) if not masked or mask[b, k]]
        apart = {
            k: abs(float(neg[b, k]) - beta * (float(pos[b]) + alpha) ** (power + 1)) for k in usable
        }
        if apart:
            assert int(place[b, 0]) in apart
            assert apart[int(place[b, 0])] == pytest.approx(min(apart.values()), abs=1e-12)


def test_a_nearer_positive_is_given_an_easier_negative():
    neg = torch.linspace(0, 3, 31).expand(2, -1)
    place = fitting(torch.tensor([0.1, 2.0]), neg, alpha=0.1, beta=0.4)
    assert neg[0, place[0, 0]] == pytest.approx(2.0)
    assert neg[1, place[1, 0]] == pytest.approx(0.2)
    assert fitting(torch.tensor([-5.0, -0.1]), neg, alpha=0.1, beta=0.4).tolist() == [
        [30],
        [30],
    ]  # below alpha: as hard as there is


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("proposal", [False, True])
def test_resampled_is_a_draw_from_the_softmax(masked, proposal):
    _, neg, mask = scores()
    log_q = (
        torch.randn(K, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        if proposal
        else None
    )
    torch.manual_seed(0)
    place = resampled(neg, 20_000, log_q=log_q, temperature=0.7, mask=mask if masked else None)
    assert place.shape == (B, 20_000)
    for b in range(B):
        weight = [
            math.exp(float(neg[b, k]) / 0.7 - (float(log_q[k]) if proposal else 0.0))
            if not masked or mask[b, k]
            else 0.0
            for k in range(K)
        ]
        if sum(weight):
            expected = np.array(weight) / sum(weight)
            found = np.bincount(place[b].numpy(), minlength=K) / 20_000
            assert np.abs(found - expected).max() < 5 * 0.5 / math.sqrt(20_000)
            assert not found[expected == 0].any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.0, 0.1, 2.0]), st.booleans(), st.booleans())
def test_soft_weights_are_a_loop(seed, rho, masked, proposal):
    pos, neg, mask = scores(seed)
    each = F.softplus(neg - pos[:, None])
    log_q = (
        torch.randn(B, K, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        if proposal
        else None
    )
    got = soft_weights(each, rho, log_q=log_q, mask=mask if masked else None)
    for b in range(B):
        usable = [k for k in range(K) if not masked or mask[b, k]]
        losses = [float(each[b, k]) for k in usable]
        variance = np.var(losses, ddof=1) if len(losses) > 1 else 0.0
        tau = math.sqrt(variance / (2 * rho)) if rho and variance else math.inf
        raised = {
            k: math.exp(float(each[b, k]) / tau - (float(log_q[b, k]) if proposal else 0.0))
            for k in usable
        }
        expected = [raised.get(k, 0.0) / sum(raised.values()) if raised else 0.0 for k in range(K)]
        assert got[b].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_soft_weights_go_from_the_mean_to_the_hardest():
    pos, neg, _ = scores()
    each = F.softplus(neg - pos[:, None]).requires_grad_()
    assert torch.allclose(soft_weights(each, 0.0), torch.full((B, K), 1 / K, dtype=torch.float64))
    hardest = soft_weights(each, 1e6)
    assert torch.equal(hardest.argmax(1), each.argmax(1))
    assert (hardest.max(1).values > 0.999).all()
    values = [(soft_weights(each, rho) * each).sum() for rho in (0.0, 0.1, 1.0, 10.0)]
    assert values == sorted(values)
    assert not hardest.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_losses_and_single_candidates_are_weighted_by_the_proposal(dtype):
    log_q = torch.tensor([0.1, 0.3], dtype=dtype).log()
    assert soft_weights(torch.full((1, 2), 0.7, dtype=dtype), 5.0, log_q=log_q)[
        0
    ].tolist() == pytest.approx([0.75, 0.25], rel=1e-5)
    assert soft_weights(torch.full((2, 1), 0.7, dtype=dtype), 5.0).tolist() == [[1.0], [1.0]]
    assert torch.isfinite(soft_weights(torch.tensor([[1e-30, 2e-30, 0.0]], dtype=dtype), 5.0)).all()


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_mixed_is_a_loop(pooled, masked):
    generator = torch.Generator().manual_seed(0)
    user, pos, neg = (
        torch.randn(B, *shape, 4, generator=generator)
        for shape in ((1 if pooled else 3,), (3,), (K, 3))
    )
    mask = scores()[2]
    torch.manual_seed(4)
    got = mixed(user, pos, neg, mask=mask if masked else None)
    torch.manual_seed(4)
    share = torch.rand(B, 3)
    assert torch.equal(got, mixed(user, pos, neg, share, mask if masked else None))
    assert got.shape == (B, 3, 4)
    for b in range(B):
        for layer in range(3):
            usable = [k for k in range(K) if not masked or mask[b, k]]
            mixes = [
                share[b, layer] * pos[b, layer] + (1 - share[b, layer]) * neg[b, k, layer]
                for k in usable
            ]
            if mixes:
                best = max(mixes, key=lambda mix: float(user[b, 0 if pooled else layer] @ mix))
                assert torch.allclose(got[b, layer], best, atol=1e-6)


def test_the_gradient_of_a_mix_is_that_of_its_two_parts():
    generator = torch.Generator().manual_seed(0)
    user, pos, neg = (
        torch.randn(2, *shape, 3, generator=generator).double().requires_grad_()
        for shape in ((2,), (2,), (4, 2))
    )
    share = torch.rand(2, 2, generator=generator).double()
    assert torch.autograd.gradcheck(lambda p, n: mixed(user, p, n, share), (pos, neg))
    place = hardest_layers(user, neg)
    alone = torch.stack([neg[b, place[b], torch.arange(2)] for b in range(2)])[:, None]
    assert torch.equal(mixed(user, pos, alone, share), mixed(user, pos, neg, share)), (
        "what is taken first and mixed then is the same"
    )
    mixed(user, pos, neg, share).sum().backward()
    assert user.grad is None
    assert torch.allclose(pos.grad, share[:, :, None].expand_as(pos))
    assert torch.allclose(neg.grad.sum(1), (1 - share)[:, :, None].expand_as(pos))
    assert ((neg.grad != 0).any(-1).sum(1) == 1).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_chances_are_those_of_full_precision(dtype):
    neg = torch.linspace(-2, 2, 300).to(dtype).expand(4000, -1)
    torch.manual_seed(0)
    weight = (neg[0].float() / 0.7).softmax(0)
    for place, expected in (
        (resampled(neg, 5, temperature=0.7), weight),
        (one_of_top(neg, 200), torch.arange(300) >= 100),
    ):
        found = torch.bincount(place.view(-1), minlength=300) / place.numel()
        expected = expected.float() / expected.sum()
        chunks = [torch.stack([part.sum() for part in x.split(30)]) for x in (found, expected)]
        assert torch.allclose(*chunks, atol=5 * 0.5 / math.sqrt(place.numel()))


SAMPLERS = [
    Sampler(negatives=6, proposal="popularity"),
    Sampler(pool="shared", negatives=6),
    Sampler(pool="mixed", negatives=4),
]
METHODS = [
    MF(dim=4),
    MF(dim=4, loss=Loss(kind="bce")),
    CML(dim=4),
    DPCML(dim=4, vectors=2),
    DPCML(dim=4, vectors=2, similarity="dot"),
    LRML(dim=4),
]
IDS = ["mf", "mf bce", "cml", "dpcml", "dpcml dot", "lrml"]


class Power(Exception):
    """The power is gone."""


@pytest.mark.parametrize("reduce", RULES)
@pytest.mark.parametrize("recipe", METHODS, ids=IDS)
def test_a_fit_with_any_rule_resumes_to_the_same_bytes(recipe, reduce, tmp_path):
    """Random choices depend on seed, epoch and step; a rule unfit for distances is refused."""

    def made(sampler: Sampler) -> object:
        return replace(recipe, loss=replace(recipe.loss, reduce=reduce, top=2), sampler=sampler)

    if reduce == "fitting" and (
        isinstance(recipe, CML | LRML) or getattr(recipe, "similarity", "") == "euclidean"
    ):
        with pytest.raises(InputError, match=f"^{type(recipe).__name__}.*never above 0.*hardest"):
            made(SAMPLERS[0])
        return
    config = Train(
        epochs=2, batch_size=23, lr=0.05, patience=None, device="cpu", checkpoint_seconds=0.0
    )
    for index, sampler in enumerate(SAMPLERS):
        whole = weights(fit(made(sampler), TRAIN, None, config).scorer)
        steps = iter(range(100))

        def stop(event: Event, steps: Iterator[int] = steps) -> None:
            if isinstance(event, StepDone) and next(steps) == 5:
                raise Power

        folder = tmp_path / str(index)
        with pytest.raises(Power):
            fit(made(sampler), TRAIN, None, config, folder=folder, watch=stop)
        torch.manual_seed(99)
        again = weights(fit(made(sampler), TRAIN, None, config, folder=folder, resume=True).scorer)
        assert all(map(torch.equal, again, whole))
        other = weights(fit(replace(recipe, sampler=sampler), TRAIN, None, config).scorer)
        assert not all(map(torch.equal, other, whole)), "the rule changes something"


@pytest.mark.parametrize("reduce", ["one-of-top", "soft", "resampled", "fitting"])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.pool)
@pytest.mark.parametrize(
    "recipe", METHODS[:-1], ids=IDS[:-1]
)  # LRML trains by another score than it ranks by
def test_methods_that_give_a_gradient_to_the_chosen_alone_have_the_loss_of_all_scores(
    recipe, sampler, reduce
):
    """The loss equals that of the scorer on the same batch, random numbers and proposal."""
    if reduce == "fitting" and (
        isinstance(recipe, CML | LRML) or getattr(recipe, "similarity", "") == "euclidean"
    ):
        return
    recipe = replace(recipe, loss=replace(recipe.loss, reduce=reduce, top=3), sampler=sampler)
    torch.manual_seed(0)
    network = recipe.build(TRAIN)
    batch = next(PairStream(TRAIN.pairs, sampler, batch_size=24, seed=0).epoch(0))
    scored = network.scorer().score(asked(batch.user))
    pos, neg = (
        scored.gather(1, batch.pos[:, None])[:, 0],
        scored.gather(1, batch.neg.expand(len(batch), -1)),
    )
    torch.manual_seed(3)
    expected = pair_loss(
        recipe.loss, pos, neg, n_items=TRAIN.n_items, mask=batch.mask, log_q=batch.log_q
    )
    torch.manual_seed(3)
    assert torch.allclose(network.loss(batch).pair, expected, atol=1e-5)


def weights(scorer: object) -> list[torch.Tensor]:
    return [value for value in vars(scorer).values() if isinstance(value, torch.Tensor)]


def test_inner_products_and_biases_may_be_above_0():
    loss = Loss(reduce="fitting")
    for recipe in (
        MF(similarity="euclidean", item_bias=True, loss=loss),
        MF(loss=loss),
        LightGCN(loss=loss),
    ):
        assert isinstance(fit(recipe, TRAIN, None, Train(epochs=1, device="cpu")).scorer, Factors)
    with pytest.raises(InputError, match="MF with similarity"):
        MF(similarity="euclidean", loss=loss)


def test_a_second_stage_has_no_proposal_that_is_known():
    popular = Sampler(pool="shared", negatives=9, proposal="popularity")
    for loss in (Loss(kind="softmax"), Loss(reduce="soft"), Loss(reduce="resampled")):
        with pytest.raises(InputError, match="unknown probabilities"):
            CML(loss=loss, second_stage=4, sampler=popular)
        for right in (
            CML(loss=replace(loss, correct=False), second_stage=4, sampler=popular),
            CML(loss=loss, sampler=popular),
        ):
            fit(right, TRAIN, None, Train(epochs=1, device="cpu"))


@pytest.mark.parametrize("reduce", RULES)
@pytest.mark.parametrize("name", ["gmf", "neumf", "cdae", "m2f", "simplex", "simgcl", "xsimgcl"])
def test_every_method_that_compares_scores_takes_every_rule(name, reduce):
    recipe = recipe_of(name)(dim=4, sampler=Sampler(negatives=6), loss=Loss(reduce=reduce))
    history = fit(recipe, TRAIN, None, Train(epochs=2, batch_size=64, device="cpu")).history
    assert all(math.isfinite(entry.loss) for entry in history)
