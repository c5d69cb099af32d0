"""Re-ranked lists against naive loops, and the files of `[rerank]`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from recsys.data.query import Queries
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.evaluation.evaluator import evaluate
from recsys.evaluation.settings import Evaluation
from recsys.ranking import top_k
from recsys.ranking.rerank import Rerank, Reranker, resolve
from recsys.scorer import Factors, Product
from recsys.serving import Request, recommend

USERS, ITEMS, POOL, K = 9, 20, 12, 6


@pytest.fixture(scope="module")
def world() -> tuple[Factors, Dataset]:
    rng = np.random.default_rng(3)
    user, item = (
        torch.from_numpy(rng.normal(size=(n, 5)).astype(np.float32)) for n in (USERS, ITEMS)
    )
    rows = np.nonzero(rng.random((USERS, ITEMS)) < 0.25)
    pairs = Interactions(rows[0].astype(np.int32), rows[1].astype(np.int32), USERS, ITEMS)
    vocabs = [
        Vocab(pl.Series([f"{name[0]}{row:02d}" for row in range(n)]), name)
        for name, n in (("user", USERS), ("item", ITEMS))
    ]
    return Factors(user, item), Dataset(pairs, *vocabs)


# Categories of each item: two for every fourth, none for the last, one for the others.
OF_ITEM: list[list[str]] = [
    ["c" + str(i % 5), "c" + str((i + 2) % 5)] if i % 4 == 0 else ["c" + str(i % 5)]
    for i in range(ITEMS - 1)
] + [[]]


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "items.csv"
    rows = [f"i{i:02d},{'|'.join(each)},b{i % 3}" for i, each in enumerate(OF_ITEM)]
    path.write_text("item,category,brand\n" + "\n".join(rows) + "\n")
    return str(path)


def queries(train: Dataset) -> Queries:
    return Queries.of_users(np.arange(train.n_users), train.pairs.csr)


def lists(world: tuple[Factors, Dataset], k: int = K, **settings: Any) -> np.ndarray:
    scorer, train = world
    reranker = resolve(Rerank(**settings), scorer, train)
    assert reranker is not None
    return reranker.lists(scorer, queries(train), k).item


def pools(world: tuple[Factors, Dataset]) -> list[tuple[list[int], list[float]]]:
    """Items and relevance of each pool, by a loop."""
    scorer, train = world
    best = top_k(scorer, queries(train), POOL)
    result = []
    for items, scores in zip(best.item.tolist(), best.score.tolist(), strict=True):
        kept = [score for item, score in zip(items, scores, strict=True) if item >= 0]
        low, high = min(kept), max(kept)
        result.append((items[: len(kept)], [(score - low) / (high - low) for score in kept]))
    return result


def greedy(pool: list[int], gain: Any) -> list[int]:
    """Take the item of the largest gain, K times."""
    chosen: list[int] = []
    while len(chosen) < min(K, len(pool)):
        left = [at for at in range(len(pool)) if pool[at] not in chosen]
        chosen.append(pool[max(left, key=lambda at: gain(at, chosen))])
    return chosen


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    length = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / length if length else 0.0


def rows_of(world: tuple[Factors, Dataset], similarity: str) -> np.ndarray:
    scorer, train = world
    if similarity == "vectors":
        return scorer.item.numpy().astype(np.float64)
    if similarity == "interactions":
        return train.pairs.csr.toarray().T.astype(np.float64)
    names = sorted({name for each in OF_ITEM for name in each})
    return np.array([[float(name in each) for name in names] for each in OF_ITEM])


@pytest.mark.parametrize("similarity", ["vectors", "interactions", "categories"])
@pytest.mark.parametrize("weight", [0.2, 0.8])
def test_mmr_is_that_of_a_loop(
    world: tuple[Factors, Dataset], table: str, similarity: str, weight: float
) -> None:
    rows = rows_of(world, similarity)
    options = {"categories": table} if similarity == "categories" else {}
    actual = lists(world, by="mmr", weight=weight, similarity=similarity, pool=POOL, **options)
    for (pool, relevance), row in zip(pools(world), actual.tolist(), strict=True):

        def gain(at: int, chosen: list[int], pool: Any = pool, relevance: Any = relevance) -> float:
            near = [cosine(rows[pool[at]], rows[item]) for item in chosen]
            return (1 - weight) * relevance[at] - weight * max(near, default=0.0)

        assert row == greedy(pool, gain)


@pytest.mark.parametrize("weight", [0.2, 0.8])
def test_greedy_dpp_is_that_of_determinants(world: tuple[Factors, Dataset], weight: float) -> None:
    rows = rows_of(world, "interactions") + 0.3  # no two items alike, no determinant of 0
    scorer, train = world
    reranker = resolve(Rerank(by="dpp", weight=weight, pool=POOL), scorer, train)
    assert reranker is not None
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    object.__setattr__(reranker, "vectors", unit)
    actual = reranker.lists(scorer, queries(train), K).item
    gram = unit @ unit.T
    for (pool, relevance), row in zip(pools(world), actual.tolist(), strict=True):
        of = dict(zip(pool, relevance, strict=True))

        def total(items: list[int], of: Any = of) -> float:
            _, log = np.linalg.slogdet(gram[np.ix_(items, items)])
            return (1 - weight) * sum(of[item] for item in items) + weight * log

        def gain(at: int, chosen: list[int], pool: Any = pool, total: Any = total) -> float:
            return total([*chosen, pool[at]])

        assert row == greedy(pool, gain)


def test_a_dpp_with_equal_items_still_fills_its_lists(
    world: tuple[Factors, Dataset], table: str
) -> None:
    actual = lists(world, by="dpp", weight=0.9, similarity="categories", categories=table)
    assert (actual >= 0).all()
    assert all(len(set(row)) == K for row in actual.tolist())


@pytest.mark.parametrize("weight", [0.2, 0.8])
def test_calibration_is_that_of_a_loop(
    world: tuple[Factors, Dataset], table: str, weight: float
) -> None:
    train = world[1]
    names = sorted({name for each in OF_ITEM for name in each})

    def share(items: list[int]) -> dict[str, float]:
        some = [OF_ITEM[item] for item in items if OF_ITEM[item]]
        return {
            name: sum((name in each) / len(each) for each in some) / max(len(some), 1)
            for name in names
        }

    actual = lists(world, by="calibration", weight=weight, pool=POOL, categories=table)
    moved = 0
    for user, ((pool, relevance), row) in enumerate(
        zip(pools(world), actual.tolist(), strict=True)
    ):
        p = share(train.pairs.csr[user].indices.tolist())

        def gain(
            at: int, chosen: list[int], pool: Any = pool, relevance: Any = relevance, p: Any = p
        ) -> float:
            q = share([*chosen, pool[at]])
            smooth = {name: 0.99 * q[name] + 0.01 * p[name] for name in names}
            kl = sum(p[name] * math.log(p[name] / smooth[name]) for name in names if p[name])
            return (1 - weight) * relevance[at] - weight * kl

        expected = greedy(pool, gain)
        assert row == expected
        moved += expected != pool[:K]
    assert moved


def test_popularity_is_that_of_a_loop(world: tuple[Factors, Dataset]) -> None:
    counts = world[1].item_counts
    actual = lists(world, by="popularity", weight=0.6, pool=POOL)
    for (pool, relevance), row in zip(pools(world), actual.tolist(), strict=True):
        gains = [
            0.4 * r - 0.6 * math.log(1 + counts[item]) / math.log(1 + counts.max())
            for item, r in zip(pool, relevance, strict=True)
        ]
        expected = sorted(range(len(pool)), key=lambda at: (-gains[at], at))
        assert row == [pool[at] for at in expected[:K]]


@pytest.mark.parametrize("pool", [6, 20])
def test_at_most_is_the_ranking_without_what_is_full(
    world: tuple[Factors, Dataset], table: str, pool: int
) -> None:
    """Lists that a small pool leaves short are chosen from more items."""
    scorer, train = world
    every = top_k(scorer, queries(train), ITEMS).item.tolist()
    actual = lists(world, at_most={"category": 1, "brand": 2}, categories=table, pool=pool)
    for full, row in zip(every, actual.tolist(), strict=True):
        expected: list[int] = []
        for item in (each for each in full if each >= 0):
            values = [name for each in expected for name in OF_ITEM[each]]
            brands = [each % 3 for each in expected]
            if not set(OF_ITEM[item]) & set(values) and brands.count(item % 3) < 2:
                expected.append(item)
        expected = expected[:K]
        assert row == expected + [-1] * (K - len(expected))


def test_at_most_holds_while_another_rule_chooses(
    world: tuple[Factors, Dataset], table: str
) -> None:
    actual = lists(world, by="mmr", weight=0.5, at_most={"brand": 1}, categories=table, k=3)
    assert all(sorted(item % 3 for item in row) == [0, 1, 2] for row in actual.tolist())


def test_chunks_and_blocks_change_nothing(
    world: tuple[Factors, Dataset], table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys.ranking.rerank import reranker as module

    options = {"by": "calibration", "weight": 0.5, "pool": POOL, "categories": table}
    at_once = lists(world, **options)
    monkeypatch.setattr(module, "_CELLS", 1)
    assert (lists(world, **options) == at_once).all()


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def recommended(world: tuple[Factors, Dataset], k: int = ITEMS, **options: Any) -> dict[str, Any]:
    scorer, train = world
    request = Request(k=k, unmet=True, **options)
    frame = recommend(scorer, train, request)
    return {user: part["item"].to_list() for (user,), part in frame.group_by("user")}


def test_rules_of_users_hold_for_lists_by_the_model_and_by_popularity(
    world: tuple[Factors, Dataset], tmp_path: Path
) -> None:
    blocked = write(tmp_path / "blocked.csv", "user,item\nu01,i03\nu01,i04\nguest,i05\nu02,gone\n")
    plain = recommended(world, users=["u01", "u02", "guest"], filter_seen=False)
    ruled = recommended(
        world,
        users=["u01", "u02", "guest"],
        filter_seen=False,
        rerank=Rerank(exclusions=blocked),
    )
    assert {"i03", "i04"} <= set(plain["u01"])
    assert ruled["u01"] == [item for item in plain["u01"] if item not in ("i03", "i04")]
    assert "i05" in plain["guest"]
    assert ruled["guest"] == [item for item in plain["guest"] if item != "i05"]
    assert ruled["u02"] == plain["u02"]


def test_candidates_of_users_and_of_groups(world: tuple[Factors, Dataset], tmp_path: Path) -> None:
    own = write(tmp_path / "own.csv", "user,item\nu01,i03\nu01,i04\nu03,i09\n")
    plain = recommended(world, filter_seen=False)
    ruled = recommended(world, filter_seen=False, rerank=Rerank(candidates=own))
    assert ruled["u01"] == [item for item in plain["u01"] if item in ("i03", "i04")]
    assert ruled["u03"] == ["i09"]
    assert ruled["u02"] == plain["u02"]
    groups = write(tmp_path / "groups.csv", "user,group\nu01,north\nu02,north\nu05,south\n")
    of_groups = write(tmp_path / "of.csv", "group,item\nnorth,i03\nnorth,i07\nsouth,i01\n")
    rules = Rerank(candidates=of_groups, groups=groups)
    ruled = recommended(world, filter_seen=False, rerank=rules)
    for user in ("u01", "u02"):
        assert ruled[user] == [item for item in plain[user] if item in ("i03", "i07")]
    assert ruled["u05"] == ["i01"]
    assert ruled["u04"] == plain["u04"]


def test_availability_at_a_moment(world: tuple[Factors, Dataset], tmp_path: Path) -> None:
    stock = write(
        tmp_path / "stock.csv",
        "item,from,until\ni00,2026-05-02,\ni01,,2026-05-01\ni02,2026-05-01,2026-05-02\n"
        "i03,2026-01-01,2026-02-01\ni03,2026-04-30T23:00:00+00:00,\n",
    )
    rules = Rerank(availability=stock, moment="2026-05-01")
    items = set(recommended(world, filter_seen=False, rerank=rules)["u00"])
    assert items == {f"i{i:02d}" for i in range(2, ITEMS)}


def test_evaluation_measures_the_lists_that_ship(
    world: tuple[Factors, Dataset], tmp_path: Path
) -> None:
    scorer, train = world
    rng = np.random.default_rng(5)
    rows = np.nonzero(rng.random((USERS, ITEMS)) < 0.2)
    test = Interactions(rows[0].astype(np.int32), rows[1].astype(np.int32), USERS, ITEMS)
    blocked = write(tmp_path / "blocked.csv", "user,item\nu01,i03\nu04,i04\n")
    rules = Rerank(by="mmr", weight=0.6, pool=POOL, exclusions=blocked)
    settings = Evaluation(metrics=("recall@6",), monitor="recall@6")
    report = evaluate(scorer, train.pairs, test, settings, rerank=resolve(rules, scorer, train))
    shipped = recommended(world, k=6, rerank=rules)
    values = []
    for user in np.unique(test.user):
        held = {f"i{item:02d}" for item in test.item[test.user == user]}
        values.append(len(held & set(shipped[f"u{user:02d}"])) / len(held))
    assert report["recall@6"] == pytest.approx(np.mean(values))
    assert report.protocol.endswith(
        "; re-ranked: by mmr, weight 0.6, pool 12, exclusions blocked.csv"
    )
    with pytest.raises(InputError, match="candidates = 'sampled' makes none"):
        evaluate(
            scorer,
            train.pairs,
            test,
            Evaluation(metrics=("ndcg@5",), monitor="ndcg@5", candidates="sampled"),
            rerank=resolve(rules, scorer, train),
        )


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"weight": 0.5}, "weight = 0.5 has no effect"),
        ({"pool": 7, "exclusions": "x"}, "pool = 7 has no effect"),
        ({"by": "popularity", "similarity": "vectors"}, "similarity = 'vectors' has no effect"),
        ({"by": "calibration"}, "categories is missing"),
        ({"at_most": {"brand": 2}}, "categories is missing"),
        ({"at_most": {"brand": 0}}, "must be at least 1"),
        ({"groups": "x"}, "groups = 'x' has no effect"),
        ({"availability": "x"}, "moment is missing"),
        ({"availability": "x", "moment": "soon"}, "'soon' is not a date or time"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        Rerank(**settings)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("user,thing\nu01,i03\n", "column 'item' is missing"),
        ("user,item\nu01,\n", "row 1 has no item"),
        ("user,item\n,i03\n", "a row has no user"),
        ("user,item\nu01,x\n", "unknown item 'x'"),
        ("user,item\n", "holds no row"),
    ],
)
def test_files_with_mistakes_are_refused(
    world: tuple[Factors, Dataset], tmp_path: Path, text: str, cause: str
) -> None:
    path = write(tmp_path / "rules.csv", text)
    with pytest.raises(InputError, match=cause):
        resolve(Rerank(exclusions=path), *world)


def test_other_mistakes(world: tuple[Factors, Dataset], tmp_path: Path, table: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        resolve(Rerank(exclusions=str(tmp_path / "gone.csv")), *world)
    scorer = Product((torch.ones(USERS, 1), torch.ones(1, ITEMS)))
    with pytest.raises(InputError, match="has no item vectors"):
        resolve(Rerank(by="mmr", similarity="vectors"), scorer, world[1])
    groups = write(tmp_path / "groups.csv", "user,group\nu01,a\nu01,b\n")
    with pytest.raises(InputError, match="'u01' has several groups"):
        resolve(Rerank(candidates=table, groups=groups), *world)
    groups = write(tmp_path / "groups.csv", "user,group\nu01,a\n")
    listed = write(tmp_path / "of.csv", "group,item\nb,i01\n")
    with pytest.raises(InputError, match="group 'a' has no candidates"):
        resolve(Rerank(candidates=listed, groups=groups), *world)


def test_what_decides_the_lists_is_in_the_fingerprint(
    world: tuple[Factors, Dataset], tmp_path: Path
) -> None:
    def of(**settings: Any) -> str:
        reranker = resolve(Rerank(**settings), *world)
        assert isinstance(reranker, Reranker)
        return reranker.fingerprint

    blocked = write(tmp_path / "a.csv", "user,item\nu01,i03\n")
    same = write(tmp_path / "b.csv", "user,item\nu01,i03\n")
    other = write(tmp_path / "c.csv", "user,item\nu01,i04\n")
    assert of(exclusions=blocked) == of(exclusions=same) != of(exclusions=other)
    assert of(by="mmr") != of(by="mmr", weight=0.4)


def test_overrides_win_over_the_settings_of_a_run() -> None:
    base = Rerank(by="mmr", weight=0.5, exclusions="blocked.csv")
    assert base.overridden(["weight=0.7"]).weight == 0.7
    assert base.overridden(["by=dpp"]) == Rerank(by="dpp", exclusions="blocked.csv")
    assert base.overridden(["by=none"]) == Rerank(exclusions="blocked.csv")
    with pytest.raises(InputError, match="unknown key 'wieght'"):
        base.overridden(["wieght=0.7"])
