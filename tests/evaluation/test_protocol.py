"""The protocol of the metric-learning literature.

Its data by name, its split, its users, its metrics, and its base settings.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from oracle import by_id

from recsys.data import catalog
from recsys.data.load import LoadedData, load
from recsys.data.splitting.splits import SplitRule, split
from recsys.data.types import Interactions, Split
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.experiment.experiment import from_tree
from recsys.scorer import Product

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
METRICS = (
    "precision@3",
    "recall@3",
    "ndcg@3",
    "precision@5",
    "recall@5",
    "ndcg@5",
    "map",
    "mrr",
    "auc",
)
LIBCML = Evaluation(
    metrics=METRICS, monitor="precision@3", skip_short_users=True, min_test_full=3, keep_valid=True
)

# Catalogue name, folder of the measurement data, users x items, the sizes of the parts, and the
# eligible test users at 3 and at 5.
KNOWN = [
    ("ml-100k-likes", "ml-100k-likes", (938, 1675), (32_844, 10_696, 11_821), (899, 722)),
    ("steam-200k-played", "steam-200k", (3757, 5113), (67_653, 21_728, 25_758), (2488, 1304)),
]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RECSYS_OFFLINE", "1")


def by_name(name: str, shared: Path, folder: str) -> LoadedData:
    file = shared / folder / "users.dat"
    if not file.is_file():
        pytest.skip(f"{folder} is not here")
    catalog.add(name, path=file)
    return load(name)


def parts(made: Split) -> tuple[Interactions, Interactions, Interactions]:
    assert made.valid is not None
    assert made.test is not None
    return made.train.pairs, made.valid.pairs, made.test.open("test of the protocol").pairs


def plain(scores: np.ndarray, train: Interactions, held: Interactions) -> dict[str, list[float]]:
    """The protocol, one user at a time.

    All items but the user's training items are ranked, other held-out items among them.
    """
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    for user in range(train.n_users):
        test = set(held.csr[user].indices.tolist())
        seen = set(train.csr[user].indices.tolist())
        listed = [
            item for item in np.argsort(-scores[user], kind="stable").tolist() if item not in seen
        ]
        for k in (3, 5):
            if len(test) >= k:
                hits = [item in test for item in listed[:k]]
                found[f"precision@{k}"].append(sum(hits) / k)
                found[f"recall@{k}"].append(sum(hits) / len(test))
                ideal = sum(1 / np.log2(p + 2) for p in range(k))
                found[f"ndcg@{k}"].append(
                    sum(hit / np.log2(p + 2) for p, hit in enumerate(hits)) / ideal
                )
        if len(test) >= 3:
            ranks = [p + 1 for p, item in enumerate(listed) if item in test]
            found["map"].append(sum((q + 1) / r for q, r in enumerate(ranks)) / len(test))
            found["mrr"].append(1 / ranks[0])
            m, length = len(test), len(listed)
            found["auc"].append(
                (sum(length - r + 1 for r in ranks) - m * (m + 1) / 2) / (m * (length - m))
            )
    return found


# --- the data


@pytest.mark.parametrize(("name", "folder", "shape", "sizes", "eligible"), KNOWN)
def test_data_and_split_by_name_are_the_released_ones(
    shared_data, name, folder, shape, sizes, eligible
):
    loaded, known = by_name(name, shared_data, folder), catalog.entry(name)
    data = loaded.dataset
    assert (
        (data.n_users, data.n_items, len(data.pairs))
        == (*shape, sum(sizes))
        == (known.users, known.items, known.interactions)
    )
    assert sorted(data.items.ids.to_list()) == list(range(shape[1])), (
        "items keep their numbers, those that never occur included"
    )
    assert len(np.unique(data.pairs.item)) < shape[1] or name == "steam-200k-played"
    made = parts(split(loaded, SplitRule(by="libcml")))
    assert tuple(map(len, made)) == sizes
    for part, stored in zip(made, ("train", "val", "test"), strict=True):
        wanted = sp.load_npz(shared_data / folder / f"user_{stored}_matrix.npz").tocsr()
        wanted.sort_indices()
        here = by_id(part, data)
        assert here.shape == wanted.shape == shape
        np.testing.assert_array_equal(here.indptr, wanted.indptr)
        np.testing.assert_array_equal(here.indices, wanted.indices)  # every row, item by item
    counts = np.diff(made[2].csr.indptr)
    assert ((counts >= 3).sum(), (counts >= 5).sum()) == eligible


def test_the_ratings_themselves_give_the_same_pairs_and_split(shared_data):
    ratings = shared_data / "ml-100k" / "u.data"
    if not ratings.is_file():
        pytest.skip("ml-100k is not here")
    liked = by_name("ml-100k-likes", shared_data, "ml-100k-likes")
    rated = load(ratings, min_weight=4, min_user=5)

    def triples(pairs: Interactions, users: list[int], items: list[int]) -> set[tuple[int, int]]:
        return {
            (users[u], items[i])
            for u, i in zip(pairs.user.tolist(), pairs.item.tolist(), strict=True)
        }

    for part, other in zip(
        parts(split(liked, SplitRule(by="libcml"))),
        parts(split(rated, SplitRule(by="libcml"))),
        strict=True,
    ):
        users = [
            line + 1 for line in liked.dataset.users.ids.to_list()
        ]  # a line of users.dat is the user of that number
        mine = triples(part, users, liked.dataset.items.ids.to_list())
        assert mine == triples(
            other, rated.dataset.users.ids.to_list(), rated.dataset.items.ids.to_list()
        )
    assert rated.dataset.n_items < liked.dataset.n_items, "what nobody likes is no candidate there"


def rebuilt(ratings: str, folder: Path) -> Path:
    """users.dat as the catalogue says to make it of MovieLens-10M."""
    if shutil.which("sort") is None or shutil.which("awk") is None:
        pytest.skip("needs sort and awk")
    (folder / "ml-10M100K").mkdir()
    (folder / "ml-10M100K" / "ratings.dat").write_text(ratings)
    [command] = [step for step in catalog.entry("ml-10m-likes").manual if "awk" in step]
    subprocess.run(["sh", "-c", command], cwd=folder, check=True)
    return folder / "users.dat"


def test_the_recipe_for_ml_10m(tmp_path):
    lines = [
        f"{user}::{item}::{rating}::838985046"
        for user, item, rating in [
            (10, 7, "5"),
            (2, 3, "3.5"),
            (10, 2, "4"),
            (2, 9, "4.5"),
            (9, 1, "2"),
        ]
    ]
    lines += [f"2::{item}::5::838985046" for item in range(20, 24)]
    file = rebuilt("\n".join(lines) + "\n", tmp_path)
    assert file.read_text() == "5 9 20 21 22 23\n2 7 2\n"
    catalog.add("ml-10m-likes", path=file)
    data = load("ml-10m-likes").dataset
    occurring = data.items.ids.gather(data.pairs.item).to_list()
    assert (data.n_users, data.n_items, occurring) == (1, 24, [9, 20, 21, 22, 23])


def test_the_recipe_for_ml_10m_makes_the_known_file_of_ml_100k(shared_data, tmp_path):
    ratings = shared_data / "ml-100k" / "u.data"
    if not ratings.is_file():
        pytest.skip("ml-100k is not here")
    catalog.add("ml-10m-likes", path=rebuilt(ratings.read_text().replace("\t", "::"), tmp_path))
    mine, known = (
        load("ml-10m-likes").dataset,
        by_name("ml-100k-likes", shared_data, "ml-100k-likes").dataset,
    )
    assert (by_id(mine.pairs, mine) != by_id(known.pairs, known)).nnz == 0
    assert mine.n_items == known.n_items


def test_the_leading_number_is_a_count_and_no_item(tmp_path):
    (tmp_path / "users.dat").write_text("5 1 2 3 4 6\n4 1 2 3 4\n6 0 1 2 3 4 6\n")
    catalog.add("citeulike-t", path=tmp_path)
    data = load("citeulike-t").dataset
    assert by_id(data.pairs, data).toarray().tolist() == [
        [0, 1, 1, 1, 1, 0, 1],
        [1, 1, 1, 1, 1, 0, 1],
    ]
    assert (data.n_users, data.n_items, len(data.pairs)) == (2, 7, 11), (
        "article 5, which nobody has, is a candidate; no count became an article"
    )


# --- the evaluation


def test_a_hand_computed_example():
    # Twelve items whose scores fall with their row. Items 0 and 1 are training items, 3 and 6 are
    # validation items.
    train, valid, test = (np.zeros((4, 12)) for _ in range(3))
    train[:, :2] = valid[:, [3, 6]] = 1
    test[0, [2, 5, 11]] = (
        1  # ranks 1, 4 and 10 of the ten candidates, the validation items among them
    )
    test[1, [4, 5, 7, 8, 9]] = 1  # ranks 3, 4, 6, 7, 8
    test[2, [2, 4]] = 1  # too few for any of the metrics
    score = np.tile(np.arange(12, 0, -1.0, dtype=np.float32), (4, 1))
    scorer = Product((sp.csr_matrix(np.eye(4, dtype=np.float32)), torch.from_numpy(score)))

    def of(dense: np.ndarray) -> Interactions:
        return Interactions(*np.nonzero(dense), *dense.shape)

    report = evaluate(scorer, of(train), of(test), LIBCML, also_seen=of(valid))
    two, three, four, five = (1 / np.log2(p + 1) for p in (2, 3, 4, 5))
    for name, first, second in (
        ("precision@3", 1 / 3, 1 / 3),
        ("recall@3", 1 / 3, 1 / 5),
        ("ndcg@3", 1 / (1 + two + three), three / (1 + two + three)),
        ("precision@5", None, 2 / 5),
        ("recall@5", None, 2 / 5),
        ("ndcg@5", None, (three + four) / (1 + two + three + four + five)),
        ("map", (1 / 1 + 2 / 4 + 3 / 10) / 3, (1 / 3 + 2 / 4 + 3 / 6 + 4 / 7 + 5 / 8) / 5),
        ("mrr", 1.0, 1 / 3),
        ("auc", (10 + 7 + 1 - 6) / (3 * 7), (8 + 7 + 5 + 4 + 3 - 15) / (5 * 5)),
    ):
        np.testing.assert_allclose(
            report.values(name), [np.nan if first is None else first, second, np.nan], err_msg=name
        )
        assert report[name] == pytest.approx(second if first is None else (first + second) / 2)
    # On validation, test items are candidates like all others, and two held-out items are too few.
    assert np.isnan(
        [evaluate(scorer, of(train), of(valid), LIBCML)[name] for name in METRICS]
    ).all()


@pytest.mark.parametrize(("name", "folder", "shape", "sizes", "eligible"), KNOWN)
def test_every_number_is_that_of_a_loop_over_users(
    shared_data, name, folder, shape, sizes, eligible
):
    """A random scorer, and the parts as they are released."""
    made = parts(split(by_name(name, shared_data, folder), SplitRule(by="libcml")))
    train, valid, test = (
        Interactions(*(part.user[keep], part.item[keep]), 300, shape[1])
        for part in made
        for keep in [part.user < 300]
    )
    scores = np.random.default_rng(0).permuted(
        np.tile(np.arange(shape[1], dtype=np.float32), (300, 1)), axis=1
    )
    scorer = Product((sp.csr_matrix(np.eye(300, dtype=np.float32)), torch.from_numpy(scores)))
    for held, seen in ((test, valid), (valid, None)):
        report = evaluate(scorer, train, held, LIBCML, also_seen=seen)
        for metric, wanted in plain(scores, train, held).items():
            values = report.values(metric)
            np.testing.assert_allclose(
                values[~np.isnan(values)], wanted, atol=1e-12, err_msg=metric
            )


@pytest.mark.parametrize(("name", "folder", "shape", "sizes", "eligible"), KNOWN)
def test_the_base_settings_are_the_protocol(shared_data, name, folder, shape, sizes, eligible):
    base = tomllib.loads((BENCHMARKS / f"base-{folder}.toml").read_text(encoding="utf-8"))
    experiment = from_tree(base | {"model": {"name": "popular"}})
    assert experiment.data.source == name
    assert experiment.evaluate == LIBCML
    assert (
        experiment.train.epochs,
        experiment.train.batch_size,
        experiment.train.lr,
        experiment.train.optimizer,
    ) == (100, 256, 1e-3, "adam")
    assert (experiment.train.eval_every, experiment.train.patience, experiment.train.rows) == (
        2,
        10,
        "touched",
    )
    train, valid, test = parts(split(by_name(name, shared_data, folder), experiment.split))
    assert tuple(map(len, (train, valid, test))) == sizes
    popularity = torch.from_numpy(np.asarray(train.csr.sum(0), dtype=np.float32))
    popular = Product((sp.csr_matrix(np.ones((shape[0], 1), dtype=np.float32)), popularity))
    counted = (
        evaluate(popular, train, test, experiment.evaluate, also_seen=valid)
        .table()["users"]
        .to_list()
    )
    assert counted == [*[eligible[0]] * 3, *[eligible[1]] * 3, *[eligible[0]] * 3]
