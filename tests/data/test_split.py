"""Splits: no row lost or twice, sizes as documented, the same for any order of the file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from oracle import by_id

from recsys.data.load import LoadedData, load
from recsys.data.reading import Source
from recsys.data.splitting.rules import by_last, by_new_item, by_ratio, by_time, libcml
from recsys.data.splitting.splits import SplitRule, presplit, split
from recsys.data.types import Interactions, Split
from recsys.errors import InputError

PAIRS = st.sets(st.tuples(st.integers(0, 8), st.integers(0, 15)), min_size=12, max_size=80)
RULES = [
    SplitRule(drop_cold=False),
    SplitRule(ratios=(0.5, 0.0, 0.5), seed=3, drop_cold=False),
    SplitRule(per="all", drop_cold=False),
    SplitRule(order="time", drop_cold=False),
    SplitRule(per="all", order="time", drop_cold=False),
    SplitRule(by="last", drop_cold=False),
    SplitRule(by="last", k=3, drop_cold=False),
    SplitRule(by="time", valid_from=0.5, test_from=0.75, drop_cold=False),
    SplitRule(by="time", test_from=500, drop_cold=False),
    SplitRule(by="new-item", new_items=0.5, drop_cold=False),
    SplitRule(by="new-item", new_items=0.5, warm_share=0.3, drop_cold=False),
    SplitRule(by="libcml", drop_cold=False),
]


def log(pairs: set[tuple[int, int]], seed: int = 0) -> pl.DataFrame:
    """A log with times, all different, its rows in an order given by the seed."""
    ordered = sorted(pairs)
    frame = pl.DataFrame(
        {"user": [f"u{user}" for user, _ in ordered], "item": [item for _, item in ordered]}
    )
    times = np.random.default_rng(7).permutation(len(ordered)) * (1000 // max(len(ordered), 1))
    frame = frame.with_columns(time=times)
    return frame.sample(fraction=1.0, shuffle=True, seed=seed)


def keys(pairs: Interactions | None) -> list[int]:
    return pairs.key.tolist() if pairs is not None else []


def parts(made: Split) -> tuple[Interactions, Interactions | None, Interactions | None]:
    test = made.test.open("a test") if made.test is not None else None
    valid, test = (None if part is None else part.pairs for part in (made.valid, test))
    return made.train.pairs, valid, test


@settings(deadline=None, max_examples=20)
@given(pairs=PAIRS, rule=st.sampled_from(RULES), seed=st.integers(0, 9))
def test_parts_are_disjoint_whole_and_independent_of_the_order_of_rows(
    pairs: set[tuple[int, int]], rule: SplitRule, seed: int
) -> None:
    def attempt(order: int) -> tuple[LoadedData, Split | str]:
        loaded = load(log(pairs, order))
        try:
            return loaded, split(loaded, rule)
        except InputError as error:  # too few rows before a point in time, or items for two halves
            return loaded, str(error)

    loaded, made = attempt(0)
    again = attempt(seed)[1]
    if isinstance(made, str):
        assert made == again
        return
    assert isinstance(again, Split)
    assert made.fingerprint == again.fingerprint
    found = [key for part in parts(made) for key in keys(part)]
    assert sorted(found) == sorted(loaded.dataset.pairs.key.tolist())
    assert f"{len(made.train.pairs)} / " in made.train.history[-1]


def naive_sizes(n: int, ratios: tuple[float, float, float]) -> tuple[int, int, int]:
    sizes = [0, int(n * ratios[1] + 1e-9), int(n * ratios[2] + 1e-9)]
    for part in (2, 1):
        if sizes[part] == 0 and ratios[part] > 0 and n - sizes[1] - sizes[2] > 1:
            sizes[part] = 1
    return n - sizes[1] - sizes[2], sizes[1], sizes[2]


@settings(deadline=None, max_examples=30)
@given(
    pairs=PAIRS,
    ratios=st.sampled_from(
        [(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.5, 0.0, 0.5), (0.9, 0.1, 0.0), (1.0, 0.0, 0.0)]
    ),
    order=st.sampled_from(["random", "time"]),
)
def test_ratio_sizes_of_every_user(
    pairs: set[tuple[int, int]], ratios: tuple[float, float, float], order: str
) -> None:
    data = load(log(pairs)).dataset.pairs
    part = by_ratio(data, ratios, order=order)
    for user in range(data.n_users):
        own = Counter(part[data.user == user].tolist())
        assert (own[0], own[1], own[2]) == naive_sizes(own.total(), ratios)


def test_small_users() -> None:
    assert [naive_sizes(n, (0.8, 0.1, 0.1)) for n in (1, 2, 3, 10, 30)] == [
        (1, 0, 0),
        (1, 0, 1),
        (1, 1, 1),
        (8, 1, 1),
        (24, 3, 3),
    ]


@settings(deadline=None, max_examples=30)
@given(pairs=PAIRS, k=st.integers(1, 4))
def test_last_k_against_the_naive_loop(pairs: set[tuple[int, int]], k: int) -> None:
    data = load(log(pairs)).dataset.pairs
    part = by_last(data, k)
    assert data.time is not None
    for user in range(data.n_users):
        rows = [int(row) for row in np.flatnonzero(data.user == user)]
        rows.sort(key=lambda row: (data.time[row], data.item[row]))
        expected, left = {}, rows
        for number in (2, 1):
            take = min(k, max(len(left) - 1, 0))
            expected |= dict.fromkeys(left[len(left) - take :], number)
            left = left[: len(left) - take]
        assert [part[row] for row in rows] == [expected.get(row, 0) for row in rows]


def test_time_order_puts_the_past_in_train() -> None:
    pairs = load(log({(user, item) for user in range(5) for item in range(12)})).dataset.pairs
    assert pairs.time is not None
    for part in (
        by_ratio(pairs, per="all", order="time"),
        by_time(pairs, 300, 700),
        by_time(pairs, "1970-01-01T00:05:00", "1970-01-01 00:11:40"),
    ):
        train, valid, test = (pairs.time[part == number] for number in range(3))
        assert train.max() <= valid.min()
        assert valid.max() <= test.min()
    part = by_time(pairs, 300, 700)
    assert (
        pairs.time[part == 0].max() < 300,
        pairs.time[part == 1].min() >= 300,
        pairs.time[part == 2].min() >= 700,
    ) == (True, True, True)
    assert (by_time(pairs, None, 700) == 1).sum() == 0
    for user in range(5):
        part, own = by_ratio(pairs, (0.5, 0.25, 0.25), order="time"), pairs.user == user
        assert Counter(part[own].tolist()) == {0: 6, 1: 3, 2: 3}
        assert pairs.time[own & (part == 0)].max() <= pairs.time[own & (part == 2)].min()


def test_new_items_leave_train_wholly() -> None:
    pairs = load(log({(user, item) for user in range(6) for item in range(20)})).dataset.pairs
    part = by_new_item(pairs, 0.3, seed=1)
    items = [set(pairs.item[part == number].tolist()) for number in range(3)]
    assert [len(each) for each in items] == [14, 3, 3]
    assert not items[0] & items[1]
    assert not items[0] & items[2]
    assert not items[1] & items[2]
    assert not np.array_equal(part, by_new_item(pairs, 0.3, seed=2))
    with pytest.raises(InputError, match="too few"):
        by_new_item(pairs, 0.05)


def test_warm_pairs_may_be_held_back_beside_new_items() -> None:
    pairs = load(
        log({(user, (3 * user + item) % 60) for user in range(20) for item in range(40)})
    ).dataset.pairs
    plain, part = by_new_item(pairs, 0.3, seed=1), by_new_item(pairs, 0.3, warm_share=0.2, seed=1)
    np.testing.assert_array_equal(part[plain != 0], plain[plain != 0])
    held = (plain == 0) & (part != 0)
    assert {1, 2} == set(part[held])
    assert set(pairs.item[held]) <= set(pairs.item[plain == 0])
    for user in np.unique(pairs.user):
        mine = (pairs.user == user) & (plain == 0)
        assert abs(held[mine].sum() - 0.2 * mine.sum()) <= 2


def test_seeds_matter_and_repeat() -> None:
    pairs = load(log({(user, item) for user in range(6) for item in range(20)})).dataset.pairs
    assert np.array_equal(by_ratio(pairs, seed=4), by_ratio(pairs, seed=4))
    assert not np.array_equal(by_ratio(pairs, seed=4), by_ratio(pairs, seed=5))


def test_every_row_is_as_likely_to_be_held_back() -> None:
    data = load(log({(user, item) for user in range(4) for item in range(10)})).dataset.pairs
    share = np.mean(
        [by_ratio(data, (0.5, 0.0, 0.5), seed=seed) == 2 for seed in range(400)], axis=0
    )
    assert np.abs(share - 0.5).max() < 5 * np.sqrt(0.25 / 400)


def test_large_times_and_groups_take_the_long_way() -> None:
    """Times too far apart for one sorting key split like close times in the same order."""
    near = load(
        log({(user, item) for user in range(6) for item in range(9)}).with_columns(
            time=pl.int_range(54)
        )
    ).dataset.pairs
    assert near.time is not None
    far = Interactions(
        near.user, near.item, near.n_users, near.n_items, time=(near.time - 27) * 2**57
    )
    assert np.array_equal(by_last(near, 2), by_last(far, 2))


def test_cold_users_are_dropped_and_counted() -> None:
    frame = pl.DataFrame({"user": [1, 1, 2, 1], "item": [1, 2, 1, 3], "time": [1, 2, 8, 9]})
    made = split(load(frame), SplitRule(by="time", test_from=5))
    assert made.test is not None
    assert len(made.test) == 1
    assert "1 test rows of users without train rows dropped" in made.rule
    kept = split(load(frame), SplitRule(by="time", test_from=5, drop_cold=False))
    assert kept.test is not None
    assert len(kept.test) == 2
    assert kept.valid is None


def test_presplit_and_a_valid_part_out_of_train(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(
        "\n".join(f"{user} " + " ".join(str(item) for item in range(10)) for user in range(4))
    )
    (tmp_path / "test.txt").write_text("0 10\n1 11\n")
    loaded = load(tmp_path)
    plain = split(loaded)
    assert (len(plain.train.pairs), plain.valid, plain.rule) == (40, None, "presplit")
    made = split(loaded, SplitRule(valid_share=0.2))
    assert made.valid is not None
    assert np.bincount(made.valid.pairs.user).tolist() == [2, 2, 2, 2]
    assert sorted(keys(made.train.pairs) + keys(made.valid.pairs)) == keys(loaded.dataset.pairs)
    assert presplit(loaded.dataset, None, None).test is None


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: SplitRule(ratios=(8, 1, 1)), "add up to 1"),
    (lambda: SplitRule(by="time"), "needs test_from"),
    (lambda: SplitRule(k=0), "k must be at least 1, got 0"),
    (lambda: SplitRule(by="random"), "by = 'random'"),
    (
        lambda: split(load(pl.DataFrame({"user": [1], "item": [1]})), SplitRule(by="last")),
        "needs times, which the data lacks",
    ),
    (
        lambda: split(load(pl.DataFrame({"user": [1], "item": [1]})), SplitRule(order="time")),
        "needs times",
    ),
    (
        lambda: split(load(pl.DataFrame({"user": [1], "item": [1]})), SplitRule(by="presplit")),
        "the source is one log",
    ),
    (
        lambda: split(load(log({(0, 0), (0, 1)})), SplitRule(by="time", test_from="soon")),
        "'soon' is not a point in time",
    ),
    (
        lambda: split(load(log({(0, 0), (0, 1)})), SplitRule(by="time", test_from=2.5)),
        "is not a fraction",
    ),
    (
        lambda: split(load(log({(0, 0), (0, 1)})), SplitRule(by="time", valid_from=9, test_from=5)),
        "is later than",
    ),
    (
        lambda: split(load(log({(0, 0), (0, 1)})), SplitRule(by="time", test_from=0)),
        "leaves no train row",
    ),
]


@pytest.mark.parametrize(("act", "said"), REFUSED)
def test_wrong_rules_are_one_clear_error(act: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        act()
    assert said in str(caught.value)


def test_a_rule_for_one_log_is_refused_on_presplit_files(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("user,item\n1,2\n")
    with pytest.raises(InputError, match="split already"):
        split(load(tmp_path), SplitRule(by="last"))


def test_libcml_sizes_by_hand() -> None:
    data = load(log({(0, item) for item in range(9)} | {(1, item) for item in range(5)})).dataset
    part, ids = libcml(data.pairs), data.users.ids.to_list()
    rows = [data.pairs.user == ids.index(user) for user in ("u0", "u1")]
    assert [Counter(part[mine].tolist()) for mine in rows] == [
        {0: 5, 1: 1, 2: 3},
        {0: 3, 1: 1, 2: 1},
    ]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("steam-200k", (67_653, 21_728, 25_758)), ("ml-100k-likes", (32_844, 10_696, 11_821))],
)
def test_libcml_is_the_released_split(
    shared_data: Path, name: str, sizes: tuple[int, int, int]
) -> None:
    if not (shared_data / name).is_dir():
        pytest.skip(f"{name} is not here")
    loaded = load(shared_data / name / "users.dat", min_user=5)
    made = split(loaded, SplitRule(by="libcml"))
    found = parts(made)
    assert tuple(len(part) for part in found if part is not None) == sizes
    for part, stored in zip(found, ("train", "val", "test"), strict=True):
        assert part is not None
        wanted = sp.load_npz(shared_data / name / f"user_{stored}_matrix.npz").tocsr()
        assert (by_id(part, loaded.dataset) != wanted).nnz == 0


def test_gowalla(shared_data: Path) -> None:
    if not (shared_data / "gowalla").is_dir():
        pytest.skip("gowalla is not here")
    made = split(
        load(
            shared_data / "gowalla",
            train="train_inner.txt",
            valid="valid_inner.txt",
            test="test.txt",
        )
    )
    assert tuple(len(part) for part in parts(made) if part is not None) == (
        719_081,
        91_047,
        217_242,
    )
    assert (made.train.n_users, made.train.n_items, made.rule) == (29_858, 40_981, "presplit")
    assert len(made.refit().train.pairs) == 810_128


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"warm_share": 0.2},
            "warm_share has no effect with by = 'auto'; it is for by = 'new-item'",
        ),
        ({"by": "ratio", "new_items": 0.5}, "new_items has no effect with by = 'ratio'"),
        (
            {"by": "last", "ratios": (0.5, 0.25, 0.25)},
            "it is for by = 'ratio' or 'session' or 'basket'; leave it out",
        ),
        ({"by": "ratio", "k": 2}, "k has no effect with by = 'ratio'"),
        ({"by": "ratio", "test_from": 0.8}, "test_from has no effect"),
        ({"by": "ratio", "valid_share": 0.1}, "valid_share has no effect"),
    ],
)
def test_settings_of_another_rule_are_refused(settings, said):
    with pytest.raises(InputError, match=re.escape(said)):
        SplitRule(**settings)


def test_settings_that_the_data_have_no_use_for_are_refused(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text(
            "\n".join(f"{user} {user} {user + 1}" for user in range(4))
        )
    whole = load(tmp_path, train="train.txt", valid="valid.txt", test="test.txt")
    one = load(pl.DataFrame({"user": [1, 1, 1], "item": [1, 2, 3]}))
    with pytest.raises(
        InputError,
        match=re.escape(
            "[split]: ratios has no effect with by = 'auto' on data that are split already"
        ),
    ):
        split(whole, SplitRule(ratios=(0.5, 0.25, 0.25)))
    with pytest.raises(
        InputError,
        match=re.escape(
            "[split]: valid_share has no effect with by = 'auto' on one log; it is for by"
        ),
    ):
        split(one, SplitRule(valid_share=0.1))
    with pytest.raises(InputError, match="valid_share is for data without a valid part"):
        split(whole, SplitRule(valid_share=0.1))


def test_parts_that_are_split_already_can_be_joined_and_split_again(tmp_path):
    rows = {"train": [(0, 1), (0, 2), (1, 1), (2, 3)], "valid": [(1, 2), (2, 1)], "test": [(0, 3)]}
    for name, pairs in rows.items():
        text = "user,item\n" + "".join(f"u{user},i{item}\n" for user, item in pairs)
        (tmp_path / f"{name}.csv").write_text(text)
    files = {name: str(tmp_path / f"{name}.csv") for name in rows}
    loaded = load(Source(**files))
    joined = split(loaded, SplitRule(by="new-item", new_items=0.7, join_parts=True))
    every = {(f"u{user}", f"i{item}") for pairs in rows.values() for user, item in pairs}
    parts = [joined.train.pairs, joined.valid.pairs, joined.test.open("test").pairs]
    users, items = loaded.dataset.users.ids, loaded.dataset.items.ids
    seen = [
        (users[int(user)], items[int(item)])
        for part in parts
        for user, item in zip(part.user, part.item, strict=True)
    ]
    assert set(seen) <= every
    assert len(seen) == len(set(seen))
    held_out = {item for part in parts[1:] for item in part.item.tolist()}
    assert held_out
    assert not held_out & set(joined.train.pairs.item.tolist())
    with pytest.raises(InputError, match="by = 'new-item' splits one log"):
        split(loaded, SplitRule(by="new-item"))


def test_joining_one_log_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\na,x\na,y\nb,x\n")
    with pytest.raises(InputError, match="join_parts has no effect"):
        split(load(tmp_path / "log.csv"), SplitRule(join_parts=True))
