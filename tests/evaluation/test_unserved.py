"""Users and items without a training pair, and lists without information.

What is served in their place, exported, and measured.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from asking import top_k
from mistakes import invoke
from oracle import tie
from test_methods import METHODS, TRAIN, fitted, recipe, scores

from recsys import serving
from recsys.api import recommend
from recsys.data.types import Dataset, FeatureTable, Interactions, Vocab
from recsys.errors import InputError
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.models import Network
from recsys.models.contentknn import ContentKNN
from recsys.models.ease import EASE
from recsys.models.gfcf import GFCF
from recsys.models.ials import IALS
from recsys.models.itemknn import ItemKNN
from recsys.models.popular import Popular
from recsys.models.userknn import UserKNN
from recsys.scorer import (
    Blend,
    Dense,
    Factors,
    Fallback,
    MultiFactors,
    Places,
    Product,
    Sum,
    from_state,
    places_of,
    unplaced,
)
from recsys.serving import Job, Request, similar_items, write_recommendations
from recsys.serving.cold_start import add_items
from recsys.serving.vector_export import export

STRANGER, NEW = TRAIN.n_users - 1, TRAIN.n_items - 1  # no pair; nobody has met it
BY_FEATURES = {
    "clcrec",
    "contentknn",
    "dropoutnet",
    "duif",
    "fallback",  # whose second part is contentknn
    "freedom",
    "heater",
    "lattice",
    "mgcn",
    "milk",
    "siger",
    "vbpr",
}
FOR_EVERYBODY = {"popular"}
OF_A_HISTORY = [ItemKNN(k=10), UserKNN(k=10), EASE(), GFCF(rank=4), ContentKNN(k=5), IALS(dim=64)]


def naive_popular(train: Dataset, seen: set[int], pool: list[int], k: int) -> list[tuple]:
    """Item rows and training pairs of the k most popular, one at a time."""
    times = {i: train.pairs.item.tolist().count(i) for i in pool if i not in seen}
    best = sorted((i for i, n in times.items() if n), key=lambda i: (-times[i], tie(i)))
    return [(i, times[i]) for i in best[:k]]


def seen_of(train: Dataset, row: int) -> set[int]:
    return set(train.pairs.item[train.pairs.user == row].tolist())


# What methods declare, and whether it is so.


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_declares(name: str) -> None:
    scorer = fitted(name).scorer
    assert places_of(scorer) == Places(name in FOR_EVERYBODY, name in BY_FEATURES)
    again = from_state(*scorer.state())
    assert places_of(again) == places_of(scorer)
    assert places_of(scorer.to("cpu")) == places_of(scorer)


def of_the_other_camp() -> Dataset:
    """The same data, with the features of an item of the other camp for the new item."""
    features = {}
    for name, table in TRAIN.features.items():
        values, present = table.values.copy(), table.present.copy()
        values[NEW], present[NEW] = values[1], True
        features[name] = FeatureTable(values, present)
    return dataclasses.replace(TRAIN, features=features)


@pytest.mark.parametrize("name", METHODS)
def test_who_declares_to_place_items_looks_at_the_features_of_a_new_one(name: str) -> None:
    """The scores of a new item change with its features exactly if the method declares it."""
    ones = []
    for train in (TRAIN, of_the_other_camp()):
        torch.manual_seed(0)
        built = recipe(name).build(train)
        ones.append(scores(built.scorer() if isinstance(built, Network) else built)[:, NEW])
    assert (not np.allclose(*ones)) == (name in BY_FEATURES)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_serves_whom_it_knows_and_ranks_what_it_knows(name: str) -> None:
    scorer, users = fitted(name).scorer, TRAIN.users.ids
    frame = recommend(scorer, TRAIN, k=TRAIN.n_items)
    mine = frame.filter(pl.col("user") == users[STRANGER])
    assert set(mine["source"]) == {"model" if name in FOR_EVERYBODY else "popular"}
    assert set(frame.filter(pl.col("user") != users[STRANGER])["source"]) == {"model"}
    if name not in FOR_EVERYBODY:
        right = naive_popular(TRAIN, set(), list(range(TRAIN.n_items)), TRAIN.n_items)
        rows = TRAIN.items.rows(mine["item"]).tolist()
        assert list(zip(rows, mine["score"].to_list(), strict=True)) == right
    listed = frame.filter(pl.col("source") == "model")["item"]
    assert (TRAIN.items.ids[NEW] in listed) == (name in BY_FEATURES)
    every = recommend(scorer, TRAIN, [users[0]], TRAIN.n_items, unmet=True)
    assert TRAIN.items.ids[NEW] in every["item"]
    skipped = recommend(scorer, TRAIN, [users[STRANGER]], 3, unknown="skip")
    assert skipped.height == (3 if name in FOR_EVERYBODY else 0)
    if name not in FOR_EVERYBODY:
        with pytest.raises(InputError, match="60 has no training interaction, so the model"):
            recommend(scorer, TRAIN, users[:61], 3, unknown="error")


def test_what_joined_scorers_declare() -> None:
    popular, knn, content = (each.build(TRAIN) for each in (Popular(), ItemKNN(), ContentKNN()))
    pairs = TRAIN.pairs
    assert places_of(Fallback.of(knn, popular, pairs)) == Places(users=True)
    assert places_of(Fallback.of(popular, content, pairs)) == Places(items=True)
    assert places_of(Fallback.of(knn, popular, pairs, users=False)) == Places()
    assert places_of(Fallback.of(popular, popular, pairs, users=False)) == Places(users=True)
    assert places_of(Blend((content, knn), (0.5, 0.5))) == Places()
    assert places_of(Blend((content, knn), (1.0, 0.0))) == Places(items=True)
    assert places_of(Sum((popular, popular), (1.0, 2.0))) == Places(users=True)
    assert places_of(SimpleNamespace()) == places_of(SimpleNamespace(places=None)) == Places()


def test_a_fallback_answers_who_has_no_pair_by_its_second_part() -> None:
    scorer = Fallback.of(ItemKNN().build(TRAIN), Popular().build(TRAIN), TRAIN.pairs)
    mine = recommend(scorer, TRAIN, [TRAIN.users.ids[STRANGER]], 5)
    assert mine["source"].to_list() == ["model"] * 5
    right = naive_popular(TRAIN, set(), list(range(TRAIN.n_items)), 5)
    assert TRAIN.items.rows(mine["item"]).tolist() == [item for item, _ in right]


# Lists whose scores are all equal.


def island() -> Dataset:
    """Twelve users of ten items, a user `z` with two items of their own, and an unused item."""
    rng = np.random.default_rng(3)
    rows = [(u, int(i)) for u in range(12) for i in rng.permutation(10)[:5]] + [(12, 10), (12, 11)]
    user, item = np.array(rows, dtype=np.int32).T
    features = np.zeros((13, 2), dtype=np.float32)
    features[:10, 0] = 1.0
    features[10:12, 1] = 1.0
    return Dataset(
        Interactions(user, item, 13, 13),
        Vocab(pl.Series([f"u{i:02d}" for i in range(12)] + ["z"]), "user"),
        Vocab(pl.Series([f"i{i:02d}" for i in range(13)]), "item"),
        {"text": FeatureTable(features, np.arange(13) < 12)},
    )


@pytest.mark.parametrize("recipe", OF_A_HISTORY, ids=lambda recipe: type(recipe).__name__)
@pytest.mark.parametrize("k", [1, 3, 20])
def test_who_resembles_nobody_gets_what_is_popular(recipe: Any, k: int) -> None:
    """To a neighbour method all that `z` has not met is worth 0 or the rounding of it."""
    train = island()
    scorer = recipe.build(train)
    left = scores(scorer)[12, :10]
    assert np.ptp(left) <= 1e-6 * np.abs(scores(scorer)[12]).max(), "the premise"
    mine = recommend(scorer, train, ["z", "u03"], k)
    assert mine.filter(pl.col("user") == "u03")["source"].unique().to_list() == ["model"]
    mine = mine.filter(pl.col("user") == "z")
    assert set(mine["source"]) == {"popular"}
    right = naive_popular(train, {10, 11}, list(range(13)), k)
    found = zip(train.items.rows(mine["item"]).tolist(), mine["score"].to_list(), strict=True)
    assert list(found) == right
    assert mine["rank"].to_list() == list(range(1, len(right) + 1))
    assert recommend(scorer, train, ["z"], k, unknown="skip").height == 0
    with pytest.raises(InputError, match="user 'z' gets the same score for every candidate"):
        recommend(scorer, train, ["u03", "z"], k, unknown="error")


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
@pytest.mark.parametrize("vectors", [1, 3])
def test_flat_against_a_naive_loop(similarity: Any, vectors: int) -> None:
    """Vectors of zeros, items with the same vector, ties at the head only, single candidates."""
    rng = np.random.default_rng(vectors)
    item = torch.from_numpy(rng.integers(-1, 2, (30, 2)).astype(np.float32))
    user = torch.from_numpy(rng.integers(-1, 2, (40, vectors, 2)).astype(np.float32))
    user[::4] = 0
    item[10:] = item[10]
    seen = rng.random((40, 30)) < 0.3
    seen[:20, :10] = True  # whose candidates all have one vector
    seen[5, :] = True
    seen[5, 29] = False
    scorer = (
        MultiFactors(user, item, similarity)
        if vectors > 1
        else Factors(user[:, 0], item, similarity)
    )
    for pool in (None, np.arange(12), np.array([29]), np.array([3, 29])):
        for k in (1, 4, 40):
            found = top_k(
                scorer,
                np.arange(40),
                k,
                seen=sp.csr_matrix(seen.astype(np.float32)),
                candidates=pool,
                flat=True,
                block=7,
            ).flat
            values = scores(scorer)
            for row in range(40):
                free = [i for i in (range(30) if pool is None else pool) if not seen[row, i]]
                mine = values[row, free]
                room = 1e-6 * np.abs(values[row]).max()
                right = len(free) > 1 and float(mine.max() - mine.min()) <= room
                assert found[row] == right, (row, pool, k)


def test_a_list_that_is_tied_at_its_head_alone_is_the_models() -> None:
    """Three of four are tied best: the model prefers them to the fourth."""
    train = island()
    scorer = Factors(torch.ones(13, 1), torch.tensor([[2.0]] * 3 + [[1.0]] * 10))
    assert set(recommend(scorer, train, ["u01"], 3, filter_seen=False)["source"]) == {"model"}
    only = recommend(scorer, train, ["u01"], 3, candidates=["i05"], filter_seen=False)
    assert only.select("item", "source").rows() == [("i05", "model")], "one has nothing beside it"
    two = recommend(scorer, train, ["u01"], 3, candidates=["i05", "i06"], filter_seen=False)
    assert set(two["source"]) == {"popular"}


def test_scores_that_bar_items_are_no_scores() -> None:
    """A scorer may give minus infinity; what is left of the row decides."""
    table = torch.tensor([[1.0, -torch.inf, 1.0], [1.0, -torch.inf, 2.0], [-torch.inf] * 3])
    scorer = Product((torch.eye(3), torch.zeros(3, 3)))
    given = SimpleNamespace(
        n_users=3,
        n_items=3,
        device=scorer.device,
        score=lambda queries: table[queries.user.tolist()],
        plan=Dense,
    )
    assert top_k(given, np.arange(3), 2, flat=True).flat.tolist() == [True, False, False]
    assert top_k(given, np.arange(3), 2).flat is None


# Candidates.


def test_items_that_nobody_has_met_are_candidates_only_if_asked_for() -> None:
    train = island()  # i12 has no pair
    scorer = Factors(torch.ones(13, 1), torch.arange(13.0)[:, None])
    assert recommend(scorer, train, ["u01"], 1)["item"].to_list() == ["i11"]
    assert recommend(scorer, train, ["u01"], 1, unmet=True)["item"].to_list() == ["i12"]
    assert recommend(scorer, train, ["u01"], 5, candidates=["i12", "i11"])["item"].to_list() == [
        "i11"
    ]
    with pytest.raises(
        InputError, match=r"none of the 1 candidates has a training interaction.*--unmet"
    ):
        recommend(scorer, train, ["u01"], candidates=["i12"])
    assert recommend(scorer, train, ["u01"], candidates=["i12"], unmet=True).height == 1
    able = Factors(torch.ones(13, 1), torch.arange(13.0)[:, None], by_features=True)
    assert recommend(able, train, ["u01"], 1)["item"].to_list() == ["i12"]


def test_similar_items_are_of_those_that_were_met() -> None:
    train = island()
    scorer = Factors(torch.ones(13, 1), torch.ones(13, 1))
    assert "i12" not in similar_items(scorer, train, ["i03"], 20)["similar"]
    with pytest.raises(InputError, match="item 'i12' has no training interaction"):
        similar_items(scorer, train, ["i03", "i12"])
    able = Factors(torch.ones(13, 1), torch.ones(13, 1), by_features=True)
    assert "i12" in similar_items(able, train, ["i03"], 20)["similar"]
    assert similar_items(able, train, ["i12"], 20).height == 12


def test_users_who_came_later_are_offered_all_that_was_learned_from() -> None:
    """Their log is short: what a candidate is, and what is popular, is told by training."""
    train = island()
    log = pl.DataFrame({"user": ["a", "a", "b"], "item": ["i00", "i01", "i10"]})
    scorer = ItemKNN(k=20).build(train)
    lists = serving.recommend(scorer, train, Request(k=20, histories=log))
    a, b = (lists.filter(pl.col("user") == user) for user in "ab")
    assert set(a["source"]) == {"model"}
    assert set(a["item"]) == {f"i{i:02d}" for i in range(2, 12)}
    # b has met what `z` has: of the rest one item resembles it, so this list is the model's.
    assert b["item"][0] == "i11"
    c = recommend(scorer, train, k=20, histories={"c": ["i10", "i11"]})
    right = naive_popular(train, {10, 11}, list(range(13)), 20)
    assert train.items.rows(c["item"]).tolist() == [item for item, _ in right]
    assert set(c["source"]) == {"popular"}
    assert unplaced(scorer, train)[1].tolist() == [False] * 12 + [True]


def test_items_and_users_that_came_later_go_together() -> None:
    train = island()
    table = FeatureTable(np.array([[1.0, 0.0]], dtype=np.float32), np.array([True]))
    scorer = ContentKNN(k=5).build(train)
    both = add_items(scorer, train, pl.Series(["fresh"]), {"text": table})
    assert both.train.item_counts.tolist() == [*train.item_counts.tolist(), 0]
    lists = recommend(both.scorer, both.train, k=20, histories={"a": ["i00", "i01"]})
    assert "fresh" in lists["item"]
    assert set(lists["source"]) == {"model"}


# Jobs.


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_job_counts_who_was_answered_by_what(tmp_path: Path, ending: str) -> None:
    train = island()
    train = Dataset(  # one user more, without a pair
        Interactions(train.pairs.user, train.pairs.item, 14, 13),
        Vocab(pl.concat([train.users.ids, pl.Series(["late"])]), "user"),
        train.items,
    )
    scorer = ItemKNN(k=20).build(train)
    asked = ["u00", "late", "z", "who", "u01"]
    job = write_recommendations(
        tmp_path / "job",
        scorer,
        train,
        Request(asked, 3),
        batch=2,
        format=ending,  # type: ignore[arg-type]
    )
    assert (job.users, job.fallback, job.rows) == (2, 3, 15)
    manifest = json.loads((tmp_path / "job" / "manifest.json").read_text())
    assert (manifest["users"], manifest["fallback"], manifest["unmet"]) == (2, 3, False)
    again = write_recommendations(
        tmp_path / "job",
        scorer,
        train,
        Request(asked, 3),
        batch=2,
        format=ending,  # type: ignore[arg-type]
    )
    assert (again.users, again.fallback, again.reused) == (2, 3, 3)
    with pytest.raises(InputError, match=r"another job.*unmet"):
        write_recommendations(
            tmp_path / "job",
            scorer,
            train,
            Request(asked, 3, unmet=True),
            batch=2,
            format=ending,  # type: ignore[arg-type]
        )
    out = tmp_path / f"skip.{ending}"
    skipped = write_recommendations(out, scorer, train, Request(asked, 3, unknown="skip"))
    assert skipped == Job((out,), users=2, fallback=0, rows=6)
    for user in ("late", "who"):
        with pytest.raises(InputError, match=user):
            write_recommendations(
                tmp_path / "no", scorer, train, Request(["u00", user], unknown="error")
            )
        assert not (tmp_path / "no").exists(), "refused before anything is written"


# Export.


def a_run(folder: Path, scorer: Any, train: Dataset) -> Any:
    return SimpleNamespace(
        scorer=scorer,
        train=train,
        folder=folder,
        name="run",
        fingerprint="ab",
        meta=SimpleNamespace(method="cml"),
    )


@pytest.mark.parametrize("kind", ["factors", "several", "by features"])
@pytest.mark.parametrize("unmet", [False, True])
def test_export_leaves_out_what_training_never_moved(
    tmp_path: Path, kind: str, unmet: bool
) -> None:
    vectors = torch.arange(13.0)[:, None] + 1
    scorer: Any = Factors(vectors, vectors, by_features=kind == "by features")
    if kind == "several":
        count = torch.arange(13) % 2 + 1
        scorer = MultiFactors(vectors[:, None].expand(13, 2, 1).clone(), vectors, count=count)
    some = island()
    kept = some.pairs.user != 4
    train = Dataset(some.pairs.take(kept), some.users, some.items)
    done = export(a_run(tmp_path, scorer, train), tmp_path / "out", "flat", unmet=unmet)
    users, items = (pl.read_parquet(tmp_path / "out" / f"{n}.parquet") for n in ("users", "items"))
    lacking_users = {train.users.ids[4]} if not unmet else set()
    lacking_items = {train.items.ids[12]} if not unmet and kind != "by features" else set()
    assert set(train.users.ids) - set(users["user"]) == lacking_users
    assert set(train.items.ids) - set(items["item"]) == lacking_items
    assert done.manifest["users"] == 13 - len(lacking_users) == users["user"].n_unique()
    assert done.manifest["items"] == 13 - len(lacking_items) == len(items)
    assert done.manifest["without_training_pair_left_out"] == {
        "users": len(lacking_users),
        "items": len(lacking_items),
    }
    assert done.manifest["vectors_per_user"]["all"] == len(users)
    for user, vector in users.select("user", "vector").iter_rows():
        assert vector == [train.users.rows([user])[0] + 1]
    for item, vector in items.select("item", "vector").iter_rows():
        assert vector == [train.items.rows([item])[0] + 1]


# Evaluation.


def judged(scorer: Any, train: Interactions, test: Interactions, *views: str, **more: Any) -> Any:
    how = Evaluation(
        metrics=("recall@3", "ndcg@3", "coverage@3", "auc"),
        candidates=views,  # type: ignore[arg-type]
        monitor="recall@3" if "all" in views else f"recall@3[{views[0]}]",
        **more,
    )
    return evaluate(scorer, train, test, how)


def held(seed: int = 0) -> tuple[Interactions, Interactions, np.ndarray]:
    """Thirty users of 20 items, every third without a training pair; pairs apart."""
    rng = np.random.default_rng(seed)
    met = rng.random((30, 20)) < 0.3
    met[:, :2] = False
    met[:, 0] = True
    test = (rng.random((30, 20)) < 0.2) & ~met
    test[:, 1] = True
    cold = np.arange(30) % 3 == 0
    met[cold] = False
    parts = [
        Interactions(*(side.astype(np.int32) for side in np.nonzero(each)), 30, 20)
        for each in (met, test)
    ]
    return parts[0], parts[1], cold


def naive_recall(values: np.ndarray, train: Interactions, test: Interactions, user: int) -> float:
    seen = set(train.item[train.user == user].tolist())
    right = set(test.item[test.user == user].tolist())
    best = sorted(
        (i for i in range(values.shape[1]) if i not in seen),
        key=lambda i: (-float(values[user, i]), tie(i)),
    )
    return len(right & set(best[:3])) / len(right)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("views", [("all", "cold users", "warm users"), ("cold users",)])
def test_users_without_a_pair_are_a_slice(seed: int, views: tuple[str, ...]) -> None:
    train, test, cold = held(seed)
    rng = np.random.default_rng(seed)
    scorer = Factors(
        *(torch.from_numpy(rng.normal(size=(n, 4)).astype(np.float32)) for n in (30, 20))
    )
    report = judged(scorer, train, test, *views)
    values = scores(scorer)
    right = np.array([naive_recall(values, train, test, user) for user in range(30)])
    np.testing.assert_allclose(report["recall@3[cold users]"], right[cold].mean())
    of_whom = dict(zip(report.table()["metric"], report.table()["users"], strict=True))
    assert of_whom["recall@3[cold users]"] == cold.sum()
    assert np.isnan(report.values("recall@3[cold users]")[~cold]).all()
    listed = {i for user in np.flatnonzero(cold) for i in top_k(scorer, [user], 3).item[0]}
    assert report["coverage@3[cold users]"] == len(listed) / 20
    if len(views) > 1:
        np.testing.assert_allclose(report["recall@3[warm users]"], right[~cold].mean())
        for name in ("recall@3", "ndcg@3", "auc"):
            parts = report.values(f"{name}[cold users]"), report.values(f"{name}[warm users]")
            both = np.where(np.isnan(parts[0]), parts[1], parts[0])
            np.testing.assert_allclose(both, report.values(name))
    assert report.notes[0] == (
        "10 of 30 test users have no training pair: this method cannot place them, "
        "and `recommend` answers them by popularity;"
        " metrics of theirs alone: [cold users]"
    )


def test_a_method_that_can_serve_them_is_rewarded() -> None:
    """Their only test item is popular: ItemKNN cannot recommend it to them, the fallback can."""
    train, test, cold = held(1)
    data = Dataset(train, Vocab.range(30), Vocab.range(20))
    plenty = test.take(~cold[test.user] | (test.item == 1))
    more = Interactions(
        np.concatenate([train.user, np.flatnonzero(~cold)]).astype(np.int32),
        np.concatenate([train.item, np.full((~cold).sum(), 1)]).astype(np.int32),
        30,
        20,
    )
    data = data.with_pairs(more)
    knn, popular = ItemKNN(k=20).build(data), Popular().build(data)
    able = Fallback.of(knn, popular, more)
    alone, joined = (judged(each, more, plenty, "all", "cold users") for each in (knn, able))
    assert alone["recall@3[cold users]"] < 0.5
    assert joined["recall@3[cold users]"] == 1.0
    assert (
        "this method can place them" in joined.notes[0 if "training pair" in joined.notes[0] else 1]
    )


def test_what_is_said_where_nobody_is_without_a_pair() -> None:
    train, test, cold = held()
    warm = test.take(~cold[test.user])
    report = judged(
        Factors(torch.ones(30, 1), torch.arange(20.0)[:, None]), train, warm, "cold users"
    )
    assert np.isnan(report["recall@3[cold users]"])
    assert report.notes == (
        "every test user has a training pair: [cold users] is not defined; "
        "[split] drop_cold = false keeps users without",
    )
    others = test.take(cold[test.user])
    report = judged(
        Factors(torch.ones(30, 1), torch.arange(20.0)[:, None]), train, others, "warm users"
    )
    assert report.notes[-1] == "no test user has a training pair: [warm users] is not defined"


def test_evaluation_names_users_with_pairs_whose_scores_are_all_equal() -> None:
    train, test, cold = held()
    user = torch.ones(30, 1)
    user[[1, 2, 3]] = 0.0  # 3 has no pair, and is counted with those
    report = judged(Factors(user, torch.arange(20.0)[:, None]), train, test, "all")
    assert report.notes[1].startswith("2 test users with training pairs get the same score")
    assert cold[3]
    assert not cold[[1, 2]].any()
    report = judged(Factors(torch.ones(30, 1), torch.arange(20.0)[:, None]), train, test, "all")
    assert len(report.notes) == 1


# The command line.

TOML = """[data]
path = "log.csv"
[split]
by = "time"
test_from = 0.85
{more}
[model]
name = "{method}"
[train]
epochs = 2
device = "cpu"
[evaluate]
metrics = ["recall@5", "recall@5[cold users]"]
monitor = "recall@5"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with new users and items.

    n1 and item 777 occur in the test period only, and z has no item in common with other users.
    """
    rng = np.random.default_rng(5)
    rows = [
        (f"u{u}", int(i), 100 + int(rng.integers(800)))
        for u in range(20)
        for i in rng.permutation(20)[:8]
    ]
    rows += [(f"u{u}", int(rng.integers(20)), 950 + u) for u in range(20)]
    rows += [("z", 900, 1), ("z", 901, 2), ("n1", 3, 960), ("n1", 5, 961), ("u0", 777, 1000)]
    home = tmp_path_factory.mktemp("unserved")
    (home / "log.csv").write_text(
        "user,item,time\n" + "".join(f"{u},{i},{t}\n" for u, i, t in rows)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for name, method, more in (
            ("knn", "itemknn", "drop_cold = false"),
            ("als", "ials", ""),
            ("mf", "mf", "drop_cold = false"),
        ):
            (home / f"{name}.toml").write_text(TOML.format(method=method, more=more))
            code, _, err = invoke(f"run {name}.toml -q --out {name}")
            assert code == 0, err
    return home


@pytest.mark.parametrize("name", ["knn", "als"])
def test_who_is_not_served_by_the_model_is_answered_as_a_stranger(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    ask = f"recommend {name} -k 3 --json --user"
    code, out, err = invoke(f"{ask} n1 --user z --user who --user u1")
    assert code == 0
    rows = pl.DataFrame(json.loads(out))
    by = {user: rows.filter(pl.col("user") == user) for user in ("n1", "z", "who", "u1")}
    assert {user: set(part["source"]) for user, part in by.items()} == {
        "n1": {"popular"},
        "z": {"popular"},
        "who": {"popular"},
        "u1": {"model"},
    }
    assert by["n1"]["item"].to_list() == by["z"]["item"].to_list() == by["who"]["item"].to_list()
    assert err.splitlines() == [
        "recsys: 1 of 23 items have no training pair, and this method cannot place them: "
        "no candidates; --unmet ranks them all the same",
        "recsys: 1 of 4 users unknown to the run, such as 'who': ranked by popularity",
        "recsys: 1 of 4 users without a training pair, such as 'n1': ranked by popularity",
        "recsys: 1 of 4 users get the same score for every candidate: ranked by popularity",
    ]
    for user in ("n1", "z", "who"):
        code, out, err = invoke(f"{ask} {user} --unknown error")
        assert (code, out) == (2, "")
        assert f"'{user}'" in err
        code, out, _ = invoke(f"{ask} {user} --unknown skip")
        assert (code, json.loads(out)) == (0, [])


def test_the_screen_names_them_and_the_slice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    report = json.loads((folder / "knn" / "test" / "report.json").read_text())
    rows = [line.split(",") for line in (folder / "log.csv").read_text().splitlines()[1:]]
    first: dict[tuple[str, str], int] = {}
    for user, item, time in rows:
        first[user, item] = min(int(time), first.get((user, item), 1000))
    n = len({user for (user, _), time in first.items() if time >= 1 + 0.85 * 999})
    assert report["notes"][0].startswith(f"1 of {n} test users have no training pair")
    of_whom = {row["metric"]: row["users"] for row in report["metrics"]}
    assert of_whom == {"recall@5": n, "recall@5[cold users]": 1}
    report = json.loads((folder / "als" / "test" / "report.json").read_text())
    assert any("[cold users] is not defined; [split] drop_cold" in note for note in report["notes"])


def test_export_on_the_command_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(folder)
    code, out, err = invoke(f"export mf --out {tmp_path / 'vectors'}")
    assert code == 0, err
    assert "left out, without a training pair: 1 users and 1 items; --unmet writes them too" in out
    assert "n1" not in pl.read_parquet(tmp_path / "vectors" / "users.parquet")["user"]
    assert 777 not in pl.read_parquet(tmp_path / "vectors" / "items.parquet")["item"]
    code, out, err = invoke(f"export mf --unmet --json --out {tmp_path / 'all'}")
    assert code == 0, err
    assert (json.loads(out)["users"], json.loads(out)["items"]) == (22, 23)


def test_a_user_who_came_later_with_nothing_that_is_known_is_a_stranger() -> None:
    """Of the log only what training has met counts; who has nothing of it has no pair."""
    train = island()
    log = pl.DataFrame({"user": ["a", "b"], "item": ["i00", "elsewhere"]})
    with pytest.warns(UserWarning, match="1 of 2 items of the histories unknown to the run"):
        lists = recommend(ItemKNN(k=20).build(train), train, k=20, histories=log)
    b = lists.filter(pl.col("user") == "b")
    right = naive_popular(train, set(), list(range(13)), 20)
    assert train.items.rows(b["item"]).tolist() == [item for item, _ in right]
    assert set(b["source"]) == {"popular"}
