"""The loop: it learns, repeats itself, resumes to the same bytes, and reports what it cannot do."""

from __future__ import annotations

import contextlib
import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from asking import asked
from planted import two_camps

from recsys.config import settings
from recsys.data.types import Dataset, FeatureTable, Interactions, Vocab
from recsys.errors import InputError, TrainingError
from recsys.evaluation.evaluator import Evaluation
from recsys.models import Network
from recsys.models.cml import CML, Covariance
from recsys.models.ease import EASE
from recsys.models.lightgcn import LightGCN
from recsys.models.mf import MF
from recsys.models.sfcml import SFCML
from recsys.nn.denoise import Denoise
from recsys.nn.losses import Loss, Terms
from recsys.sampling import Batch, Sampler, UserBatch
from recsys.scorer import Factors, Scorer
from recsys.tensors import load_scorer
from recsys.training.device import pick_device
from recsys.training.loop import Fitted, Train, fit
from recsys.training.progress import EpochDone, Event, StepDone, Watch

TRAIN, VALID = two_camps(users=20, items=20, each=5, kept=2)  # 100 pairs
EVALUATION = Evaluation(metrics=("ndcg@5", "recall@5"), monitor="ndcg@5")
SHORT = {
    "epochs": 4,
    "batch_size": 23,
    "lr": 0.05,
    "device": "cpu",
}  # 5 steps an epoch, the last of them short
BY_USER = {"batch_size": 4}  # the same of the 20 users


def vectors(scorer: Scorer) -> bytes:
    tensors, meta = scorer.state()
    return (
        b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors)) + str(meta).encode()
    )


def course(fitted: Fitted) -> tuple[Any, ...]:
    """Everything of a fit but what the clock says."""
    history = [
        {key: value for key, value in entry.to_json().items() if "second" not in key}
        for entry in fitted.history
    ]
    return fitted.best_epoch, fitted.stopped, history, vectors(fitted.scorer)


class Power(Exception):
    """It went out."""


def until(events: int) -> Watch:
    """A watch under which training breaks off at that event."""
    count = itertools.count(1)

    def watch(_: Event) -> None:
        if next(count) == events:
            raise Power

    return watch


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "mf adam": (MF(dim=8), {}),
    "mf adamw": (MF(dim=8), {"optimizer": "adamw", "weight_decay": 0.1}),
    "mf adagrad": (MF(dim=8), {"optimizer": "adagrad"}),
    "mf sgd": (MF(dim=8, l2=0.0), {"optimizer": "sgd", "lr": 1.0}),
    "mf touched adam": (MF(dim=8, item_bias=True), {"rows": "touched"}),
    "mf touched adagrad": (MF(dim=8), {"rows": "touched", "optimizer": "adagrad"}),
    "mf touched sgd": (MF(dim=8), {"rows": "touched", "optimizer": "sgd", "lr": 1.0}),
    "mf shared softmax": (
        MF(
            dim=8,
            similarity="cosine",
            loss=Loss(kind="softmax", temperature=0.2),
            sampler=Sampler(pool="shared", negatives=9),
        ),
        {},
    ),
    "mf in-batch softmax": (
        MF(dim=8, loss=Loss(kind="softmax"), sampler=Sampler(pool="in-batch")),
        {"clip": 0.1},
    ),
    "mf popularity": (
        MF(dim=8, sampler=Sampler(proposal="popularity", negatives=3), loss=Loss(kind="bce")),
        {"schedule": "linear", "warmup": 7},
    ),
    "mf bfloat16": (MF(dim=8), {"precision": "bfloat16"}),
    "lightgcn": (LightGCN(dim=8, layers=2), {}),
    "lightgcn cosine": (
        LightGCN(dim=8, layers=2),
        {"schedule": "cosine", "warmup": 3, "clip": 0.01},
    ),
    "cml warp": (
        CML(dim=8, sampler=Sampler(negatives=4)),
        {"schedule": "cosine", "optimizer": "adagrad"},
    ),
    "cml touched": (
        CML(dim=8, sampler=Sampler(negatives=4), covariance=Covariance(weight=1.0)),
        {"rows": "touched", "clip": 0.5},
    ),
    "sfcml adagrad": (SFCML(dim=8, l2=1e-3), BY_USER | {"optimizer": "adagrad"}),
    "sfcml touched": (
        SFCML(dim=8, user_space="ball"),
        BY_USER | {"rows": "touched", "schedule": "linear", "warmup": 7, "clip": 0.5},
    ),
    "early stopping": (MF(dim=8), {"lr": 1.5, "optimizer": "sgd", "patience": 1, "epochs": 8}),
    "seldom evaluated": (MF(dim=8), {"eval_every": 3}),
}


@pytest.mark.parametrize("name", list(CASES))
def test_a_fit_repeats_itself_and_resumes_to_the_same_bytes(name, tmp_path):
    recipe, changes = CASES[name]
    config = Train(**SHORT | {"checkpoint_seconds": 0.0} | changes)
    expected = course(fit(recipe, TRAIN, VALID, config, EVALUATION))
    assert expected == course(
        fit(recipe, TRAIN, VALID, config, EVALUATION, folder=tmp_path / "whole")
    )
    rng = np.random.default_rng(len(name))
    for attempt, moment in enumerate(
        rng.choice(np.arange(1, 5 * len(expected[2])), 2, replace=False)
    ):
        folder = tmp_path / str(attempt)
        with pytest.raises(Power):
            fit(recipe, TRAIN, VALID, config, EVALUATION, folder=folder, watch=until(int(moment)))
        assert (
            course(fit(recipe, TRAIN, VALID, config, EVALUATION, folder=folder, resume=True))
            == expected
        )
        for file in ("scorer.safetensors", "checkpoint.safetensors"):
            assert (folder / file).exists()
        assert (folder / "scorer.safetensors").read_bytes() == (
            tmp_path / "whole" / "scorer.safetensors"
        ).read_bytes()


@pytest.mark.parametrize("seconds", [0.0, 0.002, 1e9])
@pytest.mark.parametrize("valid", [VALID, None])
def test_it_may_break_off_again_and_again(seconds, valid, tmp_path):
    """Whatever was written when, and whether anything was."""
    recipe, config = MF(dim=4), Train(**SHORT | {"checkpoint_seconds": seconds})
    expected = course(fit(recipe, TRAIN, valid, config, EVALUATION))
    for moment in (1, 3, 5, 6, 7, 2, 9):
        with contextlib.suppress(Power):  # it may be further than that already, and end
            fit(
                recipe,
                TRAIN,
                valid,
                config,
                EVALUATION,
                folder=tmp_path,
                resume=True,
                watch=until(moment),
            )
    assert (
        course(fit(recipe, TRAIN, valid, config, EVALUATION, folder=tmp_path, resume=True))
        == expected
    )


def test_resuming_what_has_ended_changes_nothing(tmp_path):
    config = Train(**SHORT)
    first = course(fit(MF(dim=4), TRAIN, VALID, config, EVALUATION, folder=tmp_path))
    events: list[Event] = []
    again = fit(
        MF(dim=4),
        TRAIN,
        VALID,
        config,
        EVALUATION,
        folder=tmp_path,
        resume=True,
        watch=events.append,
    )
    assert course(again) == first
    assert not any(isinstance(event, StepDone) for event in events)


@pytest.mark.parametrize("valid", [VALID, None])
def test_a_fit_can_be_made_longer(valid, tmp_path):
    """More epochs are no other settings while the step size does not depend on their number."""
    fit(MF(dim=4), TRAIN, valid, Train(**SHORT | {"epochs": 2}), EVALUATION, folder=tmp_path)
    longer = fit(MF(dim=4), TRAIN, valid, Train(**SHORT), EVALUATION, folder=tmp_path, resume=True)
    assert course(longer) == course(fit(MF(dim=4), TRAIN, valid, Train(**SHORT), EVALUATION))


def test_a_fit_from_the_start_ignores_the_checkpoint(tmp_path):
    config = Train(**SHORT)
    with pytest.raises(Power):
        fit(
            MF(dim=4),
            TRAIN,
            VALID,
            Train(**SHORT | {"seed": 1, "checkpoint_seconds": 0.0}),
            EVALUATION,
            folder=tmp_path,
            watch=until(9),
        )
    assert course(fit(MF(dim=4), TRAIN, VALID, config, EVALUATION, folder=tmp_path)) == course(
        fit(MF(dim=4), TRAIN, VALID, config, EVALUATION)
    )


def broken_off(folder: Path, **changes: Any) -> Train:
    config = Train(**SHORT | {"checkpoint_seconds": 0.0} | changes)
    with pytest.raises(Power):
        fit(MF(dim=4), TRAIN, VALID, config, EVALUATION, folder=folder, watch=until(9))
    return config


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    config = broken_off(tmp_path)
    other = Interactions(VALID.user, VALID.item[::-1], VALID.n_users, VALID.n_items)
    fewer = TRAIN.with_pairs(TRAIN.pairs.take(np.arange(90)))
    several: list[tuple[Any, ...]] = [
        (MF(dim=5), TRAIN, VALID, config, EVALUATION),
        (MF(dim=4, l2=0.0), TRAIN, VALID, config, EVALUATION),
        (CML(dim=4), TRAIN, VALID, config, EVALUATION),
        (MF(dim=4), fewer, VALID, config, EVALUATION),
        (MF(dim=4), TRAIN, other, config, EVALUATION),
        (MF(dim=4), TRAIN, None, config, EVALUATION),
        (MF(dim=4), TRAIN, VALID, config, Evaluation(metrics=("recall@5",), monitor="recall@5")),
    ]
    several += [
        (MF(dim=4), TRAIN, VALID, Train(**SHORT | {"checkpoint_seconds": 0.0} | change), EVALUATION)
        for change in (
            {"lr": 0.06},
            {"seed": 1},
            {"batch_size": 24},
            {"optimizer": "sgd"},
            {"rows": "touched"},
            {"clip": 1.0},
            {"schedule": "cosine"},
        )
    ]
    for arguments in several:
        with pytest.raises(InputError, match="made with other settings") as caught:
            fit(*arguments, folder=tmp_path, resume=True)
        assert "checkpoint.safetensors" in str(caught.value)
        assert caught.value.remedy
    fit(
        MF(dim=4), TRAIN, VALID, config, EVALUATION, folder=tmp_path, resume=True
    )  # and its own still serves


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "foreign", "scorer", "no scorer"])
def test_a_damaged_checkpoint_is_refused(damage, tmp_path):
    config = broken_off(tmp_path)
    path, scorer = tmp_path / "checkpoint.safetensors", tmp_path / "scorer.safetensors"
    raw = path.read_bytes()
    if damage == "foreign":
        safetensors.torch.save_file({"a": torch.ones(2)}, path)
    elif damage == "scorer":
        path.write_bytes(scorer.read_bytes())
    elif damage == "no scorer":
        scorer.unlink()
    else:
        path.write_bytes({"cut": raw[:-10], "empty": b"", "garbage": b"\x80\x04" + raw}[damage])
    with pytest.raises(InputError) as caught:
        fit(MF(dim=4), TRAIN, VALID, config, EVALUATION, folder=tmp_path, resume=True)
    assert str(scorer if damage == "no scorer" else path) in str(caught.value)


def test_nothing_is_left_beside_the_two_files(tmp_path):
    broken_off(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint.safetensors",
        "scorer.safetensors",
    ]


@pytest.mark.parametrize("recipe", [MF(dim=8), LightGCN(dim=8), CML(dim=8)])
def test_the_loss_falls_and_the_ranking_rises(recipe):
    history = fit(
        recipe, TRAIN, VALID, Train(**SHORT | {"epochs": 12, "patience": None}), EVALUATION
    ).history
    assert [entry.epoch for entry in history] == list(range(1, 13))
    assert history[-1].loss < 0.5 * history[0].loss
    assert max(entry.valid["ndcg@5"] for entry in history) > 0.45  # by chance 0.16


def test_seeds_give_different_results():
    one, two = (
        fit(MF(dim=4), TRAIN, VALID, Train(**SHORT | {"seed": seed}), EVALUATION) for seed in (0, 1)
    )
    assert vectors(one.scorer) != vectors(two.scorer)


def test_what_watches_cannot_change_the_result():
    def watch(event: Event) -> None:
        torch.rand(3)
        np.random.default_rng().random()

    config = Train(**SHORT)
    assert course(fit(MF(dim=4), TRAIN, VALID, config, EVALUATION, watch=watch)) == course(
        fit(MF(dim=4), TRAIN, VALID, config, EVALUATION)
    )


def test_watch_hears_every_step_and_epoch():
    events: list[Event] = []
    fitted = fit(
        MF(dim=4), TRAIN, VALID, Train(**SHORT | {"epochs": 2}), EVALUATION, watch=events.append
    )
    assert [type(event) for event in events] == ([StepDone] * 5 + [EpochDone]) * 2
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3, 4, 5] * 2
    assert sum(event.pairs for event in events if isinstance(event, StepDone)) == 2 * len(
        TRAIN.pairs
    )
    assert [event.entry.valid for event in events if isinstance(event, EpochDone)] == [
        entry.valid for entry in fitted.history
    ]


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(5)
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fit(MF(dim=4), TRAIN, VALID, Train(**SHORT), EVALUATION)
    with pytest.raises(Power):
        fit(MF(dim=4), TRAIN, VALID, Train(**SHORT), EVALUATION, watch=until(3))
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numbers, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    "recipe",
    [
        MF(dim=4, item_bias=True),
        LightGCN(dim=4),
        CML(dim=4, sampler=Sampler(pool="shared", negatives=5)),
    ],
)
@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 5000},
        {"batch_size": 1, "epochs": 1},
        {"precision": "bfloat16"},
        {"epochs": 1},
    ],
)
def test_it_runs(recipe, changes):
    fitted = fit(recipe, TRAIN, VALID, Train(**SHORT | changes), EVALUATION)
    assert all(math.isfinite(entry.loss) for entry in fitted.history)
    assert torch.isfinite(fitted.scorer.score(asked(torch.arange(TRAIN.n_users)))).all()
    assert fitted.scorer.user.dtype == torch.float32


@pytest.mark.parametrize(
    "recipe",
    [
        MF(dim=4),
        LightGCN(dim=4),
        CML(dim=4),
        MF(dim=4, loss=Loss(kind="softmax"), sampler=Sampler(pool="in-batch")),
    ],
)
def test_one_user_and_one_item(recipe):
    """There is no negative at all: nothing to learn, nothing to fail at."""
    one = Dataset(Interactions(np.array([0]), np.array([0]), 1, 1), Vocab.range(1), Vocab.range(1))
    fitted = fit(recipe, one, None, Train(**SHORT))
    assert fitted.history[-1].loss == pytest.approx(0, abs=1e-5)  # regularisation is all there is
    assert torch.isfinite(fitted.scorer.score(asked(torch.tensor([0])))).all()


def test_without_validation_the_last_epoch_is_returned():
    empty = Interactions(
        np.array([], dtype=int), np.array([], dtype=int), TRAIN.n_users, TRAIN.n_items
    )
    none, nothing = (
        fit(MF(dim=4), TRAIN, valid, Train(**SHORT), EVALUATION) for valid in (None, empty)
    )
    assert none.best_epoch == nothing.best_epoch == 4
    assert none.history[0].valid is None
    assert course(none) == course(nothing)


def test_no_data_is_an_error():
    empty = TRAIN.with_pairs(TRAIN.pairs.take(np.array([], dtype=int)))
    with pytest.raises(InputError, match="nothing to train on"):
        fit(MF(dim=4), empty, None, Train(**SHORT))


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:99", "tpu", ""):
        with pytest.raises(InputError, match="cannot be used") as caught:
            pick_device(name)
        assert "\n" not in str(caught.value)


def test_adamw_cannot_touch_some_rows_only():
    with pytest.raises(InputError, match="adamw decays every row"):
        fit(MF(dim=4), TRAIN, None, Train(**SHORT | {"optimizer": "adamw", "rows": "touched"}))


# What follows uses networks made for the purpose.


class _Line(Network):
    """One weight, whose gradient is `slope` at every step."""

    sampler = Sampler()

    def __init__(self, train: Dataset, slope: float, noise: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.shape, self.slope, self.noise = (train.n_users, train.n_items), slope, noise

    def loss(self, batch: Batch) -> Terms:
        return Terms(
            self.slope
            * self.weight
            * torch.ones(len(batch))
            * (torch.randn(()) if self.noise else 1)
        )

    def scorer(self) -> Factors:
        weight = self.weight.detach().clone()
        return Factors(weight.expand(self.shape[0], 1).clone(), torch.ones(self.shape[1], 1))


@settings
class Line:
    """A line."""

    slope: float = 1.0
    noise: bool = False

    def build(self, train: Dataset) -> Network:
        return _Line(train, self.slope, self.noise)


def way(recipe: Line, **changes: Any) -> float:
    """How far plain gradient descent has come."""
    fitted = fit(recipe, TRAIN, None, Train(**SHORT | {"optimizer": "sgd", "lr": 1.0} | changes))
    return -float(fitted.scorer.user[0, 0])


def test_the_step_size_follows_its_schedule():
    total = 4 * 5
    assert way(Line()) == pytest.approx(total)
    assert way(Line(), lr=0.25) == pytest.approx(total / 4)
    assert way(Line(), warmup=4) == pytest.approx(sum((i + 1) / 4 for i in range(4)) + total - 4)
    assert way(Line(), schedule="linear") == pytest.approx(sum(1 - i / total for i in range(total)))
    assert way(Line(), schedule="cosine") == pytest.approx(
        sum((1 + math.cos(math.pi * i / total)) / 2 for i in range(total))
    )
    rest = sum((1 + math.cos(math.pi * i / (total - 4))) / 2 for i in range(total - 4))
    assert way(Line(), schedule="cosine", warmup=4) == pytest.approx(
        sum((i + 1) / 4 for i in range(4)) + rest
    )
    assert way(Line(), warmup=100) == pytest.approx(sum((i + 1) / 100 for i in range(total)))


def test_the_step_size_shrinks_from_epoch_to_epoch(tmp_path):
    steps, falling = 5, {"schedule": "exponential", "lr_decay": 0.5}
    assert way(Line(), **falling) == pytest.approx(steps * sum(0.5**epoch for epoch in range(4)))
    assert way(Line(), schedule="exponential") == pytest.approx(
        steps * sum(0.99**epoch for epoch in range(4))
    )
    assert way(Line(), warmup=6, **falling) == pytest.approx(
        sum(min(1, (i + 1) / 6) * 0.5 ** (i // steps) for i in range(20))
    )
    # The course does not depend on its length, so a fit can be made longer.
    config = Train(**SHORT | {"optimizer": "sgd", "lr": 1.0, "epochs": 2} | falling)
    fit(Line(), TRAIN, None, config, folder=tmp_path)
    longer = fit(Line(), TRAIN, None, replace(config, epochs=4), folder=tmp_path, resume=True)
    assert -float(longer.scorer.user[0, 0]) == pytest.approx(
        steps * sum(0.5**epoch for epoch in range(4))
    )


def test_gradients_are_clipped_to_a_norm():
    assert way(Line(slope=10.0), epochs=1) == pytest.approx(50)
    assert way(Line(slope=10.0), epochs=1, clip=2.0) == pytest.approx(10)
    assert way(Line(slope=10.0), epochs=1, clip=99.0) == pytest.approx(50)


@pytest.mark.parametrize("rows", ["dense", "touched"])
def test_clipping_is_that_of_torch(rows):
    """One step of plain gradient descent moves the weights by lr x the clipped gradient."""
    recipe = MF(dim=4, item_bias=True, init_std=1.0, sampler=Sampler(negatives=3))
    start = recipe_start(recipe)
    config = {"optimizer": "sgd", "lr": 1.0, "epochs": 1, "batch_size": 1000, "rows": rows}
    free, held = (
        fit(recipe, TRAIN, None, Train(**SHORT | config | {"clip": clip})).scorer
        for clip in (None, 0.01)
    )
    steps = [
        torch.cat(
            [(a - b).flatten() for a, b in zip((s.user, s.item, s.item_bias), start, strict=True)]
        )
        for s in (free, held)
    ]
    assert steps[0].norm() > 0.01
    assert torch.allclose(steps[1], steps[0] * 0.01 / steps[0].norm(), atol=1e-6)


def recipe_start(recipe: MF) -> tuple[torch.Tensor, ...]:
    """The weights before the first step: those of a fit that hardly moves them."""
    scorer = fit(
        recipe, TRAIN, None, Train(**SHORT | {"optimizer": "sgd", "lr": 1e-30, "epochs": 1})
    ).scorer
    return scorer.user, scorer.item, scorer.item_bias


def test_random_layers_resume_to_the_same_bytes(tmp_path):
    """What a network draws for itself is a function of the step, too."""
    config = Train(**SHORT | {"checkpoint_seconds": 0.0})
    expected = course(fit(Line(noise=True), TRAIN, None, config))
    for moment in (2, 5, 6, 8, 17):
        with pytest.raises(Power):
            fit(
                Line(noise=True),
                TRAIN,
                None,
                config,
                folder=tmp_path / str(moment),
                watch=until(moment),
            )
        assert (
            course(
                fit(
                    Line(noise=True),
                    TRAIN,
                    None,
                    config,
                    folder=tmp_path / str(moment),
                    resume=True,
                )
            )
            == expected
        )
    assert expected != course(fit(Line(noise=True), TRAIN, None, Train(**SHORT | {"seed": 1})))


class _Scripted(_Line):
    """Its scorer has a known quality after each epoch; its loss may become bad."""

    def __init__(
        self, train: Dataset, quality: tuple[float, ...], bad: tuple[int, int, str] | None
    ) -> None:
        super().__init__(train, 0.0)
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))
        self.quality, self.bad = quality, bad

    def loss(self, batch: Batch) -> Terms:
        self.epochs.fill_(batch.epoch)
        value = (
            float(self.bad[2])
            if self.bad is not None and (batch.epoch, batch.step) == self.bad[:2]
            else 1.0
        )
        return Terms(self.weight * 0 + torch.full((len(batch),), value))

    def scorer(self) -> Factors:
        items = torch.linspace(0, 1, self.shape[1]) - 0.01  # no quality ties with another item
        items[0] = self.quality[int(self.epochs)]
        return Factors(torch.ones(self.shape[0], 1), items[:, None])


@settings
class Scripted:
    """A course known in advance."""

    quality: tuple[float, ...] = (0.5,) * 20
    bad: tuple[int, int, str] | None = None  # at which epoch and step, and the loss there

    def build(self, train: Dataset) -> Network:
        return _Scripted(train, self.quality, self.bad)


LONE = Interactions(
    np.array([20]), np.array([0]), TRAIN.n_users, TRAIN.n_items
)  # the user without a training pair wants item 0


def scripted(quality: tuple[float, ...], **changes: Any) -> Fitted:
    evaluation = Evaluation(metrics=("mrr@20",), monitor="mrr@20")
    return fit(
        Scripted(quality=quality), TRAIN, LONE, Train(**SHORT | {"epochs": 8} | changes), evaluation
    )


def test_early_stopping_keeps_the_best():
    quality = (0.1, 0.5, 0.9, 0.3, 0.3, 0.95, 0.2, 0.2)
    stopped = scripted(quality, patience=2)
    assert (stopped.best_epoch, len(stopped.history)) == (3, 5)
    assert float(stopped.scorer.item[0, 0]) == pytest.approx(0.9)
    assert [entry.best for entry in stopped.history] == [True, True, True, False, False]
    assert "no better" in stopped.stopped
    patient = scripted(quality, patience=3)
    assert (patient.best_epoch, len(patient.history)) == (6, 8)
    never = scripted(tuple(reversed(quality)), patience=None)
    assert (never.best_epoch, len(never.history)) == (3, 8)


def test_patience_goes_on_where_it_broke_off(tmp_path):
    evaluation = Evaluation(metrics=("mrr@20",), monitor="mrr@20")
    config = Train(**SHORT | {"epochs": 12, "patience": 4, "checkpoint_seconds": 0.0})
    recipe = Scripted(quality=(0.3, 0.5, 0.4, 0.4, 0.4, 0.4, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9))
    expected = course(fit(recipe, TRAIN, LONE, config, evaluation))
    assert expected[0] == 2
    assert len(expected[2]) == 6
    for moment in range(4, 30, 3):
        folder = tmp_path / str(moment)
        with pytest.raises(Power):
            fit(recipe, TRAIN, LONE, config, evaluation, folder=folder, watch=until(moment))
        assert (
            course(fit(recipe, TRAIN, LONE, config, evaluation, folder=folder, resume=True))
            == expected
        )


def test_of_equals_the_first_is_the_best():
    assert scripted((0.5,) * 8, patience=None).best_epoch == 1


def test_patience_counts_evaluations():
    fitted = scripted((0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1), patience=1, eval_every=2)
    assert (fitted.best_epoch, len(fitted.history)) == (2, 4)
    assert [entry.valid is not None for entry in fitted.history] == [False, True, False, True]


def test_the_last_epoch_is_always_evaluated():
    fitted = scripted((0.1,) * 7 + (0.9,), eval_every=3)
    assert fitted.best_epoch == 8


def test_the_best_scorer_is_what_is_on_disk(tmp_path):
    evaluation = Evaluation(metrics=("mrr@20",), monitor="mrr@20")
    fitted = fit(
        Scripted(quality=(0.1, 0.9, 0.2, 0.3)),
        TRAIN,
        LONE,
        Train(**SHORT),
        evaluation,
        folder=tmp_path,
    )
    scorer, about = load_scorer(tmp_path / "scorer.safetensors")
    assert about["epoch"] == 2
    assert vectors(scorer) == vectors(fitted.scorer)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_loss_that_is_no_number_names_the_step(value):
    with pytest.raises(
        TrainingError, match="epoch 2, step 3: the loss is not a finite number"
    ) as caught:
        fit(Scripted(bad=(1, 2, value)), TRAIN, None, Train(**SHORT))
    assert caught.value.remedy
    assert isinstance(caught.value, InputError)


def test_a_loss_that_grows_a_thousandfold_is_an_error():
    with pytest.raises(TrainingError, match="has grown from 1 to"):
        fit(Scripted(bad=(2, 0, "1e6")), TRAIN, None, Train(**SHORT))


@pytest.mark.parametrize("recipe", [MF(dim=4, init_std=1.0), LightGCN(dim=4, init_std=1.0)])
@pytest.mark.parametrize("rows", ["dense", "touched"])
def test_a_huge_step_size_is_noticed(recipe, rows):
    if rows == "touched" and isinstance(recipe, LightGCN):
        recipe = MF(dim=4, init_std=1.0, item_bias=True)
    with pytest.raises(TrainingError, match=r"epoch 1, step [2345]"):
        fit(recipe, TRAIN, None, Train(**SHORT | {"optimizer": "sgd", "lr": 1e30, "rows": rows}))


def test_poisoned_weights_are_noticed():
    class Poisoned(MF):
        def build(self, train: Dataset) -> Network:
            network = super().build(train)
            with torch.no_grad():
                network.user.weight[3, 0] = math.nan
            return network

    with pytest.raises(TrainingError, match="epoch 1, step 1"):
        fit(Poisoned(dim=4), TRAIN, VALID, Train(**SHORT | {"batch_size": 1000}), EVALUATION)


def test_a_last_step_into_nowhere_is_noticed():
    """The loss of the last step is finite, but the weights after it are not.

    A scorer that returns NaN must not be returned.
    """
    with pytest.raises(InputError):
        fit(
            MF(dim=4, init_std=1e4),
            TRAIN,
            None,
            Train(**SHORT | {"optimizer": "sgd", "lr": 3e38, "epochs": 1, "batch_size": 1000}),
        )


def test_lower_can_be_better():
    """Early stopping on a metric of which less is better keeps the least."""
    evaluation = Evaluation(metrics=("gini@3",), monitor="gini@3")
    history = fit(MF(dim=4), TRAIN, VALID, Train(**SHORT), evaluation)
    values = [entry.valid["gini@3"] for entry in history.history]
    assert values[history.best_epoch - 1] == min(values)
    assert min(values) < max(values)


def test_the_vectors_of_cml_stay_in_the_ball():
    for rows in ("dense", "touched"):
        scorer = fit(
            CML(dim=4, radius=0.5), TRAIN, None, Train(**SHORT | {"rows": rows, "lr": 0.5})
        ).scorer
        for table in (scorer.user, scorer.item):
            assert table.norm(dim=1).max() <= 0.5 + 1e-6


def test_untouched_rows_stay_and_dense_rows_move():
    alone = TRAIN.n_users - 1  # a user without a pair: only momentum and decay could move it
    start = recipe_start(MF(dim=4, item_bias=True))[0][alone]
    touched = fit(
        MF(dim=4, item_bias=True), TRAIN, None, Train(**SHORT | {"rows": "touched"})
    ).scorer
    assert torch.equal(touched.user[alone], start)
    decayed = fit(
        MF(dim=4, item_bias=True),
        TRAIN,
        None,
        Train(**SHORT | {"optimizer": "adamw", "weight_decay": 0.5}),
    ).scorer
    assert torch.allclose(decayed.user[alone], start * (1 - 0.05 * 0.5) ** 20, rtol=1e-4)


@settings
class Counted:
    """Popularity: a closed-form method."""

    def build(self, train: Dataset) -> Scorer:
        count = np.bincount(train.pairs.item, minlength=train.n_items).astype(np.float32)
        return Factors(torch.ones(train.n_users, 1), torch.from_numpy(count)[:, None])


def test_a_closed_form_needs_no_loop():
    events: list[Event] = []
    fitted = fit(Counted(), TRAIN, VALID, Train(**SHORT), EVALUATION, watch=events.append)
    assert (fitted.best_epoch, fitted.stopped) == (0, "closed form")
    assert set(fitted.history[0].valid) == {"ndcg@5", "recall@5"}
    assert [type(event) for event in events] == [EpochDone]
    assert course(fitted) == course(fit(Counted(), TRAIN, VALID, Train(**SHORT), EVALUATION))
    assert fit(Counted(), TRAIN, None, Train(**SHORT)).history[0].valid is None


def test_a_closed_form_has_no_losses_of_pairs():
    for denoised, said in (
        ({"denoise": Denoise(kind="tce")}, "'tce' judges pairs by their losses"),
        ({"select": "loss"}, "select = 'loss' judges"),
    ):
        with pytest.raises(InputError, match=said):
            fit(Counted(), TRAIN, VALID, Train(**SHORT, **denoised), EVALUATION)


def test_features_reach_the_evaluation():
    """Diversity of lists is measured from item features where there are some."""
    evaluation = Evaluation(metrics=("ndcg@5", "diversity@5"), monitor="ndcg@5")
    with_features = (
        fit(MF(dim=4), TRAIN, VALID, Train(**SHORT | {"epochs": 1}), evaluation).history[0].valid
    )
    assert math.isfinite(with_features["diversity@5"])


def test_the_loss_of_an_epoch_of_users_is_their_mean():
    """Each user counts once, for any number of pairs and in a batch of any size."""

    class Sizes(Network):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def loss(self, batch: UserBatch) -> Terms:
            return Terms(batch.user + 1.0 + 0 * self.weight)

        def scorer(self) -> Scorer:
            return Factors(torch.zeros(TRAIN.n_users, 1), torch.zeros(TRAIN.n_items, 1))

    @settings
    class Recipe:
        """A loss that is known."""

        def build(self, train: Dataset) -> Network:
            return Sizes()

    seen: list[int] = []
    config = Train(epochs=1, batch_size=7, device="cpu")
    fitted = fit(
        Recipe(),
        TRAIN,
        None,
        config,
        watch=lambda event: seen.append(event.pairs) if isinstance(event, StepDone) else None,
    )
    assert sorted(seen) == [6, 7, 7]
    assert fitted.history[0].loss == pytest.approx(np.mean(np.arange(20) + 1.0))


def test_a_checkpoint_belongs_to_its_features(tmp_path):
    table = next(iter(TRAIN.features.values()))
    other = FeatureTable(table.values + 1, table.present)
    fit(MF(dim=4), TRAIN, None, Train(epochs=1, device="cpu"), folder=tmp_path)
    changed = replace(TRAIN, features={**TRAIN.features, next(iter(TRAIN.features)): other})
    with pytest.raises(InputError, match="made with other settings, data or devices"):
        fit(MF(dim=4), changed, None, Train(epochs=2, device="cpu"), folder=tmp_path, resume=True)
    fit(
        MF(dim=4),
        replace(TRAIN, features=dict(TRAIN.features)),
        None,
        Train(epochs=2, device="cpu"),
        folder=tmp_path,
        resume=True,
    )


@pytest.mark.parametrize("recipe", [MF(dim=4), EASE()])
def test_a_monitor_that_no_user_of_valid_has_is_named(recipe, tmp_path):
    """Everyone has two valid items, and the metric is about users with five."""
    undefined = Evaluation(
        metrics=("recall@5", "recall@2"), monitor="recall@5", skip_short_users=True
    )
    with pytest.raises(
        InputError,
        match=r"\[evaluate\] monitor: recall@5 is defined for no user .*; monitor another",
    ):
        fit(recipe, TRAIN, VALID, Train(**SHORT), undefined, folder=tmp_path)
    kept = fit(recipe, TRAIN, VALID, Train(**SHORT), replace(undefined, monitor="recall@2"))
    assert set(kept.history[-1].valid) == {"recall@2"}


def test_what_selects_nothing_may_be_undefined():
    """The loss on valid selects, or nothing does: a closed form without the monitor."""
    undefined = Evaluation(metrics=("recall@2",), monitor="recall@5", skip_short_users=True)
    assert fit(EASE(), TRAIN, VALID, Train(**SHORT), undefined).history[0].valid.keys() == {
        "recall@2"
    }
    chosen = fit(
        MF(dim=4, loss=Loss(kind="bce")),
        TRAIN,
        VALID,
        Train(**SHORT | {"select": "loss"}),
        undefined,
    )
    assert chosen.best_epoch > 0


def test_a_monitor_need_not_be_written_as_the_report_has_it():
    found = fit(
        MF(dim=4),
        TRAIN,
        VALID,
        Train(**SHORT),
        Evaluation(metrics=("recall@2",), monitor="opauc@50.0%"),
    )
    assert "opauc@50%" in found.history[-1].valid
