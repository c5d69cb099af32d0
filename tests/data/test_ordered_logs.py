"""Formats in which logs with an order come, each against a plain loop over the lines."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.data.load import LoadedData, load
from recsys.data.reading import Source, read
from recsys.data.splitting import SplitRule, split
from recsys.data.types import Dataset, Interactions
from recsys.errors import InputError

Log = dict[Any, list[Any]]


def log_of(data: Dataset, rows: Interactions | None = None) -> Log:
    """The items of each user in the order of the log, in outside ids."""
    log = data.log if rows is None else rows
    users, items = data.users.ids.to_list(), data.items.ids.to_list()
    result: Log = defaultdict(list)
    for row in log.chronological:
        result[users[log.user[row]]].append(items[log.item[row]])
    return dict(result)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def history(loaded: LoadedData) -> str:
    return "\n".join(loaded.dataset.history)


# ---- lists: user item item ...


def lists_in(path: Path) -> Log:
    """What a file of lists says, read line by line."""
    log: Log = {}
    for line in path.read_text().splitlines():
        user, *items = (int(number) for number in line.split())
        log.setdefault(user, []).extend(items)
    return log


LISTS = "1 5 3 5 5\n2 7\n3 3 1 3\n10 2 5\n"


def test_lists_in_time_order(tmp_path: Path) -> None:
    path = written(tmp_path / "log.txt", LISTS)
    loaded = load(path, ordered=True, keep_log=True)
    assert log_of(loaded.dataset) == lists_in(path)
    assert log_of(loaded.dataset)[1] == [5, 3, 5, 5]
    assert len(loaded.dataset.log) == 10
    assert "log.txt: adjacency (guessed), lists in time order, 10 rows" in history(loaded)
    # The pairs have the order too: the first of several equal events, or the last.
    assert log_of(loaded.dataset, loaded.dataset.pairs)[1] == [5, 3]
    latest = load(path, ordered=True, duplicates="last").dataset
    assert log_of(latest, latest.pairs)[1] == [3, 5]
    test = split(load(written(path, "1 5 3 8 7\n2 4 2 1\n"), ordered=True), SplitRule(by="last"))
    assert test.test is not None
    held = test.test.open("which is the last").pairs
    assert log_of(test.train, held) == {1: [7], 2: [1]}


def test_lists_have_no_order_unless_it_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "log.txt", LISTS)
    plain = load(path)
    assert plain.dataset.pairs.time is None
    line = "log.txt: adjacency (guessed), lists without an order, items repeat in a list, so set"
    assert line in history(plain)
    named = load(path, format="adjacency")
    assert "log.txt: adjacency, lists without an order, items repeat" in history(named)
    assert "repeat" not in history(load(written(path, "0 1 2\n1 2 3 1\n")))


def test_ascending_lists_that_are_taken_in_time_order_are_noted(tmp_path: Path) -> None:
    ascending = "".join(f"{u} {u} {u + 4} {u + 9} {u + 30}\n" for u in range(20)) + "20 5\n"
    note = "every list ascends, as if sorted by item"
    path = written(tmp_path / "a.txt", ascending)
    assert note in history(load(path, ordered=True))
    assert note not in history(load(path))
    other = written(tmp_path / "b.txt", ascending.replace("3 3 7 12 33\n", "3 7 3 12 33\n"))
    assert note not in history(load(other, ordered=True))


@pytest.mark.parametrize(
    ("name", "text"), [("users.dat", "3 5 3 5\n1 7\n"), ("lists.json", "[[5, 3, 5], [7]]")]
)
def test_other_formats_of_lists(name: str, text: str, tmp_path: Path) -> None:
    path = written(tmp_path / name, text)
    assert "lists without an order" in history(load(path))
    loaded = load(path, ordered=True, keep_log=True)
    assert "lists in time order" in history(loaded)
    assert log_of(loaded.dataset) == {0: [5, 3, 5], 1: [7]}


def test_the_parts_of_ordered_lists_follow_one_another(tmp_path: Path) -> None:
    for name, text in {
        "train": "1 4 9 4\n2 8 7 6\n",
        "valid": "1 5\n2 1\n",
        "test": "1 2 3\n2 4\n",
    }.items():
        written(tmp_path / f"{name}.txt", text)
    parts = read(Source(path=str(tmp_path), format="adjacency", ordered=True))
    times = {part: frame["time"].to_list() for part, frame in parts.frames.items()}
    assert times == {"train": [0, 1, 2, 3, 4, 5], "valid": [6, 7], "test": [8, 9, 10]}
    loaded = load(tmp_path, format="adjacency", ordered=True, keep_log=True)
    assert log_of(split(loaded).refit().train) == {1: [4, 9, 4, 5], 2: [8, 7, 6, 1]}


def test_rows_in_time_order_are_reported(tmp_path: Path) -> None:
    path = written(tmp_path / "log.txt", "1 10\n2 11\n1 9\n2 11\n1 9\n")
    loaded = load(path, ordered=True, keep_log=True)
    assert log_of(loaded.dataset) == {1: [10, 9, 9], 2: [11, 11]}
    assert "rows in time order" in history(loaded)


# ---- sessions without users: SessionId ItemId Time


def sessions_in(path: Path) -> dict[int, list[tuple[int, int]]]:
    """Item and microseconds of each session, by time, equal times in the order of the lines."""
    log: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for line in path.read_text().splitlines()[1:]:
        session, item, seconds = line.split("\t")
        whole, _, fraction = seconds.partition(".")
        micro = int(whole) * 1_000_000 + int(f"{fraction:0<6}"[:6])
        log[int(session)].append((item_id := int(item), micro))
        assert item_id >= 0
    return {session: sorted(events, key=lambda event: event[1]) for session, events in log.items()}


def timed(data: Dataset) -> dict[int, list[tuple[int, int]]]:
    """Item and microseconds of each session of the log, and each of its users is its session."""
    log = data.log
    assert log.session is not None
    assert log.time is not None
    assert data.sessions is not None
    ticks = {"s": 1_000_000, "ms": 1_000, "us": 1}[log.time_unit]
    users, items, sessions = (v.ids.to_list() for v in (data.users, data.items, data.sessions))
    result: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row in log.chronological:
        assert users[log.user[row]] == sessions[log.session[row]]
        event = (items[log.item[row]], int(log.time[row]) * ticks)
        result[sessions[log.session[row]]].append(event)
    return dict(result)


CLICKS = (
    "SessionId\tItemId\tTime\n"
    "7\t40\t1396437466.94\n"
    "7\t41\t1396437466.941001\n"
    "3\t40\t1396437400.5\n"
    "3\t40\t1396437400.5\n"
    "3\t42\t1396437400.5\n"
)


def test_a_log_of_sessions_without_users(tmp_path: Path) -> None:
    path = written(tmp_path / "clicks.txt", CLICKS)
    loaded = load(path, keep_log=True)
    assert timed(loaded.dataset) == sessions_in(path)
    assert timed(loaded.dataset)[7][1] == (41, 1396437466_941001)
    assert [item for item, _ in timed(loaded.dataset)[3]] == [40, 40, 42]
    assert "each session of 'SessionId' is a user, 5 rows" in history(loaded)
    assert "contiguous" not in history(loaded)
    for settings in ({"session": "SessionId"}, {"user": "SessionId", "session": "SessionId"}):
        same = load(path, keep_log=True, **settings)
        assert same.dataset.fingerprint == loaded.dataset.fingerprint
        assert "each session of 'SessionId' is a user" in history(same)
    named = load(path, user="SessionId").dataset
    assert named.sessions is None
    frame = pl.read_csv(path, separator="\t")
    in_memory = load(frame, keep_log=True)
    assert in_memory.dataset.fingerprint == loaded.dataset.fingerprint
    assert "each session of 'SessionId' is a user" in history(in_memory)


def test_sessions_without_a_header(tmp_path: Path) -> None:
    path = written(tmp_path / "clicks.txt", CLICKS.partition("\n")[2])
    loaded = load(path, user=0, session=0, item=1, time=2, keep_log=True)
    assert timed(loaded.dataset) == sessions_in(written(path, CLICKS))


def test_sessions_in_any_order_of_lines_are_sorted_by_time(tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = [
        f"{session}\t{rng.randrange(9)}\t{1396437466 + rng.randrange(4_000) / 1000}"
        for session in rng.sample(range(100), 12)
        for _ in range(rng.randrange(2, 9))
    ]
    path = written(tmp_path / "clicks.txt", "")
    for shuffle in (False, True):
        if shuffle:
            rng.shuffle(rows)
        path.write_text("\n".join(["SessionId\tItemId\tTime", *rows]) + "\n")
        loaded = load(path, keep_log=True)
        assert timed(loaded.dataset) == sessions_in(path)
        assert ("sessions are not contiguous, they resume" in history(loaded)) is shuffle
        assert "of 12 sessions are not in order of time" in history(loaded)
        assert "their events are taken in order of time" in history(loaded)


def test_a_session_is_not_a_user_where_another_column_may_be(tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", "who,SessionId,ItemId,Time\n1,2,3,1600000000\n")
    remedy = r'if each session is a user: user = "SessionId" and session = "SessionId"'
    with pytest.raises(InputError, match=f"no column looks like the users; .* {remedy}"):
        load(path)
    assert load(path, user="who", session="SessionId").dataset.users.ids.to_list() == [1]
    with_user = written(tmp_path / "log.csv", "user,SessionId,ItemId,Time\n1,2,3,1600000000\n")
    assert load(with_user).dataset.sessions is None
    with pytest.raises(InputError, match="no column looks like the users"):
        load(written(path, CLICKS.replace("\t", ",")), session="none")


def test_folders_of_session_logs(tmp_path: Path) -> None:
    second = CLICKS.replace("\n7\t", "\n8\t").replace("\n3\t", "\n9\t")
    for prefix in ("", "rsc15_"):
        folder = tmp_path / f"folder{prefix}"
        folder.mkdir()
        written(folder / f"{prefix}train_full.txt", CLICKS)
        written(folder / f"{prefix}test.txt", second)
        for name in ("train_tr", "train_valid"):
            written(folder / f"{prefix}{name}.txt", CLICKS)
        loaded = load(folder, keep_log=True)
        assert timed(loaded.dataset) == sessions_in(folder / f"{prefix}train_full.txt")
        assert loaded.parts is not None
        assert loaded.parts[0] is None
        assert loaded.dataset.users.ids.to_list() == [3, 7, 9, 8]
        line = f"other files of the folder: {prefix}train_tr.txt, {prefix}train_valid.txt"
        assert line in loaded.dataset.history


# ---- one row per target: item_id_list item_id


def targets_in(path: Path) -> Log:
    """The longest list of each user with its target, read line by line."""
    head, *lines = path.read_text().splitlines()
    names = [cell.partition(":")[0] for cell in head.split("\t")]
    user, items, target = (names.index(name) for name in (names[0], "item_id_list", "item_id"))
    log: Log = {}
    for line in lines:
        cells = line.split("\t")
        events = [*cells[items].split(), cells[target]]
        if len(events) > len(log.get(cells[user], [])):
            log[cells[user]] = events
    return log


HEAD = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
TARGETS = HEAD + "u\ta\tb\nv\tb\ta\nu\ta b b\tc\nu\ta b\tb\nw\t\ta\nw\ta\ta\n"


def prefixes(log: Mapping[str, list[str]], *, first: int = 1) -> Iterator[str]:
    for user, items in log.items():
        for place in range(first, len(items)):
            yield f"{user}\t{' '.join(items[:place])}\t{items[place]}\n"


def test_rows_of_targets_are_one_history_per_user(tmp_path: Path) -> None:
    path = written(tmp_path / "a.inter", TARGETS)
    loaded = load(path, keep_log=True)
    assert log_of(loaded.dataset) == targets_in(path)
    assert log_of(loaded.dataset) == {"u": ["a", "b", "b", "c"], "v": ["b", "a"], "w": ["a", "a"]}
    line = (
        "6 targets with histories in 'item_id_list', read as the longest history of each of 3 users"
    )
    assert line in history(loaded)
    assert "8 rows" in history(loaded)


def test_rows_of_targets_give_back_the_log_they_were_made_of(tmp_path: Path) -> None:
    rng = random.Random(5)
    log = {f"u{user}": rng.choices("abcdefg", k=rng.randrange(2, 12)) for user in range(30)}
    rows = list(prefixes(log))
    rng.shuffle(rows)
    path = written(tmp_path / "a.inter", HEAD + "".join(rows))
    loaded = load(path, keep_log=True)
    assert log_of(loaded.dataset) == log == targets_in(path)
    assert len(loaded.dataset.log) < len(rows) + len(log) + 1


def test_rows_of_targets_in_parts(tmp_path: Path) -> None:
    log = {"1": ["5", "6", "5", "7"], "2": ["7", "8", "9"]}
    train = {user: items[:-2] for user, items in log.items()}
    valid = {user: items[:-1] for user, items in log.items()}
    texts = {
        "train": "".join(prefixes(train, first=0)),
        "valid": "".join(prefixes(valid, first=len(train["1"]))) + "2\t7\t8\n",
        "test": "".join(f"{u}\t{' '.join(items[:-1])}\t{items[-1]}\n" for u, items in log.items()),
    }
    for part, text in texts.items():
        written(tmp_path / f"x.{part}.inter", HEAD + text)
    loaded = load(tmp_path, keep_log=True)
    data = loaded.dataset
    assert log_of(data) == {1: [5, 6], 2: [7]}
    assert loaded.parts is not None
    valid_part, test_part = loaded.parts
    assert valid_part is not None
    assert test_part is not None
    assert log_of(data, valid_part) == {1: [5], 2: [8]}
    assert log_of(data, test_part) == {1: [7], 2: [9]}
    assert "valid: events of earlier parts left out, 2 remain" in data.history


def test_targets_of_sessions_and_other_columns(tmp_path: Path) -> None:
    text = TARGETS.replace("user_id", "session_id").replace("\n", "\t4\n")
    text = text.replace("item_id:token\t4", "item_id:token\trating:float", 1)
    path = written(tmp_path / "a.inter", text)
    loaded = load(path, keep_log=True)
    assert log_of(loaded.dataset) == targets_in(path)
    assert loaded.dataset.log.session is not None
    assert loaded.dataset.log.weight is None
    assert "rating of the targets not read" in history(loaded)
    assert "each session of 'session_id' is a user" in history(loaded)


def test_other_sequences_of_inter_files_are_no_histories(tmp_path: Path) -> None:
    text = "user_id:token\titem_id:token\ttags:token_seq\n1\t2\tx y\n1\t3\tz\n1\t2\t\n"
    loaded = load(written(tmp_path / "a.inter", text), ordered=True, keep_log=True)
    assert log_of(loaded.dataset) == {1: [2, 3, 2]}


# ---- what cannot be read


SEQ = "a.inter"
BAD: list[tuple[str, dict[str, str], dict[str, Any], str]] = [
    (
        "a line of lists with a user and no item",
        {"a.txt": "1 2 3 4\n2\n3 1\n"},
        {"ordered": True},
        r"a.txt, line 2: the line holds user 2 and no item; write the items of the user in time "
        "order, or leave the line out",
    ),
    (
        "lists of one item",
        {"a.txt": "1 2\n2 3\n"},
        {"ordered": True, "format": "adjacency"},
        "a.txt: ordered has no effect, because no line has more than one item; leave it out; for "
        'one event per line, set format = "csv"',
    ),
    (
        "an order next to times",
        {"a.txt": CLICKS},
        {"ordered": True},
        "a.txt: ordered has no effect, because the data have times; leave it out, or set time = ",
    ),
    (
        "an empty session",
        {"a.txt": CLICKS.replace("\n3\t", "\n\t", 1)},
        {},
        r"a.txt, line 4: no user \(column 'SessionId'; 1 such rows\)",
    ),
    (
        "a column of sessions without a value",
        {"a.csv": "user,item,time,visit\n1,2,1600000000,\n1,3,1600000001,\n"},
        {"session": "visit"},
        "a.csv, line 2, column 'visit': the session is empty",
    ),
    (
        "a session of two users",
        {"a.csv": "user,item,time,visit\n1,2,1600000000,5\n2,3,1600000001,5\n"},
        {"session": "visit"},
        "session 5 belongs to two users, 1 and 2; name a column whose values belong to one user",
    ),
    (
        "a time that is not one",
        {"a.txt": CLICKS.replace("1396437466.941001", "noon")},
        {},
        "a.txt, line 3, column 'Time': 'noon' is not a time",
    ),
    (
        "histories that disagree",
        {SEQ: HEAD + "u\ta\tb\nv\ta\tb\nu\ta c\td\n"},
        {},
        "a.inter, line 2: the histories of user 'u' disagree: event 2 is 'b', and 'c' in line 4; "
        "give lists that hold the whole history of a user, or a file with one event per row",
    ),
    (
        "histories that are cut to their end",
        {SEQ: HEAD + "u\ta b\tc\nu\tb c\td\n"},
        {},
        "a.inter, line 3: the histories of user 'u' disagree: event 1 is 'b', and 'a' in line 2",
    ),
    (
        "a target that is missing",
        {SEQ: TARGETS.replace("a b b\tc", "a b b\t")},
        {},
        r"a.inter, line 4: no item \(column 'item_id'; 1 such rows\)",
    ),
    (
        "times of targets that are asked for",
        {SEQ: TARGETS.replace("\n", "\t9\n").replace("token\t9", "token\twhen:float", 1)},
        {"time": "when"},
        "a.inter: time = 'when' belongs to the target of a row, and the events in 'item_id_list' "
        "have none",
    ),
    (
        "a test history that lacks the valid item",
        {
            "x.train.inter": HEAD + "1\t3\t4\n",
            "x.valid.inter": HEAD + "1\t3 4\t5\n",
            "x.test.inter": HEAD + "1\t3 4\t6\n",
        },
        {},
        "x.test.inter: the history of user '1' does not begin with that in x.valid.inter: event 3 "
        "is '6', and '5' there",
    ),
    (
        "a test history that is too short",
        {"x.train.inter": HEAD + "1\t3 4\t5\n", "x.test.inter": HEAD + "1\t3\t4\n"},
        {},
        "event 3 is missing, and '5' there",
    ),
    (
        "histories in one part alone",
        {
            "x.train.inter": HEAD + "1\t3\t4\n",
            "x.test.inter": "user_id:token\titem_id:token\n1\t6\n",
        },
        {},
        "x.train.inter: histories of targets cannot be joined with the events of other files",
    ),
]


@pytest.mark.parametrize(
    ("files", "settings", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_input_gets_one_clear_error(
    files: dict[str, str], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        written(tmp_path / name, text)
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, **settings)
    assert caught.value.place
    assert caught.value.remedy


def test_rows_without_a_target_can_be_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "a.inter", TARGETS.replace("a b b\tc", "a b b\t"))
    loaded = load(path, nulls="drop", keep_log=True)
    assert log_of(loaded.dataset)["u"] == ["a", "b", "b"]
    assert "rows without user or item dropped: 6 -> 5 rows" in history(loaded)


def test_an_order_next_to_times_in_a_frame() -> None:
    frame = pl.DataFrame({"user": [1, 1], "item": [1, 2], "time": [5, 4]})
    with pytest.raises(InputError, match="data frame: ordered has no effect"):
        load(frame, ordered=True)
    loaded = load(frame, ordered=True, time="none")
    assert log_of(loaded.dataset) == {1: [1, 2]}


def test_times_in_float32_are_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": [1, 1], "item": [1, 2], "time": [1396437466.9, 1396437467.1]})
    assert load(frame).dataset.pairs.time is not None
    short = frame.with_columns(pl.col("time").cast(pl.Float32))
    short.write_parquet(tmp_path / "a.parquet")
    for source in (short, tmp_path / "a.parquet"):
        with pytest.raises(InputError, match="is a float32 that has lost dig"):
            load(source)
    small = frame.with_columns(pl.Series("time", [0.5, 0.25], dtype=pl.Float32))
    assert log_of(load(small).dataset) == {1: [2, 1]}


# ---- real files


@pytest.mark.parametrize("name", ["beauty/Beauty.txt", "yelp-sequences/Yelp.txt"])
def test_sequences_of_s3rec(shared_data: Path, name: str) -> None:
    path = shared_data / name
    if not path.is_file():
        pytest.skip(f"{name} is not here")
    assert log_of(load(path, ordered=True, keep_log=True).dataset) == lists_in(path)


@pytest.mark.parametrize(
    ("file", "counts", "adjacent"),
    [
        ("train_full.txt", (70_278, 17_794, 2_933), 13_625),
        ("test.txt", (13_568, 3_416, 1_771), 2_626),
    ],
)
def test_clicks_of_rsc15(
    shared_data: Path, file: str, counts: tuple[int, int, int], adjacent: int
) -> None:
    path = shared_data / "yoochoose-100k" / file
    if not path.is_file():
        pytest.skip("yoochoose-100k is not here")
    data = load(path, keep_log=True).dataset
    log = timed(data)
    assert log == sessions_in(path)
    assert (len(data.log), len(log), data.n_items) == counts
    pairs = [(a[0], b[0]) for events in log.values() for a, b in pairwise(events)]
    assert sum(a == b for a, b in pairs) == adjacent


def test_a_folder_of_rsc15(shared_data: Path) -> None:
    folder = shared_data / "yoochoose-100k"
    if not folder.is_dir():
        pytest.skip("yoochoose-100k is not here")
    loaded = load(folder, keep_log=True)
    given = load(folder, train="train_full.txt", test="test.txt", keep_log=True)
    assert loaded.dataset.fingerprint == given.dataset.fingerprint
    assert timed(loaded.dataset) == sessions_in(folder / "train_full.txt")
    parts = read(Source(path=str(folder)))
    assert parts.test is not None
    assert parts.test.height == 13_568
    assert loaded.dataset.n_users == 17_794 + 3_416
