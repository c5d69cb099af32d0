"""Readers: every format, guesses, ids of any type, and one clear error for every broken input."""

from __future__ import annotations

import gzip
import json
import lzma
import pickle
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings

from recsys.data.features.titles import read_titles
from recsys.data.load import load
from recsys.data.reading import RawParts, Source, read, read_frame
from recsys.data.reading.delimited import open_delimited
from recsys.data.types import Vocab
from recsys.errors import InputError

# A fresh file per example would need a fresh folder; the same one is overwritten.
HERE = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")),
    min_size=1,
    max_size=6,
).filter(lambda text: '"' not in text)


def frame(data: object, **chosen: Any) -> RawParts:
    """Return the interactions of a data frame in memory."""
    return read_frame(data, Source(**chosen))


def rows(parts: pl.DataFrame) -> list[tuple[object, ...]]:
    return sorted(parts.rows(), key=repr)


@st.composite
def logs(draw: st.DrawFn, ids: st.SearchStrategy[object] | None = None) -> pl.DataFrame:
    n = draw(st.integers(1, 30))
    kinds = [
        ids
        if ids is not None
        else draw(st.sampled_from([st.integers(-5, 2**62), WORDS.map(lambda text: "x" + text)]))
        for _ in range(2)
    ]
    user, item = (draw(st.lists(kind, min_size=n, max_size=n)) for kind in kinds)
    weight = draw(st.lists(st.floats(-1e6, 1e6), min_size=n, max_size=n))
    time = draw(st.lists(st.integers(0, 4_000_000_000), min_size=n, max_size=n))
    return pl.DataFrame(
        {"user": user, "item": item, "time": time, "weight": weight},
        schema_overrides={"time": pl.Int64, "weight": pl.Float64},
    )


@HERE
@given(
    log=logs(),
    how=st.sampled_from(
        [
            "csv",
            "tsv",
            "csv.gz",
            "csv.xz",
            "csv.zst",
            "parquet",
            "parquet folder",
            "inter",
            "polars",
            "pandas",
        ]
    ),
)
def test_what_is_written_is_read(log: pl.DataFrame, how: str, tmp_path: Path) -> None:
    names = {"user": "user_id", "item": "item_id", "time": "timestamp", "weight": "rating"}
    table = log.rename(names)
    path = tmp_path / f"log.{how}"
    match how:
        case "csv":
            table.write_csv(path)
        case "tsv":
            table.write_csv(path, separator="\t")
        case "csv.gz":
            path.write_bytes(gzip.compress(table.write_csv().encode()))
        case "csv.xz":
            path.write_bytes(lzma.compress(table.write_csv().encode()))
        case "csv.zst":
            table.lazy().sink_csv(path, compression="zstd")
        case "parquet":
            table.write_parquet(path)
        case "parquet folder":
            path = tmp_path / "folder"
            path.mkdir(exist_ok=True)
            for old in path.iterdir():
                old.unlink()
            table[: len(table) // 2].write_parquet(path / "0.parquet")
            table[len(table) // 2 :].write_parquet(path / "1.parquet")
        case "inter":
            table.rename(
                {
                    "user_id": "user_id:token",
                    "item_id": "item_id:token",
                    "timestamp": "timestamp:float",
                    "rating": "rating:float",
                }
            ).write_csv(path, separator="\t")
    if how == "polars":
        parts = frame(table)
    elif how == "pandas":
        parts = frame(pd.DataFrame(table.to_dict(as_series=False)))
    else:
        parts = read(Source(path=str(path)))
    assert parts.all is not None
    table = parts.all.with_columns(pl.col("time").dt.epoch("s"))
    assert table.schema == log.schema
    assert table.equals(log)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("separator", [",", "\t", ";", "|", " ", "::"])
def test_separators_are_found(separator: str, header: bool, tmp_path: Path) -> None:
    lines = [["user", "movieId", "rating", "timestamp"]] * header + [
        ["7", "3", "4.5", "881250949"],
        ["8", "3", "2", "881250950"],
    ]
    path = tmp_path / "ratings.dat"
    path.write_text("\n".join(separator.join(line) for line in lines) + "\n")
    parts = read(Source(path=str(path)))
    assert parts.all is not None
    seconds = pl.col("time").dt.epoch("s")
    assert parts.all.select("user", "item", "weight", seconds).rows() == [
        (7, 3, 4.5, 881250949),
        (8, 3, 2.0, 881250950),
    ]
    assert "guessed" in parts.history[0]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["1", "20"], [1, 20]),
        (["007", "7"], ["007", "7"]),
        (["1", "b"], ["1", "b"]),
        (["17850.0", "13047.0"], [17850, 13047]),
        (["99999999999999999999", "1"], ["99999999999999999999", "1"]),
        (["-3", "+3"], ["-3", "+3"]),
        (["v1.0", "v2.0"], ["v1.0", "v2.0"]),
        (["1.2.0", "1.3.0"], ["1.2.0", "1.3.0"]),
        (["007.0", "7.0"], ["007.0", "7.0"]),
        ([" 1", "20 "], [1, 20]),
        (["a b", " c"], ["a b", "c"]),
        (['"a b"', '" c"'], ["a b", " c"]),
    ],
)
def test_ids_keep_what_tells_them_apart(
    ids: list[str], expected: list[object], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user,item\n" + "\n".join(f"{name},1" for name in ids))
    parts = read(Source(path=str(path)))
    assert parts.all is not None
    assert parts.all["user"].to_list() == expected


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (["v1.0", "v2.0", "w"], ["v2.0", "v1.0"], ["v1.0", "v2.0", "w"]),
        (["1.0", "2.0"], ["1.0", "w"], ["1", "2", "w"]),
        (["1.0", "2.0"], ["1", "w"], ["1", "2", "w"]),
        (["1", "2"], ["1.0", "w", "1.2.0", "07.0"], ["1", "2", "w", "1.2.0", "07.0"]),
        (["1", "2"], ["1.0", "2.0"], [1, 2]),
    ],
)
def test_ids_of_all_parts_meet(
    train: list[str], test: list[str], expected: list[object], tmp_path: Path
) -> None:
    for name, ids in (("train", train), ("test", test)):
        (tmp_path / f"{name}.csv").write_text(
            "user,item\n" + "".join(f"u,{item}\n" for item in ids)
        )
    assert load(tmp_path).dataset.items.ids.to_list() == expected


@pytest.mark.parametrize("how", ["polars", "pandas", "parquet"])
def test_ids_that_have_a_type_keep_it(how: str, tmp_path: Path) -> None:
    log = pl.DataFrame({"user": ["1", "2", "10"], "item": [3, 4, 3]})
    features = pl.DataFrame({"item": ["3", "4"], "values": [[1.0], [2.0]]})
    features.write_parquet(tmp_path / "price.parquet")
    path = tmp_path / "log.parquet"
    log.write_parquet(path)
    source = {"polars": log, "pandas": pd.DataFrame(log.to_dict(as_series=False)), "parquet": path}[
        how
    ]
    data = load(source, features={"price": str(tmp_path / "price.parquet")}).dataset
    assert data.users.ids.to_list() == ["1", "2", "10"], "as they come in the log"
    assert data.users.rows([2, 10]).tolist() == [1, 2], "numbers match their text"
    assert data.features["price"].values.tolist() == [[1.0], [2.0]], "and text its numbers"
    features.with_columns(pl.col("item").cast(pl.Int64)).write_parquet(tmp_path / "price.parquet")
    turned = load(
        log.with_columns(pl.col("item").cast(pl.String)),
        features={"price": str(tmp_path / "price.parquet")},
    ).dataset
    assert turned.features["price"].values.tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("text", "settings", "users", "header"),
    [
        ("visitor,product,when\n1,10,100\n1,11,200\n", {}, [1], True),
        ("visitor,product,when\n1,10,100\n1,11,200\n", {"header": False}, ["visitor", "1"], None),
        ("1,10,100\n2,11,200\n", {}, [1, 2], False),
        ("1,Time,3\n2,x,3\n", {}, [1, 2], False),
        ("alice,shirt\nbob,hat\n", {}, ["alice", "bob"], False),
        ("alice,shirt\nbob,hat\n", {"header": True}, ["bob"], None),
    ],
)
def test_columns_by_position_go_with_a_header_and_without(
    text: str, settings: dict[str, object], users: list[object], header: bool | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    data = load(path, user=0, item=1, **settings).dataset
    assert data.users.ids.to_list() == users
    assert ("with header" in data.history[0], "without header" in data.history[0]) == (
        header is True,
        header is False,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1;2;1600000000,5\n1;3;1600000001,0\n", ";"),
        ("1;2;3,5\n1;3;4\n", ";"),
        ("1|2|3,5\n1|3|4,0\n", "|"),
        ("1,2,a|b\n1,3,a\n", ","),
        ("1,2,2011-12-09 08:26\n1,3,2011-12-09 08:27\n", ","),
        ('1,"a;b;c;d",5\n1,"a;b;c;d",4\n', ","),
        ("1\t2\t3,5,6,7\n1\t3\t4,0,6,7\n", "\t"),
        ("1,2,3\n1,3\n", ","),
    ],
)
def test_the_separator_is_the_same_on_every_line(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert open_delimited(path, header=False).notes == (f"separator {expected!r}",)


def test_blanks_after_separators_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user, item, rating, time\n1, 10, 3.5, 1600000000\n2, 10, 4, 1600000001\n")
    (tmp_path / "items.csv").write_text("item, title\n10, ten and more\n")
    data = load(path, titles="items.csv").dataset
    assert (data.users.ids.to_list(), data.items.ids.to_list()) == ([1, 2], [10])
    assert data.titles is not None
    assert data.titles.to_list() == ["ten and more"]


@pytest.mark.parametrize(
    ("times", "unit", "expected"),
    [
        ([1600000000300, 1600000000100, 1600000000200], "ms", [1, 2, 0]),
        ([1600000001000, 1600000000000, 1600000002000], "s", [1, 0, 2]),
        ([1600000000.5, 1600000000.25, 1600000001.0], "ms", [1, 0, 2]),
        (["2011-12-09 08:26:00.2", "2011-12-09 08:26:00.1", "2011-12-09 08:27"], "ms", [1, 0, 2]),
        (
            [datetime(2011, 12, 9, 8, 26, 0, micro, UTC) for micro in (2, 1, 3)],
            "us",
            [1, 0, 2],
        ),
        ([1600000000000000002, 1600000000000000001, 1600000000000000003], "ns", [1, 0, 2]),
    ],
)
def test_times_keep_the_order_below_the_second(
    times: list[object], unit: str, expected: list[int]
) -> None:
    log = pl.DataFrame({"user": [1, 1, 1], "item": [0, 1, 2], "timestamp": times}, strict=False)
    data = load(log).dataset
    assert data.pairs.time_unit == unit
    items = data.items.ids.gather(data.pairs.item)
    assert items.gather(np.argsort(data.pairs.time)).to_list() == expected


def test_counts_that_begin_at_zero_are_of_one_unit() -> None:
    log = pl.DataFrame(
        {"user": [1, 1, 1, 1], "item": [1, 2, 3, 4], "time": [0, 10**9, 10**10, 5 * 10**11]}
    )
    assert frame(log).all["time"].dt.epoch("s").to_list() == [0, 10**6, 10**7, 5 * 10**8]


def test_parts_without_times_get_none_beside_one_that_has_them(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("user,item,when\n1,10,1600000000\n2,11,1600000001\n")
    (tmp_path / "test.csv").write_text("user,item\n1,11\n")
    files = {"path": str(tmp_path), "train": "train.csv", "test": "test.csv", "time": "when"}
    parts = read(Source(**files))
    assert parts.test is not None
    assert parts.test.columns == ["user", "item"]
    with pytest.raises(InputError, match="ordered has no effect, because the data have times"):
        read(Source(**files, ordered=True))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("users.dat", {"time": "when", "ordered": True}),
        ("users.dat", {"separator": " "}),
        ("a.json", {"user": "user"}),
        ("a.json", {"nulls": "drop"}),
        ("m.npz", {"weight": 2}),
        ("a.txt", {"item": 1}),
        ("a.parquet", {"separator": ","}),
        ("a.parquet", {"header": True}),
        ("a.inter", {"header": False}),
        ("x.inter", {"clean": "x_label"}),
        ("x.rating", {"time": 2}),
    ],
)
def test_settings_that_a_format_does_not_read_are_refused(
    name: str, settings: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / name
    texts = {
        "users.dat": "2 4 9\n0\n",
        "a.json": "[[1]]",
        "a.txt": "0 1 2 3 4 5\n1 2\n",
        "a.inter": "user_id:token\titem_id:token\n1\t2\n",
        "x.inter": "userID\titemID\tx_label\n0\t1\t0\n",
        "x.rating": "0\t4\t1\n",
    }
    if name == "m.npz":
        sp.save_npz(path, sp.csr_matrix(np.eye(2)))
    elif name == "a.parquet":
        GOOD.write_parquet(path)
    else:
        path.write_text(texts[name])
    load(path)
    first = next(iter(settings))
    with pytest.raises(InputError, match=f"{first} = .* is not read from .* leave it out"):
        load(path, **settings)


@pytest.mark.parametrize(
    ("written", "nanoseconds"),
    [
        ("1323419160", 1323419160_000000000),
        ("1323419160.0", 1323419160_000000000),
        ("1323419160999", 1323419160_999000000),
        ("1323419160999999", 1323419160_999999000),
        ("1323419160999999999", 1323419160_999999999),
        ("2011-12-09 08:26:00", 1323419160_000000000),
        ("2011-12-09T08:26:00Z", 1323419160_000000000),
        ("2011-12-09T10:26:00.500+02:00", 1323419160_500000000),
        ("2011-12-09 08:26", 1323419160_000000000),
        ("2011-12-09", 1323388800_000000000),
    ],
)
def test_times_are_exact(written: str, nanoseconds: int, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"user,item,time\n1,2,{written}\n3,4,{written}\n")
    parts = read(Source(path=str(path)))
    assert parts.all is not None
    assert parts.all["time"].dt.epoch("ns").to_list() == [nanoseconds, nanoseconds]


def test_frames_of_dates_and_gaps() -> None:
    when = pd.to_datetime(["2011-12-09 08:26:00", "2011-12-09 08:26:01", "2011-12-09 08:26:02"])
    data = pd.DataFrame(
        {
            "CustomerID": [17850.0, np.nan, 3.0],
            "StockCode": ["85123A", "x", "y"],
            "InvoiceDate": when,
            "other": 1,
        }
    )
    for table in (
        data,
        pl.DataFrame(data.to_dict("list")).with_columns(
            pl.col("InvoiceDate").cast(pl.Datetime("ms"))
        ),
    ):
        parts = frame(table, nulls="drop")
        assert parts.all is not None
        seconds = parts.all.with_columns(pl.col("time").dt.epoch("s"))
        assert seconds.rows() == [(17850, "85123A", 1323419160), (3, "y", 1323419162)]
        assert any("3 -> 2 rows" in line for line in parts.history)
    zoned = data.assign(InvoiceDate=when.tz_localize("Europe/Athens"))
    result = frame(zoned, nulls="drop").all
    assert result is not None
    assert result["time"].dt.epoch("s")[0] == 1323419160 - 2 * 3600


def test_adjacency(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("0 5 3\n1\n2 0 \n")
    (tmp_path / "test.txt").write_text("0 7\n4\n")
    parts = read(Source(path=str(tmp_path), format="adjacency"))
    assert parts.train is not None
    assert parts.test is not None
    assert (parts.users, parts.items) == (range(5), range(8))
    assert parts.train.rows() == [(0, 5), (0, 3), (2, 0)]
    assert parts.test.rows() == [(0, 7)]


def test_adjacency_that_counts_from_one(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("1 1 2 3\n2 3\n")
    parts = read(Source(path=str(path), format="adjacency", ordered=True))
    assert (parts.users, parts.items) == (range(1, 3), range(1, 4))
    assert parts.all is not None
    assert parts.all["time"].to_list() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("0 1 2 3 4\n1 5 6 7 8\n2 9\n", "adjacency"),
        ("0 1 2\n1 5\n", "adjacency"),
        ("2 1 2\n1 5\n", "users-dat"),
        ("0 1 2\n1 5 6\n", "csv"),
        ("0\t1\t5\t881250949\n", "csv"),
        ("user_id:token\titem_id:token\n1\t2\n", "inter"),
        ("userID,itemID\n1,2\n", "csv"),
    ],
)
def test_the_guess_is_told(text: str, taken: str, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(text)
    assert read(Source(path=str(path))).history[0].startswith(f"log.txt: {taken} (guessed)")


def test_users_dat(tmp_path: Path) -> None:
    path = tmp_path / "users.dat"
    path.write_text("2 4 9\n0\n1 4\n")
    loaded = load(path)
    assert loaded.dataset.n_users == 3
    assert loaded.dataset.n_items == 10, "ids that never occur stay candidates"
    pairs, users, items = loaded.dataset.pairs, loaded.dataset.users, loaded.dataset.items
    ids = zip(users.ids.gather(pairs.user), items.ids.gather(pairs.item), strict=True)
    assert sorted(ids) == [(0, 4), (0, 9), (2, 4)]


def test_noise_flags_and_ratings(tmp_path: Path) -> None:
    (tmp_path / "x.train.rating").write_text("0\t4\t1\n3\t2\t0\n")
    (tmp_path / "x.valid.rating").write_text("0\t1\t0\n")
    (tmp_path / "x.test.negative").write_text("(0, 6)\t1\n(2,5)\n")
    for path in (tmp_path, tmp_path / "x"):
        parts = read(Source(path=str(path)))
        assert parts.train is not None
        assert parts.test is not None
        assert parts.train["clean"].to_list() == [1, 0]
        assert parts.test.rows() == [(0, 6), (2, 5)]
        assert (parts.users, parts.items) == (range(4), range(7))
    rated = read(Source(path=str(tmp_path), weight=2)).train
    assert rated is not None
    assert rated["weight"].to_list() == [1.0, 0.0]
    assert "clean" not in rated.columns


def test_x_label(tmp_path: Path) -> None:
    path = tmp_path / "baby.inter"
    path.write_text(
        "userID\titemID\trating\ttimestamp\tx_label\n"
        "0\t1\t5.0\t100\t0\n0\t4\t3.0\t200\t1\n2\t2\t4.0\t300\t2\n"
    )
    loaded = load(path)
    assert loaded.parts is not None
    valid, test = loaded.parts
    assert valid is not None
    assert test is not None
    assert (loaded.dataset.n_users, loaded.dataset.n_items) == (3, 5)
    assert [len(each) for each in (loaded.dataset.pairs, valid, test)] == [1, 1, 1]
    assert test.time is not None
    assert test.time[0] == 300


@pytest.mark.parametrize("layout", ["csr", "csc", "coo", "bsr", "dia"])
def test_matrices(layout: str, tmp_path: Path) -> None:
    dense = np.array([[0, 2.0, 0], [0, 0, 1], [0, 0, 0]])
    sp.save_npz(tmp_path / "m.npz", sp.csr_matrix(dense).asformat(layout))
    parts = read(Source(path=str(tmp_path / "m.npz")))
    assert parts.all is not None
    assert (parts.users, parts.items) == (range(3), range(3))
    assert rows(parts.all) == [(0, 1, 2.0), (1, 2, 1.0)]


def test_json_lists(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([[3, 1], [], [0]]))
    parts = read(Source(path=str(path)))
    assert parts.all is not None
    assert (parts.users, parts.items) == (range(3), range(4))
    assert parts.all.rows() == [(0, 3), (0, 1), (2, 0)]


def test_presplit_files_may_lack_optional_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u,i,r\nx,1,5\ny,2,3\n")
    (tmp_path / "b.csv").write_text("u,i\nx,q\n")
    loaded = load(
        Source(path=str(tmp_path), train="a.csv", test="b.csv", user="u", item="i", weight="r")
    )
    assert loaded.parts is not None
    test = loaded.parts[1]
    assert test is not None
    assert test.weight is None
    assert loaded.dataset.items.ids.to_list() == ["1", "2", "q"], "ids of both kinds meet as text"


def test_titles_follow_the_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item\n1,30\n1,10\n2,20\n")
    (tmp_path / "items.csv").write_text(
        "item_id,price,title\n10,2,ten\n30,1,thirty\n99,1,other\n10,2,again\n"
    )
    loaded = load(tmp_path / "log.csv", titles="items.csv")
    assert loaded.dataset.titles is not None
    assert loaded.dataset.titles.to_list() == ["thirty", "ten", None]
    with pytest.raises(InputError, match="no column looks like the titles"):
        read_titles(tmp_path / "log.csv", Vocab.range(3))


def test_settings_beside_a_name_win(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,rating\n1,30,5\n1,10,2\n2,20,4\n")
    known = Source(path=str(tmp_path / "log.csv"), min_weight=5, duplicates="sum")
    asked: list[str] = []

    def resolve(name: str) -> Source:
        asked.append(name)
        return known

    assert len(load("mine", resolve).dataset.pairs) == 1
    assert len(load(Source(source="mine", min_weight=4), resolve).dataset.pairs) == 2
    assert asked == ["mine", "mine"]


def test_behaviours_are_coded() -> None:
    log = pl.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], "event": ["view", "buy", "view"]})
    pairs = load(log).dataset.pairs
    assert pairs.behaviour is not None
    assert [pairs.behaviours[code] for code in pairs.behaviour] == ["view", "buy", "view"]
    assert len(load(log, behaviours=["buy"]).dataset.pairs) == 1


@HERE
@given(log=logs(st.integers(0, 9)), seed=st.integers(0, 99))
def test_the_order_of_the_file_does_not_matter_where_times_differ(
    log: pl.DataFrame, seed: int
) -> None:
    log = log.unique(["user", "item"]).unique("time")
    shuffled = log.sample(fraction=1.0, shuffle=True, seed=seed)
    one, other = (load(each, min_weight=-1e6).dataset for each in (log, shuffled))
    assert one.fingerprint == other.fingerprint


GOOD = pl.DataFrame({"user": [1], "item": [2]})


def parquet_bytes(table: pl.DataFrame, folder: Path) -> bytes:
    table.write_parquet(folder / "whole.parquet")
    return (folder / "whole.parquet").read_bytes()


# name of the file, its contents, settings, and what the error must say (line and column included)
BROKEN: list[tuple[str, str | bytes, dict[str, object], str]] = [
    ("a.csv", "", {}, "a.csv: the file is empty"),
    ("a.csv", "\n\n", {}, "a.csv: the file is empty"),
    ("a.csv", "user,item\n", {}, "a header and no row"),
    ("a.csv", "a,b\n1,2\n", {}, "no column looks like the users; found: a, b"),
    ("a.csv", "user,item,rating\n1,2,3\n", {"weight": "ratng"}, "did you mean 'rating'"),
    (
        "a.csv",
        "user,item,rating\n1,2,3\n\n4,5,x\n",
        {},
        "line 4, column 'rating': 'x' is not a finite number",
    ),
    (
        "a.csv",
        "user,item,rating\n1,2,3\n4,5,nan\n",
        {},
        "line 3, column 'rating': 'nan' is not a finite",
    ),
    (
        "a.csv",
        "user,item,rating\n1,2,-inf\n4,5,1\n",
        {},
        "line 2, column 'rating': '-inf' is not a finite",
    ),
    (
        "a.csv",
        "user,item,rating\n1,2,3\n4,5,\n",
        {},
        "line 3, column 'rating': the weight is empty",
    ),
    (
        "a.csv",
        "user,item,timestamp\n1,2,3\n4,5,later\n",
        {},
        "line 3, column 'timestamp': 'later' is not a time",
    ),
    (
        "a.csv",
        "user,item,timestamp\n1,2,2011-01-02\n4,5,2011-02-30\n",
        {},
        "line 3, column 'timestamp': '2011-02-30' is not a time",
    ),
    ("a.csv", "user,item\n1,2\n,5\n", {}, "line 3: no user"),
    ("a.csv", 'user,item,z\n1,2,3\n"a\nb",,4\n', {}, "line 3: no item"),
    ("a.csv", "user,item,z\n1,2,3\n1,2,3,4\n", {}, "line 3: 4 fields, the first line has 3"),
    (
        "a.csv",
        "t,user,item,z\nx,1,2,3\nchair, blue,1,2,5\n",
        {},
        "line 3: 5 fields, the first line has 4",
    ),
    ("a.csv", 'user,item,z,y\n"1,1",2,3,4\n\n1,2\n', {}, "line 4: 2 fields, the first line has 4"),
    ("a.csv", 'user,item,z\n1,2,3\n"1,2,3\n3,4,5\n', {}, "after line 2: an unclosed"),
    ("a.csv", b"user,item\n1,2\n3,caf\xe9\n", {}, "line 3, byte 6: byte 0xe9 is not UTF-8"),
    (
        "a.csv",
        b"user,item\n" + b"1,2\n" * 99 + b"\xe9,1\n",
        {},
        "line 101, byte 1: byte 0xe9 is not UTF-8",
    ),
    (
        "a.csv",
        b"\xff\xfe" + "user,item\n1,2\n".encode("utf-16-le"),
        {},
        "line 1, byte 1: byte 0xff is not UTF-8, the file begins as UTF-16 does",
    ),
    ("a.csv", b"\xfe\xff" + "user,item\n1,2\n".encode("utf-16-be"), {}, "iconv -f utf-16 -t utf8"),
    (
        "a.csv",
        "user,item\n7.656e+16,2\n",
        {},
        "line 2, column 'user': id '7.656e+16' is a float that has lost digits",
    ),
    (
        "a.csv",
        "user,item\n1,7.6561197962871E+16\n2,x\n",
        {},
        "line 2, column 'item': id '7.6561197962871E+16' is a float",
    ),
    (
        "a.csv",
        "user,item,time\n1,2,1600000000987\n4,5,1600000000\n",
        {},
        "line 3, column 'time': '1600000000' looks like seconds, '1600000000987' like",
    ),
    (
        "a.csv",
        "user,item,time\n1,2,20111209\n4,5,20111210\n",
        {},
        "line 2, column 'time': '20111209' is a date written as one number",
    ),
    (
        "a.csv",
        "user,item,time\n1,2,20111209082600\n",
        {},
        "which would count as milliseconds since 1970",
    ),
    (
        "a.csv",
        "user,item\n1,2\n",
        {"separator": ";"},
        "separator ';' does not occur in the first line",
    ),
    ("a.csv", "useritem\n12\n", {}, "no separator found"),
    ("a.csv", "user,item,user\n1,2,3\n", {}, "two columns are called 'user'"),
    ("a.csv", "alice,shirt\nbob,hat\n", {}, "set header = true or header = false"),
    ("a.csv", "1,2\n3,4\n", {"item": 5}, "there are 2 columns"),
    ("a.csv", "1,2\n3,4\n", {"item": "x", "header": False}, "the file has no header"),
    (
        "a.csv",
        "user,item\n1,2\n",
        {"user": "item", "item": "item"},
        "column 'item' has two roles: user and item",
    ),
    ("a.csv", "1,2,3,4,5\n3,4,5,6,7\n", {}, "5 columns and no header"),
    ("a.csv", "user,item\n1,2\n", {"format": "xml"}, "format = 'xml'"),
    ("a.csv", "user,item\n1,2\n", {"min_weight": 3}, "min_weight needs a weight column"),
    ("a.csv", "user,item\n1,2\n", {"user_core": 3}, "no interaction is left"),
    (
        "a.csv",
        "user,item\n1,2\n1,2\n",
        {"duplicates": "error"},
        "user 1 interacted with item 2 more than once",
    ),
    ("a.csv", "user,item,ok\n1,2,2\n", {"clean": "ok"}, "line 2, column 'ok': '2' is not a label"),
    ("a.csv.gz", b"user,item\n1,2\n", {}, "damaged or not what its name says"),
    ("a.csv.gz", gzip.compress(b"user,item\n" + b"1,2\n" * 9999, mtime=0)[:40], {}, "damaged"),
    ("a.csv.xz", lzma.compress(b"user,item\n" + b"1,2\n" * 9999)[:60], {}, "damaged"),
    ("a.parquet", b"hello", {}, "damaged"),
    ("a.zip", b"PK\x03\x04", {}, ".zip is not a format that can be read"),
    ("users.dat", "2 1 2\n-1 3\n", {}, "line 2: the count is -1"),
    ("users.dat", "2 1 2\n3 3 4\n", {}, "line 2: the count is 3, but 2 ids follow"),
    ("users.dat", "2 1 2\n\n1 3\n", {}, "line 2: the line is blank"),
    ("users.dat", "2 1 -2\n", {}, "line 1: id -2 is out of range"),
    ("users.dat", "1 900000000\n", {}, "id 900000000 is out of range"),
    ("a.txt", "0 1 2\n1 3 b\n", {"format": "adjacency"}, "line 2: 'b' is not an id"),
    ("a.txt", "0 1 2\n1 -3\n", {"format": "adjacency"}, "line 2: id -3 is out of range"),
    ("a.json", "[[1,2],\n[3,", {}, "line 2, column 4: not valid JSON"),
    ("a.json", '{"a": 1}', {}, "not a list of lists"),
    ("a.json", '[[1], ["x"]]', {}, "list 2: 'x' is not an item number"),
    ("a.npz", pickle.dumps([1]), {}, "holds Python objects (pickle), which are never loaded"),
    ("a.npz", b"PK\x03\x04junk", {}, "damaged"),
    (
        "a.inter",
        "user_id:token\titem_id:token\trating:float\n1\t2\tx\n",
        {},
        "line 2, column 'rating': 'x'",
    ),
    (
        "a.inter",
        "userID\titemID\tx_label\n0\t1\t7\n",
        {},
        "line 2, column 'x_label': '7' is not a part",
    ),
    (
        "a.inter",
        "userID\titemID\tx_label\n0\t1\t2\n",
        {},
        "no row belongs to the train part; in x_label, 0 is train",
    ),
    ("a.rating", "0\t1\t2\n0\tx\t1\n", {}, "'x' is not a number"),
    ("a.rating", "0\t1\t2\n-1\t5\t1\n", {}, "line 2: id -1 is out of range"),
    ("a.negative", "(0, 1)\n(0; 3)\n", {}, "line 2: '(0; 3)' is not a pair"),
]


@pytest.mark.parametrize(("name", "contents", "settings", "said"), BROKEN)
def test_broken_input_is_one_clear_error(
    name: str, contents: str | bytes, settings: dict[str, object], said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    with pytest.raises(InputError) as caught:
        load(path, **settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_broken_folders_and_archives(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="the folder holds no file"):
        load(tmp_path / "empty")
    good = parquet_bytes(GOOD, tmp_path)
    (tmp_path / "cut.parquet").write_bytes(good[: len(good) // 2])
    with pytest.raises(InputError, match=r"cut.parquet: the file is damaged"):
        load(tmp_path / "cut.parquet")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "a.parquet").write_bytes(good)
    GOOD.rename({"item": "itm"}).write_parquet(tmp_path / "two" / "b.parquet")
    with pytest.raises(InputError, match=r"b.parquet: its columns differ from those of a.parquet"):
        load(tmp_path / "two")
    (tmp_path / "many").mkdir()
    for name in "ab":
        (tmp_path / "many" / f"{name}.csv").write_text("user,item\n1,2\n")
    with pytest.raises(InputError, match="the folder holds 2 files"):
        load(tmp_path / "many")
    zst = tmp_path / "a.csv.zst"
    pl.DataFrame({"user": range(9999), "item": range(9999)}).lazy().sink_csv(
        zst, compression="zstd"
    )
    zst.write_bytes(zst.read_bytes()[:300])
    with pytest.raises(InputError, match=r"a.csv.zst: the file is damaged"):
        load(zst)


def test_matrices_that_lie(tmp_path: Path) -> None:
    eye = sp.csr_matrix(np.eye(3))
    np.savez(
        tmp_path / "oob.npz",
        format=np.array("csr"),
        shape=np.array([3, 2]),
        data=eye.data,
        indices=eye.indices,
        indptr=eye.indptr,
    )
    with pytest.raises(InputError, match="indices must be < 2"):
        load(tmp_path / "oob.npz")
    np.savez(
        tmp_path / "object.npz",
        format=np.array("csr"),
        shape=np.array([2, 2]),
        data=np.array([{}], dtype=object),
    )
    with pytest.raises(InputError, match="pickle"):
        load(tmp_path / "object.npz")
    sp.save_npz(tmp_path / "nan.npz", sp.csr_matrix(np.array([[1, np.nan]])))
    with pytest.raises(InputError, match=r"entry \(0, 1\) is nan"):
        load(tmp_path / "nan.npz")
    sp.save_npz(tmp_path / "train.npz", eye)
    sp.save_npz(tmp_path / "test.npz", sp.csr_matrix(np.eye(4)))
    with pytest.raises(InputError, match="differ in shape"):
        load(tmp_path)


def test_broken_frames() -> None:
    def said(data: object, **settings: object) -> str:
        with pytest.raises(InputError) as caught:
            load(data, **settings)
        return str(caught.value)

    assert "row 1: no user" in said(pd.DataFrame({"user": ["a", None], "item": [1, 2]}))
    assert "mixes types" in said(pd.DataFrame({"user": [1, "x"], "item": [1, 2]}))
    assert "no rows" in said(pd.DataFrame({"user": [], "item": []}))
    assert "row 0, column 'rating'" in said(
        pd.DataFrame({"user": [1, 1], "item": [1, 2], "rating": [float("nan"), 1.0]})
    )
    assert "expected a data frame, got list" in said([1])
    assert "separator does not apply to a data frame" in said(GOOD, separator=",")
    assert "did you mean 'format'" in said(GOOD, fmt="csv")
    assert "needs a time column" in said(GOOD, since="2011")
    for when in (pd.period_range("2011-01", periods=1, freq="M"), [timedelta(1)], [clock(8)]):
        assert "column 'time' holds values of the type" in said(
            pd.DataFrame({"user": [1], "item": [1], "time": when})
        )
    assert "type UUID; make it text, numbers or date-times, as with .astype(str)" in said(
        pd.DataFrame({"user": [UUID(int=1)], "item": [1]})
    )
    assert "not UTF-8" in said(pl.DataFrame({"user": [b"\xff"], "item": [1]}))
    assert "'18446744073709551615' is not a time" in said(
        pl.DataFrame({"user": [1], "item": [1], "time": [2**64 - 1]})
    )


@pytest.mark.parametrize(("kind", "exact"), [(pl.Float32, 2**24), (pl.Float64, 2**53)])
def test_float_ids_that_have_lost_digits_are_refused(kind: pl.DataType, exact: int) -> None:
    log = pl.DataFrame({"user": pl.Series([None, exact - 1], dtype=kind), "item": [1, 2]})
    assert frame(log, nulls="drop").all["user"].to_list() == [exact - 1]
    with pytest.raises(
        InputError,
        match=r"row 1, column 'user': id .* is a float that has lost digits; read the column as",
    ):
        frame(log.with_columns(pl.col("user") + 1), nulls="drop")


def test_a_column_named_label_is_only_read_when_asked() -> None:
    log = pl.DataFrame({"user": [1, 2], "item": [1, 2], "label": [0, 1]})
    assert load(log).dataset.pairs.clean is None
    for name in ("clean", "label"):  # the current name of the setting, and the earlier one
        flags = load(log, **{name: "label"}).dataset.pairs.clean
        assert flags is not None
        assert flags.tolist() == [0, 1]
    with pytest.raises(InputError, match="label was renamed to clean, and both are given"):
        load(log, label="label", clean="label")
    label = load(log, clean="label").dataset.pairs.clean
    assert label is not None
    assert label.tolist() == [0, 1]


# ---- the measurement data, where it is there


def sizes(loaded: object) -> tuple[int, int, int, list[int | None]]:
    dataset, parts = loaded.dataset, loaded.parts
    return (
        dataset.n_users,
        dataset.n_items,
        len(dataset.pairs),
        [len(part) if part is not None else None for part in parts or ()],
    )


def folder(shared_data: Path, name: str) -> Path:
    path = shared_data / name
    if not path.is_dir():
        pytest.skip(f"{name} is not here")
    return path


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        (
            "gowalla",
            {"train": "train_inner.txt", "valid": "valid_inner.txt", "test": "test.txt"},
            (29_858, 40_981, 719_081, [91_047, 217_242]),
        ),
        ("gowalla", {}, (29_858, 40_981, 810_128, [None, 217_242])),
        ("steam-200k/users.dat", {"min_user": 5}, (3_757, 5_113, 115_139, [])),
        ("steam-200k", {}, (3_757, 5_113, 67_653, [21_728, 25_758])),
        ("ml-100k-likes/users.dat", {"min_user": 5}, (938, 1_675, 55_361, [])),
        ("ml-100k-likes", {}, (938, 1_675, 32_844, [10_696, 11_821])),
        ("ml-100k/u.data", {}, (943, 1_682, 100_000, [])),
        ("ml-100k-noisy", {}, (497, 1_683, 66_899, [8_652, 7_208])),
        ("modcloth", {}, (44_784, 1_020, 79_914, [9_990, 5_433])),
        ("amazon-electronics-14core", {}, (1_435, 1_522, 31_887, [4_044, 4_044])),
        (
            "lastfm",
            {"train": "data1.txt", "test": "test1.txt"},
            (1_880, 4_489, 42_135, [None, 10_533]),
        ),
        ("tiktok", {}, (9_308, 6_710, 59_541, [3_051, 6_130])),
        ("beauty/Beauty.txt", {}, (22_363, 12_101, 198_502, [])),
    ],
)
def test_known_sizes(
    shared_data: Path,
    name: str,
    settings: dict[str, object],
    expected: tuple[int, int, int, list[int]],
) -> None:
    folder(shared_data, name.partition("/")[0])
    assert sizes(load(shared_data / name, **settings)) == expected


def test_noise_in_known_data(shared_data: Path) -> None:
    loaded = load(folder(shared_data, "ml-100k-noisy"))
    label = loaded.dataset.pairs.clean
    assert label is not None
    assert (label == 0).sum() == 11_899
    valid = loaded.parts[0] if loaded.parts else None
    assert valid is not None
    assert valid.clean is not None
    assert (valid.clean == 0).sum() == 1_532


def test_likes_are_the_ratings_of_four_and_more(shared_data: Path) -> None:
    """users.dat and the ratings, of different origin, agree on the number of likes of each user."""
    rated = load(folder(shared_data, "ml-100k") / "u.data", min_weight=4).dataset
    liked = load(folder(shared_data, "ml-100k-likes") / "users.dat").dataset
    assert len(rated.pairs) == len(liked.pairs) == 55_375
    assert sorted(np.bincount(rated.pairs.user)) == sorted(
        count for count in np.bincount(liked.pairs.user) if count
    )
    assert rated.pairs.time is not None
    assert datetime(1997, 9, 1, tzinfo=UTC).timestamp() < rated.pairs.time.min()


def test_history_says_what_was_read() -> None:
    assert isinstance(frame(GOOD), RawParts)
    assert frame(GOOD).history == ("data frame: 1 rows",)
