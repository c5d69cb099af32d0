"""Closed forms on a device give the scores of the CPU, up to rounding.

The functions for a device run on the CPU here. Complete trainings need CUDA.
"""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from planted import two_camps

from recsys.data.query import Queries
from recsys.models import BuildsOnDevice, ease
from recsys.models.ease import EASE
from recsys.models.gfcf import GFCF, right_singular_vectors
from recsys.models.ials import IALS
from recsys.models.itemknn import ItemKNN
from recsys.models.markov import Markov
from recsys.models.popular import Popular
from recsys.models.userknn import UserKNN
from recsys.nn.singular_vectors import right_singular_vectors_on
from recsys.ranking import top_k
from recsys.scorer.placed import csr_on, dense_on
from recsys.scorer.row_neighbours import nearest
from recsys.scorer.row_neighbours_on_device import nearest_on
from recsys.tensors import load_scorer, save_scorer
from recsys.training.loop import fit
from recsys.training.settings import Train

CPU = torch.device("cpu")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
TRAIN = two_camps(users=60)[0]
# Scores differ by at most this share of the largest.
ROUNDING = 1e-4
RECIPES = [
    IALS(dim=8, sweeps=3),
    IALS(dim=8, sweeps=3, solver="cg"),
    EASE(l2=5.0),
    EASE(l2=5.0, keep=5),
    ItemKNN(k=10),
    GFCF(rank=4),
    UserKNN(k=10),
    Popular(),
]


def sparse(seed, n, m, density):
    rng = np.random.default_rng(seed)
    return sp.csr_matrix((rng.random((n, m)) < density).astype(np.float32))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shrink", [0.0, 1.5])
@pytest.mark.parametrize("k", [1, 7, 500])
@pytest.mark.parametrize("block_bytes", [1, 10_000, 1 << 28])
def test_nearest_rows_are_those_of_the_cpu_with_ties(device, shrink, k, block_bytes):
    rows = sparse(k, 50, 30, 0.2)  # binary: inner products are whole numbers, many are equal
    scale = np.maximum(np.diff(rows.indptr), 1).astype(np.float64) ** 0.5
    expected = nearest(rows, k, left=scale, right=scale, shrink=shrink)
    got = nearest_on(rows, k, scale, scale, shrink, torch.device(device), block_bytes)
    assert got.has_sorted_indices
    np.testing.assert_array_equal(got.toarray(), expected.toarray())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(300, 80), (80, 300), (1500, 1300), (1300, 1500)])
def test_singular_vectors_span_the_space_of_numpy(device, shape):
    matrix = sparse(0, *shape, 0.05)
    matrix.data *= np.random.default_rng(1).random(matrix.nnz).astype(np.float32)
    place = torch.device(device)
    both = csr_on(matrix, place), csr_on(matrix.T.tocsr(), place)
    got = right_singular_vectors_on(*both, rank=3, seed=5).cpu().numpy()
    expected = right_singular_vectors(matrix, 3)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got.T @ got, np.eye(3), atol=1e-4)
    # The first value stands apart; the others are close to each other, so only it has one vector.
    assert abs(got[:, 0] @ expected[:, 0]) == pytest.approx(1, abs=1e-4)
    largest = np.linalg.svd(matrix.toarray(), compute_uv=False)[:3]
    np.testing.assert_allclose(np.linalg.norm(matrix @ got, axis=0), largest, rtol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_the_gram_matrix_of_ease_is_that_of_the_cpu(device, monkeypatch):
    monkeypatch.setattr(ease, "_BLOCK", 16)
    observed, scale = sparse(2, 70, 45, 0.2), np.linspace(0.1, 1, 45)
    got = ease._gram_on(observed, scale, 3.0, torch.device(device)).cpu()
    torch.testing.assert_close(got, ease._gram(observed, scale, 3.0))


@pytest.mark.parametrize("device", DEVICES)
def test_a_dense_copy_of_sparse_rows(device):
    rows = sparse(3, 5, 9, 0.3)
    np.testing.assert_array_equal(dense_on(rows, torch.device(device)).cpu(), rows.toarray())


@pytest.mark.parametrize(
    "recipe", [EASE(l2=5.0), ItemKNN(k=10), UserKNN(k=10), Popular()], ids=repr
)
def test_the_chain_of_a_device_gives_the_scores_of_the_host(recipe):
    """Popular begins with a dense matrix, UserKNN is sparse throughout, EASE ends with a dense."""
    scorer = recipe.build(TRAIN)
    queries = Queries.of_users(np.arange(TRAIN.n_users))
    got = scorer._times_on_device(scorer._first_rows(queries))
    torch.testing.assert_close(got, scorer.score(queries))


@pytest.mark.parametrize("recipe", [IALS(), EASE(), ItemKNN(), GFCF()], ids=repr)
def test_methods_that_compute_on_a_device(recipe):
    assert isinstance(recipe, BuildsOnDevice)


def test_on_the_cpu_there_is_no_note():
    assert fit(Popular(), TRAIN, config=Train(device="cpu")).notes == ()


@pytest.mark.gpu
@pytest.mark.parametrize("recipe", RECIPES, ids=repr)
def test_training_and_ranking_on_cuda_are_those_of_the_cpu(recipe, tmp_path):
    host, there = (fit(recipe, TRAIN, config=Train(device=name)) for name in ("cpu", "cuda"))
    assert there.scorer.device.type == "cuda"
    both = [Queries.of_users(np.arange(TRAIN.n_users))]
    if "history" in host.scorer.answers:
        both.append(Queries.of_histories(TRAIN.log.histories))
    for queries in both:
        expected, got = host.scorer.score(queries), there.scorer.score(queries).cpu()
        assert (expected - got).abs().max() <= ROUNDING * expected.abs().max()
        assert top_k(there.scorer, queries, 5).item.shape == (TRAIN.n_users, 5)
    save_scorer(tmp_path / "scorer.safetensors", there.scorer)
    saved, _ = load_scorer(tmp_path / "scorer.safetensors")
    assert saved.device == CPU
    assert (saved.score(both[0]) - expected_of(host, both[0])).abs().max() <= ROUNDING


def expected_of(fitted, queries):
    return fitted.scorer.score(queries)


@pytest.mark.gpu
def test_a_method_of_the_cpu_says_so():
    (note,) = fit(Markov(), TRAIN, config=Train(device="cuda")).notes
    assert "built and ranked on the CPU" in note
    (note,) = fit(UserKNN(k=5), TRAIN, config=Train(device="cuda")).notes
    assert "built on the CPU" in note
