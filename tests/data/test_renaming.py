"""Renaming users and items permutes every result and changes no number.

Two logs differ only in the ids of users and items. Every step from the log to the report
must give the same arrays, so that no spelling decides what is last, what is drawn, or which of
equal scores comes first.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from asking import top_k
from hypothesis import given, settings
from hypothesis import strategies as st
from test_methods import METHODS, NETWORKS, recipe

import recsys
from recsys.data import numbering
from recsys.data.load import LoadedData, load
from recsys.data.splitting import splits as splitting
from recsys.data.splitting.noise import Noise
from recsys.data.splitting.splits import SplitRule, split
from recsys.data.types import Interactions, Split, Vocab
from recsys.sampling import PairStream, Sampler

USERS, ITEMS = 24, 30
RULES = {
    "random": SplitRule(),
    "random over all": SplitRule(per="all", drop_cold=False, seed=3),
    "in time": SplitRule(order="time", ratios=(0.6, 0.2, 0.2)),
    "last": SplitRule(by="last", k=2),
    "time": SplitRule(by="time", valid_from=0.5, test_from=0.75),
    "new items": SplitRule(by="new-item", new_items=0.4, warm_share=0.2, drop_cold=False),
    "by label": SplitRule(by="label", clean_valid=True),
    "with noise": SplitRule(by="last", noise=Noise(kind="random", share=0.3)),
    "with popular noise": SplitRule(noise=Noise(kind="popular", share=0.3)),
}
PREPARED: tuple[dict[str, Any], ...] = (
    {},
    {"user_core": 3, "item_core": 2},
    {"min_user": 6, "duplicates": "last"},
    {"min_weight": 3, "duplicates": "sum"},
)


def log(seed: int = 0, n: int = 400) -> pl.DataFrame:
    """Return a log of few days, so that most users have many rows of equal time, and repeats."""
    rng = np.random.default_rng(seed)
    camp = rng.integers(0, 2, n)
    return pl.DataFrame(
        {
            "user": 2 * rng.integers(0, USERS // 2, n) + camp,
            "item": 2 * np.minimum(rng.geometric(0.12, n) - 1, ITEMS // 2 - 1) + camp,
            "time": 1_600_000_000 + 86_400 * rng.integers(0, 6, n),
            "weight": rng.integers(1, 6, n).astype(np.float64),
            "clean": rng.random(n) < 0.8,
        }
    )


def renamed(frame: pl.DataFrame, seed: int, kind: str = "text") -> pl.DataFrame:
    """Return the log with every user and item called something else."""
    rng = np.random.default_rng(seed)
    for role, size in (("user", USERS), ("item", ITEMS)):
        numbers = rng.permutation(10 * size)[:size]
        names = pl.Series([f"{role} {n:04d}" for n in numbers] if kind == "text" else numbers)
        frame = frame.with_columns(names.gather(frame[role]).alias(role))
    return frame


def features(frame: pl.DataFrame, of: pl.DataFrame) -> dict[str, Any]:
    """Return two modalities of the items, which `frame` calls otherwise than `of`."""
    rng = np.random.default_rng(0)
    values = {
        name: rng.normal(size=(ITEMS, dim)).astype(np.float32)
        for name, dim in (("text", 5), ("image", 4))
    }
    names = frame["item"].gather(np.unique(of["item"].to_numpy(), return_index=True)[1])
    rows = np.unique(of["item"].to_numpy())
    return {name: (names.to_list(), table[rows]) for name, table in values.items()}


def columns(pairs: Interactions | None) -> list[Any]:
    """Return everything that interactions hold, as lists."""
    if pairs is None:
        return []
    values = (getattr(pairs, field.name) for field in dataclasses.fields(pairs))
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in values]


def parts(parted: Split) -> list[Any]:
    """Return the parts without the names: the same lists for logs that differ in names alone."""
    test = parted.test.open("a test of renaming") if parted.test is not None else None
    held = [None if part is None else part.pairs for part in (parted.valid, test)]
    return [columns(part) for part in (parted.train.pairs, *held)]


def loaded(frame: pl.DataFrame, **source: Any) -> LoadedData:
    return load(frame, clean="clean", **source)


@pytest.mark.parametrize("name", RULES)
@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 99),
    names=st.integers(0, 99),
    kind=st.sampled_from(["text", "number"]),
    source=st.sampled_from(PREPARED),
)
def test_every_split_is_the_same(
    name: str, seed: int, names: int, kind: str, source: dict[str, Any]
) -> None:
    before = log(seed)
    first = split(loaded(before, **source), RULES[name])
    second = split(loaded(renamed(before, names, kind), **source), RULES[name])
    assert first.rule == second.rule
    assert parts(first) == parts(second)


def sorted_vocab(frames: Any, orders: Any, role: str, numbered: Any) -> Vocab:
    return Vocab.of(pl.concat([frame[role] for frame in frames.values()]), role)


@pytest.mark.parametrize("name", ["random", "last", "in time", "new items", "with noise"])
def test_a_sorted_vocabulary_would_be_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant the fault that the tests above look for: rows in the order of the spelling of ids."""
    monkeypatch.setattr(numbering, "_vocab", sorted_vocab)
    monkeypatch.setattr(splitting, "tie_keys", lambda data, seed=0: data.pairs.item)
    first, second = (
        split(loaded(frame), RULES[name]) for frame in (log(), renamed(log(), 1, "text"))
    )
    assert parts(first) != parts(second)


def naive_last(frame: pl.DataFrame, k: int) -> set[tuple[int, int]]:
    """Return the k last pairs of each user; equal times in the order of the file."""
    last: set[tuple[int, int]] = set()
    for user in set(frame["user"]):
        rows = [row for row in frame.select("user", "item", "time").rows() if row[0] == user]
        rows.sort(key=lambda row: row[2])  # stable
        keep = rows[max(len(rows) - k, 1) :]
        last |= {(row[0], row[1]) for row in keep}
    return last


def held_out(frame: pl.DataFrame, k: int) -> set[tuple[int, int]]:
    data = load(frame.select("user", "item", "time"))
    sealed = split(data, SplitRule(by="last", k=k)).test
    assert sealed is not None
    pairs = sealed.open("a test of renaming").pairs
    users, items = data.dataset.users.ids, data.dataset.items.ids
    return set(zip(users.gather(pairs.user), items.gather(pairs.item), strict=True))


def distinct(seed: int) -> pl.DataFrame:
    return log(seed).unique(["user", "item"], keep="first", maintain_order=True)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), k=st.integers(1, 3))
def test_equal_times_keep_the_order_of_the_file(seed: int, k: int) -> None:
    assert held_out(distinct(seed), k) == naive_last(distinct(seed), k)


@pytest.mark.parametrize("by", ["item", "user", "key"])
def test_a_row_that_decides_a_tie_would_be_noticed(
    by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "tie_keys", lambda data, seed=0: getattr(data.pairs, by))
    assert held_out(distinct(0), 1) != naive_last(distinct(0), 1)


def test_sources_without_an_order_are_ordered_by_a_hash_of_the_ids(tmp_path: Path) -> None:
    """Files of a folder in another order, and rows of files in another order, change nothing."""
    frame = distinct(0).select("user", "item", "time")
    splits = []
    for number, shuffled in enumerate((frame, frame.sample(fraction=1, shuffle=True, seed=1))):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        shuffled[:100].write_parquet(folder / "a.parquet")
        shuffled[100:].write_parquet(folder / "b.parquet")
        splits.append(split(load(folder), SplitRule(by="last")))
    assert parts(splits[0]) == parts(splits[1])
    assert "by hash, seed 0" in splits[0].rule
    other = split(load(tmp_path / "0"), SplitRule(by="last", seed=1))
    assert parts(other) != parts(splits[0]), "the seed is part of the hash"


def test_a_matrix_has_no_order(tmp_path: Path) -> None:
    pairs = log().unique(["user", "item"])
    splits = []
    for number in range(2):
        rows = pairs.sample(fraction=1, shuffle=True, seed=number)
        matrix = sp.coo_matrix(
            (np.ones(len(rows)), (rows["user"].to_numpy(), rows["item"].to_numpy()))
        )
        sp.save_npz(tmp_path / f"{number}.npz", matrix)
        splits.append(split(load(tmp_path / f"{number}.npz"), SplitRule()))
    assert parts(splits[0]) == parts(splits[1])


def test_the_split_says_what_share_of_users_its_ties_decide() -> None:
    rows = [("a", 1, 10), ("a", 2, 20), ("a", 3, 20), ("b", 1, 10), ("b", 2, 20), ("b", 3, 30)]
    data = load(pl.DataFrame(rows, schema=["user", "item", "time"], orient="row"))
    parted = split(data, SplitRule(by="last"))
    assert "equal times in the order of the file: they decide for 1 of 2 users (50.0%)" in (
        parted.rule
    )


# --- methods: from the log to the report

METRICS = ("recall@3", "ndcg@5", "auc", "coverage@5", "gini@5")


@functools.cache
def both() -> tuple[tuple[Split, pl.DataFrame], tuple[Split, pl.DataFrame]]:
    """Return the split of the log and of the renamed log, with features of the items."""
    base = log(7, 600)
    answers = []
    for frame in (base, renamed(base, 5)):
        data = loaded(frame, features=features(frame, base))
        answers.append((split(data, SplitRule(by="last", k=2)), frame))
    return answers[0], answers[1]


def trained(name: str, parted: Split) -> Any:
    epochs = {"epochs": 2, "batch_size": 64, "device": "cpu"} if name in NETWORKS else {}
    method = recipe(name)
    if name in ("blend", "fallback"):
        method = dataclasses.replace(method, first="ease")  # in place of one that takes seconds
    return recsys.fit(method, parted.train, parted.valid, **epochs)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_the_same_numbers(name: str) -> None:
    (first, _), (second, _) = both()
    scorers = [trained(name, parted).scorer for parted in (first, second)]
    reports = [
        recsys.evaluate(scorer, parted, reason="test", metrics=METRICS)
        for scorer, parted in zip(scorers, (first, second), strict=True)
    ]
    assert [reports[0][name] for name in METRICS] == [reports[1][name] for name in METRICS]
    for metric in METRICS[:3]:
        np.testing.assert_array_equal(reports[0].values(metric), reports[1].values(metric))
    users = np.arange(first.train.n_users)
    lists = [
        top_k(scorer, users, 10, seen=parted.train.pairs.csr)
        for scorer, parted in zip(scorers, (first, second), strict=True)
    ]
    np.testing.assert_array_equal(lists[0].item, lists[1].item)
    np.testing.assert_array_equal(lists[0].score, lists[1].score)


@pytest.mark.parametrize("pool", ["own", "shared", "in-batch", "mixed", "all"])
@pytest.mark.parametrize("proposal", ["uniform", "popularity"])
def test_every_sampler_draws_the_same(pool: Any, proposal: Any) -> None:
    if pool in ("in-batch", "all") and proposal == "popularity":
        return  # they draw nothing
    sampler = Sampler(negatives=3, pool=pool, proposal=proposal)
    batches = []
    for parted, _ in both():
        steps = PairStream(parted.train.pairs, sampler, batch_size=64, seed=3).epoch(1)
        batches.append([(batch.user, batch.pos, batch.neg, batch.mask) for batch in steps])
    assert len(batches[0]) == len(batches[1]) > 1
    for first, second in zip(*batches, strict=True):
        for one, other in zip(first, second, strict=True):
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one, other)


@pytest.mark.parametrize("draw", ["uniform", "popularity"])
def test_sampled_candidates_are_the_same(draw: Any) -> None:
    values = []
    for parted, _ in both():
        scorer = trained("itemknn", parted).scorer
        report = recsys.evaluate(
            scorer,
            parted,
            reason="test",
            metrics=("recall@3", "ndcg@5"),
            candidates="sampled",
            sampled=10,
            sampled_by=draw,
            estimator="none",
        )
        values.append([report.values(name).tolist() for name in ("recall@3", "ndcg@5")])
    assert values[0] == values[1]


def test_presplit_files_are_the_same(tmp_path: Path) -> None:
    base = log(3).unique(["user", "item"], keep="first", maintain_order=True)
    splits = []
    for name, frame in (("first", base), ("second", renamed(base, 4))):
        folder = tmp_path / name
        folder.mkdir()
        for part, start, end in (("train", 0, 120), ("valid", 120, 150), ("test", 150, 200)):
            frame[start:end].select("user", "item", "time").write_csv(folder / f"{part}.csv")
        splits.append(split(load(folder), SplitRule()))
    assert splits[0].rule.startswith("presplit")
    assert parts(splits[0]) == parts(splits[1])
