"""Folders of Parquet whose names are columns, as pandas, polars and Arrow write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as arrow_dataset
import pytest

from recsys.data.load import load
from recsys.data.reading import Source, read
from recsys.errors import InputError

LOG = pd.DataFrame(
    {
        "user": ["a", "a", "b", "c", "c", "d"],
        "item": [10, 11, 10, 12, 10, 13],
        "event": ["buy", "view", "buy", "view", "cart", "buy"],
        "dt": ["2020-01-01", "2020-01-02", "2020-01-01", "2020-01-03", "2020-01-02", "2020-01-03"],
        "shop": [1, 2, 1, 1, 2, 2],
    }
)


def by_pandas(frame: pd.DataFrame, folder: Path, keys: list[str]) -> None:
    frame.to_parquet(folder, partition_cols=keys)


def by_polars(frame: pd.DataFrame, folder: Path, keys: list[str]) -> None:
    pl.DataFrame(frame.to_dict("list")).write_parquet(folder, partition_by=keys)


def by_arrow(frame: pd.DataFrame, folder: Path, keys: list[str]) -> None:
    arrow_dataset.write_dataset(
        pa.Table.from_pandas(frame),
        folder,
        format="parquet",
        partitioning=keys,
        partitioning_flavor="hive",
    )


@pytest.mark.parametrize("writer", [by_pandas, by_polars, by_arrow])
@pytest.mark.parametrize("keys", [["event"], ["dt"], ["event", "dt"], ["shop", "event", "dt"]])
def test_partitions_are_columns(
    writer: Callable[[pd.DataFrame, Path, list[str]], None], keys: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "log"
    writer(LOG, folder, keys)
    found = read(Source(path=str(folder), behaviour="event", time="dt", weight="shop")).all
    assert found is not None
    moments = [moment.strftime("%Y-%m-%d") for moment in found["time"].to_list()]
    rows = zip(
        found["user"], found["item"], found["behaviour"], moments, found["weight"], strict=True
    )
    assert sorted(rows) == sorted(
        zip(LOG["user"], LOG["item"], LOG["event"], LOG["dt"], LOG["shop"], strict=True)
    )


def test_a_partition_can_be_filtered_by(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    by_pandas(LOG, folder, ["event"])
    bought = load(folder, behaviours=("buy",)).dataset
    kept = LOG[LOG["event"] == "buy"]
    users, items = bought.users.ids.to_list(), bought.items.ids.to_list()
    assert {
        (users[u], items[i]) for u, i in zip(bought.pairs.user, bought.pairs.item, strict=True)
    } == set(zip(kept["user"], kept["item"], strict=True))
    assert "partitions event" in bought.history[0]


def test_a_partition_may_be_the_user(tmp_path: Path) -> None:
    """Ids that are whole numbers are numbers, those with leading zeros stay texts."""
    for ids, expected in ((["7", "12", "7"], [7, 12, 7]), (["007", "12", "7"], ["007", "12", "7"])):
        folder = tmp_path / f"log{ids[0]}"
        for number, user in enumerate(ids):
            part = folder / f"user={user}"
            part.mkdir(parents=True, exist_ok=True)
            pl.DataFrame({"item": [number]}).write_parquet(part / f"{number}.parquet")
        found = read(Source(path=str(folder))).all
        assert found is not None
        assert sorted(zip(found["item"], found["user"], strict=True)) == list(enumerate(expected))


def test_values_are_unescaped_and_missing_ones_missing(tmp_path: Path) -> None:
    frame = LOG.assign(event=["a b/c", None, "a b/c", "d=e", "d=e", None])
    by_arrow(frame, tmp_path / "log", ["event"])
    with pytest.raises(InputError, match="the behaviour is empty"):
        read(Source(path=str(tmp_path / "log")))
    found = read(Source(path=str(tmp_path / "log"), behaviour="none")).all
    assert found is not None
    assert found.height == 6
    named = frame.dropna(subset=["event"])
    by_arrow(named, tmp_path / "named", ["event"])
    found = read(Source(path=str(tmp_path / "named"))).all
    assert found is not None
    assert sorted(found["behaviour"]) == sorted(named["event"])


def test_what_a_job_left_behind_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    by_pandas(LOG, folder, ["event"])
    (folder / "_SUCCESS").touch()
    for leaving in (folder / "_temporary" / "event=buy", folder / ".staging" / "event=buy"):
        leaving.mkdir(parents=True)
        pl.DataFrame({"user": ["z"], "item": [99]}).write_parquet(leaving / "part.parquet")
    found = read(Source(path=str(folder))).all
    assert found is not None
    assert found.height == len(LOG)
    (folder / "_delta_log").mkdir()
    with pytest.raises(InputError, match="Delta table"):
        read(Source(path=str(folder)))


def test_files_that_disagree_on_partitions_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    by_pandas(LOG, folder, ["event"])
    LOG.drop(columns="event").to_parquet(folder / "zz.parquet")
    with pytest.raises(InputError, match=r"its folders name no column, those of .* name event"):
        read(Source(path=str(folder)))


def test_folders_above_the_table_are_no_columns(tmp_path: Path) -> None:
    folder = tmp_path / "event=old" / "log"
    folder.mkdir(parents=True)
    LOG.drop(columns="event").to_parquet(folder / "a.parquet")
    found = read(Source(path=str(folder))).all
    assert found is not None
    assert "behaviour" not in found.columns


def test_a_column_of_the_file_wins_over_its_folder(tmp_path: Path) -> None:
    """DuckDB may write the column into the files too; there it has its type."""
    for shop in (1, 2):
        part = tmp_path / "log" / f"shop={shop}"
        part.mkdir(parents=True)
        LOG[LOG["shop"] == shop].assign(shop=float(shop)).to_parquet(part / "a.parquet")
    found = read(Source(path=str(tmp_path / "log"), weight="shop")).all
    assert found is not None
    assert sorted(found["weight"]) == sorted(map(float, LOG["shop"]))
