"""Reports with several queries per unit: means over queries, intervals over units, both shown."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from session_reports import session_report, session_units

from recsys.data.types import Interactions
from recsys.errors import InputError
from recsys.evaluation.breakdown import by_activity, by_popularity
from recsys.evaluation.query_rows import query_rows
from recsys.evaluation.report import Report
from recsys.statistics.intervals import bootstrap

THREE = query_rows(np.array([7, 7, 7, 2, 4]), {"mrr": np.array([1.0, 0.5, 0.0, 0.25, np.nan])})


def of(frame: pl.DataFrame, **options) -> Report:
    return Report(frame, {}, ("mrr",), frame["user"].n_unique(), **options)


def test_both_means_by_hand_on_three_sessions():
    report = of(THREE, unit_name="session")
    assert report.mean("mrr") == pytest.approx(1.75 / 4)
    assert report["mrr"] == report.mean("mrr")
    assert report.unit_mean("mrr") == pytest.approx((0.5 + 0.25) / 2)
    assert (report.n_queries, report.n_users, report.is_clustered) == (5, 3, True)
    assert report.table().to_dicts() == [
        {
            "metric": "mrr",
            "mean": report.mean("mrr"),
            "low": pytest.approx(report.interval("mrr")[0]),
            "high": pytest.approx(report.interval("mrr")[1]),
            "users": 2,
            "queries": 4,
            "unit_mean": report.unit_mean("mrr"),
        }
    ]
    assert repr(report) == "Report(5 queries of 3 sessions, mrr 0.4375)"


def test_the_rows_have_the_query_where_a_unit_has_several():
    assert THREE.schema == {"user": pl.Int32, "query": pl.Int32, "mrr": pl.Float64}
    assert THREE["query"].to_list() == [0, 1, 2, 3, 4]
    assert THREE["mrr"].null_count() == 1
    assert query_rows(np.array([3, 1]), {"mrr": np.zeros(2)}).columns == ["user", "mrr"]
    some = query_rows(np.array([3, 3]), {"mrr": np.zeros(2)}, np.array([10, 4]))
    assert some["query"].to_list() == [10, 4]
    with pytest.raises(ValueError, match="two rows of a report have equal user, query"):
        of(query_rows(np.array([3, 3]), {"mrr": np.zeros(2)}, np.array([4, 4])))
    without = THREE.drop("query")
    assert of(without).per_user.equals(THREE)
    assert without.columns == ["user", "mrr"]
    for name in ("query", "user"):
        with pytest.raises(InputError, match=f"no metric '{name}'"):
            of(THREE).values(name)


def test_the_interval_is_that_of_sessions_and_not_of_queries():
    report = session_report(1)
    values, unit = report.values("ndcg@5"), report.unit
    expected = [float(bound) for bound in bootstrap(values, unit=unit)]
    assert list(report.interval("ndcg@5")) == pytest.approx(expected, abs=1e-12)
    row = report.table().row(0, named=True)
    assert [row["low"], row["high"]] == pytest.approx(expected, abs=1e-12)
    by_queries = bootstrap(values)
    assert by_queries[1] - by_queries[0] < 0.8 * (expected[1] - expected[0])
    wide = report.interval("ndcg@5", 0.999)
    assert wide[0] < expected[0] < expected[1] < wide[1]


def test_intervals_of_reports_cover_and_would_not_if_they_took_queries_for_independent():
    """700 columns are 700 data sets with mean 0; the planted fault is a report of rows."""
    rng, unit = np.random.default_rng(3), session_units(400, seed=3)
    own = rng.normal(size=(400, 700))
    columns = {f"recall@{k + 1}": own[unit, k] for k in range(700)}
    right = Report(query_rows(unit, columns), {}, tuple(columns), 400, unit_name="session")
    faulty = Report(query_rows(np.arange(len(unit)), columns), {}, tuple(columns), len(unit))

    def coverage(report: Report) -> float:
        table = report.table()
        return float(((table["low"] <= 0) & (table["high"] >= 0)).mean())

    assert 0.93 <= coverage(right) <= 0.97
    assert coverage(faulty) < 0.75


def test_saved_and_loaded(tmp_path):
    report = session_report(1, notes=("a note",), settings={"metrics": ["ndcg@5"]})
    loaded = Report.load(report.save(tmp_path))
    assert loaded.per_user.equals(report.per_user)
    assert (loaded.unit_name, loaded.n_users, loaded.n_queries) == (
        "session",
        report.n_users,
        report.n_queries,
    )
    assert loaded.table().equals(report.table())
    plain = json.loads((tmp_path / "report.json").read_text())
    assert (plain["unit"], plain["n_queries"]) == ("session", report.n_queries)
    assert plain["metrics"][0]["unit_mean"] == report.unit_mean("ndcg@5")
    for change in ({"unit": "planet"}, {"n_queries": "many"}):
        (tmp_path / "report.json").write_text(json.dumps(plain | change))
        with pytest.raises(InputError, match="not a complete report"):
            Report.load(tmp_path)


def test_one_query_per_user_is_written_as_ever(tmp_path):
    """Neither file knows of units; with one query per session, the name alone is new."""
    frame = query_rows(np.array([2, 0, 5]), {"mrr": np.array([1.0, np.nan, 0.5])})
    of(frame).save(tmp_path)
    text = (tmp_path / "report.json").read_text()
    assert list(json.loads(text)) == [
        "version",
        "protocol",
        "n_users",
        "names",
        "metrics",
        "whole",
        "notes",
        "seconds",
        "settings",
        "per_user_sha256",
    ]
    assert list(json.loads(text)["metrics"][0]) == ["metric", "mean", "low", "high", "users"]
    assert pl.read_parquet(tmp_path / "per_user.parquet").columns == ["user", "mrr"]
    assert of(frame).unit_mean("mrr") == of(frame).mean("mrr")
    assert "unit" not in of(frame).table().columns
    of(frame, unit_name="session").save(tmp_path)
    plain = json.loads((tmp_path / "report.json").read_text())
    assert plain.pop("unit") == "session"
    assert plain == json.loads(text)
    assert repr(Report.load(tmp_path)) == "Report(3 sessions, mrr 0.7500)"


def test_what_people_read_names_queries_and_sessions():
    report = session_report(1)
    heads, rows = report.texts()
    assert heads == [
        "metric",
        "mean",
        "95 % interval",
        "mean over sessions",
        "queries",
        "sessions",
    ]
    assert rows[0][1] == f"{report['ndcg@5']:.4f}"
    assert rows[0][3] == f"{report.unit_mean('ndcg@5'):.4f}" != rows[0][1]
    assert rows[0][4:] == [f"{report.n_queries}", "120"]
    assert rows[3][2:4] == ["", ""]  # coverage
    assert "<th>mean over sessions</th>" in report._repr_html_()
    assert of(query_rows(np.arange(2), {"mrr": np.zeros(2)})).texts()[0] == [
        "metric",
        "mean",
        "95 % interval",
        "users",
    ]


def pairs(n_users: int, n_items: int) -> Interactions:
    rng = np.random.default_rng(0)
    return Interactions(
        rng.integers(0, n_users, 900).astype(np.int32),
        (n_items * rng.random(900) ** 3).astype(np.int32),
        n_users,
        n_items,
    )


@pytest.mark.parametrize("unit_name", ["user", "session", "item"])
def test_groups_by_activity_are_of_units(unit_name):
    report, train = session_report(1, unit_name=unit_name), pairs(150, 130)
    unit = report.unit
    activity = {
        "user": np.diff(train.csr.indptr)[unit],
        "session": np.bincount(unit)[unit],
        "item": np.bincount(train.csr.indices, minlength=130)[unit],
    }[unit_name]
    table = by_activity(report, train, groups=3).filter(pl.col("metric") == "ndcg@5")
    noun = {"user": "item", "session": "quer", "item": "user"}[unit_name]
    assert (table["users"].sum(), table["queries"].sum()) == (120, len(unit))
    for group, mean, low, high, users, queries in table.drop("metric").iter_rows():
        assert noun in group
        ends = [int(end) for end in group.split()[0].split("-")]
        inside = (activity >= ends[0]) & (activity <= ends[-1])
        values = report.values("ndcg@5")[inside]
        assert (users, queries) == (len(np.unique(unit[inside])), inside.sum())
        assert mean == pytest.approx(values.mean())
        bounds = bootstrap(values, unit=unit[inside])
        assert (low, high) == pytest.approx(bounds, abs=1e-9)


def test_groups_by_popularity_are_of_units():
    report = session_report(1)
    table = by_popularity(report)
    assert table["group"].to_list() == ["head", "mid", "tail"]
    for group, _, mean, low, high, users, queries in table.iter_rows():
        values = report.values(f"recall@5[{group}]")
        known = ~np.isnan(values)
        assert (users, queries) == (len(np.unique(report.unit[known])), known.sum())
        assert mean == pytest.approx(values[known].mean())
        assert (low, high) == pytest.approx(bootstrap(values, unit=report.unit), abs=1e-9)
    one = report.per_user.unique("user", keep="first", maintain_order=True).drop("query")
    alone = Report(one, {}, report.names[:3], len(one), unit_name="session")
    assert "queries" not in by_popularity(alone).columns
