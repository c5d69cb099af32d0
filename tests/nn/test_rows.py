"""Row optimisers against those of torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from recsys.nn.row_optimizer import RowOptimizer

ROWS, DIM = 12, 5
KINDS = ["sgd", "adagrad", "adam"]


def table(seed: int = 0, rows: int = ROWS, dim: int = DIM) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def batches(partial: bool, steps: int = 6) -> list[tuple[Tensor, Tensor]]:
    """Rows and the gradient of each; some rows twice or three times."""
    generator = torch.Generator().manual_seed(3)
    found = []
    for _ in range(steps):
        some = torch.randint(ROWS, (9,), generator=generator)
        index = some if partial else torch.cat([torch.randperm(ROWS, generator=generator), some])
        found.append((index, torch.randn(len(index), DIM, generator=generator)))
    return found


def train(
    make, sparse: bool, steps: list[tuple[Tensor, Tensor]], weights: Tensor | None = None
) -> Tensor:
    embedding = nn.Embedding.from_pretrained(
        (table() if weights is None else weights).clone(), freeze=False, sparse=sparse
    )
    optimizer = make(embedding.parameters())
    for index, weight in steps:
        optimizer.zero_grad()
        (embedding(index) * weight).sum().backward()
        optimizer.step()
    return embedding.weight.detach()


def dense(kind: str, lr: float):
    return {
        "sgd": lambda params: torch.optim.SGD(params, lr=lr),
        "adagrad": lambda params: torch.optim.Adagrad(params, lr=lr, eps=1e-8),
        "adam": lambda params: torch.optim.Adam(params, lr=lr),
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_all_rows_touched_is_the_dense_optimiser(kind):
    steps = batches(partial=False)
    ours = train(lambda params: RowOptimizer(params, kind, lr=0.1), True, steps)
    assert torch.allclose(ours, train(dense(kind, 0.1), False, steps), atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_distinct_rows_in_any_order(kind):
    """No row twice: there is nothing to add up, but an order to keep."""
    generator = torch.Generator().manual_seed(4)
    steps = [
        (torch.randperm(ROWS, generator=generator), torch.randn(ROWS, DIM, generator=generator))
        for _ in range(4)
    ]
    ours = train(lambda params: RowOptimizer(params, kind, lr=0.1), True, steps)
    assert torch.allclose(ours, train(dense(kind, 0.1), False, steps), atol=2e-6)


@pytest.mark.parametrize("kind", ["adagrad", "adam"])
def test_eps_is_where_the_dense_optimiser_has_it(kind):
    """With gradients as small as eps, which is when it matters."""
    steps = [(index, weight * 1e-8) for index, weight in batches(partial=False)]
    start = torch.zeros(ROWS, DIM)
    ours = train(lambda params: RowOptimizer(params, kind, lr=0.1), True, steps, start)
    assert torch.allclose(ours, train(dense(kind, 0.1), False, steps, start), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["sgd", "adagrad"])
def test_without_momentum_an_untouched_row_does_not_move_in_either(kind):
    steps = batches(partial=True)
    ours = train(lambda params: RowOptimizer(params, kind, lr=0.1), True, steps)
    assert torch.allclose(ours, train(dense(kind, 0.1), False, steps), atol=2e-6)


def test_some_rows_touched_is_sparse_adam():
    steps = batches(partial=True)
    # A small eps, as SparseAdam adds it after the bias correction of the second moment, and the
    # dense Adam before.
    ours = train(lambda params: RowOptimizer(params, "adam", lr=0.1, eps=1e-12), True, steps)
    assert torch.allclose(
        ours,
        train(lambda params: torch.optim.SparseAdam(list(params), lr=0.1, eps=1e-12), True, steps),
        atol=2e-6,
    )
    assert not torch.allclose(
        ours, train(dense("adam", 0.1), False, steps), atol=1e-3
    )  # what the documentation says differs


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_occur_twice_are_added_up(kind):
    index, weight = torch.tensor([4, 1, 4, 4]), torch.ones(4, DIM)
    together = (torch.tensor([1, 4]), torch.tensor([[1.0] * DIM, [3.0] * DIM]))
    make = lambda params: RowOptimizer(params, kind, lr=0.1)  # noqa: E731
    assert torch.equal(train(make, True, [(index, weight)] * 3), train(make, True, [together] * 3))


@pytest.mark.parametrize("kind", KINDS)
def test_untouched_rows_keep_their_bytes(kind):
    after = train(
        lambda params: RowOptimizer(params, kind, lr=0.1),
        True,
        [(torch.tensor([2, 7, 2]), torch.ones(3, DIM))] * 4,
    )
    moved = (after != table()).any(1).nonzero().view(-1).tolist()
    assert moved == [2, 7]


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_does_not_depend_on_the_number_of_threads(kind):
    generator = torch.Generator().manual_seed(0)
    weights = table(rows=500, dim=64)
    steps = [
        (
            torch.randint(500, (20_000,), generator=generator),
            torch.randn(20_000, 64, generator=generator),
        )
        for _ in range(2)
    ]
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 4, 2):
            torch.set_num_threads(threads)
            results.append(
                train(lambda params: RowOptimizer(params, kind, lr=0.1), True, steps, weights)
            )
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_a_table_without_a_gradient_stays():
    embedding = nn.Embedding(3, 2, sparse=True)
    before = embedding.weight.detach().clone()
    RowOptimizer(embedding.parameters(), "adam", lr=0.1).step()
    assert torch.equal(before, embedding.weight)


def test_a_coalesced_gradient_and_an_empty_one():
    embedding = nn.Embedding.from_pretrained(table(), freeze=False, sparse=True)
    optimizer = RowOptimizer(embedding.parameters(), "adam", lr=0.1)
    embedding(torch.tensor([], dtype=torch.int64)).sum().backward()
    optimizer.step()
    assert torch.equal(embedding.weight, table())
    optimizer.zero_grad()
    embedding(torch.tensor([3, 3])).sum().backward()
    embedding.weight.grad = embedding.weight.grad.coalesce()
    optimizer.step()
    assert (embedding.weight != table()).any(1).nonzero().view(-1).tolist() == [3]
