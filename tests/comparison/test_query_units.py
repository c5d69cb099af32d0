"""Comparisons of reports with several queries per unit: the same queries, and units as one draw."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import scipy.stats
from mistakes import invoke
from session_reports import session_report, session_units

import recsys
from recsys.benchmark.results import Cost, Result
from recsys.comparison.comparison import Comparison, compare
from recsys.errors import InputError
from recsys.evaluation.evaluator import Report
from recsys.evaluation.query_rows import query_rows
from recsys.statistics import bootstrap, gap, holm, over_seeds, paired, ranking

UNIT = session_units()


@pytest.fixture(scope="module")
def three() -> dict[str, Report]:
    return {
        "weak": session_report(1),
        "good": session_report(2, 0.1),
        "alike": session_report(3),
    }


@pytest.fixture(scope="module")
def compared(three: dict[str, Report]) -> Comparison:
    return compare(three)


def test_cells_and_tests_are_those_of_units(three, compared):
    assert (compared.n_users, compared.n_queries, compared.unit_name) == (120, len(UNIT), "session")
    assert (compared.dropped, compared.dropped_queries) == (0, 0)
    for method, report in three.items():
        cell = compared.cell(method, "ndcg@5")
        assert cell.mean == pytest.approx(report["ndcg@5"])
        assert cell.unit_mean == pytest.approx(report.unit_mean("ndcg@5"))
        assert (cell.users, cell.queries) == (120, len(UNIT))
        assert (cell.low, cell.high) == pytest.approx(report.interval("ndcg@5"), abs=1e-12)
        tail = compared.cell(method, "recall@5[tail]")
        row = report.table().filter(metric="recall@5[tail]").row(0, named=True)
        assert (tail.users, tail.queries) == (row["users"], row["queries"])
        assert tail.queries < len(UNIT)
    for test in compared.tests:
        a, b = (three[name].values(test.metric) for name in (test.first, test.second))
        expected = paired(a, b, unit=UNIT)
        for name in ("n", "difference", "t", "p_t", "p_wilcoxon", "d_z", "wins", "losses"):
            assert getattr(test.result, name) == pytest.approx(getattr(expected, name)), name
        # The comparison draws all common sessions, those without a value of the metric too.
        exact = 0.01 if "[" in test.metric else 1e-9
        assert (test.result.low, test.result.high) == pytest.approx(
            (expected.low, expected.high), abs=exact
        )
        shown = [compared.cell(name, test.metric).mean for name in (test.first, test.second)]
        assert test.result.difference == pytest.approx(shown[0] - shown[1])
    raw = [test.p for test in compared.tests]
    np.testing.assert_allclose([test.p_holm for test in compared.tests], holm(raw))
    ranked = compare(three, test="wilcoxon")
    assert [test.p for test in ranked.tests] == [test.result.p_wilcoxon for test in ranked.tests]


def test_methods_that_differ_by_the_sessions_alone_are_not_called_different():
    """Compare two equal methods 60 times: with queries for independent, half of them err."""
    errs, errs_by_query = [], []
    for seed in range(60):
        pair = {name: session_report(10**4 + 2 * seed + k) for k, name in enumerate("ab")}
        errs.append(compare(pair, "ndcg@5").tests[0].p < 0.05)
        a, b = (report.values("ndcg@5") for report in pair.values())
        errs_by_query.append(scipy.stats.ttest_rel(a, b).pvalue < 0.05)
    assert np.mean(errs) < 0.15
    assert np.mean(errs_by_query) > 0.35


def test_only_common_queries_count(three):
    """Queries are paired by position, in whatever order a report has them; others are left out."""
    rng = np.random.default_rng(4)
    rows = rng.permutation(np.flatnonzero(UNIT != 7))[:-30]
    some = session_report(2, 0.1, kept=rows)
    got = compare({"all": three["weak"], "some": some}, metric="ndcg@5")
    assert (got.n_queries, got.n_users) == (len(rows), len(np.unique(UNIT[rows])))
    assert got.dropped_queries == len(UNIT) - len(rows)
    assert got.dropped == 120 - got.n_users > 0
    assert got.notes[0] == (
        f"{got.dropped_queries} queries that not every method was evaluated on are left out, "
        f"and with them {got.dropped} sessions."
    )
    rows = np.sort(rows)
    values = three["weak"].values("ndcg@5")[rows]
    assert got.cell("all", "ndcg@5").mean == pytest.approx(values.mean())
    expected = paired(values, three["good"].values("ndcg@5")[rows], unit=UNIT[rows])
    assert got.tests[0].result.p_t == pytest.approx(expected.p_t)
    part = compare({"all": three["weak"], "some": session_report(2, kept=np.arange(len(UNIT) - 3))})
    assert part.notes[0].startswith("3 queries that not every method")
    nothing = query_rows(np.array([5, 5]), {"ndcg@5": np.zeros(2)}, np.array([10**6, 10**6 + 1]))
    with pytest.raises(InputError, match="no query in common"):
        compare({"a": three["weak"], "b": replace(three["good"], per_user=nothing)})


def test_reports_of_other_units_or_queries_are_refused(three):
    weak, good = three["weak"], three["good"]
    with pytest.raises(InputError, match="different units: 'session' and 'user'"):
        compare({"a": weak, "b": replace(good, unit_name="user")})
    one = good.per_user.unique("user", keep="first").drop("query")
    with pytest.raises(
        InputError, match="different queries: 'several per session' and 'one per session'"
    ):
        compare({"a": weak, "b": replace(good, per_user=one)})
    moved = good.per_user.with_columns(pl.col("user").shuffle(seed=1))
    with pytest.raises(InputError, match="same query belongs to session"):
        compare({"a": weak, "b": replace(good, per_user=moved)})


def test_what_people_read(three, compared):
    lines = compared.markdown().splitlines()
    weak = three["weak"]
    low, high = weak.interval("ndcg@5")
    expected = f"{weak['ndcg@5']:.4f} [{low:.4f}, {high:.4f}] ({weak.unit_mean('ndcg@5'):.4f})"
    assert expected in lines[2]
    caption = compared.markdown()
    assert f"Means over {len(UNIT)} queries of 120 common sessions" in caption
    assert "bootstrap intervals over sessions" in caption
    assert "paired t test over sessions" in caption
    assert "In parentheses: mean over sessions" in caption
    assert rf"{{\scriptsize [{low:.4f}, {high:.4f}] ({weak.unit_mean('ndcg@5'):.4f})}}" in (
        compared.latex()
    )
    assert expected in compared._repr_html_()
    assert f"{len(UNIT)} queries of 120 common sessions" in repr(compared)
    table = compared.table()
    assert {"queries", "unit_mean"} <= set(table.columns)
    assert table.filter(metric="coverage@5")["unit_mean"].null_count() == 3
    plain = json.loads(compared.json())
    assert (plain["unit"], plain["n_queries"], plain["dropped_queries"]) == (
        "session",
        len(UNIT),
        0,
    )
    assert plain["cells"][0]["unit_mean"] == pytest.approx(weak.unit_mean("ndcg@5"))
    seeds = compare({"a": [weak, three["alike"]], "b": three["good"]})
    assert "intervals over sessions and seeds" in seeds.markdown()


def test_one_query_per_session_reads_like_one_per_user(three):
    def one(report: Report, name: str) -> Report:
        frame = report.per_user.unique("user", keep="first", maintain_order=True).drop("query")
        return replace(report, per_user=frame, unit_name=name)

    users, sessions = (
        compare({method: one(report, name) for method, report in three.items()})
        for name in ("user", "session")
    )
    assert sessions.markdown() == users.markdown().replace("users", "sessions")
    assert sessions.csv() == users.csv()
    plain, other = json.loads(sessions.json()), json.loads(users.json())
    assert (plain.pop("unit"), plain.pop("n_queries"), plain.pop("dropped_queries")) == (
        "session",
        120,
        0,
    )
    assert plain == other
    assert "queries" not in users.table().columns


def test_seeds_follow_the_model_of_units_and_seeds():
    seeds = {
        name: [session_report(10 * k + s, up) for s in range(3)]
        for k, (name, up) in enumerate((("a", 0.0), ("b", 0.2)))
    }
    got = compare(seeds, "ndcg@5")
    a, b = (np.stack([each.values("ndcg@5") for each in reports]) for reports in seeds.values())
    apart, cell = gap(a, b, unit=UNIT), got.cell("b", "ndcg@5")
    test = got.tests[0]
    assert (test.p, test.result.low, test.seed_share) == pytest.approx(
        (apart.p, apart.low, apart.seed_share)
    )
    expected = over_seeds(b, unit=UNIT)
    assert (cell.mean, cell.low, cell.high) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )
    assert test.result.difference == pytest.approx(a.mean() - b.mean())
    assert cell.unit_mean == pytest.approx(np.mean([r.unit_mean("ndcg@5") for r in seeds["b"]]))
    assert cell.bold


def test_methods_are_ranked_by_what_is_shown(three):
    """The critical difference takes a mean over queries per data set, like the tables."""
    rows = []
    for data in range(4):
        unit = session_units(50, seed=data)
        table = compare({m: session_report(k + data, 0.2 * k, unit) for k, m in enumerate("abc")})
        rows.append([table.cell(method, "ndcg@5").mean for method in "abc"])
    got = ranking("abc", np.array(rows))
    assert got.methods == ("c", "b", "a")
    assert got.n == 4


def test_a_benchmark_holds_data_sets_of_both_kinds(three):
    one = three["weak"].per_user.unique("user", keep="first", maintain_order=True).drop("query")
    user_queries = replace(three["weak"], per_user=one, unit_name="user")
    tables = {"visits": compare(three), "clients": compare({"weak": user_queries})}
    cost = Cost(0, 0.0, 1.0, 10.0, 3, None, {}, no_chance=True)
    costs = {(data, method): cost for data, table in tables.items() for method in table.methods}
    primary = dict.fromkeys(tables, "ndcg@5")
    result = Result("both", tables, primary, costs, None, 1, ())
    table = result.table()
    assert table.height == 16
    clients = table.filter(data="clients")
    assert clients["queries"].null_count() == clients.height
    assert table.filter(data="visits", metric="ndcg@5")["queries"].to_list() == [len(UNIT)] * 3
    assert f"{len(UNIT)} queries of 120 common sessions" in result.markdown()
    assert "Means over 120 common users" in result.markdown()
    assert list(json.loads(result.json())["data"]) == ["visits", "clients"]
    assert result.tests().height == 9


def test_the_command_compares_saved_reports(three, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, report in three.items():
        report.save(tmp_path / name)
    code, out, err = invoke("compare weak good --metric ndcg@5")
    assert (code, err) == (0, "")
    title = f"test, {len(UNIT)} queries of 120 sessions, mean with 95 % interval"
    assert f"{title} (mean over sessions); *" in " ".join(out.split())
    assert f"({three['weak'].unit_mean('ndcg@5'):.4f})" in out
    assert "was not checked for weak, good" in out
    code, out, _ = invoke("compare weak good --metric ndcg@5 --json")
    assert json.loads(out)["n_queries"] == len(UNIT)
    expected = compare({"weak": three["weak"], "good": three["good"]})
    assert recsys.compare(["weak", tmp_path / "good"]).csv() == expected.csv()
    assert recsys.compare({"weak": three["weak"], "good": "good"}).json() == expected.json()
    code, _, err = invoke("compare weak nowhere")
    assert code != 0
    assert "nowhere" in err


def test_bootstrap_of_a_comparison_is_bounded_by_the_units():
    """Two values of one session tell as little about the spread as one does."""
    frame = query_rows(np.array([3, 3]), {"ndcg@5": np.array([0.1, 0.9])})
    report = Report(frame, {}, ("ndcg@5",), 1, unit_name="session")
    got = compare({"a": report, "b": report})
    assert np.isnan(got.cell("a", "ndcg@5").low)
    assert np.isnan(bootstrap(report.values("ndcg@5"), unit=report.unit)).all()
