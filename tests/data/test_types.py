"""The nouns of the data."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.types import (
    Dataset,
    FeatureTable,
    HeldOut,
    Interactions,
    Sealed,
    Split,
    Vocab,
    join,
)
from recsys.errors import InputError


def pairs(**columns: object) -> Interactions:
    return Interactions(
        **{
            "user": np.array([0, 1, 1, 0]),
            "item": np.array([2, 0, 1, 2]),
            "n_users": 3,
            "n_items": 4,
        }
        | columns
    )


def held(**columns: object) -> HeldOut:
    return HeldOut.of_pairs(pairs(**columns))


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=1),
    st.lists(st.text(max_size=2), max_size=5),
)
def test_text_ids_come_back(ids, others):
    vocab = Vocab.of(pl.Series("user", ids), "user")
    assert vocab.ids.to_list() == sorted(set(ids), key=lambda text: text.encode())
    rows = vocab.rows(ids)
    assert rows.dtype == np.int32
    assert [vocab.ids[int(row)] for row in rows] == ids
    assert vocab.rows(others).tolist() == [
        vocab.ids.to_list().index(other) if other in ids else -1 for other in others
    ]


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1), st.lists(st.integers(-5, 5), max_size=5))
def test_integer_ids_come_back_as_numbers_and_as_text(ids, others):
    vocab = Vocab.of(pl.Series(ids))
    assert vocab.ids.to_list() == sorted(set(ids))
    expected = [sorted(set(ids)).index(i) for i in ids]
    assert (
        vocab.rows(ids).tolist()
        == vocab.rows([str(i) for i in ids]).tolist()
        == vocab.rows(np.array(ids)).tolist()
        == expected
    )
    assert vocab.rows(others).tolist() == [
        sorted(set(ids)).index(i) if i in ids else -1 for i in others
    ]


def test_text_ids_match_numbers():
    vocab = Vocab.of(pl.Series(["10", "9", "a"]))
    assert vocab.rows([9, 10, 11]).tolist() == [1, 0, -1]


@pytest.mark.parametrize("ids", [["1", "2", "3"], [1, 2, 3]])
@pytest.mark.parametrize(
    "wanted",
    [
        pl.Series(["3", "x", "1"], dtype=pl.Categorical),
        pl.Series(["3", "x", "1"], dtype=pl.Enum(["1", "3", "x"])),
        pd.Series(["3", "x", "1"], dtype="category"),
    ],
)
def test_categories_are_their_texts(ids, wanted):
    assert Vocab(pl.Series(ids)).rows(wanted).tolist() == [2, -1, 0]
    assert Vocab(pl.Series(ids)).rows(pd.Series([3, 9, 1], dtype="category")).tolist() == [2, -1, 0]


def test_what_is_no_id_has_no_row():
    vocab = Vocab.range(3)
    assert vocab.rows([1.0, 1.5, float("nan"), None, 7.0, 1e300]).tolist() == [
        1,
        -1,
        -1,
        -1,
        -1,
        -1,
    ]
    assert vocab.rows(["1", "x", "", None]).tolist() == [1, -1, -1, -1]
    assert vocab.rows([]).tolist() == []
    assert Vocab.of(pl.Series([None, 3, 3, None, 1])).ids.to_list() == [1, 3]


def test_an_unknown_id_is_named_with_its_neighbour():
    vocab = Vocab.of(pl.Series(["alice", "bob"]), "user")
    assert vocab.require(["bob", "alice"]).tolist() == [1, 0]
    with pytest.raises(InputError) as caught:
        vocab.require(["bob", "alcie", "zed"], "users.csv: line 3")
    assert (
        str(caught.value)
        == "users.csv: line 3: unknown user 'alcie' (2 of 3 are unknown); did you mean 'alice'?"
    )
    with pytest.raises(InputError, match="check the id"):
        vocab.require(["999999"])
    with pytest.raises(InputError, match="unknown id 5"):
        Vocab.range(0).require(np.array([5]))


def test_interactions_have_one_type_and_cannot_be_written():
    met = pairs(time=np.arange(4.0), weight=[1, 2, 3, 4], clean=[True, False, True, True])
    assert [met.user.dtype, met.item.dtype, met.time.dtype, met.weight.dtype, met.clean.dtype] == [
        np.int32,
        np.int32,
        np.int64,
        np.float64,
        np.int8,
    ]
    assert len(met) == 4
    for column in (met.user, met.item, met.time, met.weight):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        met.n_users = 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"item": np.array([0, 1])},
        {"time": np.arange(3)},
        {"user": np.array([0, 1, 3, 0])},
        {"user": np.array([0, -1, 1, 0])},
        {"item": np.array([0, 1, 4, 0])},
        {"user": np.array([0, 1, 2**32, 0])},
        {"item": np.array([0, 1, -(2**32), 0])},
        {"weight": np.ones((4, 2))},
    ],
)
def test_rows_outside_the_vocabulary_are_refused(wrong):
    with pytest.raises(ValueError, match=r"rows must lie|has shape"):
        pairs(**wrong)


def test_the_matrix_merges_what_is_given_twice():
    matrix = pairs().csr
    assert matrix.dtype == np.float32
    assert matrix.has_sorted_indices
    assert matrix.toarray().tolist() == [[0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert pairs().key.tolist() == [2, 4, 5, 2]
    assert Interactions(np.array([2**17]), np.array([2**16]), 2**17 + 1, 2**17).key.tolist() == [
        2**34 + 2**16
    ]


def test_take_keeps_the_order_and_every_column():
    met = pairs(time=[10, 11, 12, 13], behaviour=[0, 1, 0, 1], behaviours=("view", "buy"))
    some = met.take(np.array([3, 0]))
    assert (
        some.user.tolist(),
        some.item.tolist(),
        some.time.tolist(),
        some.behaviour.tolist(),
    ) == ([0, 0], [2, 2], [13, 10], [1, 0])
    assert some.weight is None
    assert some.behaviours == ("view", "buy")
    assert (some.n_users, some.n_items) == (3, 4)
    assert met.take(np.array([True, False, False, True])).time.tolist() == [10, 13]
    assert len(met.take(np.array([], dtype=int))) == 0


def test_a_fingerprint_is_that_of_earlier_versions():
    """The first was computed when `clean` was still called `label`."""
    assert pairs(clean=[1, 0, 1, 1], time=[1, 2, 3, 4]).fingerprint == (
        "89a15ff81ba5dad4184a7adffe9d80bef242914023c82bbf5fc0ccf6567bb749"
    )
    # And this one when `order` was called `position`.
    ordered = pairs(order=[3, 1, 2, 0], time=[1, 1, 2, 2], clean=[1, 0, 1, 1])
    assert ordered.fingerprint == "774a5912af90999c25c0cb01830835f0197e1ba14109963a7423c7f110d3af9b"


def test_a_fingerprint_sees_every_column():
    several = [
        pairs(),
        pairs(n_users=5),
        pairs(n_items=6),
        pairs(user=[0, 1, 1, 1]),
        pairs(item=[2, 0, 1, 1]),
        pairs(time=[1, 2, 3, 4]),
        pairs(weight=[1, 2, 3, 4]),
        pairs(time=[1, 2, 3, 5]),
        pairs(clean=[1, 1, 1, 1]),
        pairs(behaviour=[0, 0, 0, 0], behaviours=("a",)),
        pairs(behaviour=[0, 0, 0, 0], behaviours=("b",)),
    ]
    assert len({met.fingerprint for met in several}) == len(several)
    assert pairs().fingerprint == pairs().fingerprint
    vocabs = [
        Vocab.range(3),
        Vocab.range(4),
        Vocab(pl.Series(["0", "1", "2"])),
        Vocab(pl.Series([2, 1, 0])),
    ]
    assert len({vocab.fingerprint for vocab in vocabs}) == len(vocabs)


def dataset(met: Interactions | None = None) -> Dataset:
    return Dataset(met or pairs(), Vocab.range(3), Vocab.range(4))


def test_a_dataset_over_other_pairs():
    data = dataset()
    other = data.with_pairs(pairs().take(np.array([0])), "one pair")
    assert (other.n_users, other.n_items, len(other.pairs), other.history) == (
        3,
        4,
        1,
        ("one pair",),
    )
    assert data.history == ()
    assert data.fingerprint != other.fingerprint


def test_a_feature_table_knows_its_shape():
    assert FeatureTable(np.zeros((3, 5), np.float32), np.ones(3, bool)).dim == 5
    for values, present in ((np.zeros(3), np.ones(3, bool)), (np.zeros((3, 2)), np.ones(2, bool))):
        with pytest.raises(ValueError, match="do not belong"):
            FeatureTable(values, present)


def test_a_fingerprint_sees_features_and_where_they_are_missing():
    values, there = (
        np.arange(8, dtype=np.float32).reshape(4, 2),
        np.array([True, True, False, True]),
    )
    one, other = FeatureTable(values, there), FeatureTable(values + np.float32(1e-3), there)
    tables = [
        {"a": one},
        {"a": other},
        {"b": one},
        {"a": FeatureTable(values, ~there)},
        {"a": FeatureTable(values.astype(np.float16), there)},
        {"a": FeatureTable(values.reshape(4, 2)[:, :1], there)},
        {"a": one, "b": other},
        {"b": other, "a": one},
        {},
    ]
    data = [replace(dataset(), features=features) for features in tables]
    assert len({each.fingerprint for each in data}) == len(tables)
    assert {each.pairs_fingerprint for each in data} == {dataset().fingerprint}
    splits = [Split(each, None, Sealed(held())) for each in data]
    assert len({each.fingerprint for each in splits}) == len(tables)
    assert {each.pairs_fingerprint for each in splits} == {splits[-1].fingerprint}
    again = Split(
        replace(dataset(), features={"a": FeatureTable(np.asfortranarray(values), there.copy())}),
        None,
        Sealed(held()),
    )
    assert again.fingerprint == splits[0].fingerprint
    assert splits[0].matches(splits[0].fingerprint)
    assert splits[0].matches(splits[-1].fingerprint), "begun before features counted"
    assert not splits[0].matches(splits[1].fingerprint)
    assert not splits[-1].matches(splits[0].fingerprint)
    assert (
        FeatureTable(np.zeros((0, 2), np.float32), np.zeros(0, bool)).fingerprint
        != FeatureTable(np.zeros((0, 3), np.float32), np.zeros(0, bool)).fingerprint
    )


def test_the_bytes_of_features_are_read_once():
    table = FeatureTable(np.ones((4, 2), np.float32), np.ones(4, bool))
    split = Split(replace(dataset(), features={"a": table}), held(), None)
    before = split.fingerprint
    table.values[:] = 2  # against the rules; what is not read again cannot notice
    assert Split(split.train.with_pairs(pairs()), held(), None).fingerprint == before
    assert split.refit().fingerprint != before


def test_every_opening_of_the_test_is_kept():
    sealed = Sealed(held())
    assert (len(sealed), sealed.openings) == (4, [])
    assert sealed.fingerprint == pairs().fingerprint
    assert sealed.openings == []
    assert sealed.open("final numbers") is sealed.open("verify")
    assert sealed.openings == ["final numbers", "verify"]
    assert repr(sealed) == "Sealed(4 interactions, opened 2 times)"


def test_a_split_joins_train_and_valid():
    valid, test = held(user=[2, 2, 2, 2], item=[0, 1, 2, 3]), Sealed(held())
    split = Split(dataset(), valid, test, "by ratio")
    joined = split.refit()
    assert joined.valid is None
    assert joined.test is test
    assert test.openings == []
    assert len(joined.train.pairs) == 8
    assert joined.train.pairs.user.tolist() == [0, 1, 1, 0, 2, 2, 2, 2]
    assert joined.train.history[-1] == "refit: train + valid = 8"
    assert joined.refit() is joined
    assert (
        len({split.fingerprint, joined.fingerprint, Split(dataset(), None, None).fingerprint}) == 3
    )


def test_join_drops_what_either_lacks():
    both = join(pairs(time=[1, 2, 3, 4], weight=[1, 1, 1, 1]), pairs(time=[5, 6, 7, 8]))
    assert both.time.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert both.weight is None
    assert len(both) == 8


def test_counts_of_users_and_items() -> None:
    """Repeated pairs count, and rows without interactions have a count of 0."""
    pairs = Interactions(np.array([0, 0, 2, 0]), np.array([1, 1, 3, 0]), n_users=4, n_items=5)
    np.testing.assert_array_equal(pairs.user_counts(), [3, 0, 1, 0])
    np.testing.assert_array_equal(pairs.item_counts(), [1, 2, 0, 1, 0])
    assert pairs.item_counts().dtype == np.int64
    data = Dataset(pairs, Vocab.range(4), Vocab.range(5))
    np.testing.assert_array_equal(data.item_counts, pairs.item_counts())
