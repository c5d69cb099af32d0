"""Intervals and tests against scipy, and against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from recsys.statistics import intervals as statistics
from recsys.statistics.intervals import bootstrap, interval_method
from recsys.statistics.paired_tests import cliffs_delta, holm, paired
from recsys.statistics.seeds import over_seeds


def test_percentile_and_bca_equal_scipy_up_to_the_draw():
    values = np.random.default_rng(0).exponential(size=60)
    for ours, theirs in (("percentile", "percentile"), ("bca", "BCa")):
        low, high = bootstrap(values, resamples=20_000, method=ours)
        wanted = scipy.stats.bootstrap(
            (values,), np.mean, n_resamples=20_000, method=theirs, rng=np.random.default_rng(1)
        ).confidence_interval
        assert low == pytest.approx(wanted.low, abs=0.01)
        assert high == pytest.approx(wanted.high, abs=0.01)
    assert (
        bootstrap(values, method="bca")[0] > bootstrap(values, method="percentile")[0]
    )  # skewed to the right: BCa moves right


def test_normal_interval_by_hand():
    values = np.random.default_rng(0).random(50)
    low, high = bootstrap(values, method="normal")
    half = 1.959963985 * values.std(ddof=1) / np.sqrt(50)
    assert (low, high) == (pytest.approx(values.mean() - half), pytest.approx(values.mean() + half))


def test_every_method_covers_the_mean_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    samples = generator.beta(0.5, 3, size=(80, 400))
    for method in ("percentile", "bca", "normal"):
        low, high = bootstrap(samples, resamples=1000, method=method)
        covered = np.mean((low <= 0.5 / 3.5) & (high >= 0.5 / 3.5))
        assert 0.90 < covered < 0.98


def test_a_wider_level_gives_a_wider_interval_and_a_seed_fixes_it():
    values = np.random.default_rng(0).random((100, 2))
    narrow, wide = bootstrap(values, 0.8), bootstrap(values, 0.99)
    assert (wide[0] < narrow[0]).all()
    assert (wide[1] > narrow[1]).all()
    np.testing.assert_array_equal(bootstrap(values, seed=3), bootstrap(values, seed=3))
    assert not np.array_equal(bootstrap(values, seed=3), bootstrap(values, seed=4))


def test_the_chunks_do_not_matter(monkeypatch):
    values = np.random.default_rng(0).random((2000, 3))
    values[::3, 1] = np.nan
    whole = bootstrap(values, resamples=300)
    monkeypatch.setattr(statistics, "CHUNK_BYTES", 1)
    np.testing.assert_allclose(bootstrap(values, resamples=300), whole, atol=1e-12)


@pytest.mark.parametrize("method", ["percentile", "bca", "normal"])
def test_degenerate_intervals(method):
    values = np.array(
        [
            [0.1, 0.3, np.nan, 0.0, np.nan],
            [0.1, np.nan, np.nan, 0.0, 0.5],
            [0.1, np.nan, np.nan, 0.0, 0.7],
        ]
    )
    low, high = bootstrap(values, method=method)
    assert (low[0], high[0]) == (pytest.approx(0.1, abs=1e-15), pytest.approx(0.1, abs=1e-15))
    assert np.isnan([low[1], high[1], low[2], high[2]]).all()  # one user, no user
    assert (low[3], high[3]) == (0, 0)
    assert low[4] < 0.6 < high[4] or method == "bca"
    for empty in (np.empty((0, 2)), np.empty((1, 2))):
        assert np.isnan(bootstrap(empty, method=method)).all()
    assert bootstrap(np.empty((5, 0)), method=method)[0].shape == (0,)


def test_users_without_a_value_are_left_out():
    values = np.random.default_rng(0).random(400)
    padded = np.concatenate([values, np.full(200, np.nan)])
    np.testing.assert_allclose(
        bootstrap(padded, method="percentile"), bootstrap(values, method="percentile"), atol=0.006
    )
    np.testing.assert_allclose(
        bootstrap(padded, method="normal"), bootstrap(values, method="normal")
    )


def test_the_method_follows_the_number_of_users():
    assert [interval_method(n) for n in (10, 1000, 1001, 200_000, 200_001)] == [
        "bca",
        "bca",
        "percentile",
        "percentile",
        "normal",
    ]


@given(st.integers(0, 2**32 - 1), st.integers(3, 120), st.booleans())
def test_paired_tests_equal_scipy(seed, n, rounded):
    generator = np.random.default_rng(seed)
    a, b = generator.random(n), generator.random(n) * 0.8
    if rounded:
        a, b = np.round(a, 1), np.round(b, 1)
    delta = a - b
    got = paired(a, b, resamples=50)
    wanted = scipy.stats.ttest_rel(a, b) if np.ptp(delta) > 1e-9 else None
    if wanted is not None:
        assert got.t == pytest.approx(wanted.statistic)
        assert got.p_t == pytest.approx(wanted.pvalue)
        assert got.d_z == pytest.approx(delta.mean() / delta.std(ddof=1))
    if delta.any():
        ranks = scipy.stats.rankdata(np.abs(delta[delta != 0]))
        plus, minus = ranks[delta[delta != 0] > 0].sum(), ranks[delta[delta != 0] < 0].sum()
        assert got.w == pytest.approx(min(plus, minus))
        assert got.rank_biserial == pytest.approx((plus - minus) / (plus + minus))
        assert 0 <= got.p_wilcoxon <= 1
    assert got.difference == pytest.approx(delta.mean())
    assert (got.wins, got.losses) == ((delta > 0).sum(), (delta < 0).sum())


def test_wilcoxon_p_equals_scipy():
    generator = np.random.default_rng(0)
    for n in (10, 40, 200):
        a, b = generator.random(n), generator.random(n) * 0.9
        assert paired(a, b).p_wilcoxon == pytest.approx(scipy.stats.wilcoxon(a, b).pvalue)


def test_identical_runs_differ_in_nothing():
    values = np.random.default_rng(0).random(30)
    got = paired(values, values.copy())
    assert (got.p_t, got.p_wilcoxon, got.d_z, got.rank_biserial, got.cliff) == (1, 1, 0, 0, 0)
    assert (got.difference, got.low, got.high, got.wins, got.losses) == (0, 0, 0, 0, 0)


def test_degenerate_pairs():
    one = paired(np.array([0.4]), np.array([0.1]))
    assert (one.n, one.p_t) == (1, 1)
    assert one.p_wilcoxon == 1
    assert np.isnan(one.low)
    none = paired(np.array([np.nan, 1]), np.array([1, np.nan]))
    assert (none.n, none.p_t, none.p_wilcoxon) == (0, 1, 1)
    zeros = paired(np.zeros(5), np.zeros(5))
    assert (zeros.p_t, zeros.p_wilcoxon, zeros.low, zeros.high) == (1, 1, 0, 0)
    constant = paired(np.full(6, 0.75), np.full(6, 0.25))
    assert constant.p_t == 0
    assert constant.d_z == np.inf
    assert (constant.low, constant.high) == (0.5, 0.5)
    with pytest.raises(ValueError, match="one length"):
        paired(np.zeros(2), np.zeros(3))


@given(st.lists(st.integers(0, 5), max_size=12), st.lists(st.integers(0, 5), max_size=12))
def test_cliffs_delta_equals_a_double_loop(a, b):
    pairs = [(x > y) - (x < y) for x in a for y in b]
    assert cliffs_delta(np.array(a, dtype=float), np.array(b, dtype=float)) == pytest.approx(
        np.mean(pairs) if pairs else 0
    )


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.6]), [1, 1])
    np.testing.assert_allclose(holm([0.02, np.nan, 0.02]), [0.04, np.nan, 0.04])
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_lowers_and_keeps_the_order(p):
    adjusted = holm(p)
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


def test_seeds_take_the_variance_apart():
    generator = np.random.default_rng(0)
    seeds, users = 40, 500
    values = (
        0.3
        + 0.05 * generator.normal(size=(seeds, 1))
        + 0.2 * generator.normal(size=(1, users))
        + 0.1 * generator.normal(size=(seeds, users))
    )
    got = over_seeds(values)
    assert got.seed_sd == pytest.approx(0.05, rel=0.3)
    assert got.user_sd == pytest.approx(0.2, rel=0.1)
    assert got.residual_sd == pytest.approx(0.1, rel=0.05)
    assert got.se == pytest.approx(
        np.sqrt(0.05**2 / seeds + 0.2**2 / users + 0.1**2 / seeds / users), rel=0.25
    )
    assert got.low < got.mean < got.high
    assert len(got.per_seed) == seeds


def test_seeds_cover_about_as_often_as_they_say():
    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        values = (
            0.05 * generator.normal(size=(5, 1))
            + 0.2 * generator.normal(size=(1, 60))
            + 0.1 * generator.normal(size=(5, 60))
        )
        got = over_seeds(values)
        inside += got.low <= 0 <= got.high
    assert 0.90 < inside / 400 < 0.99


def test_degenerate_seeds():
    assert np.isnan(over_seeds(np.array([[0.1, 0.2]])).low)
    assert over_seeds(np.array([[0.1, 0.2]])).mean == pytest.approx(0.15)
    assert np.isnan(over_seeds(np.empty((3, 0))).mean)
    same = over_seeds(np.full((3, 4), 0.5))
    assert (same.low, same.high, same.seed_sd) == (0.5, 0.5, 0)
    with pytest.raises(ValueError, match="seeds, users"):
        over_seeds(np.zeros(3))


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("n", [50, 100, 300])
def test_a_bound_lies_among_the_values(method, n):
    """If resamples of zeros are common, the lower bound is 0, without a rounding error."""
    values = np.zeros((n, 4))
    values[0] = 0.1, 0.3, 1 / 3, -1 / 3
    low, high = bootstrap(values, method=method)
    assert (low[:3] >= 0).all()
    assert high[3] <= 0
    assert [f"{bound:.4f}" for bound in low[:3]] == ["0.0000"] * 3
