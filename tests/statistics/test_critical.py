"""Ranks over data sets against scipy and the published tables, and a picture that says the same."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
import scipy.stats

from recsys.statistics.critical_difference import diagram, ranking


def names(k: int) -> list[str]:
    return [f"m{j}" for j in range(k)]


@pytest.mark.parametrize("rounded", [False, True])
def test_friedman_equals_scipy_with_and_without_ties(rounded):
    values = np.random.default_rng(0).random((8, 4))
    values = np.round(values, 1) if rounded else values
    got = ranking(names(4), values)
    wanted = scipy.stats.friedmanchisquare(*values.T)
    assert got.chi2 == pytest.approx(wanted.statistic)
    assert got.p == pytest.approx(wanted.pvalue)
    assert got.f == pytest.approx(7 * got.chi2 / (8 * 3 - got.chi2))  # Iman & Davenport (1980)
    assert got.p_f == pytest.approx(scipy.stats.f.sf(got.f, 3, 21))


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (7, 2.949), (10, 3.164)])
def test_the_critical_difference_is_that_of_the_published_table(k, q):
    """Demsar (2006), table 5a, q of the two-tailed Nemenyi test at 0.05."""
    got = ranking(names(k), np.random.default_rng(0).random((14, k)))
    assert got.critical == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * 14)), rel=1e-3)


def test_best_first_and_groups_by_hand():
    values = np.tile([3.0, 1.0, 2.0], (30, 1))
    values[:3, [1, 2]] = values[
        :3, [2, 1]
    ]  # the second and the third change places on three of thirty
    got = ranking(["a", "b", "c"], values)
    assert got.methods == ("a", "c", "b")
    assert got.ranks == pytest.approx((1.0, 2.1, 2.9))
    assert got.critical == pytest.approx(0.605, abs=1e-3)
    assert got.groups == ()
    close = ranking(["a", "b", "c"], np.array([[3.0, 2.0, 1.0], [2.0, 3.0, 1.0]]))
    assert close.groups == ((0, 2),)  # two data sets tell nothing apart


def test_what_cannot_be_told():
    same = ranking(["a", "b"], np.ones((3, 2)))
    assert (same.p, same.p_f, same.ranks) == (1.0, 1.0, (1.5, 1.5))
    assert np.isnan(ranking(["a", "b"], np.array([[1.0, 2.0]])).critical)
    for values in (np.ones((3, 3)), np.array([[1.0, np.nan]]), np.empty((0, 2))):
        with pytest.raises(ValueError, match="values must be numbers"):
            ranking(["a", "b"], values)


def test_friedmans_test_keeps_its_level():
    generator = np.random.default_rng(0)
    found = [ranking(names(3), generator.random((12, 3))).p_f < 0.05 for _ in range(300)]
    assert 0.02 < np.mean(found) < 0.09


def test_the_diagram_is_xml_and_names_every_method():
    found = ranking(["a", "b & c", "<d>", "e"], np.random.default_rng(1).random((5, 4)))
    tree = ET.fromstring(diagram(found))
    texts = [element.text or "" for element in tree.iter("{http://www.w3.org/2000/svg}text")]
    for method, rank in zip(found.methods, found.ranks, strict=True):
        assert sum(method in text and f"{rank:.2f}" in text for text in texts) == 1
    assert any(f"{found.critical:.2f}" in text for text in texts)
    thick = [
        line
        for line in tree.iter("{http://www.w3.org/2000/svg}line")
        if line.get("stroke-width") == "4"
    ]
    assert len(thick) == len(found.groups) > 0
    ET.fromstring(diagram(ranking(["a", "b"], np.array([[1.0, 2.0]]))))  # no critical difference
