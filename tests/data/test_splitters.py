"""Splitters of other packages: found by entry point, called with data and seed, and checked."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from mistakes import invoke

from recsys import plugins
from recsys.config import build, to_dict
from recsys.data.load import load
from recsys.data.reading import Source
from recsys.data.splitting import SplitRule, split, splitter_names
from recsys.data.types import Split
from recsys.errors import InputError

SOURCE = '''
"""Splitters of a package that is not recsys."""

import numpy as np


def weekly(data, seed):
    """Hold out the last two rows of the log, one for valid and one for test."""
    part = np.zeros(len(data.pairs), dtype=np.int64)
    order = np.argsort(data.pairs.time, kind="stable")
    part[order[-2]], part[order[-1]] = 1, 2
    return part


def drawn(data, seed):
    return np.random.default_rng(seed).integers(0, 3, len(data.pairs))


def too_short(data, seed):
    return np.zeros(1, dtype=np.int8)


def shares(data, seed):
    return np.full(len(data.pairs), 0.5)


def four_parts(data, seed):
    part = np.zeros(len(data.pairs), dtype=np.int8)
    part[2] = 3
    return part


def ratio(data, seed):
    raise AssertionError("recsys has a rule of this name")


number = 7
'''
NAMES = ("weekly", "drawn", "too_short", "shares", "four_parts", "ratio", "number", "gone")


def forget() -> None:
    """Let the next call read the installed packages again."""
    plugins._points.cache_clear()
    plugins.load.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install a package with splitters: its module, and its entry points."""
    site = tmp_path / "site"
    about = site / "other_splits-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "other_splits.py").write_text(SOURCE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other-splits\nVersion: 1.0\n")
    points = [f"{name} = other_splits:{name}" for name in NAMES]
    points.append("lost = nothing_of_this_name:f")
    (about / "entry_points.txt").write_text("\n".join(["[recsys.splitters]", *points]) + "\n")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    forget()
    yield site
    sys.modules.pop("other_splits", None)
    forget()


def log() -> pl.DataFrame:
    return pl.DataFrame(
        {"user": [1, 1, 1, 2, 2, 2], "item": [1, 2, 3, 1, 2, 4], "time": [60, 20, 30, 40, 50, 10]}
    )


def rows(result: Split) -> list[list[tuple[int, int]]]:
    """Return the (user, item) ids of train, valid and test."""
    users, items = result.train.users.ids.to_list(), result.train.items.ids.to_list()
    test = result.test.open("test").pairs if result.test else None
    return [
        []
        if part is None
        else [(users[u], items[i]) for u, i in zip(part.user, part.item, strict=True)]
        for part in (result.train.pairs, result.valid and result.valid.pairs, test)
    ]


def test_a_splitter_of_another_package_splits(package: Path) -> None:
    result = split(load(log()), SplitRule(by="weekly", drop_cold=False))
    train, valid, test = rows(result)
    assert test == [(1, 1)], "the latest row"
    assert valid == [(2, 2)], "the one before"
    assert len(train) == 4
    assert result.rule == "splitter 'weekly', seed 0"
    assert result.train.history[-1].startswith("splitter 'weekly', seed 0: 4 / 1 / 1")


def test_a_splitter_gets_the_seed(package: Path) -> None:
    data = load(log())
    for seed in (0, 3, 11):
        rule = SplitRule(by="drawn", seed=seed, drop_cold=False)
        part = np.random.default_rng(seed).integers(0, 3, 6)
        result = split(data, rule)
        assert len(result.train.pairs) == (part == 0).sum()
        assert len(result.valid or ()) == (part == 1).sum()
        assert len(result.test or ()) == (part == 2).sum()


def test_what_follows_a_rule_follows_a_splitter_too(package: Path) -> None:
    """Cold users are dropped, and noise is added, as after the rules of recsys."""
    frame = pl.concat([log(), pl.DataFrame({"user": [3], "item": [1], "time": [99]})])
    result = split(load(frame), SplitRule(by="weekly"))
    assert rows(result)[2] == [], "the latest row is of a user without train rows"
    assert "rows of users without train rows dropped" in result.rule
    noisy = split(load(frame), build(SplitRule, {"by": "weekly", "noise": {"kind": "random"}}))
    assert "false pairs in train" in noisy.rule


def test_the_setting_is_kept_by_name(package: Path) -> None:
    rule = build(SplitRule, {"by": "weekly"}, "mine.toml: [split]")
    assert to_dict(rule)["by"] == "weekly"
    assert build(SplitRule, to_dict(rule)) == rule


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("too_short", r"must return 6 integers, one per interaction, got int8 \[1\]"),
        ("shares", r"must return 6 integers, one per interaction, got float64 \[6\]"),
        ("four_parts", r"must return 0 \(train\), 1 \(valid\) or 2 \(test\), got 3"),
        ("number", "must be a function of"),
        ("gone", "cannot be imported: .*'gone'"),
        ("lost", "cannot be imported: .*'nothing_of_this_name'"),
    ],
)
def test_a_faulty_splitter_is_one_clear_error(package: Path, name: str, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        split(load(log()), SplitRule(by=name))
    assert name in str(caught.value)
    assert caught.value.remedy


def test_an_unknown_name_lists_rules_and_splitters(package: Path) -> None:
    with pytest.raises(InputError, match="by = 'weakly' is not a rule") as caught:
        build(SplitRule, {"by": "weakly"}, "mine.toml: [split]")
    assert str(caught.value).startswith("mine.toml: [split]")
    assert "did you mean 'weekly'?" in str(caught.value)
    assert {"drawn", "new-item", "presplit"} <= set(
        (caught.value.remedy or "").partition("known: ")[2].split(", ")
    )


def test_settings_of_a_rule_have_no_effect_with_a_splitter(package: Path) -> None:
    with pytest.raises(
        InputError, match="k has no effect with by = 'weekly'; it is for by = 'last'"
    ):
        SplitRule(by="weekly", k=2)


def test_a_name_of_recsys_keeps_its_meaning(package: Path) -> None:
    assert split(load(log()), SplitRule(by="ratio")).rule.startswith("ratio 0.8/0.1/0.1")


def test_the_names_are_known_without_an_import(package: Path) -> None:
    assert set(NAMES) < set(splitter_names())
    assert "other_splits" not in sys.modules


def test_presplit_files_are_not_split_again(package: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"{part}.csv").write_text("user,item\n1,0\n1,1\n2,1\n")
    parts = {part: str(tmp_path / f"{part}.csv") for part in ("train", "test")}
    with pytest.raises(InputError, match="the source is split already"):
        split(load(Source(**parts)), SplitRule(by="weekly"))


def test_an_experiment_runs_with_a_splitter(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log().write_csv(tmp_path / "log.csv")
    (tmp_path / "mine.toml").write_text(
        '[data]\npath = "log.csv"\n[split]\nby = "weekly"\ndrop_cold = false\n'
        '[model]\nname = "popular"\n[evaluate]\nmetrics = ["recall@2"]\nmonitor = "recall@2"\n'
    )
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke("run mine.toml --out r -q")
    assert (code, err) == (0, ""), out
    assert "splitter 'weekly', seed 0" in (tmp_path / "r" / "run.json").read_text()
    code, _, err = invoke("check mine.toml split.by=weakly")
    assert code == 2
    assert "did you mean 'weekly'" in err
