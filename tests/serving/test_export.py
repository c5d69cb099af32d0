"""Exported vectors and indexes give the measured ranking; folders are complete or absent."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import faiss
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
import torch
from asking import asked, top_k
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from oracle import tie
from planted import two_camps

from recsys.api import recommend
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.models.cml import CML
from recsys.models.dpcml import DPCML
from recsys.models.mf import MF
from recsys.scorer import Factors, MultiFactors, Product, Relational, Scorer, Sum
from recsys.serving.ann_index import build_index, nearest, read_index
from recsys.serving.vector_export import VectorCounts, export, vectors
from recsys.training.loop import Train, fit

USERS, ITEMS, DIM = 40, 300, 6


def normal(*shape: int, seed: int, whole: bool = False) -> torch.Tensor:
    """Gaussian, or whole numbers, whose sums are exact and many of which are equal."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(
        (rng.integers(-2, 3, shape) if whole else rng.normal(size=shape)).astype(np.float32)
    )


def factors(similarity: Any, bias: bool, *, seed: int = 0, whole: bool = False) -> Factors:
    # Under distances an integer bias is a square below the largest, so that its root is exact.
    term = (
        4 - normal(ITEMS, seed=seed + 2, whole=True).square()
        if whole
        else normal(ITEMS, seed=seed + 2)
    )
    return Factors(
        normal(USERS, DIM, seed=seed, whole=whole),
        normal(ITEMS, DIM, seed=seed + 1, whole=whole),
        similarity,
        term if bias else None,
    )


def several(
    similarity: Any, c: int = 5, *, counts: bool = False, seed: int = 0, whole: bool = False
) -> MultiFactors:
    count = (
        torch.from_numpy(np.random.default_rng(seed).integers(1, c + 1, USERS)) if counts else None
    )
    return MultiFactors(
        normal(USERS, c, DIM, seed=seed, whole=whole),
        normal(ITEMS, DIM, seed=seed + 1, whole=whole),
        similarity,
        count,
    )


def drawn(users: int = USERS, items: int = ITEMS, seed: int = 0) -> sp.csr_matrix:
    """What users have seen: one nothing, one all but three, one everything, the others a tenth."""
    met = np.random.default_rng(seed).random((users, items)) < 0.1
    met[0], met[1], met[2] = False, True, True
    met[1, [3, 5, items - 1]] = False
    return sp.csr_matrix(met.astype(np.float32))


def by_index(
    scorer: Scorer, k: int, seen: sp.csr_matrix | None = None, kind: Any = "flat"
) -> tuple[np.ndarray, np.ndarray]:
    """Items and scores [n_users, k] as `top_k` has them."""
    made = vectors(scorer)
    frame = nearest(
        build_index(made.item, made.search, kind),
        made.user,
        k,
        count=made.count,
        seen=seen,
        offset=made.offset,
    )
    items, scores = (
        np.full((scorer.n_users, k), -1),
        np.full((scorer.n_users, k), -np.inf, dtype=np.float32),
    )
    user, rank, item, score = (frame[name].to_numpy() for name in ("user", "rank", "item", "score"))
    items[user, rank - 1], scores[user, rank - 1] = item, score
    assert frame.columns == ["user", "item", "rank", "score"]
    assert list(zip(user, rank, strict=True)) == sorted(zip(user, rank, strict=True))
    return items, scores


def same(scorer: Scorer, k: int, seen: sp.csr_matrix | None = None, *, exact: bool = False) -> None:
    """The index and `top_k` agree: scores within rounding, items unless scores are that close."""
    items, scores = by_index(scorer, k, seen)
    best = top_k(scorer, np.arange(scorer.n_users), k, seen=seen)
    np.testing.assert_array_equal(items < 0, best.item < 0)
    there = best.item >= 0
    np.testing.assert_allclose(scores[there], best.score[there], rtol=1e-5, atol=2e-5)
    differ = items != best.item
    if exact:
        np.testing.assert_array_equal(scores, best.score)
        assert not differ.any()
        return
    assert differ.mean() < 0.01
    every = scorer.score(asked(torch.arange(scorer.n_users))).numpy()
    for user, place in np.argwhere(differ):
        assert abs(every[user, items[user, place]] - every[user, best.item[user, place]]) < 2e-5


MANY = {
    f"{kind}{', bias' * bias}": factors(kind, bool(bias))
    for kind in ("dot", "cosine", "euclidean")
    for bias in (0, 1)
}
MANY |= {
    f"{kind}, C = {c}": several(kind, c) for kind in ("dot", "cosine", "euclidean") for c in (1, 5)
}
MANY |= {f"{kind}, counts": several(kind, counts=True) for kind in ("dot", "cosine", "euclidean")}


@pytest.mark.parametrize("seen", [None, drawn()], ids=["all", "unseen"])
@pytest.mark.parametrize("k", [1, 20, ITEMS + 7])
@pytest.mark.parametrize("scorer", MANY.values(), ids=MANY)
def test_a_flat_index_ranks_as_evaluation_does(
    scorer: Scorer, k: int, seen: sp.csr_matrix | None
) -> None:
    same(scorer, k, seen)


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1000),
    k=st.integers(1, 40),
    similarity=st.sampled_from(["dot", "euclidean"]),
    kind=st.sampled_from(["one", "bias", "several", "counts"]),
    masked=st.booleans(),
)
def test_equal_scores_stand_in_the_order_of_their_hashes(
    seed: int, k: int, similarity: Any, kind: str, masked: bool
) -> None:
    """Integers are not rounded, so items and scores are the same bits, with any number of ties."""
    one = factors(similarity, kind == "bias", seed=seed, whole=True)
    scorer = (
        one
        if kind in ("one", "bias")
        else several(similarity, counts=kind == "counts", seed=seed, whole=True)
    )
    same(scorer, k, drawn(seed=seed) if masked else None, exact=True)


def test_where_all_scores_are_equal_the_hash_decides() -> None:
    scorer = Factors(torch.zeros(USERS, DIM), normal(ITEMS, DIM, seed=0))
    seen = drawn()
    items, _ = by_index(scorer, 5, seen)
    for user in range(USERS):
        free = sorted(np.flatnonzero(seen[user].toarray()[0] == 0), key=tie)[:5]
        np.testing.assert_array_equal(items[user, : len(free)], free)


TRAIN, _ = two_camps(users=80, items=60)
QUICK = Train(epochs=4, batch_size=64, lr=0.05, device="cpu")
TRAINED = {
    "dpcml": DPCML(dim=8, vectors=4),
    "dpcml, counts": DPCML(dim=8, vectors=4, assign="adaptive"),
    "gfja": DPCML(dim=8, vectors=3, similarity="dot", item_space="sphere"),
    "cml": CML(dim=8),
    "mf": MF(dim=8),
}


@pytest.mark.parametrize("name", TRAINED)
def test_trained_methods_rank_the_same(name: str) -> None:
    scorer = fit(TRAINED[name], TRAIN, None, QUICK).scorer
    assert isinstance(scorer, MultiFactors if name[0] in "dg" else Factors)
    same(scorer, 10, TRAIN.pairs.csr)


@pytest.mark.parametrize("name", MANY)
def test_the_vectors_hold_the_score(name: str) -> None:
    """score = inner product, or offset - distance^2, of the best of a user's vectors, in numpy."""
    made = vectors(MANY[name])
    assert (made.user.dtype, made.item.dtype) == (np.float32, np.float32)
    assert made.user.shape[2] == made.item.shape[1] == made.dim == DIM + ("bias" in name)
    assert bool(made.added) == ("bias" in name)
    user, item = made.user.astype(np.float64), made.item.astype(np.float64)
    each = (
        user @ item.T
        if made.search == "dot"
        else made.offset - np.square(user[:, :, None] - item).sum(-1)
    )
    each[np.arange(each.shape[1]) >= made.count[:, None]] = -np.inf
    np.testing.assert_allclose(
        each.max(1), MANY[name].score(asked(torch.arange(USERS))).numpy(), rtol=1e-4, atol=1e-4
    )


def test_vectors_a_user_lacks_do_not_matter() -> None:
    scorer = several("euclidean", counts=True)
    made = vectors(scorer)
    lost = np.where(scorer.valid.numpy()[:, :, None], made.user, np.nan)
    index = build_index(made.item, made.search)
    assert nearest(index, lost, 9, count=made.count).equals(
        nearest(index, made.user, 9, count=made.count)
    )


def test_an_item_that_two_vectors_find_stands_once_with_the_smaller_distance() -> None:
    item = np.array([[0, 0], [1, 0], [4, 0]], dtype=np.float32)
    index = build_index(item, "euclidean")
    found = nearest(
        index, np.array([[[0, 0], [2, 0]]], dtype=np.float32), 3, ids=pl.Series(["a", "b", "c"])
    )
    assert found.rows() == [(0, "a", 1, 0.0), (0, "b", 2, -1.0), (0, "c", 3, -4.0)]


def test_one_vector_each_may_be_a_table() -> None:
    scorer = factors("dot", False)
    index = build_index(scorer.item.numpy(), "dot")
    assert nearest(index, scorer.user.numpy(), 4).equals(
        nearest(index, scorer.user.numpy()[:, None], 4)
    )


def test_users_are_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from recsys.serving import ann_index as module

    scorer, seen = several("euclidean", counts=True), drawn()
    whole = by_index(scorer, 7, seen)
    monkeypatch.setattr(module, "_ROOM", 100)
    for one, two in zip(whole, by_index(scorer, 7, seen), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """An HNSW index depends on the order in which threads link it."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.mark.parametrize(
    "scorer",
    [several("euclidean", counts=True), several("cosine"), factors("euclidean", True)],
    ids=["counts", "cosine", "bias"],
)
def test_hnsw_finds_most(scorer: Scorer, one_thread: None) -> None:
    seen = drawn()
    items, scores = by_index(scorer, 10, seen, "hnsw")
    best = top_k(scorer, np.arange(USERS), 10, seen=seen)
    found = [
        len(set(mine[mine >= 0]) & set(right)) / max(1, (right >= 0).sum())
        for mine, right in zip(items, best.item, strict=True)
        if right.max() >= 0
    ]
    assert np.mean(found) > 0.95
    every = scorer.score(asked(torch.arange(USERS))).numpy()
    user, place = np.nonzero(items >= 0)
    np.testing.assert_allclose(
        scores[user, place], every[user, items[user, place]], rtol=1e-4, atol=1e-4
    )
    assert not seen[user, items[user, place]].any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"users": np.zeros((2, 3, DIM + 1))}, "vectors of 6"),
        ({"users": np.zeros(DIM)}, "shape"),
        ({"users": np.full((2, 3, DIM), np.nan)}, "not finite"),
        ({"count": np.array([1, 0])}, "at least 1"),
        ({"count": np.array([1])}, "2 integers"),
        ({"seen": sp.csr_matrix((2, ITEMS + 1))}, "seen has shape"),
        ({"ids": pl.Series(["a"])}, "1 ids for 300 items"),
    ],
)
def test_what_does_not_belong_together_is_refused(change: dict[str, Any], says: str) -> None:
    index = build_index(factors("dot", False).item.numpy(), "dot")
    options: dict[str, Any] = {"users": np.zeros((2, 3, DIM)), "k": 5} | change
    with pytest.raises(InputError, match=says):
        nearest(index, options.pop("users"), options.pop("k"), **options)


OTHERS = {
    "product": Product((sp.csr_matrix(np.eye(3, dtype=np.float32)), torch.ones(3, 3))),
    "relational": Relational(*(torch.ones(2, 2) for _ in range(4))),
    "sum": Sum((factors("dot", False), factors("dot", False)), (1.0, 1.0)),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_scorers_are_refused(kind: str) -> None:
    with pytest.raises(
        InputError, match=f"cannot export vectors: this '{kind}' scorer.*; use a factor method"
    ):
        vectors(OTHERS[kind])


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_vectors_that_are_not_finite_are_refused(similarity: Any) -> None:
    scorer = factors(similarity, False)
    scorer.item[7, 2] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        vectors(scorer)


def a_run(folder: Path, scorer: Scorer, *, titles: bool = True, numbers: bool = False) -> Any:
    """What `export` reads of a run."""
    (folder / "scorer.safetensors").write_bytes(b"scorer")
    users, items = (
        [10 * i if numbers else f"{letter}{i:03d}" for i in range(n)]
        for letter, n in (("u", scorer.n_users), ("i", scorer.n_items))
    )
    rows = drawn(scorer.n_users, scorer.n_items).nonzero()
    shown = (
        pl.Series([f"Thing {i}" if i % 3 else None for i in range(scorer.n_items)])
        if titles
        else None
    )
    pairs = Interactions(rows[0], rows[1], scorer.n_users, scorer.n_items)
    train = Dataset(
        pairs, Vocab(pl.Series(users), "user"), Vocab(pl.Series(items), "item"), titles=shown
    )
    return SimpleNamespace(
        scorer=scorer,
        train=train,
        folder=folder,
        name="tried",
        fingerprint="ab" * 32,
        meta=SimpleNamespace(method="dpcml"),
    )


@pytest.mark.parametrize("numbers", [False, True], ids=["text", "integers"])
@pytest.mark.parametrize("name", MANY)
def test_the_folder_alone_gives_the_recommendations(
    tmp_path: Path, name: str, numbers: bool
) -> None:
    """From the files and the manifest, with nothing of the run but what users have seen."""
    run = a_run(tmp_path, MANY[name], numbers=numbers)
    done = export(run, tmp_path / "out", "flat")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest == done.manifest
    users, items = (
        pl.read_parquet(tmp_path / "out" / f"{table}.parquet") for table in ("users", "items")
    )
    assert items["item"].to_list() == run.train.items.ids.to_list()
    assert items["title"].to_list() == run.train.titles.to_list()
    index = read_index(tmp_path / "out" / manifest["index"]["file"])
    assert (index.ntotal, index.d) == (manifest["items"], manifest["dim"])
    assert index.metric_type == (
        faiss.METRIC_L2 if manifest["search"] == "euclidean" else faiss.METRIC_INNER_PRODUCT
    )
    np.testing.assert_array_equal(index.reconstruct_n(0, index.ntotal), items["vector"].to_numpy())
    expected = recommend(run.scorer, run.train, k=8)
    some = run.train.users.ids.to_list()[:12]
    assert users.filter(pl.col("user") == some[0]).is_empty(), "who has no pair has no vector"
    for row, user in enumerate(some[1:], 1):
        mine = users.filter(pl.col("user") == user)
        assert mine["c"].to_list() == list(range(len(mine)))
        found = nearest(
            index,
            mine["vector"].to_numpy()[None],
            8,
            seen=run.train.pairs.csr[row],
            ids=items["item"],
            offset=manifest["offset"],
        )
        right = expected.filter(pl.col("user") == user)
        assert found["item"].to_list() == right["item"].to_list()
        np.testing.assert_allclose(
            found["score"].to_numpy(), right["score"].to_numpy(), rtol=1e-4, atol=1e-4
        )


def test_the_tables_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsys.serving import vector_export as module

    run = a_run(tmp_path, several("euclidean", counts=True))
    export(run, tmp_path / "whole")
    monkeypatch.setattr(module, "_ROWS", 16)
    export(run, tmp_path / "parts")
    assert pq.ParquetFile(tmp_path / "parts" / "users.parquet").num_row_groups > 5
    for name in ("users", "items"):
        assert pl.read_parquet(tmp_path / "whole" / f"{name}.parquet").equals(
            pl.read_parquet(tmp_path / "parts" / f"{name}.parquet")
        )


def test_what_other_readers_see(tmp_path: Path) -> None:
    scorer = several("cosine", counts=True)
    done = export(a_run(tmp_path, scorer, titles=False), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in done.files
    )
    assert {path.name for path in done.files} == {"items.parquet", "users.parquet", "manifest.json"}
    items, users = (
        pq.read_table(tmp_path / "out" / f"{table}.parquet") for table in ("items", "users")
    )
    assert items.column_names == ["item", "vector"]
    assert users.column_names == ["user", "c", "vector"]
    assert (
        str(items.schema.field("vector").type)
        == str(users.schema.field("vector").type)
        == f"fixed_size_list<element: float>[{DIM}]"
    )
    assert len(users) == int(scorer.count[1:].sum()), "the first has no training pair"
    manifest = done.manifest
    assert (manifest["similarity"], manifest["search"], manifest["score"]) == (
        "cosine",
        "dot",
        "inner product",
    )
    assert manifest["vectors_per_user"] == {"least": 1, "most": 5, "all": len(users)}
    assert done.description.vectors_per_user == VectorCounts(1, 5, len(users))
    fields = [field.name for field in dataclasses.fields(done.description)]
    assert list(manifest) == [name for name in fields if name != "history"]
    assert (manifest["index"], manifest["method"], manifest["fingerprint"]) == (
        None,
        "dpcml",
        "ab" * 32,
    )
    assert {"recsys", "numpy", "polars", "torch"} == set(manifest["libraries"])


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = a_run(tmp_path, several("euclidean"))
    one, two = (export(run, tmp_path / name, "flat") for name in ("one", "two"))
    for a, b in zip(one.files, two.files, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_an_empty_folder_may_be_filled_and_a_full_one_not(tmp_path: Path) -> None:
    run = a_run(tmp_path, several("dot"))
    (tmp_path / "out").mkdir()
    export(run, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(InputError, match="already exists and is not empty"):
        export(run, tmp_path / "out")
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize("after", range(4))
def test_nothing_is_left_of_an_export_that_failed(tmp_path: Path, after: int) -> None:
    run = a_run(tmp_path, several("dot"))
    before = sorted(tmp_path.iterdir())
    flush, calls = os.fsync, iter(range(9))

    def fills_up(descriptor: int) -> None:
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    with mock.patch("os.fsync", fills_up), pytest.raises(InputError) as caught:
        export(run, tmp_path / "out", "flat")
    name = ["items.parquet", "users.parquet", "items.faiss", "manifest.json"][after]
    assert str(caught.value).startswith(
        f"{tmp_path / 'out' / name}: cannot be written: the disk is full; "
    )
    assert sorted(tmp_path.iterdir()) == before


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    run = a_run(tmp_path, several("dot"))
    before = sorted(tmp_path.iterdir())
    with (
        mock.patch("recsys.serving.vector_export.write_json", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        export(run, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_faiss_that_is_not_there_is_named(tmp_path: Path) -> None:
    run = a_run(tmp_path, several("dot"))
    with mock.patch.dict("sys.modules", {"faiss": None}):
        with pytest.raises(
            InputError, match=r"faiss, which is not installed; pip install 'recsys\[index\]'"
        ):
            export(run, tmp_path / "out", "flat")
        assert not (tmp_path / "out").exists()
        export(run, tmp_path / "out")  # vectors need none


@pytest.mark.parametrize(
    "content",
    [None, b"", b"nonsense of some length", "cut"],
    ids=["missing", "empty", "foreign", "cut"],
)
def test_an_index_that_cannot_be_read(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "items.faiss"
    if content == "cut":
        content = faiss.serialize_index(
            build_index(factors("dot", False).item.numpy(), "dot")
        ).tobytes()[:500]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"items\.faiss: (no such file|is not an index that faiss can read); "
    ):
        read_index(path)
