from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from asking import asked, top_k
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import tie

from recsys.data.load import load
from recsys.data.reading import Source
from recsys.data.splitting.splits import SplitRule, split
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.evaluation.evaluator import evaluate
from recsys.experiment.experiment import read
from recsys.models import gfcf
from recsys.models.gfcf import GFCF, right_singular_vectors
from recsys.models.itemknn import ItemKNN
from recsys.models.popular import Popular
from recsys.models.userknn import UserKNN


def dataset(user, item, n_users, n_items, time=None):
    return Dataset(
        Interactions(np.array(user), np.array(item), n_users, n_items, time=time),
        Vocab.range(n_users, "user"),
        Vocab.range(n_items, "item"),
    )


def random_dataset(seed, n_users=30, n_items=20, density=0.25):
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((n_users, n_items)) < density)
    return dataset(user, item, n_users, n_items)


def scores(scorer):
    return scorer.score(asked(torch.arange(scorer.n_users))).numpy()


def test_popular_counts_users_once():
    train = dataset([0, 0, 1, 2, 2], [1, 1, 1, 0, 1], 4, 3)
    np.testing.assert_array_equal(scores(Popular().build(train)), np.tile([1, 3, 0], (4, 1)))


def test_popular_ties_go_by_hash_of_the_item():
    train = dataset([0, 1, 2], [2, 0, 2], 4, 5)
    expected = [2, 0, *sorted((1, 3, 4), key=tie)]
    assert expected[2:] != [1, 3, 4]
    assert top_k(Popular().build(train), np.array([3]), 5).item.tolist() == [expected]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 100)),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([0.5, 7.0]),
)
def test_recent_meetings_count_more(rows, half_life):
    user, item, day = (np.array(column) for column in zip(*rows, strict=True))
    train = dataset(user, item, 5, 4, time=day * 86_400)
    want = np.zeros(4)
    for u in range(5):
        for i in range(4):
            days = day[(user == u) & (item == i)]
            if len(days):
                want[i] += 0.5 ** ((day.max() - days.max()) / half_life)
    np.testing.assert_allclose(
        scores(Popular(half_life=half_life).build(train))[0], want, rtol=1e-5, atol=1e-30
    )


def test_recency_without_times_is_refused():
    with pytest.raises(InputError, match="half_life") as error:
        Popular(half_life=3.0).build(dataset([0], [0], 1, 1))
    assert error.value.remedy


def test_item_neighbours_are_cosines():
    train = random_dataset(0)
    x = train.pairs.csr.toarray().astype(np.float64)
    norm = np.linalg.norm(x, axis=0)
    cosine = x.T @ x / np.maximum(norm[:, None] * norm[None], 1e-12)
    np.fill_diagonal(cosine, 0)
    np.testing.assert_allclose(
        scores(ItemKNN(k=100).build(train)), x @ cosine, rtol=1e-5, atol=1e-6
    )


def test_item_neighbours_belong_to_the_target():
    train = random_dataset(1, 300, 20)  # so many users that no two similarities are equal
    x = train.pairs.csr.toarray().astype(np.float64)
    count = x.sum(0)
    recipe = ItemKNN(k=4, user_power=0.7, history_power=0.6, target_power=0.2, shrink=1.5)
    weighed = x * np.maximum(x.sum(1, keepdims=True), 1) ** -0.35
    want = np.zeros_like(x)
    for j in range(x.shape[1]):
        similar = [
            (weighed[:, i] @ weighed[:, j]) / (count[i] ** 0.6 * count[j] ** 0.2 + 1.5)
            if i != j
            else 0.0
            for i in range(x.shape[1])
        ]
        for i in np.argsort(similar)[::-1][:4]:
            want[:, j] += x[:, i] * similar[i]
    np.testing.assert_allclose(scores(recipe.build(train)), want, rtol=1e-5, atol=1e-6)


def test_user_neighbours_belong_to_the_user():
    train = random_dataset(2, 30, 200)
    x = train.pairs.csr.toarray().astype(np.float64)
    length, count = x.sum(1), x.sum(0)
    recipe = UserKNN(
        k=5, item_power=0.8, neighbour_power=0.7, target_power=0.3, own_power=0.4, shrink=0.5
    )
    weighed = x * np.maximum(count, 1) ** -0.4
    want = np.zeros_like(x)
    for u in range(len(x)):
        similar = [
            (weighed[u] @ weighed[v]) / (length[u] ** 0.4 * length[v] ** 0.7 + 0.5)
            if u != v
            else 0.0
            for v in range(len(x))
        ]
        for v in np.argsort(similar)[::-1][:5]:
            want[u] += similar[v] * x[v]
    np.testing.assert_allclose(
        scores(recipe.build(train)), want * np.maximum(count, 1) ** -0.3, rtol=1e-5, atol=1e-6
    )


def filtered(x, rank, low_pass):
    """Dense float64 graph filter."""
    users, items = x.sum(1), x.sum(0)
    with np.errstate(divide="ignore"):
        left, right = np.where(users > 0, users**-0.5, 0), np.where(items > 0, items**-0.5, 0)
    normal = left[:, None] * x * right
    vectors = np.linalg.svd(normal)[2][:rank].T
    root = np.where(items > 0, items**0.5, 0)
    return x @ normal.T @ normal + low_pass * ((x * right) @ vectors @ (vectors.T * root))


@pytest.mark.parametrize("low_pass", [0.0, 0.3])
@pytest.mark.parametrize("formed", [True, False])
def test_the_graph_filter_is_the_formula(low_pass, formed, monkeypatch):
    monkeypatch.setattr(gfcf, "_GRAM_BYTES", 1 << 30 if formed else 0)
    monkeypatch.setattr(gfcf, "_LONG_ROWS", 1e9)
    train = random_dataset(4, 40, 25)
    scorer = GFCF(rank=6, low_pass=low_pass).build(train)
    linear = scorer.parts[0] if low_pass else scorer
    assert len(linear.matrices) == (2 if formed else 3)
    np.testing.assert_allclose(
        scores(scorer),
        filtered(train.pairs.csr.toarray().astype(np.float64), 6, low_pass),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_linear_filter_is_a_neighbourhood_of_everything():
    train = random_dataset(5)
    x = train.pairs.csr.toarray()
    linear = scores(GFCF(low_pass=0.0).build(train))
    near = scores(ItemKNN(k=1000, user_power=1.0).build(train))
    unseen = (x == 0) & (
        x.sum(0) > 0
    )  # the filter has a diagonal too, which reaches only what was met
    np.testing.assert_allclose(near[unseen], linear[unseen], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(700, 500), (500, 700), (60, 45), (2, 9)])
@pytest.mark.parametrize("seed", [0, 1])
def test_singular_vectors_agree_with_lapack(shape, seed, monkeypatch):
    monkeypatch.setattr(gfcf, "_DENSE", 64)
    rng = np.random.default_rng(9)
    matrix = sp.random(*shape, density=0.2, format="csr", dtype=np.float32, random_state=rng)
    rank = 12
    got = right_singular_vectors(matrix, rank, seed)
    rank = min(rank, *shape)
    value, want = (part[:rank] for part in np.linalg.svd(matrix.toarray().astype(np.float64))[1:])
    assert got.shape == (shape[1], rank)
    np.testing.assert_allclose(got.T @ got, np.eye(rank), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(matrix @ got, axis=0), value, rtol=1e-3)
    # The space between two nearly equal singular values depends on rounding; the projector weighted
    # by the values does not.
    np.testing.assert_allclose(
        got @ np.diag(value**2) @ got.T,
        want.T @ np.diag(value**2) @ want,
        atol=2e-3 * value[0] ** 2,
    )


def test_no_more_singular_vectors_than_the_matrix_has(monkeypatch):
    monkeypatch.setattr(gfcf, "_DENSE", 16)
    rng = np.random.default_rng(1)
    thin = rng.random((400, 3)).astype(np.float32)
    matrix = sp.csr_matrix(thin @ rng.random((3, 300)).astype(np.float32))
    got = right_singular_vectors(matrix, 20)
    assert got.shape == (300, 3)
    np.testing.assert_allclose(matrix @ got @ got.T, matrix.toarray(), atol=1e-3)
    assert right_singular_vectors(sp.csr_matrix((5, 4), dtype=np.float32), 2).shape == (4, 0)


def test_who_never_came_gets_numbers_all_the_same():
    train = dataset([0, 0, 1], [0, 1, 1], 4, 5)
    for recipe in (Popular(), ItemKNN(), UserKNN(), UserKNN(target_power=0.5), GFCF(rank=2)):
        assert np.isfinite(scores(recipe.build(train))).all()
    nobody = dataset([], [], 3, 4)
    for recipe in (Popular(), ItemKNN(), UserKNN(), GFCF(rank=2)):
        np.testing.assert_array_equal(scores(recipe.build(nobody)), np.zeros((3, 4)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "overrides", "recall", "ndcg"),
    [
        ("popular", [], 0.0416, 0.0317),
        ("gfcf", ["model.low_pass=0.0"], 0.1682, 0.1331),
        ("gfcf", [], 0.1849, 0.1518),
        ("itemknn", [], 0.1844, 0.1514),
        ("ials", [], 0.1644, 0.1369),
    ],
)
def test_gowalla(method, overrides, recall, ndcg, shared_data):
    """Popularity and GF-CF: the published values, to four digits.

    The others: the values of their settings, which a seed may change a little.
    """
    source = Source(
        path=str(shared_data / "gowalla"), train="train.txt", test="test.txt", format="adjacency"
    )
    parts = split(load(source), SplitRule(by="presplit"))
    wanted = read(Path(__file__).parents[2] / "configs" / "gowalla" / f"{method}.toml", overrides)
    report = evaluate(
        wanted.model.build(parts.train),
        parts.train.pairs,
        parts.test.open("golden test"),
        wanted.evaluate,
    )
    tolerance = 1e-3 if method == "ials" else 6e-5
    assert report["recall@20"] == pytest.approx(recall, abs=tolerance)
    assert report["ndcg@20"] == pytest.approx(ndcg, abs=tolerance)
