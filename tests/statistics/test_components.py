"""Differences over users and seeds: what they promise, and that a part left out would be seen."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from recsys.statistics.seeds import gap, over_seeds


def drawn(
    generator: np.random.Generator,
    seed_sd: float,
    seeds: int = 3,
    users: int = 150,
    better: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Two methods on differing users and seeds (by `seed_sd`); the first is `better`."""
    base = 0.3 * generator.normal(size=users)
    one, other = (
        base
        + seed_sd * generator.normal(size=(seeds, 1))
        + 0.1 * generator.normal(size=(seeds, users))
        for _ in range(2)
    )
    return one + better, other


def test_with_one_seed_it_is_the_paired_t_test():
    a, b = np.random.default_rng(0).random((2, 1, 40))
    got, wanted = gap(a, b), scipy.stats.ttest_rel(a[0], b[0])
    assert got.p == pytest.approx(wanted.pvalue)
    assert (got.low, got.high) == pytest.approx(wanted.confidence_interval())
    assert (got.n, got.freedom, got.seed_share) == (40, 39, 0.0)


def test_against_the_parts_by_loops():
    generator = np.random.default_rng(1)
    a, b = (
        drawn(generator, 0.05, seeds=4, users=30)[0],
        drawn(generator, 0.08, seeds=3, users=30)[1],
    )
    variance = 0.0
    for values in (a, b):
        seeds, users = values.shape
        squares = sum(
            (values[s, u] - values[s].mean() - values[:, u].mean() + values.mean()) ** 2
            for s in range(seeds)
            for u in range(users)
        )
        variance += (
            max(0.0, np.var(values.mean(1), ddof=1) - squares / ((seeds - 1) * (users - 1)) / users)
            / seeds
        )
    of_users = np.var([a[:, u].mean() - b[:, u].mean() for u in range(30)], ddof=1) / 30
    got = gap(a, b)
    assert got.se**2 == pytest.approx(variance + of_users)
    assert got.seed_share == pytest.approx(variance / (variance + of_users))
    assert got.difference == pytest.approx(a.mean() - b.mean())


def test_the_order_turns_the_sign_and_nothing_else():
    a, b = drawn(np.random.default_rng(2), 0.05)
    one, other = gap(a, b), gap(b, a)
    assert (one.difference, one.low, one.p) == pytest.approx(
        (-other.difference, -other.high, other.p)
    )


def test_what_cannot_be_told():
    a = np.random.default_rng(0).random((3, 20))
    assert gap(a, a).p == 1
    assert gap(a, a + 0.1).p < 1e-9 or gap(a, a + 0.1).seed_share > 0
    assert gap(a[:1], a[:1] + 0.1).p == 0  # the same difference for every user
    assert gap(a[:, :1], a[:, :1]).p == 1
    holes = a.copy()
    holes[0, :5] = np.nan
    assert gap(holes, a[:, ::-1]).n == 15
    with pytest.raises(ValueError, match="over the same users"):
        gap(a, a[:, 1:])


@pytest.mark.parametrize("seed_sd", [0.0, 0.01, 0.03])
def test_alike_methods_are_called_different_in_at_most_one_of_twenty(seed_sd):
    """Compare two equal methods 1,000 times.

    A test over users alone errs in up to half of them if seeds differ by 0.03.
    """
    generator = np.random.default_rng(3)
    p = [
        (gap(a, b).p, scipy.stats.ttest_rel(a.mean(0), b.mean(0)).pvalue)
        for a, b in (drawn(generator, seed_sd) for _ in range(1000))
    ]
    ours, users_alone = (np.array(p) < 0.05).mean(0)
    assert ours <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)
    if seed_sd == 0.03:
        assert users_alone > 0.3


@pytest.mark.parametrize("seed_sd", [0.0, 0.03])
def test_intervals_over_users_and_seeds_cover_as_often_as_they_say(seed_sd):
    generator = np.random.default_rng(4)
    found = [over_seeds(drawn(generator, seed_sd)[0]) for _ in range(1000)]
    assert 0.93 <= np.mean([each.low <= 0 <= each.high for each in found]) <= 0.97


def test_power():
    """3 seeds that differ by 0.01 and 150 users show a difference of 0.05 nine times of ten."""
    generator = np.random.default_rng(5)
    assert np.mean([gap(*drawn(generator, 0.01, better=0.05)).p < 0.05 for _ in range(200)]) > 0.9
