"""What every method keeps to. A new method is tested by being there."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import sys
import types
import typing
from typing import Any

import numpy as np
import pytest
import torch
from asking import asked, top_k
from planted import two_camps

from recsys import models
from recsys.config import build, from_toml, schema, settings, to_dict, to_toml
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.models import Network, _registry
from recsys.scorer import Scorer, from_state
from recsys.tensors import load_scorer, save_scorer
from recsys.training.loop import Fitted, Train, fit
from recsys.training.progress import Event, StepDone

METHODS = models.names()
NETWORKS = [
    name
    for name in METHODS
    if Network
    in (hint := typing.get_type_hints(models.recipe(name).build)["return"], *typing.get_args(hint))
]
CLOSED = [name for name in METHODS if name not in NETWORKS]
# Closed forms that read the log in order: a repeat is an event of its own.
OF_EVENTS = ("markov", "sknn")
TINY = {"dim": 8, "epochs": 5, "vectors": 2}
# Settings published for sparse data with many items; here a fifth of all pairs is observed.
DENSE = {
    "bert4rec": {"blocks": 1, "dropout": 0.0, "last": 1.0},
    "hstu": {"temperature": 0.2},
    "deca": {"c1": 10.0, "init_std": 0.1},
    "simgcl": {"contrast": 0.02},
    "simplex": {"dim": 64},
    "ultragcn": {"negative_weight": 10.0},
    "multvae": {"hidden": 32},
}
TRAIN, HELD = two_camps()
# Eight steps an epoch, of pairs or of users.
CONFIG = Train(epochs=12, batch_size=64, lr=0.03, device="cpu", checkpoint_seconds=0.0)
BY_USER = dataclasses.replace(CONFIG, batch_size=8)
# Methods that diverge at the learning rate of the others.
SMOOTH = {"bert4rec": 0.01}


def recipe(name: str) -> Any:
    """The recipe with its defaults, but small where it can be."""
    known = {field.name for field in dataclasses.fields(models.recipe(name))}
    return models.recipe(name)(
        **{key: value for key, value in TINY.items() if key in known} | DENSE.get(name, {})
    )


@functools.cache
def config(name: str) -> Train:
    config = BY_USER if name in NETWORKS and network(name).sampler is None else CONFIG
    return dataclasses.replace(config, lr=SMOOTH.get(name, config.lr))


@functools.cache
def fitted(name: str) -> Fitted:
    return fit(recipe(name), TRAIN, None, config(name))


def network(name: str, train: Dataset = TRAIN) -> Network:
    torch.manual_seed(0)
    return recipe(name).build(train)


def batch_of(net: Network, size: int) -> Any:
    """A first batch, of pairs or of users as the network wants it."""
    return next(net.stream.open(TRAIN, batch_size=size, seed=0).epoch(0))


def scores(scorer: Scorer) -> np.ndarray:
    return scorer.score(asked(torch.arange(scorer.n_users))).numpy()


def saved(scorer: Scorer) -> bytes:
    tensors, meta = scorer.state()
    return (
        b"".join(tensors[name].contiguous().numpy().tobytes() for name in sorted(tensors))
        + repr(meta).encode()
    )


def ndcg(scores: np.ndarray, k: int = 10) -> float:
    values = []
    for user in np.unique(HELD.user):
        seen, wanted = TRAIN.pairs.item[TRAIN.pairs.user == user], HELD.item[HELD.user == user]
        left = sorted(
            set(range(TRAIN.n_items)) - set(seen.tolist()), key=lambda item: -scores[user, item]
        )
        gain = sum(
            1 / math.log2(place + 2) for place, item in enumerate(left[:k]) if item in wanted
        )
        values.append(gain / sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted)))))
    return float(np.mean(values))


def test_the_planted_data_are_what_they_say():
    assert len(TRAIN.pairs) == 480
    assert len(HELD) == 120
    assert not set(TRAIN.pairs.key) & set(HELD.key)
    for part in (TRAIN.pairs, HELD):
        assert (part.user % 2 == part.item % 2).all()
        assert part.user.max() == TRAIN.n_users - 2
        assert part.item.max() <= TRAIN.n_items - 2


@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_comes_back_from_toml(name):
    for value in (models.recipe(name)(), recipe(name)):
        assert build(type(value), from_toml(to_toml(to_dict(value)))) == value
        assert hash(value) == hash(dataclasses.replace(value))
        assert models.recipe_name(value) == name
    with pytest.raises(InputError, match="unknown key 'no_such_key'"):
        build(models.recipe(name), {"no_such_key": 1})


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name):
    assert len(models.summary(name)) > 20
    about = sys.modules[models.recipe(name).__module__].__doc__ or ""
    assert name == "popular" or re.search(r"\b(19|20)\d\d\b", about), (
        "the docstring of a method names its paper"
    )
    assert schema(models.recipe(name))["additionalProperties"] is False


@pytest.mark.parametrize("name", METHODS)
def test_what_is_built_is_what_is_announced(name):
    assert isinstance(recipe(name).build(TRAIN), Network) == (name in NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [1, 50])
def test_the_loss_is_finite_and_per_pair_or_user(name, size):
    net = network(name)
    batch = batch_of(net, size)
    terms = net.loss(batch)
    assert terms.pair.shape == (len(batch),)
    # A batch holds whole histories, so it may hold more than one position.
    assert net.stream.of == "histories" or (len(batch) == 1) == (size == 1)
    assert torch.isfinite(terms.pair).all()
    assert terms.extra is None or (terms.extra.dim() == 0 and torch.isfinite(terms.extra))
    terms.total().backward()
    gradients = [param.grad for param in net.parameters() if param.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient.to_dense()).all() for gradient in gradients)
    assert any(gradient.to_dense().any() for gradient in gradients)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_bytes(name):
    torch.rand(7)  # whatever the caller did
    again = fit(recipe(name), TRAIN, None, config(name))
    assert saved(again.scorer) == saved(fitted(name).scorer)
    assert [entry.loss for entry in again.history] == [entry.loss for entry in fitted(name).history]


@pytest.mark.parametrize("name", NETWORKS)
def test_it_resumes_to_the_same_bytes(name, tmp_path):
    def watch(event: Event) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == (3, 5):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(recipe(name), TRAIN, None, config(name), folder=tmp_path, watch=watch)
    assert saved(
        fit(recipe(name), TRAIN, None, config(name), folder=tmp_path, resume=True).scorer
    ) == saved(fitted(name).scorer)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "popular"])
def test_it_beats_popularity_on_two_camps(name):
    popular = np.tile(
        np.bincount(TRAIN.pairs.item, minlength=TRAIN.n_items).astype(float), (TRAIN.n_users, 1)
    )
    assert ndcg(scores(fitted(name).scorer)) > ndcg(popular) + 0.15


def test_popularity_is_the_count_of_users():
    assert ndcg(scores(fitted("popular").scorer)) == ndcg(
        np.tile(np.bincount(TRAIN.pairs.item, minlength=TRAIN.n_items), (TRAIN.n_users, 1))
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_scorer_survives_saving(name, tmp_path):
    scorer = fitted(name).scorer
    before = scores(scorer)
    assert (scorer.n_users, scorer.n_items) == (TRAIN.n_users, TRAIN.n_items) == before.shape
    assert before.dtype == np.float32
    tensors, meta = scorer.state()
    assert (
        scores(from_state({key: tensor.clone() for key, tensor in tensors.items()}, meta)).tobytes()
        == before.tobytes()
    )
    save_scorer(tmp_path / "scorer.safetensors", scorer, epoch=3)
    loaded, about = load_scorer(tmp_path / "scorer.safetensors")
    assert about["epoch"] == 3
    assert np.allclose(scores(loaded), before, rtol=1e-5, atol=1e-6)
    users = np.arange(TRAIN.n_users)
    assert np.array_equal(top_k(loaded, users, 10).item, top_k(scorer, users, 10).item)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_scorer_survives_later_training(name):
    net = network(name)
    scorer = net.scorer()
    assert not any(tensor.requires_grad for tensor in scorer.state()[0].values())
    before, bytes_before = scores(scorer).copy(), saved(scorer)
    for _ in range(2):
        batch = batch_of(net, 50)
        net.loss(batch).total().backward()
        with torch.no_grad():
            for param in net.parameters():
                param.add_(torch.randn_like(param))
        net.constrain(batch)
    assert saved(scorer) == bytes_before
    assert np.array_equal(scores(scorer), before)
    assert not np.array_equal(scores(net.scorer()), before)


@pytest.mark.parametrize("name", METHODS)
def test_what_was_seen_is_never_recommended(name):
    users = np.arange(TRAIN.n_users)
    lists = top_k(fitted(name).scorer, users, TRAIN.n_items + 5, seen=TRAIN.pairs.csr)
    for user in users:
        seen = set(TRAIN.pairs.item[TRAIN.pairs.user == user].tolist())
        listed = [item for item in lists.item[user].tolist() if item >= 0]
        assert not seen & set(listed)
        assert sorted(listed) == sorted(
            set(range(TRAIN.n_items)) - seen
        )  # and everything else is, once


@pytest.mark.parametrize("name", METHODS)
def test_strangers_have_finite_scores(name):
    """The last user has no training pair, the last item neither."""
    values = scores(fitted(name).scorer)
    assert np.isfinite(values).all()
    lists = top_k(fitted(name).scorer, np.array([TRAIN.n_users - 1]), 5)
    assert (lists.item >= 0).all()


@pytest.mark.parametrize("name", METHODS)
def test_the_data_are_left_as_they_were(name):
    train, _ = two_camps()
    matrix, text = train.pairs.csr.copy(), train.features["text"].values.copy()
    fit(recipe(name), train, None, Train(epochs=1, device="cpu"))
    now = train.pairs.csr
    assert now.has_sorted_indices
    assert np.array_equal(now.indptr, matrix.indptr)
    assert np.array_equal(now.indices, matrix.indices)
    assert np.array_equal(now.data, matrix.data)
    assert np.array_equal(train.features["text"].values, text)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "pairs",
    [
        Interactions(np.array([0]), np.array([0]), 1, 1),
        Interactions(np.array([0, 0, 1]), np.array([2, 2, 0]), 3, 3),
        Interactions(np.repeat(np.arange(3), 4), np.tile(np.arange(4), 3), 3, 4),
    ],
    ids=["one pair", "a pair twice", "everyone has everything"],
)
def test_degenerate_data(name, pairs):
    train = Dataset(
        pairs,
        Vocab.range(pairs.n_users),
        Vocab.range(pairs.n_items),
        {"text": two_camps(items=pairs.n_items - 1, each=0, kept=0)[0].features["text"]},
    )
    config = Train(epochs=2, device="cpu")
    if name == "dual" and len(pairs) < 12:
        with pytest.raises(InputError, match="no pair of items is left"):
            fit(recipe(name), train, None, config)
        return
    if name in NETWORKS and len(pairs) == 1 and network(name).stream.of == "histories":
        with pytest.raises(InputError, match="no history has two events"):
            fit(recipe(name), train, None, config)
        return
    values = scores(fit(recipe(name), train, None, config).scorer)
    assert values.shape == (pairs.n_users, pairs.n_items)
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", [name for name in CLOSED if name not in OF_EVENTS])
def test_a_pair_given_twice_counts_once(name):
    """A closed form depends on distinct pairs only; a network visits every row."""
    twice = TRAIN.with_pairs(TRAIN.pairs.take(np.r_[np.arange(len(TRAIN.pairs)), np.arange(50)]))
    assert np.allclose(
        scores(fit(recipe(name), twice, None, CONFIG).scorer),
        scores(fitted(name).scorer),
        atol=1e-5,
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_table_within_keeps_the_defaults_of_the_method(name):
    """One key of [model.loss] in a file keeps the other defaults of the method, not of Loss."""
    cls = models.recipe(name)
    if any(
        field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        for field in dataclasses.fields(cls)
    ):
        pytest.skip("has settings without a default")
    usual = cls()
    for field in dataclasses.fields(cls):
        inner = getattr(usual, field.name)
        if not dataclasses.is_dataclass(inner):
            continue
        assert build(cls, {field.name: {}}) == usual
        for key, value in to_dict(inner).items():
            assert build(cls, {field.name: {key: value}}) == usual


def test_names():
    assert models.names() == sorted(models.names())
    assert {"mf", "lightgcn", "cml"} <= set(models.names())
    for word, meant in (
        ("bpr", "mf"),
        ("lightgnc", "lightgcn"),
    ):
        with pytest.raises(InputError, match=f"unknown method '{word}'; did you mean '{meant}'"):
            models.recipe(word)


def test_the_case_of_a_name_and_dashes_do_not_matter():
    assert models.recipe("CML") is models.recipe("cml")
    assert models.recipe("light-gcn") is models.recipe("lightgcn")


def test_a_file_holds_one_recipe(monkeypatch):
    module = types.ModuleType("recsys.models.mf")

    @settings
    class One:
        """One."""

        def build(self, train: Dataset) -> Network:
            raise AssertionError

    One.__module__ = module.__name__
    monkeypatch.setattr(_registry, "_module", lambda _: module)
    with pytest.raises(InputError, match="has 0 recipes"):
        models.recipe("mf")
    module.One = One
    assert models.recipe("mf") is One
    module.Two = type("Two", (One,), {"__module__": module.__name__})
    with pytest.raises(InputError, match="has 2 recipes"):
        models.recipe("mf")
