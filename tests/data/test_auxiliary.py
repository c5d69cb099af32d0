"""Auxiliary behaviours: read beside the target, and cut so that none of them knows an answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.data.answers import unknowing
from recsys.data.audit import audit
from recsys.data.load import LoadedData, load
from recsys.data.splitting import SplitRule, split
from recsys.data.summary import summary
from recsys.data.types import Interactions, Split
from recsys.errors import InputError
from recsys.models import recipe
from recsys.training.loop import Train, fit

KINDS = ["view", "cart", "buy"]


def events(*, times: bool = True, n: int = 900, seed: int = 1) -> pl.DataFrame:
    """Random events of 25 users and 20 items; every tenth pair of user and item repeats."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "user": rng.integers(0, 25, n),
            "item": rng.integers(0, 20, n),
            "kind": rng.choice(KINDS, n, p=[0.6, 0.2, 0.2]),
            "time": rng.integers(1_600_000_000, 1_600_000_400, n),
        }
    )
    return frame if times else frame.drop("time")


def loaded(*, times: bool = True, **settings: Any) -> LoadedData:
    usual: dict[str, Any] = {"behaviour": "kind", "behaviours": ["buy"], "auxiliary": KINDS[:2]}
    return load(events(times=times), **(usual | settings))


def known(split: Split) -> list[tuple[str, Interactions]]:
    """Events that are known when each part is asked, each with the part's pairs."""
    assert split.valid is not None
    assert split.test is not None
    test = split.test.open("test").pairs
    of_refit = split.refit().train.auxiliary
    assert split.train.auxiliary is not None
    assert of_refit is not None
    return [
        (split.train.auxiliary, split.valid.pairs),
        (split.train.auxiliary, test),
        (of_refit, test),
    ]


def test_the_target_is_as_without_them() -> None:
    own, plain = loaded().dataset, loaded(auxiliary=None).dataset
    assert own.pairs.fingerprint == plain.pairs.fingerprint
    assert own.log is own.pairs
    assert own.pairs_fingerprint == plain.pairs_fingerprint
    assert own.fingerprint != plain.fingerprint
    assert plain.auxiliary is None
    assert plain.auxiliary_behaviours() == {}


def test_every_event_is_there_once() -> None:
    data = loaded().dataset
    for name, rows in data.auxiliary_behaviours().items():
        pairs = {"user": data.users.ids.gather(rows.user), "item": data.items.ids.gather(rows.item)}
        frame = events().filter(pl.col("kind") == name)
        frame = frame.filter(
            pl.col("user").is_in(data.users.ids.implode())
            & pl.col("item").is_in(data.items.ids.implode())
        )
        ours = sorted(zip(*(each.to_list() for each in pairs.values()), rows.time, strict=True))
        theirs = sorted(frame.select("user", "item", "time").iter_rows())
        assert [tuple(map(int, row)) for row in ours] == theirs
    assert list(data.auxiliary_behaviours()) == ["view", "cart"]
    assert summary(loaded()).auxiliary == {
        name: len(rows) for name, rows in data.auxiliary_behaviours().items()
    }


def test_unknowing_is_what_a_loop_says() -> None:
    data = loaded().dataset
    assert data.auxiliary is not None
    held = data.pairs.take(np.arange(0, len(data.pairs), 3))
    rows = data.auxiliary
    assert rows.time is not None
    assert held.time is not None
    for cut in ("none", "user", "all"):
        expected = []
        for user, item, time in zip(rows.user, rows.item, rows.time, strict=True):
            answers = held.time[(held.user == user) & (held.item == item)]
            limit = {
                "none": np.array([], dtype=int),
                "user": held.time[held.user == user],
                "all": held.time,
            }[cut]
            expected.append(bool((time < answers).all() and (time < limit).all()))
        assert unknowing(rows, held, cut).tolist() == expected  # type: ignore[arg-type]
    untimed = unknowing(replace(rows, time=None), held)
    assert untimed.tolist() == [key not in set(held.key.tolist()) for key in rows.key.tolist()]


@pytest.mark.parametrize(
    "rule",
    [
        {"by": "ratio"},
        {"by": "ratio", "order": "time"},
        {"by": "last"},
        {"by": "time", "valid_from": 0.6, "test_from": 0.8},
        {"by": "new-item", "new_items": 0.4},
        {"by": "next-item"},
        {"by": "global-time", "valid_from": 0.6, "test_from": 0.8},
        {"by": "new-user", "new_users": 0.4},
    ],
    ids=str,
)
def test_no_event_knows_an_answer(rule: dict[str, Any]) -> None:
    data = loaded()
    parts = split(data, SplitRule(**rule))
    plain = split(loaded(auxiliary=None), SplitRule(**rule))
    assert parts.train.pairs.fingerprint == plain.train.pairs.fingerprint
    assert parts.pairs_fingerprint == plain.pairs_fingerprint
    for rows, held in known(parts):
        assert unknowing(rows, held).all()
        assert held.time is not None
        if rule.get("order") == "time" or rule["by"] in ("last", "next-item"):
            for user in np.unique(held.user):
                assert (rows.time[rows.user == user] < held.time[held.user == user].min()).all()
        if rule["by"] in ("time", "global-time"):
            assert rows.time.max() < held.time.min()
        if rule["by"] == "new-item":
            assert not set(rows.item) & set(held.item)
        if rule["by"] == "new-user":
            assert not set(rows.user) & set(held.user)
    assert {f.check: f.severity for f in audit(parts)}["answers in auxiliary events"] == "ok"


def test_earlier_events_of_an_answer_stay_and_a_refit_brings_those_of_valid_back() -> None:
    data = loaded()
    parts = split(data, SplitRule(by="last"))
    test = parts.test.open("test").pairs if parts.test else None
    assert test is not None
    assert data.dataset.auxiliary is not None
    assert set(parts.train.auxiliary.key) & set(test.key)  # type: ignore[union-attr]
    train, refit = parts.train.auxiliary, parts.refit().train.auxiliary
    assert train is not None
    assert refit is not None
    assert len(data.dataset.auxiliary) > len(refit) > len(train)
    without = split(loaded(times=False), SplitRule())
    assert not set(without.train.auxiliary.key) & set(without.valid.pairs.key)  # type: ignore[union-attr]


def test_the_audit_finds_a_planted_answer_and_a_lack() -> None:
    data = loaded(times=False)
    parts = split(data, SplitRule())
    findings = {finding.check: finding for finding in audit(parts)}
    assert findings["answers in auxiliary events"].severity == "ok"
    assert findings["auxiliary events of answers"].severity == "warning"
    planted = replace(parts, train=replace(parts.train, auxiliary=data.dataset.auxiliary))
    findings = {finding.check: finding for finding in audit(planted)}
    assert findings["answers in auxiliary events"].severity == "error"
    assert findings["auxiliary events of answers"].severity == "ok"


def test_one_file_per_behaviour(tmp_path: Path) -> None:
    for name, text in {
        "view.txt": "0 4 4 2 9\n1 2 3\n2 6\n3 9\n",
        "cart.txt": "0 2\n3 9\n",
        "train.txt": "0 9 2\n1 3\n3 1 9\n",
        "test.txt": "1 2\n3 4\n",
    }.items():
        (tmp_path / name).write_text(text)
    files = {"view": "view.txt", "cart": "cart.txt", "buy": {"train": "train.txt"}}
    files["buy"]["test"] = "test.txt"  # type: ignore[index]
    data = load(tmp_path, behaviour_files=files, behaviours=["buy"], auxiliary=["cart", "view"])
    counts = {name: len(rows) for name, rows in data.dataset.auxiliary_behaviours().items()}
    assert counts["cart"] == 2
    parts = split(data)
    left = parts.train.auxiliary
    assert left is not None
    assert len(left) == len(data.dataset.auxiliary) - 1  # type: ignore[arg-type]
    assert "1 of" in parts.train.history[-1]


@pytest.mark.parametrize("name", ["itemknn", "mf"])
def test_a_method_of_the_target_gives_the_same_bytes(name: str) -> None:
    config = Train(epochs=2, device="cpu")
    one, other = (
        fit(recipe(name)(), split(data).train, None, config).scorer.state()[0]
        for data in (loaded(), loaded(auxiliary=None))
    )
    assert [each.numpy().tobytes() for each in one.values()] == [
        each.numpy().tobytes() for each in other.values()
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"behaviours": None}, "auxiliary needs behaviours"),
        ({"auxiliary": ["view", "buy"]}, "'buy' cannot be a target and auxiliary"),
        ({"auxiliary": ["viewed"]}, "no row has the behaviour 'viewed'.*did you mean 'view'"),
    ],
)
def test_mistakes(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        loaded(**settings)
