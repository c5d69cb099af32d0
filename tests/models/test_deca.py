"""DeCA: its terms against plain Python, the kinds of steps, and the frozen auxiliary of DeCA(p)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from asking import asked
from planted import two_camps

from recsys.errors import InputError
from recsys.models.deca import DeCA, agreement, expectation
from recsys.sampling import Sampler
from recsys.training.loop import Train, fit

TRAIN, _ = two_camps(users=20, items=20, each=5, kept=2)


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def log(x: float) -> float:
    """As in the released code, which adds a constant to every probability."""
    return math.log(x + 1e-5)


def kl(p: float, q: float) -> float:
    return p * log(p) - p * log(q) + (1 - p) * log(1 - p) - (1 - p) * log(1 - q)


def expected(f: float, h: float, observed: bool, positives: bool, cost: float) -> float:
    """As the paper has it, with one of the two likelihoods held fixed."""
    h1, h2 = (h, None) if positives else (None, h)
    if observed:
        return (1 - f) * log(h1) if positives else f * log(h2) - cost * (1 - f)
    return (1 - f) * log(1 - h1) - cost * f if positives else f * log(1 - h2)


def test_terms_are_their_definitions():
    rng = np.random.default_rng(0)
    for f, g, h in rng.normal(0, 2, (50, 3)):
        tensors = [torch.tensor(x, dtype=torch.float64) for x in (f, g, h)]
        for alpha in (0.0, 0.3, 1.0):
            value = alpha * kl(sigma(g), sigma(f)) + (1 - alpha) * kl(sigma(f), sigma(g))
            assert float(agreement(tensors[0], tensors[1], alpha)) == pytest.approx(value)
        for observed in (True, False):
            for positives in (True, False):
                found = expectation(
                    tensors[0], tensors[2], observed=observed, positives=positives, cost=3.0
                )
                assert float(found) == pytest.approx(
                    expected(sigma(f), sigma(h), observed, positives, 3.0)
                )
    # Certain and opposite: KL is log((1 + 1e-5) / 1e-5) either way; without the constant, 60.
    opposite = agreement(torch.tensor(60.0), torch.tensor(-60.0), 0.5)
    assert float(opposite) == pytest.approx(math.log(1.00001 / 0.00001), rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("positives", [True, False])
@pytest.mark.parametrize("observed", [True, False])
def test_gradients_are_those_of_the_formula_at_any_logit(alpha, positives, observed):
    """Compare central differences of the loss of one pair in plain Python.

    At logits of 9 and more the constant accounts for most of them.
    """

    def value(f: float, g: float, h: float) -> float:
        p, q, r = sigma(f), sigma(g), sigma(h)
        apart = alpha * kl(q, p) + (1 - alpha) * kl(p, q)
        return apart - expected(p, r, observed, positives, 7.0)

    for point in ((0.3, -0.7, 1.1), (9.0, -9.0, 8.0), (-12.0, 11.0, -10.0), (14.0, 13.0, 12.0)):
        tensors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in point]
        f, g, h = tensors
        loss = agreement(f, g, alpha) - expectation(
            f, h, observed=observed, positives=positives, cost=7.0
        )
        assert float(loss.detach()) == pytest.approx(value(*point), rel=1e-9)
        loss.backward()
        for place, tensor in enumerate(tensors):
            ends = []
            for step in (1e-5, -1e-5):
                moved = list(point)
                moved[place] += step
                ends.append(value(*moved))
            slope = (ends[0] - ends[1]) / 2e-5
            assert float(tensor.grad) == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_the_published_defaults():
    recipe = DeCA()
    assert (recipe.c1, recipe.c2, recipe.alpha) == (1000.0, 10.0, 0.5)
    assert (recipe.dim, recipe.init_std, recipe.sampler.negatives) == (32, 0.01, 1)


def test_models_start_as_in_the_released_code():
    """Matrix factorisation at 0.01, whatever it is for; the graph at 0.1."""
    large, _ = two_camps(users=200, items=200, each=5, kept=2)
    torch.manual_seed(0)
    net, graph = DeCA().build(large), DeCA(layers=2).build(large)
    plain = (net.target, net.auxiliary, net.false_positive, net.true_positive, graph.auxiliary)
    for model in plain:
        assert float(model.nodes.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert float(graph.target.nodes.weight.detach().std()) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("step", [0, 1])
def test_only_the_target_pays_for_its_norm(step):
    """The gradient of l2 is l2 / |U| times the weights of the target, and 0 for the others."""
    grads = []
    for l2 in (0.0, 3.0):
        torch.manual_seed(0)
        net = DeCA(dim=4, init_std=1.0, l2=l2).build(TRAIN).double()
        batch = [*net.stream.open(TRAIN, batch_size=10, seed=0).epoch(1)][step]
        net.loss(batch).total().backward()
        grads.append({name: p.grad for name, p in net.named_parameters()})
    for name, weight in net.named_parameters():
        with_l2, without = grads[1][name], grads[0][name]
        share = 3.0 / 21 if name.startswith("target.") else 0.0
        none = torch.zeros_like(weight)
        difference = (none if with_l2 is None else with_l2) - (none if without is None else without)
        assert torch.allclose(difference, share * weight.detach(), atol=1e-12), name


def logit(likes: torch.nn.Module, user: int, item: int) -> float:
    table = likes.nodes.weight.detach()
    return float(table[user] @ table[21 + item])


@pytest.mark.parametrize("step", [0, 1])
def test_the_loss_is_the_sum_of_its_terms(step):
    recipe = DeCA(
        dim=4, init_std=1.0, alpha=0.3, c1=2.0, c2=5.0, l2=0.7, sampler=Sampler(negatives=3)
    )
    torch.manual_seed(0)
    net = recipe.build(TRAIN).double()
    batch = [*net.stream.open(TRAIN, batch_size=10, seed=0).epoch(0)][step]
    positives = step == 0
    likelihood = net.false_positive if positives else net.true_positive
    pairs = []
    for user, pos, others in zip(
        batch.user.tolist(), batch.pos.tolist(), batch.neg.tolist(), strict=True
    ):
        values = []
        for item, observed in ((pos, True), *((item, False) for item in others)):
            f, g, h = (
                sigma(logit(likes, user, item)) for likes in (net.target, net.auxiliary, likelihood)
            )
            cost = 2.0 if positives else 5.0
            values.append(
                0.3 * kl(g, f) + 0.7 * kl(f, g) - expected(f, h, observed, positives, cost)
            )
        pairs.append(values[0] + sum(values[1:]) / 3)
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(pairs)
    assert float(terms.extra.detach()) == pytest.approx(
        float((net.target.nodes.weight.detach() ** 2).sum()) * 0.7 / 2 / 21
    )
    terms.total().backward()
    assert (likelihood.nodes.weight.grad != 0).any()
    other = (net.true_positive if positives else net.false_positive).nodes.weight.grad
    assert other is None or (step == 0 and not other.any())


@pytest.mark.parametrize("target", ["gmf", "neumf", "cdae"])
def test_a_backbone_is_what_ranks(target):
    recipe = DeCA(
        dim=4, target=target, alpha=0.3, c1=2.0, c2=5.0, l2=0.7, sampler=Sampler(negatives=3)
    )
    torch.manual_seed(0)
    net = recipe.build(TRAIN).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    batch = next(iter(net.stream.open(TRAIN, batch_size=10, seed=0).epoch(0)))
    scores = net.scorer().score(asked(torch.arange(TRAIN.n_users)))
    pos, neg = net.target.logits(batch)
    assert torch.allclose(pos, scores[batch.user, batch.pos], atol=1e-5)
    assert torch.allclose(neg, scores[batch.user[:, None], batch.neg], atol=1e-5)
    sums = []
    for f, g, h, observed in zip(
        (pos, neg),
        net.auxiliary.logits(batch),
        net.false_positive.logits(batch),
        (True, False),
        strict=True,
    ):
        terms = [
            0.3 * kl(sigma(y), sigma(x))
            + 0.7 * kl(sigma(x), sigma(y))
            - expected(sigma(x), sigma(z), observed, True, 2.0)
            for x, y, z in zip(
                *(part.detach().flatten().tolist() for part in (f, g, h)), strict=True
            )
        ]
        sums.append(np.reshape(terms, (10, -1)).mean(1))
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx((sums[0] + sums[1]).tolist(), rel=1e-4)
    squares = sum(float((p.detach() ** 2).sum()) for p in net.target.parameters())
    assert float(terms.extra.detach()) == pytest.approx(squares * 0.7 / 2 / 21, rel=1e-4)


@pytest.mark.parametrize("target", ["gmf", "neumf", "cdae"])
def test_deca_p_of_a_backbone(target):
    recipe, config = (
        DeCA(dim=4, target=target, pretrain=2),
        Train(epochs=6, batch_size=30, lr=0.03, device="cpu"),
    )
    net = recipe.build(TRAIN)
    assert type(net.auxiliary) is type(net.target)
    fitted = fit(recipe, TRAIN, None, config)
    assert fitted.history[-1].loss < fitted.history[2].loss


@pytest.mark.parametrize("layers", [0, 2])
def test_the_auxiliary_model_of_deca_p_learns_first_and_then_stays(layers):
    recipe = DeCA(dim=4, layers=layers, pretrain=2)
    torch.manual_seed(0)
    net = recipe.build(TRAIN)
    assert (net.auxiliary.adjacency is None) == (layers == 0)
    assert DeCA(dim=4, layers=2).build(TRAIN).auxiliary.adjacency is None
    for epoch, moving in (
        (0, ["auxiliary"]),
        (1, ["auxiliary"]),
        (2, ["target", "false_positive", "true_positive"]),
    ):
        for batch in net.stream.open(TRAIN, batch_size=30, seed=0).epoch(epoch):
            net.loss(batch).total().backward()
        moved = {
            name.split(".")[0]
            for name, param in net.named_parameters()
            if param.grad is not None and param.grad.any()
        }
        assert moved == set(moving)
        net.zero_grad(set_to_none=True)
    config = {"batch_size": 30, "lr": 0.05, "device": "cpu"}
    start, before, after = (
        fit(recipe, TRAIN, None, Train(epochs=n, **config)).scorer for n in (1, 2, 3)
    )
    assert torch.equal(start.user, before.user)
    assert not torch.equal(before.user, after.user)


def test_a_graph_target_learns():
    history = fit(
        DeCA(dim=8, layers=2), TRAIN, None, Train(epochs=6, batch_size=30, lr=0.03, device="cpu")
    ).history
    assert history[-1].loss < history[0].loss


def test_resuming_in_either_phase(tmp_path):
    recipe, config = (
        DeCA(dim=4, pretrain=2),
        Train(epochs=4, batch_size=30, lr=0.05, device="cpu", checkpoint_seconds=0.0),
    )
    whole = fit(recipe, TRAIN, None, config).scorer
    for moment in (3, 7, 12):
        count = iter(range(1, 99))

        def watch(_: object, moment: int = moment, count: object = count) -> None:
            if next(count) == moment:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            fit(recipe, TRAIN, None, config, folder=tmp_path / str(moment), watch=watch)
        again = fit(recipe, TRAIN, None, config, folder=tmp_path / str(moment), resume=True).scorer
        assert torch.equal(whole.user, again.user)
        assert torch.equal(whole.item, again.item)


def test_bad_settings_are_refused():
    for bad in ({"alpha": 1.1}, {"c1": 0.0}, {"layers": -1}):
        with pytest.raises(InputError):
            DeCA(**bad)
    with pytest.raises(InputError, match="has no graph"):
        DeCA(target="gmf", layers=2)
    with pytest.raises(InputError, match="draws negatives per pair"):
        DeCA(sampler=Sampler(pool="in-batch"))
