"""Types of ids: what two ids are the same, wherever they come from."""

from __future__ import annotations

import decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from recsys.data.ids import (
    ids_of,
    lookup_ids,
    match_id_type,
    read_id_column,
    requested_ids,
    require_id_type,
    unify_id_types,
    whole_numbers,
)
from recsys.data.raw_parts import RawParts
from recsys.errors import InputError

NUMBERS = pl.Series("user", [7, 8, 9])
TEXTS = pl.Series("user", ["7", "8", "x"])


def place(row: int) -> str:
    return f"log.csv, line {row + 2}"


@pytest.mark.parametrize(
    ("values", "result"),
    [
        (pl.Series([3, 1], dtype=pl.UInt8), [3, 1]),
        (pl.Series([2**63, 1], dtype=pl.UInt64), [str(2**63), "1"]),
        (pl.Series([3.0, None, 1.0]), [3, None, 1]),
        (pl.Series([3.5, 1.0]), ["3.5", "1.0"]),
        (pl.Series([float("nan"), 2.0]), [None, 2]),
        (pl.Series([decimal.Decimal("4.00"), decimal.Decimal("5.00")]), [4, 5]),
        (pl.Series(["a", "", None]), ["a", None, None]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
    ],
)
def test_a_column_of_ids_becomes_integers_or_text(values: pl.Series, result: list[Any]) -> None:
    ids = read_id_column(values, place, "user")
    assert ids.to_list() == result
    assert ids.dtype in (pl.Int64, pl.String)


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([1.0, 2.0**53]),
        pl.Series([1.0, 2.0**24], dtype=pl.Float32),
        pl.Series(["1", "7.6562E+16"]),
    ],
)
def test_an_id_that_lost_digits_is_an_error_with_its_row(values: pl.Series) -> None:
    with pytest.raises(InputError, match="lost digits") as caught:
        read_id_column(values, place, "user")
    assert caught.value.place == "log.csv, line 3, column 'user'"
    below = values.head(1)
    assert read_id_column(below, place, "user").to_list() in ([1], ["1"])


@pytest.mark.parametrize(
    ("text", "strip", "result"),
    [
        (["7", "-8"], False, [7, -8]),
        (["7", None], False, [7, None]),
        (["7", "008"], False, ["7", "008"]),
        (["+7"], False, ["+7"]),
        (["7.0", "8.0"], False, ["7.0", "8.0"]),
        (["7.0", "8.0"], True, [7, 8]),
        (["7.0", "8"], True, ["7.0", "8"]),
        (["7.0", "x.0"], True, ["7.0", "x.0"]),
        ([None, None], True, [None, None]),
        ([str(2**63)], False, [str(2**63)]),
    ],
)
def test_text_becomes_integers_if_every_value_is_spelt_as_one(
    text: list[str | None], strip: bool, result: list[Any]
) -> None:
    series = pl.Series("id", text, dtype=pl.String)
    numbers = whole_numbers(series, strip_zero_fraction=strip)
    assert numbers.to_list() == result
    assert numbers.name == "id"


def test_columns_of_two_types_become_text_and_keep_their_meaning() -> None:
    first, second = unify_id_types([NUMBERS, pl.Series("user", ["7.0", "x.0", "07.0", "-3.0"])])
    assert first.to_list() == ["7", "8", "9"]
    assert second.to_list() == ["7", "x.0", "07.0", "-3"]
    same = unify_id_types([NUMBERS, NUMBERS])
    assert [column.dtype for column in same] == [pl.Int64, pl.Int64]


def test_raw_parts_bring_ids_to_one_type() -> None:
    train = pl.DataFrame({"user": [1, 2], "item": [5, 6]})
    test = pl.DataFrame({"user": ["1.0", "b"], "item": [5, 7]})
    parts = RawParts(train=train, test=test)
    assert parts.frames["train"]["user"].to_list() == ["1", "2"]
    assert parts.frames["test"]["user"].to_list() == ["1", "b"]
    assert parts.frames["test"]["item"].dtype == pl.Int64
    assert list(parts.frames) == ["train", "test"]


@pytest.mark.parametrize(
    ("values", "known", "result"),
    [
        (["7", "x"], NUMBERS, [7, None]),
        ([7, 8], TEXTS, ["7", "8"]),
        ([7.0, 1.5], NUMBERS, [7, None]),
        (pl.Series(["7"], dtype=pl.Categorical), NUMBERS, [7]),
        (np.array([7, 9]), NUMBERS, [7, 9]),
    ],
)
def test_a_lookup_gives_null_for_what_cannot_be_an_id(
    values: Any, known: pl.Series, result: list[Any]
) -> None:
    ids = lookup_ids(values, known.dtype)
    assert ids.to_list() == result
    assert ids.dtype == known.dtype


@pytest.mark.parametrize(
    ("ids", "known", "result"),
    [
        ([7, 8], NUMBERS, [7, 8]),
        (["7", "8.0"], NUMBERS, [7, 8]),
        ([7.0], NUMBERS, [7]),
        (["7", "x"], NUMBERS, ["7", "x"]),
        ([7], TEXTS, ["7"]),
        (pd.Series([7.0, 8.0]), TEXTS, ["7", "8"]),
        (pd.Index(["7", "x"]), TEXTS, ["7", "x"]),
        (pd.Series(["7", "8"], dtype=object), NUMBERS, [7, 8]),
    ],
)
def test_ids_of_a_request_take_the_type_of_the_known_ids(
    ids: Any, known: pl.Series, result: list[Any]
) -> None:
    assert match_id_type(ids, known.dtype, "users").to_list() == result
    requested = requested_ids(known, ids)
    assert requested.to_list() == result
    assert requested.name == "user"


def test_no_request_means_all_users() -> None:
    assert requested_ids(TEXTS, None).to_list() == ["7", "8", "x"]


@pytest.mark.parametrize(
    ("ids", "cause"),
    [
        ("abc", "str cannot be read as a list of ids"),
        ([[1], [2]], "expected ids, got List"),
        ([1, None], "1 of 2 ids is missing"),
        (["a", ""], "1 of 2 ids is missing"),
        ([1.0, float("nan")], "1 of 2 ids is missing"),
        (pd.Series([1.0, None]), "1 of 2 ids is missing"),
    ],
)
def test_what_is_not_a_list_of_ids_is_an_error(ids: Any, cause: str) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        match_id_type(ids, NUMBERS.dtype, "candidates")
    assert caught.value.place == "candidates"


def test_an_id_of_another_type_is_named() -> None:
    assert require_id_type(pl.Series(["7", "8"]), NUMBERS.dtype, "new items").to_list() == [7, 8]
    with pytest.raises(InputError, match=r"new items: id 'x' is not a valid Int64.*as in training"):
        require_id_type(pl.Series(["7", "x"]), NUMBERS.dtype, "new items")


def test_ids_of_a_feature_table_are_text_or_integers() -> None:
    assert ids_of(pl.Series("item", [1.0, 2.0]), "text.parquet").to_list() == [1, 2]
    assert ids_of(pl.Series("item", ["a"], dtype=pl.Categorical), "t").dtype == pl.String
    with pytest.raises(InputError, match="'item' holds Float64, not ids"):
        ids_of(pl.Series("item", [1.5]), "text.parquet")
    with pytest.raises(InputError, match="1 of 2 ids is missing"):
        ids_of(pl.Series("item", ["a", None]), "text.parquet")
