"""Feature tables: files that are read, and tables that are made of texts and columns."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.data.features import column_vectors, item_table, joined_texts, text_vectors, write_features
from recsys.data.load import load
from recsys.data.side import feature_table, feature_tables
from recsys.data.types import Vocab
from recsys.errors import InputError
from recsys.nn.encoders import image_vectors, images_of, sentence_vectors

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
        (tmp_path / "f.ids.txt").write_bytes(b"c\nx\na\ny" if kind == "txt" else b"c\r\nx\r\na\r\ny\r\n")
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


@pytest.mark.parametrize(
    ("array", "ids", "items", "match"),
    [
        (np.ones(3), None, ITEMS, "shape"),
        (np.ones((3, 2)), None, ITEMS, "3 rows and no ids"),
        (np.ones((3, 2)), None, NAMED, "no row numbers"),
        (np.ones((2, 2)), "a\n", NAMED, "1 ids for 2 rows"),
        (np.ones((2, 2)), "a\na\n", NAMED, "'a' is there twice"),
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
    with pytest.raises(InputError, match="no folder"):
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
    pl.DataFrame({"item": [first], "values": [[1.0, 2.0, 3.0]]}).write_parquet(tmp_path / "p.parquet")
    won = load("online-retail", features={"price": str(tmp_path / "p.parquet")}).dataset.features
    assert won["price"].dim == 3, "what is named wins over the catalogue"
    assert won["price"].present.sum() == 1
    assert won["text"].dim == 64


# --- making


def test_text_vectors_are_of_the_texts():
    texts = ["red tea cup", "red tea cups", "blue garden lamp", "blue garden lamps", None, "zzzqqq"]
    vectors, present = text_vectors(texts, 2)
    assert present.tolist() == [True] * 4 + [False] * 2, "what shares no term with another text has no vector"
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
    texts = [" ".join(rng.choice(["red", "blue", "green", "white", "cup", "lamp", "bag", "tea"], 4)) for _ in range(30)]
    vectors, _ = text_vectors(texts, 3, words=True)
    dense = TfidfVectorizer(analyzer="word", ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit_transform(texts).toarray()
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
    frame = pl.DataFrame({"title": ["cup ", None, " "], "year": [1, 2, None], "tags": [["a"], ["b"], []]})
    assert joined_texts(frame, ["title"]) == ["cup", None, None]
    assert joined_texts(frame, ["title", "year"]) == ["cup 1", "2", None]
    with pytest.raises(InputError, match="did you mean 'title'"):
        joined_texts(frame, ["titel"])
    with pytest.raises(InputError, match="List"):
        joined_texts(frame, ["tags"])


def test_columns():
    frame = pl.DataFrame({"price": ["1", "10", "100", None], "size": [1, 2, 3, None], "kind": ["b", "a", "b", None]})
    vectors, present, words = column_vectors(frame, ["size"], ["price"], ["kind"])
    assert words == ["size", "log price", "kind = a", "kind = b"]
    assert present.tolist() == [True, True, True, False]
    edge = 1.5**0.5  # of -1, 0, 1
    np.testing.assert_allclose(vectors, [[-edge, -edge, 0, 1], [0, 0, 1, 0], [edge, edge, 0, 1], [0, 0, 0, 0]], atol=1e-6)
    vectors, present, _ = column_vectors(frame.with_columns(kind=pl.Series(["b", "a", "b", "a"])), ["size"], [], ["kind"])
    assert present.all(), "an item that has one of the columns has the modality"
    assert vectors[3].tolist() == [0, 1, 0], "what it lacks stands at the mean"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({}, "no column is named"),
        ({"numeric": ["prise"]}, "did you mean 'price'"),
        ({"numeric": ["price"], "logged": ["price"]}, "named twice"),
        ({"numeric": ["word"]}, "row 1: 'x' is no number"),
        ({"logged": ["zero"]}, "row 2: 0 is not above 0"),
        ({"numeric": ["same"]}, "the same for every item"),
        ({"numeric": ["far"]}, "not a finite number"),
        ({"categorical": ["same"]}, "has 1 kinds"),
    ],
)
def test_bad_columns(settings, match):
    frame = pl.DataFrame({"price": [1.0, 2.0], "word": ["x", "1"], "zero": [1, 0], "same": [5, 5], "far": [1.0, float("inf")]})
    with pytest.raises(InputError, match=match):
        column_vectors(frame, **settings)


def test_item_tables(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text('item_id,title\n7,"cup, red"\n8,lamp\n')
    frame, ids = item_table(str(path))
    assert ids.to_list() == ["7", "8"]
    assert frame["title"].to_list() == ["cup, red", "lamp"]
    frame, ids = item_table("online-retail")
    assert {"description", "price"} <= set(frame.columns)
    assert len(ids) == 3659
    for text, match in (("a,b\n1,2\n", "looks like the items"), ("item,b\n1,2\n1,3\n", "'1' is there twice"), ("item,b\n,2\n1,3\n", "1 of 2 ids")):
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


def test_what_is_written_can_be_read(tmp_path):
    path = write_features(tmp_path / "new" / "f.parquet", pl.Series("item", ["a", "b"]), np.array([[1.0, 2], [0, 0]]), np.array([True, False]))
    found = feature_table(path, NAMED)
    assert found.present.tolist() == [True, False, False]
    assert found.values[0].tolist() == [1, 2]
    assert [file.name for file in path.parent.iterdir()] == ["f.parquet"]
    with pytest.raises(InputError, match=r"\.parquet"):
        write_features(tmp_path / "f.csv", pl.Series(["a"]), np.ones((1, 1)), np.array([True]))
    with pytest.raises(InputError, match="no item has a vector"):
        write_features(tmp_path / "g.parquet", pl.Series(["a"]), np.ones((1, 1)), np.array([False]))
    assert not (tmp_path / "g.parquet").exists()


# --- networks that the user has


def test_a_sentence_encoder_is_local(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="none is downloaded"):
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
    with pytest.raises(InputError, match="none of them of an item"):
        images_of(tmp_path, [8])
    (tmp_path / "7.png").touch()
    with pytest.raises(InputError, match="two images"):
        images_of(tmp_path, [7])


def test_an_image_backbone_has_its_weights_here(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="none are downloaded"):
        image_vectors([None], "resnet18", tmp_path / "resnet18.safetensors")
    (tmp_path / "resnet18.pth").touch()
    with pytest.raises(InputError, match=r"no \.safetensors file"):
        image_vectors([None], "resnet18", tmp_path / "resnet18.pth")
    (tmp_path / "resnet18.safetensors").touch()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"recsys\[images\]"):
        image_vectors([None], "resnet18", tmp_path / "resnet18.safetensors")
