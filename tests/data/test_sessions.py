"""Sessions: read from a column, or made by an idle time, against a plain loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.load import load
from recsys.data.reading import Source
from recsys.data.splitting import Noise, SplitRule, split
from recsys.data.types import Dataset
from recsys.errors import InputError

SHOP = pl.DataFrame(
    {
        "user": ["ann", "bob", "ann", "ann", "bob"],
        "item": ["a", "a", "b", "c", "c"],
        "time": [10, 20, 12, 500, 30],
        "invoice": ["x", "y", "x", "z", "y"],
    }
)


def events(data: Dataset) -> dict[tuple[Any, Any], Any]:
    """The session id of every pair of ids."""
    pairs = data.pairs
    assert pairs.session is not None
    assert data.sessions is not None
    ids = [
        vocab.ids.gather(rows).to_list()
        for vocab, rows in (
            (data.users, pairs.user),
            (data.items, pairs.item),
            (data.sessions, pairs.session),
        )
    ]
    return {(user, item): session for user, item, session in zip(*ids, strict=True)}


def test_sessions_of_a_column() -> None:
    data = load(SHOP, session="invoice").dataset
    assert data.pairs.session is not None
    assert data.pairs.session.dtype == np.int32
    assert data.sessions is not None
    assert data.sessions.ids.to_list() == ["x", "y", "z"]  # in the order of the log
    assert events(data) == {(user, item): invoice for user, item, _, invoice in SHOP.iter_rows()}
    assert "session" in repr(data)


def test_a_column_of_sessions_is_only_read_if_it_is_named() -> None:
    named = SHOP.rename({"invoice": "session"})
    plain, without = load(named).dataset, load(SHOP.drop("invoice")).dataset
    assert plain.pairs.session is plain.sessions is None
    assert plain.fingerprint == without.fingerprint
    asked = load(named, session="session").dataset
    assert asked.fingerprint != plain.fingerprint
    assert load(named, session="none").dataset.fingerprint == plain.fingerprint


def test_sessions_of_files_and_of_other_formats(tmp_path: Path) -> None:
    SHOP.write_csv(tmp_path / "log.csv")
    SHOP.write_parquet(tmp_path / "log.parquet")
    types = {"user": "token", "item": "token", "time": "float", "invoice": "token"}
    lines = ["\t".join(f"{name}:{kind}" for name, kind in types.items())]
    lines += ["\t".join(map(str, row)) for row in SHOP.iter_rows()]
    (tmp_path / "log.inter").write_text("\n".join(lines) + "\n")
    expected = events(load(SHOP, session="invoice").dataset)
    for name in ("log.csv", "log.parquet", "log.inter"):
        assert events(load(tmp_path / name, session="invoice").dataset) == expected
    by_position = load(tmp_path / "log.csv", user=0, item=1, time=2, session=3).dataset
    assert events(by_position) == expected


def test_numbers_of_sessions_are_numbers_and_parts_share_them(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("user,item,visit\n1,1,7\n1,2,7\n2,1,8\n")
    (tmp_path / "test.csv").write_text("user,item,visit\n1,3,7\n2,3,9a\n")
    loaded = load(tmp_path, session="visit")
    assert loaded.dataset.sessions is not None
    assert loaded.dataset.sessions.ids.to_list() == ["7", "8", "9a"]
    assert loaded.parts is not None
    test = loaded.parts[1]
    assert test is not None
    assert test.session is not None
    assert test.session.tolist() == [0, 2]
    (tmp_path / "test.csv").write_text("user,item,visit\n1,3,7\n2,3,9\n")
    sessions = load(tmp_path, session="visit").dataset.sessions
    assert sessions is not None
    assert sessions.ids.to_list() == [7, 8, 9]


def naive_sessions(rows: list[tuple[int, int]], gap: float) -> list[int]:
    """The session of every (user, time), numbered in the order in which they begin."""
    last: dict[int, tuple[int, int]] = {}
    groups: list[list[int]] = []
    for row in sorted(range(len(rows)), key=lambda row: (rows[row][1], row)):
        user, time = rows[row]
        if user in last and time - last[user][0] <= gap:
            number = last[user][1]
            groups[number].append(row)
        else:
            number = len(groups)
            groups.append([row])
        last[user] = (time, number)
    return [next(n for n, group in enumerate(groups) if row in group) for row in range(len(rows))]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60)), min_size=1, max_size=40),
    st.sampled_from([0.5, 1, 5, 5.5, 20, 1000]),
)
def test_sessions_by_idle_time(rows: list[tuple[int, int]], gap: float) -> None:
    frame = pl.DataFrame(
        {
            "user": [user for user, _ in rows],
            "item": range(len(rows)),
            "time": [1_600_000_000 + time for _, time in rows],
        }
    )
    data = load(frame, session_gap=gap).dataset
    found = events(data)
    assert [found[user, item] for item, (user, _) in enumerate(rows)] == naive_sessions(rows, gap)


def test_the_gap_is_in_seconds_for_fine_times_and_the_history_counts() -> None:
    frame = pl.DataFrame(
        {
            "user": [1, 1, 1],
            "item": [1, 2, 3],
            "time": [1_600_000_000_000, 1_600_000_010_000, 1_600_000_020_001],
        }
    )
    data = load(frame, session_gap=10).dataset
    assert list(events(data).values()) == [0, 0, 1]
    assert "session_gap 10: 2 sessions" in data.history


def test_an_event_that_is_left_out_still_continues_a_visit(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "user": [1, 1, 1],
            "item": [1, 2, 3],
            "time": [0, 8, 16],
            "event": ["buy", "view", "buy"],
        }
    )
    data = load(frame, session_gap=10, behaviours=("buy",)).dataset
    assert list(events(data).values()) == [0, 0]
    (tmp_path / "train.csv").write_text("user,item,time\n1,1,0\n")
    (tmp_path / "test.csv").write_text("user,item,time\n1,2,8\n")
    loaded = load(tmp_path, session_gap=10)
    assert loaded.dataset.sessions is not None
    assert loaded.dataset.sessions.ids.to_list() == [0]  # it spans the parts


def test_sessions_follow_their_rows_through_a_split() -> None:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(20), 10)
    frame = pl.DataFrame(
        {"user": user, "item": np.tile(np.arange(10), 20), "time": rng.integers(0, 999, 200)}
    )
    data = load(frame, session_gap=60).dataset
    whole = events(data)
    result = split(data, SplitRule(seed=1))
    assert result.train.sessions is data.sessions
    assert result.test is not None
    found = events(result.train)
    for held in (result.valid, result.test.open("test")):
        assert held is not None
        found |= events(data.with_pairs(held.pairs))
    assert found == whole
    noisy = split(data, SplitRule(noise=Noise(kind="random", share=0.2))).train
    assert noisy.pairs.session is not None
    for rows in (noisy.pairs.take(noisy.pairs.clean == 0),):  # no column gives noise away
        assert rows.session is not None
        owners = {session: owner for (owner, _), session in whole.items()}
        assert all(
            owners[int(session)] == int(data.users.ids[int(of)])
            for of, session in zip(rows.user, rows.session, strict=True)
        )


REFUSED: list[tuple[pl.DataFrame, dict[str, Any], str]] = [
    (SHOP, {"session": "basket"}, "no column 'basket' for session"),
    (SHOP, {"session": "item", "item": "item"}, "has two roles"),
    (
        SHOP.with_columns(invoice=pl.lit("x")),
        {"session": "invoice"},
        r"session 'x' belongs to two users, 'ann' and 'bob'",
    ),
    (
        SHOP.with_columns(invoice=pl.Series(["x", None, "x", "z", "y"])),
        {"session": "invoice"},
        "row 1, column 'invoice': the session is empty",
    ),
    (SHOP.drop("time"), {"session_gap": 60}, "session_gap needs times, which the data lack"),
    (SHOP.drop("time"), {"session_gap": 60, "ordered": True}, "session_gap needs times"),
    (SHOP, {"session_gap": 0}, "session_gap must be above 0, got 0"),
    (SHOP, {"session_gap": -5}, "session_gap must be above 0, got -5"),
    (SHOP, {"session_gap": 5, "session": "invoice"}, "leave out one of them"),
]


@pytest.mark.parametrize(("frame", "settings", "match"), REFUSED)
def test_wrong_sessions_are_one_clear_error(
    frame: pl.DataFrame, settings: dict[str, Any], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        load(frame, **settings)


def test_no_part_has_the_column(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("user,item\n1,2\n")
    with pytest.raises(InputError, match="no file has the column 'visit' for session"):
        load(tmp_path, train="train.csv", test="test.csv", session="visit")
    with pytest.raises(InputError, match="needs times, which the train part lacks"):
        load(tmp_path, train="train.csv", test="test.csv", session_gap=5)


def test_arrays_and_lists_have_no_sessions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="session does not apply here"):
        load(np.array([[0, 1], [1, 0]]), session="visit")
    (tmp_path / "lists.txt").write_text("0 1 2\n1 2\n")
    with pytest.raises(InputError, match="is not read from"):
        load(tmp_path / "lists.txt", format="adjacency", session="visit")
    assert Source(session_gap=1).session_gap == 1
