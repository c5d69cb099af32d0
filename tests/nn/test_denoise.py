"""Denoisers against naive loops, the promises of DCF, and fits that resume to the same bytes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted import two_camps

from recsys.config import build, to_dict
from recsys.data.types import Dataset, Interactions
from recsys.errors import InputError
from recsys.evaluation.evaluator import Evaluation
from recsys.models.lightgcn import LightGCN
from recsys.models.mf import MF
from recsys.models.sfcml import SFCML
from recsys.nn.denoise import (
    Denoise,
    Denoiser,
    damped,
    drop_share,
    half_width,
    lower_bound,
    top_bands,
)
from recsys.nn.losses import Logits, Loss, Terms, logits, pair_loss
from recsys.sampling import Sampler
from recsys.tensors import read_tensors
from recsys.training.loop import Fitted, Train, fit
from recsys.training.progress import Event

TRAIN, VALID = two_camps(users=20, items=20, each=5, kept=2)  # 100 pairs
EVALUATION = Evaluation(metrics=("ndcg@5",), monitor="ndcg@5")
MODEL = MF(dim=8, loss=Loss(kind="bce"))
SHORT = {
    "epochs": 6,
    "batch_size": 23,
    "lr": 0.05,
    "device": "cpu",
    "checkpoint_seconds": 0.0,
}  # 5 steps an epoch, the last of them short
FAST = {"ramp": 8}


def run(
    denoise: Denoise,
    model: Any = MODEL,
    train: Dataset = TRAIN,
    valid: Interactions | None = VALID,
    **more: Any,
) -> Fitted:
    return fit(model, train, valid, Train(**SHORT, denoise=denoise), EVALUATION, **more)


def vectors(fitted: Fitted) -> bytes:
    tensors, _ = fitted.scorer.state()
    return b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))


def course(fitted: Fitted) -> Any:
    history = [
        {key: value for key, value in entry.to_json().items() if "second" not in key}
        for entry in fitted.history
    ]
    return fitted.best_epoch, history, vectors(fitted)


def losses(fitted: Fitted) -> list[float]:
    return [entry.loss for entry in fitted.history]


def batch(size: int = 8, negatives: int = 1, seed: int = 0) -> Terms:
    """Terms with the logits of a made-up network."""
    generator = torch.Generator().manual_seed(seed)
    pos, neg = (
        torch.randn(size, generator=generator).requires_grad_(),
        torch.randn(size, negatives, generator=generator).requires_grad_(),
    )
    loss = Loss(kind="bce")
    return Terms(pair_loss(loss, pos, neg, n_items=9), None, logits(loss, pos, neg))


def made(denoise: Denoise, pairs: int = 8, steps: int = 1, epochs: int = 5) -> Denoiser:
    return Denoiser(denoise, pairs, steps=steps, epochs=epochs)


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def test_the_schedule_is_a_ramp():
    table = [0.2 * T / 9 for T in range(10)] + [
        0.2
    ] * 5  # as linspace(0, 0.2, 10) and then the last
    assert [drop_share(T, 0.2, 10) for T in range(15)] == pytest.approx(table)
    assert drop_share(0, 0.2, 1) == 0.2
    assert drop_share(0, 0.2, 2) == 0.0


def test_damping_keeps_the_order_of_neighbours():
    loss = torch.cat([torch.tensor([0.0]), torch.logspace(-6, 1.5, 400)]).repeat_interleave(2)
    loss[1::2] = torch.nextafter(loss[1::2], torch.tensor(torch.inf))  # neighbours in float32
    loss = loss.unique()
    assert (damped(loss).diff() > 0).all()
    assert damped(torch.tensor([0.0, 3.0])).tolist() == pytest.approx([0.0, math.log(1 + 3 + 4.5)])


def test_the_bound_falls_with_the_variance_and_rises_with_the_count():
    mean, count = torch.full((6,), 1.5, dtype=torch.float64), torch.arange(1, 7)
    for t in (1, 2, 5):
        bounds = torch.stack(
            [
                lower_bound(mean, half_width(variance, t, count))
                for variance in (0.0, 1e-4, 0.01, 0.1, 0.5, 0.9)
            ]
        )
        assert (bounds.diff(dim=0) <= 0).all()
        assert (bounds.diff(dim=1) >= 0).all()
        assert (bounds[1:5].diff(dim=1) > 0).any()
        assert (bounds[0] == 1.5).all()
        assert (bounds >= 0).all()
    s, t, n = 0.3, 4, 3
    assert float(half_width(s, t, torch.tensor(n))) == pytest.approx(
        s * (t + s * math.log(2 * t) / t**2) / (n - s)
    )


def test_the_bands_are_those_of_a_sort():
    rng = np.random.default_rng(0)
    for _ in range(50):
        size = int(rng.integers(1, 12))
        score, candidate = rng.integers(0, 4, size).astype(float), rng.random(size) < 0.7
        top = int(rng.integers(0, 2 * size))
        second = int(rng.integers(0, top + 1))
        ranked = sorted(np.flatnonzero(candidate).tolist(), key=lambda i: (-score[i], -i))
        first_band, second_band = top_bands(
            torch.tensor(score), torch.tensor(candidate), top, second
        )
        assert first_band.nonzero().view(-1).tolist() == sorted(ranked[:top])
        assert second_band.nonzero().view(-1).tolist() == sorted(ranked[:second])


@pytest.mark.parametrize("negatives", [1, 3])
def test_tce_is_the_mean_over_the_least_losses(negatives):
    terms = batch(20, negatives)
    denoiser = made(Denoise(kind="tce", drop=0.15, ramp=1), pairs=20)
    pair = denoiser(terms, torch.arange(20), 0, 0).pair
    pos, neg = terms.logits.pos.tolist(), terms.logits.neg.tolist()
    entries = [(softplus(-s), True, 1.0) for s in pos] + [
        (softplus(s), False, 1 / negatives) for row in neg for s in row
    ]
    kept = int(0.85 * len(entries) + 1e-9)
    ranked = sorted(entries, key=lambda entry: entry[0] if entry[1] else 0.0)[:kept]
    # A negative counts 1 / K, as in the loss without a denoiser; with K = 1 this is twice the mean
    # over what is kept.
    expected = sum(loss * weight for loss, _, weight in ranked) * len(entries) / kept / 20
    assert float(pair.detach().mean()) == pytest.approx(expected, rel=1e-5)
    assert int(denoiser.state["dropped"].sum()) == len(entries) - kept
    assert set(np.flatnonzero(denoiser.state["weight"].numpy() == 0)) == set(
        np.argsort(pos)[: len(entries) - kept]
    )
    pair.mean().backward()
    assert not terms.logits.pos.grad[denoiser.state["weight"] == 0].any()
    assert terms.logits.neg.grad.all()


def test_the_share_can_be_of_the_pairs():
    denoiser = made(Denoise(kind="tce", drop=0.25, of="pairs", ramp=1), pairs=20)
    denoiser(batch(20, 6), torch.arange(20), 0, 0)
    assert int(denoiser.state["dropped"].sum()) == 5
    with pytest.raises(InputError, match="covers all its pairs"):
        made(Denoise(kind="tce", drop=0.25), pairs=20)(batch(20, 6), torch.arange(20), 0, 0)


def test_random_drops_as_many_whichever_they_are():
    terms, dropped = batch(20, 3), torch.zeros(20)
    expected = made(Denoise(kind="tce", drop=0.1, ramp=1), pairs=20)
    expected(terms, torch.arange(20), 0, 0)
    for seed in range(400):
        torch.manual_seed(seed)
        denoiser = made(Denoise(kind="random", drop=0.1, ramp=1), pairs=20)
        pair = denoiser(terms, torch.arange(20), 0, 0).pair
        gone = denoiser.state["weight"] == 0
        assert int(gone.sum()) == int(expected.state["dropped"].sum()) == 8
        own, others = F.softplus(-terms.logits.pos), F.softplus(terms.logits.neg).mean(1)
        assert torch.allclose(pair, (own * ~gone + others) * 80 / 72), "the mean over what is left"
        assert torch.equal(denoiser.state["loss"], own), "what a pair is remembered by is its loss"
        dropped += gone
    assert 0.3 < float(dropped.min() / 400) <= float(dropped.max() / 400) < 0.5, (
        "each as often: 8 of 20"
    )


def test_rare_drops_the_pairs_of_the_items_with_the_fewest():
    terms = batch(20)
    item = torch.tensor([0] * 8 + [1] * 5 + [2] * 3 + [3] * 2 + [4, 6])
    denoiser = Denoiser(Denoise(kind="rare", drop=0.1, ramp=1), 20, steps=1, epochs=5, item=item)
    denoiser(terms, torch.arange(20), 0, 0)
    assert denoiser.state["dropped"].tolist() == [0] * 16 + [1] * 4
    denoiser(terms, torch.arange(20).flip(0), 1, 0)  # the same pairs, wherever they stand
    assert denoiser.state["dropped"].tolist() == [0] * 16 + [2] * 4
    with pytest.raises(ValueError, match="item of each pair"):
        made(Denoise(kind="rare"))


def test_rce_weighs_by_the_probability_of_the_label():
    terms = batch(6, 2)
    pair = made(Denoise(kind="rce", beta=0.7), pairs=6)(terms, torch.arange(6), 0, 0).pair
    pos, neg = terms.logits.pos.detach(), terms.logits.neg.detach()
    p, q = torch.sigmoid(pos), torch.sigmoid(neg)
    expected = p**0.7 * -p.log() + ((1 - q) ** 0.7 * -(1 - q).log()).mean(1)
    assert torch.allclose(pair, expected, rtol=1e-5)
    pair.sum().backward()
    assert torch.allclose(
        terms.logits.pos.grad, -(p**0.7) * (1 - p), rtol=1e-5
    )  # the weight itself has no gradient
    assert torch.allclose(terms.logits.neg.grad, (1 - q) ** 0.7 * q / 2, rtol=1e-5)


def naive_dcf(
    course: list[list[float]], how: Denoise, epochs: int
) -> tuple[list[list[str]], list[float], list[int]]:
    """Return the fate of each pair in each epoch for given logits; one negative per pair."""
    size = len(course[0])
    window: list[list[float]] = [[] for _ in range(size)]
    kept, label, verdicts = [1] * size, [1] * size, []
    for epoch, values in enumerate(course):
        if epoch % how.window == 0:
            window, kept = [[] for _ in range(size)], [1] * size
        variance = how.variance * (1 - epoch / (epochs - 1))
        rank, losses = [], 2 * size
        for k, s in enumerate(values):
            loss = softplus(-s)
            window[k].append(math.log(1 + loss + loss * loss / 2))
            t = len(window[k])
            width = variance * (t + variance * math.log(2 * t) / t**2) / (kept[k] - variance)
            if label[k]:
                rank.append((max(0.0, sum(window[k]) / t - width), k))
        share = how.drop if epoch >= how.ramp - 1 else how.drop * epoch / (how.ramp - 1)
        top, second = (
            losses - int((1 - share) * losses + 1e-9),
            losses - int((1 - how.relabel * share) * losses + 1e-9),
        )
        worst = [k for _, k in sorted(rank, reverse=True)]
        verdict = ["kept" if label[k] else "negative" for k in range(size)]
        for place, k in enumerate(worst[:top]):
            verdict[k] = "negative" if place < second else "dropped"
            label[k] = 0 if place < second else label[k]
        for k in range(size):
            kept[k] += verdict[k] == "kept"
        verdicts.append(verdict)
    return verdicts, [sum(each) if label[k] else 0.0 for k, each in enumerate(window)], label


@pytest.mark.parametrize("variance", [0.0, 0.5])
def test_dcf_is_its_definition(variance):
    how = Denoise(kind="dcf", drop=0.25, ramp=4, window=3, variance=variance, relabel=0.1)
    values = np.random.default_rng(3).normal(0.5, 1.5, (8, 15)).astype(np.float32)
    verdicts, total, label = naive_dcf(values.tolist(), how, epochs=8)
    denoiser = made(how, pairs=15, epochs=8)
    assert (
        variance == 0
        or verdicts
        != naive_dcf(values.tolist(), Denoise(**to_dict(how) | {"variance": 0.0}), epochs=8)[0]
    )
    for epoch, verdict in enumerate(verdicts):
        pos, neg = torch.tensor(values[epoch]), torch.randn(15, 1)
        pair = denoiser(
            Terms(torch.zeros(15), None, Logits(pos, neg)), torch.arange(15), epoch, 0
        ).pair
        each = [
            {"kept": softplus(-s), "negative": softplus(s), "dropped": 0.0}[word]
            for word, s in zip(verdict, pos.tolist(), strict=True)
        ]
        scale = 30 / (30 - verdict.count("dropped"))
        assert torch.allclose(pair, (torch.tensor(each) + F.softplus(neg[:, 0])) * scale, rtol=1e-5)
        assert (
            denoiser.state["weight"] == torch.tensor([float(word == "kept") for word in verdict])
        ).all()
    assert (denoiser.state["relabelled"] == 0).tolist() == [bool(each) for each in label]
    assert 0 < sum(label) < 15
    positive = denoiser.state["relabelled"] == 0
    assert denoiser.state["total"][positive].tolist() == pytest.approx(
        [sum_ for sum_, y in zip(total, label, strict=True) if y]
    )


def test_released_dcf_keeps_what_it_says_it_relabels_and_mixes_up_histories():
    how = Denoise(
        kind="dcf", mode="released", drop=0.25, ramp=1, window=3, variance=0.0, relabel=0.4
    )
    denoiser = made(how, pairs=20, epochs=4)
    assert len(denoiser.state["total"]) == 40
    pos, neg = torch.linspace(-3, 3, 20), torch.zeros(20, 1)
    for epoch in range(4):
        before = denoiser.state["total"].clone()
        torch.manual_seed(epoch)
        place = torch.randperm(40)
        torch.manual_seed(epoch)
        denoiser(Terms(torch.zeros(20), None, Logits(pos, neg)), torch.arange(20), epoch, 0)
        old = torch.zeros(40, dtype=torch.float64) if epoch % 3 == 0 else before
        new = torch.cat([damped(F.softplus(-pos)), torch.zeros(20, dtype=torch.float64)])
        expected = old.clone()
        expected[place] = ((epoch + 1) * old[place] + new) / (epoch + 2)
        assert torch.allclose(denoiser.state["total"], expected)
        assert (
            int((denoiser.state["weight"] == 0).sum()) == 6
        )  # of 40 losses the 10 largest, of which the 4 largest stay
    assert not denoiser.state["relabelled"].any()
    # The first epoch has no history to mix up: the pairs of largest loss are kept, those after them
    # dropped.
    first = made(how, pairs=20, epochs=4)
    first(Terms(torch.zeros(20), None, Logits(pos, neg)), torch.arange(20), 0, 0)
    assert first.state["weight"].tolist() == [1.0] * 4 + [0.0] * 6 + [1.0] * 10
    with pytest.raises(InputError, match="one negative per pair"):
        made(how, pairs=20)(batch(20, 2), torch.arange(20), 0, 0)


def test_dcf_without_its_corrections_is_tce_to_the_bit():
    tce = run(Denoise(kind="tce", **FAST))
    dcf = run(Denoise(kind="dcf", variance=0.0, window=1, relabel=0.0, **FAST))
    assert vectors(tce) == vectors(dcf)
    assert losses(tce) == losses(dcf)
    assert tce.history[-1].denoise["dropped"] > 20
    assert vectors(tce) != vectors(
        run(Denoise(kind="dcf", variance=0.0, window=3, relabel=0.0, **FAST))
    )


@pytest.mark.parametrize(
    "model",
    [
        MODEL,
        LightGCN(dim=8, layers=1, loss=Loss(kind="bce")),
        MF(dim=8, loss=Loss(kind="bce", weight=0.3), sampler=Sampler(negatives=3)),
    ],
)
@pytest.mark.parametrize(
    "denoise",
    [
        Denoise(kind="watch"),
        Denoise(kind="tce", drop=0.0),
        Denoise(kind="rce", beta=0.0),
        Denoise(kind="dcf", drop=0.0, variance=0.1),
    ],
)
def test_what_drops_nothing_is_plain_cross_entropy_to_the_bit(model, denoise):
    plain = run(Denoise(), model)
    same = run(denoise, model)
    assert vectors(plain) == vectors(same)
    assert losses(plain) == losses(same)
    assert plain.history[0].denoise is None


def test_all_of_the_band_can_be_relabelled():
    """r = 1 relabels in the first epoch what T-CE would drop."""
    terms = batch(20)
    tce, dcf = (
        made(how, pairs=20)
        for how in (
            Denoise(kind="tce", ramp=1),
            Denoise(kind="dcf", ramp=1, relabel=1.0, variance=0.0),
        )
    )
    tce(terms, torch.arange(20), 0, 0)
    pair = dcf(terms, torch.arange(20), 0, 0).pair
    assert torch.equal(tce.state["weight"] == 0, dcf.state["relabelled"] == 1)
    assert not dcf.state["dropped"].any()
    flipped = dcf.state["relabelled"] == 1
    expected = torch.where(
        flipped, F.softplus(terms.logits.pos), F.softplus(-terms.logits.pos)
    ) + F.softplus(terms.logits.neg[:, 0])
    assert torch.allclose(pair, expected)


def test_the_order_of_batches_leaves_the_histories_alone():
    """What a pair is remembered by is its own losses, wherever it stands."""
    how = Denoise(kind="dcf", drop=0.2, ramp=1, window=3, variance=0.1, relabel=0.0)
    one, two = (Denoiser(how, 40, steps=4, epochs=6) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    pos, neg = torch.randn(6, 40, generator=generator), torch.randn(6, 40, 1, generator=generator)
    for epoch in range(6):
        for denoiser, order in (
            (one, torch.arange(40)),
            (two, torch.randperm(40, generator=generator)),
        ):
            for step, rows in enumerate(order.split(10)):
                denoiser(
                    Terms(torch.zeros(10), None, Logits(pos[epoch, rows], neg[epoch, rows])),
                    rows,
                    epoch,
                    step,
                )
        for name in ("total", "loss"):
            assert torch.equal(one.state[name], two.state[name])
    # The same batches in another order: everything is the same.
    three, batches = (
        Denoiser(how, 40, steps=4, epochs=6),
        list(torch.arange(40).split(10)),
    )
    for epoch in range(6):
        for step in torch.randperm(4, generator=generator).tolist():
            rows = batches[step].flip(0)
            three(
                Terms(torch.zeros(10), None, Logits(pos[epoch, rows], neg[epoch, rows])),
                rows,
                epoch,
                step,
            )
    assert all(torch.equal(one.state[name], three.state[name]) for name in one.state)


def test_labels_that_have_gone_do_not_come_back():
    fitted = run(Denoise(kind="dcf", relabel=0.5, variance=0.1, **FAST))
    zeros = [entry.denoise["relabelled"] for entry in fitted.history]
    assert zeros == sorted(zeros)
    assert zeros[0] < zeros[-1]


CASES = {
    "watch": Denoise(kind="watch"),
    "tce": Denoise(kind="tce", **FAST),
    "random": Denoise(kind="random", **FAST),
    "rare": Denoise(kind="rare", **FAST),
    "rce": Denoise(kind="rce"),
    "dcf": Denoise(kind="dcf", variance=0.1, relabel=0.3, **FAST),
    "dcf released": Denoise(kind="dcf", mode="released", variance=0.1, relabel=0.3, **FAST),
}


class Power(Exception):
    """It went out."""


@pytest.mark.parametrize("name", list(CASES))
def test_it_resumes_to_the_same_bytes(name, tmp_path):
    labelled = TRAIN.with_pairs(with_noise(TRAIN.pairs))
    expected = course(run(CASES[name], train=labelled, folder=tmp_path / "whole"))
    for moment in (1, 8, 12, 13, 22, 34):
        count = iter(range(1, 1000))

        def watch(_: Event, moment: int = moment, count: Any = count) -> None:
            if next(count) == moment:
                raise Power

        folder = tmp_path / str(moment)
        with pytest.raises(Power):
            run(CASES[name], train=labelled, folder=folder, watch=watch)
        assert course(run(CASES[name], train=labelled, folder=folder, resume=True)) == expected
        assert (folder / "denoiser.safetensors").read_bytes() == (
            tmp_path / "whole" / "denoiser.safetensors"
        ).read_bytes()


def with_noise(pairs: Interactions) -> Interactions:
    label = np.random.default_rng(1).integers(0, 2, len(pairs))
    return Interactions(pairs.user, pairs.item, pairs.n_users, pairs.n_items, clean=label)


@pytest.mark.parametrize("name", list(CASES))
def test_the_label_trains_nothing(name):
    assert vectors(run(CASES[name])) == vectors(
        run(CASES[name], train=TRAIN.with_pairs(with_noise(TRAIN.pairs)))
    )


def test_what_is_told_of_an_epoch(tmp_path):
    train = TRAIN.with_pairs(with_noise(TRAIN.pairs))
    fitted = run(CASES["dcf"], train=train, folder=tmp_path)
    state, about = read_tensors(tmp_path / "denoiser.safetensors")
    assert about == {"kind": "dcf", "epochs": 6}
    told, noise = fitted.history[-1].denoise, torch.tensor(train.pairs.clean == 0)
    gone = (state["weight"] == 0) & (state["relabelled"] == 0)
    assert told["dropped"] == int(gone.sum()) > 0
    assert told["dropped_noisy"] == int((gone & noise).sum())
    assert told["relabelled"] == int((state["relabelled"] > 0).sum()) > 0
    assert told["relabelled_noisy"] == int((noise & (state["relabelled"] > 0)).sum())
    assert told["clean"] == pytest.approx(float(state["loss"][~noise].mean()))
    assert told["noisy"] == pytest.approx(float(state["loss"][noise].mean()))
    assert told["weight_noisy"] == pytest.approx(float(state["weight"][noise].mean()))
    assert "clean" not in run(CASES["dcf"]).history[-1].denoise


def test_longer_is_another_course_only_where_it_is(tmp_path):
    for name, same in (("tce", True), ("dcf", False)):
        folder = tmp_path / name
        fit(
            MODEL,
            TRAIN,
            VALID,
            Train(**SHORT | {"epochs": 2}, denoise=CASES[name]),
            EVALUATION,
            folder=folder,
        )
        if same:
            assert course(run(CASES[name], folder=folder, resume=True)) == course(run(CASES[name]))
        else:
            with pytest.raises(InputError, match="made with other settings"):
                run(CASES[name], folder=folder, resume=True)


def test_planted_noise_is_found():
    """Pairs of users with items of the other camp have larger losses and are dropped."""
    train, _ = two_camps(users=60, items=40, each=8, kept=2)
    rng = np.random.default_rng(0)
    user = rng.permutation(60)[:30]
    item = 2 * rng.integers(0, 20, 30) + 1 - user % 2
    clean = train.pairs
    pairs = Interactions(
        np.r_[clean.user, user],
        np.r_[clean.item, item],
        clean.n_users,
        clean.n_items,
        clean=np.r_[np.ones(len(clean)), np.zeros(30)],
    )
    told = {}
    for kind in ("tce", "dcf"):
        denoise = Denoise(kind=kind, drop=0.06, of="pairs", ramp=50, relabel=0.02)
        config = Train(
            epochs=60, batch_size=1000, lr=0.03, device="cpu", denoise=denoise
        )  # one batch an epoch
        told[kind] = fit(MODEL, train.with_pairs(pairs), None, config).history[-1].denoise
    base = 30 / len(pairs)
    assert told["tce"]["noisy"] > 3 * told["tce"]["clean"]
    assert told["tce"]["dropped_noisy"] > 5 * base * told["tce"]["dropped"] > 0
    assert told["dcf"]["relabelled_noisy"] > 4 * base * told["dcf"]["relabelled"] > 0


def test_bad_settings_are_refused():
    for bad in (
        {"drop": 1.0},
        {"variance": 1.0},
        {"relabel": 1.5},
        {"window": 0},
        {"ramp": 0},
        {"kind": "dfc"},
    ):
        with pytest.raises(InputError):
            Denoise(**bad)
    assert build(Train, {"denoise": {"kind": "dcf", "drop": 0.1}}).denoise == Denoise(
        kind="dcf", drop=0.1
    )
    with pytest.raises(InputError, match="needs a loss by labels"):
        run(CASES["tce"], MF(dim=4))
    with pytest.raises(InputError, match="whole users"):
        run(CASES["tce"], SFCML(dim=4))


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_runs(name, precision):
    config = Train(
        **SHORT
        | {"batch_size": 1 if precision == "float32" else 500, "epochs": 2, "precision": precision},
        denoise=CASES[name],
    )
    assert all(
        math.isfinite(entry.loss) for entry in fit(MODEL, TRAIN, VALID, config, EVALUATION).history
    )
