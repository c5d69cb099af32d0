"""Verdicts: quick ones equal the definition, no step waits for the device, buffers are flushed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.nn import denoise
from recsys.nn.denoise import Denoise, Denoiser
from recsys.nn.denoise_selection import quick_verdict, verdict
from recsys.nn.losses import (
    Logits,
    Loss,
    Terms,
    label_losses,
    label_parts,
    logits,
    mean_negatives,
    pair_loss,
    pair_terms,
)

HOWS = {
    "watch": Denoise(kind="watch"),
    "tce": Denoise(kind="tce", ramp=6),
    "random": Denoise(kind="random", ramp=6),
    "rce": Denoise(kind="rce"),
    "dcf": Denoise(kind="dcf", variance=0.1, relabel=0.3, ramp=6),
    "all gone": Denoise(kind="dcf", variance=0.3, relabel=1.0, drop=0.45, ramp=1),
    "dcf released": Denoise(kind="dcf", mode="released", variance=0.1, relabel=0.3, ramp=6),
}


def same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other if one is None or other is None else torch.equal(one, other)


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("history", [False, True])
def test_a_quick_verdict_is_the_verdict(levels, history):
    """With three levels of loss most limits are tied, and the definition has to decide."""
    rng, quick = np.random.default_rng(levels), 0
    for _ in range(400):
        size = int(rng.integers(1, 40))
        seen = (
            torch.tensor(rng.integers(0 if levels == 3 else 1, levels, size).astype(np.float32))
            / 100
        )
        prior = (
            torch.where(
                torch.tensor(rng.random(size) < 0.2),
                -torch.inf,
                torch.tensor(rng.normal(0, 1, size)),
            )
            if history
            else None
        )
        top = int(rng.integers(0, size + 5))
        second = int(rng.integers(0, top + 1)) if history else 0
        found = quick_verdict(
            seen.numpy(), 2 * size, top, second, None if prior is None else prior.numpy()
        )
        if found is None:
            continue
        quick += 1
        expected = verdict(seen, 2 * size, top, second, prior)
        assert same(found.weight, expected.weight)
        assert same(found.sign, expected.sign)
        assert found.scale == float(expected.scale)
        dropped = int((found.weight == 0).sum())
        assert dropped == min(top, size) - min(second, size)
        assert found.scale == pytest.approx(3 * size / (3 * size - dropped))
    assert quick > (250 if levels == 1000 and not history else 30)


def test_limits_that_are_tied_or_0_are_not_quick():
    loss = np.array([1.0, 2.0, 2.0, 3.0], dtype=np.float32)
    assert quick_verdict(loss, 4, 2) is None
    assert verdict(torch.from_numpy(loss), 4, 2).weight.tolist() == pytest.approx(
        [8 / 6, 8 / 6, 0, 0]
    )  # the later of equals
    assert quick_verdict(loss, 4, 3) is not None
    assert quick_verdict(loss, 4, 3, 2, np.zeros(4)) is None
    gone = np.array([0.0, -np.inf, -np.inf, -9.0])
    assert quick_verdict(loss, 4, 1, 0, gone) is not None
    assert (
        quick_verdict(loss, 4, 2, 0, gone) is None
    )  # the second is below 0, and level with those that are cut there
    found = verdict(torch.from_numpy(loss), 4, 3, 1, torch.from_numpy(gone))
    assert found.sign.tolist() == [1, 1, 1, -1]  # two had label 0, the first gets it
    assert found.weight.tolist() == pytest.approx(
        [8 / 7, 8 / 7, 8 / 7, 0]
    )  # and the last is all that is left to drop


def course(
    how: Denoise, *, quick: bool, look: bool, epochs: int = 7, pairs: int = 60
) -> tuple[list[Tensor], dict[str, Tensor], list[Tensor]]:
    """Pair losses, state and gradients of a made-up fit; the same for the same `how`."""
    denoiser = Denoiser(how, pairs, steps=4, epochs=epochs)
    denoiser.quick = quick
    generator = torch.Generator().manual_seed(0)
    losses, grads = [], []
    for epoch in range(epochs):
        torch.manual_seed(epoch)
        for step, row in enumerate(torch.randperm(pairs, generator=generator).chunk(4)):
            pos, neg = (
                torch.randn(len(row), generator=generator).requires_grad_(),
                torch.randn(len(row), 1, generator=generator).requires_grad_(),
            )
            pair = denoiser(
                pair_terms(Loss(kind="bce"), pos, neg, n_items=9), row, epoch, step
            ).pair
            pair.mean().backward()
            losses.append(pair.detach())
            grads += [pos.grad, neg.grad]
            if look:
                before = {name: tensor.clone() for name, tensor in denoiser.state.items()}
                assert all(
                    torch.equal(tensor, before[name]) for name, tensor in denoiser.state.items()
                )
    return losses, denoiser.state, grads


@pytest.mark.parametrize("name", list(HOWS))
def test_quick_or_not_the_course_is_the_same(name):
    one, other = (
        course(HOWS[name], quick=True, look=False),
        course(HOWS[name], quick=False, look=False),
    )
    for mine, theirs in zip(one[0] + one[2], other[0] + other[2], strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-6)
    for tensor, reference in zip(one[1].values(), other[1].values(), strict=True):
        assert torch.allclose(tensor, reference, rtol=1e-12)
    if name == "all gone":
        assert (one[1]["relabelled"] > 0).sum() > 30


@pytest.mark.parametrize("name", list(HOWS))
def test_looking_changes_nothing(name, monkeypatch):
    plain = course(HOWS[name], quick=True, look=False)
    monkeypatch.setattr(denoise, "_WAITING", 20)  # written twice an epoch
    for look in (False, True):
        other = course(HOWS[name], quick=True, look=look)
        assert all(
            torch.equal(mine, theirs)
            for mine, theirs in zip(plain[0] + plain[2], other[0] + other[2], strict=True)
        )
        assert all(torch.equal(tensor, other[1][key]) for key, tensor in plain[1].items())


@pytest.mark.parametrize("name", list(HOWS))
def test_nothing_waits_for_the_device(name):
    """On a device that holds no values, whatever wanted one would fail."""
    denoiser = Denoiser(HOWS[name], 40, steps=2, epochs=3, device="meta")
    for epoch in range(3):
        for step in range(2):
            row, pos, neg = (
                torch.empty(20, dtype=torch.int64, device="meta"),
                torch.empty(20, device="meta"),
                torch.empty(20, 1, device="meta"),
            )
            assert (
                denoiser(pair_terms(Loss(kind="bce"), pos, neg, n_items=9), row, epoch, step)
                .total()
                .shape
                == ()
            )
    assert denoiser.state["loss"].shape == (40,)
    with pytest.raises(RuntimeError):
        float(denoiser.state["loss"][0])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("negatives", [1, 3])
@pytest.mark.parametrize(
    "loss",
    [
        Loss(kind="bce"),
        Loss(kind="bce", weight=0.3),
        Loss(kind="bce", reduce="hardest"),
        Loss(),
        Loss(kind="softmax"),
    ],
)
def test_terms_are_the_loss_of_a_pair_and_its_logits(loss, negatives, masked):
    generator = torch.Generator().manual_seed(1)
    pos, neg = torch.randn(12, generator=generator), torch.randn(12, negatives, generator=generator)
    mask = torch.rand(12, negatives, generator=generator) < 0.7 if masked else None
    extra = torch.tensor(0.5)
    terms = pair_terms(loss, pos, neg, n_items=9, mask=mask, extra=extra)
    assert torch.equal(terms.pair, pair_loss(loss, pos, neg, n_items=9, mask=mask))
    assert terms.extra is extra
    bare = logits(loss, pos, neg, mask)
    assert (terms.logits is None) == (bare is None)
    if bare is not None:
        own, others = label_losses(bare)
        assert torch.equal(own, F.softplus(-pos))
        assert all(
            same(*each) for each in zip(label_losses(terms.logits), (own, others), strict=True)
        )
        assert all(
            same(*each) for each in zip(label_parts(terms.logits), label_parts(bare), strict=True)
        )
        assert torch.equal(label_parts(terms.logits)[1], mean_negatives(bare, others))
        assert torch.equal(sum(label_parts(bare)), terms.pair)


def test_losses_by_labels_are_float32_at_any_precision():
    pos, neg = torch.linspace(-3, 3, 9).bfloat16(), torch.zeros(9, 1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = pair_terms(Loss(kind="bce"), pos, neg, n_items=9)
        bare = Terms(terms.pair, None, Logits(pos, neg))
        for each in (terms, bare):
            own, rest = label_parts(each.logits)
            assert own.dtype == rest.dtype == torch.float32
            assert torch.equal(own, F.softplus(-pos.float()))
            for how in HOWS.values():
                made = Denoiser(how, 9, steps=1, epochs=2)(each, torch.arange(9), 0, 0)
                assert made.pair.isfinite().all()
    assert terms.pair.dtype == torch.float32
