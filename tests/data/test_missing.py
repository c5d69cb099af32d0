"""Modalities that items lose, and what is put in their place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import two_camps

from recsys.data.splitting.missing_modalities import Donors, Missing, lose, without
from recsys.data.splitting.splits import SplitRule, split
from recsys.data.types import Dataset, FeatureTable, Interactions, Vocab
from recsys.errors import InputError
from recsys.experiment.experiment import from_tree
from recsys.nn.feature_layers import feature_values, reader, warm_items

N, WARM = 200, np.arange(200) % 4 != 0
WHOLE = {
    name: FeatureTable(np.ones((N, 2), dtype=np.float32), np.ones(N, dtype=bool))
    for name in ("text", "image", "audio")
}


def present(tables: dict[str, FeatureTable]) -> np.ndarray:
    return np.stack([table.present for table in tables.values()], axis=1)


def lost(**settings) -> np.ndarray:
    """How many modalities each item has lost."""
    return 3 - present(lose(WHOLE, WARM, Missing(**settings))).sum(1)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_exact_shares_of_train_and_new_items(share):
    gone = lost(train=share, new=1 - share)
    assert (gone[WARM] > 0).sum() == round(share * 150)
    assert (gone[~WARM] > 0).sum() == round((1 - share) * 50)
    assert set(gone) <= {0, 1}


def test_masks_are_nested_and_of_the_seed():
    before = present(lose(WHOLE, WARM, Missing(seed=3)))
    assert before.all()
    for share in np.arange(1, 10) / 10:
        now = present(lose(WHOLE, WARM, Missing(train=share, new=share, lose="some", seed=3)))
        assert (now <= before).all(), "what is missing stays missing"
        assert now.sum() < before.sum()
        assert now.any(1).all()
        assert (now[before.all(1) & ~now.all(1)].sum(1) < 3).all()
        again = present(lose(WHOLE, WARM, Missing(train=share, new=share, lose="some", seed=3)))
        assert np.array_equal(now, again)
        before = now
    assert not np.array_equal(
        before, present(lose(WHOLE, WARM, Missing(train=0.9, new=0.9, lose="some", seed=4)))
    )


def test_the_share_of_train_items_changes_nothing_for_new_ones():
    """FTMT and MTMT of one seed have the same new items."""
    ftmt, mtmt = (present(lose(WHOLE, WARM, Missing(train=share, new=0.5))) for share in (0.0, 0.5))
    assert np.array_equal(ftmt[~WARM], mtmt[~WARM])
    assert ftmt[WARM].all()
    assert not mtmt[WARM].all()


def test_one_or_some():
    assert set(lost(train=1.0, new=1.0)) == {1}
    numbers = np.bincount(lost(train=1.0, new=1.0, lose="some"))
    assert numbers[0] == 0
    assert len(numbers) == 3, "one always stays"
    assert min(numbers[1:]) > 70, "each number as likely"
    which = present(lose(WHOLE, WARM, Missing(train=1.0, new=1.0))).sum(0)
    assert min(which) > 110, "each modality as likely"


def test_an_item_with_one_modality_keeps_it_and_rows_that_are_gone_are_zeros():
    some = dict(WHOLE)
    some["text"] = FeatureTable(WHOLE["text"].values, np.arange(N) < 100)
    some["audio"] = FeatureTable(WHOLE["audio"].values, np.arange(N) < 100)
    made = lose(some, WARM, Missing(train=1.0, new=1.0))
    assert made["image"].present[100:].all()
    assert (present(made)[:100].sum(1) == 2).all()
    assert not (present(made) & ~present(some)).any()
    for name, table in made.items():
        assert not table.values[~table.present].any()
        assert WHOLE[name].values.all(), "the tables given are left alone"


@pytest.mark.parametrize("names", [(), ("text",)])
def test_nothing_can_be_lost_where_items_have_one_modality(names):
    with pytest.raises(InputError, match="no item has two"):
        lose({name: WHOLE[name] for name in names}, WARM, Missing(new=0.5))


def test_of_a_split():
    data = two_camps(users=120)[0]
    plain = split(data, SplitRule(by="new-item"))
    made = split(data, SplitRule(by="new-item", missing=Missing(new=1.0)))
    assert made.pairs_fingerprint == plain.pairs_fingerprint
    assert made.fingerprint != plain.fingerprint
    warm = warm_items(made.train)
    before, after = present(plain.train.features), present(made.train.features)
    assert np.array_equal(before[warm], after[warm])
    assert (after[~warm].sum(1) == 1).all()
    assert "new items lose one, seed 0" in made.train.history[-1]
    assert without(plain.train, Missing(seed=5)) is plain.train


def test_in_an_experiment():
    made = from_tree(
        {
            "data": {"source": "online-retail"},
            "split": {"missing": {"new": 0.5, "lose": "some"}},
            "model": {"name": "popular"},
        }
    )
    assert made.split.missing == Missing(new=0.5, lose="some")
    with pytest.raises(InputError, match="did you mean 'train'"):
        from_tree(
            {
                "data": {"source": "online-retail"},
                "split": {"missing": {"trian": 0.5}},
                "model": {"name": "popular"},
            }
        )
    with pytest.raises(InputError, match="must be at most 1"):
        Missing(new=1.1)


# --- what is put in their place


def of(tables: dict[str, FeatureTable], warm: np.ndarray) -> Dataset:
    """A data set of one user who has met the warm items."""
    rows = np.flatnonzero(warm)
    return Dataset(
        Interactions(np.zeros(len(rows)), rows, 1, len(warm)),
        Vocab.range(1),
        Vocab.range(len(warm)),
        tables,
    )


def naive_nearest(features: dict[str, FeatureTable], warm: np.ndarray, name: str) -> np.ndarray:
    """The definition, an item at a time."""
    table = features[name]
    known = [i for i in range(len(warm)) if table.present[i] and warm[i]]
    values = table.values.astype(np.float64)
    means = {
        other: t.values[t.present & warm].astype(np.float64).mean(0)
        for other, t in features.items()
    }
    for i in np.flatnonzero(~table.present):
        best, at = -np.inf, -1
        for j in known:
            cosines = []
            for other, t in features.items():
                if other != name and t.present[i] and t.present[j]:
                    a, b = t.values[i] - means[other], t.values[j] - means[other]
                    cosines.append(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
            if cosines and np.mean(cosines) > best + 1e-9:
                best, at = np.mean(cosines), j
        values[i] = means[name] if at < 0 else table.values[at]
    return values


def test_nearest_by_hand(monkeypatch):
    rng = np.random.default_rng(1)
    tables = {
        name: FeatureTable(rng.normal(3, 1, (60, dim)).astype(np.float32), rng.random(60) < share)
        for name, dim, share in (("a", 3, 0.6), ("b", 4, 0.5), ("c", 2, 0.4))
    }
    warm = rng.random(60) < 0.7
    monkeypatch.setattr(
        "recsys.data.splitting.missing_modalities._BLOCK_NUMBERS", 100
    )  # several blocks
    found = feature_values(of(tables, warm), impute="nearest")
    alone = 0
    for name, table in tables.items():
        others = [tables[other].present for other in tables if other != name]
        alone += (~table.present & ~np.any(others, axis=0)).sum()
        np.testing.assert_allclose(
            found[name].numpy(), naive_nearest(tables, warm, name), rtol=1e-5
        )
        assert np.array_equal(found[name].numpy()[table.present], table.values[table.present])
    assert alone, "items with nothing at all are among them: they get the mean"


def test_nearest_where_nobody_has_it():
    tables = {
        name: FeatureTable(np.ones((3, 2), dtype=np.float32), np.full(3, name == "b"))
        for name in "ab"
    }
    assert not feature_values(of(tables, np.ones(3, dtype=bool)), impute="nearest")["a"].any()


def test_new_items_are_no_neighbours():
    """Only what training knows is filled in."""
    a = FeatureTable(np.array([[1.0, 0], [0, 1], [1, 0]], dtype=np.float32), np.ones(3, dtype=bool))
    b = FeatureTable(np.array([[0.0], [5], [7]], dtype=np.float32), np.array([False, True, True]))
    data = Dataset(
        Interactions(np.zeros(2), np.array([0, 1]), 1, 3),
        Vocab.range(1),
        Vocab.range(3),
        {"a": a, "b": b},
    )
    assert feature_values(data, impute="nearest")["b"].tolist() == [[5.0], [5.0], [7.0]]
    met = replace(data, pairs=Interactions(np.zeros(3), np.arange(3), 1, 3))
    assert feature_values(met, impute="nearest")["b"].tolist() == [[7.0], [5.0], [7.0]]
    assert reader(data, impute="nearest").modalities[1].fill.tolist() == [5.0], (
        "the mean for items that have nothing at all"
    )
    assert reader(data, impute="zero").modalities[1].fill.tolist() == [0.0]


def test_donors_are_kept_where_one_may_be_asked():
    data = of(WHOLE, WARM)
    kept = reader(data, impute="nearest").donors
    assert kept is not None
    assert len(kept.warm) == WARM.sum(), "new items lend nothing, so they are left out"
    assert reader(data, impute="mean").donors is None
    one = replace(data, features={"text": WHOLE["text"]})
    assert reader(one, impute="nearest").donors is None, (
        "who lacks the only modality has nothing to be near by"
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("cold", [(), ("b",)])
def test_items_that_come_later_find_the_same_donor(dtype, cold):
    """Donors made of some items lend the same vectors, also of a modality no warm item has."""
    rng = np.random.default_rng(2)
    tables = {
        name: FeatureTable(rng.normal(3, 1, (90, dim)).astype(dtype), rng.random(90) < share)
        for name, dim, share in (("a", 3, 0.6), ("b", 4, 0.5), ("c", 2, 0.4))
    }
    warm = rng.random(90) < 0.7
    later = np.flatnonzero(~warm)[10:]
    for (
        name
    ) in cold:  # only items that nobody has met have it, and they stand in the table of training
        tables[name] = FeatureTable(
            tables[name].values, np.isin(np.arange(90), np.flatnonzero(~warm)[:10])
        )
    early = np.setdiff1d(np.arange(90), later)
    whole = {
        name: FeatureTable(
            table.values, table.present & (np.isin(np.arange(90), early) | (name not in cold))
        )
        for name, table in tables.items()
    }
    expected = Donors.of(whole, warm).lend(whole)
    donors = Donors.of(
        {
            name: FeatureTable(table.values[early], table.present[early])
            for name, table in whole.items()
        },
        warm[early],
    )
    found = donors.lend(
        {
            name: FeatureTable(table.values[later], table.present[later])
            for name, table in whole.items()
        }
    )
    for name, table in found.items():
        assert np.array_equal(table.present, expected[name].present[later])
        assert np.array_equal(
            table.values[table.present], expected[name].values[later][table.present]
        )
        assert table.values.dtype == np.float32, "something was lent, so it is wide"
        assert table.present.sum() > whole[name].present[later].sum()
        assert tables[name].values.dtype == dtype, "what was given is left alone"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_who_loses_a_modality_does_not_hang_on_who_is_in_the_test(seed):
    """With one seed for split and mask, as many new items of valid as of test lose one."""
    items = np.repeat(np.arange(2000), 2)
    pairs = Interactions(
        np.tile(np.arange(100), 40).astype(np.int32), items.astype(np.int32), 100, 2000
    )
    tables = {
        name: FeatureTable(np.ones((2000, 2), dtype=np.float32), np.ones(2000, dtype=bool))
        for name in ("text", "image")
    }
    whole = Dataset(pairs, Vocab.range(100), Vocab.range(2000), features=tables)
    parts = split(whole, SplitRule(by="new-item", seed=seed, missing=Missing(new=0.5, seed=seed)))
    whole_items = present(dict(parts.train.features)).all(1)
    for part in (parts.valid.pairs, parts.test.open("a test").pairs):
        assert (
            0.35 < whole_items[np.unique(part.item)].mean() < 0.65
        )  # 200 items: a standard deviation is 0.035
