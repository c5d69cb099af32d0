"""Training by compiled kernels: it learns, resumes to the same bytes, and refuses by name."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from planted import two_camps

from recsys.data.types import Dataset, FeatureTable
from recsys.errors import InputError
from recsys.evaluation.evaluator import Evaluation
from recsys.models.cml import CML, Content, Covariance
from recsys.models.dpcml import DPCML
from recsys.models.gmf import GMF
from recsys.models.lightgcn import LightGCN
from recsys.models.mf import MF
from recsys.nn.denoise import Denoise
from recsys.nn.diversity import Diversity
from recsys.nn.losses import Loss
from recsys.sampling import Sampler
from recsys.training.loop import Fitted, Train, fit
from recsys.training.progress import Event, StepDone

pytest.importorskip("numba")

from recsys.kernels import rounds

TRAIN, VALID = two_camps(users=20, items=20, each=5, kept=2)  # 100 pairs
EVALUATION = Evaluation(metrics=("ndcg@5", "recall@5"), monitor="ndcg@5")
USUAL = {"epochs": 4, "update": "pair", "optimizer": "adagrad", "lr": 0.05, "device": "cpu"}
SEVERAL = Sampler(negatives=4)
HARDEST = Loss(reduce="hardest")


class Power(Exception):
    """It went out."""


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three blocks of users and of items, which such small data would not have."""
    monkeypatch.setattr(rounds, "n_blocks", lambda users, items: 3)


def trained(recipe: Any, folder: Path | None = None, **changes: Any) -> Fitted:
    return fit(recipe, TRAIN, VALID, Train(**USUAL | changes), EVALUATION, folder=folder)


def course(fitted: Fitted) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in entry.to_json().items() if "second" not in key}
        for entry in fitted.history
    ]


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        (MF(dim=8), {"optimizer": "sgd", "schedule": "linear"}),
        (MF(dim=8, loss=HARDEST, sampler=SEVERAL), {}),
        (CML(dim=8, sampler=SEVERAL), {"schedule": "exponential"}),
        (DPCML(dim=8, vectors=2, sampler=SEVERAL), {}),
    ],
    ids=["mf sgd", "mf hardest", "cml", "dpcml"],
)
def test_it_resumes_to_the_same_bytes(recipe: Any, changes: dict[str, Any], tmp_path: Path) -> None:
    whole = trained(recipe, tmp_path / "whole", **changes)
    for moment in (2, 6, 9):  # of 16 events: 3 rounds and the end of an epoch, four times
        count = itertools.count(1)

        def watch(_: Event, count: Any = count, moment: int = moment) -> None:
            if next(count) == moment:
                raise Power

        folder = tmp_path / str(moment)
        config = Train(**USUAL | changes | {"checkpoint_seconds": 0.0})
        with pytest.raises(Power):
            fit(recipe, TRAIN, VALID, config, EVALUATION, folder=folder, watch=watch)
        events: list[Event] = []
        resumed = fit(
            recipe,
            TRAIN,
            VALID,
            config,
            EVALUATION,
            folder=folder,
            resume=True,
            watch=events.append,
        )
        assert sum(isinstance(event, StepDone) for event in events) < 12
        assert course(resumed) == course(whole)
        name = "scorer.safetensors"
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.usefixtures("blocks")
def test_two_threads_write_the_same_bytes(tmp_path: Path) -> None:
    recipe, before = MF(dim=8, loss=HARDEST, sampler=SEVERAL), torch.get_num_threads()
    courses = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            courses.append(course(trained(recipe, tmp_path / str(threads))))
    finally:
        torch.set_num_threads(before)
    assert courses[0] == courses[1]
    files = [(tmp_path / name / "scorer.safetensors").read_bytes() for name in ("1", "2")]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    "recipe",
    [MF(dim=8), MF(dim=8, loss=HARDEST, sampler=SEVERAL), CML(dim=8), DPCML(dim=8, vectors=2)],
    ids=["mf", "mf hardest", "cml", "dpcml"],
)
def test_it_learns_the_camps(recipe: Any) -> None:
    fitted = trained(recipe, epochs=30, lr=0.2)
    best = fitted.history[fitted.best_epoch - 1]
    assert best.metric("recall@5") > 0.4  # 2 of 15 unseen items would be 0.33 in the right camp
    assert fitted.history[-1].loss < 0.8 * fitted.history[0].loss
    assert fitted.history[0].pairs_per_second


def test_other_seeds_are_other_trainings() -> None:
    assert course(trained(MF(dim=8), seed=1)) != course(trained(MF(dim=8), seed=2))


def with_features() -> Dataset:
    values = np.ones((TRAIN.n_items, 3), np.float32)
    return replace(TRAIN, features={"text": FeatureTable(values, np.ones(TRAIN.n_items, bool))})


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (MF(), {"optimizer": "adam"}, "[train] optimizer"),
    (MF(), {"optimizer": "adamw"}, "[train] optimizer"),
    (MF(), {"rows": "touched"}, "[train] rows"),
    (MF(), {"warmup": 3}, "[train] warmup"),
    (MF(), {"clip": 1.0}, "[train] clip"),
    (MF(), {"precision": "bfloat16"}, "[train] precision"),
    (MF(), {"compile": True}, "[train] compile"),
    (MF(loss=Loss(kind="bce")), {"denoise": Denoise(kind="tce")}, "[train] denoise"),
    (LightGCN(), {}, "[train] update"),
    (GMF(), {}, "[train] update"),
    (MF(item_bias=True), {}, "item_bias"),
    (MF(similarity="cosine"), {}, "similarity = 'cosine'"),
    (MF(loss=Loss(kind="opauc")), {}, "loss.kind = 'opauc'"),
    (MF(loss=Loss(reduce="soft")), {}, "loss.reduce = 'soft'"),
    (MF(loss=Loss(pairs="hardest")), {}, "loss.pairs = 'hardest'"),
    (MF(sampler=Sampler(pool="shared")), {}, "sampler.pool = 'shared'"),
    (MF(sampler=Sampler(unit="triplet")), {}, "sampler.unit = 'triplet'"),
    (CML(covariance=Covariance(weight=1.0)), {}, "covariance.weight = 1"),
    (CML(content=Content(weight=0.5)), {}, "content.weight = 0.5"),
    (CML(second_stage=2, sampler=Sampler(pool="shared", negatives=9)), {}, "pool = 'shared'"),
    (DPCML(gamma="learned", loss=Loss(kind="hinge", reduce="top")), {}, "gamma = 'learned'"),
    (DPCML(item_space="lazy-ball"), {}, "item_space = 'lazy-ball'"),
    (DPCML(diversity=Diversity(over="all")), {}, "diversity.over = 'all'"),
]


@pytest.mark.parametrize(("recipe", "changes", "words"), REFUSED, ids=[case[2] for case in REFUSED])
def test_what_has_no_kernel_is_refused_by_name(
    recipe: Any, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as caught:
        fit(recipe, with_features(), VALID, Train(**USUAL | changes), EVALUATION)
    assert words in str(caught.value)
    assert caught.value.remedy
    assert "update" in str(caught.value)


def test_without_numba_the_error_names_the_extra() -> None:
    with (
        mock.patch.dict(sys.modules, {"numba": None}),
        pytest.raises(InputError, match="needs numba") as caught,
    ):
        trained(MF())
    assert "recsys[compiled]" in str(caught.value)
