"""Feature tables: files that are read, and tables that are made of texts and columns."""

from __future__ import annotations

import os
import resource
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from recsys.data.catalog import item_table
from recsys.data.features import (
    ColumnVectorizer,
    Encoder,
    encoder_of,
    feature_table,
    feature_tables,
    fit_columns,
    fit_texts,
    joined_texts,
    read_encoder,
    sha256_of_files,
    write_features,
)
from recsys.data.features.column_vectors import Scaling
from recsys.data.features.encoder import encoder_path
from recsys.data.load import load
from recsys.data.reading import Source
from recsys.data.types import Vocab
from recsys.errors import InputError
from recsys.nn.pretrained import image_vectors, images_of, sentence_vectors

ITEMS = Vocab(pl.Series([0, 2, 3]), "item")
NAMED = Vocab(pl.Series(["a", "b", "c"]), "item")
VALUES = np.arange(8, dtype=np.float16).reshape(4, 2)


# --- reading


def test_rows_by_number(tmp_path):
    path = tmp_path / "image_feat.npy"
    np.save(path, VALUES)
    found = feature_table(path, ITEMS)
    assert found.values.tolist() == VALUES[[0, 2, 3]].tolist()
    assert found.values.dtype == np.float32
    assert found.present.all()


@pytest.mark.parametrize("kind", ["npy", "txt", "txt with carriage returns"])
def test_rows_by_ids(tmp_path, kind):
    np.save(tmp_path / "f.npy", VALUES)
    if kind == "npy":
        np.save(tmp_path / "f.ids.npy", np.array(["c", "x", "a", "y"]))
    else:
        (tmp_path / "f.ids.txt").write_bytes(
            b"c\nx\na\ny" if kind == "txt" else b"c\r\nx\r\na\r\ny\r\n"
        )
    found = feature_table(tmp_path / "f.npy", NAMED)
    assert found.values.tolist() == [[4, 5], [0, 0], [0, 1]]
    assert found.present.tolist() == [True, False, True]


def test_a_row_of_nan_is_missing_and_never_read(tmp_path):
    values = VALUES.astype(np.float64)
    values[2] = np.nan
    np.save(tmp_path / "f.npy", values)
    found = feature_table(tmp_path / "f.npy", ITEMS)
    assert found.present.tolist() == [True, False, True]
    assert found.values[1].tolist() == [0, 0]
    values[3, 0] = np.nan
    np.save(tmp_path / "f.npy", values)
    with pytest.raises(InputError, match="not a finite"):
        feature_table(tmp_path / "f.npy", ITEMS)
    values[3] = 1e300  # no number in 32 bits
    np.save(tmp_path / "f.npy", values)
    with pytest.raises(InputError, match="not a finite"):
        feature_table(tmp_path / "f.npy", ITEMS)


def test_a_folder_with_an_array_per_item(tmp_path):
    for name, vector in (("a", [[1.0, 2.0]]), ("c", [3.0, 4.0]), ("other", [1.0])):
        np.save(tmp_path / f"{name}.npy", np.array(vector))
    found = feature_table(tmp_path, NAMED)
    assert found.values.tolist() == [[1, 2], [0, 0], [3, 4]]
    assert found.present.tolist() == [True, False, True]
    np.save(tmp_path / "b.npy", np.ones(3))
    with pytest.raises(InputError, match=r"differ in length: 2 in .*npy and 3 in b\.npy"):
        feature_table(tmp_path, NAMED)


def test_a_folder_of_more_items_than_files_may_be_open(tmp_path):
    """As `ulimit -n`: the limit stands a little above what is open now."""
    for item in range(300):
        np.save(tmp_path / f"{item}.npy", np.array([item, 1.0]))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 20, hard))
    try:
        found = feature_table(tmp_path, Vocab(pl.Series(range(300)), "item"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found.values.tolist() == [[item, 1] for item in range(300)]


@pytest.mark.parametrize(
    "kind", [pl.Categorical, pl.Enum(["3", "0"]), pl.Float64, pl.Decimal(10, 0), pl.UInt8]
)
@pytest.mark.parametrize("items", [ITEMS, Vocab(pl.Series(["0", "3"]), "item")])
def test_ids_of_any_column(tmp_path, kind, items):
    ids = pl.Series(["3", "0"]).cast(kind)
    pl.DataFrame({"item": ids, "values": [[1.0], [2.0]]}).write_parquet(tmp_path / "f.parquet")
    found = feature_table(tmp_path / "f.parquet", items)
    assert found.values[found.present].tolist() == [[2], [1]]


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ([[3], [0]], "'item' holds List(Int64), not ids"),
        ([{"a": 3}, {"a": 0}], "'item' holds Struct"),
        ([b"3", b"0"], "'item' holds Binary"),
        ([date(2020, 1, 1), date(2020, 1, 2)], "'item' holds Date"),
        ([True, False], "'item' holds Boolean"),
        ([1.5, 0.0], "'item' holds Float64"),
        ([3, None], "1 of 2 ids is missing"),
        ([3.0, float("nan")], "1 of 2 ids is missing"),
    ],
)
def test_ids_that_are_none(tmp_path, ids, says):
    path = tmp_path / "f.parquet"
    pl.DataFrame({"item": ids, "values": [[1.0], [2.0]]}).write_parquet(path)
    with pytest.raises(InputError) as caught:
        feature_table(path, ITEMS)
    assert says in str(caught.value)
    assert caught.value.place == str(path)


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (
            np.array(["a", "b"], dtype=object),
            "write it again by numpy.save as text, with .astype(str), or one a line in f.ids.txt",
        ),
        (np.array([b"a", b"b"]), "holds |S1, not ids"),
        (np.array(["2020-01-01"] * 2, dtype="datetime64[D]"), "holds datetime64[D], not ids"),
        (np.array([[1], [2]]), "has the shape [2, 1]; give one id for every row"),
    ],
)
def test_arrays_of_ids_that_are_none(tmp_path, ids, says):
    np.save(tmp_path / "f.npy", np.ones((2, 2)))
    np.save(tmp_path / "f.ids.npy", ids)
    with pytest.raises(InputError) as caught:
        feature_table(tmp_path / "f.npy", ITEMS)
    assert says in str(caught.value)
    assert caught.value.place == str(tmp_path / "f.ids.npy")


def test_a_value_that_is_no_number_is_somebodys(tmp_path):
    np.save(tmp_path / "f.npy", np.array([[1, 2], [np.inf, 2], [np.nan, 2], [1, 2]]))
    with pytest.raises(
        InputError, match="item 2 has a value in its vector that is not a finite number"
    ):
        feature_table(tmp_path / "f.npy", ITEMS)
    with pytest.raises(InputError, match=r"item 0 has .* \(2 of 3 items have\)"):
        feature_table(([3, 0, 2], np.array([[1.0, 2.0], [np.nan, 2.0], [np.inf, 2.0]])), ITEMS)


@pytest.mark.parametrize("kind", [pl.List(pl.Float32), pl.Array(pl.Float32, 2)])
def test_a_vector_that_is_null_is_missing(tmp_path, kind):
    pl.DataFrame(
        {"item": [0, 2], "values": pl.Series([None, [1.0, 2.0]], dtype=kind)}
    ).write_parquet(tmp_path / "f.parquet")
    found = feature_table(tmp_path / "f.parquet", ITEMS)
    assert found.present.tolist() == [False, True, False]
    assert found.values[1].tolist() == [1, 2]


def test_a_table_that_is_not_there(tmp_path):
    (tmp_path / "text.parquet").touch()
    for where in ({"text": "txt.parquet"}, "txt"):
        with pytest.raises(InputError, match=r"no such file or folder; .*text\.parquet"):
            feature_tables(where, tmp_path, ITEMS)


@pytest.mark.parametrize(
    ("array", "ids", "items", "match"),
    [
        (np.ones(3), None, ITEMS, "shape"),
        (np.ones((3, 2)), None, ITEMS, "3 rows and no ids"),
        (np.ones((3, 2)), None, NAMED, "not row numbers"),
        (np.ones((2, 2)), "a\n", NAMED, "1 ids for 2 rows"),
        (np.ones((2, 2)), "a\na\n", NAMED, "duplicate item id 'a'"),
        (np.array([[object()]]), None, ITEMS, "cannot be read as an array"),
        (np.array([["x", "y"]]), None, ITEMS, "not numbers"),
    ],
)
def test_bad_arrays(tmp_path, array, ids, items, match):
    np.save(tmp_path / "f.npy", array)
    if ids is not None:
        (tmp_path / "f.ids.txt").write_text(ids)
    with pytest.raises(InputError, match=match):
        feature_table(tmp_path / "f.npy", items)
    (tmp_path / "f.npy").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be read as an array"):
        feature_table(tmp_path / "f.npy", items)


def test_a_folder_of_modalities(tmp_path):
    np.save(tmp_path / "image_feat.npy", VALUES)
    np.save(tmp_path / "text_feat.npy", VALUES[:, :1])
    pl.DataFrame({"item": [2], "values": [[7.0]]}).write_parquet(tmp_path / "price.parquet")
    pl.DataFrame({"user": [2]}).write_parquet(tmp_path / "pairs.parquet")
    found = feature_tables(str(tmp_path), Path(), ITEMS)
    assert list(found) == ["image", "text", "price"]
    assert found["price"].present.tolist() == [False, True, False]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no feature table"):
        feature_tables("empty", tmp_path, ITEMS)
    with pytest.raises(InputError, match="not a folder"):
        feature_tables("image_feat.npy", tmp_path, ITEMS)
    with pytest.raises(InputError, match="no item of the data"):
        feature_tables({"price": "price.parquet"}, tmp_path, Vocab(pl.Series([8]), "item"))


def test_one_line_in_data(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\n1,0\n1,1\n2,1\n")
    np.save(tmp_path / "image_feat.npy", VALUES)
    found = load(str(tmp_path / "log.csv"), features={"image": "image_feat.npy"}).dataset
    assert found.features["image"].values.tolist() == [[0, 1], [2, 3]]
    built_in = load("online-retail").dataset
    assert set(built_in.features) == {"text", "price"}
    first = built_in.items.ids[0]
    pl.DataFrame({"item": [first], "values": [[1.0, 2.0, 3.0]]}).write_parquet(
        tmp_path / "p.parquet"
    )
    won = load("online-retail", features={"price": str(tmp_path / "p.parquet")}).dataset.features
    assert won["price"].dim == 3, "what is named wins over the catalogue"
    assert won["price"].present.sum() == 1
    assert won["text"].dim == 64


def test_beside_parts_that_are_given_one_by_one(tmp_path):
    for part in ("train", "test"):
        (tmp_path / f"{part}.csv").write_text("user,item\n1,0\n1,1\n2,1\n")
    np.save(tmp_path / "image_feat.npy", VALUES)
    parts = {part: str(tmp_path / f"{part}.csv") for part in ("train", "test")}
    found = load(Source(**parts), features={"image": "image_feat.npy"}).dataset
    assert found.features["image"].values.tolist() == [[0, 1], [2, 3]]


AT_HAND = {
    "a path": lambda folder: folder / "f.parquet",
    "polars": lambda _: pl.DataFrame({"item": [0, 2, 9], "values": [[1.0, 2.0], None, [5.0, 6.0]]}),
    "pandas": lambda _: pd.DataFrame(
        {"item": ["0", "2", "9"], "values": [np.array([1.0, 2.0]), None, np.array([5.0, 6.0])]}
    ),
    "pandas, kinds": lambda _: pd.DataFrame(
        {"item": pd.Categorical(["9", "0"]), "values": [[5, 6], [1, 2]]}
    ),
    "a pair": lambda _: ([9, 0], np.array([[5, 6], [1, 2]], dtype=np.float16)),
}


@pytest.mark.parametrize("kind", list(AT_HAND))
def test_features_at_hand(tmp_path, kind):
    AT_HAND["polars"](tmp_path).write_parquet(tmp_path / "f.parquet")
    log = pl.DataFrame({"user": [1, 1, 2], "item": [0, 2, 2]})
    found = load(log, features={"text": AT_HAND[kind](tmp_path)}).dataset.features["text"]
    assert found.present.tolist() == [True, False]
    assert found.values.tolist() == [[1, 2], [0, 0]]
    assert list(load(log, features=tmp_path).dataset.features) == ["f"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (3, "int is not a feature table"),
        (([1, 2], np.ones(2)), "2 ids and float64 [2]"),
        (([1], np.ones((2, 2))), "1 ids and float64 [2, 2]"),
        (pl.DataFrame({"id": [1]}), "is not a feature table"),
        (pd.DataFrame({"item": [1]}), "is not a feature table"),
        (pd.DataFrame({"item": [0], "values": ["words"]}), "`values` is String"),
        (([7], np.ones((1, 2))), "no item of the data is in the table of 'text'"),
    ],
)
def test_what_is_at_hand_and_no_feature_table(given, says):
    with pytest.raises(InputError) as caught:
        load(pl.DataFrame({"user": [1], "item": [0]}), features={"text": given})
    assert says in str(caught.value)
    assert caught.value.place == "features 'text'"


# --- making


def text_vectors(texts, dim, *, words=False):
    _, vectors, present = fit_texts(texts, dim, words=words)
    return vectors, present


def column_vectors(frame, *columns):
    fitted = fit_columns(frame, *columns)
    return *fitted.vectors(frame), fitted.words


def test_text_vectors_are_of_the_texts():
    texts = ["red tea cup", "red tea cups", "blue garden lamp", "blue garden lamps", None, "zzzqqq"]
    vectors, present = text_vectors(texts, 2)
    assert present.tolist() == [True] * 4 + [False] * 2, (
        "what shares no term with another text has no vector"
    )
    assert np.linalg.norm(vectors[:4], axis=1) == pytest.approx(1)
    assert not vectors[4:].any()
    close = vectors @ vectors.T
    assert close[0, 1] > 0.9
    assert close[2, 3] > 0.9
    assert abs(close[0, 2]) < 0.1
    again, _ = text_vectors(texts, 2)
    assert np.array_equal(vectors, again)
    moved, _ = text_vectors([texts[3], *texts[:3]], 2)
    np.testing.assert_allclose(moved, vectors[[3, 0, 1, 2]], atol=1e-5)


def test_text_vectors_are_those_of_a_dense_decomposition():
    """The same by another way: the singular value decomposition of the dense matrix."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rng = np.random.default_rng(0)
    texts = [
        " ".join(rng.choice(["red", "blue", "green", "white", "cup", "lamp", "bag", "tea"], 4))
        for _ in range(30)
    ]
    vectors, _ = text_vectors(texts, 3, words=True)
    dense = (
        TfidfVectorizer(analyzer="word", ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        .fit_transform(texts)
        .toarray()
    )
    left, size, _ = np.linalg.svd(dense)
    wanted = left[:, :3] * size[:3]
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs(vectors), np.abs(wanted), atol=1e-5)
    np.testing.assert_allclose(vectors @ vectors.T, wanted @ wanted.T, atol=1e-5)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("texts", "dim", "match"),
    [
        ([None, "a cup"], 1, "1 of 2 items have a text"),
        (["cup", "lamp"], 1, "no term occurs in two"),
        (["red cup", "red lamp", "red bag"], 128, "ask for 2 or fewer"),
    ],
)
def test_too_little_text(texts, dim, match):
    with pytest.raises(InputError, match=match):
        text_vectors(texts, dim)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(InputError, match=r"recsys\[features\]"):
        text_vectors(["a cup", "a lamp"], 1)


def test_joined_texts():
    frame = pl.DataFrame(
        {"title": ["cup ", None, " "], "year": [1, 2, None], "tags": [["a"], ["b"], []]}
    )
    assert joined_texts(frame, ["title"]) == ["cup", None, None]
    assert joined_texts(frame, ["title", "year"]) == ["cup 1", "2", None]
    with pytest.raises(InputError, match="did you mean 'title'"):
        joined_texts(frame, ["titel"])
    with pytest.raises(InputError, match="List"):
        joined_texts(frame, ["tags"])


def test_columns():
    frame = pl.DataFrame(
        {"price": ["1", "10", "100", None], "size": [1, 2, 3, None], "kind": ["b", "a", "b", None]}
    )
    vectors, present, words = column_vectors(frame, ["size"], ["price"], ["kind"])
    assert words == ["size", "log price", "kind = a", "kind = b"]
    assert present.tolist() == [True, True, True, False]
    edge = 1.5**0.5  # of -1, 0, 1
    np.testing.assert_allclose(
        vectors, [[-edge, -edge, 0, 1], [0, 0, 1, 0], [edge, edge, 0, 1], [0, 0, 0, 0]], atol=1e-6
    )
    vectors, present, _ = column_vectors(
        frame.with_columns(kind=pl.Series(["b", "a", "b", "a"])), ["size"], [], ["kind"]
    )
    assert present.all(), "an item that has one of the columns has the modality"
    assert vectors[3].tolist() == [0, 1, 0], "what it lacks stands at the mean"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({}, "no column is named"),
        ({"numeric": ["prise"]}, "did you mean 'price'"),
        ({"numeric": ["price"], "logged": ["price"]}, "named twice"),
        ({"numeric": ["word"]}, "row 1: 'x' is not a number"),
        ({"logged": ["zero"]}, "row 2: 0 is not above 0"),
        ({"numeric": ["same"]}, "the same for every item"),
        ({"numeric": ["far"]}, "not a finite number"),
        ({"categorical": ["same"]}, "has 1 categories"),
    ],
)
def test_bad_columns(settings, match):
    frame = pl.DataFrame(
        {
            "price": [1.0, 2.0],
            "word": ["x", "1"],
            "zero": [1, 0],
            "same": [5, 5],
            "far": [1.0, float("inf")],
        }
    )
    with pytest.raises(InputError, match=match):
        fit_columns(frame, **settings)


def test_item_tables(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text('item_id,title\n7,"cup, red"\n8,lamp\n')
    frame, ids = item_table(str(path))
    assert ids.to_list() == ["7", "8"]
    assert frame["title"].to_list() == ["cup, red", "lamp"]
    frame, ids = item_table("online-retail")
    assert {"description", "price"} <= set(frame.columns)
    assert len(ids) == 3659
    for text, match in (
        ("a,b\n1,2\n", "looks like the items"),
        ("item,b\n1,2\n1,3\n", "duplicate item id '1'"),
        ("item,b\n,2\n1,3\n", "1 of 2 ids"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=match):
            item_table(str(path))
    with pytest.raises(InputError, match="no such file"):
        item_table(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="did you mean 'online-retail'"):
        item_table("online-retial")
    path.write_text("item,b\n1,2\n")
    with pytest.raises(InputError, match=r"did you mean|known"):
        item_table(str(path), "c")


@pytest.mark.parametrize(
    ("name", "text", "line", "says"),
    [
        (
            "items.csv",
            "item,title,price\n1,red cup,2\n2,red lamp\n",
            3,
            "2 fields, and the first line has 3",
        ),
        (
            "items.csv",
            "item,title,price\n1,red cup, small,2\n",
            2,
            '4 fields, and the first line has 3; put a text that holds ","',
        ),
        ("items.csv", 'item,title,price\n1,"red\ncup",2\n\n2,"lamp, 5""",1,\n', 5, "4 fields"),
        ("items.csv", 'item,title,price\n1,"red cup,2\n2,lamp,3\n', 2, "2 fields"),
        ("items.tsv", "item\ttitle\n1\tred cup\t2\n", 2, "take the separator out"),
    ],
)
def test_ragged_item_tables(tmp_path, name, text, line, says):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        item_table(str(path))
    assert says in str(caught.value)
    assert caught.value.place == f"{path}, line {line}"


def test_even_item_tables(tmp_path):
    path, long = tmp_path / "items.csv", "word " * 50_000
    path.write_text(f'\ufeffitem,title\n1,"a ""cup"", red\nand blue"\n\n2,5" disk\n3,{long}\n4,\n')
    frame, ids = item_table(str(path))
    assert ids.to_list() == ["1", "2", "3", "4"]
    assert frame["title"].to_list() == ['a "cup", red\nand blue', '5" disk', long, None]


def test_what_is_written_can_be_read(tmp_path):
    path = write_features(
        tmp_path / "new" / "f.parquet",
        pl.Series("item", ["a", "b"]),
        np.array([[1.0, 2], [0, 0]]),
        np.array([True, False]),
    )
    found = feature_table(path, NAMED)
    assert found.present.tolist() == [True, False, False]
    assert found.values[0].tolist() == [1, 2]
    assert [file.name for file in path.parent.iterdir()] == ["f.parquet"]
    with pytest.raises(InputError, match=r"\.parquet"):
        write_features(tmp_path / "f.csv", pl.Series(["a"]), np.ones((1, 1)), np.array([True]))
    with pytest.raises(InputError, match="no item has a vector"):
        write_features(tmp_path / "g.parquet", pl.Series(["a"]), np.ones((1, 1)), np.array([False]))
    assert not (tmp_path / "g.parquet").exists()


# --- what was fitted, kept

WORDS = ["red", "blue", "green", "white", "cup", "lamp", "bag", "tea"]


@pytest.mark.parametrize("words", [False, True])
def test_fitted_terms_make_the_same_of_the_same_texts(words):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 4)) if at % 7 else None for at in range(40)]
    terms, vectors, present = fit_texts([*texts, "zzzqqq"], 3, words=words)
    again, there = terms.vectors([*texts[::-1], "zzzqqq", "yyyxxx"])
    np.testing.assert_allclose(again[:40][::-1], vectors[:40], atol=1e-5)
    assert there.tolist() == [*present[:40][::-1], False, False]
    assert not again[40:].any()
    assert np.linalg.norm(terms.vectors(["red cup"])[0]) == pytest.approx(1)
    assert terms.vectors([])[0].shape == (0, 3)


def test_fitted_columns_make_the_same_of_the_same_values():
    frame = pl.DataFrame(
        {"price": ["1", "10", "100", None], "size": [1, 2, 3, None], "kind": ["b", "a", "b", None]}
    )
    fitted = fit_columns(frame, ["size"], ["price"], ["kind"])
    vectors, _, _ = column_vectors(frame, ["size"], ["price"], ["kind"])
    again, there = fitted.vectors(frame[[2]])
    assert np.array_equal(again, vectors[[2]]), "alone, by the means and kinds of all"
    assert there.all()
    other = pl.DataFrame(
        {"price": [None, "10"], "size": [None, 2], "kind": ["new", "new"]},
        schema_overrides={"price": pl.String},
    )
    values, there = fitted.vectors(other)
    assert there.tolist() == [False, True], "a kind that was not met says nothing"
    np.testing.assert_allclose(values, np.zeros((2, 4)), atol=1e-7)
    with pytest.raises(InputError, match="row 1: 'x' is not a number"):
        fitted.vectors(other.with_columns(size=pl.lit("x")))
    with pytest.raises(InputError, match="no column 'kind'"):
        fitted.vectors(other.drop("kind"))


def test_an_encoder_is_kept_beside_its_table(tmp_path):
    made = Encoder(
        {"text": ["title"], "item": "sku"},
        {"terms": ["cup", "lämp"]},
        {"idf": np.array([1.0, 2.0]), "components": np.ones((1, 2), np.float32)},
    )
    path = write_features(
        tmp_path / "f.parquet", pl.Series(["a"]), np.ones((1, 1)), np.array([True]), made
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "f.encoder.safetensors",
        "f.parquet",
    ]
    kept = read_encoder(path)
    assert (kept.options, kept.fitted, kept.id) == (made.options, made.fitted, made.id)
    assert {name: array.tolist() for name, array in kept.arrays.items()} == {
        "idf": [1, 2],
        "components": [[1, 1]],
    }
    assert encoder_of(path) == made.id
    assert feature_table(path, NAMED).encoder == made.id
    assert Encoder({**made.options, "item": "id"}, made.fitted, made.arrays).id == made.id, (
        "where something lies does not matter"
    )
    other = Encoder(made.options, made.fitted, {**made.arrays, "idf": np.array([1.0, 2.5])})
    assert other.id != made.id
    write_features(
        tmp_path / "g.parquet",
        pl.Series(["a"]),
        np.ones((1, 1)),
        np.array([True]),
        other,
        keep=False,
    )
    assert not encoder_path(tmp_path / "g.parquet").exists()
    for write, match in (
        (lambda file: None, "encoder of the table is missing"),
        (lambda file: file.write_bytes(b"nonsense"), "not an encoder"),
        (
            lambda file: file.write_bytes(encoder_path(path).read_bytes()),
            r"did not make g\.parquet",
        ),
    ):
        write(encoder_path(tmp_path / "g.parquet"))
        with pytest.raises(InputError, match=match):
            read_encoder(tmp_path / "g.parquet")
    with pytest.raises(InputError, match="no such file"):
        read_encoder(tmp_path / "h.parquet")
    scaling = Scaling("price", True, 0.0, 1.0)
    assert ColumnVectorizer([scaling], {"kind": ["a"]}).words == ["log price", "kind = a"]


def test_the_id_of_an_encoder_is_that_of_earlier_versions():
    encoder = Encoder(
        {"text": ["title"], "item": "sku"},
        {"terms": ["cup", "lämp"]},
        {"idf": np.array([1.0, 2.0]), "components": np.ones((1, 2), np.float32)},
    )
    assert encoder.id == "482a4e17ff12fc922b724a7405d8878dbee5a1674e6c05f7b798e1cabb9d36b1"


def test_weights_are_known_by_their_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1")
    (tmp_path / "y").write_bytes(b"2")
    assert (
        sha256_of_files(tmp_path)
        == "e456b7d254e190a24997e37883a79a38510c924ebc089507c8c453c9d64c95d9"
    )
    before = sha256_of_files(tmp_path / "y")
    (tmp_path / "y").write_bytes(b"3")
    assert sha256_of_files(tmp_path / "y") != before
    with pytest.raises(InputError, match="no such file or folder"):
        sha256_of_files(tmp_path / "gone")


def test_a_table_that_cannot_be_written_keeps_the_old_one(tmp_path, monkeypatch):
    ids, present = pl.Series(["a"]), np.array([True])
    encoder = Encoder({"numeric": ["price"]}, {})
    path = write_features(tmp_path / "f.parquet", ids, np.ones((1, 2)), present, encoder)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Encoder, "save", full)
    with pytest.raises(InputError, match="the disk is full"):
        write_features(path, ids, np.zeros((1, 2)), present, encoder)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


# --- networks that the user has


def test_a_sentence_encoder_is_local(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="nothing is downloaded"):
        sentence_vectors(["a cup"], tmp_path / "all-MiniLM-L6-v2")
    with pytest.raises(InputError, match="no item has a text"):
        sentence_vectors([None], tmp_path)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"recsys\[sentences\]"):
        sentence_vectors(["a cup"], tmp_path)


def test_images_by_id(tmp_path):
    (tmp_path / "7.jpg").touch()
    (tmp_path / "9.PNG").touch()
    (tmp_path / "8.txt").touch()
    assert images_of(tmp_path, [7, 8, "9"]) == [tmp_path / "7.jpg", None, tmp_path / "9.PNG"]
    with pytest.raises(InputError, match="none is named after an item"):
        images_of(tmp_path, [8])
    (tmp_path / "7.png").touch()
    with pytest.raises(InputError, match="two images"):
        images_of(tmp_path, [7])


def test_an_image_backbone_has_its_weights_here(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="nothing is downloaded"):
        image_vectors([None], "resnet18", tmp_path / "resnet18.safetensors")
    (tmp_path / "resnet18.pth").touch()
    with pytest.raises(InputError, match=r"expected a \.safetensors file"):
        image_vectors([None], "resnet18", tmp_path / "resnet18.pth")
    (tmp_path / "resnet18.safetensors").touch()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"recsys\[images\]"):
        image_vectors([None], "resnet18", tmp_path / "resnet18.safetensors")
