"""What users differ by: width of taste and spread of vectors against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.types import FeatureTable, Interactions
from recsys.errors import InputError
from recsys.evaluation.breakdown import taste_width, vector_spread
from recsys.nn.diversity import Diversity, diversity
from recsys.scorer import MultiFactors


def pairs(generator: np.random.Generator, n_users: int, n_items: int) -> Interactions:
    """Random pairs, some of them twice, some users without any."""
    n = 3 * n_users
    return Interactions(
        generator.integers(0, n_users, n), generator.integers(0, n_items, n), n_users, n_items
    )


def width(items: list[int], attributes: dict[int, set[int]]) -> float:
    known = [i for i in items if i in attributes]
    if len(known) < 2:
        return float("nan")
    return float(
        np.mean([not attributes[i] & attributes[j] for i in known for j in known if i != j])
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 15), st.integers(1, 5))
def test_taste_width_equals_a_loop(seed, n_users, n_items, n_attributes):
    generator = np.random.default_rng(seed)
    data = pairs(generator, n_users, n_items)
    lists = [np.unique(data.item[data.user == u]).tolist() for u in range(n_users)]
    values = (generator.random((n_items, n_attributes)) < 0.3) * generator.random(
        (n_items, n_attributes)
    )
    present = generator.random(n_items) < 0.8
    table = {i: set(np.flatnonzero(values[i]).tolist()) for i in range(n_items) if present[i]}
    got = taste_width(data, FeatureTable(values.astype(np.float32), present))
    np.testing.assert_allclose(got, [width(items, table) for items in lists], atol=1e-12)
    labels = generator.integers(-1, 4, n_items)
    named = {i: {int(labels[i])} for i in range(n_items) if labels[i] >= 0}
    np.testing.assert_allclose(
        taste_width(data, labels), [width(items, named) for items in lists], atol=1e-12
    )


def test_taste_width_by_hand():
    # Items: comedy; comedy and drama; drama; nothing; unknown.
    table = FeatureTable(
        np.array([[1, 0], [1, 1], [0, 1], [0, 0], [1, 1]], dtype=np.float32),
        np.array([True] * 4 + [False]),
    )
    data = Interactions(
        np.array([0, 0, 0, 1, 1, 2, 2, 3, 3]), np.array([0, 1, 2, 0, 3, 0, 4, 1, 1]), 4, 5
    )
    np.testing.assert_allclose(taste_width(data, table), [2 / 6, 1, np.nan, np.nan])
    with pytest.raises(InputError, match="attributes of 4 items"):
        taste_width(data, np.zeros(4, dtype=int))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.booleans())
def test_vector_spread_equals_a_loop_and_the_control(seed, n_vectors, adapted):
    generator = torch.Generator().manual_seed(seed)
    user = torch.randn(6, n_vectors, 3, generator=generator) + 5
    count = torch.randint(1, n_vectors + 1, (6,), generator=generator) if adapted else None
    scorer = MultiFactors(user, torch.randn(4, 3, generator=generator), "euclidean", count)
    wanted = []
    for i in range(6):
        mine = user[i, : n_vectors if count is None else int(count[i])].double()
        c = len(mine)
        wanted.append(
            sum(float((a - b).square().sum()) for a in mine for b in mine) / (2 * c * (c - 1))
            if c > 1
            else float("nan")
        )
    got = vector_spread(scorer)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    # The control of the paper is 0 inside its band and the distance from it outside: with a band at 0 the spread itself.
    control = diversity(Diversity(low=0.0, high=0.0, form="paper"), user.double(), scorer.valid)
    np.testing.assert_allclose(np.nan_to_num(got), control, rtol=1e-6)


def test_vectors_of_unit_length_spread_by_one_minus_their_cosine():
    unit = torch.nn.functional.normalize(
        torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    cosine = unit @ unit.transpose(1, 2)
    mean = (cosine.sum((1, 2)) - 4) / 12
    np.testing.assert_allclose(vector_spread(MultiFactors(unit, unit[0])), 1 - mean, rtol=1e-5)
