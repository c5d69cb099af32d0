"""CPE against loops and eigenvalues."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from asking import asked
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import two_camps
from torch import Tensor

from recsys.errors import InputError
from recsys.models.cpe import CPE, log_det_divergence, two_sided
from recsys.nn.losses import Loss, pair_loss
from recsys.sampling import PairStream, Sampler
from recsys.tensors import load_scorer, save_scorer
from recsys.training.loop import Train, fit

TRAIN, _ = two_camps()
REDUCE = ["each", "sum", "hardest"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(pos: Tensor, neg: Tensor, margin: float, reduce: str, mask: Tensor | None) -> list[float]:
    """A hinge on either side of the margin, over distances D = -score."""
    values = []
    for b in range(len(pos)):
        kept = [k for k in range(neg.shape[1]) if mask is None or mask[b, k]]
        if reduce == "hardest":
            kept = sorted(kept, key=lambda k: -float(neg[b, k]))[:1]
        terms = []
        for k in kept:
            t = -float(neg[b, k]) + float(pos[b])  # D- - D+
            terms.append(max(0.0, t - margin) + max(0.0, margin - t))
        values.append(sum(terms) / (len(terms) if reduce == "each" and terms else 1))
    return values


@pytest.mark.parametrize("reduce", REDUCE)
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.floats(0, 3), st.booleans(), st.integers(0, 99))
def test_the_margin_is_kept_from_both_sides(reduce, size, k, margin, masked, seed):
    pos, neg = -normal(size, seed=seed).square(), -normal(size, k, seed=seed + 1).square()
    mask = normal(size, k, seed=seed + 2) > -0.3 if masked else None
    assert two_sided(pos, neg, margin, reduce, mask).tolist() == pytest.approx(
        naive(pos, neg, margin, reduce, mask)
    )


@pytest.mark.parametrize("reduce", REDUCE)
def test_gradients(reduce):
    pos, neg = normal(4).requires_grad_(), normal(4, 3, seed=1).requires_grad_()
    mask = torch.tensor(
        [[True, True, False], [True, False, True], [False, False, False], [True, True, True]]
    )
    assert torch.autograd.gradcheck(lambda p, n: two_sided(p, n, 0.7, reduce), (pos, neg))
    assert torch.autograd.gradcheck(lambda p, n: two_sided(p, n, 0.7, reduce, mask), (pos, neg))


@pytest.mark.parametrize("reduce", ["each", "hardest"])
def test_short_of_the_margin_it_is_the_hinge(reduce):
    pos, neg = -normal(6).square(), -normal(6, 4, seed=1).square()
    for margin, alike in ((50.0, True), (-2.0, False)):
        hinge = pair_loss(Loss(kind="hinge", reduce=reduce, margin=margin), pos, neg, n_items=9)
        assert torch.allclose(two_sided(pos, neg, margin, reduce), hinge) == alike


def by_eigenvalues(vectors: Tensor, eps: float) -> float:
    eigenvalues = np.linalg.eigvalsh(
        np.cov(vectors.detach().double().numpy().T, bias=True).reshape(vectors.shape[1], -1)
    )
    return float(eigenvalues.sum() - np.log(eigenvalues + eps).sum())


@pytest.mark.parametrize(("n", "d"), [(20, 3), (5, 5), (4, 8), (1, 3), (2, 1)])
def test_the_covariance_term_is_that_of_the_eigenvalues(n, d):
    vectors = normal(n, d).requires_grad_()
    value = log_det_divergence(vectors, 1e-3)
    assert value.item() == pytest.approx(by_eigenvalues(vectors, 1e-3))
    value.backward()
    assert torch.isfinite(vectors.grad).all()  # with fewer vectors than coordinates, too
    assert torch.autograd.gradcheck(lambda v: log_det_divergence(v, 1e-3), (vectors,))


@pytest.mark.parametrize("n", [1, 16, 4000])
def test_the_covariance_term_in_float32(n):
    """Of rank far below d, where rounding decides the sign of what should be 0."""
    vectors = (normal(n, 64) / 8).float().requires_grad_()
    value = log_det_divergence(vectors, 1e-4)
    assert value.item() == pytest.approx(by_eigenvalues(vectors, 1e-4), rel=1e-3)
    value.backward()
    assert torch.isfinite(vectors.grad).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert log_det_divergence(vectors, 1e-4).item() == pytest.approx(value.item())


def test_the_covariance_term_is_least_at_the_identity():
    q = torch.linalg.qr(normal(50, 4) - normal(50, 4).mean(0)).Q
    white = (q - q.mean(0)) * 50**0.5
    assert torch.allclose(white.T @ white / 50, torch.eye(4, dtype=torch.float64), atol=1e-12)
    least = log_det_divergence(white, 1e-12)
    assert least.item() == pytest.approx(4)
    identity = torch.eye(4, dtype=torch.float64)
    for change in (
        0.9 * identity,
        1.1 * identity,
        torch.diag(torch.tensor([1, 1, 1, 1.2], dtype=torch.float64)),
        identity + 0.1,
    ):
        assert log_det_divergence(white @ change, 1e-12) > least


def start(**changes: Any) -> Any:
    torch.manual_seed(0)
    return CPE(**{"dim": 5, "sampler": Sampler(negatives=4)} | changes).build(TRAIN)


@pytest.mark.parametrize("pool", ["own", "shared", "in-batch", "all"])
@pytest.mark.parametrize("reduce", REDUCE)
def test_the_loss_of_the_network(pool, reduce):
    sampler = Sampler(negatives=4, pool=pool)
    net = start(sampler=sampler, reduce=reduce, margin=0.9)
    batch = next(PairStream(TRAIN.pairs, sampler, batch_size=6, seed=0).epoch(0))
    user, item = net.user.weight.detach().double(), net.item.weight.detach().double()
    rows = batch.neg.expand(6, -1)

    def score(b: int, i: int) -> float:
        return -float((user[int(batch.user[b])] - item[i]).square().sum())

    pos = torch.tensor([score(b, int(batch.pos[b])) for b in range(6)])
    neg = torch.tensor([[score(b, int(i)) for i in rows[b]] for b in range(6)])
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(
        naive(pos, neg, 0.9, reduce, batch.mask), rel=1e-4, abs=1e-5
    )
    assert terms.extra is None


@pytest.mark.parametrize("over", ["batch", "all"])
def test_whose_covariance(over):
    net = start(covariance=0.3, over=over, eps=1e-3)
    batch = next(PairStream(TRAIN.pairs, net.sampler, batch_size=6, seed=0).epoch(0))
    parts = (
        [net.user.weight[batch.user], net.item.weight[batch.pos]]
        if over == "batch"
        else [net.user.weight, net.item.weight]
    )
    assert net.loss(batch).extra.item() == pytest.approx(
        0.3 * by_eigenvalues(torch.cat(parts), 1e-3), rel=1e-4
    )


def test_rows_may_be_left_out_only_where_no_whole_table_is_read():
    touched = Train(epochs=2, batch_size=64, rows="touched", device="cpu")
    fit(CPE(dim=4, covariance=0.1), TRAIN, None, touched)
    fit(CPE(dim=4, over="all"), TRAIN, None, touched)
    with pytest.raises(InputError, match="every row has a gradient"):
        fit(CPE(dim=4, covariance=0.1, over="all"), TRAIN, None, touched)


def test_every_vector_is_in_the_ball():
    net = start(radius=0.5)
    batch = next(PairStream(TRAIN.pairs, net.sampler, batch_size=6, seed=0).epoch(0))
    assert (
        max(float(table.weight.detach().norm(dim=1).max()) for table in (net.user, net.item))
        <= 0.5 + 1e-6
    )
    with torch.no_grad():
        for table in (net.user, net.item):
            table.weight.normal_(0, 0.2)
            table.weight[0] = 0
    before = net.item.weight.detach().clone()
    short = before.norm(dim=1) <= 0.5
    assert 0 < short.sum() < len(short)
    net.constrain(batch)
    assert torch.equal(net.item.weight[short], before[short])
    assert torch.allclose(net.item.weight[~short], 0.5 * F.normalize(before[~short]))
    assert torch.isfinite(net.user.weight).all()


def test_the_covariance_term_spreads_the_coordinates():
    def spread(covariance: float) -> float:
        config = Train(epochs=10, batch_size=64, lr=0.03, device="cpu")
        scorer = fit(CPE(dim=6, covariance=covariance), TRAIN, None, config).scorer
        return by_eigenvalues(torch.cat([scorer.user[:-1], scorer.item[:-1]]), 1e-4)

    assert spread(0.05) < spread(0.0) - 1


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        CPE(sampler=Sampler(negatives=0))


def test_the_scorer_comes_back(tmp_path):
    scorer = start().scorer()
    save_scorer(tmp_path / "scorer.safetensors", scorer, epoch=0)
    loaded, _ = load_scorer(tmp_path / "scorer.safetensors")
    assert torch.equal(loaded.score(asked(torch.arange(3))), scorer.score(asked(torch.arange(3))))
    direct = -(scorer.user[:3, None] - scorer.item).square().sum(-1)
    assert torch.allclose(scorer.score(asked(torch.arange(3))), direct, atol=1e-5)
