"""k folds of rows: every row is test once, and a fold is as large as another."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from questions import loaded, opened, pairs_of, random_log

from recsys.data.load import load
from recsys.data.splitting import Noise, SplitRule, each_rule, each_split, split
from recsys.data.splitting.folds import by_fold
from recsys.errors import InputError


@pytest.mark.parametrize("per", ["user", "all"])
@pytest.mark.parametrize("folds", [2, 5])
def test_every_pair_is_test_once(per: str, folds: int) -> None:
    data = load(random_log(1, views=False)).dataset
    rule = SplitRule(by="fold", folds=folds, per=per, seed=3, drop_cold=False)
    splits = list(each_split(data, rule))
    assert [one.fold for one in each_rule(rule)] == list(range(1, folds + 1))
    tests = [pairs_of(data, opened(result).pairs) for result in splits]
    whole = pairs_of(data, data.pairs)
    assert sorted(pair for test in tests for pair in test) == whole
    for result, test in zip(splits, tests, strict=True):
        assert result.valid is None
        assert sorted(pairs_of(data, result.train.pairs) + test) == whole
        assert f"of {folds} per {per}, random with seed 3" in result.rule
    sizes = [Counter(user for user, _ in test) for test in tests]
    if per == "all":
        totals = [size.total() for size in sizes]
        assert max(totals) - min(totals) <= 1
    else:
        for user in set(data.users.ids):
            counts = [size[user] for size in sizes]
            assert max(counts) - min(counts) <= 1


def test_no_fold_gets_more_of_the_users_with_few_rows() -> None:
    pairs = load(np.stack([np.arange(4000) // 2, np.arange(4000) % 7], axis=1)).dataset.pairs
    sizes = [int((by_fold(pairs, 5, fold) == 2).sum()) for fold in range(1, 6)]
    assert sum(sizes) == len(pairs)
    assert max(sizes) - min(sizes) < 6 * np.sqrt(800)


def test_a_seed_decides_and_the_same_one_repeats() -> None:
    data = load(random_log(2, views=False)).dataset
    splits = [split(data, SplitRule(by="fold", folds=4, fold=2, seed=seed)) for seed in (0, 0, 1)]
    assert splits[0].fingerprint == splits[1].fingerprint != splits[2].fingerprint


def test_a_share_of_train_becomes_valid_and_the_log_follows() -> None:
    data = loaded(random_log(4)).dataset
    result = split(data, SplitRule(by="fold", folds=5, valid_share=0.2))
    assert result.valid is not None
    assert result.valid.by_user
    held = np.concatenate([result.valid.pairs.key, opened(result).pairs.key])
    assert not np.isin(result.train.log.key, held).any()
    assert not np.isin(result.refit().train.log.key, opened(result).pairs.key).any()
    assert len(result.refit().train.log) > len(result.train.log)


def test_noise_is_added_as_to_other_rules_of_pairs() -> None:
    noise = Noise(kind="random", share=0.5)
    data = load(random_log(4, views=False)).dataset
    result = split(data, SplitRule(by="fold", folds=5, valid_share=0.2, noise=noise))
    assert result.train.pairs.clean is not None
    assert (result.train.pairs.clean == 0).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "fold"}, "by = 'fold' needs folds"),
        ({"by": "fold", "folds": 1}, "folds must be at least 2, got 1"),
        ({"by": "fold", "folds": 3, "fold": 4}, "fold = 4, and there are 3 folds"),
        ({"by": "fold", "fold": 2}, "by = 'fold' needs folds"),
        ({"by": "new-user", "fold": 2}, "fold has no effect without folds"),
        ({"by": "ratio", "folds": 3}, "folds has no effect with by = 'ratio'"),
        ({"by": "fold", "folds": 3, "ratios": (0.5, 0.2, 0.3)}, "ratios has no effect"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SplitRule(**settings)
