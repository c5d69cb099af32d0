"""Comparisons: the table says no more than the tests allow."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
import scipy.stats

from recsys.comparison.comparison import compare
from recsys.errors import InputError
from recsys.evaluation.evaluator import Report
from recsys.statistics.paired_tests import holm
from recsys.statistics.seeds import gap, over_seeds


def report(
    users: np.ndarray,
    whole: dict[str, float] | None = None,
    protocol: str = "all candidates",
    notes: tuple[str, ...] = (),
    **columns: np.ndarray,
) -> Report:
    named = {name.replace("_at_", "@"): values for name, values in columns.items()}
    frame = pl.DataFrame({"user": users.astype(np.int32), **named}).with_columns(
        pl.col(list(named)).fill_nan(None)
    )
    return Report(frame, whole or {}, (*named, *(whole or {})), len(users), protocol, notes)


@pytest.fixture
def three() -> dict[str, Report]:
    generator = np.random.default_rng(0)
    users, base = np.arange(200), generator.random(200)
    noise = 0.1 * generator.normal(size=(2, 200))
    return {
        "weak": report(users, {"coverage@5": 0.2}, ndcg_at_5=base, recall_at_5=base),
        "good_1": report(
            users, {"coverage@5": 0.4}, ndcg_at_5=base + 0.1 + noise[0], recall_at_5=base + noise[0]
        ),
        "twin": report(
            users,
            {"coverage@5": 0.3},
            ndcg_at_5=base + 0.1 + noise[0] + 1e-3 * noise[1],
            recall_at_5=base + noise[1],
        ),
    }


def test_means_tests_and_correction(three):
    got = compare(three)
    assert got.methods == ("weak", "good_1", "twin")
    assert got.metrics == ("ndcg@5", "recall@5", "coverage@5")
    assert got.n_users == 200
    assert got.cell("good_1", "ndcg@5").mean == pytest.approx(three["good_1"]["ndcg@5"])
    assert (got.cell("weak", "ndcg@5").low, got.cell("weak", "ndcg@5").high) == pytest.approx(
        three["weak"].interval("ndcg@5"), abs=1e-12
    )
    assert len(got.tests) == 6  # three pairs, two metrics; coverage has no per-user values
    raw = [test.p for test in got.tests]
    np.testing.assert_allclose([test.p_holm for test in got.tests], holm(raw))
    first = got.tests[0]
    wanted = scipy.stats.ttest_rel(
        three[first.first].values("ndcg@5"), three[first.second].values("ndcg@5")
    )
    assert first.p == pytest.approx(wanted.pvalue)
    ranked = compare(three, test="wilcoxon")
    assert [test.p for test in ranked.tests] == [test.result.p_wilcoxon for test in ranked.tests]


def test_bold_only_where_the_best_beats_the_second(three):
    got = compare({name: three[name] for name in ("weak", "good_1")}, metric="ndcg@5")
    assert [cell.bold for cell in got.cells] == [False, True]
    assert "**" in got.markdown()
    got = compare(three, metric="recall@5")  # all alike
    assert sum(cell.best for cell in got.cells) == 1
    assert not any(cell.bold for cell in got.cells)
    assert "**" not in got.markdown()
    same = compare({"a": three["weak"], "b": three["weak"]}, metric="ndcg@5")
    assert same.tests[0].p_holm == 1
    assert not any(cell.bold for cell in same.cells)


def test_against_a_baseline(three):
    got = compare(three, metric="ndcg@5", baseline="weak")
    pairs = [(test.first, test.second) for test in got.tests]
    assert pairs[:2] == [("good_1", "weak"), ("twin", "weak")]
    assert {*pairs[2]} == {"good_1", "twin"}  # best against second, for the bold type
    assert all(test.result.difference > 0 for test in got.tests[:2])
    with pytest.raises(InputError, match="did you mean 'weak'"):
        compare(three, baseline="weka")


def test_only_common_users_count():
    one = report(np.array([0, 1, 2, 3]), ndcg_at_5=np.array([1.0, 0.5, 0.0, np.nan]))
    other = report(np.array([5, 3, 2, 1]), ndcg_at_5=np.array([1.0, 0.5, 0.25, 0.75]))
    got = compare({"one": one, "other": other})
    assert (got.n_users, got.dropped) == (3, 2)
    assert [cell.users for cell in got.cells] == [2, 2]  # user 3 has no value in the first
    assert [cell.mean for cell in got.cells] == pytest.approx([0.25, 0.5])
    assert got.tests[0].result.n == 2
    assert "2 users" in got.notes[0]


def test_what_does_not_belong_together_is_refused(three):
    with pytest.raises(InputError, match="data or split"):
        compare(three, fingerprints={"weak": "a", "good_1": "a", "twin": "b"})
    assert compare(three, fingerprints=dict.fromkeys(three, "a")).n_users == 200
    with pytest.raises(InputError, match="data or split"):
        compare(three, fingerprints={"weak": "a", "good_1": "a"})
    users = np.arange(3)
    drawn = report(users, protocol="100 uniform candidates", ndcg_at_5=np.zeros(3))
    with pytest.raises(InputError, match="protocol: 'all candidates' and '100 uniform candidates'"):
        compare({"a": report(users, ndcg_at_5=np.zeros(3)), "b": drawn})
    with pytest.raises(InputError, match="no user in common"):
        compare(
            {
                "a": report(users, ndcg_at_5=np.zeros(3)),
                "b": report(users + 3, ndcg_at_5=np.zeros(3)),
            }
        )
    with pytest.raises(InputError, match="no metric in common"):
        compare({"a": report(users, ndcg_at_5=np.zeros(3)), "b": report(users, auc=np.zeros(3))})
    with pytest.raises(InputError, match=r"did you mean 'ndcg@5'"):
        compare(three, metric="ndgc@5")
    with pytest.raises(InputError, match="nothing to compare"):
        compare({})


def test_one_method_is_a_table_without_tests(three):
    got = compare({"weak": three["weak"]})
    assert got.tests == ()
    assert "Bold" not in got.markdown()
    assert got.tests_table().height == 0


def test_less_is_better_for_gini_and_nothing_is_best_for_novelty():
    users = np.arange(50)
    values = np.random.default_rng(0).random(50)
    got = compare(
        {
            "a": report(users, {"gini@5": 0.9}, novelty_at_5=values),
            "b": report(users, {"gini@5": 0.5}, novelty_at_5=values + 1),
        }
    )
    assert got.cell("b", "gini@5").best
    assert not got.cell("b", "gini@5").bold
    assert not any(got.cell(name, "novelty@5").best for name in "ab")


def test_outputs(three):
    three["a|b & c_d"] = three.pop("twin")
    got = compare(three)
    table = got.table()
    assert table.columns == [
        "method",
        "metric",
        "mean",
        "low",
        "high",
        "users",
        "best",
        "bold",
        "seeds",
        "seeds_sd",
        "stopped",
        "marks",
    ]
    assert table.height == 9
    assert table.filter(metric="coverage@5")["low"].null_count() == 3
    assert pl.read_csv(got.csv().encode()).height == 9
    plain = json.loads(got.json())
    assert plain["n_users"] == 200
    assert len(plain["tests"]) == 6
    assert plain["cells"][2]["low"] is None
    tests = got.tests_table()
    assert tests.height == 6
    assert {"p_t", "p_wilcoxon", "p_holm", "d_z", "rank_biserial", "cliff"} <= set(tests.columns)
    lines = got.markdown().splitlines()
    assert lines[0] == "| method | ndcg@5 | recall@5 | coverage@5 |"
    assert lines[4].startswith("| a\\|b & c_d |")
    assert "200 common users" in got.markdown()
    tex = got.latex()
    assert r"a|b \& c\_d" in tex
    assert tex.startswith(r"\begin{tabular}{lrrr}")
    assert r"\bottomrule" in tex
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert all(line.replace(r"\&", "").count("&") == 3 for line in rows)


def test_notes_of_the_reports_are_kept(three):
    users = np.arange(3)
    got = compare(
        {"a": report(users, notes=("3 of 9 test pairs were already seen",), auc=np.zeros(3))}
    )
    assert "a: 3 of 9 test pairs were already seen" in got.markdown()


def test_seeds_have_a_part_in_intervals_and_tests(three):
    """With three seeds each, cells and tests follow the model of users and seeds."""
    generator = np.random.default_rng(3)
    users, base = np.arange(200), generator.random(200)
    values = {
        name: base
        + up
        + 0.02 * generator.normal(size=(3, 1))
        + 0.05 * generator.normal(size=(3, 200))
        for name, up in (("a", 0.0), ("b", 0.5))
    }
    seeds = {name: [report(users, ndcg_at_5=row) for row in rows] for name, rows in values.items()}
    got = compare({**seeds, "fixed": report(users, ndcg_at_5=base - 0.5)})
    cell, wanted = got.cell("b", "ndcg@5"), over_seeds(values["b"])
    assert (cell.mean, cell.low, cell.high) == pytest.approx((wanted.mean, wanted.low, wanted.high))
    assert (cell.seeds, cell.bold) == (3, True)
    assert cell.seeds_sd == pytest.approx(np.std(wanted.per_seed, ddof=1))
    assert got.cell("fixed", "ndcg@5").seeds == 1
    apart = gap(values["a"], values["b"])
    assert (got.tests[0].p, got.tests[0].seed_share, got.tests[0].result.low) == pytest.approx(
        (apart.p, apart.seed_share, apart.low)
    )
    result = got.tests[0].result
    assert (result.mean_a, result.mean_b) == pytest.approx((values["a"].mean(), values["b"].mean()))
    assert result.difference == pytest.approx(apart.difference)
    assert "users and seeds" in got.markdown()
    with pytest.raises(InputError, match="variance of seeds"):
        compare(seeds, test="wilcoxon")
    with pytest.raises(InputError, match="'none' has no report"):
        compare({"none": [], **seeds})


@pytest.mark.parametrize("others", [1, 2])
def test_two_seeds_are_several(others):
    """Two seeds are the fewest with a spread; all numbers follow from the squares by hand."""
    generator = np.random.default_rng(8)
    users, base = np.arange(60), generator.random(60)
    a = base + np.array([[0.0], [0.2]]) + 0.05 * generator.normal(size=(2, 60))
    b = base[None] - 0.4 + 0.05 * generator.normal(size=(others, 60))
    given = {
        name: [report(users, ndcg_at_5=row) for row in rows] for name, rows in (("a", a), ("b", b))
    }
    got = compare(given)
    assert "intervals over users and seeds" in got.markdown()
    assert "bootstrap intervals" not in got.markdown()
    cell = got.cell("a", "ndcg@5")
    assert cell.seeds == 2
    assert cell.seeds_sd == pytest.approx(abs(a[0].mean() - a[1].mean()) / np.sqrt(2))
    left = a - a.mean(1, keepdims=True) - a.mean(0, keepdims=True) + a.mean()
    residual = (left**2).sum() / 59
    of_seeds = 60 * ((a.mean(1) - a.mean()) ** 2).sum()
    of_users = 2 * ((a.mean(0) - a.mean()) ** 2).sum() / 59
    parts = np.array([of_seeds, of_users, -residual]) / 120
    freedom = parts.sum() ** 2 / (parts**2 / [1, 59, 59]).sum()
    half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum())
    assert (cell.low, cell.high) == pytest.approx((a.mean() - half, a.mean() + half))
    apart = gap(a, b)
    assert (got.tests[0].p, got.tests[0].seed_share) == pytest.approx((apart.p, apart.seed_share))
    assert apart.seed_share > 0
    with pytest.raises(InputError, match="variance of seeds"):
        compare(given, test="wilcoxon")


def test_one_seed_each_is_not_several(three):
    assert "95 % bootstrap intervals" in compare(three).markdown()
    assert compare(three, test="wilcoxon").tests


def test_bold_means_that_every_other_is_beaten():
    """The second is beaten for certain, the third, whose users differ wildly, is not."""
    generator = np.random.default_rng(0)
    users, base = np.arange(100), generator.random(100)
    third = base - 0.3 + 5 * generator.permutation(np.linspace(-1, 1, 100))
    got = compare(
        {
            "best": report(users, ndcg_at_5=base),
            "second": report(users, ndcg_at_5=base - 0.1),
            "third": report(users, ndcg_at_5=third),
        }
    )
    assert got.cell("best", "ndcg@5").best
    assert not got.cell("best", "ndcg@5").bold
