import numpy as np
import pytest
import torch
from asking import asked
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.models import ease
from recsys.models.ease import EASE, available_bytes, invert_lower


def random_dataset(seed, n_users=90, n_items=40):
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((n_users, n_items)) < rng.random(n_items) * 0.4)
    return Dataset(
        Interactions(user, item, n_users, n_items),
        Vocab.range(n_users, "user"),
        Vocab.range(n_items, "item"),
    )


def dense(train, l2):
    """The formula in float64."""
    x = train.pairs.csr.toarray().astype(np.float64)
    inverse = np.linalg.inv(x.T @ x + l2 * np.eye(x.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("block", [7, 16, 1024])
@pytest.mark.parametrize("l2", [0.5, 50.0])
def test_the_weights_are_the_formula(block, l2, monkeypatch):
    monkeypatch.setattr(ease, "_BLOCK", block)
    monkeypatch.setattr(invert_lower, "__defaults__", (block,))
    train = random_dataset(0)
    history, weights = EASE(l2=l2).build(train).matrices
    assert (history != train.pairs.csr).nnz == 0
    np.testing.assert_allclose(weights.numpy(), dense(train, l2), rtol=1e-4, atol=1e-6)
    assert not weights.diagonal().any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 70))
def test_the_inverse_in_place(seed, n, block):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((n, n))
    matrix = root @ root.T / n + np.eye(n)
    work = torch.from_numpy(np.tril(matrix).astype(np.float32))
    work += torch.triu(torch.full((n, n), 1e30), 1)  # the upper triangle must not be read
    invert_lower(work, block)
    np.testing.assert_allclose(np.tril(work.numpy()), np.tril(np.linalg.inv(matrix)), atol=2e-5)


def test_a_matrix_that_has_no_inverse_is_refused():
    with pytest.raises(InputError, match="not positive definite"):
        invert_lower(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))


@pytest.mark.parametrize("keep", [1, 5, 39, 1000])
def test_keep_keeps_the_largest_of_each_column(keep, monkeypatch):
    monkeypatch.setattr(ease, "_BLOCK", 16)
    train = random_dataset(1)
    full = EASE(l2=3.0).build(train).matrices[1].numpy()
    sparse = EASE(l2=3.0, keep=keep).build(train).matrices[1]
    want = np.zeros_like(full)
    for j in range(full.shape[1]):
        chosen = np.argsort(-np.abs(full[:, j]), kind="stable")[: min(keep, full.shape[1] - 1)]
        want[chosen, j] = full[chosen, j]
    np.testing.assert_array_equal(sparse.toarray(), want)


def test_what_does_not_fit_is_refused_with_the_sizes(monkeypatch):
    n = 50_000
    train = Dataset(
        Interactions(np.array([0]), np.array([0]), 1, n),
        Vocab.range(1, "user"),
        Vocab.range(n, "item"),
    )
    monkeypatch.setattr(
        ease, "_gram", lambda *_: pytest.fail("memory was taken before it was checked")
    )
    monkeypatch.setattr(ease, "available_bytes", lambda: 9_000_000_000)
    with pytest.raises(
        InputError, match=r"needs 10\.8 GB for 50,000 items, and 9\.0 GB are available"
    ) as error:
        EASE().build(train)
    assert "item_core" in error.value.remedy
    monkeypatch.setattr(ease, "available_bytes", lambda: 90_000_000_000)
    with pytest.raises(InputError, match=r"memory_gb = 2"):
        EASE(memory_gb=2.0).build(train)


def test_the_free_memory_is_a_plausible_number():
    assert 1 << 20 < available_bytes() < 1 << 50


def test_few_items_and_items_nobody_met():
    train = Dataset(
        Interactions(np.array([0, 1]), np.array([0, 0]), 2, 3),
        Vocab.range(2, "user"),
        Vocab.range(3, "item"),
    )
    assert torch.isfinite(EASE().build(train).score(asked(torch.arange(2)))).all()
    single = Dataset(
        Interactions(np.array([0]), np.array([0]), 1, 1),
        Vocab.range(1, "user"),
        Vocab.range(1, "item"),
    )
    for keep in (None, 1):
        assert EASE(keep=keep).build(single).score(asked(torch.arange(1))).tolist() == [[0.0]]
