"""Logs of what was shown: whether it was clicked, and at which place of the list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.data.interactions import Interactions, join
from recsys.data.load import load
from recsys.data.reading import Source
from recsys.data.splitting import SplitRule, split
from recsys.errors import InputError

SHOWN = pl.DataFrame(
    {
        "user": ["ann", "ann", "bob", "ann", "bob", "bob"],
        "item": ["a", "b", "a", "b", "b", "c"],
        "time": [10, 10, 20, 30, 40, 50],
        "visit": [1, 1, 2, 3, 2, 2],
        "hit": [1, 0, 1, 1, 0, 1],
        "place": [1, 2, 1, 1, 300, 2],
    }
)
COLUMNS: dict[str, Any] = {"clicked": "hit", "position": "place"}


def test_the_log_holds_what_was_shown_and_the_pairs_what_was_clicked() -> None:
    data = load(SHOWN, session="visit", **COLUMNS, keep_log=True).dataset
    clicked = load(SHOWN.filter(pl.col("hit") == 1), session="visit").dataset
    assert data.pairs.fingerprint == clicked.pairs.fingerprint
    assert data.pairs.clicked is data.pairs.position is None
    log = data.log.take(data.log.chronological)
    assert log.clicked is not None
    assert (log.clicked.dtype, log.clicked.tolist()) == (np.int8, SHOWN["hit"].to_list())
    assert log.position is not None
    assert (log.position.dtype, log.position.tolist()) == (np.int16, SHOWN["place"].to_list())
    assert "clicked: 6 -> 4 rows" in data.history
    assert "clicked and position" in repr(log)


def test_histories_are_what_was_clicked() -> None:
    data = load(SHOWN, session="visit", **COLUMNS, keep_log=True).dataset
    items = data.items.ids.to_list()
    histories = [[items[row] for row in each] for each in data.log.histories]
    assert histories == [["a", "b"], ["a", "c"]]
    assert data.log.histories.time is not None
    assert data.log.histories.time.tolist() == [10, 30, 20, 50]
    assert [[items[row] for row in each] for each in data.log.visits] == [["a"], ["a", "c"], ["b"]]


def test_columns_may_come_alone_and_all_may_be_clicked() -> None:
    places = load(SHOWN, position="place", keep_log=True).dataset
    assert places.log.clicked is None
    assert places.log.position is not None
    assert sorted(places.log.position.tolist()) == [1, 1, 1, 2, 2, 300]
    assert len(places.pairs) == 5  # everything is a positive
    every = load(SHOWN.with_columns(hit=True)[:3], clicked="hit", keep_log=True).dataset
    assert every.log is not every.pairs  # the pairs lack the column
    assert every.log.clicked is not None
    assert every.log.clicked.tolist() == [1, 1, 1]
    assert every.pairs.fingerprint == load(SHOWN[:3]).dataset.pairs.fingerprint


def test_nothing_is_read_unless_it_is_named() -> None:
    named = SHOWN.rename({"hit": "clicked", "place": "position"})
    data = load(named, keep_log=True).dataset
    assert data.log.clicked is data.log.position is None
    assert data.fingerprint == load(SHOWN.drop("hit", "place"), keep_log=True).dataset.fingerprint
    none = load(named, clicked="none", position="none").dataset
    assert none.fingerprint == load(SHOWN).dataset.fingerprint


@pytest.mark.parametrize("role", ["clicked", "position"])
def test_without_the_log_they_are_refused(role: str, tmp_path: Path, monkeypatch) -> None:
    message = f"{role} has no effect without keep_log"
    with pytest.raises(InputError, match=message) as caught:
        load(SHOWN, **{role: COLUMNS[role]})
    assert caught.value.remedy == f"set keep_log = true, or leave out {role}"
    with pytest.raises(InputError, match=message):
        Source(path="log.csv", keep_log=False, **{role: 3})
    # Whether a data set of the catalogue keeps its log is known when its entry is.
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    SHOWN.write_csv(tmp_path / "shown.csv")
    entry = f'folder = "{tmp_path}"\nread = {{ path = "shown.csv", keep_log = true }}\n'
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "shown.toml").write_text(entry)
    assert getattr(load("shown", **COLUMNS).dataset.log, role) is not None
    with pytest.raises(InputError, match=message):
        load("online-retail", **{role: "kept"})


WRONG: list[tuple[str, list[Any], str, str]] = [
    ("clicked", [1, 2], "'2' is not a click", "a click is 1 (clicked) or 0"),
    ("clicked", [1, None], "the click is empty", "a click is 1 (clicked) or 0"),
    ("position", [0, 1], "'0' is not a position", "counts from 1"),
    ("position", [1.0, 1.5], "'1.5' is not a position", "counts from 1"),
    ("position", [1, 32_768], "'32768' is not a position", "to 32767"),
    ("position", [3, None], "the position is empty", "counts from 1"),
]


@pytest.mark.parametrize(("role", "values", "cause", "remedy"), WRONG)
def test_wrong_values_are_named_with_their_line(
    role: str, values: list[Any], cause: str, remedy: str, tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    pl.DataFrame({"user": [1, 1], "item": [1, 2], "shown": values}).write_csv(path)
    with pytest.raises(InputError) as caught:
        load(path, **{role: "shown"}, keep_log=True)
    bad = 2 if values[0] == 0 else 3
    assert f"{path}, line {bad}, column 'shown'" in str(caught.value)
    assert cause in str(caught.value)
    assert remedy in str(caught.value.remedy)


def test_where_no_row_was_clicked_there_are_no_pairs() -> None:
    with pytest.raises(InputError, match="no interaction is left"):
        load(SHOWN.with_columns(hit=0), clicked="hit", keep_log=True)


def test_formats_without_columns_refuse_them(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("0 1 2\n1 2\n")
    with pytest.raises(InputError, match="clicked = 2 is not read from adjacency"):
        load(tmp_path / "log.txt", format="adjacency", clicked=2, keep_log=True)


def test_files_that_are_split_already(tmp_path: Path) -> None:
    header = "user,item,time,hit\n"
    (tmp_path / "train.csv").write_text(header + "1,a,1,1\n1,b,2,0\n1,b,3,1\n2,a,4,1\n2,b,4,0\n")
    (tmp_path / "valid.csv").write_text("user,item,time\n1,c,6\n")
    (tmp_path / "test.csv").write_text(header + "1,d,7,1\n1,a,8,0\n")
    files = {f"{part}": f"{part}.csv" for part in ("train", "valid", "test")}
    loaded = load(tmp_path, **files, clicked="hit", keep_log=True)
    result = split(loaded)
    assert result.test is not None
    assert len(result.test) == 1
    assert result.train.log.clicked is not None
    assert sorted(result.train.log.clicked.tolist()) == [0, 0, 1, 1, 1]
    refitted = result.refit().train.log
    # A part without the column holds positives alone.
    assert refitted.clicked is not None
    assert sorted(refitted.clicked.tolist()) == [0, 0, 1, 1, 1, 1]
    (tmp_path / "train.csv").write_text("user,item,time\n1,a,1\n")
    (tmp_path / "test.csv").write_text("user,item,time\n1,c,7\n")
    with pytest.raises(InputError, match="no file has the column 'hit' for clicked"):
        load(tmp_path, **files, clicked="hit", keep_log=True)


def test_no_view_of_an_answer_stays_in_train() -> None:
    rng = np.random.default_rng(0)
    n = 800
    shown = pl.DataFrame(
        {
            "user": rng.integers(0, 20, n),
            "item": rng.integers(0, 25, n),
            "time": 1_600_000_000 + np.arange(n),
            "hit": rng.integers(0, 2, n),
        }
    )
    result = split(load(shown, clicked="hit", keep_log=True), SplitRule(by="last"))
    assert result.valid is not None
    assert result.test is not None
    log = result.train.log
    held = np.concatenate([result.valid.pairs.key, result.test.open("look").pairs.key])
    assert not np.isin(log.key, held).any()
    assert log.clicked is not None
    assert 0 < (log.clicked == 0).sum() < len(log)


def test_a_fingerprint_sees_clicks_and_places() -> None:
    several = [
        load(SHOWN, keep_log=True, **columns).dataset.log.fingerprint
        for columns in ({}, {"clicked": "hit"}, {"position": "place"}, COLUMNS)
    ]
    assert len(set(several)) == 4
    row = np.array([0])
    one, other = (
        Interactions(row, row, 1, 1, **{name: np.array([1])}) for name in ("order", "position")
    )
    assert one.fingerprint != other.fingerprint


def test_joined_logs_keep_their_clicks() -> None:
    row = np.array([0])
    plain = Interactions(row, row, 1, 1)
    shown = Interactions(row, row, 1, 1, clicked=np.array([0]), position=np.array([3]))
    both = join(plain, shown)
    assert both.clicked is not None
    assert both.clicked.tolist() == [1, 0]
    assert both.position is None  # where the first was shown is not known
    assert join(plain, plain).clicked is None
