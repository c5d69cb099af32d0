"""Products of sparse matrices against dense ones, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys.data.types import Interactions
from recsys.nn import sparse_product as module
from recsys.nn.graph import mean_layers_rows, normalised_adjacency
from recsys.nn.sparse_product import SparseProduct, entries, product

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")


def matrix(rows: int = 30, columns: int = 11, seed: int = 0) -> sp.csr_matrix:
    """Some rows and columns of it are empty."""
    rng = np.random.default_rng(seed)
    dense = rng.standard_normal((rows, columns)) * (rng.random((rows, columns)) < 0.2)
    dense[[0, 7]], dense[:, 3] = 0, 0
    return sp.csr_matrix(dense.astype(np.float32))


@pytest.mark.parametrize("rows", [None, [4, 0, 9], [7], [], list(range(29, -1, -1))])
@pytest.mark.parametrize("few", [0, 1, 10**6])
@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_values_and_gradients_are_those_of_the_dense_matrix(rows, few, shape, monkeypatch):
    monkeypatch.setattr(module, "_FEW", few)
    dense, wanted = (
        torch.from_numpy(matrix().toarray()).double(),
        None if rows is None else torch.tensor(rows, dtype=torch.int64),
    )
    table = torch.randn(
        11,
        *shape,
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
        requires_grad=True,
    )
    expected = torch.einsum("nm,m...->n...", dense, table)
    expected = expected if wanted is None else expected[wanted]
    ours = SparseProduct(matrix()).double()(table, wanted)
    assert ours.shape == expected.shape
    assert torch.allclose(ours, expected, rtol=1e-12)
    weight = torch.randn(
        expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    one, other = (
        torch.autograd.grad((value * weight).sum(), table)[0] for value in (ours, expected)
    )
    assert torch.allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 5, 64, 100])
def test_a_product_is_that_of_torch(dtype, width):
    part = matrix(40, 25).astype(np.float32 if dtype == torch.float32 else np.float64)
    index = (torch.from_numpy(where.astype(np.int32)) for where in (part.indptr, part.indices))
    graph = torch.sparse_csr_tensor(
        *index, torch.from_numpy(part.data), (40, 25), check_invariants=False
    )
    table = torch.randn(25, width, dtype=dtype)
    ours = product(graph, table)
    assert torch.allclose(ours, graph @ table, atol=1e-5 if dtype == torch.float32 else 1e-12)
    assert torch.allclose(
        product(graph, torch.cat([table, table])[::2][:25]),
        graph @ torch.cat([table, table])[::2][:25],
        atol=1e-5,
    ), "with gaps"


def test_nothing_is_nothing():
    empty = SparseProduct(sp.csr_matrix((4, 3), dtype=np.float32))
    table = torch.ones(3, 2, requires_grad=True)
    assert empty(table).tolist() == [[0.0, 0.0]] * 4
    empty(table).sum().backward()
    assert not table.grad.any()
    graph = torch.sparse_csr_tensor(
        torch.zeros(5, dtype=torch.int32),
        torch.zeros(0, dtype=torch.int32),
        torch.zeros(0),
        (4, 3),
        check_invariants=False,
    )
    assert product(graph, torch.ones(3, 2)).tolist() == [[0.0, 0.0]] * 4


def test_entries_are_those_of_the_rows():
    given = matrix()
    rows = torch.tensor([5, 0, 29, 5])
    places, begin = entries(torch.from_numpy(given.indptr), rows)
    for at, row in enumerate(rows.tolist()):
        assert places[begin[at] : begin[at + 1]].tolist() == list(
            range(given.indptr[row], given.indptr[row + 1])
        )
    assert begin[-1] == len(places)


def test_it_goes_with_mixed_precision():
    table = torch.randn(11, 4)
    assert torch.allclose(
        SparseProduct(matrix())(table.bfloat16()),
        torch.from_numpy(matrix().toarray()) @ table,
        atol=0.05,
    )


@pytest.mark.filterwarnings("ignore")  # of torch's own compiler
def test_a_product_within_what_is_compiled():
    """`train.compile` traces a loss, and knows no parts of sparse matrices."""
    adjacency = normalised_adjacency(
        Interactions(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2]), 4, 3)
    )
    start = torch.randn(7, 5, requires_grad=True)

    def loss(start: torch.Tensor) -> torch.Tensor:
        mean, _ = mean_layers_rows(adjacency, start * 2, torch.tensor([0, 2, 5]), 2)
        return mean.square().sum()

    found = [
        torch.autograd.grad(each(start), start)[0]
        for each in (loss, torch.compile(loss, backend="eager"))
    ]
    assert torch.allclose(*found)
