"""One report of several test parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from session_reports import session_report, session_units

from recsys.comparison.comparison import compare, compare_runs
from recsys.errors import InputError
from recsys.evaluation.evaluator import Report
from recsys.evaluation.pooled import pool_reports
from recsys.evaluation.query_rows import query_rows
from recsys.statistics.intervals import bootstrap


def folds(seed: int, better: float = 0.0, **options) -> list[tuple[str, Report]]:
    """Three parts over 40 users, each met in one to three parts; one query per user and part."""
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(3):
        users = np.sort(np.random.default_rng(number).choice(40, size=25, replace=False))
        own = np.random.default_rng(9).random(40) + 0.05 * rng.normal(size=40)
        frame = query_rows(users, {"recall@5": own[users] + better, "auc": rng.random(25)})
        whole = {"coverage@5": 0.1 * number + better, "gini@5": np.nan if number else 0.5}
        names = ("recall@5", "auc", *whole)
        parts.append((f"fold {number}", Report(frame, whole, names, 25, "all", **options)))
    return parts


def test_rows_means_and_intervals_are_over_all_parts():
    parts = folds(1, settings={"monitor": "auc", "seed": 3}, seconds=2.0)
    parts[1] = "fold 1", replace(parts[1][1], settings={"monitor": "auc", "seed": 4})
    pooled = pool_reports(parts)
    every = np.concatenate([report.values("recall@5") for _, report in parts])
    unit = np.concatenate([report.unit for _, report in parts])
    assert pooled.per_user.columns == ["user", "part", "recall@5", "auc"]
    assert pooled.mean("recall@5") == pytest.approx(every.mean())
    assert (pooled.n_users, pooled.n_queries) == (len(np.unique(unit)), 75)
    assert pooled.interval("recall@5") == pytest.approx(bootstrap(every, unit=unit), abs=1e-12)
    narrow = bootstrap(every)  # as if a user of two folds were two users
    low, high = pooled.interval("recall@5")
    assert narrow[1] - narrow[0] < 0.85 * (high - low)
    assert pooled.whole == {"coverage@5": pytest.approx(0.1), "gini@5": 0.5}
    assert pooled.settings == {"monitor": "auc"}
    assert pooled.seconds == 6.0
    assert pooled.protocol == "all; 3 test parts together"
    assert pooled.notes == (
        "3 test parts together: fold 0, fold 1, fold 2",
        "coverage@5 is the mean of 3 parts",
        "gini@5 is the mean of 1 part",
    )


def test_notes_are_kept_once_or_with_their_part():
    parts = [
        (name, replace(report, notes=("shared", f"{name} has none"))) for name, report in folds(1)
    ]
    assert pool_reports(parts).notes[3:] == (
        "shared",
        "fold 0: fold 0 has none",
        "fold 1: fold 1 has none",
        "fold 2: fold 2 has none",
    )


def test_queries_of_parts_keep_their_positions():
    """A part in which no session has two queries has no positions; they are in order."""
    one = query_rows(np.array([4, 2]), {"recall@5": np.array([0.5, 1.0])})
    alone = Report(one, {}, ("recall@5",), 2, unit_name="session")
    several = Report(
        query_rows(np.array([4, 4, 3]), {"recall@5": np.zeros(3)}, np.array([5, 1, 0])),
        {},
        ("recall@5",),
        2,
        unit_name="session",
    )
    pooled = pool_reports([("a", alone), ("b", several)])
    assert pooled.per_user.columns == ["user", "query", "part", "recall@5"]
    assert pooled.per_user["query"].to_list() == [0, 1, 5, 1, 0]
    assert (pooled.n_users, pooled.unit_name) == (3, "session")
    assert pooled.unit_mean("recall@5") == pytest.approx((1 / 6 + 1 + 0) / 3)


def test_folds_that_part_the_users_are_one_report(tmp_path):
    """Without a user in two parts, the numbers are those of one report of all users."""
    rng = np.random.default_rng(2)
    values = rng.random(30)
    whole = Report(query_rows(np.arange(30), {"auc": values}), {}, ("auc",), 30)
    parts = [
        (f"fold {k}", Report(query_rows(rows, {"auc": values[rows]}), {}, ("auc",), 10))
        for k, rows in enumerate(np.arange(30).reshape(3, 10))
    ]
    pooled = pool_reports(parts)
    assert pooled.interval("auc") == whole.interval("auc")
    assert pooled.table().equals(whole.table())
    assert not pooled.is_clustered


def test_saved_loaded_and_compared(tmp_path):
    for name, better in (("weak", 0.0), ("good", 0.3)):
        report = pool_reports(folds(len(name) + (better > 0), better))
        loaded = Report.load(report.save(tmp_path / name))
        assert loaded.per_user.equals(report.per_user)
        assert loaded.table().equals(report.table())
    got = compare_runs([tmp_path / "weak", tmp_path / "good"])
    assert got.methods == ("weak", "good")
    assert got.cell("good", "recall@5").bold
    assert (got.n_users, got.n_queries, got.dropped_queries) == (report.n_users, 75, 0)
    assert got.tests[0].result.n == report.n_users
    assert any("not checked for weak, good" in note for note in got.notes)
    low, high = got.cell("weak", "recall@5").low, got.cell("weak", "recall@5").high
    stored = Report.load(tmp_path / "weak")
    assert (low, high) == pytest.approx(stored.interval("recall@5"), abs=1e-12)
    assert got.cell("good", "coverage@5").mean == pytest.approx(0.4)


def test_what_cannot_be_pooled_is_refused():
    parts = folds(1)
    (name, first), (_, second), *_ = parts
    cases = [
        ([], "no test part"),
        ([(name, first), (name, second)], "'fold 0' is given twice"),
        ([("", first)], "no name"),
        ([("a", first), ("b", pool_reports(parts))], "'b' is pooled already"),
        ([("a", first), ("b", replace(second, unit_name="session"))], "different units"),
        ([("a", first), ("b", replace(second, names=("auc",)))], "different metrics"),
        ([("a", first), ("b", replace(second, protocol="100 candidates"))], "different protocol"),
    ]
    for given, words in cases:
        with pytest.raises(InputError, match=words) as caught:
            pool_reports(given)
        assert caught.value.remedy
    pooled = pool_reports(parts)
    with pytest.raises(InputError, match="different protocol"):
        compare({"all": pooled, "two": pool_reports(parts[:2])})
    renamed = [(f"window {k}", report) for k, (_, report) in enumerate(parts)]
    with pytest.raises(InputError, match="no user in common"):
        compare({"a": pooled, "b": pool_reports(renamed)})


def test_seeds_of_pooled_sessions_are_compared():
    units = [session_units(60, seed=part) for part in range(2)]

    def pooled(seed: int, better: float) -> Report:
        return pool_reports(
            [
                (f"week {k}", session_report(10 * seed + k, better, unit))
                for k, unit in enumerate(units)
            ]
        )

    got = compare({name: [pooled(s, up) for s in (1, 2)] for name, up in (("a", 0), ("b", 0.4))})
    assert (got.n_users, got.n_queries) == (60, sum(map(len, units)))
    assert got.cell("b", "ndcg@5").bold
    assert "queries of 60 common sessions" in got.markdown()
