"""Choosing an epoch by the loss of held-out pairs, the largest left out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from planted import two_camps

from recsys.data.types import Interactions
from recsys.errors import InputError
from recsys.evaluation.evaluator import Evaluation
from recsys.models.mf import MF
from recsys.models.sfcml import SFCML
from recsys.nn.losses import Loss
from recsys.sampling import PairStream, Sampler
from recsys.training.held_out import held_out_loss
from recsys.training.loop import Train, fit

TRAIN, VALID = two_camps(users=20, items=20, each=5, kept=2)
EVALUATION = Evaluation(metrics=("ndcg@5",), monitor="ndcg@5")
MODEL = MF(dim=8, loss=Loss(kind="bce"), sampler=Sampler(negatives=3))
SHORT: dict[str, Any] = {
    "epochs": 8,
    "batch_size": 23,
    "lr": 0.05,
    "device": "cpu",
    "checkpoint_seconds": 0.0,
    "select": "loss",
}


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def held(valid: Interactions = VALID, size: int = 7) -> PairStream:
    return PairStream(valid, MODEL.sampler, batch_size=size, seed=3, also_observed=TRAIN.pairs)


@pytest.mark.parametrize("trim", [0.0, 0.2, 0.9])
def test_it_is_the_mean_without_the_largest(trim):
    torch.manual_seed(0)
    network = MODEL.build(TRAIN)
    user, item = network.user.weight.tolist(), network.item.weight.tolist()

    def score(u: int, i: int) -> float:
        return sum(a * b for a, b in zip(user[u], item[i], strict=True))

    own, others = [], []
    for batch in held().epoch(0):
        for u, i, negatives in zip(
            batch.user.tolist(), batch.pos.tolist(), batch.neg.tolist(), strict=True
        ):
            own.append(softplus(-score(u, i)))
            others.append(sum(softplus(score(u, j)) for j in negatives) / 3)
    kept = sorted(own)[: len(own) - int(trim * len(own) + 1e-9)]
    assert held_out_loss(network, held().epoch(0), trim) == pytest.approx(
        (sum(kept) + sum(others)) / (len(kept) + len(others)), rel=1e-6
    )


def test_negatives_of_held_pairs_are_no_pairs_of_train():
    met = set(TRAIN.pairs.key.tolist()) | set(VALID.key.tolist())
    drawn = [
        u * TRAIN.n_items + j
        for batch in held().epoch(0)
        for u, row in zip(batch.user.tolist(), batch.neg.tolist(), strict=True)
        for j in row
    ]
    assert not met & set(drawn)
    alone = PairStream(VALID, MODEL.sampler, batch_size=7, seed=3)
    assert met & {
        u * TRAIN.n_items + j
        for batch in alone.epoch(0)
        for u, row in zip(batch.user.tolist(), batch.neg.tolist(), strict=True)
        for j in row
    }


def test_the_best_epoch_is_that_of_the_least_loss():
    history = (
        fitted := fit(
            MODEL,
            TRAIN,
            VALID,
            Train(**SHORT | {"lr": 0.2, "patience": None, "epochs": 15}),
            EVALUATION,
        )
    ).history
    losses = [entry.valid_loss for entry in history]
    assert fitted.best_epoch == 1 + int(np.argmin(losses)) < 15
    assert [entry.best for entry in history] == [
        loss < min([math.inf, *losses[:i]]) for i, loss in enumerate(losses)
    ]
    stopped = fit(
        MODEL,
        TRAIN,
        VALID,
        Train(**SHORT | {"lr": 0.2, "patience": 2, "epochs": 15, "min_epochs": 0}),
        EVALUATION,
    )
    assert len(stopped.history) == fitted.best_epoch + 2
    by_metric = fit(MODEL, TRAIN, VALID, Train(**SHORT | {"select": "metric"}), EVALUATION)
    assert by_metric.history[0].valid_loss is None


def test_selection_trains_nothing():
    one, two = (
        fit(MODEL, TRAIN, VALID, Train(**SHORT | {"select": select, "patience": None}), EVALUATION)
        for select in ("loss", "metric")
    )
    assert [entry.loss for entry in one.history] == [entry.loss for entry in two.history]


def test_trimming_bears_noise():
    """A fifth of the valid pairs is noise: it costs more as training goes on, and the rest less."""
    rng = np.random.default_rng(0)
    user = rng.integers(0, 20, 10)
    noisy = Interactions(
        np.r_[VALID.user, user],
        np.r_[VALID.item, 2 * rng.integers(0, 10, 10) + 1 - user % 2],
        VALID.n_users,
        VALID.n_items,
    )
    best = {
        trim: fit(
            MODEL,
            TRAIN,
            noisy,
            Train(**SHORT | {"trim": trim, "patience": None, "epochs": 12}),
            EVALUATION,
        )
        for trim in (0.0, 0.25)
    }
    assert best[0.25].best_epoch > best[0.0].best_epoch


def test_it_resumes_to_the_same_bytes(tmp_path):
    def course(fitted: Any) -> Any:
        return (
            fitted.best_epoch,
            [
                {k: value for k, value in entry.to_json().items() if "second" not in k}
                for entry in fitted.history
            ],
            fitted.scorer.user.tolist(),
        )

    config = Train(**SHORT)
    whole = course(fit(MODEL, TRAIN, VALID, config, EVALUATION))
    for moment in (3, 9, 20):
        count = iter(range(1, 99))

        def watch(_: Any, moment: int = moment, count: Any = count) -> None:
            if next(count) == moment:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            fit(MODEL, TRAIN, VALID, config, EVALUATION, folder=tmp_path / str(moment), watch=watch)
        assert (
            course(
                fit(
                    MODEL,
                    TRAIN,
                    VALID,
                    config,
                    EVALUATION,
                    folder=tmp_path / str(moment),
                    resume=True,
                )
            )
            == whole
        )


def test_it_needs_labels():
    with pytest.raises(InputError, match="needs a loss with labels"):
        fit(MF(dim=4), TRAIN, VALID, Train(**SHORT), EVALUATION)
    with pytest.raises(InputError, match="whole users"):
        fit(SFCML(dim=4), TRAIN, VALID, Train(**SHORT), EVALUATION)
    fit(
        MF(dim=4), TRAIN, None, Train(**SHORT), EVALUATION
    )  # nothing is held out, nothing is chosen
