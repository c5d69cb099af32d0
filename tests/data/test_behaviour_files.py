"""One file per behaviour, against a plain loop over the lines of the files."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from mistakes import invoke

from recsys.config import build, to_dict
from recsys.data.load import load
from recsys.data.reading import Source
from recsys.data.splitting import split
from recsys.data.types import Dataset, Interactions
from recsys.errors import InputError

Event = tuple[Any, Any, str]


def events(data: Dataset, rows: Interactions | None = None) -> list[Event]:
    """User, item and behaviour of each row, in the order of the log and in outside ids."""
    log = data.log if rows is None else rows
    assert log.behaviour is not None
    users, items = data.users.ids.to_list(), data.items.ids.to_list()
    return [
        (users[log.user[row]], items[log.item[row]], log.behaviours[log.behaviour[row]])
        for row in log.chronological
    ]


def lines_in(path: Path, behaviour: str) -> list[Event]:
    """What a file of lists says, read line by line."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return [(int(user), int(item), behaviour) for user, *items in rows for item in items]


def folder_of(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


LISTS = {
    "view.txt": "0 4 4 2 9\n1 2 3\n2 6\n3 9\n",
    "cart.txt": "0 2\n3 9\n",
    "buy.txt": "0 9 2\n1 3\n3 1 9 9\n",
}
ALL = {"view": "view.txt", "cart": "cart.txt", "buy": "buy.txt"}


def test_every_event_of_every_file_is_in_the_log(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, LISTS)
    loaded = load(folder, behaviour_files=ALL, behaviours=["buy"], keep_log=True)
    data = loaded.dataset
    expected = [event for name in ALL for event in lines_in(folder / f"{name}.txt", name)]
    assert events(data) == expected
    assert len(data.log) == 16
    assert sorted(events(data, data.pairs)) == sorted(set(lines_in(folder / "buy.txt", "buy")))
    # The numbers of all files are ids: user 2 has only views, item 4 too.
    assert (data.n_users, data.n_items) == (4, 9)
    lines = "\n".join(data.history)
    assert "view.txt (view): adjacency (guessed), lists without an order" in lines
    assert "buy.txt (buy): adjacency (guessed)" in lines
    assert "without times the log holds one file after the other" in lines
    assert "behaviours buy: 16 -> 6 rows" in lines


def test_the_target_may_be_several_behaviours_or_have_another_place(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, LISTS)
    both = load(folder, behaviour_files=ALL, behaviours=["buy", "cart"], keep_log=True).dataset
    assert {behaviour for *_, behaviour in events(both, both.pairs)} == {"buy", "cart"}
    other = {"buy": "buy.txt", "view": "view.txt"}
    first = load(folder, behaviour_files=other, behaviours=["buy"], keep_log=True).dataset
    assert events(first) == lines_in(folder / "buy.txt", "buy") + lines_in(
        folder / "view.txt", "view"
    )


TIMED = {
    "view.csv": "user,item,time\na,x,50\nb,y,20\na,y,40\n",
    "buy.csv": "user,item,time\na,x,50\nb,y,30\na,z,10\n",
}
OF_TIMED = {"view": "view.csv", "buy": "buy.csv"}


def test_files_with_times_are_one_log_in_order_of_time(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, TIMED)
    data = load(folder, behaviour_files=OF_TIMED, behaviours=["buy"], keep_log=True).dataset
    rows = []
    for name in ("view", "buy"):
        for line in (folder / f"{name}.csv").read_text().splitlines()[1:]:
            user, item, time = line.split(",")
            rows.append((int(time), user, item, name))
    rows.sort(key=lambda row: row[0])  # stable: equal times in the order of the files
    assert events(data) == [row[1:] for row in rows]
    assert "without times" not in "\n".join(data.history)
    reverse = dict(reversed(OF_TIMED.items()))
    turned = load(folder, behaviour_files=reverse, behaviours=["buy"], keep_log=True).dataset
    assert events(turned)[-2:] == [("a", "x", "buy"), ("a", "x", "view")]
    # The pairs are those of the file alone, to the byte.
    alone = load(folder / "buy.csv").dataset
    named = load(folder / "buy.csv", keep_log=True).dataset
    assert alone.pairs.key.tolist() == data.pairs.key.tolist() == named.pairs.key.tolist()
    assert alone.items.ids.to_list() == data.items.ids.to_list()


def test_without_the_log_only_the_target_remains(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, LISTS)
    data = load(folder, behaviour_files=ALL, behaviours=["buy"]).dataset
    assert data.log is data.pairs
    assert len(data.pairs) == 5


def test_sessions_go_on_across_the_files(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, TIMED)
    settings: dict[str, Any] = {"behaviour_files": OF_TIMED, "behaviours": ["buy"]}
    data = load(folder, **settings, keep_log=True, session_gap=12).dataset
    assert data.log.session is not None
    sessions = defaultdict(list)
    for row, event in zip(data.log.chronological, events(data), strict=True):
        sessions[int(data.log.session[row])].append(event)
    assert sorted(sessions.values()) == [
        [("a", "y", "view"), ("a", "x", "view"), ("a", "x", "buy")],
        [("a", "z", "buy")],
        [("b", "y", "view"), ("b", "y", "buy")],
    ]


def test_columns_and_types_that_differ_between_the_files(tmp_path: Path) -> None:
    files = {
        "view.csv": "user,item,time\n1,x,2020-01-01 00:00:00.0000005\n",
        "buy.csv": "user,item,time,rating\n1,x,2020-01-01\nb7,x,2020-01-02,5\n".replace(
            "01\nb", "01,4\nb"
        ),
    }
    folder = folder_of(tmp_path, files)
    data = load(folder, behaviour_files=OF_TIMED, behaviours=["buy"], keep_log=True).dataset
    assert sorted(events(data)) == [("1", "x", "buy"), ("1", "x", "view"), ("b7", "x", "buy")]
    assert data.log.time_unit == "ns"
    assert data.log.weight is None
    assert "weight left out, because view.csv lacks it" in data.history


def test_behaviours_that_are_split_already(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        {
            "view.txt": LISTS["view.txt"],
            "train_cart.txt": "0 2\n",
            "test_cart.txt": "3 9\n",
            "train.txt": "0 9 4\n1 3\n3 1\n",
            "test.txt": "0 2\n3 9\n",
        },
    )
    files = {
        "view": "view.txt",
        "cart": {"train": "train_cart.txt", "test": "test_cart.txt"},
        "buy": {"train": "train.txt", "test": "test.txt"},
    }
    loaded = load(folder, behaviour_files=files, behaviours=["buy"], keep_log=True)
    data = loaded.dataset
    expected = lines_in(folder / "view.txt", "view") + lines_in(folder / "train_cart.txt", "cart")
    expected += lines_in(folder / "train.txt", "buy")
    assert events(data) == expected
    assert loaded.parts is not None
    test = loaded.parts[1]
    assert test is not None
    assert events(data, test) == lines_in(folder / "test.txt", "buy")
    # A view of a held-out pair does not reach train.
    held = {(user, item) for user, item, _ in events(data, test)}
    train = events(split(loaded).train)
    assert {(0, 2, "view"), (3, 9, "view"), (0, 2, "cart")} <= set(expected) - set(train)
    assert not held & {(user, item) for user, item, _ in train}
    # Two targets, one of which the test part lacks.
    two = {**files, "cart": "train_cart.txt"}
    both = load(folder, behaviour_files=two, behaviours=["buy", "cart"], keep_log=True)
    assert len(both.dataset.pairs) == 5


def test_matrices_of_behaviours(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dense = {name: rng.random((6, 8)) < 0.4 for name in ("view", "buy")}
    for name, matrix in dense.items():
        sp.save_npz(tmp_path / f"{name}.npz", sp.csr_matrix(matrix.astype(float)))
    files = {name: f"{name}.npz" for name in dense}
    data = load(tmp_path, behaviour_files=files, behaviours=["buy"], keep_log=True).dataset
    assert Counter(events(data)) == Counter(
        (int(user), int(item), name)
        for name, matrix in dense.items()
        for user, item in np.argwhere(matrix)
    )
    assert "one file after the other" not in "\n".join(data.history)


def test_short_lists_are_read_as_the_other_files_are(tmp_path: Path) -> None:
    """Lines of two numbers look like a table, and lines of three like one with weights."""
    folder = folder_of(tmp_path, {**LISTS, "buy.txt": "0 9 2\n1 3 1\n"})
    for files in (ALL, dict(reversed(ALL.items()))):
        data = load(folder, behaviour_files=files, behaviours=["buy"], keep_log=True).dataset
        assert sorted(events(data, data.pairs)) == sorted(lines_in(folder / "buy.txt", "buy"))
        assert data.pairs.weight is None


def test_the_setting_survives_a_run_and_a_file(tmp_path: Path) -> None:
    files = {"view": "view.txt", "buy": {"train": "train.txt", "test": "test.txt"}}
    source = Source(path=str(tmp_path), behaviour_files=files, behaviours=("buy",))
    assert build(Source, to_dict(source)) == source
    folder = folder_of(tmp_path, LISTS)
    names = " ".join(f"behaviour_files.{name}={file}" for name, file in ALL.items())
    target = """'behaviours=["buy"]'"""
    code, output, _ = invoke(f"data stats {folder} {names} {target} keep_log=true")
    assert code == 0
    assert "view 8" in output


def test_a_frame_has_no_files() -> None:
    frame = pl.DataFrame({"user": [1], "item": [2]})
    with pytest.raises(InputError, match="behaviour_files does not apply to a data frame"):
        load(frame, behaviour_files=ALL, behaviours=["buy"])


BUY = {"behaviours": ["buy"]}
BAD: list[tuple[str, dict[str, Any], str]] = [
    (
        "no target",
        {"behaviour_files": ALL},
        r"\[data\] behaviour_files: the target is missing: behaviours names the files that "
        r'make the pairs; set behaviours = \["buy"\]',
    ),
    (
        "a target without a file",
        {"behaviour_files": ALL, "behaviours": ["by"]},
        r"\[data\] behaviours: the target 'by' has no file; did you mean 'buy'",
    ),
    (
        "a file for two behaviours",
        {"behaviour_files": {"view": "buy.txt", "buy": "./buy.txt"}, **BUY},
        r"behaviour_files: buy.txt is named twice, for view and buy; give each its own file",
    ),
    (
        "a file for two parts",
        {"behaviour_files": {"buy": {"train": "buy.txt", "test": "buy.txt"}}, **BUY},
        "behaviour_files: buy.txt is named twice, for buy; give each its own file",
    ),
    (
        "a file that does not exist",
        {"behaviour_files": {**ALL, "fav": "fav.txt"}, **BUY},
        "fav.txt: no such file or folder; the folder holds a.inter, b.inter, buy.txt",
    ),
    (
        "a part with another name",
        {"behaviour_files": {"buy": {"train": "buy.txt", "dev": "cart.txt"}}, **BUY},
        r"behaviour_files: 'dev' of buy is not a part; write buy = \{ train = ",
    ),
    (
        "parts without train",
        {"behaviour_files": {"buy": {"test": "buy.txt"}}, **BUY},
        r"behaviour_files: buy lacks train; write buy = \{ train = ",
    ),
    (
        "a test part of a view alone",
        {
            "behaviour_files": {
                "view": {"train": "view.txt", "test": "cart.txt"},
                "buy": "buy.txt",
            },
            **BUY,
        },
        "view has a test file, and the target buy has none; name the parts of the target",
    ),
    (
        "parts that are named twice",
        {"behaviour_files": ALL, "train": "buy.txt", **BUY},
        "train and behaviour_files both name files; name the parts of a behaviour",
    ),
    (
        "a column of behaviours too",
        {"behaviour_files": ALL, "behaviour": "event", **BUY},
        "behaviour = 'event' names a column, and behaviour_files names files; leave out one",
    ),
    (
        "an order across files",
        {"behaviour_files": ALL, "ordered": True, **BUY},
        "several files have no common order; leave out ordered, or give files with times",
    ),
    (
        "files of which some have times",
        {"behaviour_files": {"view": "timed.csv", "buy": "untimed.csv"}, **BUY},
        "untimed.csv: timed.csv has times, and untimed.csv does not; give times in all files, or",
    ),
    (
        "histories of targets",
        {"behaviour_files": {"view": "a.inter", "buy": "b.inter"}, **BUY},
        "a.inter: histories of targets cannot be joined with the events of other files",
    ),
    (
        "a value that is not a file",
        {"behaviour_files": {"buy": 3}, **BUY},
        "behaviour_files",
    ),
]


@pytest.mark.parametrize(
    ("settings", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_input_gets_one_clear_error(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    sequence = "user_id:token\titem_id_list:token_seq\titem_id:token\nu\ta\tb\n"
    more = {
        "timed.csv": TIMED["view.csv"],
        "untimed.csv": "user,item\na,x\n",
        "a.inter": sequence,
        "b.inter": sequence,
    }
    folder_of(tmp_path, LISTS | more)
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, **settings)
    assert caught.value.remedy


def test_paths_that_are_not_a_folder(tmp_path: Path) -> None:
    folder_of(tmp_path, LISTS)
    with pytest.raises(InputError, match="behaviour_files without path; give their folder as path"):
        load(Source(behaviour_files=ALL, behaviours=("buy",)))
    with pytest.raises(InputError, match="path must be the folder of behaviour_files, got a file"):
        load(tmp_path / "buy.txt", behaviour_files=ALL, behaviours=["buy"])


# ---- real files


def test_retailrocket(shared_data: Path) -> None:
    folder = shared_data / "retailrocket-behaviours"
    if not folder.is_dir():
        pytest.skip("retailrocket-behaviours is not here")
    files = {
        "view": "pv.txt",
        "cart": "cart.txt",
        "buy": {"train": "train.txt", "test": "test.txt"},
    }
    loaded = load(folder, behaviour_files=files, behaviours=["buy"], keep_log=True)
    data = loaded.dataset
    named = {"view": "pv.txt", "cart": "cart.txt", "buy": "train.txt"}
    expected = [event for name, file in named.items() for event in lines_in(folder / file, name)]
    assert events(data) == expected
    assert Counter(behaviour for *_, behaviour in expected) == {
        "view": 75_374,
        "cart": 12_456,
        "buy": 9_551,
    }
    assert loaded.parts is not None
    test = loaded.parts[1]
    assert test is not None
    assert (data.n_users, len(data.pairs), len(test)) == (2_174, 9_551, 2_174)
    assert events(data, test) == lines_in(folder / "test.txt", "buy")
