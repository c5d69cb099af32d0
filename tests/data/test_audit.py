"""Every check of the audit finds the fault that was planted, and is silent where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recsys.data.audit.checks import audit, table, worst
from recsys.data.audit.popularity import oracle_bound
from recsys.data.audit.ranks import GivenRanks
from recsys.data.finding import Finding
from recsys.data.load import load
from recsys.data.splitting.splits import SplitRule
from recsys.data.splitting.splits import split as make_split
from recsys.data.types import Dataset, FeatureTable, HeldOut, Interactions, Sealed, Split, Vocab

USERS, ITEMS, CAMPS = 400, 300, 4
DAY = 86_400


def world(seed: int = 0) -> Interactions:
    """Draw about 24 distinct items per user: skewed popularity, four camps, 200 days."""
    rng = np.random.default_rng(seed)
    rate = rng.lognormal(0, 1, ITEMS)
    camp_of_user, camp_of_item = rng.integers(CAMPS, size=USERS), np.arange(ITEMS) % CAMPS
    affinity = np.log(rate) + 1.5 * (camp_of_user[:, None] == camp_of_item)
    chosen = np.argsort(-(affinity + rng.gumbel(size=(USERS, ITEMS))), axis=1)[:, :24]
    user, item = np.repeat(np.arange(USERS), 24), chosen.ravel()
    return Interactions(user, item, USERS, ITEMS, time=rng.integers(0, 200 * DAY, len(user)))


def content(pairs: Interactions, seed: int = 1) -> FeatureTable:
    """Return an honest table: blurred camp and popularity; a tenth of the rows is missing."""
    rng = np.random.default_rng(seed)
    popularity = np.random.default_rng(0).lognormal(0, 1, ITEMS)
    camp = np.eye(CAMPS)[np.arange(ITEMS) % CAMPS] + rng.normal(0, 0.5, (ITEMS, CAMPS))
    values = np.column_stack([camp, np.log(popularity) + rng.normal(0, 1, ITEMS)]).astype(
        np.float32
    )
    return FeatureTable(values, rng.random(ITEMS) < 0.9)


def parted(
    pairs: Interactions, part: np.ndarray, rule: str = "by_ratio, at random", **dataset: object
) -> Split:
    """A split from a part number per pair: 0 train, 1 valid, 2 test."""
    train = Dataset(
        pairs.take(part == 0),
        Vocab.range(pairs.n_users, "user"),
        Vocab.range(pairs.n_items, "item"),
        **dataset,
    )
    valid, test = (HeldOut.of_pairs(pairs.take(part == number)) for number in (1, 2))
    return Split(train, valid, Sealed(test), rule)


def by_chance(pairs: Interactions, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).choice(3, len(pairs), p=[0.7, 0.1, 0.2])


def by_time(pairs: Interactions) -> np.ndarray:
    return np.digitize(pairs.time, np.quantile(pairs.time, [0.7, 0.8]))


def found(split: Split, check: str, **options: object) -> Finding:
    matching = [finding for finding in audit(split, **options) if finding.check == check]
    assert len(matching) == 1, [finding.check for finding in audit(split, **options)]
    return matching[0]


def with_pairs(split: Split, part: str, pairs: Interactions) -> Split:
    """The split with other pairs in one part."""
    if part == "train":
        return replace(split, train=split.train.with_pairs(pairs))
    held = HeldOut.of_pairs(pairs)
    return replace(split, valid=held) if part == "valid" else replace(split, test=Sealed(held))


def test_of(split: Split) -> Interactions:
    assert split.test is not None
    return split.test.open("look inside").pairs


test_of.__test__ = False  # not a test


def both(a: Interactions, b: Interactions) -> Interactions:
    time = None if a.time is None or b.time is None else np.concatenate([a.time, b.time])
    return Interactions(
        np.concatenate([a.user, b.user]),
        np.concatenate([a.item, b.item]),
        a.n_users,
        a.n_items,
        time=time,
    )


PAIRS = world()
CHANCE = parted(PAIRS, by_chance(PAIRS), features={"content": content(PAIRS)})
TIME = parted(PAIRS, by_time(PAIRS), rule="by_time", features={"content": content(PAIRS)})


@pytest.mark.parametrize("seed", range(5))
def test_a_split_by_time_of_steady_data_is_clean(seed: int) -> None:
    pairs = world(seed)
    findings = audit(
        parted(
            pairs, by_time(pairs), rule="by_time", features={"content": content(pairs, seed + 50)}
        )
    )
    assert worst(findings) == "ok", table(findings).filter(pl.col("severity") != "ok").rows()


@pytest.mark.parametrize("seed", range(5))
def test_a_split_by_chance_is_faulted_for_its_time_alone(seed: int) -> None:
    pairs = world(seed)
    findings = audit(
        parted(pairs, by_chance(pairs, seed + 50), features={"content": content(pairs, seed + 50)})
    )
    assert {finding.check for finding in findings if finding.severity != "ok"} == {
        "time order",
        "future in train",
    }
    assert worst(findings) == "warning"


@pytest.mark.parametrize(
    ("rule", "severity"),
    [
        (SplitRule(by="last"), "error"),
        (SplitRule(by="time", test_from=0.8), "error"),
        (SplitRule(by="ratio", order="time"), "error"),
        (SplitRule(by="ratio"), "warning"),
    ],
    ids=["last", "time", "ratio in time order", "ratio at random"],
)
def test_a_split_that_claims_an_order_it_has_not(rule: SplitRule, severity: str) -> None:
    """The words of the rule are understood: the times are shuffled after splitting."""
    whole = Dataset(PAIRS, Vocab.range(USERS, "user"), Vocab.range(ITEMS, "item"))
    split = make_split(whole, rule)
    if severity == "error":
        assert found(split, "time order").severity == "ok"
    test = test_of(split)
    assert test.time is not None
    mixed = with_pairs(split, "test", replace(test, time=test.time - 150 * DAY))
    assert found(mixed, "time order").severity == severity


def test_the_test_is_opened_once_and_says_why() -> None:
    split = replace(CHANCE, test=Sealed(HeldOut.of_pairs(test_of(CHANCE))))
    audit(split)
    assert split.test.openings == ["audit"]


def test_the_same_seed_gives_the_same_findings() -> None:
    assert audit(CHANCE, seed=3) == audit(CHANCE, seed=3)


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_duplicates_inside_a_part(part: str) -> None:
    pairs = {"train": TIME.train.pairs, "valid": TIME.valid.pairs, "test": test_of(TIME)}[part]
    finding = found(
        with_pairs(TIME, part, both(pairs, pairs.take(np.array([0, 0, 5])))), "duplicates"
    )
    assert (finding.severity, finding.count) == ("warning", 3)
    assert f"3 in {part}" in finding.message
    assert found(TIME, "duplicates").severity == "ok"


@pytest.mark.parametrize(
    ("source", "target"), [("train", "valid"), ("train", "test"), ("valid", "test")]
)
def test_a_pair_in_two_parts(source: str, target: str) -> None:
    parts = {"train": TIME.train.pairs, "valid": TIME.valid.pairs, "test": test_of(TIME)}
    finding = found(
        with_pairs(TIME, target, both(parts[target], parts[source].take(np.arange(7)))), "overlap"
    )
    assert (finding.severity, finding.count) == ("error", 7)
    assert f"{target} pairs" in finding.message
    assert f"also in {source}" in finding.message
    assert found(TIME, "overlap").severity == "ok"


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2)), min_size=3, max_size=40
    )
)
def test_duplicates_overlap_and_masked_users_as_sets_count_them(
    rows: list[tuple[int, int, int]],
) -> None:
    user, item, part = np.array([*rows, (0, 0, 0), (1, 1, 2)]).T
    parts = [
        list(zip(user[part == p].tolist(), item[part == p].tolist(), strict=True)) for p in range(3)
    ]
    counts = {
        finding.check: finding.count
        for finding in audit(parted(Interactions(user, item, 5, 5), part))
    }
    sets = [set(rows) for rows in parts]
    assert counts["duplicates"] == sum(len(p) - len(s) for p, s in zip(parts, sets, strict=True))
    assert counts["overlap"] == sum(
        pair in sets[a] for a in range(3) for b in range(a + 1, 3) for pair in parts[b]
    )
    masked = 0
    for place in (1, 2):
        seen = set().union(*sets[:place])
        masked += sum(
            all(pair in seen for pair in parts[place] if pair[0] == u)
            for u in {u for u, _ in parts[place]}
        )
    assert counts["masked users"] == masked


def test_users_whose_answers_are_all_masked() -> None:
    train, test = TIME.train.pairs, test_of(TIME)
    lost = np.unique(test.user)[:3]
    kept = test.take(~np.isin(test.user, lost))
    seen = train.take(np.concatenate([np.flatnonzero(train.user == u)[:2] for u in lost]))
    finding = found(with_pairs(TIME, "test", both(kept, seen)), "masked users")
    assert (finding.severity, finding.count) == ("error", 3)
    assert found(TIME, "masked users").severity == "ok"


def test_pairs_older_than_what_their_user_trains_on() -> None:
    train, valid, test = CHANCE.train.pairs, CHANCE.valid.pairs, test_of(CHANCE)
    last = {
        u: max(train.time[train.user == u].max(), *valid.time[valid.user == u], 0)
        for u in range(USERS)
    }
    expected = sum(t < last[u] for u, t in zip(test.user.tolist(), test.time.tolist(), strict=True))
    expected += sum(
        t < train.time[train.user == u].max()
        for u, t in zip(valid.user.tolist(), valid.time.tolist(), strict=True)
    )
    finding = found(CHANCE, "time order")
    assert (finding.severity, finding.count) == ("warning", expected)
    assert "one cut at 1970-05-" in finding.message
    assert found(TIME, "time order").severity == "ok"
    assert found(replace(CHANCE, rule="by_last 1"), "time order").severity == "error"


def test_leave_last_out_keeps_the_order_of_each_user_and_yet_trains_on_the_future() -> None:
    visits = replace(
        PAIRS, time=PAIRS.time // 10 + PAIRS.user.astype(np.int64) % 180 * DAY
    )  # each user comes for 20 days of 200
    pairs = visits.take(np.lexsort((visits.time, visits.user)))
    left = 23 - np.arange(len(pairs)) % 24
    split = parted(pairs, np.select([left == 0, left == 1], [2, 1], 0), rule="by_last 1")
    assert found(split, "time order").severity == "ok"
    assert found(split, "future in train").severity == "warning"
    assert found(TIME, "future in train").severity == "ok"


@pytest.mark.parametrize(
    ("times", "tied", "severity"),
    [
        ([(1, 2, 3), (1, 2, 3), (1, 2, 3)], 0, "ok"),
        ([(1, 3, 3), (1, 2, 3), (1, 2, 3)], 1, "warning"),
        ([(5, 5, 5), (4, 4, 4), (1, 2, 2)], 3, "warning"),
        ([(1, 1, 2), (3, 3, 4), (5, 5, 6)], 0, "ok"),
    ],
)
def test_users_whose_cut_is_among_equal_times(
    times: list[tuple[int, int, int]], tied: int, severity: str
) -> None:
    rows = [(user, item, time) for user, each in enumerate(times) for item, time in enumerate(each)]
    log = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    rule = SplitRule(ratios=(0.6, 0.0, 0.4), order="time")
    finding = found(make_split(load(log), rule), "equal times")
    assert (finding.count, finding.severity) == (tied, severity)
    if tied:
        assert f"{tied} of 3 users" in finding.message
    by_chance_alone = found(make_split(load(log), SplitRule()), "equal times")
    assert "not in time order" in by_chance_alone.message


def test_the_share_of_train_younger_than_a_test_pair() -> None:
    train, test = CHANCE.train.pairs, test_of(CHANCE)
    share = np.mean([np.mean(train.time > t) for t in test.time])
    finding = found(CHANCE, "future in train")
    assert f"{share:.1%} of train" in finding.message
    assert finding.count == sum(t < train.time.max() for t in test.time)


@pytest.mark.parametrize("kind", ["user", "item"])
def test_users_and_items_that_training_never_met(kind: str) -> None:
    train, test = TIME.train.pairs, test_of(TIME)
    new = np.unique(getattr(test, kind))[:20]
    split = with_pairs(TIME, "train", train.take(~np.isin(getattr(train, kind), new)))
    known = getattr(split.train.pairs, kind)
    asked = [1 - np.isin(getattr(pairs, kind), known).mean() for pairs in (split.valid.pairs, test)]
    finding = found(split, f"cold {kind}s")
    assert finding.severity == "warning"
    assert all(f"{share:.1%} of the" in finding.message for share in asked)
    assert found(TIME, f"cold {kind}s").severity == "ok"


def test_items_none_of_which_can_be_known() -> None:
    train, test = TIME.train.pairs, test_of(TIME)
    split = with_pairs(TIME, "train", train.take(~np.isin(train.item, test.item)))
    assert found(split, "cold items", features={}).severity == "error"
    assert found(split, "cold items").severity == "warning"  # features may know them


def test_candidates_that_occur_nowhere() -> None:
    wide = Interactions(PAIRS.user, PAIRS.item, USERS, ITEMS + 30, time=PAIRS.time)
    finding = found(parted(wide, by_time(wide)), "silent items")
    assert (finding.severity, finding.count) == ("warning", 30 + ITEMS - len(np.unique(PAIRS.item)))
    assert found(TIME, "silent items").severity == "ok"


def test_popularity_that_moved() -> None:
    test = test_of(TIME)
    popular = np.argsort(-np.bincount(TIME.train.pairs.item, minlength=ITEMS))
    turned = np.empty(ITEMS, dtype=np.int64)
    turned[popular] = popular[::-1]  # the most popular and the least change places
    moved = Interactions(test.user, turned[test.item], USERS, ITEMS, time=test.time)
    finding = found(with_pairs(TIME, "test", moved), "popularity shift")
    assert finding.severity == "warning"
    assert "another population" in finding.message
    assert found(TIME, "popularity shift").severity == "ok"


def test_one_pair_per_user_is_no_shift_however_unequal_the_users() -> None:
    rng = np.random.default_rng(0)
    length = np.where(np.arange(3000) % 3 == 0, 60, 4)  # the busy third likes other things
    user = np.repeat(np.arange(3000), length)
    item = np.where(
        length[user] > 4, rng.integers(0, 1000, len(user)), rng.geometric(0.01, len(user)) % 1000
    )
    part = np.zeros(len(user), dtype=np.int64)
    part[np.cumsum(length) - 1] = 2
    split = parted(Interactions(user, item, 3000, 1000), part)
    assert found(split, "popularity shift").severity == "ok"


def test_a_core_that_splitting_broke() -> None:
    train = CHANCE.train.pairs
    users = int((np.bincount(train.user) < 18).sum())
    counts = np.bincount(train.item)
    items = int(((counts > 0) & (counts < 18)).sum())
    for history in (
        ["k_core 24: 9600 -> 9600", "k_core 18: 9600 -> 9600"],
        ["18-core"],
        ["user_core 18 item_core 18: 9600 -> 9600"],
    ):
        split = replace(CHANCE, train=replace(CHANCE.train, history=tuple(history)))
        finding = found(split, "core after split")
        assert (finding.severity, finding.count) == ("warning", users + items)
    assert found(CHANCE, "core after split", core=18).count == users + items
    whole = with_pairs(CHANCE, "train", train.take(counts[train.item] >= 5))
    assert np.bincount(whole.train.pairs.user).min() >= 5
    assert "have fewer than 5" in (clean := found(whole, "core after split", core=5)).message
    assert (clean.severity, clean.count) == ("ok", 0)
    only_users = replace(
        CHANCE,
        train=replace(
            CHANCE.train, history=("score 4: 1 -> 1", "user_core 18 item_core 0: 1 -> 1")
        ),
    )
    assert found(only_users, "core after split").count == users
    assert "not checked" in found(CHANCE, "core after split").message


def one_column(values: np.ndarray, present: np.ndarray | None = None) -> dict[str, FeatureTable]:
    values = np.asarray(values, dtype=np.float32).reshape(ITEMS, -1)
    return {"x": FeatureTable(values, np.ones(ITEMS, dtype=bool) if present is None else present)}


COUNTS = {
    name: np.bincount(pairs.item, minlength=ITEMS)
    for name, pairs in (("train", CHANCE.train.pairs), ("test", test_of(CHANCE)))
}


@pytest.mark.parametrize(
    ("leak", "values"),
    [
        ("test counts", COUNTS["test"]),
        ("log of all counts", np.log1p(COUNTS["train"] + COUNTS["test"])),
        ("test share", -COUNTS["test"] / COUNTS["test"].sum()),
        ("blurred test counts", COUNTS["test"] + np.random.default_rng(0).normal(0, 1, ITEMS)),
        (
            "blurred counts of all",
            (COUNTS["train"] + COUNTS["test"]) * np.random.default_rng(0).lognormal(0, 0.03, ITEMS),
        ),
    ],
)
def test_columns_that_were_counted_on_the_test(leak: str, values: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(size=(ITEMS, 20))
    finding = found(
        CHANCE, "feature x: popularity", features=one_column(np.column_stack([noise, values]))
    )
    assert finding.severity == "error", leak
    assert finding.count == 1
    assert "column 20" in finding.message


@pytest.mark.parametrize(
    "values",
    [
        COUNTS["train"],
        np.log1p(COUNTS["train"]),
        np.random.default_rng(0).normal(size=(ITEMS, 300)),
        np.random.default_rng(0).lognormal(
            0, 1, ITEMS
        ),  # the true rates of `world(0)`: no honest feature knows more
        np.zeros(ITEMS),
    ],
    ids=["train counts", "log train counts", "noise", "true rates", "constant"],
)
def test_columns_that_know_only_what_may_be_known(values: np.ndarray) -> None:
    assert found(CHANCE, "feature x: popularity", features=one_column(values)).severity != "error"


def test_the_bound_lies_between_what_rates_know_and_what_counts_know() -> None:
    rng = np.random.default_rng(0)
    for mean, drift in ((2.0, 0.0), (20.0, 0.0), (20.0, 0.7)):
        rates = mean * rng.lognormal(-0.7, 1.2, 3000)
        later = rates * rng.lognormal(0, drift, len(rates)) / 4
        train, asked = rng.poisson(rates), rng.poisson(later)
        known = (train + asked) > 0
        train, asked, later = train[known], asked[known], later[known]
        strength = GivenRanks(train).correlations(np.column_stack([later, train + asked]), asked)
        assert strength[0] < oracle_bound(train, asked, rng) < strength[1]


def test_partial_correlation_against_its_definition() -> None:
    rng = np.random.default_rng(0)
    given_, target = rng.integers(0, 9, 80), rng.integers(0, 5, 80).astype(float)
    columns = rng.normal(size=(80, 3)) + target[:, None] * [0, 1, 2]
    rank = stats.rankdata(given_)
    design = np.column_stack(
        [rank**power for power in range(4)] / rank.max() ** np.arange(4)[:, None]
    )

    def rest(values: np.ndarray) -> np.ndarray:
        ranks = stats.rankdata(values)
        return ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]

    expected = [np.corrcoef(rest(column), rest(target))[0, 1] for column in columns.T]
    np.testing.assert_allclose(
        GivenRanks(given_).correlations(columns, target), expected, atol=1e-9
    )


def test_features_that_only_test_items_have() -> None:
    pairs = world(3).take(np.arange(0, USERS * 24, 6))  # sparse, so that many items miss the test
    split = parted(pairs, by_chance(pairs))
    in_test = np.bincount(test_of(split).item, minlength=ITEMS) > 0
    values = np.random.default_rng(0).normal(size=(ITEMS, 3))
    assert (
        found(split, "feature x: present", features=one_column(values, in_test)).severity == "error"
    )
    some = in_test & (np.random.default_rng(0).random(ITEMS) < 0.7)
    assert found(split, "feature x: present", features=one_column(values, some)).severity == "error"
    mostly = some | (np.random.default_rng(1).random(ITEMS) < 0.1)
    assert (
        found(split, "feature x: present", features=one_column(values, mostly)).severity
        == "warning"
    )
    popular = np.bincount(split.train.pairs.item, minlength=ITEMS) >= 10
    assert in_test[popular].mean() > 0.9  # most are in the test, and that tells nothing
    assert found(split, "feature x: present", features=one_column(values, popular)).severity == "ok"


def test_features_learnt_from_test_pairs() -> None:
    def factors(pairs: Interactions) -> np.ndarray:
        degree = np.sqrt(
            np.maximum(np.bincount(pairs.item, minlength=ITEMS), 1)
        )  # no column follows popularity
        return sp.linalg.svds(pairs.csr.astype(np.float64) / degree, 8, random_state=0)[2].T

    check = "feature x: co-occurrence"
    assert found(CHANCE, check, features=one_column(factors(test_of(CHANCE)))).severity == "error"
    assert found(CHANCE, check, features=one_column(factors(CHANCE.train.pairs))).severity == "ok"
    assert found(CHANCE, check, features={"x": content(PAIRS)}).severity == "ok"


def test_likeness_in_a_sitting_is_a_hint_at_most() -> None:
    """Each user ends with one camp: honest content is then more alike in a test by time."""
    rng = np.random.default_rng(0)
    user, late = np.repeat(np.arange(USERS), 24), np.arange(USERS * 24) % 24 >= 16
    camp = np.where(late, user % CAMPS, rng.integers(CAMPS, size=len(user)))
    item = rng.integers(ITEMS // CAMPS, size=len(user)) * CAMPS + camp
    pairs = Interactions(user, item, USERS, ITEMS, time=np.where(late, 100, 0) * DAY)
    finding = found(
        parted(pairs, np.where(late, 2, 0), rule="by_time"),
        "feature x: co-occurrence",
        features={"x": content(pairs)},
    )
    assert finding.severity == "warning"
    assert "one session" in finding.message


def test_rows_that_feign_to_be_there() -> None:
    values = np.random.default_rng(0).normal(size=(ITEMS, 3))
    values[:4], values[5, 1] = 0, np.nan
    finding = found(CHANCE, "feature x: rows", features=one_column(values))
    assert (finding.severity, finding.count) == ("warning", 5)
    assert (
        found(CHANCE, "feature x: rows", features=one_column(values, np.arange(ITEMS) > 5)).severity
        == "ok"
    )


def test_a_table_of_another_catalogue() -> None:
    finding = found(
        CHANCE,
        "feature x",
        features={
            "x": FeatureTable(
                np.ones((ITEMS - 2, 1), dtype=np.float32), np.ones(ITEMS - 2, dtype=bool)
            )
        },
    )
    assert (finding.severity, finding.count) == ("error", 2)


def labelled(rng: np.random.Generator, **columns: np.ndarray) -> Split:
    label = columns.pop("clean", rng.random(len(PAIRS)) < 0.8)
    return parted(
        replace(PAIRS, clean=label, **columns), np.where(np.arange(len(PAIRS)) % 5 == 4, 2, 0)
    )


def test_columns_that_give_the_label_away() -> None:
    rng = np.random.default_rng(0)
    label = rng.random(len(PAIRS)) < 0.8
    assert (
        found(labelled(rng, clean=label, weight=rng.random(len(PAIRS))), "labels").severity == "ok"
    )
    finding = found(
        labelled(rng, clean=label, weight=np.where(label, 1, -1) * rng.random(len(PAIRS))), "labels"
    )
    assert (finding.severity, finding.count) == ("error", 1)
    assert "weight" in finding.message
    cancelled = found(
        labelled(rng, clean=label, behaviour=np.where(label, 0, 1), behaviours=("buy", "cancel")),
        "labels",
    )
    assert cancelled.count == 2
    assert "behaviour cancel" in cancelled.message


def test_an_item_column_that_gives_the_label_away() -> None:
    rng = np.random.default_rng(0)
    bad = rng.random(ITEMS) < 0.2
    split = labelled(rng, clean=~bad[PAIRS.item])
    finding = found(
        split, "labels", features=one_column(np.column_stack([rng.normal(size=ITEMS), bad]))
    )
    assert (finding.severity, finding.count) == ("error", 1)
    assert "x[1]" in finding.message
    assert found(split, "labels", features=one_column(rng.normal(size=ITEMS))).severity == "ok"


def test_noise_among_the_answers() -> None:
    split = labelled(np.random.default_rng(0))
    finding = found(split, "noisy answers")
    assert (finding.severity, finding.count) == ("warning", int((test_of(split).clean == 0).sum()))
    clean = with_pairs(split, "test", test_of(split).take(test_of(split).clean == 1))
    assert "noisy answers" not in {finding.check for finding in audit(clean)}


def test_nothing_to_train_on_and_nothing_held_back() -> None:
    empty = PAIRS.take(np.zeros(0, dtype=np.int64))
    assert found(with_pairs(TIME, "train", empty), "empty parts").severity == "error"
    assert found(replace(TIME, valid=None, test=None), "empty parts").severity == "error"
    assert worst(audit(replace(TIME, test=None))) == "ok"  # valid alone can be looked at


def test_the_table_shows_the_gravest_first() -> None:
    findings = [
        Finding("a", "ok", 0, "fine"),
        Finding("b", "error", 2, "bad", "mend it"),
        Finding("c", "warning", 1, "odd"),
    ]
    assert table(findings).columns == ["check", "severity", "count", "message", "remedy"]
    assert table(findings)["severity"].to_list() == ["error", "warning", "ok"]
    assert worst(findings) == "error"
    assert worst([]) == "ok"
    assert table([]).schema["count"] == pl.Int64


def test_a_published_split_whose_validation_is_part_of_its_test(shared_data: Path) -> None:
    """The Amazon-Electronics 14-core data of NBPO, and a public split with valid inside test."""
    parts = [
        json.loads((shared_data / "amazon-electronics-14core" / f"{name}_data.json").read_text())
        for name in ("train", "validation", "test")
    ]
    user = np.concatenate(
        [np.repeat(np.arange(len(part)), [len(items) for items in part]) for part in parts]
    )
    item = np.concatenate(
        [np.array([i for items in part for i in items], dtype=np.int64) for part in parts]
    )
    part = np.repeat([0, 1, 2], [sum(map(len, rows)) for rows in parts])
    split = parted(Interactions(user, item, int(user.max()) + 1, int(item.max()) + 1), part)
    assert found(split, "overlap").severity == "ok"
    leaky = with_pairs(split, "test", both(test_of(split), split.valid.pairs))
    assert (found(leaky, "overlap").severity, found(leaky, "overlap").count) == (
        "error",
        len(split.valid),
    )
