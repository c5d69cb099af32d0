"""What counts as a positive: weights against naive loops and pandas, in every format alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings

from recsys.data import catalog
from recsys.data.load import LoadedData, load
from recsys.data.numbering import dataset
from recsys.data.prepare import duplicates, k_core, min_user, positives, prepare, window
from recsys.data.reading import RawParts, Source
from recsys.data.types import Interactions
from recsys.errors import InputError

# user, item, weight; by hand, the pairs above 0 are (0, 0), (1, 2) and (2, 2).
ROWS = [(0, 0, 5.0), (0, 1, 0.0), (1, 0, -2.0), (1, 2, 4.0), (2, 1, 0.0), (2, 2, 0.5)]
POSITIVES = [("0", "0"), ("1", "2"), ("2", "2")]
NOT_NEGATIVE = [("0", "0"), ("0", "1"), ("1", "2"), ("2", "1"), ("2", "2")]


def pairs_of(loaded: LoadedData, part: Interactions | None = None) -> list[tuple[str, str]]:
    data = loaded.dataset
    pairs = part or data.pairs
    users, items = (pl.Series(vocab.ids).cast(pl.String) for vocab in (data.users, data.items))
    return sorted(
        (users[int(user)], items[int(item)])
        for user, item in zip(pairs.user, pairs.item, strict=True)
    )


def polars_log() -> pl.DataFrame:
    return pl.DataFrame(ROWS, schema=["user", "item", "rating"], orient="row")


def written(form: str, folder: Path) -> Any:
    """The rows in one of the forms that carry a weight."""
    frame, path = polars_log(), folder / "log"
    if form == "polars":
        return frame
    if form == "pandas":
        return pd.DataFrame(ROWS, columns=["user", "item", "rating"])
    if form == "csv":
        frame.write_csv(path := path.with_suffix(".csv"))
    elif form == "csv without header":
        frame.write_csv(path := path.with_suffix(".csv"), include_header=False)
    elif form == "tsv":
        frame.write_csv(path := path.with_suffix(".tsv"), separator="\t")
    elif form == "inter":
        typed = {"user": "user_id:token", "item": "item_id:token", "rating": "rating:float"}
        frame.rename(typed).write_csv(path := path.with_suffix(".inter"), separator="\t")
    elif form in ("Float64", "Float32"):
        cast = frame.with_columns(pl.col("rating").cast(getattr(pl, form)))
        cast.write_parquet(path := path.with_suffix(".parquet"))
    else:
        user, item, weight = (np.array(column) for column in zip(*ROWS, strict=True))
        matrix = sp.coo_matrix((weight, (user, item)), shape=(3, 3)).asformat(form)
        sp.save_npz(path := path.with_suffix(".npz"), matrix)
    return path


FORMS = [
    *("polars", "pandas", "csv", "csv without header", "tsv", "inter"),
    *("Float64", "Float32", "coo", "csr", "csc"),
]


@pytest.mark.parametrize("form", FORMS)
def test_zeros_and_negatives_are_positives_only_when_asked_for(form: str, tmp_path: Path) -> None:
    source = written(form, tmp_path)
    plain = load(source)
    assert pairs_of(plain) == POSITIVES
    assert plain.dataset.history[-1] == "weight above 0 (no min_weight is set): 6 -> 3 rows"
    assert pairs_of(load(source, min_weight=0)) == NOT_NEGATIVE
    everything = load(source, min_weight=-2)
    assert len(everything.dataset.pairs) == 6
    assert everything.dataset.history[-1] == "min_weight -2: 6 -> 6 rows"
    assert pairs_of(load(source, min_weight=0.5)) == POSITIVES
    assert pairs_of(load(source, min_weight=0.6)) == POSITIVES[:2]


def test_parts_that_are_made_already_lose_their_zeros_each(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("user,item,rating\n1,1,1\n1,2,0\n2,2,3\n")
    (tmp_path / "valid.csv").write_text("user,item,rating\n1,3,-1\n2,3,2\n")
    (tmp_path / "test.csv").write_text("user,item\n2,1\n")
    loaded = load(tmp_path)
    assert loaded.parts is not None
    valid, test = loaded.parts
    assert valid is not None
    assert test is not None
    assert pairs_of(loaded) == [("1", "1"), ("2", "2")]
    assert (pairs_of(loaded, valid), pairs_of(loaded, test)) == ([("2", "3")], [("2", "1")])
    assert [line for line in loaded.dataset.history if "above 0" in line] == [
        "train: weight above 0 (no min_weight is set): 3 -> 2 rows",
        "valid: weight above 0 (no min_weight is set): 2 -> 1 rows",
    ]


def test_a_log_of_zeros_alone_is_refused_and_told_why() -> None:
    frame = pl.DataFrame({"user": [1, 2], "item": [1, 2], "rating": [0, -3]})
    with pytest.raises(InputError, match=r"no interaction is left.*weight above 0.*2 -> 0 rows"):
        load(frame)
    assert len(load(frame, min_weight=-3).dataset.pairs) == 2


def test_labels_by_weight_keep_all_rows() -> None:
    """0 of a 0/1 column is what `clean_weight = 1` calls noise, not what it leaves out."""
    data = load(polars_log(), clean_weight=4).dataset
    assert data.pairs.clean is not None
    assert (len(data.pairs), int(data.pairs.clean.sum())) == (6, 2)
    limited = load(polars_log(), clean_weight=4, min_weight=0).dataset.pairs
    assert limited.clean is not None
    assert (len(limited), int(limited.clean.sum())) == (5, 2)


def test_an_entry_of_the_catalogue_whose_zeros_are_meant_asks_for_them() -> None:
    assert catalog.entry("book-crossing").read.min_weight == 0


# Sums

LOG = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(-3, 3), st.integers(0, 4)),
    min_size=1,
    max_size=40,
)


@settings(deadline=None)
@given(rows=LOG, least=st.sampled_from([None, -2, 0, 1, 2, 4]), timed=st.booleans())
def test_the_threshold_looks_at_the_sum(
    rows: list[tuple[int, int, int, int]], least: int | None, timed: bool
) -> None:
    sums: dict[tuple[str, str], int] = {}
    for user, item, weight, _ in rows:
        sums[str(user), str(item)] = sums.get((str(user), str(item)), 0) + weight
    right = {
        pair: weight
        for pair, weight in sums.items()
        if (weight > 0 if least is None else weight >= least)
    }
    frame = pl.DataFrame(rows, schema=["user", "item", "weight", "time"], orient="row")
    frame = frame if timed else frame.drop("time")
    if not right:
        with pytest.raises(InputError, match="no interaction is left"):
            load(frame, duplicates="sum", min_weight=least)
        return
    loaded = load(frame, duplicates="sum", min_weight=least)
    assert pairs_of(loaded) == sorted(right)
    weights = loaded.dataset.pairs.weight
    assert weights is not None
    assert sorted(weights.tolist()) == sorted(right.values())
    steps = [line.partition(":")[0] for line in loaded.dataset.history[1:]]
    assert steps == [
        *(["duplicates sum"] if len(sums) < len(rows) else []),
        *([f"min_weight {least}"] if least is not None else []),
        *(["weight above 0 (no min_weight is set)"] if least is None and right != sums else []),
    ]


@pytest.mark.parametrize("least", [None, 1, 4])
def test_a_purchase_that_was_returned_is_none(least: int | None) -> None:
    sales = pd.DataFrame(
        [
            ("c1", "p1", 6),
            ("c1", "p1", -6),
            ("c1", "p2", 2),
            ("c1", "p2", 3),
            ("c2", "p1", 1),
            ("c2", "p2", -4),
            ("c2", "p3", 5),
        ],
        columns=["user", "item", "quantity"],
    )
    net = sales.groupby(["user", "item"]).quantity.sum()
    loaded = load(sales, weight="quantity", duplicates="sum", min_weight=least)
    assert pairs_of(loaded) == sorted(net[net >= (least or 1)].index)


def test_presplit_parts_are_summed_and_limited_each() -> None:
    part = pl.DataFrame({"user": [1, 1, 2], "item": [1, 1, 1], "weight": [2.0, 2.0, 3.0]})
    parts = prepare(RawParts(train=part, test=part), Source(duplicates="sum", min_weight=4))
    assert parts.train is not None
    assert parts.train.rows() == [(1, 1, 4.0)]
    assert parts.history[-1] == "test: min_weight 4: 2 -> 1 rows"


def test_what_is_left_of_a_sum_by_rounding_is_nothing() -> None:
    back = [("a", 0.1), ("a", 0.2), ("a", -0.3), ("b", 10.1), ("b", 20.2), ("b", -30.3), ("c", 0.1)]
    frame = pl.DataFrame(back, schema=["item", "weight"], orient="row").with_columns(user=1)
    assert 0.1 + 0.2 - 0.3 > 0, "what a plain sum makes of it"
    assert pairs_of(load(frame, duplicates="sum")) == [("1", "c")]
    small = pl.DataFrame({"user": [1, 1], "item": [1, 1], "weight": [1e-300, 1e-300]})
    assert len(load(small, duplicates="sum").dataset.pairs) == 1


def test_counts_are_the_weights_of_a_log_without_any() -> None:
    frame = pl.DataFrame({"user": [1, 1, 2, 1], "item": [7, 7, 7, 7]})
    assert pairs_of(load(frame, duplicates="sum", min_weight=2)) == [("1", "7")]


# First and last


def test_the_last_word_on_an_item_counts() -> None:
    """A like that was taken back (0 at the end) is none; one that came back is one."""
    frame = pl.DataFrame(
        [("a", 1, 1, 10), ("a", 1, 0, 20), ("b", 1, 0, 10), ("b", 1, 1, 20), ("c", 1, 1, 5)],
        schema=["user", "item", "weight", "time"],
        orient="row",
    )
    assert pairs_of(load(frame, duplicates="last")) == [("b", "1"), ("c", "1")]
    assert pairs_of(load(frame.reverse(), duplicates="last")) == [("b", "1"), ("c", "1")]


def test_the_first_is_that_of_the_rows_that_count() -> None:
    frame = pl.DataFrame(
        [("a", 1, 0, 10), ("a", 1, 3, 20), ("a", 1, 5, 30)],
        schema=["user", "item", "weight", "time"],
        orient="row",
    )
    for least, weight, time in ((None, 3, 20), (4, 5, 30), (0, 0, 10)):
        pairs = load(frame, min_weight=least).dataset.pairs
        assert pairs.weight is not None
        assert pairs.time is not None
        assert (pairs.weight.tolist(), pairs.time.tolist()) == ([weight], [time])
    with pytest.raises(InputError, match="more than once"):
        load(frame, duplicates="error")
    assert len(load(frame, duplicates="error", min_weight=4).dataset.pairs) == 1


# Precision

NEAR = [16_777_215, 16_777_216, 16_777_217, 16_777_218]  # float32 has no 16777217


@pytest.mark.parametrize("form", ["csv", "Int64", "Float64", "npz", "pandas", "polars"])
def test_neighbours_that_float32_would_merge_stay_apart(form: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": [0, 1, 2, 3], "item": [0, 0, 0, 0], "weight": NEAR})
    source: Any = tmp_path / "log.csv"
    if form == "csv":
        frame.write_csv(source)
    elif form in ("Int64", "Float64"):
        source = source.with_suffix(".parquet")
        frame.with_columns(pl.col("weight").cast(getattr(pl, form))).write_parquet(source)
    elif form == "npz":
        source = source.with_suffix(".npz")
        sp.save_npz(source, sp.csr_matrix(np.array(NEAR)[:, None]))
    else:
        source = pd.DataFrame(frame.to_dict(as_series=False)) if form == "pandas" else frame
    for limit in NEAR:
        loaded = load(source, min_weight=limit)
        assert pairs_of(loaded) == [
            (str(user), "0") for user, weight in enumerate(NEAR) if weight >= limit
        ]
        assert loaded.dataset.history[-1].startswith(f"min_weight {limit}: 4 -> ")
    weights = load(source).dataset.pairs.weight
    assert weights is not None
    assert sorted(weights.tolist()) == NEAR


def test_sums_and_labels_are_exact_too() -> None:
    frame = pl.DataFrame(
        {"user": [1, 1, 2], "item": [1, 1, 1], "weight": [16_777_216, 1, 16_777_216]}
    )
    assert pairs_of(load(frame, duplicates="sum", min_weight=16_777_217)) == [("1", "1")]
    labels = load(frame, duplicates="sum", clean_weight=16_777_217).dataset.pairs.clean
    assert labels is not None
    assert labels.tolist() == [1, 0]


@pytest.mark.parametrize("limit", [0.1, 0.3, 0.7, 2.3, 4.7])
def test_a_float32_column_reaches_the_limit_that_its_text_reaches(
    limit: float, tmp_path: Path
) -> None:
    frame = pl.DataFrame({"user": [1, 2], "item": [1, 1], "weight": [limit, limit - 0.05]})
    single = frame.with_columns(pl.col("weight").cast(pl.Float32))
    assert single["weight"].cast(pl.Float64).to_list()[0] != limit, "as a plain cast has it"
    single.write_parquet(tmp_path / "a.parquet")
    frame.write_csv(tmp_path / "a.csv")
    matrix = sp.csr_matrix(np.array([[limit, limit - 0.05]], dtype=np.float32).T)
    sp.save_npz(tmp_path / "a.npz", matrix)
    for source in (tmp_path / "a.parquet", tmp_path / "a.csv", tmp_path / "a.npz", single, frame):
        assert len(load(source, min_weight=limit).dataset.pairs) == 1, source


# Matrices


def test_an_entry_that_a_matrix_stores_twice_is_the_sum(tmp_path: Path) -> None:
    user, item, weight = [0, 0, 0, 0, 1], [0, 0, 1, 1, 1], np.array([6, -6, 2, 3, 1], dtype=np.int8)
    matrix = sp.coo_matrix((weight, (user, item)), shape=(2, 2))
    sp.save_npz(tmp_path / "m.npz", matrix)
    dense = matrix.toarray()
    loaded = load(tmp_path / "m.npz")
    right = sorted((str(u), str(i)) for u, i in np.argwhere(dense > 0))
    assert pairs_of(loaded) == right == [("0", "1"), ("1", "1")]
    assert any("5 -> 3" in line for line in loaded.dataset.history)
    kept = load(tmp_path / "m.npz", min_weight=2).dataset.pairs.weight
    assert kept is not None
    assert kept.tolist() == [5]


# The order of the rows

STEPS = {
    "first": lambda frame: duplicates(frame, "first"),
    "last": lambda frame: duplicates(frame, "last"),
    "sum": lambda frame: duplicates(frame, "sum"),
    "positives": positives,
    "limit": lambda frame: positives(frame, 2),
    "min_user": lambda frame: min_user(frame, 2),
    "k_core": lambda frame: k_core(frame, 2, 2),
    "window": lambda frame: window(frame, 1, 3),
}


@settings(deadline=None)
@given(rows=LOG)
@pytest.mark.parametrize("step", list(STEPS))
def test_preparation_keeps_the_order_of_the_rows(
    step: str, rows: list[tuple[int, int, int, int]]
) -> None:
    frame = pl.DataFrame(rows, schema=["user", "item", "weight", "time"], orient="row")
    frame = frame.with_columns(pl.Series("place", np.arange(len(rows))))
    kept = STEPS[step](frame)[0]["place"].to_list()
    assert kept == sorted(kept)


def test_equal_times_stay_in_the_order_of_the_file_beside_repeated_pairs() -> None:
    frame = pl.DataFrame(
        {"user": [1] * 5, "item": list("qaqbc"), "time": [5] * 5, "weight": [1.0] * 5}
    )
    for how, right in (("first", "qabc"), ("last", "aqbc"), ("sum", "qabc")):
        parts = prepare(RawParts(all=frame), Source(duplicates=how))  # type: ignore[arg-type]
        assert parts.all is not None
        assert "".join(parts.all["item"]) == right
        data, _ = dataset(parts)
        assert data.pairs.order is not None
        order = np.argsort(data.pairs.order)
        assert "".join(data.items.ids.to_list()[i] for i in data.pairs.item[order]) == right
