"""Tables, lists, matrices and arrays of numbers: their format is recognised, or the reader asks."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from mistakes import invoke

import recsys
from recsys.data.load import load
from recsys.data.reading import Source, read
from recsys.data.types import Dataset
from recsys.errors import InputError

PACKAGE = Path(recsys.__file__).parent


def named(data: Dataset) -> list[tuple[object, object]]:
    """The pairs in outside ids, sorted."""
    users, items = data.users.ids.to_list(), data.items.ids.to_list()
    return sorted(
        (users[u], items[i]) for u, i in zip(data.pairs.user, data.pairs.item, strict=True)
    )


WIDE = "1 10 3 5 4\n1 11 3 4 4\n2 10 3 2 1\n2 12 5 5 2\n3 11 3 4 3\n3 12 5 1 1\n"
SIX = [(1, 10), (1, 11), (2, 10), (2, 12), (3, 11), (3, 12)]


@pytest.mark.parametrize("separator", [" ", "\t"])
@pytest.mark.parametrize("columns", [5, 6])
def test_columns_of_numbers_are_no_lists(separator: str, columns: int, tmp_path: Path) -> None:
    rows = [line.split() + ["9"] * (columns - 5) for line in WIDE.splitlines()]
    path = tmp_path / "r.txt"
    path.write_text("".join(separator.join(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=rf"every line has {columns} numbers: a table.* user = 0"):
        load(path)
    assert named(load(path, user=0, item=1).dataset) == SIX
    assert named(load(path, format="csv", user=0, item=1, weight=3).dataset) == SIX
    lists = load(path, format="adjacency").dataset
    assert named(lists) == sorted({(int(r[0]), int(item)) for r in rows for item in r[1:]})


def test_lines_of_one_length_that_count_their_items_may_be_a_table_too(tmp_path: Path) -> None:
    path = tmp_path / "r.txt"
    path.write_text("4 10 3 5 4\n4 11 3 4 4\n")
    with pytest.raises(InputError, match="every line has 5 numbers"):
        load(path)
    assert load(path, format="users-dat").dataset.n_users == 2


def test_one_line_of_another_length_far_down_makes_lists(tmp_path: Path) -> None:
    path = tmp_path / "r.txt"
    path.write_text("".join(f"{user} 1 2 3 4 5\n" for user in range(80)) + "80 1\n")
    assert load(path).dataset.history[0].startswith("r.txt: adjacency (guessed)")


def test_the_other_parts_tell_lists_from_a_table(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("0 1 2 3 4 5\n1 2 3 4 5 6\n")
    (tmp_path / "test.txt").write_text("0 6\n1 1 7\n")
    loaded = load(tmp_path)
    assert len(loaded.dataset.pairs) == 10
    (tmp_path / "test.txt").write_text("0 6 7 8 9 10\n")
    with pytest.raises(InputError, match="every line has 6 numbers"):
        load(tmp_path)


def test_a_table_with_gaps_is_no_list(tmp_path: Path) -> None:
    path = tmp_path / "r.txt"
    path.write_text("1 10 3 5\n1 11 3\n2 10 3 2\n")
    with pytest.raises(InputError, match="several begin with 1: a table with gaps, or lists"):
        load(path)
    path.write_text("1\t10\t3\t5\n1\t11\t\t5\n2\t10\t3\t2\n")
    with pytest.raises(InputError, match="line 2, column '2': the weight is empty"):
        load(path)
    assert named(load(path, weight="none").dataset) == [(1, 10), (1, 11), (2, 10)]


@pytest.mark.parametrize("index", [False, True])
def test_a_first_line_that_counts_is_a_header(index: bool, tmp_path: Path) -> None:
    """What pandas writes above columns without names."""
    rows = [(7, 3, 5), (7, 4, 1), (9, 3, 2)]
    path = tmp_path / "a.csv"
    pd.DataFrame(rows).to_csv(path, index=index)
    data = load(path).dataset
    assert named(data) == [(7, 3), (7, 4), (9, 3)]
    by_number = load(path, user=0, item=1, weight=2).dataset
    assert by_number.fingerprint == data.fingerprint, "0 is the column that is called so"
    assert "the first line counts the columns" in data.history[0]
    written = pd.read_csv(path, index_col=0 if index else None).to_numpy()
    assert data.pairs.weight is not None
    assert sorted(data.pairs.weight) == sorted(written[:, 2])
    if not index:
        assert len(load(path, header=False).dataset.pairs) == 4


def test_a_first_line_of_two_numbers_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("0,1\n5,6\n")
    assert named(load(path).dataset) == [(0, 1), (5, 6)]
    path.write_text("0,1,3\n5,6,2\n")
    assert named(load(path).dataset) == [(0, 1), (5, 6)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_whole_numbers_that_name_columns_are_names(order: tuple[int, ...]) -> None:
    columns = {0: [7, 8, 7], 1: [3, 3, 4], 2: [1.0, 2.0, 3.0]}
    frame = pd.DataFrame({name: columns[name] for name in order})
    data = load(frame, user=0, item=1, weight=2).dataset
    assert named(data) == [(7, 3), (7, 4), (8, 3)]
    with pytest.raises(InputError, match="no column 3 for item; the columns are"):
        load(frame, user=0, item=3)
    words = frame.rename(columns=dict(enumerate("abc")))[["a", "b", "c"]]
    assert named(load(words, user=0, item=1).dataset) == [(7, 3), (7, 4), (8, 3)], "positions"


def bipartite(pairs: set[tuple[int, int]], n_users: int, n_items: int, how: str) -> sp.csr_matrix:
    """The adjacency as the authors of LightGCN and NGCF write it."""
    block = np.zeros((n_users, n_items))
    for user, item in pairs:
        block[user, item] = 1
    dense = np.block(
        [[np.zeros((n_users, n_users)), block], [block.T, np.zeros((n_items, n_items))]]
    )
    if how == "norm":
        dense += np.eye(len(dense))
    degree = np.maximum(dense.sum(1), 1e-12)
    if how in ("norm", "mean"):
        dense = dense / degree[:, None]
    if how == "pre":
        dense = dense / np.sqrt(degree[:, None] * degree[None, :])
    return sp.csr_matrix(dense)


@pytest.mark.parametrize("how", ["adj", "norm", "mean", "pre"])
@pytest.mark.parametrize("name", ["s_{}_adj_mat.npz", "graph-{}.npz"])
def test_an_adjacency_of_users_and_items_is_cut(how: str, name: str, tmp_path: Path) -> None:
    draw = random.Random(how)
    pairs = {(user, draw.randrange(9)) for user in range(12) for _ in range(4)}
    pairs |= {(11, 0), (0, 8)}  # so that only one border between users and items is possible
    path = tmp_path / name.format(how)
    sp.save_npz(path, bipartite(pairs, 12, 9, how))
    data = load(path).dataset
    assert named(data) == sorted(pairs)
    assert (data.n_users, data.n_items, data.pairs.weight) == (12, 9, None)
    assert "an adjacency of 12 users and 9 items together" in data.history[0]


def test_an_adjacency_that_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    pairs = {(user, item) for user in range(6) for item in (2, 3, 4)}
    path = tmp_path / "s_adj_mat.npz"
    sp.save_npz(path, bipartite(pairs, 6, 5, "adj"))  # items 0 and 1 have met nobody
    with pytest.raises(InputError, match=r"items may begin at 6 to 8; cut it: .*\[:n_users"):
        load(path)
    ring = sp.csr_matrix(np.roll(np.eye(30), 1, axis=1) + np.roll(np.eye(30), -1, axis=1))
    sp.save_npz(tmp_path / "friends.npz", ring)
    with pytest.raises(InputError, match="symmetric, 30 x 30: a graph of users or of items alone"):
        load(tmp_path / "friends.npz")


def test_square_matrices_that_are_no_adjacency_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, dense in enumerate(
        (np.eye(30), np.ones((6, 6)), rng.integers(0, 2, (20, 20)), np.array([[0, 1], [1, 0]]))
    ):
        path = tmp_path / f"m{number}.npz"
        sp.save_npz(path, sp.csr_matrix(dense))
        assert named(load(path).dataset) == sorted(map(tuple, np.argwhere(dense).tolist()))


@pytest.mark.parametrize("kind", ["int64", "int32", "uint16", ">i4", "uint64"])
def test_pairs_of_an_array(kind: str, tmp_path: Path) -> None:
    pairs = [(3, 10), (3, 11), (0, 10), (5, 2)]
    path = tmp_path / "a.npy"
    np.save(path, np.array(pairs, dtype=kind))
    data = load(path).dataset
    assert named(data) == sorted(pairs)
    assert data.users.ids.to_list() == [3, 0, 5], "in the order of the file"
    ordered = load(path, ordered=True).dataset
    assert ordered.pairs.time is not None
    assert sorted(ordered.pairs.time) == [0, 1, 2, 3]


def test_presplit_pairs_of_arrays(tmp_path: Path) -> None:
    parts = {"train": [(0, 1), (1, 2)], "valid": [(0, 2)], "test": [(1, 5)]}
    for name, pairs in parts.items():
        np.save(tmp_path / f"{name}_list.npy", np.array(pairs))
    read_parts = read(Source(path=str(tmp_path)))
    assert {name: frame.rows() for name, frame in read_parts.frames.items()} == parts


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((2, 3), dtype=int), r"holds int64 \[2, 3\], not pairs of whole numbers \[n, 2\]"),
        (np.zeros((2, 2)), r"holds float64 \[2, 2\]"),
        (np.zeros(4, dtype=int), r"holds int64 \[4\]"),
        (np.zeros((0, 2), dtype=int), "holds no pair"),
        (np.array([{}, {}], dtype=object), "pickle"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(InputError, match=says):
        load(path)


@pytest.mark.parametrize("column", ["rating", "action", "timestamp"])
@pytest.mark.parametrize("how", ["csv", "parquet", "pandas", "polars"])
def test_an_empty_column_that_nobody_asked_for_is_left_out(
    column: str, how: str, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [3, 4, 3], column: [None] * 3})
    given: object = frame
    if how == "csv":
        given = tmp_path / "a.csv"
        frame.to_csv(tmp_path / "a.csv", index=False)
    elif how == "parquet":
        given = tmp_path / "a.parquet"
        frame.astype({column: float}).to_parquet(tmp_path / "a.parquet")
    elif how == "polars":
        given = pl.DataFrame(frame.to_dict("list"))
    data = load(given).dataset
    assert named(data) == [(1, 3), (1, 4), (2, 3)]
    assert any(f"column '{column}' is empty, so there is no " in line for line in data.history)
    role = {"rating": "weight", "action": "behaviour", "timestamp": "time"}[column]
    with pytest.raises(InputError):
        load(given, **{role: column})
    assert named(load(given, **{role: "none"}).dataset) == [(1, 3), (1, 4), (2, 3)]


def test_none_is_a_way_to_ask_for_no_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user,item,rating,time\n1,2,good,1600000000\n1,3,,1600000001\n")
    with pytest.raises(InputError, match=r"'good' is not a finite number.*weight = \"none\""):
        load(path)
    data = load(path, weight="none").dataset
    assert data.pairs.weight is None
    assert data.pairs.time is not None
    path.write_text("1,2,good,1600000000\n1,3,bad,1600000001\n")
    data = load(path, weight="none").dataset
    assert data.pairs.weight is None
    assert data.pairs.time is not None
    assert sorted(data.pairs.time) == [1600000000, 1600000001], (
        "the fourth column is still the time"
    )
    flags = tmp_path / "x.rating"
    flags.write_text("0\t1\t0\n1\t2\t1\n")
    assert load(flags, clean="none").dataset.pairs.clean is None
    named_so = pl.DataFrame({"user": [1], "item": [2], "none": [3.0]})
    weight = load(named_so, weight="none").dataset.pairs.weight
    assert weight is not None
    assert weight.tolist() == [3.0]


def test_the_fingerprint_covers_all_parts(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("0 1 2 3\n1 1 4\n")

    def fingerprint(*arguments: str) -> str:
        code, out, err = invoke(" ".join(("data stats --json", *arguments)))
        assert code == 0, err
        return str(json.loads(out)["fingerprint"])

    found = []
    for test in ("0 4\n1 2\n", "0 4\n1 3\n"):
        (tmp_path / "test.txt").write_text(test)
        found.append(fingerprint(str(tmp_path)))
    found.append(fingerprint(str(tmp_path / "train.txt")))
    assert len(set(found)) == 3
    assert found[1] == fingerprint(str(tmp_path)), "the same parts have the same"


def test_check_prints_the_settings_of_the_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = '[data]\nsource = "citeulike-t"\n[model]\nname = "popular"\n'
    (tmp_path / "a.toml").write_text(config)
    code, out, err = invoke("check a.toml --json")
    assert code == 0, err
    data = json.loads(out)["data"]
    assert (data["source"], data["min_user"], data["format"]) == ("citeulike-t", 5, "users-dat")
    assert json.loads(invoke("check a.toml --json data.min_user=9")[1])["data"]["min_user"] == 9
    (tmp_path / "b.toml").write_text(invoke("check a.toml")[1])
    assert json.loads(invoke("check b.toml --json")[1])["data"] == data, "what is printed is read"


def test_help_names_the_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"RECSYS_[A-Z_]+[A-Z]", path.read_text(encoding="utf-8"))
    }
    used.add("RECSYS_SHARED_DATA")  # of the tests
    monkeypatch.setenv("COLUMNS", "100")
    out = invoke("--help")[1]
    page = (PACKAGE.parent / "docs" / "data.md").read_text(encoding="utf-8")
    assert used >= {"RECSYS_HOME", "RECSYS_OFFLINE"}
    for name in used:
        assert name in out
        assert name in page


def test_offline_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    monkeypatch.setenv("RECSYS_OFFLINE", "1")
    for name in ("gowalla", "ml-100k", "ml-100k-likes"):
        code, _, err = invoke(f"data fetch {name}")
        assert code == 2
        assert f"recsys data add {name} --path FILE" in err
    assert os.environ["RECSYS_OFFLINE"] == "1"
