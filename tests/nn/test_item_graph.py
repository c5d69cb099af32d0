"""Graphs of similar items against all similarities at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted import two_camps

from recsys.models import recipe_name
from recsys.models.freedom import FREEDOM
from recsys.models.lattice import LATTICE
from recsys.models.mgcn import MGCN
from recsys.models.siger import SIGER
from recsys.nn.item_graph import as_matrix, nearest_items, normalised, similarities, spread
from recsys.scorer.feature_neighbours import best_columns


def values(n: int = 23, d: int = 4) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("block", [1, 5, None])
@pytest.mark.parametrize("k", [1, 4, 50])
def test_neighbours_are_the_nearest(block, k):
    table = values()
    unit = table / table.norm(dim=1, keepdim=True)
    all_of_them = unit @ unit.T
    found = nearest_items(table, k, block=block)
    for row in range(len(table)):
        others = sorted(
            range(len(table)),
            key=lambda other: -float(all_of_them[row, other] + 5 * (row == other)),
        )
        assert found[row].tolist() == sorted(others[:k])


def test_of_equals_every_row_has_itself_and_some_that_differ_from_row_to_row():
    table = torch.ones(400, 3)
    table[4] = torch.tensor([1.0, 0.0, 0.0])
    found = nearest_items(table, 10)
    assert (found == torch.arange(400)[:, None]).any(1).all()
    assert all(len(set(row)) == 10 for row in found.tolist())
    assert not (found[torch.arange(400) != 4] == 4).any()
    # Each is the neighbour of about as many as it has; by the lower row the first ten would be of
    # all 400.
    assert int(torch.bincount(found.flatten(), minlength=400).max()) <= 12
    assert torch.equal(found, nearest_items(table, 10, block=7))
    # Nor are they the next rows, whose ids may be alike because the items are.
    assert ((found - torch.arange(400)[:, None]).abs() <= 10).float().mean() < 0.2
    assert nearest_items(torch.zeros(4, 2), 1).tolist() == [[0], [1], [2], [3]]
    assert nearest_items(torch.ones(1, 2), 3).tolist() == [[0]]


def test_nothing_of_the_size_of_all_pairs_is_held():
    """Also where all rows are equal, and a block is a small part of them."""
    n = 2000
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as seen:
        nearest_items(torch.ones(n, 2), 5, block=50)
    assert 0 < max(event.cpu_memory_usage for event in seen.events()) < n * n


@pytest.mark.parametrize("k", [1, 3, 30])
def test_a_row_that_says_nothing_has_itself_alone_and_is_nobodys_neighbour(k):
    table, known = values(), torch.ones(23, dtype=torch.bool)
    known[[0, 7, 8]] = False
    table[~known] = table[known].mean(0)  # near to everything
    found = nearest_items(table, k, known=known)
    assert found.shape == (23, min(k, 23))
    assert (found[~known] == torch.tensor([0, 7, 8])[:, None]).all()
    rows = known.nonzero()[:, 0]
    inner = nearest_items(table[known], k)
    for row, expected in zip(rows.tolist(), inner.tolist(), strict=True):
        assert (
            set(found[row].tolist()) == set(rows[expected].tolist())
            if k < 20
            else set(found[row].tolist()) == set(rows.tolist())
        )


def test_a_row_that_has_itself_alone_stays_as_it_is():
    """Whatever the weights are, and also where what stands in the gap is zeros."""
    table, known = values(), torch.ones(23, dtype=torch.bool)
    known[[2, 5]], table[[2, 5]] = False, 0.0
    found = nearest_items(table, 4, known=known)
    weight, other = similarities(table, found), values(23, 7)
    assert weight[2].tolist() == [1.0] * 4
    for graph in (normalised(found, weight), torch.full_like(weight, 0.25)):
        assert torch.allclose(spread(found, graph, other)[[2, 5]], other[[2, 5]])
        assert torch.allclose(
            torch.from_numpy(as_matrix(found, graph) @ other.numpy())[[2, 5]], other[[2, 5]]
        )


def test_weights_are_those_of_the_matrix():
    table = values()
    found = nearest_items(table, 5)
    weight = similarities(table, found)
    matrix = torch.zeros(23, 23, dtype=torch.float64).scatter_(1, found, weight)
    assert torch.allclose(matrix.diagonal(), torch.ones(23, dtype=torch.float64))
    unit = table / table.norm(dim=1, keepdim=True)
    assert torch.allclose(matrix[matrix > 0], (unit @ unit.T)[matrix > 0])
    scale = torch.diag(matrix.sum(1) ** -0.5)
    expected = scale @ matrix @ scale
    assert torch.allclose(
        torch.zeros_like(matrix).scatter_(1, found, normalised(found, weight)), expected
    )
    other = values(23, 7)
    assert torch.allclose(spread(found, normalised(found, weight), other), expected @ other)
    assert torch.allclose(
        spread(found[[3, 3, 9]], normalised(found, weight)[[3, 3, 9]], other),
        (expected @ other)[[3, 3, 9]],
    )


def test_a_degree_is_never_negative():
    table = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.1], [0.0, 0.0]])
    found = torch.tensor([[1, 2], [0, 3], [1, 2], [0, 3]])
    weight = similarities(table, found)
    assert weight[0].tolist() == [0.0, 0.0]
    assert torch.isfinite(normalised(found, weight)).all()
    assert not normalised(found, weight)[0].any()


def test_gradients():
    table, found = values(7, 3).requires_grad_(), nearest_items(values(7, 3), 3)
    assert torch.autograd.gradcheck(
        lambda v: spread(found, normalised(found, similarities(v, found) + 0.1), v), (table,)
    )


@pytest.mark.parametrize("k", range(9))
def test_the_best_columns_are_those_of_a_stable_sort(k):
    """Whole numbers, so that there are equals above, at and below the last place."""
    scores = torch.randint(0, 4, (200, 8), generator=torch.Generator().manual_seed(0)).float()
    scores[0], scores[1, 2:] = 1.0, -torch.inf
    expected = scores.sort(dim=1, descending=True, stable=True).indices[:, :k].sort(1).values
    assert torch.equal(best_columns(scores, k), expected)


def test_a_graph_is_a_matrix():
    found = nearest_items(values(), 5)
    weight = similarities(values(), found)
    assert torch.equal(
        torch.from_numpy(as_matrix(found, weight).toarray()),
        torch.zeros(23, 23, dtype=torch.float64).scatter_(1, found, weight),
    )


@pytest.mark.parametrize(
    "recipe", [FREEDOM(), MGCN(), LATTICE(), SIGER(share=0.0)], ids=recipe_name
)
def test_an_item_without_a_modality_is_alone_in_its_graph(recipe):
    """What the mean or zeros fill is the same for all that lack it, and would tie them together."""
    train, _ = two_camps()
    for impute in ("mean", "zero"):
        net = replace(recipe, dim=4, impute=impute).build(train)
        lacks = torch.stack([torch.from_numpy(~table.present) for table in train.features.values()])
        assert lacks.any()
        if isinstance(recipe, LATTICE):
            graphs = [
                as_matrix(*parts).toarray()
                for parts in zip(net.raw_neighbours, net.raw_weight, strict=True)
            ]
            graphs += [
                as_matrix(found, torch.ones(found.shape)).toarray()
                for found in net.learned_neighbours
            ]
            lacks = torch.cat([lacks, lacks])
        elif isinstance(recipe, FREEDOM):
            graphs, lacks = [net.alike(torch.eye(train.n_items)).numpy()], lacks.all(0)[None]
        else:
            graphs = [graph(torch.eye(train.n_items)).numpy() for graph in net.graphs]
        for graph, rows in zip(graphs, lacks, strict=True):
            off = graph * (1 - np.eye(len(graph)))
            assert not off[rows.numpy()].any()
            assert not off[:, rows.numpy()].any()
            assert (graph.diagonal() > 0).all()
    if isinstance(recipe, FREEDOM):
        one = replace(train, features={"image": next(iter(train.features.values()))})
        rows = ~one.features["image"].present
        graph = recipe.build(one).alike(torch.eye(train.n_items)).numpy()
        assert np.allclose(graph[rows], np.eye(train.n_items)[rows])
