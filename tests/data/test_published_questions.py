"""Questions of published data: their numbers, as the papers' protocols count them."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from questions import opened

from recsys.data.load import LoadedData, load
from recsys.data.splitting import SplitRule, split
from recsys.data.types import HeldOut


def part(shared_data: Path, *names: str) -> Path:
    path = shared_data.joinpath(*names)
    if not path.exists():
        pytest.skip(f"no {'/'.join(names)} there")
    return path


def in_lines(path: Path) -> LoadedData:
    """Return lists `user item item ...`, whose order is that of the events."""
    rows = [
        (user, item, place)
        for user, *items in map(str.split, path.read_text().splitlines())
        for place, item in enumerate(items)
    ]
    return load(pl.DataFrame(rows, ["user", "item", "time"], orient="row"), keep_log=True)


def targets(held: HeldOut | None) -> int:
    return 0 if held is None else int(held.answers.nnz)


@pytest.mark.parametrize(
    ("name", "users", "train", "new_valid", "new_test"),
    [
        (("beauty", "Beauty.txt"), 22_363, 153_776, 51, 138),
        (("toys", "Toys_and_Games.txt"), 19_412, 128_773, 100, 279),
        (("yelp-sequences", "Yelp.txt"), 30_431, 255_492, 27, 73),
    ],
)
def test_leave_last_two(
    shared_data: Path, name: tuple[str, str], users: int, train: int, new_valid: int, new_test: int
) -> None:
    """The counts of events are those of the lists, whose users all have five events or more."""
    result = split(in_lines(part(shared_data, *name)), SplitRule(by="next-item"))
    assert len(result.train.log) == train
    assert targets(result.valid) == targets(opened(result)) == users
    words = f"{new_valid} of {users} valid and {new_test} of {users} test answers are items without"
    assert words in result.rule
    dropped = split(
        in_lines(part(shared_data, *name)), SplitRule(by="next-item", drop_new_items=True)
    )
    assert targets(opened(dropped)) == users - new_test


def test_yelp_asks_for_items_that_a_user_did_before(shared_data: Path) -> None:
    held = opened(
        split(in_lines(part(shared_data, "yelp-sequences", "Yelp.txt")), SplitRule(by="next-item"))
    )
    excluded = held.queries.exclusion(held.pairs.n_items)
    assert held.answers.multiply(excluded).nnz == 2_027


def yoochoose(shared_data: Path, **files: str) -> LoadedData:
    folder = part(shared_data, "yoochoose-100k")
    names = {"user": "SessionId", "item": "ItemId", "time": "Time"}
    return load(str(folder), **files, **names, keep_log=True)


def test_every_click_of_the_sessions_of_yoochoose_but_the_first(shared_data: Path) -> None:
    loaded = yoochoose(shared_data, train="train_full.txt", test="test.txt")
    result = split(loaded, SplitRule(by="session"))
    held = opened(result)
    assert (len(held.queries), targets(held)) == (10_152, 10_152)
    assert len(np.unique(held.unit)) == 3_416
    assert "without train rows" not in result.rule, "the files were filtered so"
    assert len(result.train.log) == 70_278
    history = held.queries.history
    assert history is not None
    assert len(history.item) == 13_568 - 3_416, "the last click of a session only answers"
    in_history = sum(
        item in own for own, item in zip(history, held.answers.indices.tolist(), strict=True)
    )
    last = history.item[history.end - 1]
    assert round((last == held.answers.indices).mean(), 3) == 0.259
    assert round(in_history / len(held.queries), 3) == 0.342
    only_last = split(loaded, SplitRule(by="session", positions="last"))
    assert len(opened(only_last).queries) == 3_416


def test_the_valid_file_of_yoochoose(shared_data: Path) -> None:
    loaded = yoochoose(shared_data, train="train_tr.txt", valid="train_valid.txt")
    result = split(loaded, SplitRule(by="session"))
    assert targets(result.valid) == 16_539 - 4_084
    assert result.test is None
    assert len(result.refit().train.log) == 53_254 + 16_539


def test_invoices_are_sessions_of_known_customers(shared_data: Path) -> None:
    raw = part(shared_data, "online-retail", "online_retail.csv.xz")
    frame = pl.read_csv(lzma.decompress(raw.read_bytes()), infer_schema_length=0).filter(
        (pl.col("CustomerID") != "") & ~pl.col("InvoiceNo").str.starts_with("C")
    )
    loaded = load(
        frame,
        user="CustomerID",
        item="StockCode",
        time="InvoiceDate",
        session="InvoiceNo",
        weight="none",
        keep_log=True,
    )
    data = loaded.dataset
    result = split(loaded, SplitRule(by="session"))
    held = opened(result)
    assert data.sessions is not None
    n_sessions = len(data.sessions)
    held_sessions = sum(len(np.unique(each.unit)) for each in (result.valid, held) if each)
    assert held_sessions <= int(0.1 * n_sessions) * 2
    assert held.queries.user is not None
    # Every position of an invoice but the first, of invoices that begin after train ends.
    sizes = np.bincount(data.log.session, minlength=n_sessions)
    owner = np.zeros(n_sessions, dtype=int)
    owner[data.log.session] = data.log.user
    assert (owner[held.unit] == held.queries.user).all()
    asked = np.bincount(held.unit, minlength=n_sessions)
    assert (asked <= np.maximum(sizes - 1, 0)).all()
    assert (asked[asked > 0] == sizes[asked > 0] - 1).mean() > 0.99
    train = result.train.log
    assert not np.isin(held.unit, train.session).any()


def test_new_users_have_no_event_in_train(shared_data: Path) -> None:
    loaded = in_lines(part(shared_data, "beauty", "Beauty.txt"))
    for rule in (
        SplitRule(by="new-user"),
        SplitRule(by="new-user", folds=5, fold=4, valid_share=0.1, order="time"),
    ):
        result = split(loaded, rule)
        assert result.valid is not None
        for held, train in ((result.valid, result.train), (opened(result), result.refit().train)):
            assert not np.isin(held.unit, train.log.user).any()
            assert not np.isin(held.unit, train.pairs.user).any()
            counts = np.bincount(loaded.dataset.log.user)[held.unit]
            assert held.queries.history is not None
            rest = np.maximum((counts * (1 - rule.given) + 1e-9).astype(int), 1)
            assert (held.queries.history.length == counts - rest).all()
            assert (np.diff(held.answers.indptr) == rest).all()
