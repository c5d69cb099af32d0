"""Blend and fallback: one ranking of two methods, against loops, from files and from runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from asking import asked, asked_by, ranks, score_blocks, top_k
from planted import two_camps
from scipy.stats import rankdata, zscore

from recsys.data.splitting.splits import SplitRule, split
from recsys.errors import InputError
from recsys.experiment.execution import execute, open_run
from recsys.experiment.experiment import Experiment, from_tree
from recsys.experiment.verification import verify
from recsys.models.contentknn import ContentKNN
from recsys.models.fallback import Fallback as FallbackRecipe
from recsys.models.ials import IALS
from recsys.models.itemknn import ItemKNN
from recsys.nn.feature_layers import warm_items
from recsys.scorer import Blend, Factors, Fallback, Product, Scorer, Sum, from_state
from recsys.scorer.blend import standardised
from recsys.tensors import load_scorer, save_scorer
from recsys.training.loop import fit

USERS, ITEMS = 7, 9
KNOWN = torch.tensor([True, True, False, True, True, False, True, True, True])
MET = torch.tensor([True, True, True, False, True, True, True])


def fixed(scores: Any) -> Product:
    """A scorer of exactly these scores."""
    scores = torch.as_tensor(scores, dtype=torch.float32)
    return Product((torch.eye(len(scores)), scores))


def normal(seed: int, scale: float = 1.0) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    return Factors(*(scale * torch.randn(n, 3, generator=generator) for n in (USERS, ITEMS)))


def everybody(scorer: Scorer) -> np.ndarray:
    return scorer.score(asked(torch.arange(scorer.n_users))).numpy()


def test_standardised_scores_by_hand():
    scores = torch.tensor([[1.0, 2.0, 3.0], [10.0, 10.0, 40.0], [4.0, 4.0, 4.0]])
    root = 1.5**0.5
    expected = torch.tensor(
        [[-root, 0.0, root], [-(0.5**0.5), -(0.5**0.5), 2**0.5], [0.0, 0.0, 0.0]]
    )
    assert torch.allclose(standardised(scores), expected, atol=1e-6)
    assert standardised(
        torch.tensor([[5.0, 5.0, 1.0, 9.0], [2.0, 2.0, 2.0, 2.0]]), "rank"
    ).tolist() == [[0.5, 0.5, 0.0, 1.0], [0.5] * 4]
    assert standardised(torch.tensor([[3.0]]), "rank").tolist() == [[0.5]]
    assert standardised(torch.tensor([[0.1, 0.1 + 1e-8, 0.1]])).tolist() == [[0.0, 0.0, 0.0]], (
        "what differs by rounding is the same"
    )


@pytest.mark.parametrize("by", ["zscore", "rank"])
def test_what_is_no_number_stays_none(by):
    scores = standardised(torch.tensor([[1.0, torch.nan, 3.0]]), by)
    assert scores.isnan()[0, 1]
    with pytest.raises(InputError, match="not numbers"):
        top_k(Blend((fixed([[1.0, torch.nan, 3.0]]),), (1.0,), by), np.array([0]), 2)


@pytest.mark.parametrize("by", ["zscore", "rank"])
def test_a_blend_is_its_definition(by):
    parts = (
        normal(0),
        normal(5, 100.0),
        fixed(np.round(np.random.default_rng(1).normal(size=(USERS, ITEMS)) * 2)),
    )  # the last with ties
    scorer = Blend(parts, (0.5, -2.0, 1.0), by)
    expected = np.zeros((USERS, ITEMS))
    for part, weight in zip(parts, (0.5, -2.0, 1.0), strict=True):
        for user, row in enumerate(everybody(part).astype(np.float64)):
            expected[user] += weight * (
                zscore(row) if by == "zscore" else (rankdata(row) - 1) / (ITEMS - 1)
            )
    assert np.allclose(everybody(scorer), expected, atol=1e-4)
    assert np.allclose(scorer.score(asked(torch.tensor([4, 4, 1]))), expected[[4, 4, 1]], atol=1e-4)


def test_scales_have_no_say_in_a_blend():
    one, other = normal(0), normal(5)
    louder = Factors(other.user * 1000, other.item, item_bias=torch.full((ITEMS,), -50.0))
    assert np.allclose(
        everybody(Blend((one, other), (0.5, 0.5))),
        everybody(Blend((one, louder), (0.5, 0.5))),
        atol=1e-4,
    )
    assert not np.allclose(
        everybody(Sum((one, other), (0.5, 0.5))), everybody(Sum((one, louder), (0.5, 0.5))), atol=1
    )


def test_a_fallback_by_hand():
    """Rescale item 2, which is three standard deviations above the mean by the second method.

    Known items are 0 and 1, with mean 2 and deviation 1 by the first method, 15 and 5 by the
    second.
    """
    first, second = fixed([[1.0, 3.0, -99.0]]), fixed([[10.0, 20.0, 30.0]])
    known = torch.tensor([True, True, False])
    assert everybody(Fallback(first, second, known)).tolist() == [[1.0, 3.0, 5.0]]
    assert everybody(Fallback(first, second, known, advantage=-0.5)).tolist() == [[1.0, 3.0, 4.5]]
    assert everybody(Fallback(first, second, known, calibrate="none", advantage=-0.5)).tolist() == [
        [1.0, 3.0, 29.5]
    ]
    assert everybody(Fallback(first, second, known, torch.tensor([False]))).tolist() == [
        [10.0, 20.0, 30.0]
    ]


def naive_fallback(first: np.ndarray, second: np.ndarray, advantage: float) -> np.ndarray:
    out, known = first.astype(np.float64).copy(), KNOWN.numpy()
    for user in range(USERS):
        one, other = first[user, known].astype(np.float64), second[user, known].astype(np.float64)
        for item in np.flatnonzero(~known):
            out[user, item] = (
                one.mean()
                + one.std() / other.std() * (second[user, item] - other.mean())
                + advantage * one.std()
            )
        if not MET[user]:
            out[user] = second[user]
    return out


@pytest.mark.parametrize("advantage", [0.0, 0.7])
def test_a_fallback_is_its_definition(advantage):
    first, second = normal(0), normal(5, 30.0)
    scorer = Fallback(first, second, KNOWN, MET, advantage=advantage)
    expected = naive_fallback(everybody(first), everybody(second), advantage)
    assert np.allclose(everybody(scorer), expected, rtol=1e-4, atol=1e-4)
    assert np.allclose(
        scorer.score(asked(torch.tensor([3, 0, 3]))), expected[[3, 0, 3]], rtol=1e-4, atol=1e-4
    )
    assert scorer.score(asked(torch.tensor([], dtype=torch.int64))).shape == (0, ITEMS)
    order = np.argsort(-expected, axis=1)[:, :4]
    assert np.array_equal(top_k(scorer, np.arange(USERS), 4).item, order)
    assert np.array_equal(top_k(scorer, np.arange(USERS), 4, block=2).item, order)


def test_a_fallback_where_one_says_nothing():
    known = torch.tensor([True, True, False, False])
    flat, rising = fixed([[7.0, 7.0, 0.0, 0.0]]), fixed([[10.0, 20.0, 30.0, 16.0]])
    assert everybody(Fallback(flat, rising, known)).tolist() == [[7.0, 7.0, 22.0, 8.0]]
    assert everybody(Fallback(rising, fixed([[0.0, 0.0, 2.0, 1.0]]), known)).tolist() == [
        [10.0, 20.0, 17.0, 16.0]
    ], "the order of the second is kept"
    nothing = torch.zeros(4, dtype=torch.bool)
    assert everybody(Fallback(flat, rising, nothing)).tolist() == everybody(rising).tolist()
    assert everybody(Fallback(flat, rising, ~nothing)).tolist() == everybody(flat).tolist()


def test_a_fallback_masks_and_ranks_as_any_scorer():
    scorer = Fallback(normal(0), normal(5, 30.0), KNOWN, MET)
    whole, rng = everybody(scorer), np.random.default_rng(0)
    seen = sp.csr_matrix((rng.random((USERS, ITEMS)) < 0.3).astype(np.float32))
    candidates, users = np.array([0, 2, 3, 5, 8]), np.array([6, 1, 3])
    found = top_k(scorer, users, 3, seen=seen, candidates=candidates)
    targets = sp.csr_matrix(np.ones((USERS, ITEMS), dtype=np.float32))
    places = ranks(scorer, users, targets, candidates=candidates)
    for row, user in enumerate(users):
        allowed = [item for item in candidates if not seen[user, item]]
        best = sorted(allowed, key=lambda item: -whole[user, item])[:3]
        assert [item for item in found.item[row] if item >= 0] == best
        assert places.candidates[row] == 5
    (_, scores), *_ = score_blocks(scorer, users)
    assert np.allclose(scores.numpy(), whole[users])


def joined() -> dict[str, Scorer]:
    history = Product(
        (
            sp.csr_matrix(np.eye(USERS, 4, dtype=np.float32)),
            torch.randn(4, ITEMS, generator=torch.Generator().manual_seed(9)),
        )
    )
    made: dict[str, Scorer] = {
        "zscore": Blend((normal(0), history), (0.3, 0.7)),
        "rank": Blend((normal(0), history, normal(3)), (0.3, 0.7, -1.0), "rank"),
        "fallback": Fallback(normal(0), history, KNOWN, MET, advantage=0.25),
        "items alone": Fallback(history, normal(0), KNOWN, calibrate="none"),
    }
    made["of both"] = Fallback(made["rank"], made["fallback"], KNOWN)
    made["of many"] = Blend(
        tuple(normal(seed) for seed in range(12)), tuple(float(seed) for seed in range(12))
    )  # part1 and part11 are two
    return made


@pytest.mark.parametrize("name", list(joined()))
def test_they_come_back_from_a_file(name, tmp_path):
    scorer = joined()[name]
    save_scorer(tmp_path / "scorer.safetensors", scorer)
    again, _ = load_scorer(tmp_path / "scorer.safetensors")
    assert type(again) is type(scorer)
    assert (again.n_users, again.n_items, again.device) == (USERS, ITEMS, torch.device("cpu"))
    assert np.array_equal(everybody(again), everybody(scorer))
    assert np.array_equal(everybody(scorer.to("cpu")), everybody(scorer))
    assert np.array_equal(
        top_k(again, np.arange(USERS), 5).item, top_k(scorer, np.arange(USERS), 5).item
    )


@pytest.mark.parametrize("name", list(joined()))
def test_a_damaged_state_is_told(name):
    tensors, meta = joined()[name].state()
    with pytest.raises(InputError, match="without its part"):
        from_state({}, meta)
    with pytest.raises(InputError, match="without its part"):
        from_state(tensors, {"kind": meta["kind"]})
    inner = meta["first"] if "first" in meta else meta["parts"][0]
    inner["kind"] = "robot"
    with pytest.raises(InputError, match="unknown kind 'robot'"):
        from_state(tensors, meta)


def test_parts_that_do_not_go_together():
    other = Factors(torch.zeros(USERS, 2), torch.zeros(ITEMS + 1, 2))
    for make in (
        lambda: Blend((normal(0), other), (1.0, 1.0)),
        lambda: Fallback(normal(0), other, KNOWN),
    ):
        with pytest.raises(InputError, match="7 x 9 and 7 x 10 users and items do not go together"):
            make()
    with pytest.raises(InputError, match="1 scorers and 2 weights"):
        Blend((normal(0),), (1.0, 2.0))
    with pytest.raises(InputError, match="mask of known items must be bool"):
        Fallback(normal(0), normal(1), KNOWN[:-1])
    with pytest.raises(InputError, match="mask of known users must be bool"):
        Fallback(normal(0), normal(1), KNOWN, torch.ones(USERS))


def test_a_first_that_lacks_items_it_does_not_know():
    """As if it had said anything of them: a definition over the second's items."""
    first, second = normal(0), normal(5, 30.0)
    shorter, known = Factors(first.user, first.item[:6]), KNOWN & (torch.arange(ITEMS) < 6)
    for calibrate in ("moments", "none"):
        one, other = (
            Fallback(part, second, known, MET, calibrate, 0.7) for part in (shorter, first)
        )
        assert (one.n_users, one.n_items) == (USERS, ITEMS)
        assert np.array_equal(everybody(one), everybody(other))
    with pytest.raises(InputError, match="an item is known to the first scorer, which has 6"):
        Fallback(shorter, second, KNOWN)
    with pytest.raises(InputError, match="7 x 6 and 7 x 9 users and items do not go together"):
        Fallback(first, shorter, KNOWN)


def test_users_who_came_later():
    """Both parts know a user by items alone, so the same histories have the same scores."""
    train, _ = two_camps(users=20)
    for made in (
        FallbackRecipe(first="itemknn").build(train),
        Blend((ItemKNN().build(train), ContentKNN().build(train)), (0.5, 0.5)),
    ):
        again = made.score(asked_by(train.pairs.csr[[3, 20, 5]]))  # user 20 has met nothing
        assert np.array_equal(again, everybody(made)[[3, 20, 5]])
    with pytest.raises(InputError, match="cannot be computed from a history"):
        Blend((normal(0), normal(1)), (1.0, 1.0)).score(asked_by(train.pairs.csr))


# New items: one ranking of old and new ones.

SPLIT = split(two_camps(users=120)[0], SplitRule(by="new-item"))
TRAIN = SPLIT.train
NEW = np.flatnonzero(~warm_items(TRAIN))


def test_of_the_training_data():
    scorer = Fallback.of(IALS(dim=4).build(TRAIN), ContentKNN().build(TRAIN), TRAIN.pairs)
    assert np.array_equal(np.flatnonzero(~scorer.item_known.numpy()), NEW)
    assert scorer.user_known is not None
    assert np.array_equal(
        scorer.user_known.numpy(), np.bincount(TRAIN.pairs.user, minlength=TRAIN.n_users) > 0
    )
    assert Fallback.of(scorer.first, scorer.second, TRAIN.pairs, users=False).user_known is None


def test_new_items_are_ranked_among_the_old_ones():
    """About 4 of 20 items of a camp are new: the same share of the best, few of the other camp."""
    alone = fit(IALS(dim=4), TRAIN).scorer
    scorer = fit(FallbackRecipe(), TRAIN).scorer
    users, right = np.arange(120), 0
    found = top_k(scorer, users, 10, seen=TRAIN.pairs.csr).item
    fresh = np.isin(found, NEW)
    right = (found % 2 == users[:, None] % 2)[fresh].mean()
    assert 0.1 < fresh.mean() < 0.8
    assert right > 0.9
    assert np.isin(top_k(alone, users, 5, seen=TRAIN.pairs.csr).item, NEW).mean() < fresh.mean(), (
        "a factor model does not find them"
    )
    up, down = (
        np.isin(top_k(fit(FallbackRecipe(advantage=by), TRAIN).scorer, users, 10).item, NEW).mean()
        for by in (2.0, -5.0)
    )
    assert down < np.isin(top_k(scorer, users, 10).item, NEW).mean() < up


# Out of the folders of runs, on the command line's way.


def experiment(folder: Path, **changes: Any) -> Experiment:
    rng = np.random.default_rng(0)
    taste = rng.integers(3, size=60)
    user = np.repeat(np.arange(60), 12)
    item = taste[user] * 15 + rng.integers(15, size=len(user))
    pl.DataFrame({"user": [f"u{u}" for u in user], "item": [f"i{i}" for i in item]}).write_csv(
        folder / "log.csv"
    )
    tree: dict[str, Any] = {
        "data": {"path": str(folder / "log.csv"), "user": "user", "item": "item"},
        "split": {"by": "ratio", "seed": 3},
        "model": {"name": "mf", "dim": 8},
        "train": {"epochs": 2, "batch_size": 64, "lr": 0.02, "device": "cpu"},
        "evaluate": {"metrics": ["ndcg@5"], "monitor": "ndcg@5"},
    }
    return from_tree(tree | changes)


def test_a_blend_of_runs_is_a_run(tmp_path: Path) -> None:
    execute(experiment(tmp_path), tmp_path / "mf")
    model = {"name": "blend", "first": str(tmp_path / "mf"), "second": "itemknn", "share": 0.25}
    done = execute(experiment(tmp_path, model=model), tmp_path / "both")
    both = Blend((open_run(tmp_path / "mf").scorer, ItemKNN().build(done.train)), (0.25, 0.75))
    assert np.allclose(everybody(done.scorer), everybody(both), atol=1e-6)
    (tmp_path / "mf").rename(tmp_path / "elsewhere")
    assert all(check.holds for check in verify(tmp_path / "both")), (
        "it needs the runs it was made of no more"
    )
    fallback = {"name": "fallback", "first": str(tmp_path / "elsewhere"), "second": "popular"}
    assert isinstance(
        execute(experiment(tmp_path, model=fallback), tmp_path / "fallback").scorer, Fallback
    )


def test_runs_that_do_not_fit(tmp_path: Path) -> None:
    execute(experiment(tmp_path), tmp_path / "mf")
    given = {"name": "blend", "first": str(tmp_path / "mf"), "second": "itemknn"}
    for number, (changes, said) in enumerate(
        (
            ({"split": {"by": "ratio", "seed": 4}}, "has learned from other pairs"),
            ({"refit": True}, "has learned from other pairs"),
            (
                {"data": {"path": str(tmp_path / "log.csv"), "user": "item", "item": "user"}},
                "is of other users or items",
            ),
            ({"model": given | {"first": "mf"}}, "'mf' has to be trained"),
            (
                {"model": given | {"first": "itemkn"}},
                "'itemkn' is neither the folder of a finished run nor a method; "
                "did you mean 'itemknn'",
            ),
            (
                {"model": given | {"second": str(tmp_path)}},
                "is neither the folder of a finished run nor a method; check the path",
            ),
            ({"model": given | {"share": 1.5}}, "share"),
        )
    ):
        with pytest.raises(InputError, match=said):
            execute(experiment(tmp_path, **({"model": given} | changes)), tmp_path / f"new{number}")
    log = pl.read_csv(tmp_path / "log.csv")
    for renamed, said in (
        (
            log.with_columns(pl.col("item").replace("i3", "x3")),
            r"other users or items \(its item 'i3' is not here\)",
        ),
        (
            log.with_columns(pl.col("user").replace("u3", "x3")),
            r"other users or items \(its user 'u3' is not here\)",
        ),
        (
            log.with_columns(pl.col("user").str.slice(1)),
            r"other users or items \(its user ids are String, here Int64\)",
        ),
        (log.filter(pl.col("user") != "u3"), r"other users or items \(60 x 45, here 59 x 45\)"),
    ):
        renamed.write_csv(tmp_path / "renamed.csv")
        with pytest.raises(InputError, match=said):
            execute(
                experiment(tmp_path, model=given, data={"path": str(tmp_path / "renamed.csv")}),
                tmp_path / "newer",
            )
    (tmp_path / "mf" / "seen.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        execute(experiment(tmp_path, model=given), tmp_path / "newer")


def test_a_blend_of_defaults_needs_no_file():
    train, _ = two_camps(users=20)
    made = fit(replace(FallbackRecipe(), first="itemknn", second="popular"), train).scorer
    assert np.array_equal(everybody(made)[:20, :40], everybody(ItemKNN().build(train))[:20, :40])
