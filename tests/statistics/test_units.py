"""Several rows per unit: intervals and tests are of units, and the fault of rows would be seen."""

from __future__ import annotations

import tracemalloc
from dataclasses import astuple

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from recsys.statistics import intervals
from recsys.statistics.intervals import bootstrap
from recsys.statistics.paired_tests import paired
from recsys.statistics.seeds import gap, over_seeds
from recsys.statistics.units import linearised, numbered_units, unit_means, unit_sums

METHODS = ("percentile", "bca", "normal")


def sessions(
    generator: np.random.Generator, units: int, columns: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Units of 1, 2, ... rows with mean 0: values [n, columns], unit [n].

    The correlation of two rows of a unit is 1 / (1 + 0.3**2) = 0.92.
    """
    size = generator.geometric(0.25, size=units)
    unit = np.repeat(np.arange(units), size)
    own = generator.normal(size=(units, columns))
    return own[unit] + 0.3 * generator.normal(size=(len(unit), columns)), unit


def with_holes(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return np.where(generator.random(values.shape) < 0.2, np.nan, values)


def same_bits(one: object, other: object) -> bool:
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 2, 40, 3000])
def test_with_one_row_per_unit_every_bit_is_that_of_rows(n, method):
    generator = np.random.default_rng(n)
    values = with_holes(generator.random((n, 3)), generator)
    unit = generator.permutation(5 * n)[:n] - n
    for each in (values, np.nan_to_num(values), values[:, 0]):
        assert same_bits(
            bootstrap(each, resamples=200, method=method, unit=unit),
            bootstrap(each, resamples=200, method=method),
        )
    a, b, c = values.T
    assert astuple(paired(a, b, unit=unit)) == pytest.approx(
        astuple(paired(a, b)), rel=0, abs=0, nan_ok=True
    )
    one, other = np.stack([a, b]), np.stack([c, a])
    assert same_bits(astuple(gap(one, other, unit=unit)), astuple(gap(one, other)))
    assert repr(over_seeds(one, unit=unit)) == repr(over_seeds(one))


def naive(values: np.ndarray, unit: np.ndarray, resamples: int, seed: int) -> list[float]:
    """Draw units, gather all their rows, take the mean of these: with two loops and no sums."""
    generator, labels = np.random.default_rng(seed), np.unique(unit)
    means = []
    for _ in range(resamples):
        drawn = generator.integers(0, len(labels), size=len(labels), dtype=np.int32)
        rows: list[float] = []
        for number in drawn:
            rows += [v for v, u in zip(values, unit, strict=True) if u == labels[number]]
        rows = [value for value in rows if value == value]
        means.append(sum(rows) / len(rows) if rows else np.nan)
    return means


def test_the_interval_equals_a_naive_double_loop_with_the_same_draws():
    generator = np.random.default_rng(3)
    values, unit = sessions(generator, 12, columns=2)
    values[:, 1] = with_holes(values[:, 1], generator)
    order = generator.permutation(len(unit))  # rows of a unit need not be neighbours
    values, unit = values[order], 7 * unit[order] - 3
    low, high = bootstrap(values, resamples=300, seed=9, method="percentile", unit=unit)
    for j in range(2):
        expected = np.nanquantile(naive(values[:, j], unit, 300, 9), [0.025, 0.975])
        assert (low[j], high[j]) == pytest.approx(expected, abs=1e-12)
    rows = bootstrap(values, resamples=300, seed=9, method="percentile")
    assert (low < rows[0] - 0.05).all()  # the fault of resampling rows is not hidden by the case


def test_bca_of_units_equals_scipy_up_to_the_draw():
    values, unit = sessions(np.random.default_rng(1), 60)
    values = np.exp(values[:, 0])  # skewed, so that bias and acceleration matter
    totals, sizes = unit_sums(values, unit), np.bincount(unit)
    expected = scipy.stats.bootstrap(
        (totals, sizes),
        lambda s, n, axis: s.sum(axis) / n.sum(axis),
        paired=True,
        n_resamples=20_000,
        method="BCa",
        rng=np.random.default_rng(2),
    ).confidence_interval
    low, high = bootstrap(values, resamples=20_000, method="bca", unit=unit)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.008)
    plain = bootstrap(values, resamples=20_000, method="percentile", unit=unit)
    assert high - plain[1] > 0.025


def test_the_normal_interval_is_the_delta_method_by_hand():
    generator = np.random.default_rng(2)
    values, unit = sessions(generator, 30)
    values = with_holes(values[:, 0], generator)
    known = ~np.isnan(values)
    mean, units, variance = values[known].mean(), 0, 0.0
    for label in np.unique(unit[known]):
        units += 1
        variance += sum(values[i] - mean for i in np.flatnonzero(known & (unit == label))) ** 2
    half = 1.959963985 * np.sqrt(units / (units - 1) * variance) / np.count_nonzero(known)
    low, high = bootstrap(values, method="normal", unit=unit)
    assert (low, high) == pytest.approx((mean - half, mean + half))


def covered(low: np.ndarray, high: np.ndarray, mean: float = 0.0) -> float:
    return float(np.mean((low <= mean) & (mean <= high)))


@pytest.mark.parametrize("method", ["percentile", "normal"])
def test_intervals_of_units_cover_and_intervals_of_rows_do_not(method):
    """Draw 1,500 data sets of 120 units whose rows correlate by 0.92.

    The planted fault, an interval that takes rows for independent, covers in two of three.
    """
    values, unit = sessions(np.random.default_rng(4), 120, columns=1500)
    assert 0.93 <= covered(*bootstrap(values, resamples=800, method=method, unit=unit)) <= 0.97
    assert covered(*bootstrap(values, resamples=800, method=method)) < 0.75


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_intervals_cover_where_long_sessions_are_harder(method):
    """Draw units and their sizes 2,000 times; values fall with the size, so the mean is a ratio."""
    generator = np.random.default_rng(5)
    sizes = np.arange(1, 400)
    chance = 0.25 * 0.75 ** (sizes - 1)
    mean = -(chance * sizes * np.log(sizes)).sum() / (chance * sizes).sum()
    inside, by_rows = [], []
    for _ in range(2000):
        values, unit = sessions(generator, 800)
        values = values[:, 0] - np.log(np.bincount(unit))[unit]
        low, high = bootstrap(values, resamples=600, method=method, unit=unit)
        inside.append(covered(low, high, mean))
        by_rows.append(covered(*bootstrap(values, method="normal"), mean))
    assert 0.93 <= np.mean(inside) <= 0.97
    assert np.mean(by_rows) < 0.75


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_rows_and_the_names_of_the_units_do_not_matter(method):
    generator = np.random.default_rng(6)
    values, unit = sessions(generator, 50, columns=2)
    order = generator.permutation(len(unit))
    far = unit.astype(np.int64) * 10**9 - 10**12  # numbered by sorting and not by counting
    expected = bootstrap(values, resamples=300, method=method, unit=unit)
    for rows, labels in ((order, unit[order]), (slice(None), far)):
        got = bootstrap(values[rows], resamples=300, method=method, unit=labels)
        np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_degenerate_units(method):
    unit = np.array([4, 4, 4, 9, 9])
    one = np.array([0.1, 0.2, 0.3, np.nan, np.nan])
    low, high = bootstrap(
        np.stack([one, np.full(5, 0.7), np.full(5, np.nan)], axis=1), method=method, unit=unit
    )
    assert np.isnan([low[0], high[0], low[2], high[2]]).all()  # one unit, no unit
    assert (low[1], high[1]) == (0.7, 0.7)
    low, high = bootstrap(np.array([0.0, 1, 1, 0, 0.5]), method=method, unit=unit)
    assert low <= 0.5 <= high
    with pytest.raises(ValueError, match="units have shape"):
        bootstrap(np.zeros(3), unit=unit)


def test_a_million_rows_need_no_more_memory_than_a_few_copies(monkeypatch):
    generator = np.random.default_rng(7)
    unit = np.sort(generator.integers(0, 50_000, size=1_000_000))
    values = generator.random((len(unit), 2))
    tracemalloc.start()
    low, high = bootstrap(values, resamples=60, method="percentile", unit=unit)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (low < values.mean(0)).all()
    assert (values.mean(0) < high).all()
    assert peak < 8 * values.nbytes + 2 * intervals.CHUNK_BYTES
    monkeypatch.setattr(intervals, "CHUNK_BYTES", 1)
    by_one = bootstrap(values, resamples=60, method="percentile", unit=unit)
    np.testing.assert_allclose(by_one, (low, high), atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_units_by_loops(seed, units):
    generator = np.random.default_rng(seed)
    values, unit = sessions(generator, units)
    order = generator.permutation(len(unit))
    values, unit = np.append(values[order, 0], 1.0), np.append(unit[order], 0)
    rows = [np.flatnonzero(unit == label) for label in np.unique(unit)]
    expected = [values[each].mean() for each in rows]
    np.testing.assert_allclose(unit_means(values, unit), expected, atol=1e-12)
    mean, size = values.mean(), len(unit) / len(rows)
    expected = [mean + sum(values[i] - mean for i in each) / size for each in rows]
    np.testing.assert_allclose(linearised(values, unit), expected, atol=1e-12)
    assert linearised(values, unit).mean() == pytest.approx(mean)
    holes = with_holes(values, generator)
    expected = [
        holes[each][~np.isnan(holes[each])].mean() if (~np.isnan(holes[each])).any() else np.nan
        for each in rows
    ]
    np.testing.assert_allclose(unit_means(holes, unit), expected, atol=1e-12)
    assert numbered_units(np.arange(5)[::-1], 5) is None


def pair(generator: np.random.Generator, units: int = 150, better: float = 0.0):
    """Two methods whose difference is alike within a unit, with mean `better`."""
    values, unit = sessions(generator, units, columns=2)
    return values[:, 0] + better, values[:, 1], unit


def test_paired_by_unit_by_hand():
    a, b, unit = pair(np.random.default_rng(8))
    a[5], b[9] = np.nan, np.nan
    got = paired(a, b, unit=unit)
    known = ~(np.isnan(a) | np.isnan(b))
    a, b, unit = a[known], b[known], unit[known]
    labels = np.unique(unit)
    assert got.n == len(labels)
    # The difference tested is the difference shown.
    assert got.difference == pytest.approx(a.mean() - b.mean())
    assert (got.mean_a, got.mean_b) == pytest.approx((a.mean(), b.mean()))
    residual = [sum((a - b - got.difference)[unit == label]) for label in labels]
    se = np.sqrt(len(labels) / (len(labels) - 1) * np.square(residual).sum()) / len(unit)
    assert got.t == pytest.approx(got.difference / se)
    assert got.p_t == pytest.approx(2 * scipy.stats.t.sf(abs(got.t), len(labels) - 1))
    assert got.d_z == pytest.approx(got.t / np.sqrt(len(labels)))
    means = np.array([[x[unit == label].mean() for label in labels] for x in (a, b)])
    ranked = scipy.stats.wilcoxon(means[0] - means[1])
    assert got.p_wilcoxon == pytest.approx(ranked.pvalue, rel=0.02)
    assert got.w == pytest.approx(ranked.statistic)
    assert (got.wins, got.losses) == tuple(
        np.count_nonzero(sign * (means[0] - means[1]) > 0) for sign in (1, -1)
    )
    sign = np.sign(means[0][:, None] - means[1][None, :])
    assert got.cliff == pytest.approx(sign.mean())
    low, high = bootstrap(a - b, unit=unit)
    assert (got.low, got.high) == (low, high)


def test_alike_methods_are_called_different_in_one_of_twenty_by_units_and_in_half_by_rows():
    generator = np.random.default_rng(9)
    by_unit, by_rows, by_gap = [], [], []
    for _ in range(400):
        a, b, unit = pair(generator)
        got = paired(a, b, unit=unit, interval=(0.0, 0.0))
        by_unit.append((got.p_t, got.p_wilcoxon))
        by_gap.append(gap(a[None], b[None], unit=unit).p)
        by_rows.append(scipy.stats.ttest_rel(a, b).pvalue)
    for p in (*np.transpose(by_unit), by_gap):
        assert 0.03 < np.mean(np.array(p) < 0.05) < 0.07
    assert np.mean(np.array(by_rows) < 0.05) > 0.3
    better = [pair(generator, better=1.0) for _ in range(50)]
    assert np.mean([paired(a, b, unit=unit).p_t < 0.05 for a, b, unit in better]) > 0.9


def test_rounding_is_neither_a_win_nor_breaks_a_tie():
    unit = np.repeat(np.arange(4), 3)
    a = np.array([0.1, 0.2, 0.3, 0.3, 0.1, 0.2, 1, 1, 1, 0.7, 0.1, 0.2])
    b = np.array([0.3, 0.1, 0.2, 0.2, 0.3, 0.1, 0.3, 0.2, 0.1, 0, 0.05, 0.05])
    got = paired(a, b, unit=unit)
    assert (got.wins, got.losses) == (2, 0)
    assert paired(a, a, unit=unit).p_t == 1
    constant = paired(a + 0.1, a, unit=np.repeat([0, 1, 2], [1, 1, 10]))
    assert (constant.p_t, constant.d_z, constant.wins) == (0, np.inf, 3)
    alone = paired(a, b, unit=np.zeros(12, dtype=int))
    assert (alone.n, alone.p_t, np.isnan(alone.low)) == (1, 1, True)


def test_seeds_of_units_by_loops_and_by_their_parts():
    """The mean is over rows, each seed keeps its own, and one seed is the paired test."""
    generator = np.random.default_rng(10)
    values, unit = sessions(generator, 40, columns=3)
    a = values.T + np.array([[0.0], [0.3], [0.1]])
    got = over_seeds(a, unit=unit)
    assert got.mean == pytest.approx(a.mean())
    assert got.per_seed == pytest.approx(a.mean(1))
    z = np.array(
        [
            [
                a.mean() + sum(row[unit == u] - a.mean()) * len(np.unique(unit)) / len(unit)
                for u in np.unique(unit)
            ]
            for row in a
        ]
    )
    assert (got.se, got.low) == pytest.approx((over_seeds(z).se, over_seeds(z).low))
    one, other, unit = pair(generator)
    with pytest.raises(ValueError, match="units have shape"):
        gap(a, a, unit=unit)
    apart, test = gap(one[None], other[None], unit=unit), paired(one, other, unit=unit)
    assert (apart.p, apart.difference, apart.n) == pytest.approx(
        (test.p_t, test.difference, test.n)
    )
    with pytest.raises(ValueError, match="units have shape"):
        paired(one, other, unit=unit[:-1])


@pytest.mark.parametrize("seed_sd", [0.0, 0.15])
def test_intervals_over_units_and_seeds_cover_as_often_as_they_say(seed_sd):
    generator = np.random.default_rng(11)
    inside, by_rows = [], []
    for _ in range(800):
        values, unit = sessions(generator, 80)
        values = values.T + seed_sd * generator.normal(size=(4, 1))
        values = values + 0.1 * generator.normal(size=values.shape)
        inside.append(covered(*_bounds(over_seeds(values, unit=unit))))
        by_rows.append(covered(*_bounds(over_seeds(values))))
    assert 0.93 <= np.mean(inside) <= 0.975
    assert np.mean(by_rows) < 0.87


def _bounds(seeds):
    return np.array([seeds.low]), np.array([seeds.high])
