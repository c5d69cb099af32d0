"""From the exported files alone another program gets the lists of histories that we give."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import two_camps

from recsys.api import recommend
from recsys.data.types import Dataset, Vocab
from recsys.errors import InputError
from recsys.models.contentknn import ContentKNN
from recsys.models.ease import EASE
from recsys.models.gfcf import GFCF
from recsys.models.ials import IALS
from recsys.models.itemknn import ItemKNN
from recsys.models.popular import Popular
from recsys.scorer import Scorer
from recsys.serving.vector_export import export


def world() -> Dataset:
    some = two_camps(users=60)[0]
    items = pl.Series([f"i{i:02d}" for i in range(some.n_items)])
    return Dataset(some.pairs, some.users, Vocab(items, "item"), some.features)


TRAIN = world()
RNG = np.random.default_rng(5)
GIVEN = {
    f"v{n}": [f"i{i:02d}" for i in RNG.permutation(TRAIN.n_items - 1)[: 1 + n % 7]]
    for n in range(40)
}
GIVEN["again"] = ["i03", "i07", "i03"]  # an item that comes twice counts once
LINEAR: dict[str, tuple[Any, str]] = {
    "ease": (EASE(l2=5.0), "weights.npy"),
    "ease, sparse": (EASE(l2=5.0, keep=6), "weights.parquet"),
    "itemknn": (ItemKNN(k=10), "weights.parquet"),
    "contentknn": (ContentKNN(k=5), "weights.parquet"),
    "gfcf, a sum": (GFCF(rank=4), "weights.npy"),
    "gfcf, a chain": (GFCF(low_pass=0.0), "weights.parquet"),
}


def a_run(folder: Path, scorer: Scorer) -> Any:
    """What `export` reads of a run."""
    return SimpleNamespace(
        scorer=scorer,
        train=TRAIN,
        folder=folder,
        name="run",
        fingerprint="ab",
        meta=SimpleNamespace(method="ease"),
    )


def weights_of(folder: Path) -> tuple[np.ndarray, list[str]]:
    """Read the weights [n, n] and the ids, with numpy and polars alone."""
    manifest = json.loads((folder / "manifest.json").read_text())
    ids = pl.read_parquet(folder / "items.parquet")["item"].to_list()
    assert len(ids) == manifest["items"]
    if manifest["weights"] == "weights.npy":
        weights = np.load(folder / "weights.npy", allow_pickle=False)
        assert weights.dtype == np.float32
        assert weights.size == manifest["entries"]
        return weights, ids
    table = pl.read_parquet(folder / "weights.parquet")
    assert table.columns == ["item", "other", "weight"]
    assert table.height == manifest["entries"]
    weights = np.zeros((len(ids), len(ids)), dtype=np.float32)
    row = {item: index for index, item in enumerate(ids)}
    for item, other, weight in table.iter_rows():
        weights[row[item], row[other]] = weight
    return weights, ids


def same_lists(scores: dict[str, np.ndarray], ids: list[str], scorer: Scorer) -> int:
    """Compare the 5 best of scores [n] with our lists, and return how many histories agree.

    Where the sixth is as good as the fifth up to rounding, the order is not decided.
    """
    compared = 0
    lists = recommend(scorer, TRAIN, k=5, histories=GIVEN)
    for name, items in GIVEN.items():
        ours = lists.filter((pl.col("user") == name) & (pl.col("source") == "model"))
        scores[name][[ids.index(item) for item in items]] = -np.inf
        order = np.argsort(-scores[name], kind="stable")
        gaps = np.diff(-scores[name][order[:6]])
        if not len(ours) or gaps.min() <= 1e-5 * np.abs(scores[name][order[0]]):
            continue
        assert ours["item"].to_list() == [ids[i] for i in order[:5]]
        np.testing.assert_allclose(
            ours["score"].to_numpy(), scores[name][order[:5]], rtol=1e-4, atol=1e-5
        )
        compared += 1
    return compared


@pytest.mark.parametrize("name", LINEAR)
def test_a_history_is_scored_by_the_weights_alone(name: str, tmp_path: Path) -> None:
    recipe, file = LINEAR[name]
    scorer = recipe.build(TRAIN)
    done = export(a_run(tmp_path, scorer), tmp_path / "out")
    assert [path.name for path in done.files] == ["items.parquet", file, "manifest.json"]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == done.manifest
    weights, ids = weights_of(tmp_path / "out")
    scores = {}
    for user, items in GIVEN.items():
        rows = sorted({ids.index(item) for item in items if item in ids})
        scores[user] = weights[rows].sum(0)
    assert same_lists(scores, ids, scorer) >= 15


def test_an_item_that_cannot_be_placed_is_left_out(tmp_path: Path) -> None:
    run = a_run(tmp_path, EASE(l2=5.0).build(TRAIN))
    last = TRAIN.items.ids[-1]
    done = export(run, tmp_path / "out")
    items = pl.read_parquet(tmp_path / "out" / "items.parquet")
    assert last not in items["item"]
    assert items["count"].to_list() == TRAIN.item_counts[:-1].tolist()
    assert done.manifest["without_training_pair_left_out"]["items"] == 1
    export(run, tmp_path / "all", unmet=True)
    assert last in pl.read_parquet(tmp_path / "all" / "items.parquet")["item"]
    assert np.load(tmp_path / "all" / "weights.npy").shape == (TRAIN.n_items, TRAIN.n_items)


@pytest.mark.parametrize("recipe", [EASE(l2=5.0), ItemKNN(k=10)], ids=["dense", "sparse"])
def test_the_weights_in_parts_and_again(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys.serving import history_export as module

    run = a_run(tmp_path, recipe.build(TRAIN))
    one, two = (export(run, tmp_path / name) for name in ("one", "two"))
    for a, b in zip(one.files, two.files, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    monkeypatch.setattr(module, "_CELLS", 100)
    export(run, tmp_path / "parts")
    whole, parts = (weights_of(tmp_path / name)[0] for name in ("one", "parts"))
    np.testing.assert_allclose(whole, parts, rtol=1e-6)


@pytest.mark.parametrize("nu", [1.0, 0.5])
def test_a_history_is_solved_by_the_vectors_and_the_manifest_alone(
    tmp_path: Path, nu: float
) -> None:
    scorer = IALS(dim=6, sweeps=3, l2=0.02, unobserved=0.2, nu=nu).build(TRAIN)
    export(a_run(tmp_path, scorer), tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "manifest.json").read_text())["history"]
    items = pl.read_parquet(tmp_path / "out" / "items.parquet")
    ids, every = items["item"].to_list(), items["vector"].to_numpy().astype(np.float64)
    scores = {}
    for user, given in GIVEN.items():
        own = every[sorted({ids.index(item) for item in given})]
        ridge = facts["l2"] * (len(own) + facts["unobserved"] * facts["n_items"]) ** facts["nu"]
        system = own.T @ own + facts["unobserved"] * every.T @ every + ridge * np.eye(6)
        scores[user] = every @ np.linalg.solve(system, own.sum(0))
    assert same_lists(scores, ids, scorer) >= 35


def test_only_who_solves_histories_has_them_in_the_manifest(tmp_path: Path) -> None:
    scorer = IALS(dim=6, sweeps=1).build(TRAIN)
    assert "history" in export(a_run(tmp_path, scorer), tmp_path / "ials").manifest
    from recsys.scorer import Factors

    plain = Factors(scorer.user, scorer.item)
    assert "history" not in export(a_run(tmp_path, plain), tmp_path / "plain").manifest


def test_what_has_no_weights_is_refused_as_before(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot export vectors: this 'product' scorer"):
        export(a_run(tmp_path, Popular().build(TRAIN)), tmp_path / "out")
    with pytest.raises(InputError, match="an index needs vectors, and this 'product' scorer has"):
        export(a_run(tmp_path, EASE(l2=5.0).build(TRAIN)), tmp_path / "out", "flat")
    assert not (tmp_path / "out").exists()
