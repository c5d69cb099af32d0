"""False pairs on purpose, labels by weight, and the split that keeps noise out of the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

from recsys.config import build, to_dict
from recsys.data.load import load
from recsys.data.splitting.noise import Noise, inject, labelled
from recsys.data.splitting.splits import SplitRule, split
from recsys.data.types import Interactions, Split
from recsys.errors import InputError


def log(rows: int = 400, users: int = 20, items: int = 80, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    key = rng.choice(users * items, rows, replace=False)
    item = np.minimum(key % items, rng.integers(0, items, rows))  # low numbers are met more
    frame = pl.DataFrame(
        {
            "user": key // items,
            "item": item,
            "time": 100 * np.arange(rows),
            "rating": rng.integers(1, 6, rows),
        }
    )
    return frame.unique(["user", "item"], keep="first", maintain_order=True)


def made(
    noise: Noise | None = None,
    frame: pl.DataFrame | None = None,
    source: dict[str, Any] | None = None,
    **rule: Any,
) -> Split:
    return split(
        load(log() if frame is None else frame, **(source or {})),
        SplitRule(noise=noise or Noise(), **rule),
    )


def parts(of: Split) -> list[Interactions]:
    assert of.valid is not None
    assert of.test is not None
    return [of.train.pairs, of.valid.pairs, of.test.open("a test").pairs]


def rows(pairs: Interactions, label: int | None = None) -> list[tuple[Any, ...]]:
    columns = [
        pairs.user,
        pairs.item,
        *(each for each in (pairs.time, pairs.weight) if each is not None),
    ]
    chosen = slice(None) if label is None else pairs.clean == label
    return sorted(zip(*(column[chosen].tolist() for column in columns), strict=True))


KINDS = [
    Noise(kind=kind, share=share, per=per, seed=seed)
    for kind in ("random", "popular")
    for per in ("user", "all")
    for share, seed in ((0.3, 0), (1.5, 3))
]


@pytest.mark.parametrize("noise", KINDS)
def test_false_pairs_are_false_labelled_and_in_train_and_valid_only(noise):
    plain, noisy = parts(made()), parts(made(noise))
    met = {key for part in plain for key in part.key.tolist()}
    false: set[int] = set()
    for before, after in zip(plain, noisy, strict=True):
        assert rows(after, 1) == rows(before)  # what was there still is, and is clean
        keys = after.key[after.clean == 0]
        assert len(np.unique(keys)) == len(keys)
        assert not met & set(keys.tolist())
        assert not false & set(keys.tolist())
        false |= set(keys.tolist())
        assert (np.diff(after.key) > 0).all()
        assert set(after.user.tolist()) == set(before.user.tolist())
    assert set((np.array(list(false)) % plain[0].n_items).tolist()) <= set(plain[0].item.tolist())
    n_train, n_valid, n_test = (int((part.clean == 0).sum()) for part in noisy)
    assert n_test == 0
    if noise.per == "all":
        assert (n_train, n_valid) == (
            round(noise.share * len(plain[0])),
            round(noise.share * len(plain[1])),
        )
    else:
        for before, after in zip(plain[:2], noisy[:2], strict=True):
            count, added = (
                np.bincount(users, minlength=20)
                for users in (before.user, after.user[after.clean == 0])
            )
            assert (np.abs(added - noise.share * count) < 1).all()
            assert not added[count == 0].any()


def test_a_false_pair_borrows_from_a_true_one_of_its_user():
    train = parts(made(Noise(kind="random", share=1.0)))[0]
    for user in np.unique(train.user):
        true, false = (
            train.take((train.user == user) & (train.clean == label)) for label in (1, 0)
        )
        assert set(zip(false.time, false.weight, strict=True)) <= set(
            zip(true.time, true.weight, strict=True)
        )
    assert len({*train.time[train.clean == 0].tolist()}) > 50


def test_popular_noise_is_popular_and_random_noise_is_not():
    frame = log(4000, 200, 80)
    found = {}
    for kind in ("random", "popular"):
        plain, noisy = (
            parts(made(None, frame))[0],
            parts(made(Noise(kind=kind, share=0.5), frame))[0],
        )
        count = np.bincount(plain.item, minlength=80)
        found[kind] = np.corrcoef(count, np.bincount(noisy.item[noisy.clean == 0], minlength=80))[
            0, 1
        ]
    assert found["popular"] > 0.6
    assert found["random"] < 0.2  # who has met the popular items cannot be given them again


def test_noise_does_not_depend_on_the_order_of_rows_and_does_on_its_seed():
    noise = Noise(kind="popular", share=0.5)
    frame = log()
    once, again = made(noise, frame), made(noise, frame.sample(fraction=1.0, shuffle=True, seed=4))
    assert once.fingerprint == again.fingerprint
    assert once.fingerprint != made(Noise(kind="popular", share=0.5, seed=1), frame).fingerprint
    pairs = made().train.pairs
    turned = pairs.take(np.random.default_rng(0).permutation(len(pairs)))
    assert (
        inject(turned, turned, [turned], noise).fingerprint
        == inject(pairs, pairs, [pairs], noise).fingerprint
    )
    assert "noise popular 0.5 per user, seed 0" in once.rule
    assert f"{int((once.train.pairs.clean == 0).sum())} false pairs in train" in once.rule


@settings(deadline=None, max_examples=30)
@given(
    users=st.integers(1, 6),
    items=st.integers(1, 6),
    share=st.floats(0, 10),
    per=st.sampled_from(["user", "all"]),
    seed=st.integers(0, 99),
)
def test_who_has_met_everything_gets_none(users, items, share, per, seed):
    rng = np.random.default_rng(seed)
    keys = rng.permutation(users * items)[: max(1, int(rng.random() * users * items) + 1)]
    pairs = Interactions(keys // items, keys % items, users, items)
    noisy = inject(pairs, pairs, [pairs], Noise(kind="random", share=share, per=per, seed=seed))
    assert set(noisy.key[noisy.clean == 1].tolist()) == set(pairs.key.tolist())
    assert len(np.unique(noisy.key)) == len(noisy)


def test_valid_may_stay_clean():
    of = parts(made(Noise(kind="random", share=0.5, valid=False)))
    assert [int((part.clean == 0).sum()) > 0 for part in of] == [True, False, False]
    assert made(Noise(kind="random", share=0.5)).refit().train.pairs.clean is not None


def test_no_noise_changes_nothing():
    plain, none = made(), made(Noise(kind="none", share=5))
    assert plain.fingerprint == none.fingerprint
    assert plain.train.pairs.clean is None
    pairs = labelled(plain.train.pairs)
    assert labelled(pairs) is pairs


def test_by_label_keeps_noise_out_of_the_test_only():
    plain, by = (
        parts(made(source={"clean_weight": 3})),
        parts(made(source={"clean_weight": 3}, by="label")),
    )
    assert [part.fingerprint for part in plain[:2]] == [part.fingerprint for part in by[:2]]
    assert (plain[2].clean == 0).sum() > 5
    assert rows(by[2]) == rows(plain[2], 1)
    assert [int((part.clean == 0).sum()) > 0 for part in by] == [True, True, False]
    assert "noisy test rows left out" in made(source={"clean_weight": 3}, by="label").rule
    with pytest.raises(InputError, match="no row is labelled") as caught:
        made(by="label")
    assert "clean_weight" in str(caught.value)


def test_labels_come_from_weights():
    of = parts(made(source={"clean_weight": 4}))
    for part in of:
        assert ((part.weight >= 4) == (part.clean == 1)).all()
        assert len(np.unique(part.clean)) == 2
    with pytest.raises(InputError, match="labels already"):
        load(log().with_columns(flag=pl.lit(1)), clean="flag", clean_weight=3)
    with pytest.raises(InputError, match="needs a weight column"):
        load(log().drop("rating"), clean_weight=3)


def test_by_label_of_files_that_are_split_already(tmp_path: Path):
    (tmp_path / "x.train.rating").write_text("0\t0\t5\n0\t1\t2\n1\t1\t4\n1\t2\t1\n2\t4\t5\n")
    (tmp_path / "x.valid.rating").write_text("0\t2\t3\n")
    (tmp_path / "x.test.negative").write_text("0\t3\t1\n1\t3\t5\n1\t0\t5\n")
    loaded = load(str(tmp_path / "x"), weight=2, clean_weight=3)
    train, valid, test = parts(split(loaded, SplitRule(by="label")))
    assert train.clean.tolist() == [1, 0, 1, 0, 1]
    assert valid.clean.tolist() == [1]
    items = loaded.dataset.items.ids.to_list()
    assert sorted((u, items[i], w) for u, i, w in rows(test)) == [(1, 0, 5.0), (1, 3, 5.0)]
    noisy = parts(split(loaded, SplitRule(by="label", noise=Noise(kind="random", share=0.5))))
    assert int((noisy[0].clean == 0).sum()) >= 4
    assert len(noisy[2]) == 2


def test_selection_on_clean_pairs_alone():
    noise = Noise(kind="random", share=0.5)
    noisy, clean = (made(noise, clean_valid=clean) for clean in (False, True))
    assert (noisy.valid.pairs.clean == 0).any()
    assert (clean.valid.pairs.clean == 1).all()
    assert set(clean.valid.pairs.key) == set(noisy.valid.pairs.key[noisy.valid.pairs.clean == 1])
    assert np.array_equal(clean.train.pairs.key, noisy.train.pairs.key)
    assert "noisy valid rows left out" in clean.rule
    with pytest.raises(InputError, match="no valid part with labels"):
        made(clean_valid=True)


def test_settings_come_back():
    rule = SplitRule(by="label", noise=Noise(kind="popular", share=0.2))
    assert build(SplitRule, to_dict(rule)) == rule
    for bad in ({"kind": "some"}, {"share": -0.1}, {"per": "item"}):
        with pytest.raises(InputError):
            Noise(**bad)


@pytest.mark.parametrize(
    ("folder", "source", "noise"),
    [("ml-100k-noisy", {}, 11_899), ("modcloth", {"weight": 2, "clean_weight": 5}, None)],
)
def test_the_data_of_the_denoising_studies(shared_data, folder, source, noise):
    found = shared_data / folder
    if not found.is_dir():
        pytest.skip(f"no {folder} there")
    name = {"ml-100k-noisy": "ml100k", "modcloth": "modcloth"}[folder]
    names = {
        part: f"{name}.{part}.{end}"
        for part, end in (("train", "rating"), ("valid", "rating"), ("test", "negative"))
    }
    of = parts(split(load(str(found), **names, **source), SplitRule(by="label", drop_cold=False)))
    if noise is not None:
        assert (len(of[0]), int((of[0].clean == 0).sum())) == (66_899, noise)
        assert (len(of[1]), int((of[1].clean == 0).sum())) == (8_652, 1_532)
        assert len(of[2]) == 7_208
    else:
        assert 0.2 < (of[0].clean == 0).mean() < 0.8
    assert (of[2].clean == 1).all()
